"""What students do in notebooks costs nobody a point."""

import nbformat
import pytest

from autograder.submission import read
from tests.autograder.conftest import ANSWERS, points_of, typed_answers

RIGHT = typed_answers(ANSWERS / "convolution" / "helpers.txt")
FORWARD = {"forward": RIGHT["forward"]}
POINTS = points_of("forward")
TORCH = typed_answers(ANSWERS / "convolution" / "tensors.txt")


def code(source):
    return nbformat.v4.new_code_cell(source)


def at(place, source):
    """Put a scratch cell at the end (-1) or before the cell with this id."""

    def change(notebook):
        where = len(notebook.cells) if place == -1 else [cell.id for cell in notebook.cells].index(place)
        notebook.cells.insert(where, code(source))

    return change


def into(grade_id, before="", after=""):
    def change(notebook):
        cell = next(cell for cell in notebook.cells if cell.id == grade_id)
        cell.source = before + cell.source + after

    return change


def rewritten(line, before=""):
    """Change each line of an answer."""

    def change(notebook):
        cell = next(cell for cell in notebook.cells if cell.id == "forward")
        cell.source = before + "\n".join(map(line, cell.source.splitlines()))

    return change


def bare(change):
    """As `change`, and the metadata is lost."""

    def strip(notebook):
        change(notebook)
        for cell in notebook.cells:
            cell.metadata = {}

    return strip


def duplicated(before):
    """The answer cell was copied with its metadata, and `before` is what stands in the upper one."""

    def change(notebook):
        place = [cell.id for cell in notebook.cells].index("forward")
        copy = nbformat.from_dict(notebook.cells[place])
        copy.id, copy.source = "copy", before
        notebook.cells.insert(place, copy)

    return change


SCRATCH = {
    "a playground of the same name": at(-1, "def circular_conv2d(x, *rest):\n    return x"),
    "a copy with a print": at(-1, "def circular_conv2d(x, *rest):\n    print(x)"),
    "an abandoned try above": at("forward", "def circular_conv2d(x, weight, bias, dilation):\n    x = undefined"),
    "a helper of the same name": into("weight-gradient", after="\n\ndef circular_conv2d(x, *rest):\n    return x\n"),
    "an abandoned try that is no Python, in a copy": duplicated("def circular_conv2d(x:\n  return"),
    "a lambda in a loop": at("forward", "for _ in range(2):\n    circular_conv2d = lambda *a: 0"),
}


@pytest.mark.parametrize("change", SCRATCH.values(), ids=SCRATCH)
def test_the_filled_answer_cell_wins(change, graded):
    assert graded(RIGHT, change).score == 30


def test_an_answer_elsewhere_counts_beside_a_marked_cell_that_only_has_a_comment(graded):
    def change(notebook):
        into("forward", before="# see the end of the notebook\n")(notebook)
        at(-1, RIGHT["forward"])(notebook)

    assert graded({}, change).score == POINTS


LINES = {
    "help": into("forward", before="np.einsum?\n"),
    "help below": into("forward", after="\ncircular_conv2d??\n"),
    "shell": into("forward", before="!ls\nfiles = !ls\n%pip install scipy\n"),
    "measured": into("forward", after="\nt = %timeit -o circular_conv2d(1)\nprint(f'{t.best:.3f}', t.loops)\n"),
    "%time": into("forward", before="%time HALF = 1 / 2\n", after="\nassert HALF\n"),
    "%matplotlib": into("forward", before="%matplotlib inline\n%load_ext autoreload\n%autoreload 2\n"),
    "display": into("forward", after="\ndisplay(np.zeros(3))\ndisplay(1, display_id=True).update(2)\n"),
    "get_ipython": into("forward", before="get_ipython().run_line_magic('matplotlib', 'inline')\n"),
    "%%time": into("forward", before="%%time\n"),
    "%%time below an empty line": into("forward", before="\n%%time\n"),
    "%%capture": into("forward", before="%%time\n%%capture out\n"),
    "await": into("forward", before="import asyncio\nawait asyncio.sleep(0)\n"),
    "prompts": rewritten(lambda line: f">>> {line}"),
    "a line that begins with %": into("forward", before="AREA = (7\n% 4)\nassert AREA == 3\n!ls\n"),
    "def inside if": rewritten(lambda line: f"    {line}", "if True:\n"),
    "its own source": into(
        "forward", after="\nimport inspect\ndef third(x):\n    return x / 3\nassert '/ 3' in inspect.getsource(third)\n"
    ),
}


@pytest.mark.parametrize("lost", [False, True], ids=["as released", "metadata lost"])
@pytest.mark.parametrize("change", LINES.values(), ids=LINES)
def test_notebook_lines_cost_nothing(change, lost, graded):
    assert graded(FORWARD, bare(change) if lost else change).score == POINTS


def test_a_cell_in_another_language_is_no_answer(hand_in, convolution):
    path = hand_in({"forward": "%%writefile mine.py\ndef circular_conv2d(x):\n    return x"})
    assert read(path, convolution).unanswered["forward"] == "not answered"


@pytest.mark.parametrize(
    "source",
    ["%time x\n" * 2000, "!l\n" * 600 + "def f(:", "f?\n" * 999 + "def f(:", "(\n" + "?\n" * 99, "%%\n", "\0%x"],
)
def test_what_ipython_cannot_read_is_an_error_of_the_cell(source, hand_in, convolution):
    assert "sizes" in read(hand_in({"forward": source, "sizes": RIGHT["sizes"]}), convolution).answers


def test_an_error_names_the_line_as_typed(graded):
    reason = graded({"forward": "\n%%time\nnp.einsum?\ndef circular_conv2d(*a):\n    return undefined"}).reason
    assert "(line 5 of the cell: return undefined)" in reason


SETUP = {
    "in the set-up cell": lambda line: into("setup", before=line + "\n"),
    "in a cell of its own": lambda line: at("forward", line),
    "below the answer": lambda line: at(-1, f"%matplotlib inline\n{line}"),
    "in another answer cell": lambda line: into("weight-gradient", before=line + "\n"),
}


@pytest.mark.parametrize("place", SETUP.values(), ids=SETUP)
@pytest.mark.parametrize(
    ("line", "name"),
    [("import math as m", "m.pi"), ("from math import pi", "pi"), ("from math import *", "pi"),
     ("import os.path, collections.abc", "collections.abc")],
)  # fmt: skip
def test_imports_of_other_cells_run_first(line, name, place, graded):
    answer = RIGHT["forward"].replace("\n    ", f"\n    {name}\n    ", 1)
    assert name in answer
    assert graded({"forward": answer}, place(line)).score == POINTS


def test_an_import_that_fails_is_said(graded):
    answer = "def circular_conv2d(*a):\n    return nowhere.conv(*a)"
    assert "Another cell imports it, which failed: ModuleNotFoundError: No module named 'nowhere'" in (
        graded({"forward": answer}, at(-1, "import nowhere")).reason
    )
    answer = "def circular_conv2d(*a):\n    return conv2d(*a)"
    assert "Answers are graded without cnnlib" in (
        graded({"forward": answer}, at(-1, "from cnnlib.functional import conv2d")).reason
    )


def test_an_import_that_ends_the_process_costs_no_other_answer(graded):
    ends = at(-1, "from idlelib.idle import this\nfrom math import pi")
    assert graded({"forward": RIGHT["forward"] + "\nthis = 1\n"}, ends).score == POINTS


RETURNED = {
    "a zero imaginary part": "np.fft.ifft(np.fft.fft(y))",
    "longdouble": "y.astype(np.longdouble)",
    "objects": "y.astype(object)",
    "a list of rows": "list(y)",
    "a tuple of rows": "tuple(y)",
    "nested lists": "y.tolist()",
}


def returning(expression):
    return f"{RIGHT['forward']}\n\ndef wrapped(inner):\n    def outer(*a):\n        y = inner(*a)\n" + (
        f"        return {expression}\n    return outer\n\ncircular_conv2d = wrapped(circular_conv2d)\n"
    )


@pytest.mark.parametrize("expression", RETURNED.values(), ids=RETURNED)
def test_the_right_numbers_in_another_type_are_right(expression, graded):
    assert graded({"forward": returning(expression)}).score == POINTS


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("y, {'x': a}", "returns 2 things, one array is expected"),
        ("y, a[0], a[1]", "returns 3 things, one array is expected"),
        ("[y, None]", "returns 2 things, one array is expected"),
        ("y * 1j", "returns complex numbers, with imaginary parts that are not zero"),
    ],
)
def test_too_many_things_are_counted(expression, says, graded):
    result = graded({"forward": returning(expression)})
    forward = next(exercise for exercise in result.exercises if exercise.grade_id == "forward")
    assert {case.verdict.why for case in forward.cases} == {says}


def test_torch_compiles_what_a_cell_defines(graded):
    script = "import torch\n\ndef half(x):\n    return x / 2\n\nhalf = torch.jit.script(half)\n\n"
    assert graded({"forward": script + TORCH["forward"]}).score == POINTS
