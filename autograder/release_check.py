"""What must hold before a problem set goes out: it can be solved, it starts at 0, and it tells no secret."""

import io
import tempfile
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from autograder.grading import grade
from autograder.leaks import SECRET, Search, secrets
from autograder.problem_set import ProblemSet
from autograder.result import CodeResult, Result, Undecided
from autograder.sandbox import Sandbox
from autograder.verdict import Right, words


def problems(problem_set: ProblemSet, solution: NotebookNode, release: NotebookNode, sandbox: Sandbox) -> list[str]:
    """Return what is wrong with a release, in sentences; nothing if it may go out.

    What else students can read, the built book say, is searched by `autograder.leaks.leaks`.
    """
    found = []
    solved, untouched = (_graded(notebook, problem_set, sandbox) for notebook in (solution, release))
    for result, what in ((solved, "solution"), (untouched, "untouched release")):
        if isinstance(result.judged, Undecided):
            found.append(f"the {what} could not be graded: {result.reason}")
    for exercise in solved.exercises:
        cases = exercise.cases if isinstance(exercise, CodeResult) else []
        wrong = [f"{case.title}: {words(case.verdict)}" for case in cases if not isinstance(case.verdict, Right)]
        if wrong:
            found.append(f"the solution of {exercise.grade_id} does not get full marks: {wrong[0]}")
    for exercise in untouched.exercises:
        if exercise.earned != 0:
            found.append(f"the untouched release earns {exercise.earned} points in {exercise.grade_id}")
    found += _visible(solution, release)
    kept = secrets(solution, problem_set.class_seed)
    return found + [f"the release holds {line!r}" for line in Search(kept.lines).told(nbformat.writes(release))]


def _graded(notebook: NotebookNode, problem_set: ProblemSet, sandbox: Sandbox) -> Result:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "notebook.ipynb")
        nbformat.write(notebook, path)
        return grade(path, "check", problem_set, sandbox, seed=1)


def _visible(solution: NotebookNode, release: NotebookNode) -> list[str]:
    """Run the checks that students see: on the solution all must pass, on the stub each must complain."""
    found = []
    answers = {cell.id: SECRET.sub("", cell.source) if cell.metadata.get("nbgrader", {}).get("grade") else cell.source
               for cell in solution.cells}  # fmt: skip
    for whose, sources in (("the solution", answers), ("the stub", {})):
        namespace: dict[str, Any] = {}
        for cell in release.cells:
            about = cell.metadata.get("nbgrader", {})
            if cell.cell_type != "code":
                continue
            failure = ""
            try:
                with redirect_stdout(io.StringIO()):
                    exec(compile(sources.get(cell.id, cell.source), f"<{cell.id}>", "exec"), namespace)
            except Exception as error:
                failure = f"{type(error).__name__}: {error}"
            if failure and whose == "the solution":
                found.append(f"{cell.id} fails on the solution: {failure}")
            if about.get("grade") and not failure and whose == "the stub":
                found.append(f"{cell.id} passes on the untouched stub")
    return found
