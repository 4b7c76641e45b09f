"""A control group around one run (cgroup v2): where the machine lets the grader make one, the kernel limits memory."""

import errno
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

MOUNTED = Path("/sys/fs/cgroup")


def parent(own: Path = Path("/proc/self/cgroup"), mounted: Path = MOUNTED) -> Path | None:
    """Return the nearest group above this process below which a group can be made whose memory is counted."""
    try:
        places = [line.removeprefix("0::/") for line in own.read_text().splitlines() if line.startswith("0::/")]
        for place in places:
            here = mounted / place
            for folder in (here, *here.parents):
                counted = "memory" in (folder / "cgroup.subtree_control").read_text().split()
                if counted and os.access(folder, os.W_OK):
                    return folder
                if folder == mounted:
                    break
    except OSError:
        pass  # no cgroup v2, or none that may be read: the sum over the processes is the limit then
    return None


@dataclass(frozen=True)
class ControlGroup:
    """A group for one run's processes."""

    folder: Path

    def command(self) -> list[str]:
        """Return the words that run a command inside the group."""
        return ["sh", "-c", 'echo 0 > "$0" && exec "$@"', str(self.folder / "cgroup.procs")]

    def overran(self) -> bool:
        """Whether the kernel ended processes of the group for their memory."""
        events = dict(line.split() for line in (self.folder / "memory.events").read_text().splitlines())
        return int(events["oom_kill"]) > 0


@contextmanager
def control_group(folder: Path, memory: int) -> Iterator[ControlGroup]:
    """Make a group in `folder` whose processes hold at most `memory` bytes; end them all and remove it afterwards."""
    group = folder / f"autograder-{os.getpid()}-{secrets.token_hex(4)}"
    group.mkdir()
    try:
        (group / "memory.max").write_text(str(memory))
        (group / "memory.oom.group").write_text("1")
        if (group / "memory.swap.max").exists():
            (group / "memory.swap.max").write_text("0")
        yield ControlGroup(group)
    finally:
        (group / "cgroup.kill").write_text("1")
        while not _removed(group):
            time.sleep(0.005)  # the kernel is still burying what it has killed


def _removed(group: Path) -> bool:
    try:
        group.rmdir()
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        return False
    return True
