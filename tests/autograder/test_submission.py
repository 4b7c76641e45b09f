"""Answers are found whatever happened to the notebook around them."""

import json

import nbformat
import pytest

from autograder.submission import UnreadableNotebook, read
from tests.autograder.conftest import ANSWERS, typed_answers

RIGHT = typed_answers(ANSWERS / "convolution" / "loops.txt")


def cell(notebook, grade_id):
    return next(cell for cell in notebook.cells if cell.id == grade_id)


def strip_metadata(notebook):
    for each in notebook.cells:
        each.metadata = {}


def delete_checks(notebook):
    notebook.cells = [each for each in notebook.cells if not each.id.startswith("check-")]


def edit_checks_and_given_cells(notebook):
    for each in notebook.cells:
        if each.id.startswith("check-") or each.id in ("setup", "layers"):
            each.source = "LAYERS = {}\ndef compare(*a): pass"


def copy_of_the_stub_below(notebook):
    stub = nbformat.from_dict(cell(notebook, "forward"))
    stub.id, stub.source = "copy", STUB
    notebook.cells.append(stub)


def answer_in_a_cell_of_ones_own(notebook):
    mine = nbformat.v4.new_code_cell(cell(notebook, "forward").source)
    cell(notebook, "forward").source = STUB
    notebook.cells.append(mine)


def answer_in_two_cells_of_the_same_id(notebook):
    place = notebook.cells.index(cell(notebook, "forward"))
    second = nbformat.from_dict(notebook.cells[place])
    second.id = "copy"
    notebook.cells[place].source = "HELP = 1"
    notebook.cells.insert(place + 1, second)


def everything_twice(notebook):
    notebook.cells += [nbformat.from_dict({**each, "id": f"again-{n}"}) for n, each in enumerate(notebook.cells)]


STUB = ""


@pytest.fixture(autouse=True)
def stub(convolution):
    global STUB
    STUB = convolution.exercises["forward"].stub


CHANGES = [
    strip_metadata,
    delete_checks,
    edit_checks_and_given_cells,
    copy_of_the_stub_below,
    answer_in_a_cell_of_ones_own,
    answer_in_two_cells_of_the_same_id,
    everything_twice,
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_right_answers_keep_full_marks(change, graded):
    result = graded(RIGHT, change)
    assert result.score == 30, result


def test_an_older_format_is_read(hand_in, convolution):
    path = hand_in(RIGHT)
    new = nbformat.read(path, as_version=4)
    path.write_text(json.dumps(nbformat.convert(new, 3)))
    assert "worksheets" in json.loads(path.read_text())
    assert read(path, convolution).answers.keys() == RIGHT.keys()


@pytest.mark.parametrize(
    ("change", "remark"),
    [
        (answer_in_a_cell_of_ones_own, "found in another cell than the one meant for it"),
        (
            answer_in_two_cells_of_the_same_id,
            "2 cells are marked as this exercise's answer; they were run in their order",
        ),
    ],
)
def test_the_student_is_told_where_the_answer_was_found(change, remark, hand_in, convolution):
    assert read(hand_in(RIGHT, change=change), convolution).answers["forward"].remarks == (remark,)


def test_helpers_elsewhere_are_explained(graded):
    def move(notebook):
        notebook.cells.insert(3, nbformat.v4.new_code_cell("def my_zeros(*shape):\n    return np.zeros(shape)"))

    result = graded({"forward": RIGHT["forward"].replace("total = bias[o]", "total = my_zeros()")}, move)
    assert "helpers belong in the answer cell" in result.reason


def test_cnnlib_is_not_there_and_the_student_is_told(graded):
    result = graded({"forward": "import cnnlib\ndef circular_conv2d(*a):\n    return cnnlib.functional.conv2d(*a)"})
    assert "Answers are graded without cnnlib: write it out" in result.reason


@pytest.mark.parametrize("content", ["", "[]", '{"cells": 3}', '{"worksheets": 3}', "nonsense"])
def test_unreadable_files_are_said_to_be_so(content, tmp_path, convolution):
    path = tmp_path / "x.ipynb"
    path.write_text(content)
    with pytest.raises(UnreadableNotebook, match=r"x\.ipynb is "):
        read(path, convolution)


def test_a_notebook_of_another_class_is_noticed(graded):
    def of_another_class(notebook):
        notebook.metadata["problem_set"]["class_seed"] = 2026

    (remark,) = graded({"sizes": RIGHT["sizes"]}, of_another_class).remarks
    assert remark == "the notebook is of class seed 2026; it was graded as one of 0"
    assert graded({"sizes": RIGHT["sizes"]}).remarks == []
