"""Find the answer cells in a notebook that somebody else wrote, whatever happened to it.

What a stranger wrote is parsed here, which may take any time and memory: `autograder.submission` runs this module in a
process of its own, within limits.
"""

import ast
import hashlib
import json
import pickle
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from autograder.cells import LARGEST_CELL, Cell, Import, Unparsable, cells, parse


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


@dataclass(frozen=True)
class Wanted:
    """What to look for: an exercise's grade id, with its stub and the name that is asked for; a written one's stub."""

    exercises: dict[str, tuple[str, str]]
    written: dict[str, str]
    given: tuple[str, ...]  # grade ids of locked cells


def pick(name: str, content: bytes, wanted: Wanted) -> Submission:
    """Pick the answers out of the notebook `content`, which is called `name`. Raises UnreadableNotebook."""
    notebook = _notebook(name, content)
    found = _cells(name, notebook)
    answers, unanswered = {}, {}
    for grade_id, (stub, asked) in wanted.exercises.items():
        answer = _answer(found, grade_id, stub, asked, wanted.given)
        if isinstance(answer, Answer):
            answers[grade_id] = answer
        else:
            unanswered[grade_id] = answer
    written = {}
    for grade_id, stub in wanted.written.items():
        texts = [cell.source for cell in found if cell.grade_id == grade_id and cell.source.strip()]
        texts = [text[:LARGEST_CELL] for text in texts if text.strip() != stub.strip()]
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


def main() -> None:
    """Read the arguments of `pick` from standard input; write what it returns or raises."""
    arguments = pickle.load(sys.stdin.buffer)
    try:
        picked = pick(*arguments)
    except UnreadableNotebook as error:
        picked = error
    pickle.dump(picked, sys.stdout.buffer)


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
