"""The same class on a Dask cluster: the same grades, and a bad submission harms nobody there either."""

import csv
from pathlib import Path

import pytest
from distributed import LocalCluster
from typer.testing import CliRunner

from autograder.__main__ import app
from tests.autograder.conftest import ANSWERS, points_of, typed_answers

TABLE = typed_answers(ANSWERS / "convolution" / "loops.txt")["sizes"]


@pytest.mark.parametrize("named", [Path.absolute, lambda path: path], ids=["absolute", "relative"])
def test_a_class_on_a_local_cluster(named, hand_in, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder, results = named(Path("class")), named(Path("results"))
    folder.mkdir()
    answers = {"ada": TABLE, "ben": TABLE, "cleo": "import os\nos.abort()", "dora": "SIZES = {}"}
    for student, code in answers.items():
        hand_in({"sizes": code}, student, folder=folder)
    (folder / "emil.ipynb").write_text("{")
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        words = ["grade", "convolution", folder, "--results", results, "--dask", cluster.scheduler_address]
        done = CliRunner().invoke(app, list(map(str, words)))
    assert done.exit_code == 0, done.output
    with (results / "grades.csv").open() as file:
        assert {row["student"]: row["score"] for row in csv.DictReader(file)} == {
            "ada": f"{points_of('sizes'):g}",
            "ben": f"{points_of('sizes'):g}",
            "cleo": "0",
            "dora": "0",
            "emil": "",
        }


def test_a_cluster_that_does_not_answer_is_explained(hand_in, tmp_path):
    path = hand_in({"sizes": TABLE})
    words = ["grade", "convolution", path.parent, "--results", tmp_path / "r", "--dask", "tcp://127.0.0.1:1"]
    done = CliRunner().invoke(app, list(map(str, words)))
    assert done.exit_code == 1
    assert "type the same command to go on" in " ".join(done.output.split())
