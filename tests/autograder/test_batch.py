"""A class is graded to its end: killed runs go on, dying graders harm nobody, changed checks show who changes."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from autograder import batch, downloads
from autograder.downloads import HandedIn
from autograder.result import CaseResult, CodeResult, Result, State
from autograder.verdict import Right, Wrong
from tests.autograder.conftest import ANSWERS, SEED, points_of, typed_answers

ROOT = Path(__file__).resolve().parents[2]
TABLE = {"sizes": typed_answers(ANSWERS / "convolution" / "loops.txt")["sizes"]}
SLOW = {"sizes": "import time\ntime.sleep(0.7)\n" + TABLE["sizes"]}


@pytest.fixture
def settings(convolution):
    return batch.Settings.draw(convolution, SEED, seconds=5, unsafe=False)


def test_a_killed_run_goes_on(tmp_path, hand_in):
    folder, results = tmp_path / "class", tmp_path / "results"
    folder.mkdir()
    for number in range(6):
        hand_in(SLOW, f"s{number:02d}", folder=folder)
    words = [sys.executable, "-m", "autograder", "grade", "convolution", str(folder), "--results", str(results)]
    first = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    records = results / "records"
    limit = time.monotonic() + 300
    while len(list(records.glob("s*.json"))) < 2:
        assert first.poll() is None and time.monotonic() < limit
        time.sleep(0.02)
    first.send_signal(signal.SIGKILL)
    first.wait()
    kept = {path: path.read_bytes() for path in records.glob("s*.json")}
    assert 2 <= len(kept) < 6
    second = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert second.returncode == 0, second.stderr
    assert f"6 submissions, {len(kept)} of them graded before" in second.stdout
    assert {path: path.read_bytes() for path in kept} == kept
    with (results / "grades.csv").open() as file:
        assert [(row["student"], row["score"]) for row in csv.DictReader(file)] == [
            (f"s{n:02d}", f"{points_of('sizes'):g}") for n in range(6)
        ]


def die(student, *rest, alone=False):
    if student == "deadly":
        os.kill(os.getpid(), signal.SIGKILL)
    if student == "faulty":
        raise ZeroDivisionError("a fault of the grader's own")
    return record(student)


def record(student, right=1, points=30.0):
    """A record with `right` of 30 cases right."""
    cases = [CaseResult(f"case {n}", Right() if n < right else Wrong("all zeros")) for n in range(30)]
    exercises = [CodeResult("forward", "Forward", points, cases)]
    return Result(student, "convolution", points, SEED, 0, "bubblewrap", exercises)


def test_a_notebook_that_kills_its_grader_harms_nobody(monkeypatch, convolution, settings, tmp_path):
    monkeypatch.setattr(batch, "grade_student", die)
    students = {name: HandedIn() for name in ("a", "faulty", "deadly", "b", "c")}
    results = {r.student: r.state for r in batch.grade_class(students, convolution, settings, jobs=2)}
    assert results == {name: State.HUMAN if name in ("deadly", "faulty") else State.GRADED for name in students}


def test_a_damaged_record_is_graded_again(tmp_path, settings):
    store = batch.Results(tmp_path)
    store.begin(settings)
    store.save(record("whole"))
    (tmp_path / "records" / "half.json").write_text(record("half").dumps()[:100])
    (tmp_path / "records" / "ben.json").write_text(record("ada").dumps())
    assert store.load() == {"whole": record("whole")}


@pytest.mark.parametrize("name", ["l" * 246, "l" * 255, "é" * 127, "\udce4" * 249])
def test_a_long_name_ends_nothing(name, tmp_path, settings):
    (tmp_path / "class" / name).mkdir(parents=True)
    (student,) = downloads.find(tmp_path / "class", "convolution", tmp_path / "unpacked").students
    store = batch.Results(tmp_path / "results")
    store.begin(settings)
    store.save(record(student))
    assert list(store.load()) == [student]
    batch.write(tmp_path / f"{student}.html", "")
    (tmp_path / "autograded" / student).mkdir(parents=True)


def test_long_names_stay_apart(tmp_path):
    for end in "ab":
        (tmp_path / "class" / ("l" * 254 + end)).mkdir(parents=True)
    assert len(downloads.find(tmp_path / "class", "convolution", tmp_path / "unpacked").students) == 2


def test_a_full_disk_leaves_the_old_record(tmp_path, settings, monkeypatch):
    store = batch.Results(tmp_path)
    store.begin(settings)
    store.save(record("ada"))

    def full(self, *args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space left"):
        store.save(record("ada", right=2))
    assert store.load()["ada"].score == 1.0
