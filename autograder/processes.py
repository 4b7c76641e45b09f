"""What a run's processes use, all that descend from its first one, and how they are ended."""

import json
import os
import re
import select
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil


class Meter:
    """What a process and all that descend from it have used, in seconds; the numbers never fall.

    `used` is their processor time, `queued` how long the one that waited longest was able to run and had no processor.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.used = self.queued = 0.0
        self._seen = self._lost = 0.0

    def read(self) -> None:
        """Look again.

        A process that nobody waits for takes its times with it: what was seen of it stays. What is used between the
        last look and such an end is not seen; the clock on the wall bounds it.
        """
        used = queued = 0.0
        for member in family(self.pid):
            with suppress(psutil.NoSuchProcess, OSError):
                used += sum(member.cpu_times()[:4])  # user and system, its own and that of children it waited for
                # nanoseconds on a run queue, of the main thread; no such file without CONFIG_SCHED_INFO
                queued = max(queued, int(Path(f"/proc/{member.pid}/schedstat").read_text().split()[1]) / 1e9)
        self._lost += max(0.0, self._seen - used)
        self._seen = used
        self.used, self.queued = self._lost + used, max(self.queued, queued)


def family(pid: int) -> list[psutil.Process]:
    """Return a process and all that descend from it, as far as they are there."""
    try:
        return [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def memory_exceeds(pid: int, limit: int) -> bool:
    """Whether a process and all that descend from it hold more than `limit` bytes of real memory.

    Each page counts once, however many of them share it; swapped pages and page tables are memory too. The quick sum
    comes first, in which a shared page counts for every process; only where it is over the limit are pages told apart.
    """
    members = family(pid)
    limit -= sum(_not_resident(member.pid) for member in members)
    return _sum(members, lambda member: member.memory_info().rss) > limit and _sum(members, _share) > limit


def _sum(members: list[psutil.Process], size: Callable[[psutil.Process], int]) -> int:
    total = 0
    for member in members:
        with suppress(psutil.NoSuchProcess):  # it ended between the listing and the question
            total += size(member)
    return total


def _share(member: psutil.Process) -> int:
    """Resident size of a process in which a page that n processes share counts 1/n."""
    try:
        return member.memory_full_info().pss
    except psutil.AccessDenied:
        return member.memory_info().rss


def _not_resident(pid: int) -> int:
    """Bytes of a process's page tables and swapped pages, which no resident size counts."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:  # it ended since the listing
        return 0
    return sum(int(kilobytes) << 10 for kilobytes in re.findall(r"^Vm(?:PTE|Swap):\s+(\d+) kB$", status, re.MULTILINE))


def kill(process: subprocess.Popen) -> None:
    """Kill a process, its group and all that descend from it, and wait for its end."""
    members = family(process.pid)
    with suppress(ProcessLookupError):  # already gone, which is what is wanted
        os.killpg(process.pid, signal.SIGKILL)
    for member in members:
        with suppress(psutil.NoSuchProcess):
            member.kill()
    process.wait()


def end_box(first: int) -> None:
    """Kill the box's first process and wait for its end, before which the kernel ends every other in the box.

    bubblewrap has it die with its parent. But that is later than the parent's end, and it is a wish that the process
    could be made to forget. `first` is where bubblewrap wrote its number: nothing, if there never was a box.
    """
    about = b""
    while not about.rstrip().endswith(b"}") and (chunk := os.read(first, 1 << 12)):
        about += chunk
    if not about:
        return
    try:
        descriptor = os.pidfd_open(json.loads(about)["child-pid"])
    except ProcessLookupError:
        return  # already gone, which is what is wanted
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    watched = select.poll()
    watched.register(descriptor, select.POLLIN)
    watched.poll()
    os.close(descriptor)
