"""The chapters' controls: each changes its picture, at every setting, and still does when the whole chapter was run."""

import ast
import itertools
import symtable
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import ipywidgets
import matplotlib
import nbformat
import pytest

from cnnbook.controls import Controls

matplotlib.use("agg")
CHAPTERS = Path(__file__).resolve().parents[2] / "chapters"


@dataclass(frozen=True)
class Statement:
    """A statement of a cell's top level: the names that it binds or changes in part, and those it reads."""

    node: ast.stmt

    @cached_property
    def table(self) -> symtable.SymbolTable:
        return symtable.symtable(ast.unparse(self.node), "cell", "exec")

    @cached_property
    def binds(self) -> set[str]:
        symbols = self.table.get_symbols()
        whole = {one.get_name() for one in symbols if one.is_assigned() or one.is_imported() or one.is_namespace()}
        parts = [
            one for one in ast.walk(self.node) if isinstance(one, ast.Subscript) and isinstance(one.ctx, ast.Store)
        ]
        return whole | {one.value.id for one in parts if isinstance(one.value, ast.Name)}

    @cached_property
    def reads(self) -> set[str]:
        def within(table: symtable.SymbolTable) -> set[str]:
            outer = table is self.table
            own = {one.get_name() for one in table.get_symbols() if one.is_referenced() and (outer or one.is_global())}
            return own.union(*map(within, table.get_children()))

        return within(self.table)


@dataclass(frozen=True)
class Chapter:
    """A notebook's statements, and where in them stands the cell whose last line is `Controls(...)`."""

    before: list[Statement]
    cell: list[Statement]
    after: list[Statement]

    @classmethod
    def of(cls, path: Path) -> "Chapter | None":
        cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
        kept = [cell.source for cell in cells if "skip-execution" not in cell.metadata.get("tags", [])]
        parts = [[Statement(node) for node in ast.parse(source).body] for source in kept if "%" != source[:1]]
        places = [k for k, part in enumerate(parts) if ast.unparse(part[-1].node).startswith("Controls(")]
        if not places:
            return None
        (k,) = places
        return cls(sum(parts[:k], []), parts[k], sum(parts[k + 1 :], []))

    def program(self) -> list[Statement]:
        """The cell, after no more of the chapter than it needs."""
        kept, wanted = [], set().union(*(one.reads for one in self.cell))
        for one in reversed(self.before):
            if one.binds & wanted:
                kept.append(one)
                wanted |= one.reads
        return [*reversed(kept), *self.cell]

    def read_later(self) -> set[str]:
        """The names that the drawing function looks up whenever it is called, those of the functions it calls too."""
        functions = {one.node.name: one for one in self.program() if isinstance(one.node, ast.FunctionDef)}
        found, new = set(), {self.cell[-1].node.value.args[0].id}
        while new:
            found |= new
            new = set().union(*(functions[name].reads for name in new & functions.keys())) - found
        return found


BOOK = {path.stem: chapter for path in sorted(CHAPTERS.glob("*.ipynb")) if (chapter := Chapter.of(path))}
chapters = pytest.mark.parametrize("chapter", BOOK.values(), ids=BOOK)


def settings(control: ipywidgets.ValueWidget) -> list:
    """The values of a menu or a tick box; a slider's two ends."""
    if isinstance(control, ipywidgets.Dropdown):
        return list(control.options)
    if isinstance(control, ipywidgets.Checkbox):
        return [False, True]
    ends: Iterable[float] = (control.min, control.max)
    return [control.base**end if isinstance(control, ipywidgets.FloatLogSlider) else end for end in ends]


def test_how_to_use_and_six_chapters_have_controls() -> None:
    assert "how-to-use" in BOOK and len(BOOK) >= 7


@pytest.mark.slow
@chapters
def test_every_control_changes_the_picture_and_its_description(chapter: Chapter) -> None:
    *program, call = [one.node for one in chapter.program()]
    scope: dict = {}
    with matplotlib.rc_context(fname=CHAPTERS / "matplotlibrc"):
        exec(compile(ast.Module(program, []), "chapter", "exec"), scope)
        controls = eval(compile(ast.Expression(call.value), "chapter", "eval"), scope)
        assert isinstance(controls, Controls)
        choices = {name: settings(control) for name, control in controls.controls.items()}
        for name, values in choices.items():
            pictures = [controls.draw(**{name: value}) for value in values]
            assert len({one.svg for one in pictures}) > 1, f"{name} changes nothing"
            assert len({one.description for one in pictures}) > 1, f"the description doesn't follow {name}"
        for values in itertools.product(*([values[0], values[-1]] for values in choices.values())):
            controls.draw(**dict(zip(choices, values, strict=True)))


@chapters
def test_no_later_cell_changes_what_the_controls_draw(chapter: Chapter) -> None:
    """A reader runs the whole chapter, then moves a slider."""
    assert not chapter.read_later() & set().union(*(one.binds for one in chapter.after))
