"""Mixed precision and memory layout: what is 16 bits, what is not, and that it still learns."""

import numpy as np
import pytest
import torch

from cnnlib import data, layers, models, optim, training
from cnnlib.containers import Sequential
from cnnlib.data import Dataset
from cnnlib.optim import Nesterov
from cnnlib.training import Callbacks, Checkpoint
from cnnlib.training.history import LossScale
from cnnlib.training.precision import GROW_AFTER, Precision

DIGITS = data.digits()
TRAIN = Dataset(DIGITS.train.images[:96], DIGITS.train.labels[:96])


def small(channels=1):
    rng = np.random.default_rng(0)
    return Sequential(
        conv=layers.Conv2d(channels, 8, 5, stride=3, bias=False, rng=rng),
        norm=layers.BatchNorm2d(8),
        relu=layers.ReLU(),
        lrn=layers.LocalResponseNorm(5),
        pool=layers.MaxPool2d(2),
        flatten=layers.Flatten(),
        head=layers.Linear(8 * 5 * 5, 10, rng=rng),
    ).to("cpu")


def run(model, epochs=1, train=TRAIN, **arguments):
    optimizer = optim.SGD(model.parameters(), 0.05, momentum=0.9)
    return training.fit(model, train, optimizer=optimizer, epochs=epochs, batch_size=32, **arguments), optimizer


def test_what_is_in_16_bits(monkeypatch):
    """Convolutions and fully connected layers are; normalisation, the weights and their gradients are not."""
    model, seen = small(), {}
    for kind in (layers.Conv2d, layers.Linear, layers.BatchNorm2d, layers.LocalResponseNorm):
        forward = kind.forward

        def spy(layer, x, forward=forward):
            y, cache = forward(layer, x)
            weight = getattr(layer, "weight", None)
            seen[type(layer).__name__] = x.dtype, None if weight is None else weight.data.dtype, y.dtype
            return y, cache

        monkeypatch.setattr(kind, "forward", spy)
    precision = Precision(model, "bfloat16")
    x = precision.lower(torch.from_numpy(TRAIN.images[:8]))
    with precision.of_step():
        y = model(x)
        dx = model.backward(torch.ones_like(y))
    low, full = torch.bfloat16, torch.float32
    assert seen["Conv2d"] == seen["Linear"] == (low, low, low)
    assert seen["BatchNorm2d"] == (full, full, full) and seen["LocalResponseNorm"] == (full, None, full)
    assert y.dtype == dx.dtype == low
    assert {p.data.dtype for p in model.parameters()} == {p.grad.dtype for p in model.parameters()} == {full}
    assert model["norm"].running_mean.dtype == full
    seen.clear()
    model.eval()(torch.from_numpy(TRAIN.images[:8]))
    assert seen["BatchNorm2d"] == (full, full, full) and "forward" not in vars(model["norm"])


@pytest.mark.parametrize("name, tolerance", [("bfloat16", 0.05), ("float16", 0.01)])
def test_mixed_gradients_are_about_right(name, tolerance):
    full, mixed = small(), small()
    x, dy = torch.from_numpy(TRAIN.images[:16]), torch.from_numpy(np.random.default_rng(1).random((16, 10), np.float32))
    full(x)
    full.backward(dy)
    precision = Precision(mixed, name, LossScale(1024.0))
    with precision.of_step():
        mixed(precision.lower(x))
        mixed.backward(precision.output_gradients(dy / 16))
    assert precision.unscale(mixed.parameters())
    for one, other in zip(full.parameters(), mixed.parameters(), strict=True):
        error = (other.grad * 16 - one.grad).norm() / one.grad.norm()
        assert 0 < error < tolerance


@pytest.mark.parametrize("name", ["bfloat16", "float16"])
def test_mixed_training_learns_and_resumes(name, tmp_path):
    plain, _ = run(small(), epochs=4)
    model = small()
    history, _ = run(model, epochs=4, precision=name)
    assert history.epochs[-1].train_loss == pytest.approx(plain.epochs[-1].train_loss, rel=0.1)
    assert plain.epochs[-1].train_loss < 0.5 * plain.epochs[0].train_loss
    stop = iter([False] * 4 + [True])
    with pytest.raises(training.InterruptedRunError):
        run(small(), 4, precision=name, checkpoint=tmp_path / "c", callbacks=Callbacks(should_stop=lambda: next(stop)))
    resumed = small()
    again, _ = run(resumed, 4, precision=name, checkpoint=Checkpoint(tmp_path / "c", resume=True))
    for one, other in zip(model.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one.data, other.data)
    assert again.loss_scale == history.loss_scale == (LossScale(2.0**16, 12) if name == "float16" else None)


def test_an_overflow_takes_no_step_and_halves_the_factor():
    model = small()
    precision = Precision(model, "float16", LossScale(8.0, GROW_AFTER - 2))

    def gradients(value):
        for parameter in model.parameters():
            parameter.grad = torch.full(parameter.shape, value)
        return precision.unscale(model.parameters())

    assert gradients(8.0) and (model["head"].weight.grad == 1).all() and precision.scale.fine == GROW_AFTER - 1
    assert gradients(8.0) and precision.scale == LossScale(16.0, 0)
    assert not gradients(float("inf")) and precision.scale == LossScale(8.0, 0)
    assert not gradients(float("nan")) and precision.scale == LossScale(4.0, 0)
    precision.scale = LossScale(2.0**-15)
    with pytest.raises(ValueError, match="use bfloat16"):
        gradients(float("inf"))


def test_training_survives_an_overflow(tmp_path):
    """The first batches overflow at a factor of 2^30, which then is small enough; until then nothing moves."""
    model = small()
    before = [parameter.data.clone() for parameter in model.parameters()]
    optimizer = optim.SGD(model.parameters(), 0.05)
    training.save_checkpoint(tmp_path / "c", model, optimizer, training.History(loss_scale=LossScale(2.0**30)))
    moved = []

    def note(batch):
        moved.append(not all(torch.equal(p.data, b) for p, b in zip(model.parameters(), before, strict=True)))

    history = training.fit(
        model,
        TRAIN,
        optimizer=optimizer,
        epochs=10,
        batch_size=16,
        precision="float16",
        checkpoint=Checkpoint(tmp_path / "c", resume=True),
        callbacks=Callbacks(on_batch=note),
    )
    assert not moved[0] and moved[-1] and history.loss_scale.value < 2.0**30
    assert history.epochs[-1].train_loss < history.epochs[0].train_loss


def test_precisions_that_can_not_be():
    with pytest.raises(ValueError, match='precision must be "float32", "bfloat16" or "float16", not .int8'):
        Precision(small(), "int8")
    with pytest.raises(ValueError, match="needs the torch engine and float32 weights"):
        Precision(models.lenet(), "bfloat16")
    with pytest.raises(ValueError, match="not torch's float64"):
        Precision(models.lenet(dtype="float64").to("cpu"), "bfloat16")
    model = small()
    with pytest.raises(ValueError, match="Nesterov has moved ahead"):
        training.fit(model, TRAIN, optimizer=Nesterov(model.parameters()), epochs=1, precision="float16")


def test_channels_last_is_a_layout_only(monkeypatch):
    plain, other = small(3), small(3)
    colours = Dataset(np.repeat(TRAIN.images, 3, 1) * np.array([1, 2, -1], "f4").reshape(3, 1, 1), TRAIN.labels)
    history, _ = run(plain, train=colours)
    seen = []
    forward = layers.Conv2d.forward

    def spy(layer, x):
        if layer.training:
            seen.append(x.is_contiguous(memory_format=torch.channels_last) and x.stride(1) == 1)
            seen.append(layer.weight.data.is_contiguous(memory_format=torch.channels_last))
        return forward(layer, x)

    monkeypatch.setattr(layers.Conv2d, "forward", spy)
    laid_out, _ = run(other, train=colours, channels_last=True)
    assert seen and all(seen)
    assert laid_out.epochs[0].train_loss == pytest.approx(history.epochs[0].train_loss, rel=1e-4)
    with pytest.raises(ValueError, match="channels_last is a memory layout of torch"):
        model = models.lenet()
        training.fit(model, TRAIN, optimizer=optim.SGD(model.parameters()), epochs=1, channels_last=True)
