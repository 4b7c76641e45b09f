"""The box that a student's code runs in: bubblewrap, resource limits, one clock a submission, two bounded pipes.

Time is limited where it is the student's own: as processor time of the run's processes, children included. The clock on
the wall is generous, for it runs on while neighbours have the processor. Memory is limited where it is real: by a
control group of the kernel's where the machine gives one, and everywhere by a sum over the run's processes. How many
addresses a process maps is nobody's concern; torch alone maps gigabytes.
"""

import json
import math
import os
import re
import select
import selectors
import shutil
import signal
import site
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import psutil

from autograder import refused
from autograder.channel import Define, End, Failed, Record, parse
from autograder.control_group import control_group
from autograder.control_group import parent as control_group_parent

RUNNER = Path(__file__).with_name("runner.py")
CHECKOUT = RUNNER.parent.parent  # holds the solutions
LOOK_EVERY = 0.1  # seconds between two looks at what a run uses
USER_NAMESPACES = Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
FIRST_UID = 2_000_000_000  # far above any account; one uid a grading thread, so that process limits are not shared


class SandboxError(RuntimeError):
    """The sandbox cannot be set up on this machine; nothing can be said about the student."""


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


@dataclass(frozen=True)
class Sandbox:
    """A way to run `runner.py` that worked on this machine; `isolation` is the sentence that reports carry."""

    isolation: str
    command: Callable[[Limits, list[str]], list[str]]  # takes more of bubblewrap's options
    runner: str = "/runner.py"
    boxed: bool = True  # False: no bubblewrap, no filter, and a run's processes count among the grader's own
    groups: Path | None = None  # where a control group can be made for each run

    def run(self, cells: list[dict[str, Any]], limits: Limits, clock: Clock | None = None) -> Run:
        """Run cells and their cases to the end or to a limit. The process and all its children are gone afterwards.

        `clock` is the submission's, where this is not its first run.
        """
        job = {
            "cells": cells,
            "seconds": limits.seconds,
            "processes": limits.processes if self.boxed else None,
        }
        with ExitStack() as stack:
            stdin = _sealed("job", json.dumps(job).encode(), stack)
            options, passed = [], []
            if self.boxed:
                first, first_end = _pipe(stack)
                passed += [_sealed("seccomp", refused.program(), stack), first_end]
                options = ["--seccomp", str(passed[0]), "--info-fd", str(first_end)]
            group = stack.enter_context(control_group(self.groups, limits.memory)) if self.groups else None
            results, results_end = _pipe(stack)
            printed, printed_end = _pipe(stack)
            resources = {
                "cpu": math.ceil(limits.wall),
                "fsize": limits.file_size,
                "nofile": 256,
                "core": 0,
            }
            process = subprocess.Popen(
                [
                    *(group.command() if group else ()),
                    *"choom --adjust 1000 --".split(),  # where the machine runs out of memory, this goes first
                    *("prlimit", *(f"--{name}={value}" for name, value in resources.items()), "--"),
                    *self.command(limits, options),
                    # unbuffered: what was printed is there when the run is killed
                    *(sys.executable, "-I", "-B", "-u", self.runner, str(results_end)),
                ],
                stdin=stdin,
                stdout=printed_end,
                stderr=printed_end,
                pass_fds=[results_end, *passed],
                cwd="/",
                env=ENVIRONMENT,
                start_new_session=True,
            )
            stack.callback(_kill, process)
            os.close(results_end)
            os.close(printed_end)
            if self.boxed:
                os.close(first_end)
                stack.callback(_end_box, first)
            meter = Meter(process.pid)
            run = _watch(meter, results, printed, limits, clock or Clock(), {cell["grade_id"] for cell in cells})
            if run.ended is not None and group and group.overran():
                run.ended = Ended(limits.too_much_memory)
            return run


def _sealed(name: str, content: bytes, stack: ExitStack) -> int:
    """Return a descriptor from which `content` is read; it cannot be written, nor what it reads be changed."""
    written = os.memfd_create(name, os.MFD_CLOEXEC)
    with os.fdopen(written, "wb") as file:
        file.write(content)
        file.flush()
        descriptor = os.open(f"/proc/self/fd/{written}", os.O_RDONLY)
    stack.callback(os.close, descriptor)
    return descriptor


def _pipe(stack: ExitStack) -> tuple[int, int]:
    """Return a pipe's two ends. The end for writing is the caller's to close."""
    reading, writing = os.pipe()
    stack.callback(os.close, reading)
    return reading, writing


ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "HOME": "/tmp",
    "LANG": "C.UTF-8",
    # one thread a submission: jobs run side by side, and a thread counts as a process
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}


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


def _watch(meter: Meter, results: int, printed: int, limits: Limits, clock: Clock, exercises: set[str]) -> Run:
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


def _kill(process: subprocess.Popen) -> None:
    members = family(process.pid)
    with suppress(ProcessLookupError):  # already gone, which is what is wanted
        os.killpg(process.pid, signal.SIGKILL)
    for member in members:
        with suppress(psutil.NoSuchProcess):
            member.kill()
    process.wait()


def _end_box(first: int) -> None:
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


def _shown() -> set[Path]:
    """Return where the interpreter lies."""
    folders = {Path(sys.prefix), Path(sys.base_prefix), Path(sys.executable).resolve().parent.parent}
    return {path for path in folders | {path.resolve() for path in folders} if not path.is_relative_to("/usr")}


def _mounts(limits: Limits) -> list[str]:
    """Show the interpreter, read-only, and small scratch folders: nothing of the project, no home."""
    mounts = ["--proc", "/proc", "--dev", "/dev", "--ro-bind", "/usr", "/usr"]
    for scratch in ("/tmp", "/dev/shm"):
        mounts += ["--perms", "1777", "--size", str(limits.file_size), "--tmpfs", scratch]
    for name in ("bin", "sbin", "lib", "lib32", "lib64"):
        if Path("/", name).is_symlink():
            mounts += ["--symlink", os.readlink(f"/{name}"), f"/{name}"]
        elif Path("/", name).is_dir():
            mounts += ["--ro-bind", f"/{name}", f"/{name}"]
    shown = _shown()
    # a course that lies in what is shown, installed or checked out, is not for the answers
    courses = [Path(folder, name) for folder in site.getsitepackages() for name in ("cnnlib", "cnnbook", "autograder")]
    hidden = {course for course in courses if course.is_dir()}
    if any(CHECKOUT.is_relative_to(folder) for folder in (Path("/usr"), *shown)):
        hidden.add(CHECKOUT)
    for folder in sorted(shown | hidden):  # what lies inside another comes after it
        if folder in hidden:
            mounts += ["--tmpfs", str(folder)]
            continue
        for parent in reversed(folder.parents[:-1]):
            # left to itself bubblewrap makes them for its own user only, and the student's is another
            mounts += ["--perms", "0755", "--dir", str(parent)]
        mounts += ["--ro-bind", str(folder), str(folder)]
    for folder in sorted(hidden):
        mounts += ["--remount-ro", str(folder)]  # memory that nobody counts
    mounts += ["--ro-bind", "/dev/null", "/dev/zero"]  # mapped shared, it is memory that stays unmapped
    return [*mounts, "--ro-bind", str(RUNNER), *"/runner.py --chdir /tmp --remount-ro /dev --remount-ro /".split()]


def _as_another_user(limits: Limits, options: list[str]) -> list[str]:
    """Root's box: the student's code runs as a user that exists nowhere, and its processes are counted."""
    user = str(FIRST_UID + threading.get_native_id())
    return [
        *"bwrap --unshare-pid --unshare-net --unshare-ipc --unshare-uts --unshare-cgroup-try".split(),
        *"--die-with-parent --new-session --cap-drop ALL".split(),
        *"--cap-add CAP_SETUID --cap-add CAP_SETGID --cap-add CAP_SETPCAP".split(),
        *_mounts(limits),
        *options,
        *f"setpriv --reuid {user} --regid {user} --clear-groups --inh-caps=-all --bounding-set=-all --".split(),
    ]


def _in_a_user_namespace(limits: Limits, options: list[str]) -> list[str]:
    """Anybody's box, where the kernel lets unprivileged users make namespaces."""
    return [
        *"bwrap --unshare-all --unshare-user --die-with-parent --new-session --cap-drop ALL".split(),
        *"--uid 65534 --gid 65534".split(),
        *_mounts(limits),
        *options,
    ]


def _no_box(limits: Limits, options: list[str]) -> list[str]:
    return ["env", "-C", "/tmp"]


def _boxes() -> Iterator[Sandbox]:
    if os.geteuid() == 0:
        # no namespace of root's: the kernel exempts root from the limit on processes, there too
        boxes = [Sandbox("bubblewrap, as a user of its own", _as_another_user)]
    else:
        boxes = [Sandbox("bubblewrap, in a user namespace", _in_a_user_namespace)]
    groups = control_group_parent()
    if groups:
        yield from (replace(box, isolation=f"{box.isolation}, in a control group", groups=groups) for box in boxes)
    yield from boxes


APPARMOR = (
    "kernel.apparmor_restrict_unprivileged_userns is 1: AppArmor keeps ordinary users from namespaces, as Ubuntu 24.04 "
    "does. Allow them to bubblewrap alone, by a file /etc/apparmor.d/bwrap that says `abi <abi/4.0>, "
    "include <tunables/global> profile bwrap /usr/bin/bwrap flags=(unconfined) { userns, }`, "
    "then `sudo apparmor_parser -r /etc/apparmor.d/bwrap`; "
    "or to everybody: `sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0`"
)


def _apparmor_refuses() -> bool:
    try:
        return USER_NAMESPACES.read_text().strip() == "1"
    except OSError:  # no AppArmor, or one that knows no such rule
        return False


@cache
def find_sandbox(unsafe: bool = False) -> Sandbox:
    """Return a sandbox that works here, tried with a harmless job.

    Raises SandboxError where none does; with `unsafe`, answers then run with the grader's own rights, and every report
    says so.
    """
    for command in ("prlimit", "choom"):
        if shutil.which(command) is None:
            raise SandboxError(f"{command} is missing: install util-linux")
    tried = []
    try:
        refused.program()
        boxes = _boxes() if shutil.which("bwrap") else ()
    except OSError as error:
        tried.append(f"no system call can be refused ({error}); on Debian: apt install libseccomp2")
        boxes = ()
    for box in boxes:
        try:
            run = box.run([], Limits())
        except OSError as error:  # a control group that may not be made after all
            tried.append(f"{box.isolation}: {error}")
            continue
        if run.ended is None:
            return box
        tried.append(f"{box.isolation}: {run.ended.why}; {run.printed.strip()[:300]}")
    if unsafe:
        return Sandbox(
            "NOT ISOLATED: the answers ran with the grader's own rights (--unsafe)",
            _no_box,
            str(RUNNER),
            boxed=False,
        )
    if tried and _apparmor_refuses():
        tried.append(APPARMOR)
    reason = "; ".join(tried) or "bubblewrap (the command bwrap) is not installed; on Debian: apt install bubblewrap"
    raise SandboxError(
        f"student code can't be isolated on this machine: {reason}. "
        "To run it with your own rights all the same, type --unsafe"
    )


@cache
def open_sandbox(unsafe: bool = False) -> Sandbox:
    """Return a sandbox that works here and in which answers can use torch.

    Raises SandboxError, with the reason, where there is none. Once a run of the grader is enough: its workers on the
    same machine take `find_sandbox`.
    """
    box = find_sandbox(unsafe)
    trial = {"grade_id": "torch", "source": "import torch", "answer": "", "cases": []}
    run = box.run([trial], Limits(seconds=60))  # the first import after a start reads a gigabyte from the disk
    failed = [record.error for record in run.records if isinstance(record, Failed)]
    if run.ended is not None or failed:
        why = "; ".join([*failed, *([run.ended.why] if run.ended is not None else []), run.printed.strip()[:300]])
        raise SandboxError(
            f"answers can't use torch: `import torch` in the sandbox says: {why}. "
            f"Every answer that imports it would get 0; repair the installation in {sys.prefix} first"
        )
    return box
