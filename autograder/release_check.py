"""What must hold before a problem set goes out: it can be solved, it starts at 0, and it tells no secret."""

import html
import io
import json
import re
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from autograder.grading import grade
from autograder.problem_set import ProblemSet
from autograder.result import CodeResult, Result, Undecided
from autograder.sandbox import Sandbox
from autograder.verdict import Right, words

SECRET = re.compile(r"### BEGIN (SOLUTION|HIDDEN TESTS)\n.*?### END \1", re.DOTALL)
TELLING = 20  # letters and digits; a shorter line may well stand in a chapter too


def problems(
    problem_set: ProblemSet,
    solution: NotebookNode,
    release: NotebookNode,
    sandbox: Sandbox,
    places: Iterable[Path] = (),
) -> list[str]:
    """Return what is wrong with a release, in sentences; nothing if it may go out.

    `places` are folders and wheels that students can read: the built book, say. Files of any kind are searched.
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
    lines, names = secrets(solution)
    released = _lines("\n".join(_strings(release)))
    found += [f"the release holds {line!r}" for line in sorted(released & lines)]
    for place in places:
        for file, content in _files(place):
            found += [f"{file} holds {line!r}" for line in sorted(_lines(_plain(file, content)) & lines)]
            if file.endswith("searchindex.js"):
                found += [f"{file} indexes {name!r}" for name in sorted(names) if name[:-3].lower() in content.lower()]
    return found


def secrets(solution: NotebookNode) -> tuple[set[str], set[str]]:
    """Return the lines that no student may see, and the names that occur in such lines only."""
    cells = [cell.source for cell in solution.cells]
    public = "\n".join(SECRET.sub("", source) for source in cells)
    hidden = "\n".join(match[0] for source in cells for match in SECRET.finditer(source))
    words = set(re.findall(r"[a-z]+_\w{6,}", hidden)) - set(re.findall(r"\w+", public))
    lines = {line for line in _lines(hidden) if len(re.sub(r"\W", "", line)) >= TELLING}
    return lines - _lines(public), words


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


def _lines(text: str) -> set[str]:
    return {line.strip() for line in text.splitlines()}


def _files(place: Path) -> Iterator[tuple[str, str]]:
    if place.is_dir():
        for path in sorted(path for path in place.rglob("*") if path.is_file()):
            yield str(path), path.read_bytes().decode("utf-8", "replace")
    else:
        with zipfile.ZipFile(place) as wheel:
            for name in wheel.namelist():
                yield f"{place}:{name}", wheel.read(name).decode("utf-8", "replace")


def _plain(name: str, content: str) -> str:
    """Undo what HTML's colours and JSON's quotes do to a line of code."""
    if name.endswith((".html", ".htm")):
        return html.unescape(re.sub(r"<[^>]*>", "", content))
    if name.endswith((".ipynb", ".json")):
        return "\n".join(_strings(json.loads(content)))
    return content


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)
