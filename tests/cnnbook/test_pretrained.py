"""The checkpoints that come with the package: they load, and are as good as their cards say."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cnnbook import pretrained
from cnnbook.race import checkpoints
from cnnlib import data, training
from cnnlib.arrays import library

FOLDER = Path(pretrained.__file__).parent
NAMES = sorted(checkpoints.PLANS)


def test_every_checkpoint_is_there():
    assert pretrained.names() == sorted([*NAMES, "squeezenet-imagenet"])
    assert {path.stem for path in FOLDER.glob("*.md")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_checkpoint_is_small_and_says_how_it_was_made(name):
    card, plan = pretrained.card(name), checkpoints.PLANS[name]
    assert (FOLDER / f"{name}.npz").stat().st_size <= 2_000_000
    assert card.name == name and len(card.classes) == 10 and len(card.curve) == card.recipe["epochs"]
    assert (card.network, dict(card.options), card.data, dict(card.data_options), card.seed) == (
        plan.network,
        plan.options,
        plan.data,
        plan.data_options,
        plan.seed,
    )
    assert card.recipe == plan.for_card()
    page = (FOLDER / f"{name}.md").read_text()
    weights = sum(array.size for key, array in pretrained._read(name).items() if key != "card")
    assert page == checkpoints.page(card, weights)
    assert f"{card.accuracy:.2%} on {card.tested:,} images" in page and card.command in page
    if card.data != "fashion-mnist":  # its files may not be here
        some = pretrained.load(name)(_tested(card, 20).images)
        assert some.shape == (20, 10) and some.dtype == np.float32 and library(some) == "numpy"


def _tested(card, count):
    """Return the first test images. Of the shapes fewer training images are drawn, which changes no test image."""
    if card.data == "shapes":
        return data.shapes(**card.data_options | {"train": 1, "test": count}).test
    test = card.dataset().test
    return data.Dataset(test.images[:count], test.labels[:count])


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_checkpoint_reaches_its_accuracy(name):
    """On all test images; another machine rounds otherwise, so that a few of them may change sides."""
    card = pretrained.card(name)
    test = _tested(card, card.tested)
    model = pretrained.load(name, "cpu")
    assert not model.training
    assert training.evaluate(model, test)[1] == pytest.approx(card.accuracy, abs=0.003)


def test_a_checkpoint_that_is_not_there():
    with pytest.raises(ValueError, match="no checkpoint 'lenet'; the nearest: .*lenet-digits.*: there are"):
        pretrained.load("lenet")
    with pytest.raises(ValueError, match="no checkpoint"):
        pretrained.card("../__init__")


def test_a_checkpoint_written_is_the_one_read(tmp_path, monkeypatch):
    model, card = pretrained.load("lenet-digits"), pretrained.card("lenet-digits")
    model["C1"].weight.data[:] = 1 / 3
    checkpoints.write(model, replace(card, accuracy=0.5), tmp_path)
    monkeypatch.setattr(pretrained.resources, "files", lambda package: tmp_path)
    assert pretrained.names() == ["lenet-digits"]
    assert pretrained.card("lenet-digits") == replace(card, accuracy=0.5)
    assert (pretrained.load("lenet-digits")["C1"].weight.data == np.float32(np.float16(1 / 3))).all()
    assert "50.00% on 1,000 images" in (tmp_path / "lenet-digits.md").read_text()


def test_a_training_is_compared_with_its_card(tmp_path, monkeypatch):
    """One epoch is not enough to be as good as thirty."""
    monkeypatch.chdir(tmp_path)  # where a run that is under way is kept
    lines = []
    plan = checkpoints.PLANS["lenet-digits"]
    short = replace(plan, recipe=replace(plan.recipe, epochs=1))
    monkeypatch.setitem(checkpoints.PLANS, "lenet-digits", short)
    few = data.digits()
    few = data.DataSplit(data.Dataset(few.train.images[:500], few.train.labels[:500]), few.test)
    monkeypatch.setattr(data, "digits", lambda: few)
    with monkeypatch.context() as broken, pytest.raises(OSError):
        broken.setattr(pretrained, "card", lambda name: open(tmp_path / "no-card"))
        checkpoints.make("lenet-digits", save=False, say=lines.append)
    assert lines.pop().startswith("epoch 1:") and not lines
    assert checkpoints.make("lenet-digits", save=False, say=lines.append) is False
    assert len(lines) == 1, "what was trained before the failure is not trained again"
    assert "98.20% on its card" in lines[-1]
    monkeypatch.setattr(checkpoints, "TOLERANCE", 1)
    assert checkpoints.make("lenet-digits", save=False, say=lines.append) is True
    assert list((tmp_path / "runs").iterdir()) == []
