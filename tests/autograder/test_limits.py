"""Time is the student's own, a neighbour's greed costs nobody a point, and nothing outlives its run."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from autograder import batch, sandbox
from autograder.channel import Value
from autograder.downloads import HandedIn
from autograder.grading import Starved, grade
from autograder.judge import received
from autograder.limits import Clock, Ended, Limits, OutOfClock, SubmissionOver
from autograder.result import State
from autograder.submission import UnreadableNotebook, read
from autograder.watch import Run
from tests.autograder.conftest import ANSWERS, SEED, typed_answers
from tests.autograder.test_batch import record

RIGHT = typed_answers(ANSWERS / "convolution" / "loops.txt")
BOXES = list(sandbox._boxes())
in_every_box = pytest.mark.parametrize("box", BOXES, ids=lambda box: box.isolation)


def asked(box, *bodies, limits=None, clock=None):
    """Run answers, each given as the body of its function, with one case each."""
    cells = [
        {
            "grade_id": f"x{number}",
            "source": "import ctypes, os, signal, subprocess, sys, time\ndef answer():\n"
            + "".join(f"    {line}\n" for line in body.strip().splitlines()),
            "answer": "answer",
            "cases": [{"arguments": [], "parts": False}],
        }
        for number, body in enumerate(bodies)
    ]
    return box.run(cells, limits or Limits(seconds=0.5), *([clock] if clock else []))


def values(run):
    return [int(received(record.value)) for record in run.records if isinstance(record, Value)]


@pytest.fixture
def one_core():
    """This process and what it starts share one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)


@pytest.fixture
def busy(one_core, request):
    """Processes that take nine tenths of the one core, or as many shares of it as asked."""
    others = getattr(request, "param", 9)
    spinning = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(others)]
    yield
    for process in spinning:
        process.kill()
        process.wait()


NEEDS = "began = time.process_time()\nwhile time.process_time() < began + {}: pass\nreturn 8"
CHILDREN = "for _ in range(3):\n    if os.fork() == 0:\n        while True: pass\ntime.sleep(10**6)"
UNHEARD = "for name in ('SIGPROF', 'SIGALRM', 'SIGVTALRM'): signal.signal(getattr(signal, name), signal.SIG_IGN)\n"


@in_every_box
def test_an_answer_has_its_processor_time_however_long_that_takes(box, busy):
    limits = Limits(seconds=0.5, patience=100)
    assert values(asked(box, NEEDS.format(0.3), limits=limits)) == [8]


@in_every_box
@pytest.mark.parametrize(
    "body",
    [CHILDREN, UNHEARD + "while True: pass", UNHEARD + f"signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n{CHILDREN}",
     UNHEARD + "while True:\n    try:\n        while True: pass\n    except BaseException: pass"],
    ids=["children", "no interruption", "children whom nobody counts", "catches everything"],
)  # fmt: skip
def test_processor_time_is_that_of_the_whole_family(body, box):
    run = asked(box, body, limits=Limits(seconds=0.5, patience=1000))
    assert type(run.ended) is Ended and "0.5 seconds of processor time" in run.ended.why, run


@in_every_box
@pytest.mark.parametrize("busy", [2], indirect=True, ids=["a third of a core"])  # Python's own start is not starved
def test_an_answer_that_sleeps_is_ended_by_the_clock_and_is_not_starved(box, busy):
    run = asked(box, "time.sleep(10**6)", limits=Limits(seconds=0.5, patience=20))
    assert isinstance(run.ended, OutOfClock) and not run.ended.starved, run


@in_every_box
def test_an_answer_that_others_kept_from_the_processor_is_starved(box, busy):
    run = asked(box, NEEDS.format(10), limits=Limits(seconds=20, patience=0.25))
    assert isinstance(run.ended, OutOfClock) and run.ended.starved, run


def test_the_submission_has_one_clock_over_all_of_its_runs(box):
    limits = Limits(seconds=0.5)
    run = asked(box, "time.sleep(10**6)", limits=limits, clock=Clock(began=Clock().began - limits.wall))
    assert isinstance(run.ended, SubmissionOver), run


class Clocked:
    """A box whose every run ends as told."""

    isolation = "played by a test"

    def __init__(self, ended):
        self.ended, self.clocks = ended, []

    def run(self, cells, limits, clock=None, numpy_only=False):
        self.clocks.append(clock)
        return Run(ended=self.ended)


def test_what_was_not_reached_when_the_submissions_time_was_over_gets_no_points(convolution, hand_in):
    box = Clocked(SubmissionOver("the time was over", starved=False))
    result = grade(hand_in(RIGHT), "ada", convolution, box, SEED, alone=False)
    assert (result.state, result.reason, len(box.clocks)) == (State.ZERO, "the time was over; not answered", 1)


def test_a_starved_run_costs_no_point_unless_it_was_alone(convolution, hand_in):
    box = Clocked(SubmissionOver("the time was over", starved=True))
    with pytest.raises(Starved):
        grade(hand_in(RIGHT), "ada", convolution, box, SEED, alone=False)
    assert grade(hand_in(RIGHT), "ada", convolution, box, SEED, alone=True).state is State.ZERO


def starve(student, handed_in, problem_set, settings, alone=False):
    if student == "ben" and not alone:
        raise Starved("the time was over")
    return record(student)


def test_the_starved_are_graded_again_alone(monkeypatch, convolution):
    monkeypatch.setattr(batch, "grade_student", starve)
    monkeypatch.setattr(batch, "_pool", ThreadPoolExecutor)
    settings = batch.Settings.draw(convolution, SEED, seconds=5, unsafe=False)
    students = {name: HandedIn() for name in ("ada", "ben", "cleo")}
    results = [r for r in batch.grade_class(students, convolution, settings, jobs=2)]
    assert [r.student for r in results][-1] == "ben" and {r.state for r in results} == {State.GRADED}
    assert {r.student for r in results} == students.keys()


def test_forty_spinning_children_leave_a_neighbour_its_points(convolution, hand_in, tmp_path, one_core, monkeypatch):
    monkeypatch.setattr(batch, "_pool", ThreadPoolExecutor)
    spin = "import os, time\nfor _ in range(40):\n    try:\n        if os.fork() == 0:\n            while True: pass\n"
    spin += "    except OSError: pass\ntime.sleep(10**6)"
    (tmp_path / "class").mkdir()
    work = "import time\nbegan = time.process_time()\nwhile time.process_time() < began + 1: pass\n"
    hand_in(dict.fromkeys(("forward", "weight-gradient"), spin), "a spinner", folder=tmp_path / "class")
    hand_in(RIGHT | {"forward": work + RIGHT["forward"]}, "b neighbour", folder=tmp_path / "class")
    settings = batch.Settings.draw(convolution, SEED, seconds=2, unsafe=False)
    found = {path.stem: HandedIn((path,)) for path in (tmp_path / "class").glob("*.ipynb")}
    scores = {r.student: r.score for r in batch.grade_class(found, convolution, settings, jobs=2)}
    assert scores == {"a spinner": 0, "b neighbour": 30}


OUTLIVE = """
for _ in range(4):
    if os.fork() == 0:
        os.setsid()
        for number in range(1, 65):
            try: signal.signal(number, signal.SIG_IGN)
            except (OSError, ValueError): pass
        if os.fork() == 0:
            os.execv(sys.executable, [sys.executable, '-c', 'import time; time.sleep(98764)'])
        os._exit(0)
def alive():
    for number in filter(str.isdigit, os.listdir('/proc')):
        try: yield b'time.sleep(98764)' in open(f'/proc/{number}/cmdline', 'rb').read()
        except OSError: pass
while sum(alive()) < 4: time.sleep(0.01)
"""


@in_every_box
@pytest.mark.parametrize("end", ["return 8", "os._exit(0)", "while True: pass"])
def test_nothing_outlives_its_run(end, box):
    run = asked(box, OUTLIVE + end, limits=Limits(seconds=0.5, patience=100))
    assert not isinstance(run.ended, OutOfClock), "the children never began"
    assert [p for p in psutil.process_iter(["cmdline"]) if "time.sleep(98764)" in (p.info["cmdline"] or [""])[-1]] == []


REACHES = {
    "ptrace of the box's first process": "ptrace(16, 1, 0, 0)",
    "reading another process": "process_vm_readv(1, None, 0, None, 0, 0)",
    "writing another process": "process_vm_writev(1, None, 0, None, 0, 0)",
    "keyrings": "syscall({'x86_64': 248, 'aarch64': 217}[os.uname().machine], b'user', b'x', b'x', 1, -3)",
    "bpf": "syscall({'x86_64': 321, 'aarch64': 280}[os.uname().machine], 0, 0, 0)",
}


@in_every_box
def test_what_reaches_into_processes_and_the_kernel_is_refused(box):
    bodies = [f"ctypes.set_errno(0)\nctypes.CDLL(None, use_errno=True).{call}\nreturn ctypes.get_errno()"
              for call in REACHES.values()]  # fmt: skip
    assert values(asked(box, *bodies)) == [1] * len(REACHES)  # EPERM


@in_every_box
def test_a_checkout_below_the_interpreters_prefix_is_out_of_sight(box, tmp_path, monkeypatch):
    checkout = tmp_path / "prefix" / "src" / "course"
    (checkout / "homework").mkdir(parents=True)
    (checkout / "homework" / "convolution.md").write_text("the solution")
    (tmp_path / "prefix" / "seen").touch()
    for folder in (tmp_path, *tmp_path.parents):
        if folder.owner() == "root" and folder.is_relative_to("/tmp/pytest-of-root"):
            folder.chmod(0o755)
    shown = sandbox._shown()
    monkeypatch.setattr(sandbox, "CHECKOUT", checkout)
    monkeypatch.setattr(sandbox, "_shown", lambda: shown | {tmp_path / "prefix"})
    look = f"return [os.path.exists({str(tmp_path / 'prefix' / 'seen')!r}), len(os.listdir({str(checkout)!r}))]"
    run = asked(box, look)
    assert [received(r.value).tolist() for r in run.records if isinstance(r, Value)] == [[1, 0]], run
    run = asked(box, f"open({str(checkout / 'x')!r}, 'w')")
    assert not values(run)


@in_every_box
def test_what_was_printed_survives_the_kill(box):
    assert asked(box, "print('here', end='')\nos._exit(0)").printed == "here"


WITHOUT_A_WORD = {
    "ends at its second definition": (
        "import os\nif os.path.exists('/tmp/seen'): os._exit(0)\nopen('/tmp/seen', 'w')\n1 / 0",
        "os._exit(0)",
    ),
    "a time bomb in a cell that failed": ("import os, threading\nthreading.Timer(0.3, os._exit, [0]).start()\n1 / 0",
                                          "import time; time.sleep(1)"),
    "blames the set-up": (
        "import json, os\nfor fd in range(3, 9):\n"
        "    try: os.write(fd, (json.dumps(dict(step='define', exercise='setup')) + chr(10)).encode())\n"
        "    except OSError: pass\nos._exit(0)",
        "os._exit(0)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("way", WITHOUT_A_WORD)
def test_no_answer_sends_itself_to_a_human(way, graded):
    forward, behind = WITHOUT_A_WORD[way]
    result = graded({"forward": forward, "weight-gradient": f"def circular_conv2d_backward_weight(*a):\n    {behind}"})
    assert (result.state, result.score) == (State.ZERO, 0), result


def test_a_box_that_fails_without_the_answers_too_is_nobodys_fault(convolution, hand_in):
    result = grade(hand_in(RIGHT), "ada", convolution, Clocked(Ended("no room")), SEED)
    assert result.state is State.HUMAN and "fails without the answers too: no room" in result.reason


def test_who_ends_the_process_before_any_answer_gets_nothing(convolution, hand_in):
    class OnlyBare(Clocked):
        def run(self, cells, limits, clock=None, numpy_only=False):
            return Run(ended=self.ended if any(cell["cases"] for cell in cells) else None)

    result = grade(hand_in(RIGHT), "ada", convolution, OnlyBare(Ended("it ended")), SEED)
    assert (result.state, result.reason) == (State.ZERO, "it ended; not answered")


def code_cell(text):
    return {"cell_type": "code", "source": text}


ENDLESS = {
    "import a.a.a": ([code_cell("import " + ".".join("a" * 99_000))], "SECONDS", 2, "seconds of processor time"),
    "three million empty cells": ([{}] * 3_000_000, "MEMORY", 256 << 20, "MB of memory"),
}


@pytest.mark.parametrize("way", ENDLESS)
def test_what_takes_too_long_to_read_needs_a_human(way, convolution, tmp_path, monkeypatch):
    notebook, limit, value, says = ENDLESS[way]
    monkeypatch.setattr(f"autograder.submission.{limit}", value)
    path = tmp_path / "ada.ipynb"
    path.write_text(json.dumps({"cells": notebook}, separators=(",", ":")))
    with pytest.raises(UnreadableNotebook, match=f"ada.ipynb cannot be read: .* more than [0-9]+ {says}"):
        read(path, convolution)


def test_apparmor_is_named_where_it_stops_bubblewrap(tmp_path, monkeypatch):
    rule = tmp_path / "rule"
    monkeypatch.setattr(sandbox, "USER_NAMESPACES", rule)
    monkeypatch.setattr(sandbox, "_boxes", lambda: iter([Broken("bubblewrap, in a user namespace", None)]))
    for content, named in (("1\n", True), ("0\n", False), (None, False)):
        rule.unlink(missing_ok=True)
        if content is not None:
            rule.write_text(content)
        sandbox.find_sandbox.cache_clear()
        with pytest.raises(sandbox.SandboxError) as error:
            sandbox.find_sandbox()
        assert ("kernel.apparmor_restrict_unprivileged_userns is 1" in str(error.value)) is named
    sandbox.find_sandbox.cache_clear()


class Broken(sandbox.Sandbox):
    """bubblewrap, where the kernel lets nobody make a namespace."""

    def run(self, cells, limits, clock=None, numpy_only=False):
        return Run(printed="bwrap: setting up uid map: Permission denied", ended=Ended("the process ended"))
