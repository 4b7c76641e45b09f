"""From the source to the release, to a class of submissions, to scores, pages and tables: the commands as typed."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from autograder import source
from tests.autograder.conftest import ANSWERS, typed_answers

ROOT = Path(__file__).resolve().parents[2]
RIGHT = typed_answers(ANSWERS / "convolution" / "helpers.txt")
WHOLE = source.load("convolution").points  # 30 are given by machine


def autograder(*words, ok=True):
    done = subprocess.run(
        [sys.executable, "-m", "autograder", *map(str, words)], cwd=ROOT, capture_output=True, text=True
    )
    assert (done.returncode == 0) is ok, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def a_class(tmp_path_factory):
    """Nine students, graded by one command."""
    folder = tmp_path_factory.mktemp("class")
    release = source.release("convolution")
    wrong = RIGHT["forward"].replace("for start in", "* 0 for start in")
    answers = {
        "ada": RIGHT,
        "ben": {},
        "cleo": RIGHT | {"forward": "import os\nos.abort()", "lp-backward": "1 +"},
        "dora": RIGHT | {"weight-gradient": "def circular_conv2d_backward_weight(*a):\n    while True:\n        pass"},
        "emil": {
            "forward": "import numpy\nnumpy.allclose = lambda *a, **k: True\ndef circular_conv2d(x, *a):\n    return x"
        },
        "finn": RIGHT | {"forward": wrong},
    }
    for student, cells in answers.items():
        notebook = nbformat.from_dict(release)
        for cell in notebook.cells:
            cell.source = cells.get(cell.id, cell.source)
        (folder / student / "convolution").mkdir(parents=True)
        nbformat.write(notebook, folder / student / "convolution" / "convolution.ipynb")
    (folder / "gus.ipynb").write_text('{"cells": [')
    (folder / "hope").mkdir()
    roster = folder.parent / "roster.csv"
    roster.write_text("id,last_name\nada,A\nina,I\n")
    results = folder.parent / "results"
    said = autograder("grade", "convolution", folder, "--results", results, "--roster", roster, "--jobs", 2)
    with (results / "grades.csv").open() as file:
        rows = {row["student"]: row for row in csv.DictReader(file)}
    return folder, results, rows, said


def test_every_student_has_one_row_and_one_state(a_class):
    _, results, rows, said = a_class
    assert {student: row["state"] for student, row in rows.items()} == {
        "ada": "graded",
        "ben": "zero",
        "cleo": "graded",
        "dora": "graded",
        "emil": "zero",
        "finn": "graded",
        "gus": "needs a human",
        "hope": "needs a human",
        "ina": "needs a human",
    }
    assert {path.stem for path in (results / "feedback").glob("*.html")} == set(rows)
    assert "needs a human: ina: nothing was handed in" in said


def test_points_follow_the_answers(a_class):
    rows = a_class[2]
    assert {student: row["score"] for student, row in rows.items()} == {
        "ada": "30",
        "ben": "0",
        "cleo": "5",  # forward aborts, and the two exercises that use its helper class go with it
        "dora": "24",
        "emil": "0",
        "finn": rows["finn"]["score"],
        "gus": "",
        "hope": "",
        "ina": "",
    }
    assert 0 < float(rows["finn"]["score"]) < 30


def test_feedback_says_why(a_class):
    pages = {path.stem: path.read_text() for path in (a_class[1] / "feedback").glob("*.html")}
    assert f"30 of {WHOLE:g} points" in pages["ada"]
    assert "The reason: not answered" in pages["ben"]
    assert "the process ended before the answers were complete" in pages["cleo"]
    assert "SyntaxError" in pages["cleo"]
    assert "took too long (line " in pages["dora"]
    assert "returns the shape" in pages["emil"] or "returns its input unchanged" in pages["emil"]
    assert "is no JSON" in pages["gus"]
    assert "nothing was handed in" in pages["ina"]


def test_a_second_run_grades_nobody_again(a_class):
    folder, results, rows, _ = a_class
    records = {path: path.read_bytes() for path in (results / "records").iterdir() if path.stem in ("ada", "dora")}
    roster = folder.parent / "roster.csv"
    said = autograder("grade", "convolution", folder, "--results", results, "--roster", roster)
    assert "6 of them graded before" in said
    assert {path: path.read_bytes() for path in records} == records


def test_exports(a_class):
    results, rows = a_class[1], a_class[2]
    autograder("export", results, "--format", "moodle")
    autograder("export", results, "--format", "canvas")
    with (results / "moodle.csv").open() as file:
        moodle = {row["ID number"]: row["Problem set: convolution and pooling"] for row in csv.DictReader(file)}
    assert moodle.keys() == rows.keys() and moodle["ada"] == "30" and moodle["gus"] == ""
    with (results / "canvas.csv").open() as file:
        canvas = list(csv.reader(file))
    assert canvas[1] == ["    Points Possible", "", "", "", f"{WHOLE:g}"]
    assert ["ben", "", "ben", "", "0"] in canvas


def test_another_seed_is_another_run(a_class):
    folder, results, _, _ = a_class
    before = json.loads((results / "run.json").read_text())
    said = autograder("grade", "convolution", folder, "--results", results, "--class-seed", 1, ok=False)
    assert "holds a run with another class_seed" in " ".join(said.split())
    assert json.loads((results / "run.json").read_text()) == before
