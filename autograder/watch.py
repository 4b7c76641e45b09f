"""Watch a run: read what it says and prints, and end it at the first limit that it meets."""

import os
import selectors
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from autograder.channel import Define, End, Record, parse
from autograder.limits import Clock, Ended, Limits, OutOfClock, SubmissionOver
from autograder.processes import Meter, memory_exceeds

LOOK_EVERY = 0.1  # seconds between two looks at what a run uses


@dataclass
class Run:
    """What came out: the runner's records, what the student printed, and how it ended early (None: it did not)."""

    records: list[Record] = field(default_factory=list)
    printed: str = ""
    ended: Ended | None = None

    @property
    def complete(self) -> bool:
        """Whether the runner has said that it is done."""
        return bool(self.records) and isinstance(self.records[-1], End)

    def take(self, lines: Iterable[bytes]) -> None:
        """Add complete lines to the records; end the run at one that is none of the runner's."""
        for line in lines:
            try:
                self.records.append(parse(line))
            except ValueError:
                self.ended = Ended("something else than the answers was written into their channel")
                return


class _Stage:
    """The time of one exercise: from its first record to that of the next. Before the first: the start of Python."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter
        self.began, self.used, self.queued = time.monotonic(), meter.used, meter.queued

    def over(self, limits: Limits) -> Ended | None:
        """Return the limit that was met, if any."""
        if self.meter.used - self.used > limits.uninterrupted:
            return Ended(f"used more than {limits.seconds:g} seconds of processor time, its child processes included")
        elapsed = time.monotonic() - self.began
        if elapsed > limits.exercise:
            starved = _starved(self.meter.queued - self.queued, elapsed)
            return OutOfClock(f"was not done after {limits.exercise:g} seconds by the clock", starved)
        return None


def _starved(queued: float, elapsed: float) -> bool:
    """Whether others had the processor, and not the answers themselves took their time asleep.

    By the clock an exercise has twice its processor time: one that needs less than its limit and yet is not done has
    stood in the queue for half of that or more. Half of that again is the line, for what it waited for the disk. Who
    queues behind children of his own may cross it too, and gains a second run by it, no point.
    """
    return queued > elapsed / 4


def watch(meter: Meter, results: int, printed: int, limits: Limits, clock: Clock, exercises: set[str]) -> Run:
    """Read both pipes until the runner says that it is done, or until a limit is met."""
    run, line, text = Run(), b"", b""
    received = {results: 0, printed: 0}
    looked, before = time.monotonic(), clock.queued
    waiting = set(exercises)  # those whose time has not begun: nobody begins twice
    stage = _Stage(meter)
    with selectors.DefaultSelector() as selector:
        for descriptor in received:
            selector.register(descriptor, selectors.EVENT_READ)
        while run.ended is None and not run.complete:
            for key, _ in selector.select(timeout=LOOK_EVERY):
                chunk = os.read(key.fd, 1 << 16)
                received[key.fd] += len(chunk)
                if not chunk:
                    selector.unregister(key.fd)
                    if key.fd == results:
                        run.ended = run.ended or Ended("the process ended before the answers were complete")
                elif key.fd == printed:
                    text += chunk[: limits.shown - len(text)]
                else:
                    *complete, line = (line + chunk).split(b"\n")
                    known = len(run.records)
                    run.take(complete)
                    begun = {r.exercise for r in run.records[known:] if isinstance(r, Define)} & waiting
                    if begun:
                        waiting -= begun
                        meter.read()
                        stage = _Stage(meter)
            if run.ended is not None:
                break
            limit = None
            if received[results] > limits.results:
                limit = Ended(f"answers of more than {limits.results >> 20} MB")
            elif received[printed] > limits.printed:
                limit = Ended(f"printed more than {limits.printed >> 20} MB")
            elif time.monotonic() - looked > LOOK_EVERY:
                looked = time.monotonic()
                meter.read()
                clock.queued = before + meter.queued
                limit = stage.over(limits)
                if limit is None and clock.elapsed > limits.wall:
                    limit = SubmissionOver(
                        f"the {limits.wall:g} seconds of the whole submission were over",
                        _starved(clock.queued, clock.elapsed),
                    )
                if limit is None and memory_exceeds(meter.pid, limits.memory):
                    limit = Ended(limits.too_much_memory)
            if limit is not None:
                run.take((line + _unread(results, limits.results - received[results])).split(b"\n")[:-1])
                run.ended = None if run.complete else run.ended or limit
                break
    text += _unread(printed, limits.shown - len(text))
    run.printed = text[: limits.shown].decode(errors="replace")
    return run


def _unread(pipe: int, most: int) -> bytes:
    """Return what lies in a pipe: on a busy machine its reader lags behind, and what was said before a limit counts."""
    os.set_blocking(pipe, False)
    rest = b""
    with suppress(BlockingIOError):
        while len(rest) < most and (chunk := os.read(pipe, 1 << 16)):
            rest += chunk
    return rest
