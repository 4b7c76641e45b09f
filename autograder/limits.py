"""What one submission may use, and how a run ends early that meets a limit.

Time is limited where it is the student's own: as processor time of the run's processes, children included. The clock on
the wall is generous, for it runs on while neighbours have the processor. Memory is limited where it is real: by a
control group of the kernel's where the machine gives one, and everywhere by a sum over the run's processes. How many
addresses a process maps is nobody's concern; torch alone maps gigabytes.
"""

import time
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Limits:
    """What one submission may use. Times are in seconds; `seconds` is of processor time, an exercise."""

    seconds: float = 10.0
    patience: float = 2.0  # the clock on the wall allows this many times as long
    memory: int = 1 << 30  # real memory of all processes of the run together
    processes: int = 16  # threads count
    file_size: int = 16 << 20
    results: int = 16 << 20
    printed: int = 64 << 20
    shown: int = 4000  # of what was printed, in bytes

    @property
    def uninterrupted(self) -> float:
        """Processor time after which an exercise is killed: the runner's own timer comes first, where it is heeded."""
        return 1.2 * self.seconds

    @property
    def exercise(self) -> float:
        """Longest time of an exercise by the clock on the wall: this ends one that sleeps."""
        return self.patience * self.seconds

    @property
    def wall(self) -> float:
        """Longest time of a submission by the clock on the wall, over all of its runs."""
        return 6 * self.exercise

    @property
    def alone(self) -> "Limits":
        """The limits of a run that was starved before: who else uses the machine then is none of the graded."""
        return replace(self, patience=2.5 * self.patience)

    @property
    def too_much_memory(self) -> str:
        """What a student reads whose answers needed more than `memory`."""
        return f"used more than {self.memory >> 20} MB of memory"


@dataclass
class Clock:
    """The clock of one submission, over all of its runs: when it began, how long processes queued for a processor."""

    began: float = field(default_factory=time.monotonic)
    queued: float = 0.0

    @property
    def elapsed(self) -> float:
        """Seconds since the submission's first run began."""
        return time.monotonic() - self.began


@dataclass(frozen=True)
class Ended:
    """A run ended early; `why` is for the student."""

    why: str


@dataclass(frozen=True)
class OutOfClock(Ended):
    """The clock on the wall ran out. `starved`: not for the answers' own sake, others had the processor."""

    starved: bool


@dataclass(frozen=True)
class SubmissionOver(OutOfClock):
    """The clock of the whole submission ran out: there is no further run."""
