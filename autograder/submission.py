"""Find the answer cells in a notebook that somebody else wrote, whatever happened to it."""

import ast
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autograder.cells import LARGEST_CELL, Cell, Import, Unparsable, cells, parse
from autograder.problem_set import ProblemSet, answer_key

LARGEST_NOTEBOOK = 20 << 20


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
    imports: tuple[Import, ...]  # of all cells, for names that the answers use
    defines: frozenset[str]  # all names that its code cells define, for hints
    class_seed: Any  # what the notebook says of itself; None if nothing
    of_set: Any  # likewise

    @property
    def is_untouched(self) -> bool:
        """Whether nobody answered anything here: the release as it was handed out, or scratch paper."""
        return not self.answers and not self.written


def read(path: Path, problem_set: ProblemSet) -> Submission:
    """Read a notebook of any format version and pick the answers to the exercises.

    A filled cell with the exercise's grade id is the answer. Where there is none, or none that defines the name
    that is asked for, cells elsewhere that define it count. Copies of the release's own empty cell never do. Several
    that count are all run, top to bottom, as in the notebook.

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
    found = _cells(path.name, notebook)
    answers, unanswered = {}, {}
    for grade_id, exercise in problem_set.exercises.items():
        name = answer_key(problem_set)[grade_id].hole.answer
        answer = _answer(found, grade_id, exercise.stub, name, problem_set.given)
        if isinstance(answer, Answer):
            answers[grade_id] = answer
        else:
            unanswered[grade_id] = answer
    written = {}
    for grade_id, question in problem_set.written.items():
        texts = [cell.source for cell in found if cell.grade_id == grade_id and cell.source.strip()]
        texts = [text[:LARGEST_CELL] for text in texts if text.strip() != question.stub.strip()]
        if texts:
            written[grade_id] = "\n\n".join(texts)
    imports = _needed(found, answers.values())
    defines = frozenset().union(*(cell.defines for cell in found))
    about = _dict(_dict(notebook.get("metadata")).get("problem_set"))
    return Submission(
        *(hashlib.sha256(content).hexdigest(), answers, unanswered, written, imports, defines),
        class_seed=about.get("class_seed"),
        of_set=about.get("name"),
    )


def _answer(found: list[Cell], grade_id: str, stub: str, name: str, given: Iterable[str]) -> Answer | str:
    """Return the answer to one exercise, or why there is none."""
    note = f"not answered: no cell defines {name}"
    marked, elsewhere = [], []
    for cell in found:
        mine = cell.grade_id == grade_id
        if not cell.is_code:
            if mine:
                note = "the answer cell is no code cell any more: change its type back to Code"
        elif cell.grade_id in given or not (mine or name in cell.defines):
            continue
        elif _says_nothing_new(cell.source, stub):
            note = "not answered"
        elif len(cell.source) > LARGEST_CELL:
            note = f"the answer cell has {len(cell.source):,} characters; {LARGEST_CELL:,} are read at most"
        else:
            (marked if mine else elsewhere).append(cell)
    remarks = []
    if len(marked) > 1:
        remarks.append(f"{len(marked)} cells are marked as this exercise's answer; they were run in their order")
    counted = marked
    if not any(name in cell.defines for cell in marked) and elsewhere:
        counted = [cell for cell in found if cell in marked or cell in elsewhere]
        remarks.append("found in another cell than the one meant for it")
    if any(name in cell.defines for cell in counted) and not all(cell.parses for cell in counted):
        remarks.append("a cell that is no Python was left out")
        counted = [cell for cell in counted if cell.parses]
    if not counted:
        return note
    return Answer("\n\n".join(cell.source for cell in counted), tuple(remarks))


def _says_nothing_new(source: str, stub: str) -> bool:
    """Whether a cell is empty or the release's own, up to comments and layout."""
    if source.strip() in ("", stub.strip()):
        return True
    try:
        tree = parse(source)
        return not tree.body or ast.dump(tree) == ast.dump(parse(stub))
    except (Unparsable, RecursionError):
        return False


def _needed(found: list[Cell], answers: Iterable[Answer]) -> tuple[Import, ...]:
    """Return the imports of all cells that bind a name which an answer uses; each once, the last for its name."""
    used = {"*"}
    for answer in answers:
        try:
            used |= {node.id for node in ast.walk(parse(answer.source)) if isinstance(node, ast.Name)}
        except Unparsable:
            continue  # it runs into its own error
    imports = {}
    for cell in found:
        for each in cell.imports:
            if each.name in used:
                imports[each.statement if each.name == "*" or "." in each.statement else each.name] = each
    return tuple(imports.values())


def _notebook(name: str, content: bytes) -> dict[str, Any]:
    if not content.strip():
        raise UnreadableNotebook(f"{name} is empty: a file of {len(content)} bytes with nothing in it")
    try:
        notebook = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UnreadableNotebook(f"{name} is no JSON: {str(error)[:200] or type(error).__name__}") from None
    if not isinstance(notebook, dict):
        raise UnreadableNotebook(f"{name} is JSON, but no notebook")
    return notebook


def _cells(name: str, notebook: dict[str, Any]) -> list[Cell]:
    raw = notebook.get("cells")
    if raw is None:  # formats before 4 kept their cells in worksheets
        sheets = notebook.get("worksheets")
        raw = [cell for sheet in _list(sheets) for cell in _list(_dict(sheet).get("cells"))] or None
    if not isinstance(raw, list):
        raise UnreadableNotebook(f"{name} is JSON, but has no cells")
    return cells(raw)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
