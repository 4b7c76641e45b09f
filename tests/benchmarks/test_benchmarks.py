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
    cases = {group: command.GROUPS[group] for group in command.groups()}
    places = [(group, case, side) for group in cases for case in cases[group] for side in cases[group][case]]
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


def test_what_needs_a_gpu_is_left_out_without_one_and_measured_with_one(measured, monkeypatch):
    monkeypatch.setattr(command, "has_cuda", lambda: False)
    assert set(command.GROUPS) - set(command.groups()) == {"training step on CUDA"}
    with pytest.raises(typer.BadParameter, match="training step on CUDA needs a GPU"):
        command.main(["training step on CUDA"], threads=2, rounds=3, save=False)
    assert not measured
    monkeypatch.setattr(command, "has_cuda", lambda: True)
    assert command.groups() == list(command.GROUPS)
    command.main(["training step on CUDA"], threads=2, rounds=3, save=False)
    assert set(measured) == {"training step on CUDA"}


def test_steps_on_a_gpu_are_those_on_the_cpu_but_for_the_device():
    on_cpu, on_gpu = (command.GROUPS[group] for group in ("training step", "training step on CUDA"))
    assert {case: list(sides) for case, sides in on_gpu.items()} == {
        case: list(sides) for case, sides in on_cpu.items()
    }
    for side, make in on_gpu["lenet"].items():
        said = [*make.args, *make.keywords.values()]
        assert "cuda" in said and "cpu" not in said, side
        on_the_cpu = {name: "cpu" if value == "cuda" else value for name, value in make.keywords.items()}
        make.func(*("cpu" if value == "cuda" else value for value in make.args), **on_the_cpu)()
