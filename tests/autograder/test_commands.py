"""Bad arguments get an explanation and a failing exit."""

import json

import pytest
from typer.testing import CliRunner

from autograder import batch
from autograder.__main__ import app
from autograder.result import CaseResult
from autograder.verdict import Right, Wrong
from tests.autograder.conftest import ANSWERS, typed_answers


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ["grade", "convolutions", ".", "--results", "r"],
            "no problem set 'convolutions': there are architectures, convolution",
        ),
        (["grade", "convolution", "no-such-folder", "--results", "r"], "there is no folder no-such-folder"),
        (["export", "no-such-run"], "no-such-run holds no run"),
    ],
)
def test_bad_arguments_are_explained(words, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 1
    assert says in " ".join(done.output.split())
    assert not list(tmp_path.iterdir())


def test_regrading_shows_who_changes(hand_in, tmp_path):
    folder, results = tmp_path / "class", tmp_path / "results"
    folder.mkdir()
    right = typed_answers(ANSWERS / "convolution" / "loops.txt")
    hand_in({"sizes": right["sizes"]}, "[bold]ada", folder=folder)
    hand_in({}, "ben", folder=folder)
    words = ["grade", "convolution", str(folder), "--results", str(results)]
    assert CliRunner().invoke(app, words).exit_code == 0
    # as if other checks had found less right
    run = results / "run.json"
    run.write_text(json.dumps(json.loads(run.read_text()) | {"checks": "others"}))
    store = batch.Results(results)
    ada = store.load()["[bold]ada"]
    sizes = ada.exercises[0]
    for number, case in enumerate(sizes.cases):
        if number % 3:
            case.verdict = Wrong("another number")
    store.save(ada)
    refused = CliRunner().invoke(app, words)
    assert refused.exit_code == 1 and "holds a run with another checks: --regrade" in " ".join(refused.output.split())
    done = CliRunner().invoke(app, [*words, "--regrade"])
    assert done.exit_code == 0, done.output
    changes = done.output.split("Regraded: who changes")[1]
    assert "[bold]ada" in changes and "+4" in changes and "ben" not in changes
    assert json.loads((results / "previous" / "[bold]ada.json").read_text())["score"] == 2


def test_a_record_cut_to_one_right_case_earns_nothing(hand_in, tmp_path):
    folder, results = tmp_path / "class", tmp_path / "results"
    folder.mkdir()
    hand_in({}, "ada", folder=folder)
    words = ["grade", "convolution", str(folder), "--results", str(results)]
    assert CliRunner().invoke(app, words).exit_code == 0
    store = batch.Results(results)
    ada = store.load()["ada"]
    ada.exercises[0].cases = [CaseResult("one", Right())]
    assert ada.score == 6
    store.save(ada)
    for command in (["export"], ["feedback"], ["gradebook", str(folder), "--course", str(tmp_path / "course")]):
        done = CliRunner().invoke(app, [command[0], str(results), *command[1:]])
        assert done.exit_code == 1 and "ada.json. The same `grade` command grades these again" in " ".join(
            done.output.split()
        )
    done = CliRunner().invoke(app, words)
    assert "0 of them graded before" in done.output and store.load()["ada"].score == 0


def test_the_instructors_notebooks_hold_the_answers(tmp_path):
    done = CliRunner().invoke(app, ["solution", str(tmp_path), "optimisation", "--class-seed", "3"])
    assert done.exit_code == 0, done.output
    written = (tmp_path / "optimisation.ipynb").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["optimisation.ipynb"]
    assert "### BEGIN SOLUTION" in written and "### BEGIN HIDDEN TESTS" in written and "hole = Hole(" in written
