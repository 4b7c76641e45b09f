"""Every way in which an LMS gives submissions away: each student has one row, and what was ignored is listed."""

import csv
import errno
import json
import os
import shutil
import unicodedata
import warnings
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from autograder import batch, downloads
from autograder.__main__ import app
from autograder.downloads import find
from autograder.result import State
from autograder.roster import read as read_roster
from tests.autograder.conftest import ANSWERS, SEED, points_of, typed_answers

# nbgrader 0.9.6 makes its submissions before it adds them to the session
pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning")
TABLE = {"sizes": typed_answers(ANSWERS / "convolution" / "loops.txt")["sizes"]}
POINTS = points_of("sizes")


@pytest.fixture
def settings(convolution):
    return batch.Settings.draw(convolution, SEED, seconds=5, unsafe=False)


def names(found):
    return {student: [path.name for path in each.notebooks] for student, each in found.students.items()}


def lay(folder, files, content="{}"):
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(content)
    return folder


@pytest.mark.parametrize(
    ("files", "students"),
    [
        (["ada/convolution/convolution.ipynb", "ada/training/x.ipynb"], {"ada": ["convolution.ipynb"]}),
        (["ada/convolution/other.ipynb"], {"ada": ["other.ipynb"]}),
        (["ada/convolution (1).ipynb"], {"ada": ["convolution (1).ipynb"]}),
        (["ada/convolution.ipynb", "ada/scratch.ipynb"], {"ada": ["convolution.ipynb", "scratch.ipynb"]}),
        (["ada.ipynb", "ada/convolution.ipynb"], {"ada": ["convolution.ipynb", "ada.ipynb"]}),
        (["ada/notes.txt", ".hidden/x.ipynb"], {"ada": []}),
        (["\udce4.ipynb", "\udcf6.ipynb"], {"\\xdce4": ["\udce4.ipynb"], "\\xdcf6": ["\udcf6.ipynb"]}),
        (["ada/deep/deeper/x.IPYNB", "ada/y.ipynb.txt"], {"ada": ["x.IPYNB", "y.ipynb.txt"]}),
        (["__MACOSX/._ada.ipynb", "ada/__MACOSX/._x.ipynb", "ada/._x.ipynb"], {"ada": []}),
    ],
)  # fmt: skip
def test_submissions_are_found_in_every_layout(files, students, tmp_path):
    assert names(find(lay(tmp_path / "class", files), "convolution", tmp_path / "unpacked")) == students


ROSTERS = {
    "one's own": "id,number,name\nad07,12345,Ada Müller\nbe08,4712,Ben Doe\n",
    "for Excel": "id;number;name\nad07;12345;Ada Müller\nbe08;4712;Ben Doe\n",
    "Moodle's worksheet": "Identifier,Full name,ID number,Grade\n"
    "Participant 12345,Ada Müller,ad07,\nParticipant 4712,Ben Doe,be08,\n",
    "Canvas's gradebook": "Student,ID,SIS User ID,SIS Login ID,Section\n    Points Possible,,,,\n"
    '"Müller, Ada",12345,ad07,ada,A\n"Doe, Ben",4712,be08,ben,A\n"Student, Test",9,,,A\n',
}
DOWNLOADS = {
    "Moodle, folders": ["Ada Müller_12345_assignsubmission_file/homework.ipynb"],
    "Moodle, older": ["Ada Müller_12345_assignsubmission_file_/homework.ipynb"],
    "Moodle, files": ["Müller Ada_12345_assignsubmission_file_homework.ipynb"],
    "Moodle, another number": ["Müller Ada_77_assignsubmission_file_homework.ipynb"],
    "Canvas": ["mullerada_12345_998877_homework.ipynb"],
    "Canvas, late": ["mullerada_LATE_12345_998877_homework-2.ipynb"],
    "by id": ["ad07.ipynb"],
    "by name": ["Ada Müller.ipynb"],
    "by name, decomposed": [unicodedata.normalize("NFD", "Ada Müller.ipynb")],
}


@pytest.mark.parametrize("roster", ROSTERS.values(), ids=ROSTERS)
@pytest.mark.parametrize("files", DOWNLOADS.values(), ids=DOWNLOADS)
def test_names_of_the_lms_become_ids(files, roster, tmp_path):
    (tmp_path / "roster.csv").write_text(roster, encoding="utf-8-sig")
    known = read_roster(tmp_path / "roster.csv")
    found = find(lay(tmp_path / "class", files), "convolution", tmp_path / "unpacked", known)
    assert {student: len(paths) for student, paths in names(found).items()} == {"ad07": 1, "be08": 0}
    assert not found.strangers


def test_namesakes_are_not_guessed(tmp_path):
    (tmp_path / "roster.csv").write_text("id,name\nad07,Ada Doe\nad08,Doe Ada\n")
    found = find(lay(tmp_path / "class", ["Ada Doe.ipynb"]), "x", tmp_path / "u", read_roster(tmp_path / "roster.csv"))
    assert names(found) == {"ad07": [], "ad08": [], "Ada Doe": ["Ada Doe.ipynb"]}
    assert found.strangers == {"Ada Doe": "not in the roster"}


def test_everything_ignored_is_listed(tmp_path):
    files = ["a.ipynb", "b/notes.txt", "b/._x.ipynb", "__MACOSX/x", "list.pdf",
             "Ada_1_assignsubmission_onlinetext_onlinetext.html"]  # fmt: skip
    found = find(lay(tmp_path / "class", files), "convolution", tmp_path / "unpacked")
    assert {file for file, _ in found.ignored} == {
        "b/notes.txt", "b/._x.ipynb", "__MACOSX", "list.pdf", "Ada_1_assignsubmission_onlinetext_onlinetext.html"
    }  # fmt: skip


@pytest.mark.parametrize("prefix", ["ada_12345_998877_", "ada_LATE_12345_998877_", "Ada_1_assignsubmission_file_"])
def test_what_macos_adds_is_ignored_behind_the_prefix_of_the_lms_too(prefix, tmp_path):
    files = [f"{prefix}._homework.ipynb", f"{prefix}homework.ipynb"]
    found = find(lay(tmp_path / "class", files), "convolution", tmp_path / "unpacked")
    assert list(names(found).values()) == [[files[1]]] and [file for file, _ in found.ignored] == [files[0]]


def archive(path, members):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)


def test_archives_are_opened(tmp_path):
    inner = tmp_path / "inner.zip"
    archive(inner, {"mine/x.ipynb": "{}", "__MACOSX/mine/._x.ipynb": "", "./../y.ipynb": "{}", "data.bin": ""})
    archive(
        tmp_path / "download.zip",
        {"Ada_1_assignsubmission_file/my.zip": inner.read_bytes(), "Ben_2_assignsubmission_file/x.ipynb": "{}"},
    )
    found = find(tmp_path / "download.zip", "convolution", tmp_path / "unpacked")
    assert names(found) == {"Ada_1": ["x.ipynb", "y.ipynb"], "Ben_2": ["x.ipynb"]}
    assert all(path.is_relative_to(tmp_path / "unpacked") for path in tmp_path.rglob("*.ipynb"))
    assert {file for file, _ in found.ignored} == {"my.zip: __MACOSX/mine/._x.ipynb", "my.zip: data.bin"}
    assert names(find(tmp_path / "download.zip", "convolution", tmp_path / "unpacked")) == names(found)


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04 cut off"])
def test_a_broken_archive_is_for_a_person(content, tmp_path, convolution, settings):
    (tmp_path / "ada").mkdir()
    (tmp_path / "ada" / "x.zip").write_bytes(content)
    handed_in = find(tmp_path, "convolution", tmp_path / ".u").students["ada"]
    result = batch.grade_student("ada", handed_in, convolution, settings)
    assert result.state is State.HUMAN and "x.zip can't be unpacked" in result.reason


LONG = "x" * 300


@pytest.mark.parametrize("form", ["Ada_1_assignsubmission_file/{}", "ada_1_99001_{}"], ids=["moodle", "canvas"])
@pytest.mark.parametrize(
    "name, notebooks, words",
    [
        (f"{LONG}.ipynb", 1, ""),
        (f"{LONG}.pdf", 0, "nothing was handed in"),
        ("report.pdf", 0, "nothing was handed in"),
        ("corrupt.ipynb", 0, "corrupt.ipynb can't be unpacked: Bad CRC-32"),
        ("../../outside.ipynb", 1, ""),
    ],
)
def test_no_file_of_a_download_costs_another_student(form, name, notebooks, words, tmp_path, convolution, settings):
    """The student of each odd file is there, too."""
    members = {form.format(name): "{}of a student's", "zoe_2_99002_homework.ipynb": "{}"}
    archive(tmp_path / "class.zip", members)
    if name == "corrupt.ipynb":
        content = (tmp_path / "class.zip").read_bytes()
        (tmp_path / "class.zip").write_bytes(content.replace(b"{}of a", b"{}on a"))
    (tmp_path / "outside.ipynb").write_text("not the student's")
    students = find(tmp_path / "class.zip", "convolution", tmp_path / "u").students
    (odd,) = students.keys() - {"zoe_2"}
    assert len(students["zoe_2"].notebooks) == 1 and len(students[odd].notebooks) == notebooks
    assert (tmp_path / "outside.ipynb").read_text() == "not the student's"
    result = batch.grade_student(odd, students[odd], convolution, settings)
    assert result.state is State.HUMAN and words in result.reason


def test_a_download_that_is_cut_off_ends_in_an_error(tmp_path):
    archive(tmp_path / "whole.zip", {"zoe_2_99002_homework.ipynb": "{}" * 500})
    (tmp_path / "class.zip").write_bytes((tmp_path / "whole.zip").read_bytes()[:300])
    with pytest.raises(OSError, match="class.zip can't be unpacked: .*Download it from the LMS again"):
        find(tmp_path / "class.zip", "convolution", tmp_path / "u")


def test_a_full_disk_is_no_students_fault(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    archive(tmp_path / "class.zip", {"zoe_2_99002_homework.ipynb": "{}"})
    monkeypatch.setattr(downloads.shutil, "copyfileobj", full)
    with pytest.raises(OSError, match="No space left"):
        find(tmp_path / "class.zip", "convolution", tmp_path / "u")


DEEP = "a/" * 1500 + "x.ipynb"
ODD = {
    "two zips of one student": ({"ada_1_91_a.zip": ["h.ipynb"], "ada_1_92_b.zip": ["h.ipynb"]}, 2, 0),
    "one name thrice": ({"ada_1_91_a.zip": ["h.ipynb", "../h.ipynb", "./h.ipynb"]}, 3, 0),
    "a member twice": ({"ada_1_91_h.ipynb": "1", "ada_1_91_h.ipynb ": "2"}, 1, 0),
    "a file and a folder of one name": (
        {"Ada_1_assignsubmission_file": "", "Ada_1_assignsubmission_file/x.ipynb": "2"},
        1,
        0,
    ),
    "backslashes": ({"Ada_1_assignsubmission_file\\h.ipynb": "1", "Ada_1_assignsubmission_file\\i.ipynb": "2"}, 2, 0),
    "a deep folder in a zip": ({"ada_1_91_a.zip": [DEEP]}, 1, 0),
    "a deep folder": ({f"Ada_1_assignsubmission_file/{DEEP}": "1"}, 1, 0),
    "a path of 4 kB": ({f"Ada_1_assignsubmission_file/{('b' * 199 + '/') * 22}x.ipynb": "1"}, 1, 0),
    "a name of one point": ({". Kumar_1_assignsubmission_file/h.ipynb": "1"}, 1, 0),
    "a name too long for a file": ({f"{'é' * 120}_1_assignsubmission_file/h.ipynb": "1"}, 1, 0),
    "a zip in a zip": ({"ada_1_91_a.zip": ["b.zip"]}, 0, 0),
    "forty notebooks": ({f"Ada_1_assignsubmission_file/{n}.ipynb": str(n) for n in range(40)}, 20, 20),
}


@pytest.mark.parametrize("members, notebooks, unreadable", ODD.values(), ids=ODD)
def test_odd_downloads_keep_every_notebook_and_every_student(members, notebooks, unreadable, tmp_path):
    (tmp_path / "roster.csv").write_text("id,number,name\nad07,1,Ada Doe\nzo9,2,Zoe Roe\n")
    packed = {}
    for name, content in members.items():
        if isinstance(content, list):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of names that come twice
                archive(tmp_path / "inner.zip", dict.fromkeys(content, "{}"))
            content = (tmp_path / "inner.zip").read_bytes()
        packed[name] = content
    archive(tmp_path / "class.zip", packed | {"zoeroe_2_93_h.ipynb": "{}"})
    for _ in range(2):  # what an earlier run has left is in nobody's way
        found = find(tmp_path / "class.zip", "convolution", tmp_path / "u", read_roster(tmp_path / "roster.csv"))
        assert (len(found.students["zo9"].notebooks), found.students.keys()) == (1, {"ad07", "zo9"})
        ada = found.students["ad07"]
        assert (len(ada.notebooks), len(ada.unreadable)) == (notebooks, unreadable)
        assert len({path.read_text() for path in ada.notebooks}) <= len(ada.notebooks) == len(set(ada.notebooks))


def flawed(archive, at, value):
    """Change a byte of the central directory."""
    content = bytearray(archive)
    content[content.index(b"PK\1\2") + at] = value
    return bytes(content)


@pytest.mark.parametrize("at, value", [(6, 99), (46, 0xFF), (10, 77)], ids=["version", "name", "method"])
def test_an_archive_of_another_kind_is_its_students_affair(at, value, tmp_path):
    archive(tmp_path / "inner.zip", {"hä.ipynb": "{}"})
    (tmp_path / "class" / "ada").mkdir(parents=True)
    (tmp_path / "class" / "ada" / "h.zip").write_bytes(flawed((tmp_path / "inner.zip").read_bytes(), at, value))
    (tmp_path / "class" / "zoe.ipynb").write_text("{}")
    students = find(tmp_path / "class", "convolution", tmp_path / "u").students
    assert not students["ada"].notebooks and len(students["ada"].unreadable) == 1
    assert len(students["zoe"].notebooks) == 1


def test_what_is_no_ordinary_file_is_not_opened(tmp_path):
    (tmp_path / "class" / "ada").mkdir(parents=True)
    os.mkfifo(tmp_path / "class" / "ada" / "h.zip")
    os.mkfifo(tmp_path / "class" / "ben.ipynb")
    os.symlink("x" * 300, tmp_path / "class" / "cleo.ipynb")
    os.symlink(tmp_path, tmp_path / "class" / "dora")
    students = find(tmp_path / "class", "convolution", tmp_path / "u").students
    assert {name: len(each.unreadable) for name, each in students.items()} == {"ada": 1, "ben": 1, "cleo": 1, "dora": 1}


def test_the_results_are_nobodys_submission(tmp_path):
    folder = lay(tmp_path / "class", ["ada.ipynb", "results/records/old.ipynb"])
    assert find(folder, "convolution", folder / "results" / "unpacked").students.keys() == {"ada"}


def test_an_id_of_the_roster_comes_before_a_name_of_the_lms(tmp_path):
    (tmp_path / "roster.csv").write_text("id\nws_2027_01_ada\nws_2027_02_ben\n")
    known = read_roster(tmp_path / "roster.csv")
    for form in ("{}/h.ipynb", "{}.ipynb"):
        folder = lay(tmp_path / str(len(form)), [form.format(student) for student in known.ids])
        found = find(folder, "convolution", tmp_path / "u", known)
        assert [len(each.notebooks) for each in found.students.values()] == [1, 1] and not found.strangers


def test_names_of_moodle_have_gaps(tmp_path):
    (tmp_path / "roster.csv").write_text("id,number,name\nj1,5,Jane Doe\n")
    folder = lay(tmp_path / "class", ["Jan Edoe_77_assignsubmission_file/h.ipynb"])
    found = find(folder, "convolution", tmp_path / "u", read_roster(tmp_path / "roster.csv"))
    assert list(found.strangers) == ["Jan Edoe_77"] and not found.students["j1"].notebooks


@pytest.mark.parametrize("file", ["Ben_5_assignsubmission_file/h.ipynb", "benlee_5_998877_h.ipynb"])
def test_a_number_and_a_name_of_two_students_are_neithers(file, tmp_path):
    """Nobody gets another's grade: it has a row of its own, and a person is told."""
    (tmp_path / "roster.csv").write_text("id,number,name\na1,5,Ann Roe\nb2,6,Ben\nb3,7,Ben Lee\n")
    folder = lay(tmp_path / "class", [file])
    found = find(folder, "convolution", tmp_path / "u", read_roster(tmp_path / "roster.csv"))
    (stranger,) = found.strangers
    assert stranger == file.partition("_")[0] + "_5" and len(found.students[stranger].notebooks) == 1
    other = "b2" if stranger == "Ben_5" else "b3"
    assert found.strangers[stranger] == f"its number is a1's and its name {other}'s"
    assert not any(found.students[student].notebooks for student in ("a1", "b2", "b3"))


@pytest.mark.parametrize(
    "text, words",
    [
        ('id,name\nada,"Ada\nben,Ben\n', "is no CSV in UTF-8: unexpected end of data"),
        ("id,number\nada,12345\nben,12345\n", "gives the number 12345 to 'ada' and to 'ben'"),
        ("id,name\nada,Ada\n,Ben\n", r"row 2 \(Ben\), has an id that can name no file: ''"),
        ("id\nad\0a\n", "can name no file|line contains NUL"),
    ],
)
def test_a_roster_that_would_lose_somebody_is_refused(text, words, tmp_path):
    (tmp_path / "roster.csv").write_text(text)
    with pytest.raises(ValueError, match=words):
        read_roster(tmp_path / "roster.csv")


def test_canvass_own_lines_are_no_students(tmp_path):
    lines = "Student,ID,SIS User ID,SIS Login ID\n,,,,\n    Points Possible,,,\n"
    (tmp_path / "roster.csv").write_text(f'{lines}"Student, Test",9,,\n"Student, Testa",10,te1,testa\n')
    assert read_roster(tmp_path / "roster.csv").ids == ("te1",)


def test_too_many_notebooks_of_an_archive_are_not_unpacked(tmp_path):
    archive(tmp_path / "ada.zip", {f"{number}.ipynb": "{}" for number in range(50)})
    handed_in = find(tmp_path, "convolution", tmp_path / ".u").students["ada"]
    assert len(handed_in.notebooks) == downloads.MOST_MEMBERS and len(handed_in.unreadable) == 30


def hand_in_several(hand_in, folder, **notebooks):
    folder.mkdir(parents=True, exist_ok=True)
    for name, answers in notebooks.items():
        hand_in(answers, name, folder=folder)


@pytest.mark.parametrize("filled", ["convolution", "convolution_1", "a", "z"])
def test_the_filled_notebook_counts_beside_an_untouched_one(filled, hand_in, tmp_path, convolution, settings):
    untouched = "convolution" if filled != "convolution" else "homework"
    hand_in_several(hand_in, tmp_path / "class" / "ada", **{filled: TABLE, untouched: {}})
    handed_in = find(tmp_path / "class", "convolution", tmp_path / "u").students["ada"]
    result = batch.grade_student("ada", handed_in, convolution, settings)
    assert result.score == POINTS and f"{filled}.ipynb counts, {untouched}.ipynb: " in result.remarks[0]


def test_two_filled_notebooks_are_for_a_person(hand_in, tmp_path, convolution, settings):
    other = {"sizes": "SIZES = {}\nprint()"}
    hand_in_several(hand_in, tmp_path / "class" / "ada", convolution=TABLE, b=other, c={})
    handed_in = find(tmp_path / "class", "convolution", tmp_path / "u").students["ada"]
    result = batch.grade_student("ada", handed_in, convolution, settings)
    assert (result.state, result.score) == (State.HUMAN, None)
    assert result.reason == "several notebooks hold answers: b.ipynb, convolution.ipynb"


def test_the_same_notebook_twice_is_one(hand_in, tmp_path, convolution, settings):
    hand_in_several(hand_in, tmp_path / "class" / "ada", a=TABLE)
    shutil.copy(tmp_path / "class" / "ada" / "a.ipynb", tmp_path / "class" / "ada.ipynb")
    handed_in = find(tmp_path / "class", "convolution", tmp_path / "u").students["ada"]
    assert batch.grade_student("ada", handed_in, convolution, settings).score == POINTS


def test_another_sets_notebook_does_not_count(hand_in, tmp_path, convolution, settings):
    hand_in_several(hand_in, tmp_path / "class" / "ada", mine=TABLE)
    path = hand_in(TABLE, "training", folder=tmp_path / "class" / "ada")
    notebook = json.loads(path.read_text())
    notebook["metadata"]["problem_set"]["name"] = "training"
    path.write_text(json.dumps(notebook))
    handed_in = find(tmp_path / "class", "convolution", tmp_path / "u").students["ada"]
    assert batch.grade_student("ada", handed_in, convolution, settings).score == POINTS


def unreadable(folder):
    """Make a folder unreadable even for root: a mount that hangs, say."""
    real = os.scandir

    def refuse(path="."):
        if path == folder:
            raise PermissionError(13, "Permission denied")
        return real(path)

    return refuse


def run(*words):
    done = CliRunner().invoke(app, list(map(str, words)))
    assert done.exit_code == 0, done.output
    return done.output


def test_nothing_about_one_student_ends_the_run(hand_in, tmp_path, monkeypatch):
    folder, results = tmp_path / "class", tmp_path / "results"
    folder.mkdir()
    hand_in(TABLE, "ada", folder=folder)
    hand_in(TABLE, "l" * 249, folder=folder)
    hand_in(TABLE, "ü" * 124, folder=folder)
    (folder / ("d" * 255)).mkdir()
    hand_in(TABLE, "\x1b[2Jbold", folder=folder)
    hand_in(TABLE, "half\udce4", folder=folder)
    (folder / "empty.ipynb").write_text("")
    (folder / "spaces.ipynb").write_text(" \n")
    (folder / "locked").mkdir()
    surrogate = hand_in({"sizes": TABLE["sizes"] + "\n# HALF"}, "surrogate", folder=folder)
    surrogate.write_text(surrogate.read_text().replace("HALF", "\\ud800"))
    monkeypatch.setattr(os, "scandir", unreadable(folder / "locked"))
    said = run("grade", "convolution", folder, "--results", results)
    with (results / "grades.csv").open() as file:
        rows = {row["student"]: row for row in csv.DictReader(file)}
    assert len(rows) == len(os.listdir(folder)) == 10
    scores = sorted(row["score"] for row in rows.values())
    assert scores == [""] * 4 + [f"{POINTS:g}"] * 6
    assert "empty.ipynb is empty: a file of 0 bytes" in rows["empty"]["reason"]
    assert rows["locked"]["reason"] == "locked can't be read: Permission denied"
    assert rows["surrogate"]["score"] == f"{POINTS:g}" and "\x1b" not in said
    assert len(list((results / "feedback").iterdir())) == 10
    assert "6 of them graded before" in run("grade", "convolution", folder, "--results", results)
    said = run("gradebook", results, folder, "--course", tmp_path / "course")
    assert "10 submissions" in said and len(list((tmp_path / "course" / "autograded").iterdir())) == 6
    run("similar", "convolution", folder, "--to", tmp_path / "similar.csv")


def test_relative_folders_work_everywhere(hand_in, tmp_path, monkeypatch):
    (tmp_path / "class").mkdir()
    hand_in(TABLE, "ada", folder=tmp_path / "class")
    monkeypatch.chdir(tmp_path)
    run("grade", "convolution", "class", "--results", "results", "--jobs", 2)
    run("similar", "convolution", "class", "--to", "similar.csv")
    run("export", "results")
    run("gradebook", "results", "class", "--course", "course")
    assert json.loads(Path("results/records/ada.json").read_text())["score"] == POINTS


def test_a_class_as_moodle_gives_it(hand_in, tmp_path):
    source = hand_in(TABLE, "homework").read_bytes()
    archive(
        tmp_path / "download.zip",
        {f"Student Number{n}_{900 + n}_assignsubmission_file/homework.ipynb": source for n in range(3)},
    )
    lines = [f"Participant {900 + n},Number{n} Student,s{n}\n" for n in range(4)]
    (tmp_path / "worksheet.csv").write_text("Identifier,Full name,ID number\n" + "".join(lines))
    results = tmp_path / "results"
    run("grade", "convolution", tmp_path / "download.zip", "--results", results, "--roster", tmp_path / "worksheet.csv")
    with (results / "grades.csv").open() as file:
        rows = [(row["student"], row["score"]) for row in csv.DictReader(file)]
    assert rows == [*((f"s{n}", f"{POINTS:g}") for n in range(3)), ("s3", "")]
    assert (results / "ignored.csv").read_text() == "file,why\n"


def test_a_folder_of_the_zip_without_a_notebook_is_a_student_too(tmp_path):
    """N in, N out: as it is where the zip was unpacked by hand."""
    archive(
        tmp_path / "download.zip",
        {"Ada_1_assignsubmission_file/x.pdf": "", "Ben_2_assignsubmission_file/": "", "__MACOSX/Ada/._x": ""},
    )
    assert names(find(tmp_path / "download.zip", "convolution", tmp_path / "u")) == {"Ada_1": [], "Ben_2": []}


@pytest.mark.parametrize("inner", [False, True])
def test_a_member_that_names_no_file_is_listed(inner, tmp_path):
    archive(tmp_path / "class.zip", {"a.ipynb": "{}", "..": "x", "./": ""})
    if inner:
        archive(tmp_path / "outer.zip", {"ada.zip": (tmp_path / "class.zip").read_bytes()})
    found = find(tmp_path / ("outer.zip" if inner else "class.zip"), "convolution", tmp_path / "u")
    assert found.ignored == [("ada.zip: .." if inner else "..", "names no file")]


MOODLE_NAMES = {
    "s0": ("Müller Ada_100_assignsubmission_file", "/homework.ipynb"),
    "s1": (unicodedata.normalize("NFD", "Weiß Jürg_101_assignsubmission_file_"), "/homework.ipynb"),  # before 4.1
    "s2": ("Doe_Ray Jo_102_assignsubmission_file_", "homework.ipynb"),  # not in folders
    "s3": ('O\'Neill "Mac"_103_assignsubmission_file', "/homework.zip"),
}


@pytest.mark.parametrize("as_zip", [True, False])
@pytest.mark.parametrize("with_roster", [True, False])
def test_feedback_goes_back_to_the_folders_of_the_download(as_zip, with_roster, hand_in, tmp_path):
    notebook = hand_in(TABLE, "homework").read_bytes()
    archive(tmp_path / "inner.zip", {"homework.ipynb": notebook})
    download = tmp_path / "download.zip"
    files = {folder + rest: (tmp_path / "inner.zip").read_bytes() if rest.endswith(".zip") else notebook
             for folder, rest in MOODLE_NAMES.values()}  # fmt: skip
    archive(download, files | {"Müller Ada_100_assignsubmission_onlinetext/onlinetext.html": "<p>see file"})
    if not as_zip:
        with zipfile.ZipFile(download) as file:
            file.extractall(tmp_path / "download")
        download = tmp_path / "download"
    lines = [f"{student},{100 + n}" for n, student in enumerate([*MOODLE_NAMES, "silent"])]
    (tmp_path / "roster.csv").write_text("\n".join(["id,number", *lines]))
    roster = ["--roster", tmp_path / "roster.csv"] if with_roster else []
    results = tmp_path / "results"
    run("grade", "convolution", download, "--results", results, *roster)
    said = run("feedback", results, "--moodle", download, *roster)
    with zipfile.ZipFile(results / "feedback.zip") as file:
        pages = {name: file.read(name).decode() for name in file.namelist()}
    assert sorted(pages) == sorted(f"{folder}/feedback.html" for folder, _ in MOODLE_NAMES.values())
    assert all(f"{POINTS:g} of 30 points" in page for page in pages.values())
    assert all("assignsubmission_file" in name.split("/")[0] for name in pages)
    if with_roster:
        assert "s0" in pages[f"{MOODLE_NAMES['s0'][0]}/feedback.html"]
        assert "without a folder in the download or a record: silent" in " ".join(said.split())


def test_a_download_that_is_not_moodles_is_explained(hand_in, tmp_path):
    (tmp_path / "class").mkdir()
    hand_in(TABLE, "ada", folder=tmp_path / "class")
    run("grade", "convolution", tmp_path / "class", "--results", tmp_path / "results")
    done = CliRunner().invoke(app, ["feedback", str(tmp_path / "results"), "--moodle", str(tmp_path / "class")])
    assert done.exit_code == 1 and "has no folder of anybody who was graded" in " ".join(done.output.split())
    assert not (tmp_path / "results" / "feedback.zip").exists()


def test_feedback_finds_a_folder_whose_name_is_no_utf_8(hand_in, tmp_path):
    """Moodle reads the number in it; the bytes of "M\xfcller" are Latin-1, by an unpacker of old."""
    folder = tmp_path / "class" / os.fsdecode(b"M\xfcller Ada_100_assignsubmission_file")
    folder.mkdir(parents=True)
    hand_in(TABLE, "homework", folder=folder)
    run("grade", "convolution", tmp_path / "class", "--results", tmp_path / "results")
    run("feedback", tmp_path / "results", "--moodle", tmp_path / "class")
    with zipfile.ZipFile(tmp_path / "results" / "feedback.zip") as file:
        assert file.namelist() == ["M\ufffdller Ada_100_assignsubmission_file/feedback.html"]


def test_a_second_run_over_other_names_leaves_nobody_twice(hand_in, tmp_path):
    """Graded without a roster, then with it: the records under the earlier names are kept, and are nobody's row."""
    (tmp_path / "class" / "Ada_100_assignsubmission_file").mkdir(parents=True)
    hand_in(TABLE, "homework", folder=tmp_path / "class" / "Ada_100_assignsubmission_file")
    (tmp_path / "roster.csv").write_text("id,number\na1,100\n")
    results = tmp_path / "results"
    run("grade", "convolution", tmp_path / "class", "--results", results)
    said = run("grade", "convolution", tmp_path / "class", "--results", results, "--roster", tmp_path / "roster.csv")
    assert "1 record of who is not in this download any more: moved to" in " ".join(said.split())
    run("export", results)
    with (results / "csv.csv").open() as file:
        assert [row["student"] for row in csv.DictReader(file)] == ["a1"]
    assert os.listdir(results / "feedback") == ["a1.html"]
    assert os.listdir(results / "earlier") == ["Ada_100.json"]


def test_copies_are_told_by_the_ids_of_the_roster(hand_in, tmp_path):
    for number in (100, 101):
        folder = tmp_path / "class" / f"N{number}_{number}_assignsubmission_file"
        folder.mkdir(parents=True)
        hand_in(TABLE | typed_answers(ANSWERS / "convolution" / "loops.txt"), "homework", folder=folder)
    (tmp_path / "roster.csv").write_text("id,number\na1,100\nb2,101\n")
    to, roster = tmp_path / "similar.csv", tmp_path / "roster.csv"
    run("similar", "convolution", tmp_path / "class", "--to", to, "--roster", roster)
    assert to.read_text().splitlines()[1] == "a1,b2,1"
