"""Find the answer cells in a notebook that somebody else wrote, whatever happened to it."""

import ast
import hashlib
import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autograder.problem_set import ProblemSet, answer_key

LARGEST_NOTEBOOK = 20 << 20
LARGEST_CELL = 200_000


class UnreadableNotebook(ValueError):
    """The file is no notebook that a machine can read; a human should look at it."""


@dataclass(frozen=True)
class Answer:
    """The code that stands for one exercise, and what the student should know about where it was found."""

    source: str
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Submission:
    """A student's answers by grade id: code, or why there is none, and the texts of written answers."""

    digest: str
    answers: dict[str, Answer]
    unanswered: dict[str, str]
    written: dict[str, str]
    defines: frozenset[str]  # all names that its code cells define, for hints
    class_seed: Any  # what the notebook says of itself; None if nothing


def read(path: Path, problem_set: ProblemSet) -> Submission:
    """Read a notebook of any format version and pick the answers to the exercises.

    A cell counts for an exercise if it carries its grade id, or if it defines the name that is asked for. Copies of the
    release's own empty cell never count. Several that do are all run, top to bottom, as in the notebook.

    Raises UnreadableNotebook, with the reason.
    """
    if path.is_symlink() or not path.is_file():
        raise UnreadableNotebook(f"{path.name} is no ordinary file")
    if path.stat().st_size > LARGEST_NOTEBOOK:
        raise UnreadableNotebook(
            f"{path.name} has {path.stat().st_size >> 20} MB; {LARGEST_NOTEBOOK >> 20} MB are read at most"
        )
    content = path.read_bytes()
    notebook = _notebook(path.name, content)
    cells = _cells(path.name, notebook)
    answers, unanswered = {}, {}
    for grade_id, exercise in problem_set.exercises.items():
        name = answer_key(problem_set)[grade_id].hole.answer
        found, remarks, note = [], [], "not answered: no cell defines " + name
        marked = [cell for cell in cells if cell.grade_id == grade_id]
        if len(marked) > 1:
            remarks.append(f"{len(marked)} cells are marked as this exercise's answer; they were run in their order")
        for cell in cells:
            mine = cell.grade_id == grade_id
            if not cell.is_code:
                if mine:
                    note = "the answer cell is no code cell any more: change its type back to Code"
                continue
            if cell.grade_id in problem_set.given or not (mine or name in cell.defines):
                continue
            if cell.source.strip() in ("", exercise.stub.strip()):
                note = "not answered"
            elif len(cell.source) > LARGEST_CELL:
                note = f"the answer cell has {len(cell.source):,} characters; {LARGEST_CELL:,} are read at most"
            else:
                found.append(cell.source)
                if not mine:
                    remarks.append("found in another cell than the one meant for it")
        if found:
            answers[grade_id] = Answer("\n\n".join(found), tuple(dict.fromkeys(remarks)))
        else:
            unanswered[grade_id] = note
    written = {}
    for grade_id, question in problem_set.written.items():
        texts = [cell.source for cell in cells if cell.grade_id == grade_id and cell.source.strip()]
        texts = [text[:LARGEST_CELL] for text in texts if text.strip() != question.stub.strip()]
        if texts:
            written[grade_id] = "\n\n".join(texts)
    defines = frozenset().union(*(cell.defines for cell in cells))
    class_seed = _dict(_dict(notebook.get("metadata")).get("problem_set")).get("class_seed")
    return Submission(hashlib.sha256(content).hexdigest(), answers, unanswered, written, defines, class_seed)


@dataclass(frozen=True)
class _Cell:
    is_code: bool
    source: str
    grade_id: str
    defines: frozenset[str]


def _notebook(name: str, content: bytes) -> dict[str, Any]:
    try:
        notebook = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UnreadableNotebook(f"{name} is no JSON: {str(error)[:200] or type(error).__name__}") from None
    if not isinstance(notebook, dict):
        raise UnreadableNotebook(f"{name} is JSON, but no notebook")
    return notebook


def _cells(name: str, notebook: dict[str, Any]) -> list[_Cell]:
    raw = notebook.get("cells")
    if raw is None:  # formats before 4 kept their cells in worksheets
        sheets = notebook.get("worksheets")
        raw = [cell for sheet in _list(sheets) for cell in _list(_dict(sheet).get("cells"))] or None
    if not isinstance(raw, list):
        raise UnreadableNotebook(f"{name} is JSON, but has no cells")
    return [_cell(cell) for cell in raw if isinstance(cell, dict)]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _cell(cell: dict[str, Any]) -> _Cell:
    source = cell.get("source", cell.get("input", ""))
    if isinstance(source, list):
        source = "".join(line for line in source if isinstance(line, str))
    source = source if isinstance(source, str) else ""
    source = source.encode(errors="replace").decode()  # JSON can say half a character, and no file can
    grade_id = _dict(_dict(cell.get("metadata")).get("nbgrader")).get("grade_id")
    is_code = cell.get("cell_type") == "code"
    return _Cell(
        is_code,
        source,
        grade_id if isinstance(grade_id, str) else "",
        _defined(source) if is_code else frozenset(),
    )


def _defined(source: str) -> frozenset[str]:
    """Names that a cell defines at its top level; none if it does not parse."""
    try:
        with warnings.catch_warnings(action="ignore"):  # a student's invalid escapes are no news to the grader
            statements = ast.parse(source).body if len(source) <= LARGEST_CELL else []
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return frozenset()
    names = set()
    for statement in statements:
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            names.add(statement.name)
        elif isinstance(statement, ast.Assign):
            names |= {target.id for target in statement.targets if isinstance(target, ast.Name)}
        elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            names.add(statement.target.id)
    return frozenset(names)
