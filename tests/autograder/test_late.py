"""Late days are those of the wall's clock, and the LMS says when somebody handed in, never the student."""

import csv
import io
import os
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from typer.testing import CliRunner

from autograder import export
from autograder.__main__ import app
from autograder.batch import Results, Settings
from autograder.downloads import find
from autograder.grading import questions
from autograder.late import DUE as EXTENDED
from autograder.late import LatePolicy, file_time, read_times, zone
from autograder.result import CaseResult, CodeResult, Undecided
from autograder.verdict import Right
from tests.autograder.conftest import SEED
from tests.autograder.test_batch import record

ZURICH = ZoneInfo("Europe/Zurich")
DUE = datetime(2027, 3, 1, 12, 0, tzinfo=ZURICH)


def after(seconds, due=DUE):
    return (due.astimezone(UTC) + timedelta(seconds=seconds)).isoformat()


@pytest.mark.parametrize(
    ("seconds", "days", "score"),
    [(-1, 0, 20), (0, 0, 20), (1, 1, 20), (24 * 3600, 1, 20), (24 * 3600 + 1, 2, 18), (20 * 24 * 3600, 20, 0)],
)
def test_late_days(seconds, days, score):
    result = replace(record("ada", right=20), file_time=after(seconds))
    late = LatePolicy(DUE, free=1, percent=10)
    assert (late.days(result), late.score(result)) == (days, score)
    (row,) = csv.DictReader(io.StringIO(export.table([result], "csv", "Set", late)))
    assert (row["score"], row["days late"], row["final"], row["says"]) == ("20", str(days), f"{score:g}", "file")


@pytest.mark.parametrize(
    ("due", "handed_in", "days"),
    [
        ("2027-03-27T23:59", "2027-03-28T23:59", 1),  # 23 hours
        ("2027-03-27T23:59", "2027-03-29T00:00", 2),
        ("2027-10-30T23:59", "2027-10-31T23:59", 1),  # 25 hours
        ("2027-10-30T23:59", "2027-11-01T00:00", 2),
    ],
)
def test_the_day_of_a_clock_change_is_one_day(due, handed_in, days):
    due, handed_in = (datetime.fromisoformat(time).replace(tzinfo=ZURICH) for time in (due, handed_in))
    assert LatePolicy(due).days(replace(record("ada"), file_time=handed_in.astimezone(UTC).isoformat())) == days


def test_an_hour_that_comes_twice_is_late_the_second_time():
    due = datetime(2027, 10, 31, 2, 30, tzinfo=ZURICH)
    again = due.replace(fold=1)
    assert again.astimezone(UTC) > due.astimezone(UTC)
    assert LatePolicy(due).days(replace(record("ada"), file_time=again.astimezone(UTC).isoformat())) == 1


def test_no_grade_stays_no_grade_however_late():
    late = LatePolicy(DUE)
    result = replace(record("ada"), judged=Undecided("no notebook"), file_time=after(3 * 24 * 3600), seconds=1.5)
    assert late.score(result) is None
    for layout in export.FORMATS:
        text = export.table([result], layout, "Set", late)
        rows = list(csv.reader(io.StringIO(text), delimiter=";" if layout == "excel" else ","))
        assert "0" not in rows[-1]


@pytest.mark.parametrize("stamp", ["1999-01-01 00:00 UTC", "1999-01-01 00:00 ../../etc/passwd", "x" * 300])
def test_a_students_own_timestamp_says_nothing(stamp, tmp_path):
    notebook = tmp_path / "ada" / "x.ipynb"
    notebook.parent.mkdir()
    notebook.write_text("{}")
    os.utime(notebook, (86400, 86400))
    (tmp_path / "ada" / "timestamp.txt").write_text(stamp)
    assert file_time(notebook) == "1970-01-02T00:00:00+00:00"
    assert ("ada/timestamp.txt", "no notebook") in find(tmp_path, "convolution", tmp_path / ".u").ignored


@pytest.mark.parametrize(
    "text",
    [
        "id,handed in\nada,2027-03-01T23:58\nben,\n",
        "id;handed in\nada;2027-03-01 22:58Z\n",
        "id,handed in\nada,2027-02-01T10:00\nada,2027-03-01T23:58\n",
        "Identifier,ID number,Last modified (submission)\nParticipant 1,ada,\"Monday, 1 March 2027, 11:58 PM\"\n"
        "Participant 2,ben,-\n",
        "Identifier,ID number,Last modified (submission)\nParticipant 1,ada,\"Monday, 1 March 2027, 23:58\"\n",
    ],
)  # fmt: skip
def test_times_come_from_the_lms(text, tmp_path):
    path = tmp_path / "times.csv"
    path.write_text(text, encoding="utf-8-sig")
    assert read_times(path, ZURICH) == {"ada": datetime(2027, 3, 1, 23, 58, tzinfo=ZURICH)}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("id,handed in\nada,yesterday\n", "'yesterday' of 'ada' is no time"),
        ("id,handed in\nada,2027-03-01\n", "'2027-03-01' of 'ada' is no time; write one like 2027-03-01T23:59"),
        ("id,when\nada,2027-03-01\n", "has no column handed in"),
        ("who,handed in\nada,2027-03-01\n", "has no column id"),
        ("", "it has no rows"),
    ],
)
def test_a_list_that_holds_no_times_is_explained(text, says, tmp_path):
    (tmp_path / "times.csv").write_text(text)
    with pytest.raises(ValueError, match=says):
        read_times(tmp_path / "times.csv", ZURICH)


@pytest.fixture
def graded_run(tmp_path, convolution):
    """A run in which ada and ben have all points, and handed in five days after DUE."""
    store = Results(tmp_path / "results")
    store.begin(Settings.draw(convolution, SEED, seconds=5, unsafe=False))
    right = [
        CodeResult(name, name, convolution.exercises[name].points, [CaseResult(q.title, Right()) for q in asked])
        for name, asked in questions(convolution, SEED).items()
    ]
    for student in ("ada", "ben"):
        store.save(replace(record(student), judged=right, file_time=after(5 * 24 * 3600)))
    store.end(store.load())
    return tmp_path


def test_the_list_wins_and_a_files_time_is_said_to_be_one(tmp_path, graded_run):
    (tmp_path / "times.csv").write_text("id,handed in\nada,2027-03-01T11:00\nzoe,2027-03-01T11:00\n")
    words = ["export", tmp_path / "results", "--due", "2027-03-01T12:00:00", "--zone", "Europe/Zurich"]
    done = CliRunner().invoke(app, [*map(str, words), "--times", str(tmp_path / "times.csv")])
    assert done.exit_code == 0, done.output
    assert "1 times are those of files, which copying changes" in " ".join(done.output.split())
    assert "times of nobody who was graded: zoe" in " ".join(done.output.split())
    with (tmp_path / "results" / "csv.csv").open() as file:
        rows = {row["student"]: (row["handed in"], row["says"], row["final"]) for row in csv.DictReader(file)}
    assert rows == {
        "ada": ("2027-03-01T11:00:00+01:00", "list", "30"),
        "ben": ("2027-03-06T12:00:00+01:00", "file", "15"),
    }


def test_an_extension_is_one_students_own_due_time(tmp_path):
    (tmp_path / "extensions.csv").write_text("id;due\nada;2027-03-05T12:00\n", encoding="utf-8-sig")
    longer = read_times(tmp_path / "extensions.csv", ZURICH, EXTENDED)
    late = LatePolicy(DUE, extensions=longer)
    days = {student: late.days(replace(record(student), file_time=after(5 * 24 * 3600))) for student in ("ada", "ben")}
    assert days == {"ada": 1, "ben": 5}
    assert late.days(replace(record("ada"), file_time=after(4 * 24 * 3600))) == 0


@pytest.mark.parametrize(
    ("due", "says"),
    [
        ("2027-03-01T11:59", "extension of 'ada' to 2027-03-01 11:59:00+01:00 ends before the time of all"),
        ("2027-03-08", "'2027-03-08' of 'ada' is no time"),
    ],
)
def test_an_extension_that_says_no_later_time_is_explained(due, says, tmp_path):
    (tmp_path / "extensions.csv").write_text(f"id,due\nada,{due}\n")
    with pytest.raises(ValueError, match=re.escape(says)):
        LatePolicy(DUE, extensions=read_times(tmp_path / "extensions.csv", ZURICH, EXTENDED))


def exported(tmp_path, *more):
    done = CliRunner().invoke(app, ["export", str(tmp_path / "results"), *more])
    assert done.exit_code == 0, done.output
    with (tmp_path / "results" / "csv.csv").open() as file:
        return {row["student"]: row for row in csv.DictReader(file)}, " ".join(done.output.split())


def test_who_left_drops_out_and_who_has_longer_is_not_late(graded_run):
    (graded_run / "roster.csv").write_text("id\nada\nzoe\n")
    (graded_run / "extensions.csv").write_text("id,due\nada,2027-03-06T12:00\nyan,2027-03-06T12:00\n")
    due = ["--due", "2027-03-01T12:00", "--zone", "Europe/Zurich"]
    rows, said = exported(graded_run, *due, "--roster", str(graded_run / "roster.csv"),
                          "--extensions", str(graded_run / "extensions.csv"))  # fmt: skip
    assert rows.keys() == {"ada"} and (rows["ada"]["final"], rows["ada"]["days late"]) == ("30", "0")
    assert rows["ada"]["due"] == "2027-03-06T12:00:00+01:00"
    assert "not in the roster: ben" in said and "not in the run: zoe" in said
    assert "extensions of nobody who was graded: yan" in said


@pytest.mark.parametrize("words", [["--extensions", "x.csv"], ["--times", "x.csv"]])
def test_times_count_from_a_due_time(words, graded_run):
    done = CliRunner().invoke(app, ["export", str(graded_run / "results"), *words])
    assert done.exit_code == 1 and "--due says: give it too" in " ".join(done.output.split())


def test_a_day_without_a_time_is_no_due_time(graded_run):
    assert CliRunner().invoke(app, ["export", str(graded_run / "results"), "--due", "2027-03-01"]).exit_code == 2


@pytest.mark.parametrize("name", ["Nowhere/Land", "../../etc/passwd", "America", "x" * 300, ""])
def test_a_bad_zone_is_explained(name):
    with pytest.raises(ValueError, match="write one like Europe/Zurich"):
        zone(name)


def test_without_a_zone_it_is_this_machines(monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    assert zone(None) == ZoneInfo("Asia/Tokyo")
