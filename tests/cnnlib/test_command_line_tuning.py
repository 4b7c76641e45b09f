"""`train --init --freeze --head-only`, and the files that these start from."""

import sys

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from cnnlib import __main__, data, models, training
from cnnlib.commands.finetune import freeze, start_from
from cnnlib.commands.networks import build
from cnnlib.data import Dataset, DataSplit
from cnnlib.models import WeightsError


def few(digits):
    """Return some digits of these classes, numbered from 0."""

    def part(whole, count):
        chosen = np.flatnonzero(np.isin(whole.labels, digits))[:count]
        return Dataset(whole.images[chosen], whole.labels[chosen] - min(digits))

    return DataSplit(part(DIGITS.train, 300), part(DIGITS.test, 150))


DIGITS = data.digits()


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "150")

    def command(digits, *arguments):
        split = few(digits)
        monkeypatch.setattr(data, "digits", lambda: split)
        recipe = ("--lr", "0.05", "--batch-size", "32")
        monkeypatch.setattr(sys, "argv", ["cnnlib", "train", "lenet", *recipe, *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            __main__.main()
        return ended.value.code or 0, *capsys.readouterr()

    return command


def accuracy(path):
    history = training.load_checkpoint(
        path, models.lenet(num_classes=training.checkpoint_settings(path)["num_classes"])
    )
    return history.epochs[-1].test_accuracy


def test_from_digits_0_to_4_to_digits_5_to_9(run, tmp_path):
    """The head alone learns from a few images what it can't from features that were never trained."""
    low, tuned, plain = (tmp_path / f"{name}.safetensors" for name in ("low", "tuned", "plain"))
    status, _, err = run(range(5), "--epochs", 10, "--checkpoint", low)
    assert status == 0, err
    head = ("--head-only", "--epochs", 10)
    status, out, err = run(range(5, 10), "--init", low, *head, "--checkpoint", tuned)
    assert status == 0 and "8 of 10 parameters stay as they are" in out, err
    before, after = load_file(low), load_file(tuned)
    for name in before:
        if name.startswith("model."):
            assert np.array_equal(before[name], after[name]) == (not name.startswith("model.output.")), name
    status, out, err = run(range(5, 10), *head, "--checkpoint", plain)
    assert status == 0, err
    assert accuracy(low) > 0.9 and accuracy(tuned) > accuracy(plain) + 0.1, [accuracy(p) for p in (low, tuned, plain)]
    settings = training.checkpoint_settings(tuned)
    assert (settings["init"], settings["head_only"]) == (str(low), True)


def test_interrupted_and_resumed(run, tmp_path, monkeypatch):
    low, whole, broken = (tmp_path / f"{name}.safetensors" for name in ("low", "whole", "broken"))
    assert run(range(10), "--epochs", 1, "--checkpoint", low)[0] == 0
    tuning = ("--init", low, "--freeze", "C1,C3", "--epochs", 2)
    assert run(range(10), *tuning, "--checkpoint", whole)[0] == 0
    real, seen = training.fit, []

    def stopping(*arguments, callbacks, **options):
        def count(batch):
            seen.append(batch)

        asked = training.Callbacks(callbacks.on_start, count, callbacks.on_epoch, lambda: len(seen) == 3)
        return real(*arguments, callbacks=asked, **options)

    monkeypatch.setattr(training, "fit", stopping)
    assert run(range(10), *tuning, "--checkpoint", broken)[0] == 130 and len(seen) in (3, 4)
    monkeypatch.setattr(training, "fit", real)
    status, _, err = run(range(10), *tuning, "--checkpoint", broken, "--resume")
    assert status == 0, err
    first, second = load_file(whole), load_file(broken)
    assert all(np.array_equal(array, second[name]) for name, array in first.items())
    status, _, err = run(range(10), "--freeze", "C1", "--epochs", 3, "--checkpoint", broken, "--resume")
    assert status == 1 and "other settings" in err and "freeze was C1,C3, now C1" in err


@pytest.mark.parametrize(
    "arguments, parts",
    [
        (("--freeze", "c1"), ("--freeze c1: no parameter's name begins so; nearest: 'C1'", "There are C1, C3, C5, F6")),
        (("--freeze", "zzz"), ("no parameter's name begins so. There are",)),
        (("--freeze", "C,F,output"), ("nothing is left to train: --freeze C,F,output are all 10 parameters",)),
        (("--init", "none.safetensors"), ("there is no weight file none.safetensors",)),
    ],
)
def test_what_can_not_be_tuned(run, arguments, parts):
    status, _, err = run(range(10), "--epochs", 1, *arguments)
    assert status == 1 and all(part in err for part in parts), err


def test_a_head_of_other_classes_is_left_out_and_listed(tmp_path):
    whole = build("googlenet-torchvision", (3, 224, 224), 7, aux=True, width=1 / 16, seed=3)
    path = tmp_path / "seven.safetensors"
    save_file({name: np.array(array, order="C") for name, array in whole.state_dict().items()}, path)
    model, told = build("googlenet-torchvision", (3, 224, 224), 5, width=1 / 16), []
    own = model["fc"].weight.data.copy()
    start_from(model, path, told.append)
    assert told[0] == "starts anew: fc.weight, fc.bias" and "aux2.fc2.bias" in told[1] and "fc.weight" in told[1]
    assert np.array_equal(model["conv1.conv"].weight.data, whole["conv1.conv"].weight.data)
    assert np.array_equal(model["fc"].weight.data, own)
    left_out = models.load_weights(model, path, ignore=["fc.", "aux"])
    assert left_out.missing_keys == ["fc.weight", "fc.bias"] and len(left_out.unexpected_keys) > 10
    with pytest.raises(WeightsError, match="ignore='fcs.' leaves nothing out: .* which has conv1, conv2, .*, fc$"):
        models.load_weights(model, path, ignore=["fc.", "fcs."])
    heads = build("googlenet-torchvision", (3, 224, 224), 5, aux=True, width=1 / 16)
    with pytest.raises(WeightsError, match=r"of other classes; all but the head fits, .*ignore=\['fc.', 'aux1.fc2.', "):
        models.load_weights(heads, path)
    with pytest.raises(WeightsError, match="1 of its 305 arrays fit by name and shape; its first one is aux1") as error:
        models.load_weights(build("resnet18", (3, 224, 224), 7, width=1 / 16), path)
    assert "the network's is conv1.weight of (4, 3, 7, 7). Build the" in str(error.value)
    assert str(error.value).count("\n") == 40 and str(error.value).endswith(" more")
    start_from(heads, path, told.append)
    assert told[2].startswith("starts anew: aux1.fc2.weight")
    with pytest.raises(WeightsError, match="another network"):
        start_from(build("googlenet-torchvision", (3, 224, 224), 5, width=1 / 8), path, told.append)


@pytest.mark.parametrize(
    "network, head", [("resnet18", "fc"), ("resnet20", "fc"), ("squeezenet", "classifier.1"), ("alexnet", "fc8")]
)
def test_head_only_leaves_the_head(network, head):
    size = 32 if network == "resnet20" else 227
    model = build(network, (3, size, size), 5, width=1 / 16)
    freeze(model, [], head_only=True)
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert trained == [f"{head}.weight", f"{head}.bias"] and model.training and model[head].training
    for layer in model.modules():
        if hasattr(layer, "running_mean") or hasattr(layer, "p"):
            assert not layer.training, layer


def test_frozen_parts_are_in_evaluation():
    model = build("googlenet-torchvision", (3, 224, 224), 5, width=1 / 16)
    frozen = freeze(model, ["conv", "inception3"], head_only=False)
    assert {name.partition(".")[0] for name in frozen} == {"conv1", "conv2", "conv3", "inception3a", "inception3b"}
    assert not model["conv1.bn"].training and model["inception4a.branch1.bn"].training and model["dropout"].training
    freeze(model, [], head_only=True)
    assert [name for name, p in model.named_parameters() if p.requires_grad] == ["fc.weight", "fc.bias"]
    assert model.training and not model["dropout"].training and model["fc"].training
