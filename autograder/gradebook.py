"""nbgrader's gradebook: scores go in, a person grades written answers in formgrader, their points come back."""

import os
import sys
from collections.abc import Iterable
from pathlib import Path

import nbformat
from nbgrader.api import Gradebook, MissingEntry
from nbgrader.preprocessors import SaveCells

from autograder import source
from autograder.problem_set import ProblemSet
from autograder.result import Awarded, CodeResult, Result, Unread, WrittenResult
from autograder.submission import Submission
from autograder.verdict import words


def enter(course: Path, problem_set: ProblemSet, results: Iterable[Result]) -> None:
    """Write results into `course/gradebook.db`. Whoever needs a human is marked so there, with no score.

    Points that a person has given stay, but for a written answer that is another now than the one that was shown.
    Nobody else may write to the database meanwhile.
    """
    database = _address(course)
    course.mkdir(parents=True, exist_ok=True)
    name = problem_set.name
    notebook = source.solution(name, problem_set.class_seed)
    with Gradebook(database) as gradebook:
        gradebook.update_or_create_assignment(name)
    SaveCells().preprocess(notebook, {"nbgrader": {"notebook": name, "assignment": name, "db_url": database}})
    checks = {exercise.grade_id: exercise.check for exercise in problem_set.exercises.values()}
    with Gradebook(database) as gradebook:
        for result in results:
            gradebook.update_or_create_student(result.student)
            submission = gradebook.update_or_create_submission(name, result.student)
            earned = {checks.get(e.grade_id, e.grade_id): e.earned for e in result.exercises}
            shown, handed_in = _shown(course, name, result.student), _written(result)
            for grade in submission.notebooks[0].grades:
                if shown.get(grade.name) != handed_in.get(grade.name):
                    grade.manual_score = grade.extra_credit = None
                points = earned.get(grade.name)
                if points is not None or grade.manual_score is None:
                    grade.auto_score = points
                    grade.needs_manual_grade = points is None
            gradebook.db.commit()


def read_back(course: Path, problem_set: ProblemSet, results: Iterable[Result]) -> None:
    """Give results the points that a person entered for the written answers that they are about."""
    with Gradebook(_address(course)) as gradebook:
        for result in results:
            shown, handed_in = _shown(course, problem_set.name, result.student), _written(result)
            for exercise in result.exercises:
                if not isinstance(exercise, WrittenResult):
                    continue
                if shown.get(exercise.grade_id) != handed_in.get(exercise.grade_id):
                    continue  # handed in again since: nobody has read this one
                try:
                    grade = gradebook.find_grade(exercise.grade_id, problem_set.name, problem_set.name, result.student)
                except MissingEntry:
                    continue
                if grade.manual_score is not None and not grade.needs_manual_grade:
                    exercise.reading = Awarded(grade.manual_score + (grade.extra_credit or 0))


def show(course: Path, problem_set: ProblemSet, result: Result, submission: Submission) -> None:
    """Write the notebook that formgrader shows: the release with this student's answers and the grader's words.

    Written answers are shown as typed, inside a code fence: a student's markup or script never reaches the page of
    the person who grades.
    """
    notebook = source.release(problem_set.name, problem_set.class_seed)
    said = {problem_set.exercises[e.grade_id].check: e for e in result.exercises if isinstance(e, CodeResult)}
    for cell in notebook.cells:
        if cell.id in submission.answers:
            cell.source = submission.answers[cell.id].source
        elif cell.id in submission.written:
            text = submission.written[cell.id]
            fence = "`" * (3 + max((len(run) for run in _backticks(text)), default=0))
            cell.source = f"{fence}text\n{text}\n{fence}"
        elif cell.id in said:
            lines = "\n".join(f"{case.title}: {words(case.verdict)}" for case in said[cell.id].cases)
            cell.outputs = [nbformat.v4.new_output("stream", text=lines)]
    notebook.metadata.written = _written(result)
    path = _path(course, problem_set.name, result.student)
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)


def _path(course: Path, name: str, student: str) -> Path:
    return course / "autograded" / student / name / f"{name}.ipynb"


def _written(result: Result) -> dict[str, str]:
    """Return the digests of a result's written answers by grade id; one that is missing has none."""
    written = [exercise for exercise in result.exercises if isinstance(exercise, WrittenResult)]
    return {e.grade_id: e.reading.digest for e in written if isinstance(e.reading, Unread)}


def _shown(course: Path, name: str, student: str) -> dict[str, str]:
    """Return the digests of the written answers that formgrader shows of a student."""
    path = _path(course, name, student)
    return nbformat.read(path, as_version=4).metadata.get("written", {}) if path.is_file() else {}


def _backticks(text: str) -> list[str]:
    return "".join(c if c == "`" else " " for c in text).split()


def _address(course: Path) -> str:
    """Return the database's address, with nbgrader's own tools in reach: it calls `alembic` by name."""
    tools = str(Path(sys.executable).parent)
    if tools not in os.environ["PATH"].split(os.pathsep):
        os.environ["PATH"] = os.pathsep.join([tools, os.environ["PATH"]])
    return f"sqlite:///{(course / 'gradebook.db').resolve()}"
