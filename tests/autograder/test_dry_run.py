"""What a student can try: each answer as the grader runs it, without solutions and without a sandbox."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from autograder import dry_run, source, student
from autograder.grading import grade
from autograder.result import CodeResult
from autograder.verdict import NoAnswer
from tests.autograder.conftest import ANSWERS, IN_WORDS, SEED, typed_answers

ROOT = Path(__file__).resolve().parents[2]
RIGHT = typed_answers(ANSWERS / "convolution" / "loops.txt")
ALL = RIGHT | IN_WORDS


def tried(path):
    return {said.title[0]: (said.fails, said.words) for said in dry_run.dry_run(path)}


def scratch(source_code):
    def change(notebook):
        notebook.cells.append(nbformat.v4.new_code_cell(source_code))

    return change


@pytest.mark.parametrize("file", sorted(ANSWERS.glob("*/*.txt")), ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_right_answers_pass_in_any_style(file, hand_in):
    said = dry_run.dry_run(hand_in(typed_answers(file), set_name=file.parent.name))
    fails = [each.words for each in said if each.fails]
    if file.parent.name == "convolution" and file.stem == "tensors":  # float32 is too coarse for a numeric gradient
        fails = [words for words in fails if not words.startswith(("dweight: ", "dx: "))]
    assert fails == ["not answered"] * len(source.load(file.parent.name).written)


@pytest.mark.parametrize("name", source.names())
def test_nothing_is_answered_in_a_release(name):
    assert {each.words for each in dry_run.dry_run(source.page(name))} == {"not answered"}


def as_text(notebook):
    next(cell for cell in notebook.cells if cell.id == "forward").cell_type = "markdown"


FORWARD = RIGHT["forward"]
FAILS = {
    "a helper in another cell": (FORWARD.replace("total = bias[o]", "total = helper(bias[o])"),
                                 scratch("def helper(x):\n    return x"), "helpers belong in the answer cell"),
    "an import that is nowhere": ("def circular_conv2d(*a):\n    return torch.ones(1)", None, "'torch' is not defined"),
    "a name of a check": ("def circular_conv2d(*a):\n    return powers", None, "name 'powers' is not defined"),
    "no Python": ("def circular_conv2d(:", None, "SyntaxError"),
    "the library": ("import cnnlib\ndef circular_conv2d(*a): pass", None, "graded without cnnlib"),
    "a process that ends": ("import os\nos._exit(3)", None, "ends the process"),
    "a process that ends in a check": ("import os\ndef circular_conv2d(*a):\n    os.abort()", None, "ends the process"),
    "no end": ("def circular_conv2d(*a):\n    while True:\n        pass", None, "took too long"),
    "another name": ("def conv(*a):\n    pass", None, "circular_conv2d' is not defined"),
    "no return": ("def circular_conv2d(*a):\n    pass", None, "is None: does the function end without a return?"),
    "another shape": ("def circular_conv2d(x, *a):\n    return x", None, "expected"),
    "a text": (None, as_text, "no code cell any more"),
}  # fmt: skip


@pytest.mark.parametrize(("code", "change", "says"), FAILS.values(), ids=FAILS)
def test_what_would_fail_is_said_and_harms_no_other(code, change, says, hand_in, monkeypatch):
    monkeypatch.setattr(dry_run, "SECONDS", 2.0)
    said = tried(hand_in(RIGHT | ({"forward": code} if code else {}), change=change))
    assert said["2"][0] and says in said["2"][1], said["2"]
    assert not said["1"][0] and not said["5"][0] and not said["6"][0]


AGREE = [
    "a helper in another cell",
    "an import that is nowhere",
    "a name of a check",
    "no Python",
    "the library",
]


@pytest.mark.parametrize("kind", AGREE)
def test_the_grader_says_the_same(kind, hand_in, box):
    """What gets no answer from the grader fails in the dry run, and for the same reason."""
    code, change, says = FAILS[kind]
    path = hand_in({"forward": code}, change=change)
    result = grade(path, "ada", source.load("convolution"), box, SEED)
    verdicts = {e.grade_id: e.cases[0].verdict for e in result.exercises if isinstance(e, CodeResult)}
    assert isinstance(verdicts["forward"], NoAnswer)
    assert tried(path)["2"][0] and says in verdicts["forward"].why


IMPORTS = {
    "an import in a cell of its own": scratch("import torch"),
    "commands of the notebook": scratch("%pip list\nimport torch"),
}  # fmt: skip


@pytest.mark.parametrize("change", IMPORTS.values(), ids=IMPORTS)
def test_imports_run_first(change, hand_in):
    code = "%timeit 1\n" + RIGHT["sizes"] + "\nassert torch.zeros(1) == 0\ndisplay(SIZES)"
    assert not tried(hand_in({"sizes": code}, change=change))["1"][0]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """What the wheel has of the autograder, alone."""
    folder = tmp_path_factory.mktemp("installed")
    (folder / "autograder").mkdir()
    for name in student.shared():
        shutil.copy(ROOT / name, folder / student.MAIN.get(name, name))
    return folder


def typed(folder, *words):
    """Type `python -m autograder` where nothing but the wheel's files and no sandbox is."""
    environment = os.environ | {"PYTHONPATH": "", "PATH": "/nowhere", "PYTHONIOENCODING": "utf-8"}
    words = [sys.executable, "-m", "autograder", *map(str, words)]
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)


def test_it_runs_where_nothing_but_the_wheel_is(installed, hand_in):
    done = typed(installed, "try", hand_in({"sizes": RIGHT["sizes"], "forward": "1 +"}))
    assert done.returncode == 1 and not done.stderr
    assert "✓ 1. Output sizes: runs, and its check passes" in done.stdout and "✗ 2. " in done.stdout
    assert typed(installed, "try", hand_in(ALL)).returncode == 0
    alone = [sys.executable, "-m", "autograder.dry_run", str(hand_in(ALL))]
    assert subprocess.run(alone, cwd=installed, env=os.environ | {"PYTHONPATH": ""}).returncode == 0
    done = typed(installed, "grade", "convolution")
    assert done.returncode == 1 and "python -m autograder try FILE runs" in done.stderr


def test_metadata_that_is_lost_is_explained(installed, hand_in, tmp_path):
    def lose(notebook):
        notebook.metadata.pop("problem_set")

    path = hand_in(ALL, change=lose)
    done = typed(installed, "try", path)
    assert done.returncode == 2 and "Give the notebook that was handed out too" in done.stderr
    assert typed(installed, "try", path, "--release", source.page("convolution")).returncode == 0
    (tmp_path / "x.ipynb").write_text("{")
    assert typed(installed, "try", tmp_path / "x.ipynb", "--release", source.page("convolution")).returncode == 2
    assert typed(installed, "try", tmp_path / "none.ipynb").returncode == 2


def test_the_cell_of_the_notebook_finds_the_notebook(hand_in, tmp_path, monkeypatch, capsys):
    cell = [cell for cell in source.release("convolution").cells if cell.cell_type == "code"][-1].source
    monkeypatch.chdir(tmp_path)
    exec(cell, {})
    assert "no saved notebook of it lies here" in capsys.readouterr().out
    path = hand_in({"sizes": RIGHT["sizes"]})
    exec(cell, {})
    assert "✓ 1. Output sizes" in capsys.readouterr().out
    shutil.copy(path, tmp_path / "copy.ipynb")
    exec(cell, {})
    assert "2 notebooks of this problem set lie here: say which" in capsys.readouterr().out
    monkeypatch.setenv("JPY_SESSION_NAME", f"course/{path.name}")
    exec(cell, {})
    assert f"{path.name}, as it was saved last" in capsys.readouterr().out


@pytest.mark.parametrize("name", source.names())
def test_a_release_carries_nothing_that_its_cells_do_not_show(name):
    notebook = source.release(name)
    shown = "\n".join(cell.source for cell in notebook.cells)
    for cell in notebook.metadata.problem_set.cells:
        assert all(cell.get(key, "") in shown for key in ("given", "stub", "check", "title", "answer"))
    assert json.dumps(notebook.metadata).count("BEGIN") == 0
