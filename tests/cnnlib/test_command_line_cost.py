"""`python -m cnnlib cost`, and the memory that it predicts and measures."""

import re
import sys

import numpy as np
import pytest

from cnnlib import __main__, layers, memory, models, optim
from cnnlib.arrays import move
from cnnlib.containers import Sequential


def network(device="numpy", dtype="float32"):
    """A network whose arrays can be counted by hand."""
    return Sequential(
        conv=layers.Conv2d(2, 4, 3, padding=1, dtype=dtype),
        relu=layers.ReLU(),
        flatten=layers.Flatten(),
        drop=layers.Dropout(0.5),
        head=layers.Linear(4 * 6 * 6, 5, dtype=dtype),
    ).to(device)


WEIGHTS = 4 * 2 * 9 + 4 + 5 * 144 + 5


def test_prediction_by_hand():
    model = network()
    found = memory.predict(model, (2, 6, 6), 3, optim.Adam(model.parameters()))
    assert found.parameters == found.gradients == 4 * WEIGHTS and found.optimizer == 8 * WEIGHTS
    assert found.input == 4 * 3 * 72
    # every layer's output: four of 4x6x6, and the head's
    assert found.activations == 4 * 3 * (4 * 144 + 5) == sum(found.by_kind.values())
    assert found.total == found.parameters + found.gradients + found.optimizer + found.input + found.activations
    wide = network(dtype="float64")
    assert memory.predict(wide, (2, 6, 6), 3, optim.Adam(wide.parameters())).total == 2 * found.total


@pytest.mark.parametrize(
    "rule, options, arrays",
    [
        (optim.SGD, {}, 0),
        (optim.SGD, {"momentum": 0.9}, 1),
        (optim.Momentum, {}, 1),
        (optim.Nesterov, {}, 1),
        (optim.Adagrad, {}, 1),
        (optim.RMSprop, {}, 1),
        (optim.RMSprop, {"centered": True, "momentum": 0.5}, 3),
        (optim.Adadelta, {}, 2),
        (optim.AdamW, {}, 2),
    ],
)
def test_what_optimisers_remember_is_predicted_and_found(device, rule, options, arrays):
    model = network(device)
    optimizer = rule(model.parameters(), **options)
    predicted = memory.predict(model, (2, 6, 6), 2, optimizer)
    measured = memory.measure(model, (2, 6, 6), 2, optimizer)
    assert predicted.optimizer == measured.optimizer == arrays * 4 * WEIGHTS
    assert predicted.parameters == measured.parameters and predicted.gradients == measured.gradients
    assert predicted.input == measured.input


def test_measured_by_hand(device):
    """The rectifier's output is kept once, by it; flatten's is the same memory; dropout keeps a mask and the next
    layer its input; the loss keeps probabilities and the right classes."""
    model = network(device)
    found = memory.measure(model, (2, 6, 6), 3, optim.SGD(model.parameters()))
    maps = 4 * 3 * 144
    assert found.by_kind["Conv2d"] == 0, "its input is the images, which are counted as such"
    assert found.by_kind["ReLU"] == maps and found.by_kind["Flatten"] == 0
    assert found.by_kind["Dropout"] == found.by_kind["Linear"] == maps
    assert found.by_kind["loss"] in (4 * 3 * 5, 2 * 4 * 3 * 5)
    assert found.activations == sum(found.by_kind.values())
    assert (found.peak is None) == (device != "cuda")


def test_the_difference_is_said():
    model = models.lenet()
    optimizer = optim.SGD(model.parameters(), momentum=0.9)
    predicted = memory.predict(model, (1, 32, 32), 8, optimizer)
    measured = memory.measure(model, (1, 32, 32), 8, optimizer)
    text = memory.explain(predicted, measured)
    assert f"{(measured.total - predicted.total) / 1e6:+.3f} MB ({measured.total / predicted.total - 1:+.1%})" in text
    assert f"Conv2d {(measured.by_kind['Conv2d'] - predicted.by_kind['Conv2d']) / 1e6:+.3f} MB" in text
    assert "not what operations allocate and free meanwhile" in text
    assert memory.megabytes(528_000_000) == "528.0 MB" and memory.megabytes(-1500, sign=True) == "-0.002 MB"


@pytest.fixture
def run(monkeypatch, capsys):
    def command(*arguments):
        monkeypatch.setattr(sys, "argv", ["cnnlib", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            __main__.main()
        out, err = capsys.readouterr()
        lines = (re.split(r"\s*[│┃]\s*", line.strip(" │┃")) for line in out.splitlines())
        return ended.value.code or 0, {cells[0]: cells[1:] for cells in lines}, out, err

    return command


def test_costs_of_googlenet(run):
    """The paper's: 6,998,552 parameters; conv1 has 7 x 7 x 3 x 64 weights for each of 112 x 112 places."""
    status, rows, out, err = run("cost", "googlenet")
    assert status == 0 and err == ""
    assert rows["conv1.conv"] == ["Conv2d", "64 x 112 x 112", "9,472", "802,816", "118,013,952", "7 x 7"]
    assert rows["maxpool1"] == ["MaxPool2d", "64 x 56 x 56", "0", "200,704", "0", "11 x 11"]
    assert re.search(r"total\s.*6,998,552", out)
    assert rows["parameters"] == ["28.0 MB"] and rows["input"] == ["0.602 MB"]


def test_costs_measured_side_by_side(run):
    status, rows, out, err = run(
        "cost", "googlenet-torchvision", "--width", "0.05", "--input", "64", "--measure", "--batch-size", "2",
        "--engine", "numpy", "--optimizer", "adam",
    )  # fmt: skip
    assert status == 0 and err == "" and "an input of 3 x 64 x 64" in out
    for part in ("parameters", "gradients", "optimizer", "input", "activations"):
        predicted, measured, difference = (float(cell.removesuffix(" MB")) for cell in rows[part])
        assert difference == pytest.approx(measured - predicted, abs=0.1)
        assert (difference == 0) == (part != "activations") and predicted > 0
    assert "of the prediction" in out and np.isfinite(float(rows["total"][1].removesuffix(" MB")))


def test_summary_of_other_networks(run):
    status, rows, _, _ = run("summary", "alexnet", "--num-classes", "10", "--width", "0.1")
    assert status == 0 and rows["conv1"][1] == "10 x 55 x 55" and rows["fc8"][1] == "10"
    status, _, _, err = run("summary", "alexnet", "--input", "50")
    assert status == 1 and "alexnet reads images of 227x227 pixels; 50x50 do not fit" in err


def test_a_part_of_an_array_counts_as_the_whole(device):
    """It keeps all of it alive; and whatever else is kept of it costs nothing more."""
    whole = move(np.zeros((10, 8), np.float32), device)
    seen: dict = {}
    assert memory._count(seen, [whole[4:], whole[:2, 1:], whole]) == 320
    assert memory._count(seen, [whole.reshape(-1)]) == 0
