"""The box that a student's code runs in: bubblewrap, resource limits, one clock, two bounded pipes.

Memory is limited where it is real: by a control group of the kernel's where the machine gives one, and everywhere by a
sum over the run's processes. How many addresses a process maps is nobody's concern; torch alone maps gigabytes.
"""

import json
import math
import os
import re
import selectors
import shutil
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
from autograder.channel import End, Failed, Record, parse
from autograder.control_group import control_group
from autograder.control_group import parent as control_group_parent

RUNNER = Path(__file__).with_name("runner.py")
WEIGH_EVERY = 0.1  # seconds between two looks at the memory in use
FIRST_UID = 2_000_000_000  # far above any account; one uid a grading thread, so that process limits are not shared


class SandboxError(RuntimeError):
    """The sandbox cannot be set up on this machine; nothing can be said about the student."""


@dataclass(frozen=True)
class Limits:
    """What one run may use: an exercise is interrupted after `seconds`, killed after `silence`."""

    seconds: float = 10.0
    memory: int = 1 << 30  # real memory of all processes of the run together
    processes: int = 48
    file_size: int = 16 << 20
    results: int = 16 << 20
    printed: int = 64 << 20
    shown: int = 4000  # of what was printed, in bytes

    @property
    def silence(self) -> float:
        """Longest time between two records, in seconds: an exercise that cannot be interrupted is killed."""
        return 1.5 * self.seconds

    @property
    def wall(self) -> float:
        """Longest time of a whole run, in seconds."""
        return 9 * self.seconds

    @property
    def too_much_memory(self) -> str:
        """What a student reads whose answers needed more than `memory`."""
        return f"used more than {self.memory >> 20} MB of memory"


@dataclass
class Run:
    """What came out: the runner's records, what the student printed, and why it ended early (None: it did not)."""

    records: list[Record] = field(default_factory=list)
    printed: str = ""
    ended: str | None = None

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
                self.ended = "something else than the answers was written into their channel"
                return


@dataclass(frozen=True)
class Sandbox:
    """A way to run `runner.py` that worked on this machine; `isolation` is the sentence that reports carry."""

    isolation: str
    command: Callable[[Limits, list[str]], list[str]]  # takes more of bubblewrap's options
    runner: str = "/runner.py"
    boxed: bool = True  # False: no bubblewrap, no filter, and a run's processes count among the grader's own
    groups: Path | None = None  # where a control group can be made for each run

    def run(self, cells: list[dict[str, Any]], limits: Limits) -> Run:
        """Run cells and their cases to the end or to a limit. The process and all its children are gone afterwards."""
        job = {
            "cells": cells,
            "seconds": limits.seconds,
            "processes": limits.processes if self.boxed else None,
        }
        with ExitStack() as stack:
            stdin = _sealed("job", json.dumps(job).encode(), stack)
            options, passed = [], []
            if self.boxed:
                passed.append(_sealed("seccomp", refused.program(), stack))
                options = ["--seccomp", str(passed[0])]
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
                    *(sys.executable, "-I", "-B", self.runner, str(results_end)),
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
            run = _watch(process, results, printed, limits)
            if run.ended is not None and group and group.overran():
                run.ended = limits.too_much_memory
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


def _watch(process: subprocess.Popen, results: int, printed: int, limits: Limits) -> Run:
    """Read both pipes until the runner says that it is done, or until a limit is met."""
    run, line, text = Run(), b"", b""
    received = {results: 0, printed: 0}
    started = heard = weighed = time.monotonic()
    with selectors.DefaultSelector() as selector:
        for descriptor in received:
            selector.register(descriptor, selectors.EVENT_READ)
        while run.ended is None and not run.complete:
            for key, _ in selector.select(timeout=WEIGH_EVERY):
                chunk = os.read(key.fd, 1 << 16)
                received[key.fd] += len(chunk)
                if not chunk:
                    selector.unregister(key.fd)
                    if key.fd == results:
                        run.ended = run.ended or "the process ended before the answers were complete"
                elif key.fd == printed:
                    text += chunk[: limits.shown - len(text)]
                else:
                    heard = time.monotonic()
                    *complete, line = (line + chunk).split(b"\n")
                    run.take(complete)
            now = time.monotonic()
            if run.ended is not None:
                break
            limit = None
            if received[results] > limits.results:
                limit = f"answers of more than {limits.results >> 20} MB"
            elif received[printed] > limits.printed:
                limit = f"printed more than {limits.printed >> 20} MB"
            elif now - started > limits.wall:
                limit = f"took longer than {limits.wall:g} seconds altogether"
            elif now - heard > limits.silence:
                limit = f"no answer for {limits.silence:g} seconds, and it could not be interrupted"
            elif now - weighed > WEIGH_EVERY:
                weighed = now
                if memory_exceeds(process.pid, limits.memory):
                    limit = limits.too_much_memory
            if limit is not None:
                run.take((line + _unread(results, limits.results - received[results])).split(b"\n")[:-1])
                run.ended = None if run.complete else run.ended or limit
                break
    run.printed = text.decode(errors="replace")
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
    try:
        family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return False
    limit -= sum(_not_resident(member.pid) for member in family)
    return _sum(family, lambda member: member.memory_info().rss) > limit and _sum(family, _share) > limit


def _sum(family: list[psutil.Process], size: Callable[[psutil.Process], int]) -> int:
    total = 0
    for member in family:
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
    try:
        os.killpg(process.pid, 9)
    except ProcessLookupError:
        pass  # already gone, which is what is wanted
    process.wait()


def _mounts(limits: Limits) -> list[str]:
    """Show the interpreter, read-only, and small scratch folders: nothing of the project, no home."""
    interpreters = {Path(sys.prefix), Path(sys.base_prefix), Path(sys.executable).resolve().parent.parent}
    interpreters |= {path.resolve() for path in interpreters}
    mounts = ["--proc", "/proc", "--dev", "/dev", "--ro-bind", "/usr", "/usr"]
    for scratch in ("/tmp", "/dev/shm"):
        mounts += ["--perms", "1777", "--size", str(limits.file_size), "--tmpfs", scratch]
    for name in ("bin", "sbin", "lib", "lib32", "lib64"):
        if Path("/", name).is_symlink():
            mounts += ["--symlink", os.readlink(f"/{name}"), f"/{name}"]
        elif Path("/", name).is_dir():
            mounts += ["--ro-bind", f"/{name}", f"/{name}"]
    for folder in sorted(path for path in interpreters if not path.is_relative_to("/usr")):
        for parent in reversed(folder.parents[:-1]):
            # left to itself bubblewrap makes them for its own user only, and the student's is another
            mounts += ["--perms", "0755", "--dir", str(parent)]
        mounts += ["--ro-bind", str(folder), str(folder)]
    for packages in site.getsitepackages():
        for name in ("cnnlib", "cnnbook", "autograder"):
            if Path(packages, name).is_dir():  # a course installed into the environment is not for the answers
                mounts += ["--tmpfs", f"{packages}/{name}"]
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
    boxes = [Sandbox("bubblewrap, in a user namespace", _in_a_user_namespace)]
    if os.geteuid() == 0:
        boxes.insert(0, Sandbox("bubblewrap, as a user of its own", _as_another_user))
    groups = control_group_parent()
    if groups:
        yield from (replace(box, isolation=f"{box.isolation}, in a control group", groups=groups) for box in boxes)
    yield from boxes


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
        tried.append(f"{box.isolation}: {run.ended}; {run.printed.strip()[:300]}")
    if unsafe:
        return Sandbox(
            "NOT ISOLATED: the answers ran with the grader's own rights (--unsafe)",
            _no_box,
            str(RUNNER),
            boxed=False,
        )
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
        why = "; ".join([*failed, *([run.ended] if run.ended is not None else []), run.printed.strip()[:300]])
        raise SandboxError(
            f"answers can't use torch: `import torch` in the sandbox says: {why}. "
            f"Every answer that imports it would get 0; repair the installation in {sys.prefix} first"
        )
    return box
