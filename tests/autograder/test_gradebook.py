"""nbgrader's gradebook takes the scores, shows written answers, and gives a person's points back."""

import csv
import json

import nbformat
import pytest
from nbgrader.api import Gradebook
from typer.testing import CliRunner

from autograder import source
from autograder.__main__ import app
from autograder.batch import Results, Settings, grade_student
from autograder.downloads import HandedIn
from autograder.result import State
from tests.autograder.conftest import ANSWERS, SEED, typed_answers

# nbgrader 0.9.6 makes its submissions before it adds them to the session
pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning")
CODE = typed_answers(ANSWERS / "training" / "vectors.txt")
ESSAY = "Run A guesses: $\\log 10$ is 2.30.\n\n```\n<script>alert(1)</script>\n````\nRun B overfits."


def type_essay(notebook):
    next(cell for cell in notebook.cells if cell.id == "two-curves").source = ESSAY


BY_MACHINE = sum(exercise.points for exercise in source.load("training").exercises.values())


@pytest.fixture
def course(hand_in, tmp_path):
    """Three students of the training set: one wrote, one did not, one handed in a broken file."""
    folder, results = tmp_path / "class", tmp_path / "results"
    folder.mkdir()
    hand_in(CODE, "wrote", "training", type_essay, folder)
    hand_in(CODE, "silent", "training", None, folder)
    (folder / "broken.ipynb").write_text("{")
    problem_set = source.load("training")
    store = Results(results)
    store.begin(Settings.draw(problem_set, SEED, seconds=10, unsafe=False))
    for path in folder.iterdir():
        graded(tmp_path, path)
    return tmp_path


def graded(course, path):
    """Grade one notebook of the class, anew."""
    store = Results(course / "results")
    store.save(grade_student(path.stem, HandedIn([path]), source.load("training"), store.settings))
    store.end(store.load())


def run(*words):
    done = CliRunner().invoke(app, list(map(str, words)))
    assert done.exit_code == 0, done.output
    return done.output


def enter(course):
    return run("gradebook", course / "results", course / "class", "--course", course / "nbgrader")


def exported(course, *more):
    run("export", course / "results", *more)
    with (course / "results" / "csv.csv").open() as file:
        return {row["student"]: row for row in csv.DictReader(file)}


def test_written_answers_wait_for_a_person(course):
    records = Results(course / "results").load()
    assert (records["wrote"].state, records["wrote"].score) == (State.HUMAN, None)
    assert records["wrote"].reason == "to be read by a person: 5. Reading two curves"
    assert (records["silent"].state, records["silent"].score) == (State.GRADED, BY_MACHINE)


def test_scores_go_in_and_a_persons_points_come_back(course):
    enter(course)
    database = f"sqlite:///{course / 'nbgrader' / 'gradebook.db'}"
    with Gradebook(database) as book:
        wrote, silent = (book.find_submission("training", student) for student in ("wrote", "silent"))
        broken = book.find_submission("training", "broken")
        assert (wrote.score, wrote.max_score, wrote.needs_manual_grade) == (
            BY_MACHINE,
            source.load("training").points,
            True,
        )
        assert (silent.score, silent.needs_manual_grade) == (BY_MACHINE, False)
        assert broken.needs_manual_grade and {g.auto_score for n in broken.notebooks for g in n.grades} == {None}
        before = exported(course, "--course", course / "nbgrader")
        assert (before["wrote"]["score"], before["broken"]["score"]) == ("", "")
    type_points(course, 3)
    after = exported(course, "--course", course / "nbgrader")
    assert (after["wrote"]["state"], after["wrote"]["score"]) == ("graded", f"{BY_MACHINE + 3:g}")
    assert (after["silent"]["score"], after["broken"]["score"]) == (f"{BY_MACHINE:g}", "")
    enter(course)  # entering again, after a regrade say, keeps the person's points
    assert exported(course, "--course", course / "nbgrader") == after


def type_points(course, points):
    """Do what formgrader does when a person types points."""
    with Gradebook(f"sqlite:///{course / 'nbgrader' / 'gradebook.db'}") as book:
        read = book.find_grade("two-curves", "training", "training", "wrote")
        read.manual_score, read.needs_manual_grade = points, False
        book.db.commit()


@pytest.mark.parametrize(
    ("essay", "code", "at_once", "entered"),
    [
        (ESSAY, "x = 1", "3", "3"),  # who changes code alone loses nothing
        ("Nobody has read this.", None, "", ""),
        (None, None, "0", "0"),  # taken away
    ],
)
def test_a_persons_points_are_for_what_the_person_read(essay, code, at_once, entered, course):
    enter(course)
    type_points(course, 3)
    path = course / "class" / "wrote.ipynb"
    notebook = nbformat.read(path, as_version=4)
    stubs = {cell.id: cell.source for cell in source.release("training").cells}
    for cell in notebook.cells:
        if cell.id == "two-curves":
            cell.source = essay or stubs[cell.id]
        elif cell.id in CODE:
            cell.source = code or cell.source
    nbformat.write(notebook, path)
    graded(course, path)
    assert exported(course, "--course", course / "nbgrader")["wrote"]["two-curves"] == at_once
    enter(course)
    assert exported(course, "--course", course / "nbgrader")["wrote"]["two-curves"] == entered
    type_points(course, 4)
    assert exported(course, "--course", course / "nbgrader")["wrote"]["two-curves"] == "4"


def test_what_formgrader_shows_is_text(course):
    enter(course)
    shown = course / "nbgrader" / "autograded" / "wrote" / "training" / "training.ipynb"
    from nbconvert import HTMLExporter

    page, _ = HTMLExporter().from_filename(str(shown))
    assert "alert(1)" in page and "<script>alert(1)" not in page
    assert "few channels: right" in page


@pytest.mark.parametrize("cell", ["two-curves", "smooth"])
def test_half_a_character_in_an_answer_ends_nothing(cell, course):
    path = course / "class" / "wrote.ipynb"
    notebook = json.loads(path.read_text())
    for written in notebook["cells"]:
        if written["id"] == cell:
            written["source"] = "def smooth(values): pass\n# half a character: \ud83d"
    path.write_text(json.dumps(notebook))
    graded(course, path)
    enter(course)
    run("similar", "training", course / "class", "--to", course / "similar.csv")
    shown = course / "nbgrader" / "autograded" / "wrote" / "training" / "training.ipynb"
    assert "# half a character: ?" in shown.read_text()


def test_an_export_without_gradebook_is_explained(course):
    done = CliRunner().invoke(app, ["export", str(course / "results"), "--course", str(course / "none")])
    assert done.exit_code == 1 and "has no gradebook.db" in " ".join(done.output.split())
