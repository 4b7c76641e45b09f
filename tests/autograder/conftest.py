"""Submissions made to order: the release of a problem set with answers typed into it."""

import re
from pathlib import Path

import nbformat
import pytest

from autograder import sandbox, source
from autograder.grading import grade

ANSWERS = Path(__file__).with_name("answers")
IN_WORDS = {"shift-one": "It moves too.", "as-maximum": "Not of (-3, 1, 0, 0)."}  # the convolution set asks
SEED = 20260101  # the random inputs of these tests; a real run draws its own


@pytest.fixture(scope="session")
def convolution():
    return source.load("convolution")


@pytest.fixture(scope="session")
def box():
    return sandbox.open_sandbox()


def typed_answers(path):
    """Answer cells by grade id, from a file that marks each with a line `# %% grade-id`."""
    parts = re.split(r"^# %% (.+)\n", path.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def points_of(grade_id, set_name="convolution"):
    """What an exercise is worth."""
    return source.load(set_name).exercises[grade_id].points


@pytest.fixture
def hand_in(tmp_path):
    """Write a notebook: the release with some answers filled in, after `change` had its way with it."""

    def write(answers, name="student", set_name="convolution", change=None, folder=tmp_path):
        notebook = source.release(set_name)
        for cell in notebook.cells:
            cell.source = answers.get(cell.id, cell.source)
        if change:
            notebook = change(notebook) or notebook
        path = folder / f"{name}.ipynb"
        nbformat.write(notebook, path)
        return path

    return write


@pytest.fixture
def graded(hand_in, box):
    """Hand answers in and grade them."""

    def run(answers, change=None, set_name="convolution"):
        path = hand_in(answers, set_name=set_name, change=change)
        return grade(path, "student", source.load(set_name), box, SEED)

    return run
