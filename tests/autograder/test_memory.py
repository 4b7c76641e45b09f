"""What an answer maps costs nothing; what it holds is limited, whatever it holds it in."""

import pytest

from autograder import sandbox
from autograder.channel import Failed, Raised, Value
from autograder.control_group import parent
from autograder.judge import received
from autograder.limits import Limits

LIMIT = 256 << 20
BOXES = list(sandbox._boxes())

SPARING = {
    "maps 8 GiB that it never touches": """
m = mmap.mmap(-1, 8 << 30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=mmap.PROT_READ)
return len(m) >> 30""",
    "children that share what their parent holds": """
hold = np.ones(20 << 20, dtype=np.int64)
for _ in range(4):
    if os.fork() == 0:
        hold.sum(); time.sleep(5); os._exit(0)
time.sleep(1)
return 8""",
}
GREEDY = {
    "memory of its own": ("hold = np.ones(400 << 20, dtype=np.int8)\ntime.sleep(9)", "used more than 256 MB of memory"),
    "page tables": (
        "m = mmap.mmap(-1, 1 << 38, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=mmap.PROT_READ)\n"
        "m.madvise(mmap.MADV_NOHUGEPAGE)\nfor at in range(0, len(m), 2 << 20): m[at]\ntime.sleep(9)",
        "used more than 256 MB of memory",
    ),
    # what stays when no process maps it any more
    "a shared mapping": ("mmap.mmap(-1, 4096)", "Operation not permitted (line "),
    "/dev/zero, shared": (
        "mmap.mmap(os.open('/dev/zero', os.O_RDWR), 4096)",
        "PermissionError: [Errno 13] Permission denied: '/dev/zero' (line ",
    ),
    "connections": ("socket.socket()", "Operation not permitted (line "),
    "pairs of sockets": ("socket.socketpair()", "Operation not permitted (line "),
    "pages given to a pipe": ("call('vmsplice', os.pipe()[1], None, 0, 0)", "Operation not permitted (line "),
    "rings of the kernel's": (
        "call('syscall', 425, 8, ctypes.create_string_buffer(120))",  # io_uring_setup, of one number everywhere
        "Operation not permitted (line ",
    ),
    "children": (
        "for _ in range(5):\n    if os.fork() == 0:\n        hold = np.ones(80 << 20, dtype=np.int8); time.sleep(9)\n"
        "time.sleep(9)",
        "used more than 256 MB of memory",
    ),
    "/dev/shm": ("fill('/dev/shm')", "No space left on device (line "),
    "/tmp": ("fill('/tmp')", "No space left on device (line "),
    "files in memory": ("os.memfd_create('x')", "Operation not permitted (line "),
    "System V's shared memory": ("call('shmget', 0, 400 << 20, 0o1600)", "Operation not permitted (line "),
    "System V's messages": ("call('msgget', 0, 0o1600)", "Operation not permitted (line "),
    "folders in memory of its own": ("call('unshare', 0x10020000)", "Operation not permitted (line "),
    "a child with folders in memory of its own": (
        # clone(2) of x86-64 and aarch64, with its flags in the first argument
        "call('syscall', {'x86_64': 56, 'aarch64': 220}[os.uname().machine], 0x10020011, 0, 0, 0, 0)",
        "Operation not permitted (line ",
    ),
}
CELL = """
import ctypes, mmap, os, socket, time
import numpy as np

def fill(folder):
    for n in range(40):
        with open(f"{folder}/{n}", "wb") as file:
            file.write(bytes(10 << 20))

def call(name, *arguments):
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

def answer():
"""


def asked(box, code):
    source = CELL + "".join(f"    {line}\n" for line in code.strip().splitlines())
    cell = {"grade_id": "x", "source": source, "answer": "answer", "cases": [{"arguments": [], "parts": False}]}
    return box.run([cell], Limits(memory=LIMIT))


@pytest.mark.parametrize("box", BOXES, ids=lambda box: box.isolation)
@pytest.mark.parametrize("way", SPARING)
def test_what_is_not_held_is_not_counted(way, box):
    run = asked(box, SPARING[way])
    values = [record.value for record in run.records if isinstance(record, Value)]
    assert run.ended is None and [int(received(value)) for value in values] == [8], run


@pytest.mark.parametrize("box", BOXES, ids=lambda box: box.isolation)
@pytest.mark.parametrize("way", GREEDY)
def test_what_is_held_is_limited_and_named(way, box):
    code, says = GREEDY[way]
    run = asked(box, code)
    said = [record.error for record in run.records if isinstance(record, Raised | Failed)]
    assert says in (run.ended.why if run.ended else " ".join(said)), run


def test_a_torch_that_does_not_load_is_said_before_anybody_is_graded(monkeypatch):
    found = sandbox.find_sandbox()
    monkeypatch.setattr(sandbox, "find_sandbox", lambda unsafe: NoTorch(found))
    sandbox.open_sandbox.cache_clear()
    try:
        with pytest.raises(
            sandbox.SandboxError, match=r"answers can't use torch: .*No module named 'torch'.* would get 0"
        ):
            sandbox.open_sandbox()
    finally:
        sandbox.open_sandbox.cache_clear()


class NoTorch:
    """A box in which torch is missing."""

    def __init__(self, box):
        self.box = box

    def run(self, cells, limits):
        hidden = {"source": "import sys\nsys.modules['torch'] = None\n" + cells[0]["source"]}
        run = self.box.run([cells[0] | hidden], limits)
        run.records = [
            r.model_copy(update={"error": "ModuleNotFoundError: No module named 'torch'"})
            if isinstance(r, Failed)
            else r
            for r in run.records
        ]
        return run


class Kernel:
    """A folder that looks like the kernel's groups. The kernel's own cannot be had on every machine."""

    def __init__(self, tmp_path):
        self.own, self.mounted = tmp_path / "cgroup", tmp_path / "fs"
        self.slice = self.mounted / "user.slice"
        (self.slice / "session.scope").mkdir(parents=True)
        self.own.write_text("3:cpu:/\n0::/user.slice/session.scope\n")
        for folder, controllers in (
            ("", "cpu memory"),
            ("user.slice", "cpu memory pids"),
            ("user.slice/session.scope", ""),
        ):
            (self.mounted / folder / "cgroup.subtree_control").write_text(controllers)


def test_the_nearest_group_that_counts_memory_is_taken(tmp_path):
    kernel = Kernel(tmp_path)
    assert parent(kernel.own, kernel.mounted) == kernel.slice
    (kernel.slice / "cgroup.subtree_control").write_text("cpu")
    assert parent(kernel.own, kernel.mounted) == kernel.mounted
    (kernel.mounted / "cgroup.subtree_control").write_text("cpu")
    assert parent(kernel.own, kernel.mounted) is None
    kernel.own.write_text("4:memory:/\n")
    assert parent(kernel.own, kernel.mounted) is None
    assert parent(tmp_path / "none", kernel.mounted) is None
