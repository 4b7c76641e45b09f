"""Bad arguments get an explanation and a failing exit."""

import json
from contextlib import suppress
from pathlib import Path

import pytest
from typer.testing import CliRunner

from autograder import batch
from autograder.__main__ import app
from autograder.result import CaseResult
from autograder.verdict import Right, Wrong
from tests.autograder.conftest import ANSWERS, SEED, typed_answers
from tests.autograder.test_batch import record


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
    held = json.loads(run.read_text())
    run.write_text(json.dumps(held | {"settings": held["settings"] | {"checks": "others"}}))
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
    assert "[bold]ada" in changes and f"{sizes.points - ada.score:+g}" in changes and "ben" not in changes
    assert json.loads((results / "previous" / "[bold]ada.json").read_text())["score"] == ada.score < sizes.points


class Killed(BaseException):
    """What no handler catches, as SIGKILL."""


def killed_in_the_middle(monkeypatch):
    """Let grading die after the first student."""
    real = batch.grade_class

    def dies(*args):
        yield next(real(*args))
        raise Killed

    monkeypatch.setattr(batch, "grade_class", dies)


@pytest.mark.parametrize("times", [1, 2])
def test_a_regrading_that_is_killed_goes_on_and_keeps_what_it_compares_with(times, hand_in, tmp_path, monkeypatch):
    folder, results = tmp_path / "class", tmp_path / "results"
    folder.mkdir()
    for student in ("ada", "ben", "cleo"):
        hand_in({}, student, folder=folder)
    words = ["grade", "convolution", str(folder), "--results", str(results)]
    assert CliRunner().invoke(app, words).exit_code == 0
    store = batch.Results(results)
    for result in store.load().values():
        result.exercises[0].cases[0].verdict = Right()
        store.save(result)
    before = store.load()
    for _ in range(times):
        with monkeypatch.context() as patch, pytest.raises(Killed):
            killed_in_the_middle(patch)
            CliRunner().invoke(app, [*words, "--regrade"], catch_exceptions=False)
        assert store.previous() == before
    for command in ("export", "feedback"):
        done = CliRunner().invoke(app, [command, str(results)])
        assert done.exit_code == 1 and "has not ended: the same `grade ... --regrade`" in " ".join(done.output.split())
    done = CliRunner().invoke(app, [*words, "--regrade"])
    assert done.exit_code == 0 and f"{times} of them graded before" in done.output
    changes = done.output.split("Regraded: who changes")[1]
    assert all(f"{student}" in changes for student in before) and changes.count(f"│ {-before['ada'].score:+g} ") == 3
    assert CliRunner().invoke(app, ["export", str(results)]).exit_code == 0
    assert "Regraded" not in CliRunner().invoke(app, words).output


@pytest.mark.parametrize("moment", range(8))
def test_no_moment_of_a_regradings_beginning_loses_a_record(moment, convolution, tmp_path, monkeypatch):
    store = batch.Results(tmp_path)
    settings = batch.Settings.draw(convolution, SEED, 10, False)
    store.begin(settings)
    store.save(record("old"))
    store.end(store.load())
    store.begin_again(settings)  # a regrading that ended long ago
    store.save(record("ada"))
    store.end(store.load())
    left = iter(range(moment))

    def until_killed(module, name, real):
        def call(*args, **kwargs):
            if next(left, None) is None:
                raise Killed
            return real(*args, **kwargs)

        monkeypatch.setattr(module, name, call)

    with monkeypatch.context() as monkeypatch:
        for module, name in ((batch.shutil, "rmtree"), (batch.os, "rename"), (batch, "write"), (Path, "mkdir")):
            until_killed(module, name, getattr(module, name))
        with suppress(Killed):
            store.begin_again(settings)
    store.begin_again(settings)
    assert store.previous().keys() == {"ada"} and store.load() == {} and store.phase is batch.Phase.REGRADING


def test_a_record_cut_to_one_right_case_earns_nothing(hand_in, tmp_path):
    folder, results = tmp_path / "class", tmp_path / "results"
    folder.mkdir()
    hand_in({}, "ada", folder=folder)
    words = ["grade", "convolution", str(folder), "--results", str(results)]
    assert CliRunner().invoke(app, words).exit_code == 0
    store = batch.Results(results)
    ada = store.load()["ada"]
    ada.exercises[0].cases = [CaseResult("one", Right())]
    assert ada.score == ada.exercises[0].points > 0
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
