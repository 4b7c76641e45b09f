"""A class is graded to its end: killed runs go on, dying graders harm nobody, changed checks show who changes."""

import csv
import io
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from autograder import batch, export
from autograder.late import LatePolicy, handed_in
from autograder.result import CaseResult, CodeResult, Result, State, Undecided
from autograder.verdict import Right, Wrong
from tests.autograder.conftest import ANSWERS, SEED, typed_answers

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
            (f"s{n:02d}", "6") for n in range(6)
        ]


def die(student, *rest):
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
    students = {name: [] for name in ("a", "faulty", "deadly", "b", "c")}
    results = {r.student: r.state for r in batch.grade_class(students, tmp_path, convolution, settings, jobs=2)}
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
    (student,) = batch.find(tmp_path / "class", "convolution")
    store = batch.Results(tmp_path / "results")
    store.begin(settings)
    store.save(record(student))
    assert list(store.load()) == [student]
    batch.write(tmp_path / f"{student}.html", "")
    (tmp_path / "autograded" / student).mkdir(parents=True)
    assert student == name or len(name) > 250 or not name.isascii()


def test_long_names_stay_apart(tmp_path):
    for end in "ab":
        (tmp_path / ("l" * 254 + end)).mkdir()
    assert len(batch.find(tmp_path, "convolution")) == 2


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


@pytest.mark.parametrize(
    ("files", "found"),
    [
        (["ada/convolution/convolution.ipynb"], {"ada": ["convolution.ipynb"]}),
        (["ada/convolution/other.ipynb"], {"ada": ["other.ipynb"]}),
        (["ada/convolution (1).ipynb"], {"ada": ["convolution (1).ipynb"]}),
        (["ada/convolution.ipynb", "ada/scratch.ipynb"], {"ada": ["convolution.ipynb"]}),
        (["ada/a.ipynb", "ada/b.ipynb"], {"ada": ["a.ipynb", "b.ipynb"]}),
        (["ada.ipynb", "ada/convolution.ipynb"], {"ada": ["convolution.ipynb", "ada.ipynb"]}),
        (["ada/notes.txt", ".hidden/x.ipynb"], {"ada": []}),
        (["a\udce4da.ipynb"], {"a\ufffdda": ["a\udce4da.ipynb"]}),
    ],
)
def test_submissions_are_found_in_every_layout(files, found, tmp_path):
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text("{}")
    names = {student: [path.name for path in paths] for student, paths in batch.find(tmp_path, "convolution").items()}
    assert names == found


def test_several_notebooks_are_no_zero(tmp_path, convolution, settings, hand_in):
    paths = [hand_in(TABLE, name) for name in ("a", "b")]
    result = batch.grade_student("ada", paths, tmp_path, convolution, settings)
    assert (result.state, result.score) == (State.HUMAN, None) and "several notebooks" in result.reason


DUE = datetime(2027, 3, 1, 12, 0).astimezone()


@pytest.mark.parametrize(
    ("after", "days", "score"),
    [(-1, 0, 20), (0, 0, 20), (1, 1, 20), (24 * 3600, 1, 20), (24 * 3600 + 1, 2, 18), (99 * 24 * 3600, 99, 0)],
)
def test_late_days(after, days, score):
    result = replace(record("ada", right=20), handed_in=(DUE + timedelta(seconds=after)).isoformat())
    late = LatePolicy(DUE.replace(tzinfo=None), free=1, percent=10)
    assert (late.days(result), late.score(result)) == (days, score)
    (row,) = csv.DictReader(io.StringIO(export.table([result], "csv", "Set", late)))
    assert (row["score"], row["days late"], row["final"]) == ("20", str(days), f"{score:g}")


def test_no_grade_stays_no_grade_however_late():
    late = LatePolicy(DUE)
    handed_in = (DUE + timedelta(days=3)).isoformat()
    result = replace(record("ada"), judged=Undecided("no notebook"), handed_in=handed_in)
    assert late.score(result) is None
    for layout in export.FORMATS:
        rows = list(csv.reader(io.StringIO(export.table([result], layout, "Set", late))))
        assert "0" not in rows[-1]


def test_time_of_handing_in(tmp_path):
    notebook = tmp_path / "x.ipynb"
    notebook.write_text("{}")
    os.utime(notebook, (0, 0))
    assert handed_in(notebook) == "1970-01-01T00:00:00+00:00"
    stamp = tmp_path / "timestamp.txt"
    stamp.write_text("2027-02-02 15:58:23.948203 America/Los_Angeles\n")
    assert handed_in(notebook) == "2027-02-02T15:58:23.948203-08:00"
    for nonsense in ("yesterday", "2027-02-02 10:00 Nowhere/Land", "", "\x00"):
        stamp.write_text(nonsense)
        assert handed_in(notebook) == "1970-01-01T00:00:00+00:00"
