"""The benchmarks' command: what it saves. How fast something is, no test says."""

import json

import pytest
import typer

import benchmarks.__main__ as command


@pytest.fixture
def measured(tmp_path, monkeypatch):
    """Replaces measuring: the first side of each case takes 2 ms, the others 1; returns what was measured."""
    done = []

    def measure(group, case, threads, rounds):
        done.append(group)
        return {side: [1.0 + (k == 0)] * rounds for k, side in enumerate(command.GROUPS[group][case])}

    monkeypatch.setattr(command, "RESULTS", tmp_path / "results" / "latest.json")
    monkeypatch.setattr(command, "measure", measure)
    return done


def test_what_is_saved_is_all_that_there_is(measured):
    command.main(None, threads=2, rounds=3, save=True)
    saved = json.loads(command.RESULTS.read_text())
    places = [(group, case, side) for group, cases in command.GROUPS.items() for case in cases for side in cases[case]]
    assert [(row["group"], row["case"], row["side"]) for row in saved["rows"]] == places
    assert {(row["median"], row["ratio"]) for row in saved["rows"]} == {(2, 1), (1, 0.5)}
    assert saved["rounds"] == 3 and saved["machine"]["numpy"]

    with pytest.raises(typer.BadParameter, match="one run of all groups"):
        command.main(["inference"], threads=2, rounds=3, save=True)
    assert json.loads(command.RESULTS.read_text()) == saved


def test_one_group_is_measured_alone_and_an_unknown_one_not_at_all(measured):
    command.main(["inference"], threads=2, rounds=3, save=False)
    assert set(measured) == {"inference"} and not command.RESULTS.exists()
    with pytest.raises(typer.BadParameter, match="no group speed; there are training step, "):
        command.main(["speed"])
