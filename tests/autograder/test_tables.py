"""What a spreadsheet or a terminal makes of a table: numbers are numbers, and nothing of a student's runs."""

import csv
import io
import re

import pytest
from typer.testing import CliRunner

from autograder import __main__ as commands
from autograder import batch, export
from autograder.__main__ import app
from autograder.batch import Results, Settings
from autograder.result import Undecided
from tests.autograder.conftest import SEED
from tests.autograder.test_batch import record

FORMULA = re.compile(r"\s*[=+\-@＝＋－＠]")
ATTACKS = [
    *("=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1+1", "\r=1+1", " =1+1", "\n=1+1", "＝1+1"),
    *("x;=1+1", "x,=1+1", 'x";"=1+1', "x;\t=1+1", "x\n=1+1", "x\n;=1+1", "a; -2+3+cmd|' /C calc'!D3", "\x1b[2J;@x"),
]  # fmt: skip


def of_student(name, why="no notebook"):
    result = record(name)
    result.judged = Undecided(why)
    return result


@pytest.mark.parametrize("layout", ["csv", "excel", "moodle", "canvas"])
@pytest.mark.parametrize("text", ATTACKS)
def test_no_cell_is_a_formula_whatever_the_delimiter(text, layout):
    table = export.table([of_student(text, text), of_student("ada", text)], layout, "Set")
    for delimiter in ",;\t|":
        for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_NONE):
            for row in csv.reader(io.StringIO(table.lstrip("\ufeff")), delimiter=delimiter, quoting=quoting):
                assert not [cell for cell in row if FORMULA.match(cell.lstrip('"'))]


def test_every_table_is_harmless():
    assert export.as_csv([["a;=1", 0.5]]) == "a;'=1,0.5\n"


def test_numbers_for_excel_have_a_comma():
    result = record("jürg", right=1, points=4.0)
    result.seconds = 1.25
    table = export.table([result], "excel", "Set")
    assert table.startswith("\ufeffstudent;state;score;")
    (row,) = csv.DictReader(io.StringIO(table.lstrip("\ufeff")), delimiter=";")
    assert (row["student"], row["score"], row["points"], row["seconds"]) == ("jürg", "0,1333", "4", "1,25")


def test_an_excel_file_is_utf_8_with_a_mark(tmp_path):
    batch.write(tmp_path / "x.csv", export.table([record("jürg")], "excel", "Set"))
    assert (tmp_path / "x.csv").read_bytes().startswith(b"\xef\xbb\xbf")


ESCAPES = ["\x1b[2J", "\x9b2J", "\x1b]0;title\x07", "\u202e", "\r", "\x08"]


@pytest.mark.parametrize("escape", ESCAPES)
def test_no_command_of_a_student_reaches_the_terminal(escape, tmp_path, convolution, monkeypatch):
    """Whatever stands in names, reasons, remarks and errors."""
    said = io.StringIO()
    monkeypatch.setattr(commands.console, "_file", said)
    results = {name: of_student(name, f"a {escape} b") for name in (f"ada{escape}", "ben")}
    results["ben"].remarks.append(f"of class seed {escape}")
    commands._summary(results, 30)
    commands._changes({"ben": record("ben")}, results)
    with pytest.raises(commands.typer.Exit), commands.explained(f" {escape}"):
        raise ValueError(escape)
    assert "ada" in said.getvalue() and "of class seed" in said.getvalue()
    assert escape not in said.getvalue().replace("\r\n", "\n")


def test_bad_formats_are_explained(tmp_path, convolution):
    store = Results(tmp_path)
    store.begin(Settings.draw(convolution, SEED, seconds=5, unsafe=False))
    store.end(store.load())
    done = CliRunner().invoke(app, ["export", str(tmp_path), "--format", "xlsx"])
    assert done.exit_code == 1 and "there are csv, excel, moodle, canvas" in " ".join(done.output.split())
