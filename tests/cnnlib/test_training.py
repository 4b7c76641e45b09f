"""Training: the same again, on from where it stopped, and an end that explains itself."""

import math
from functools import partial

import numpy as np
import pytest

from cnnlib import data, lr_scheduler, models, optim, training
from cnnlib.arrays import move
from cnnlib.data import Dataset
from cnnlib.training import Callbacks, Checkpoint

DIGITS = data.digits()
TRAIN = Dataset(DIGITS.train.images[:192], DIGITS.train.labels[:192])
TEST = Dataset(DIGITS.test.images[:100], DIGITS.test.labels[:100])


def run(device, epochs=4, seed=0, **arguments):
    model = models.lenet(seed=seed).to(device)
    optimizer = optim.SGD(model.parameters(), 0.05, momentum=0.9, weight_decay=5e-4, nesterov=True)
    scheduler = lr_scheduler.MultiStepLR(optimizer, [2, 3])
    history = training.fit(
        model,
        TRAIN,
        TEST,
        optimizer=optimizer,
        epochs=epochs,
        batch_size=50,  # which leaves a smaller batch at the end
        seed=seed,
        scheduler=scheduler,
        augment=partial(data.shift, pixels=1),
        **arguments,
    )
    return model, history


def weights(model):
    return {name: move(array, "numpy").copy() for name, array in model.state_dict().items()}


def same(first, second):
    return all(np.array_equal(a, second[name]) for name, a in first.items()) and first.keys() == second.keys()


def figures(history):
    return [(e.epoch, e.lr, e.train_loss, e.train_accuracy, e.test_loss, e.test_accuracy) for e in history.epochs]


def test_the_same_seed_is_the_same_run(device):
    (first, history), (second, again) = run(device), run(device)
    assert same(weights(first), weights(second)) and figures(history) == figures(again)
    other, _ = run(device, epochs=1, seed=1)
    assert not same(weights(other), weights(run(device, epochs=1)[0]))


@pytest.mark.parametrize("broken_after", [1, 3])
def test_a_resumed_run_is_the_unbroken_run_to_the_bit(device, tmp_path, broken_after):
    """Broken off in an epoch's middle: before the rate falls, and after."""
    whole, history = run(device)
    path = tmp_path / "run.safetensors"

    def interrupt(batch):
        if (batch.epoch, batch.batch) == (broken_after + 1, 2):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(device, checkpoint=path, callbacks=Callbacks(on_batch=interrupt))
    told = []
    resumed, joined = run(device, checkpoint=Checkpoint(path, resume=True), callbacks=Callbacks(on_epoch=told.append))
    assert same(weights(whole), weights(resumed))
    assert figures(joined) == figures(history)
    assert [e.epoch for e in told] == list(range(broken_after + 1, 5))
    again, complete = run(device, checkpoint=Checkpoint(path, resume=True))  # nothing is left to do
    assert same(weights(whole), weights(again)) and figures(complete) == figures(history)


def test_engines_agree_on_an_epoch():
    """NumPy and torch: the same losses but for float32's rounding."""
    one, two = run("numpy", epochs=1)[1].epochs[0], run("cpu", epochs=1)[1].epochs[0]
    assert one.train_loss == pytest.approx(two.train_loss, rel=1e-4)
    assert one.test_loss == pytest.approx(two.test_loss, rel=1e-3)


def test_the_history_says_what_happened(device):
    batches, epochs = [], []
    model, history = run(device, epochs=3, callbacks=Callbacks(on_batch=batches.append, on_epoch=epochs.append))
    assert history.epochs == epochs and history.series("epoch") == [1, 2, 3]
    assert history.series("lr") == pytest.approx([0.05, 0.05, 0.005])
    assert [(b.epoch, b.batch, b.batches) for b in batches] == [(e, k, 4) for e in (1, 2, 3) for k in (1, 2, 3, 4)]
    for epoch, last in zip(epochs, batches[3::4], strict=True):
        assert (epoch.train_loss, epoch.train_accuracy) == (last.loss, last.accuracy)
        assert 0 < epoch.train_loss and 0 <= epoch.train_accuracy <= 1 and epoch.seconds > 0
    assert history.series("train_loss")[2] < history.series("train_loss")[0]
    assert training.evaluate(model, TEST) == (epochs[-1].test_loss, epochs[-1].test_accuracy)
    assert run(device, epochs=1)[1].epochs[0].test_loss is not None


def test_evaluation_is_a_mean_over_all_images(device):
    """Whatever the batches are, and the model's mode is as before."""
    model = models.lenet(seed=1).to(device)
    loss, accuracy = training.evaluate(model, TEST, batch_size=100)
    assert model.training
    model.eval()
    for size in (7, 64, 1000):
        assert training.evaluate(model, TEST, size) == (pytest.approx(loss, rel=1e-5), accuracy)
    assert not model.training
    logits = move(model(move(TEST.images, device)), "numpy").astype(float)
    logits -= logits.max(1, keepdims=True)
    right = np.log(np.exp(logits).sum(1)) - logits[np.arange(100), TEST.labels]
    assert loss == pytest.approx(right.mean(), rel=1e-5)
    assert accuracy == (logits.argmax(1) == TEST.labels).mean()


def test_training_figures_are_means_over_images(device):
    """With a learning rate of 0 nothing moves, so they are those of an evaluation, the small last batch included."""
    model = models.lenet(seed=1).to(device)
    history = training.fit(model, TRAIN, optimizer=optim.SGD(model.parameters(), 0.0), epochs=1, batch_size=100)
    loss, accuracy = training.evaluate(model, TRAIN)
    assert history.epochs[0].train_loss == pytest.approx(loss, rel=1e-5)
    assert history.epochs[0].train_accuracy == accuracy


def test_without_a_test_set_there_are_no_test_figures():
    model = models.lenet()
    history = training.fit(model, TRAIN, optimizer=optim.SGD(model.parameters()), epochs=1)
    assert history.epochs[0].test_loss is None and history.epochs[0].test_accuracy is None


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
def test_a_loss_that_is_not_a_number_ends_the_run(device, tmp_path):
    path = tmp_path / "run.safetensors"
    poisoned = TRAIN.images.copy()
    model = models.lenet().to(device)
    optimizer = optim.SGD(model.parameters(), 0.5)

    def poison(epoch):
        poisoned[:] = math.nan

    with pytest.raises(ValueError, match="the loss became nan in epoch 2, batch 1: images of it hold NaN"):
        training.fit(
            model,
            Dataset(poisoned, TRAIN.labels),
            optimizer=optimizer,
            epochs=3,
            checkpoint=path,
            callbacks=Callbacks(on_epoch=poison),
        )
    assert all(np.isfinite(array).all() for array in weights(model).values()), "the broken step was taken"
    kept = models.lenet(seed=9)
    assert len(training.load_checkpoint(path, kept).epochs) == 1
    assert same(weights(kept), weights(model))

    model.parameters()[0].data[:] = math.nan
    with pytest.raises(ValueError, match=r"the loss became nan in epoch 1, batch 1: .*lr=0.05 instead of 0.5"):
        training.fit(model, TRAIN, optimizer=optimizer, epochs=1)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"epochs": 0}, "at least 1.*0"),
        ({"epochs": 1, "batch_size": 0}, "at least 1.*0"),
    ],
)
def test_runs_that_can_not_be(arguments, message):
    model = models.lenet()
    with pytest.raises(ValueError, match=message):
        training.fit(model, TRAIN, optimizer=optim.SGD(model.parameters()), **arguments)
    with pytest.raises(ValueError, match="resume needs the checkpoint"):
        Checkpoint(None, resume=True)


def test_labels_that_are_no_classes_end_the_run(device):
    model = models.lenet().to(device)
    with pytest.raises(ValueError, match="0 to 9 for 10 logits, but there is a 10"):
        training.fit(model, Dataset(TRAIN.images, TRAIN.labels + 1), optimizer=optim.SGD(model.parameters()), epochs=1)
