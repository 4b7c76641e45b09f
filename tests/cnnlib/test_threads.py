"""Threads that share each batch: the weights of one thread, and no thread left behind."""

import threading
from functools import partial

import numpy as np
import pytest

from cnnlib import data, layers, lr_scheduler, models, optim, training
from cnnlib.arrays import move
from cnnlib.containers import Sequential
from cnnlib.losses import CrossEntropyLoss

IMAGES, LABELS = data.digits().train
TRAIN = data.Dataset(IMAGES[:67].astype("float64"), LABELS[:67])  # in batches of 33 the last has one image, for one


@pytest.fixture(autouse=True)
def no_thread_is_left():
    before = threading.active_count()
    yield
    assert threading.active_count() == before


def start(device, model=None):
    model = (model or models.lenet(seed=1, dtype="float64")).to(device)
    return model, optim.SGD(model.parameters(), 0.05, momentum=0.9, weight_decay=5e-4, nesterov=True)


def run(device, threads, model=None, **settings):
    """Train; return the weights and the history."""
    model, optimizer = start(device, model)
    given = {"epochs": 2, "batch_size": 33, "augment": partial(data.shift, pixels=2)} | settings
    scheduler = lr_scheduler.StepLR(optimizer, 1, 0.5)
    fit = training.fit if threads == 1 else partial(training.fit_in_threads, threads)
    history = fit(model, TRAIN, TRAIN, optimizer=optimizer, scheduler=scheduler, **given)
    return {name: move(array, "numpy") for name, array in model.state_dict().items()}, history


def same(ours, reference, **tolerance):
    assert ours.keys() == reference.keys()
    for name in ours:
        np.testing.assert_allclose(ours[name], reference[name], err_msg=name, **tolerance)


@pytest.mark.parametrize("threads", [2, 3])
def test_they_train_as_one(device, threads):
    (ours, history), (reference, alone) = run(device, threads), run(device, 1)
    same(ours, reference, rtol=1e-9, atol=1e-12)
    for mine, its in zip(history.epochs, alone.epochs, strict=True):
        assert mine.lr == its.lr
        np.testing.assert_allclose(mine.train_loss, its.train_loss, rtol=1e-10)
        assert (mine.train_accuracy, mine.test_accuracy) == (its.train_accuracy, its.test_accuracy)


def net():
    return Sequential(
        layers.Conv2d(1, 4, 3, dtype="float64"), layers.BatchNorm2d(4, dtype="float64"), layers.ReLU(inplace=True),
        layers.Dropout(0.5), layers.Flatten(), layers.Linear(3600, 10, dtype="float64"),
    )  # fmt: skip


def test_a_run_comes_out_the_same_each_time(device):
    """Each thread draws its own masks and normalises over its own part, always in the same way."""
    model = net()
    state = model.state_dict(copy=True)
    first, _ = run(device, 2, model)
    again = net()
    again.load_state_dict(state)
    second, _ = run(device, 2, again)
    same(first, second, rtol=0, atol=0)
    reference = net()
    reference.load_state_dict(state)
    alone, _ = run(device, 1, reference)
    assert not np.allclose(alone["5.weight"], first["5.weight"], atol=1e-4)  # other masks
    assert alone["1.num_batches_tracked"] == first["1.num_batches_tracked"] == 6


def test_running_means_are_averaged(device):
    """A mean of the parts' means is the batch's mean where the parts are equal."""
    head = layers.Linear(1024, 10, dtype="float64")
    model = Sequential(layers.BatchNorm2d(1, momentum=1.0, dtype="float64"), layers.Flatten(), head)
    model, optimizer = start(device, model)
    equal = data.Dataset(TRAIN.images[:32], TRAIN.labels[:32])
    training.fit_in_threads(2, model, equal, optimizer=optimizer, epochs=1, batch_size=32)
    np.testing.assert_allclose(move(model[0].running_mean, "numpy"), TRAIN.images[:32].mean(), rtol=1e-12)


def test_a_run_that_was_stopped_goes_on(device, tmp_path):
    path, asked = tmp_path / "run.safetensors", iter([False, False, False, True])
    with pytest.raises(training.InterruptedRunError, match="stopped in epoch 2, batch 1"):
        run(device, 2, checkpoint=path, callbacks=training.Callbacks(should_stop=lambda: next(asked)))
    resumed = training.Checkpoint(path, resume=True)
    same(run(device, 2, checkpoint=resumed)[0], run(device, 2)[0], rtol=0, atol=0)


def tune(device, threads, labels):
    """Fine-tune with a body in evaluation, whose convolution is frozen; return the states and the history."""
    rng = np.random.default_rng(0)
    conv = layers.Conv2d(1, 4, 5, 4, dtype="float64", rng=rng)
    body = Sequential(conv, layers.BatchNorm2d(4, dtype="float64"), layers.ReLU(inplace=True), layers.Dropout(0.5))
    fc = layers.Linear(196, 10, dtype="float64", rng=rng)
    model = Sequential(body=body, flat=layers.Flatten(), mid=layers.Linear(196, 196, dtype="float64", rng=rng), fc=fc)
    body[1].running_mean[...], body[1].running_var[...] = rng.standard_normal(4), rng.uniform(0.5, 1.5, 4)
    model.to(device)["body"].eval()
    model["body.0"].requires_grad_(False)
    groups = [{"params": fc.parameters(), "lr": 0.1}, {"params": body.parameters() + model["mid"].parameters()}]
    optimizer = optim.SGD(groups, 0.02, momentum=0.9, weight_decay=1e-3)
    averaged = training.AveragedModel(model, training.get_ema_avg_fn(0.9))
    start = {name: np.array(move(array, "numpy")) for name, array in model.state_dict().items()}
    history = (training.fit if threads == 1 else partial(training.fit_in_threads, threads))(
        model, data.Dataset(TRAIN.images, labels), TRAIN, optimizer=optimizer, epochs=3, batch_size=33, drop_last=True,
        scheduler=lr_scheduler.CosineAnnealingLR(optimizer, 3), max_norm=0.5, averaged=averaged,
        criterion=CrossEntropyLoss(np.linspace(0.5, 2, 10), label_smoothing=0.1),
    )  # fmt: skip
    states = [{n: move(array, "numpy") for n, array in of.state_dict().items()} for of in (model, averaged)]
    return start, *states, history


@pytest.mark.parametrize("threads", [2, 3])
@pytest.mark.parametrize("counting", [67, 3])
def test_they_fine_tune_as_one(device, threads, counting):
    """Groups, clipping and averages; with three labels that count, some threads, and some batches, have none."""
    labels = np.where(np.arange(67) % (67 // counting) == 0, LABELS[:67], -100)
    start, ours, our_average, history = tune(device, threads, labels)
    _, reference, average, alone = tune(device, 1, labels)
    same(ours, reference, rtol=1e-9, atol=1e-12)
    same(our_average, average, rtol=1e-9, atol=1e-12)
    assert history.series("test_loss") == pytest.approx(alone.series("test_loss"), rel=1e-10)
    for name in start:
        statistics = "running" in name or "num_batches" in name
        assert np.array_equal(ours[name], start[name]) == (statistics or name.startswith("body.0")), name
        if statistics:
            assert np.array_equal(our_average[f"module.{name}"], start[name]), name


def test_one_that_fails_ends_all(device):
    def fail(batch):
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        run(device, 2, callbacks=training.Callbacks(on_batch=fail))

    class Broken(data.Dataset):
        """Cannot be read by a thread other than the caller's."""

        def __getattribute__(self, name):
            if name == "images" and threading.current_thread() is not threading.main_thread():
                raise OSError("unreadable")
            return super().__getattribute__(name)

    model, optimizer = start(device)
    with pytest.raises(OSError, match="unreadable"):
        training.fit_in_threads(2, model, Broken(*TRAIN), optimizer=optimizer, epochs=1)


def test_what_cannot_be_shared_is_refused():
    model, optimizer = start("numpy")
    with pytest.raises(ValueError, match="2 threads at least, not 1"):
        training.fit_in_threads(1, model, TRAIN, optimizer=optimizer, epochs=1)
    with pytest.raises(ValueError, match="the loss became nan in epoch 1, batch 1: images of it hold NaN"):
        broken = data.Dataset(TRAIN.images * np.nan, TRAIN.labels)
        training.fit_in_threads(2, model, broken, optimizer=optimizer, epochs=1)


def test_a_network_on_a_gpu_is_left_to_fit(monkeypatch):
    model, optimizer = start("cpu")
    monkeypatch.setattr(type(model), "device", "cuda:0")
    with pytest.raises(ValueError, match="on 'cuda:0': use fit"):
        training.fit_in_threads(2, model, TRAIN, optimizer=optimizer, epochs=1)
