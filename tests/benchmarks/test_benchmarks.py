"""The benchmarks' command: what it saves. How fast something is, no test says."""

import json

import pytest
import typer

import benchmarks.__main__ as command


@pytest.fixture
def measured(tmp_path, monkeypatch):
    """Replaces measuring: each side takes what this dictionary says, 1 ms if it says nothing."""
    times = {}
    monkeypatch.setattr(command, "RESULTS", tmp_path / "results" / "latest.json")
    monkeypatch.setattr(command, "machine", lambda: {"processor": "this one"})
    monkeypatch.setattr(
        command,
        "measure",
        lambda group, case, threads, rounds: {
            side: [times.get((group, side), 1.0)] * rounds for side in command.GROUPS[group][case]
        },
    )
    return times


def saved():
    return json.loads(command.RESULTS.read_text())


def medians(group):
    return {row["side"]: row["median"] for row in saved()["rows"] if row["group"] == group}


def test_one_group_measured_again_leaves_the_others(measured):
    command.main(None, threads=2, rounds=3, save=True)
    whole = saved()
    assert {row["group"] for row in whole["rows"]} == set(command.GROUPS)
    assert all(row["ratio"] == 1 for row in whole["rows"])

    measured["inference", "cnnlib"] = 0.5
    command.main(["inference"], threads=2, rounds=3, save=True)
    assert medians("inference") == {"torch.nn": 1.0, "cnnlib": 0.5}
    assert [row["group"] for row in saved()["rows"]] == [row["group"] for row in whole["rows"]]
    assert {row["ratio"] for row in saved()["rows"] if row["side"] == "cnnlib"} == {0.5, 1.0}

    command.main(["training step"], threads=2, rounds=3, save=False)
    assert medians("inference")["cnnlib"] == 0.5


def test_figures_of_two_machines_are_not_mixed(measured, monkeypatch):
    command.main(None, threads=2, rounds=3, save=True)
    before = saved()
    monkeypatch.setattr(command, "machine", lambda: {"processor": "another"})
    with pytest.raises(typer.BadParameter, match="another machine"):
        command.main(["inference"], threads=2, rounds=3, save=True)
    assert saved() == before
    command.main(None, threads=2, rounds=3, save=True)
    assert saved() == before | {"machine": {"processor": "another"}}


def test_an_unknown_group_is_refused(measured):
    with pytest.raises(typer.BadParameter, match="no group speed; there are training step, "):
        command.main(["speed"])
