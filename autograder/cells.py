"""A notebook's cells as Python: IPython's own transformer reads what is none. Nothing of a student's runs here."""

import ast
import re
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

LARGEST_CELL = 200_000
MOST_TRANSFORMED = 2_000_000  # characters a notebook: the transformer reads a cell once more for each command in it
COMMAND = re.compile("[%!?]")
ABOUT_PYTHON = ("time", "timeit", "capture", "prun", "python", "python3", "pypy", "debug")  # %% commands


class Unparsable(ValueError):
    """The cell is no Python, not even after IPython's transformer."""


@dataclass(frozen=True)
class Import:
    """One imported name of another cell: the statement, and the name that it binds ("*": any)."""

    statement: str
    name: str


@dataclass(frozen=True)
class Cell:
    """One cell: its source, plain Python if it is code, and what its top level binds and imports."""

    is_code: bool
    source: str
    grade_id: str | None
    parses: bool = True
    defines: frozenset[str] = frozenset()
    imports: tuple[Import, ...] = ()


def cells(raw: Iterable[Any]) -> list[Cell]:
    """Read cells as a notebook's JSON has them."""
    left = MOST_TRANSFORMED
    read = []
    for about in raw:
        if not isinstance(about, dict):
            continue
        source, grade_id = _source(about), _grade_id(about)
        if about.get("cell_type") != "code":
            read.append(Cell(False, source, grade_id))
            continue
        try:
            tree = parse(source)
        except Unparsable:
            left -= len(source) * (1 + sum(bool(COMMAND.search(line)) for line in source.splitlines()))
            if left >= 0:
                source = plain_python(source)
            try:
                tree = parse(source)
            except Unparsable:
                read.append(Cell(True, source, grade_id, parses=False))
                continue
        read.append(Cell(True, source, grade_id, True, frozenset(_bound(tree.body)), tuple(_imports(tree.body))))
    return read


def parse(source: str) -> ast.Module:
    """Return a cell's syntax tree. Raises Unparsable."""
    if len(source) > LARGEST_CELL:
        raise Unparsable(f"{len(source)} characters")
    try:
        with warnings.catch_warnings(action="ignore"):  # a student's invalid escapes are no news to the grader
            return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise Unparsable(str(error)) from None


def plain_python(source: str) -> str:
    """Return a cell as IPython would run it, line for line; `autograder.runner` has stand-ins for its commands."""
    from IPython.core.inputtransformer2 import TransformerManager  # most notebooks can do without, and it takes long

    lines = source.splitlines(keepends=True)
    for number, line in enumerate(lines):
        if line.startswith("%%"):
            if line[2:].split()[:1] and line[2:].split()[0] not in ABOUT_PYTHON:
                return ""  # HTML, a shell script, a file
            lines[number] = "\n"
        elif line.strip():
            break
    blank = next((number for number, line in enumerate(lines) if line.strip()), len(lines))
    try:
        return "\n" * blank + TransformerManager().transform_cell("".join(lines[blank:]))
    except Exception:  # whatever the transformer stumbles over: the cell stays as typed, and says so when it runs
        return source


def _source(about: dict[str, Any]) -> str:
    source = about.get("source", about.get("input", ""))
    if isinstance(source, list):
        source = "".join(line for line in source if isinstance(line, str))
    if not isinstance(source, str):
        return ""
    return source.encode(errors="replace").decode()  # JSON may hold half of a character, files and pages may not


def _grade_id(about: dict[str, Any]) -> str | None:
    for key in ("metadata", "nbgrader", "grade_id"):
        about = about.get(key) if isinstance(about, dict) else None
    return about if isinstance(about, str) else None


def _bound(statements: Iterable[ast.AST]) -> Iterator[str]:
    """Names that statements bind where they stand, also below `if`, `for`, `with` and `try`."""
    waiting = list(statements)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name):
            if isinstance(node.ctx, ast.Store):
                yield node.id
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from (found.name for found in _imports([node]))
        elif not isinstance(node, ast.Lambda | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
            waiting += ast.iter_child_nodes(node)


def _imports(statements: Iterable[ast.AST]) -> Iterator[Import]:
    for node in statements:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(ast.unparse(ast.Import([alias])), alias.asname or alias.name.partition(".")[0])
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                statement = ast.unparse(ast.ImportFrom(node.module, [alias], node.level))
                yield Import(statement, alias.asname or alias.name)
