"""The box that a student's code runs in: bubblewrap, resource limits, two bounded pipes."""

import json
import math
import os
import shutil
import site
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from autograder import refused
from autograder.channel import Failed
from autograder.control_group import control_group
from autograder.control_group import parent as control_group_parent
from autograder.limits import Clock, Ended, Limits
from autograder.processes import Meter, end_box, kill
from autograder.watch import Run, watch

RUNNER = Path(__file__).with_name("runner.py")
CHECKOUT = RUNNER.parent.parent  # holds the solutions
USER_NAMESPACES = Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
FIRST_UID = 2_000_000_000  # far above any account; one uid a grading thread, so that process limits are not shared


class SandboxError(RuntimeError):
    """The sandbox cannot be set up on this machine; nothing can be said about the student."""


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
            stack.callback(kill, process)
            os.close(results_end)
            os.close(printed_end)
            if self.boxed:
                os.close(first_end)
                stack.callback(end_box, first)
            meter = Meter(process.pid)
            run = watch(meter, results, printed, limits, clock or Clock(), {cell["grade_id"] for cell in cells})
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
