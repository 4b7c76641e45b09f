"""The race: its networks, its results file, and a short run against the committed numbers."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cnnbook.race import networks, results
from cnnbook.race.networks import ABLATIONS, NETWORKS, RACE
from cnnbook.race.trial import PLAN, SEEDS, SHORT, Trial, interval, run
from cnnlib import cost
from cnnlib.layers import BatchNorm2d, Conv2d, Dropout, LocalResponseNorm, ReLU, Tanh

ROOT = Path(__file__).parents[2]
COMMITTED = results.load()


def kinds(model, kind):
    return sum(isinstance(module, kind) for module in model.modules())


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_gives_a_gradient_for_each_parameter(name):
    side = networks.SIZE["lenet" if name == "LeNet" else "others"]
    model = NETWORKS[name](0)
    x = np.random.default_rng(0).standard_normal((2, 3, side, side), dtype=np.float32)
    y = model(x)
    outputs = y if isinstance(y, tuple) else (y,)
    assert len(outputs) == (3 if "heads" in name else 1) and all(one.shape == (2, 10) for one in outputs)
    model.backward(tuple(map(np.ones_like, outputs)) if isinstance(y, tuple) else np.ones_like(y))
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_an_ablation_changes_one_thing():
    """Counted layer by layer, from the paper's networks."""
    base = NETWORKS["AlexNet"](0)
    assert [kinds(base, k) for k in (Conv2d, ReLU, LocalResponseNorm, Dropout, Tanh)] == [5, 7, 2, 2, 0]
    without = {"AlexNet without LRN": (5, 7, 0, 2, 0), "AlexNet without dropout": (5, 7, 2, 0, 0)}
    without["AlexNet with tanh"] = (5, 0, 2, 2, 7)
    for name, expected in without.items():
        model = NETWORKS[name](0)
        assert tuple(kinds(model, k) for k in (Conv2d, ReLU, LocalResponseNorm, Dropout, Tanh)) == expected
        for ours, theirs in zip(model.parameters(), base.parameters(), strict=True):
            assert np.array_equal(ours.data, theirs.data)
    plain, normalised = NETWORKS["VGG-11 without batch normalisation"](0), NETWORKS["VGG-11"](0)
    assert (kinds(plain, BatchNorm2d), kinds(normalised, BatchNorm2d)) == (0, 8)
    assert np.array_equal(plain.parameters()[0].data, normalised.parameters()[0].data)


def test_two_small_filters_see_what_a_large_one_does():
    small, large = (cost.table(NETWORKS[name](0), (3, 48, 48)) for name in ("AlexNet with two 3x3", "AlexNet"))
    (one,) = [row for row in large if row.name == "conv2"]
    (two,) = [row for row in small if row.name == "conv2b"]
    assert two.output_shape == one.output_shape and two.receptive_field == one.receptive_field
    others = [[row for row in rows if "2" not in row.name] for rows in (small, large)]
    assert others[0] == others[1]


def test_naive_modules_grow():
    reduced, naive = (NETWORKS[f"three modules, {kind}"](0) for kind in ("reduced", "naive"))
    x = np.zeros((1, 3, 48, 48), np.float32)
    assert reduced(x).shape == naive(x).shape == (1, 10)
    assert naive["fc"].weight.shape[1] > 1.5 * reduced["fc"].weight.shape[1]


def trial(network="LeNet", seed=0, accuracy=0.5, plan=PLAN):
    return Trial(network, seed, plan, networks.rate(network), accuracy, 1.0, [accuracy], 1.0, 10, 20, 3.0)


def test_the_results_file_keeps_a_row_for_each_trial(tmp_path):
    path = tmp_path / "results.json"
    assert results.load(path) == []
    for one in (trial(), trial(seed=1), trial("VGG-11"), trial(plan=SHORT), trial(accuracy=0.7)):
        results.keep(one, path)
    assert results.load(path) == [trial(plan=SHORT), trial(accuracy=0.7), trial(seed=1), trial("VGG-11")]
    assert results.of(results.load(path), "LeNet", PLAN) == [trial(accuracy=0.7), trial(seed=1)]
    assert {p.name for p in tmp_path.iterdir()} == {"results.json", "results.lock"}  # the lock outlives its use


def test_an_interval_of_three_is_students():
    """By hand: the deviation of 1, 2, 3 is 1, and t is 4.303 for two degrees of freedom."""
    assert interval([1, 2, 3]) == pytest.approx((2, 4.303 / 3**0.5))
    assert interval([0.0, 1.0]) == pytest.approx((0.5, 12.706 * 0.5**0.5 / 2**0.5))
    effect = results.effect([trial(seed=s, accuracy=a) for s, a in ((0, 0.5), (1, 0.9))], [trial(), trial(seed=1)])
    assert effect.mean == pytest.approx(0.2)
    with pytest.raises(ValueError, match="same seeds"):
        results.effect([trial()], [trial(seed=1)])


def test_the_committed_results_are_whole():
    names = {name for pair in ABLATIONS.values() for name in pair} | set(RACE)
    assert names == set(NETWORKS)
    for name in NETWORKS:
        assert [t.seed for t in results.of(COMMITTED, name, PLAN)] == list(SEEDS), name
        assert [t.seed for t in results.of(COMMITTED, name, SHORT)] == [0], name
    assert len(COMMITTED) == len(NETWORKS) * (len(SEEDS) + 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_a_short_run_is_the_committed_one(name):
    """Five steps: what this machine computes is what the committed results were computed with."""
    (expected,) = results.of(COMMITTED, name, SHORT)
    found = run(name, 0, SHORT)
    assert found.train_loss == pytest.approx(expected.train_loss, rel=0.02)
    assert (found.parameters, found.multiply_adds, found.megabytes) == (
        expected.parameters,
        expected.multiply_adds,
        expected.megabytes,
    )


@pytest.mark.slow
def test_a_whole_run_is_the_committed_one():
    """LeNet, seed 0, up to the rounding of another machine, which training magnifies."""
    (expected,) = [t for t in results.of(COMMITTED, "LeNet", PLAN) if t.seed == 0]
    assert run("LeNet", 0, PLAN).accuracy == pytest.approx(expected.accuracy, abs=0.05)


@pytest.mark.slow
def test_an_interrupted_race_goes_on(tmp_path):
    """What is in the file is not trained again: with all rows there, the command only reports."""
    path = tmp_path / "results.json"
    path.write_text(results.PATH.read_text())
    command = [sys.executable, "-m", "cnnbook.race", "train", "--to", str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "GoogLeNet" in done.stdout, done.stderr
    assert path.read_text() == results.PATH.read_text()
    rows = json.loads(path.read_text())["trials"]
    rows = [row for row in rows if not (row["network"] == "LeNet" and row["plan"] == SHORT)]
    path.write_text(json.dumps({"trials": rows}))
    subprocess.run([*command, "LeNet"], cwd=ROOT, check=True, capture_output=True)
    assert len(results.load(path)) == len(rows) + 1


def test_the_check_finds_what_is_off(tmp_path, monkeypatch):
    from typer.testing import CliRunner

    import cnnbook.race.__main__ as commands

    path = tmp_path / "results.json"
    (short,) = results.of(COMMITTED, "LeNet", SHORT)
    monkeypatch.setattr(commands, "NETWORKS", {"LeNet": networks.lenet})
    results.keep(short, path)
    assert CliRunner().invoke(commands.app, ["check", str(path)]).exit_code == 0
    results.keep(replace(short, train_loss=1.1 * short.train_loss), path)
    found = CliRunner().invoke(commands.app, ["check", str(path)])
    assert found.exit_code == 1 and "LeNet: loss" in found.output
    results.keep(replace(short, rate=2 * short.rate), path)
    missing = CliRunner().invoke(commands.app, ["check", str(path)])
    assert missing.exit_code == 1 and "LeNet: no row" in missing.output


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["train", "ResNet"], "no network ResNet"),
        (["train", "--to", "nowhere/results.json"], "no folder nowhere"),
        (["report", "nowhere.json"], "does not exist"),
        (["check", "nowhere.json"], "does not exist"),
    ],
)
def test_what_is_not_there_is_said_before_anything_is_trained(tmp_path, monkeypatch, arguments, words):
    from typer.testing import CliRunner

    import cnnbook.race.__main__ as commands

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(commands, "run", lambda *_: pytest.fail("trained"))
    found = CliRunner().invoke(commands.app, arguments)
    assert found.exit_code == 2 and words in " ".join(found.output.split())
