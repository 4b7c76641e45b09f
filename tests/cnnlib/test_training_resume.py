"""Runs that stop in the midst of an epoch: what was saved goes on to the bits of an unbroken run."""

import csv
from functools import partial

import numpy as np
import pytest
from PIL import Image

from cnnlib import data, lr_scheduler, models, optim, training
from cnnlib.arrays import move
from cnnlib.containers import Sequential
from cnnlib.data import Dataset
from cnnlib.layers import BatchNorm2d, Conv2d, Dropout, Flatten, Linear, ReLU
from cnnlib.training import Callbacks, Checkpoint
from cnnlib.training.logs import COLUMNS, CSVLog, TensorBoardLog

DIGITS = data.digits()
TRAIN = Dataset(DIGITS.train.images[:130], DIGITS.train.labels[:130])
AUGMENT = partial(data.shift, pixels=1)
TEST = Dataset(DIGITS.test.images[:60], DIGITS.test.labels[:60])


def network(device):
    """A network with everything that draws or remembers: Dropout, running statistics."""
    rng = np.random.default_rng(0)
    return Sequential(
        Conv2d(1, 4, 5, stride=4, bias=False, rng=rng),
        BatchNorm2d(4),
        ReLU(),
        Flatten(),
        Dropout(0.3),
        Linear(4 * 7 * 7, 10, rng=rng),
    ).to(device)


def run(device, epochs=3, **arguments):
    model = network(device)
    optimizer = optim.Adam(model.parameters(), 0.01)
    scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=0, threshold=0.3)
    arguments |= {"batch_size": 32, "seed": 7, "scheduler": scheduler}
    history = training.fit(model, TRAIN, TEST, optimizer=optimizer, epochs=epochs, augment=AUGMENT, **arguments)
    return {name: move(array, "numpy").copy() for name, array in model.state_dict().items()}, history


def figures(history):
    return [(e.epoch, e.lr, e.train_loss, e.train_accuracy, e.test_loss, e.test_accuracy) for e in history.epochs]


def assert_same(first, second):
    assert first.keys() == second.keys()
    for name, array in first.items():
        assert np.array_equal(array, second[name]), name


def after(asked):
    """Return a `should_stop` that says yes when it is asked for the n-th time."""
    count = iter(range(1, 10_000))
    return lambda: next(count) == asked


@pytest.mark.parametrize("asked", [1, 3, 8, 14])
def test_a_stopped_run_goes_on_to_the_same_bits(device, tmp_path, asked):
    """In an epoch's first batch, its midst, after the rate has fallen; five batches and a test make an epoch."""
    whole, history = run(device)
    assert len(set(history.series("lr"))) > 1, "the plateau was never met"
    path = tmp_path / "run"
    with pytest.raises(training.InterruptedRunError, match=r"stopped in epoch|stopped while testing"):
        run(device, checkpoint=path, callbacks=Callbacks(should_stop=after(asked)))
    kept = training.load_checkpoint(path, network(device))
    assert kept.under_way is not None and 1 <= kept.under_way.batches <= 5
    resumed, joined = run(device, checkpoint=Checkpoint(path, resume=True))
    assert_same(resumed, whole)
    assert figures(joined) == figures(history)


def test_stopped_while_testing(tmp_path):
    whole, history = run("numpy")
    path = tmp_path / "run"
    with pytest.raises(training.InterruptedRunError, match="stopped while testing epoch 1"):
        run("numpy", checkpoint=path, callbacks=Callbacks(should_stop=after(6)))
    assert training.load_checkpoint(path, network("numpy")).under_way.batches == 5
    resumed, joined = run("numpy", checkpoint=Checkpoint(path, resume=True))
    assert_same(resumed, whole)
    assert figures(joined) == figures(history)


def test_checkpoints_within_an_epoch(device, tmp_path):
    """Every second batch, and a run that breaks off goes on from the last of them."""
    path, saved = tmp_path / "run", []

    def note(batch):
        if path.exists():
            under_way = training.load_checkpoint(path, network(device)).under_way
            saved.append(under_way and under_way.batches)
        if (batch.epoch, batch.batch) == (2, 4):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(device, checkpoint=Checkpoint(path, every=2), callbacks=Callbacks(on_batch=note))
    # as told before batch k is saved: nothing, nothing, 2, 2, 4, then the epoch, then again
    assert saved == [2, 2, 4, None, None, 2, 2]
    resumed, _ = run(device, checkpoint=Checkpoint(path, every=2, resume=True))
    assert_same(resumed, run(device)[0])
    with pytest.raises(ValueError, match="every is a number of batches"):
        run(device, checkpoint=Checkpoint(None, every=2))
    with pytest.raises(ValueError, match="every is a number of batches"):
        run(device, checkpoint=Checkpoint(path, every=0))


def test_photographs_resume_to_the_same_bits(tmp_path):
    rng = np.random.default_rng(0)
    for k in range(30):
        folder = tmp_path / "set" / "abc"[k % 3]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40, 50, 3)).astype(np.uint8)).save(folder / f"{k}.jpg")
    train = data.ImageFolder(tmp_path / "set", data.View(32, 36, "scale"))

    def photographs(**arguments):
        model = models.lenet(num_classes=3, in_channels=3, seed=1)
        optimizer = optim.SGD(model.parameters(), 0.01, momentum=0.9)
        training.fit(model, train, optimizer=optimizer, epochs=2, batch_size=8, seed=3, **arguments)
        return model.state_dict()

    whole = photographs()
    with pytest.raises(training.InterruptedRunError):
        photographs(checkpoint=tmp_path / "run", callbacks=Callbacks(should_stop=after(6)))
    assert_same(photographs(checkpoint=Checkpoint(tmp_path / "run", resume=True)), whole)


def test_every_batch_has_its_own_dropout_masks(monkeypatch):
    """And every epoch, and every seed."""
    masks, forward = [], Dropout.forward

    def spy(layer, x):
        y, cache = forward(layer, x)
        if layer.training:
            masks.append(cache[0][:2].tobytes())  # the last batch has two images
        return y, cache

    monkeypatch.setattr(Dropout, "forward", spy)
    run("numpy", epochs=2)
    assert len(masks) == len(set(masks)) == 10
    again, masks = masks, []
    model = network("numpy")
    training.fit(model, TRAIN, optimizer=optim.SGD(model.parameters()), epochs=1, batch_size=32, seed=8)
    assert len(masks) == 5 and not set(masks) & set(again)


# ---- logs


def test_a_csv_log_has_each_epoch_once(tmp_path):
    """Whatever the state that a killed run left: a row too few, too many, half a row."""
    path = tmp_path / "folder" / "log.csv"

    def logged(resume=False, should_stop=lambda: False):
        log, checkpoint = CSVLog(path), Checkpoint(tmp_path / "run", resume=resume)
        callbacks = Callbacks(log.start, on_epoch=log.add, should_stop=should_stop)
        return run("numpy", epochs=3 if resume else 2, callbacks=callbacks, checkpoint=checkpoint)

    _, history = logged()
    rows = list(csv.reader(path.read_text().splitlines()))
    assert rows[0] == COLUMNS and [row[0] for row in rows[1:]] == ["1", "2"]
    assert [float(row[4]) for row in rows[1:]] == history.series("test_loss")
    two, saved = path.read_text(), (tmp_path / "run").read_bytes()
    for left in (two, two[:-9], two.rpartition("2,")[0], two + two.splitlines()[-1].replace("2,", "3,", 1) + "\n", ""):
        path.write_text(left)
        (tmp_path / "run").write_bytes(saved)
        with pytest.raises(training.InterruptedRunError):
            logged(resume=True, should_stop=after(2))
        assert path.read_text() == two
    logged(resume=True)
    assert path.read_text().startswith(two) and [row.partition(",")[0] for row in path.read_text().split()] == [
        "epoch",
        "1",
        "2",
        "3",
    ]
    path.write_text("name,price\napple,1\n")
    with pytest.raises(ValueError, match="no log of a run, and is left as it is: its columns are name, price"):
        CSVLog(path)
    path.write_bytes(bytes(range(128, 256)))
    with pytest.raises(ValueError, match="no log of a run"):
        CSVLog(path)


def test_without_a_test_set_its_columns_are_empty(tmp_path):
    model = models.lenet()
    log = CSVLog(tmp_path / "log.csv")
    callbacks = Callbacks(log.start, on_epoch=log.add)
    training.fit(model, TRAIN, optimizer=optim.SGD(model.parameters()), epochs=1, callbacks=callbacks)
    row = next(csv.DictReader(log.path.read_text().splitlines()))
    assert row["test_loss"] == row["test_accuracy"] == "" and float(row["train_loss"]) > 0


def test_tensorboard_gets_the_figures(tmp_path):
    from tensorboardX.proto.event_pb2 import Event

    def events(path):
        content, found = path.read_bytes(), []
        while content:  # length, its checksum, the event, its checksum
            length = int.from_bytes(content[:8], "little")
            found.append(Event.FromString(content[12 : 12 + length]))
            content = content[16 + length :]
        return found

    log = TensorBoardLog(tmp_path / "logs")
    _, history = run("numpy", epochs=2, callbacks=Callbacks(log.start, on_epoch=log.add))
    log.close()
    (path,) = (tmp_path / "logs").iterdir()
    scalars = {(value.tag, e.step): value.simple_value for e in events(path) for value in e.summary.value}
    for k, epoch in enumerate(history.epochs, 1):
        assert scalars["loss/test", k] == pytest.approx(epoch.test_loss, rel=1e-6)
        assert scalars["accuracy/train", k] == pytest.approx(epoch.train_accuracy, rel=1e-6)
        assert scalars["lr", k] == pytest.approx(epoch.lr, rel=1e-6)
    path.unlink()
    log = TensorBoardLog(tmp_path / "logs")
    log.start(history)  # a resumed run: what it has is written anew, and what was there before is void
    log.close()
    (path,) = (tmp_path / "logs").iterdir()
    assert [e.session_log.status for e in events(path) if e.HasField("session_log")] == [1]
    assert {(v.tag, e.step) for e in events(path) for v in e.summary.value} == scalars.keys()
