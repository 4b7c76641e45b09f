"""`python -m cnnlib train` and `evaluate`: every network, optimiser and schedule by name, configuration, Ctrl-C."""

import csv
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.numpy import load_file

from cnnlib import __main__, data, losses, lr_scheduler, models, optim, training
from cnnlib.commands import data as commands_data
from cnnlib.commands import rules
from cnnlib.commands.networks import NETWORKS, build
from cnnlib.data import Dataset, DataSplit
from cnnlib.module import Module, Parameter
from cnnlib.recipes import Recipe
from cnnlib.training.evaluation import places

from .operations import SETTINGS

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run the command line in a folder of its own, in this process, on 60 digits; return status, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "150")
    whole = data.digits()
    few = DataSplit(*(Dataset(part.images[:n], part.labels[:n]) for part, n in zip(whole, (60, 30), strict=True)))
    monkeypatch.setattr(data, "digits", lambda: few)

    def command(*arguments):
        monkeypatch.setattr(sys, "argv", ["cnnlib", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            __main__.main()
        return ended.value.code or 0, *capsys.readouterr()

    return command


def refused(result, *parts):
    status, _, err = result
    assert status == 1 and err.startswith("error: ") and len(err.splitlines()) == 1, err
    assert all(part in err for part in parts), err


def write_photographs(root, classes=("ant", "bee", "cat"), train=6, val=4):
    rng = np.random.default_rng(0)
    for part, count in (("train", train), ("val", val)):
        for c, name in enumerate(classes):
            folder = root / part / name
            folder.mkdir(parents=True, exist_ok=True)
            for k in range(count):
                pixels = rng.integers(0, 200, (40, 48, 3)).astype(np.uint8)
                pixels[..., c] = 255  # learnt in an instant
                Image.fromarray(pixels).save(folder / f"{k}.jpg")


# ---- networks


@pytest.mark.parametrize("network", NETWORKS)
def test_every_network_is_built_for_its_data(network):
    entry = NETWORKS[network]
    if network == "lenet-1998":
        with pytest.raises(ValueError, match="knows 10 digits"):
            build(network, (1, 32, 32), 7)
        assert sum(p.data.size for p in build(network, (1, 32, 32), 10).parameters()) == 60_000
        return
    model = build(network, (2, entry.size, entry.size), 7, width=0.02).eval()
    y = model(np.zeros((1, 2, entry.size, entry.size), np.float32))
    assert y.shape == (1, 7)
    optimizer = rules.make_optimizer(model.parameters(), rules.rule_settings(None, entry.recipe, None, None, None))
    settings = rules.schedule_settings(None, entry.recipe, 90, 0, None, None, None, None)
    assert optimizer.lr == entry.recipe.lr
    assert type(rules.make_scheduler(optimizer, settings, 90)).__name__.lower().count(settings["schedule"]) == 1


def test_names_are_the_papers_networks():
    """Parameters, of width 1 for 1,000 classes, tell which network a name builds."""
    for name, parameters in (
        ("googlenet", 6_998_552),
        ("googlenet-torchvision", 6_624_904),
        ("resnet18", 11_689_512),
        ("resnet34", 21_797_672),
        ("resnet50", 25_557_032),
        ("squeezenet", 1_235_496),
    ):
        assert sum(p.data.size for p in build(name, (3, 224, 224), 1000).parameters()) == parameters
    for depth, parameters in ((20, 269_722), (32, 464_154), (56, 853_018)):
        for kind, blocks in (("resnet", (depth - 2) // 2), ("plain", 0)):
            model = build(f"{kind}{depth}", (3, 32, 32), 10)
            assert sum(p.data.size for p in model.parameters()) == parameters
            assert sum("Residual" in type(module).__name__ for module in model.modules()) == blocks
    sizes = {name: (3, entry.size, entry.size) for name, entry in NETWORKS.items()}
    slim = {name: build(name, sizes[name], 10, width=0.02) for name in NETWORKS if name[:3] in ("vgg", "ale")}
    assert [m.groups for m in slim["alexnet"].modules() if hasattr(m, "groups")] == [1, 2, 1, 2, 2]
    assert [m.groups for m in slim["alexnet-torchvision"].modules() if hasattr(m, "groups")] == [1] * 5
    convolutions = {
        name: sum("Conv2d" in type(module).__name__ for module in model.modules())
        for name, model in slim.items()
        if name.startswith("vgg")
    }
    assert convolutions == {"vgg11": 8, "vgg11-lrn": 8, "vgg13": 10, "vgg16": 13, "vgg16-c": 13, "vgg19": 16}
    kernels = {m.kernel_size for m in slim["vgg16-c"].modules() if hasattr(m, "out_channels") or hasattr(m, "groups")}
    assert kernels == {(1, 1), (3, 3)}
    assert any("LocalResponseNorm" in type(m).__name__ for m in slim["vgg11-lrn"].modules())


def test_networks_that_do_not_fit(run):
    refused(run("train", "alexnet"), "alexnet reads images of 227x227 pixels; 32x32 do not fit")
    refused(run("train", "vgg11", "--aux"), "vgg11 has no auxiliary heads")
    refused(run("train", "googlenet", "--aux", "--width", "0.05"), "googlenet reads images of 224x224 pixels")


SHAPES_READ = [
    ("lenet", 32), ("alexnet", 48), ("vgg11", 48), ("googlenet", 48), ("resnet18", 48), ("squeezenet", 48),
    ("resnet20", 32), ("plain20", 32),
]  # fmt: skip


@pytest.mark.parametrize("network, size", SHAPES_READ)
def test_every_network_learns_from_shapes(run, tmp_path, monkeypatch, network, size):
    few = data.shapes(size, 40, 20)
    monkeypatch.setattr(data, "shapes", lambda asked: few if asked == size else None)
    status, out, err = run("train", network, "--data", "shapes", "--width", "0.1", "--epochs", "1", "--log", "log.csv")
    assert status == 0 and "shapes: 40 to learn from, 20 to test" in out, err
    settings = training.checkpoint_settings(tmp_path / "runs" / f"{network}-shapes.safetensors")
    assert (settings["optimizer"], settings["schedule"], settings["shift"], settings["flip"]) == (
        "adam",
        "cosine",
        0,
        False,
    )
    status, out, err = run("evaluate", tmp_path / "runs" / f"{network}-shapes.safetensors")
    assert status == 0 and "on 20 images of shapes" in out, err


def test_lenet_has_a_recipe_for_clothes(run, tmp_path, monkeypatch):
    few = data.digits()
    monkeypatch.setitem(commands_data.LOAD, commands_data.Data.fashion_mnist, lambda **options: few)
    for network, epochs in (("lenet", 45), ("lenet-1998", 8)):
        recipe = NETWORKS[network].recipe_for("fashion-mnist")
        assert (recipe.epochs, recipe.schedule) == (epochs, "cosine")
        assert NETWORKS[network].recipe_for("mnist") is NETWORKS[network].recipe
    assert run("train", "lenet", "--data", "fashion-mnist", "--epochs", "1")[0] == 0
    settings = training.checkpoint_settings(tmp_path / "runs" / "lenet-fashion-mnist.safetensors")
    assert (settings["lr"], settings["batch_size"], settings["shift"], settings["flip"]) == (0.1, 128, 1, True)
    assert run("train", "lenet", "--epochs", "1")[0] == 0
    settings = training.checkpoint_settings(tmp_path / "runs" / "lenet-digits.safetensors")
    assert (settings["lr"], settings["batch_size"], settings["shift"], settings["flip"]) == (0.05, 64, 2, False)


# ---- optimisers and schedules


@pytest.mark.parametrize("rule", rules.Rule)
def test_every_optimiser_by_its_name(rule):
    recipe = Recipe(1, 1, "sgd", 0.05, "constant")
    settings = rules.rule_settings(rule, recipe, 0.25, None, None)
    made = rules.make_optimizer([Parameter(np.zeros(1))], settings)
    assert type(made).__name__.lower() == rule and made.lr == 0.25
    if rule == "sgd":
        assert made.nesterov and made.momentum == 0.9 and made.weight_decay == 5e-4
        assert not rules.make_optimizer(made.parameters, rules.rule_settings(rule, recipe, 0.1, 0.0, None)).nesterov
    if rule == "adam":
        with pytest.raises(ValueError, match="adam has no momentum: leave --momentum out"):
            rules.rule_settings(rule, recipe, None, 0.5, None)
    own = rules.make_optimizer(made.parameters, rules.rule_settings(rule, recipe, None, None, None))
    assert own.lr == (0.05 if rule == "sgd" else rules.RULES[rule](made.parameters).lr)


@pytest.mark.parametrize(
    "schedule, numbers, rates",
    [
        ("constant", {}, [1] * 6),
        ("step", {"step_size": 2}, [1, 1, 0.1, 0.1, 0.01, 0.01]),
        ("step", {"gamma": 0.5}, [1, 1, 0.5, 0.5, 0.25, 0.25]),
        ("multistep", {"milestones": "1,4"}, [1, 0.1, 0.1, 0.1, 0.01, 0.01]),
        ("multistep", {}, [1, 1, 1, 0.1, 0.1, 0.01]),
        ("exponential", {"gamma": 0.5}, [1, 0.5, 0.25, 0.125, 0.0625, 0.03125]),
        ("cosine", {}, [(1 + np.cos(np.pi * k / 6)) / 2 for k in range(6)]),
        ("cosine", {"warmup": 2}, [1 / 3, 2 / 3, *((1 + np.cos(np.pi * k / 4)) / 2 for k in range(4))]),
        ("multistep", {"warmup": 1, "milestones": "2,4"}, [0.5, 1, 0.1, 0.1, 0.01, 0.01]),
        ("constant", {"warmup": 3}, [0.25, 0.5, 0.75, 1, 1, 1]),
    ],
)
def test_every_schedule_by_its_name(schedule, numbers, rates):
    optimizer = optim.SGD([Parameter(np.zeros(1))], 1.0)
    known = {"warmup": 0, "gamma": None, "step_size": None, "milestones": None, "patience": None} | numbers
    settings = rules.schedule_settings(rules.Schedule(schedule), Recipe(1, 1, "sgd", 1, "constant"), 6, **known)
    scheduler = rules.make_scheduler(optimizer, settings, 6)
    found = []
    for epoch in range(6):
        scheduler.step(epoch)
        found.append(optimizer.lr)
    np.testing.assert_allclose(found, rates, rtol=1e-12)


def test_the_plateau_and_numbers_that_do_not_belong():
    optimizer = optim.SGD([Parameter(np.zeros(1))], 1.0)
    recipe = Recipe(1, 1, "sgd", 1, "plateau")
    settings = rules.schedule_settings(None, recipe, 6, 0, 0.2, None, None, 3)
    made = rules.make_scheduler(optimizer, settings, 6)
    assert isinstance(made, lr_scheduler.ReduceLROnPlateau) and (made.factor, made.patience) == (0.2, 3)
    with pytest.raises(ValueError, match="cosine has no gamma: leave --gamma out"):
        rules.schedule_settings(rules.Schedule.cosine, recipe, 6, 0, 0.2, None, None, None)
    with pytest.raises(ValueError, match="take one of them"):
        rules.schedule_settings(None, recipe, 6, 1, None, None, None, None)
    with pytest.raises(ValueError, match="--milestones are epochs, as 24,34, not soon"):
        rules.schedule_settings(rules.Schedule.multistep, recipe, 6, 0, None, None, "soon", None)
    with pytest.raises(ValueError, match="from 4 on, after the warm-up, not 2"):
        rules.schedule_settings(rules.Schedule.multistep, recipe, 6, 3, None, None, "2,5", None)
    settings = rules.schedule_settings(rules.Schedule.multistep, recipe, 5, 3, None, None, None, None)
    assert settings["milestones"] == [4, 4] and rules.make_scheduler(optimizer, settings, 5)


# ---- configuration


def test_what_is_typed_comes_before_the_file(run, tmp_path):
    (tmp_path / "run.toml").write_text(
        'network = "lenet"\nepochs = 3\nbatch-size = 30\nlr = 0.01\nengine = "numpy"\ncheckpoint_every = 1\n'
        'schedule = "multistep"\nmilestones = [1, 2]\naux = false\nlog = "log.csv"\n'
    )
    status, out, err = run("train", "--config", "run.toml", "--epochs", "2", "--batch-size", "20")
    assert status == 0, err
    settings = training.checkpoint_settings("runs/lenet-digits.safetensors")
    assert (settings["epochs"], settings["batch_size"], settings["lr"]) == (2, 20, 0.01)
    assert settings["milestones"] == [1, 2] and "numpy engine" in out
    assert [row["lr"] for row in csv.DictReader((tmp_path / "log.csv").read_text().split())] == ["0.01", "0.001"]
    refused(run("train", "lenet", "--log", "log.csv", "--checkpoint", "new"), "log.csv exists: --resume")


@pytest.mark.parametrize(
    "content, part",
    [
        ("epoch = 3\nlr = 1\nsed = 1\n", "run.toml: train has no option epoch, sed"),
        ("lr = \n", "run.toml is no TOML file"),
        ("[lr]\nvalue = 1\n", "run.toml: lr must be one value"),
        ('config = "other.toml"\n', "no option config"),
        (None, "there is no configuration file run.toml"),
    ],
)
def test_configurations_that_can_not_be(run, tmp_path, content, part):
    if content is not None:
        (tmp_path / "run.toml").write_text(content)
    refused(run("train", "lenet", "--config", "run.toml"), part)
    assert not (tmp_path / "runs").exists()


# ---- photographs, and testing


def test_photographs_are_learnt_and_tested(run, tmp_path, monkeypatch):
    write_photographs(tmp_path / "set")
    options = ("--data", "folder", "--root", "set", "--lr", "0.01", "--batch-size", "4", "--noise")
    status, out, err = run("train", "lenet", *options, "--epochs", "3", "--schedule", "constant", "--engine", "numpy")
    assert status == 0 and "18 to learn from, 12 to test" in out and "test accuracy 100.00%" in out, out + err
    checkpoint = "runs/lenet-folder.safetensors"
    settings = training.checkpoint_settings(checkpoint)
    assert settings["classes"] == ["ant", "bee", "cat"] and (settings["size"], settings["resize"]) == (32, 37)
    views, top_k = [], training.top_k
    monkeypatch.setattr(
        training, "top_k", lambda model, test, *rest: views.append(test.view) or top_k(model, test, *rest)
    )
    for crops in (1, 10):
        status, out, err = run("evaluate", checkpoint, "--root", "set", "--crops", crops, "--engine", "numpy")
        assert status == 0 and "12 images of folder" in out and "top-1 accuracy 100.00%" in out, out + err
        assert "top-5" not in out, "of three classes"
        assert (list(views[-1].mean), list(views[-1].std)) == (settings["mean"], settings["std"])
    assert settings["mean"][0] > 0.4 and [view.crops for view in views] == [1, 10]
    broken = tmp_path / "set" / "val" / "bee" / "1.jpg"
    broken.write_bytes(broken.read_bytes()[:300])
    refused(
        run("evaluate", checkpoint, "--root", "set", "--engine", "numpy"), "1 corrupt image, 0 allowed: set/val/bee"
    )
    _, out, _ = run("evaluate", checkpoint, "--root", "set", "--engine", "numpy", "--skip-corrupt", "1")
    assert "11 images of folder, 1 corrupt left out" in out and "set/val/bee/1.jpg" in out.replace("\n", "")


def test_photographs_that_can_not_be(run, tmp_path):
    refused(run("train", "lenet", "--data", "folder"), "--data folder needs --root FOLDER")
    refused(run("train", "lenet", "--data", "folder", "--root", "none"), "there is no folder none/train")
    refused(
        run("train", "lenet", "--data", "folder", "--root", "x", "--shift", "1"), "--shift is not for --data folder"
    )
    refused(run("train", "lenet", "--noise"), "--noise is not for --data digits")
    write_photographs(tmp_path / "set", classes=("ant",))
    refused(run("train", "lenet", "--data", "folder", "--root", "set"), "one class only, ant")


def test_testing_digits(run):
    _, out, _ = run("train", "lenet", "--epochs", "1", "--engine", "numpy", "--checkpoint", "c")
    status, out, err = run("evaluate", "c", "--engine", "numpy", "--batch-size", "7")
    model = models.lenet()
    training.load_checkpoint("c", model)
    top1, top5 = training.top_k(model, data.digits().test)
    assert top1 == training.evaluate(model, data.digits().test)[1] < top5
    assert f"top-1 accuracy {top1:.2%}, top-5 accuracy {top5:.2%}" in out, out + err
    refused(run("evaluate", "c", "--crops", "10"), "as large as the network's input")
    refused(run("evaluate", "c", "--crops", "3"), "crops must be 1 or 10, not 3")
    refused(run("evaluate", "none"), "there is no checkpoint none")
    training.save_checkpoint("d", model)
    refused(run("evaluate", "d"), "does not say which network it is")


def test_top_k_of_known_probabilities():
    """Of crops' averaged probabilities, not of their logits, and by rank."""

    class Table(Module):
        def __init__(self, outputs):
            self.outputs = outputs

        def __call__(self, x):
            return self.outputs[x[:, 0, 0, 0].astype(int)]

    class Crops:
        labels = np.array([2, 0])

        def read(self, chosen, rngs):
            for numbers in chosen:
                places = 2 * np.asarray(numbers)[:, None] + np.arange(2)
                yield Dataset(places.reshape(-1, 2, 1, 1, 1).astype(np.float32), self.labels[numbers])

    p = np.array([[0.05, 0.05, 0.9], [0.7, 0.298, 0.002], [0.3, 0.6, 0.1], [0.3, 0.5, 0.2]])
    model = Table(np.log(p) + 5)  # image 0: 2 leads on average, 0.451 to 0.375, though the logits' mean says 0
    assert training.top_k(model, Crops(), [1, 2, 3]) == [0.5, 1.0, 1.0]
    assert model.training
    with pytest.raises(ValueError, match="the network knows 3 classes: top-5"):
        training.top_k(model, Crops())


@pytest.mark.parametrize("value, right", [(0, True), (float("nan"), False)])
def test_a_network_that_tells_nothing_apart_is_no_good(run, value, right):
    """It names class 0 for every image, or none."""
    assert run("train", "lenet", "--epochs", "1", "--engine", "numpy", "--checkpoint", "c")[0] == 0
    model = models.lenet()
    training.load_checkpoint("c", model)
    last = list(model.parameters())[-2:]
    for parameter in last:
        parameter.data[...] = value
    training.save_checkpoint("c", model, settings=training.checkpoint_settings("c"))
    labels = data.digits().test.labels
    status, out, err = run("evaluate", "c", "--engine", "numpy")
    top1, top5 = ((labels == 0).mean(), (labels < 5).mean()) if right else (0, 0)
    assert f"top-1 accuracy {top1:.2%}, top-5 accuracy {top5:.2%}" in out, err


@settings(SETTINGS, max_examples=200)
@given(st.data())
def test_right_answers_are_counted_by_one_rule(data):
    """Prediction, evaluation and top-k agree, with ties, NaN and infinite scores, and with probabilities of 0."""
    values = st.sampled_from([0.0, 1.0, 1.0, 1000.0, 3000.0, -3000.0, np.inf, -np.inf, np.nan])
    n, classes = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 5))
    scores = np.array(data.draw(st.lists(values, min_size=n * classes, max_size=n * classes))).reshape(n, classes)
    labels = np.array(data.draw(st.lists(st.integers(0, classes - 1), min_size=n, max_size=n)))
    true = []
    for row, label in zip(scores.tolist(), labels, strict=True):
        order = sorted(range(classes), key=lambda k: (-row[k], k))
        true.append(classes if any(map(math.isnan, row)) else order.index(label))
    assert places(scores, labels).tolist() == true
    for array in (scores, torch.tensor(scores)):
        predicted = losses.CrossEntropyLoss().predict(array)
        assert (np.asarray(predicted) == labels).tolist() == [place == 0 for place in true]

    class Scores(Module):
        def __call__(self, x):
            return scores[x[:, 0, 0, 0].astype(int)]

    images = Dataset(np.arange(n, dtype=np.float32).reshape(-1, 1, 1, 1), labels)
    ks = range(1, classes + 1)
    assert training.top_k(Scores(), images, ks) == [sum(place < k for place in true) / n for k in ks]
    with np.errstate(invalid="ignore"):  # the loss of infinite scores
        assert training.evaluate(Scores(), images)[1] == training.top_k(Scores(), images, [1])[0]


def test_several_crops_are_ranked_where_their_probabilities_are_0_in_any_float():
    scores = np.array([[[0.0, -2000.0, -1000.0], [0.0, -1500.0, -1100.0]]])  # a mean of logits would say the same
    crops = Dataset(np.zeros((1, 2, 1, 1, 1), np.float32), np.array([1]))

    class Scores(Module):
        def __call__(self, x):
            return scores[0]

    assert training.top_k(Scores(), crops, [1, 2, 3]) == [0, 0, 1]
    crops.labels[0] = 2
    assert training.top_k(Scores(), crops, [1, 2, 3]) == [0, 1, 1]


# ---- Ctrl-C, as a terminal sends it


@pytest.mark.slow
def test_ctrl_c_saves_and_the_run_goes_on(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "dumb", "COLUMNS": "150"}
    settings = ("train", "lenet", "--epochs", "2", "--batch-size", "100", "--seed", "3", "--engine", "numpy")

    def start(*arguments):
        return subprocess.Popen(
            [sys.executable, "-m", "cnnlib", *settings, *arguments],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    with start("--checkpoint", "broken", "--checkpoint-every", "5") as process:
        until = time.monotonic() + 60
        while time.monotonic() < until and not (tmp_path / "broken").exists():
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopped in epoch 1, batch" in err and "saved as broken: --resume goes on" in err, err
    assert len(err.splitlines()) == 1
    batches = training.load_checkpoint(tmp_path / "broken", models.lenet()).under_way.batches
    assert batches >= 5 and str(batches) in err
    for arguments in (("--checkpoint", "broken", "--resume"), ("--checkpoint", "whole")):
        with start(*arguments) as process:
            assert process.wait() == 0
    broken, whole = load_file(tmp_path / "broken"), load_file(tmp_path / "whole")
    assert broken.keys() == whole.keys() and all(np.array_equal(broken[name], whole[name]) for name in whole)
