"""The training loop."""

import math
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from cnnlib.arrays import move
from cnnlib.data import Augmentation, Batches, Dataset, batches
from cnnlib.lr_scheduler import LRScheduler, ReduceLROnPlateau
from cnnlib.module import Module
from cnnlib.optim import Nesterov, Optimizer
from cnnlib.training.checkpoint import check_place, load_checkpoint, save_checkpoint
from cnnlib.training.distributed import ALONE, World
from cnnlib.training.evaluation import Criterion, criterion_of, device_of, evaluate
from cnnlib.training.history import Batch, Epoch, History, UnderWay
from cnnlib.training.precision import Precision


class InterruptedRunError(Exception):
    """A run that was asked to stop, and has."""


def fit(
    model: Module,
    train: Batches,
    test: Batches | None = None,
    *,
    optimizer: Optimizer,
    epochs: int,
    batch_size: int = 64,
    seed: int = 0,
    scheduler: LRScheduler | ReduceLROnPlateau | None = None,
    augment: Augmentation | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: int | None = None,
    resume: bool = False,
    settings: Mapping[str, Any] | None = None,
    criterion: Criterion | None = None,
    precision: str = "float32",
    channels_last: bool = False,
    world: World = ALONE,
    on_start: Callable[[History], None] = lambda history: None,
    on_batch: Callable[[Batch], None] | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> History:
    """Train `model` to tell classes apart, by `criterion` or the one its outputs are made for; return its history.

    Order, augmentation and Dropout of a batch are drawn from `seed`, the number of its epoch and its own, so that a run
    resumed from a `checkpoint` (written after every epoch, and after every `checkpoint_every` batches) ends with the
    weights of an unbroken one. `test` is evaluated after each epoch; a plateau `scheduler` watches its loss, or without
    it that of training. `settings` is recorded in the checkpoint; a run can only be resumed under the same.

    With `precision` "bfloat16" or "float16" steps are computed in 16 bits (see `training.precision`), evaluation in
    float32; `channels_last` lays images and filters out in memory as N, H, W, C. The processes of a `world` share each
    batch (see `training.distributed`). `on_start` is told the history that a resumed run has; `should_stop` is asked
    after every batch.

    Raises
    ------
    ValueError
        If the loss becomes NaN or infinite, or an argument is out of range.
    CheckpointError
        If the checkpoint can't be written, which is tried before the run begins, or on resuming read.
    InterruptedRunError
        If `should_stop` said so: the state is in the checkpoint, if there is one.
    WorkerLostError
        If another process of the world has died.
    """
    if epochs < 1 or batch_size < 1:
        raise ValueError(f"epochs and batch_size must be at least 1, not {epochs} and {batch_size}")
    if checkpoint_every is not None and (checkpoint_every < 1 or checkpoint is None):
        raise ValueError(f"checkpoint_every is a number of batches, and needs a checkpoint: not {checkpoint_every}")
    history = History()
    if resume:
        if checkpoint is None:
            raise ValueError("resume needs the checkpoint to resume from")
        history = load_checkpoint(checkpoint, model, optimizer, settings)
    if checkpoint is not None and world.rank == 0:
        check_place(checkpoint)
    arithmetic = Precision(model, precision, history.loss_scale)
    criterion = criterion or criterion_of(model)
    take = _Step(model, optimizer, criterion, arithmetic, channels_last, world)

    def save(under_way: UnderWay | None = None) -> None:
        world.average_buffers(model)
        history.under_way, history.loss_scale = under_way, arithmetic.scale
        if checkpoint is not None and world.rank == 0:
            save_checkpoint(checkpoint, model, optimizer, history, settings)

    if isinstance(scheduler, ReduceLROnPlateau):
        for epoch in history.epochs:  # what it has seen brings it to where it was
            scheduler.step(_watched(epoch))
    world.wait()
    if world.size > 1:
        save(history.under_way)  # so that there is one, whenever a process dies
    on_start(history)
    for number in range(len(history.epochs), epochs):
        if isinstance(scheduler, LRScheduler):
            scheduler.step(number)
        rng, so_far = np.random.default_rng([seed, number]), history.under_way or UnderWay()
        started, of = time.perf_counter() - so_far.seconds, math.ceil(len(train.labels) / batch_size)
        model.train()
        fresh = batches(train, batch_size, rng, augment, start=so_far.batches, part=world.part)
        for k, (images, labels) in enumerate(fresh, so_far.batches):
            model.reseed(seed, number, k, *(world.part if world.size > 1 else ()))
            place = f"in epoch {number + 1}, batch {k + 1}"
            loss, right, seen, stop = take.step(images, labels, place, should_stop())
            so_far = UnderWay(
                k + 1, so_far.loss + loss, so_far.right + right, so_far.seen + seen, time.perf_counter() - started
            )
            if on_batch is not None and so_far.seen:
                mean_loss, accuracy = so_far.loss / so_far.seen, so_far.right / so_far.seen
                on_batch(Batch(number + 1, k + 1, of, mean_loss, accuracy))
            if stop or (checkpoint_every and (k + 1) % checkpoint_every == 0 and k + 1 < of):
                save(so_far)
            if stop:
                raise InterruptedRunError(f"stopped {place}")

        if not so_far.seen:
            raise ValueError(f"there is nothing to learn from: no image of epoch {number + 1} could be read")

        def pause(number: int = number, so_far: UnderWay = so_far) -> None:
            if world.size == 1 and should_stop():
                save(so_far)
                raise InterruptedRunError(f"stopped while testing epoch {number + 1}")

        world.average_buffers(model)
        tested = (None, None)
        if test is not None:
            at_once = 500 if isinstance(test, Dataset) else batch_size  # photographs are large
            tested = evaluate(model, test, at_once, criterion, world=world, on_batch=pause)
        seconds = time.perf_counter() - started
        done = Epoch(number + 1, optimizer.lr, so_far.loss / so_far.seen, so_far.right / so_far.seen, *tested, seconds)
        history.epochs.append(done)
        if isinstance(scheduler, ReduceLROnPlateau):
            scheduler.step(_watched(done))
        save()
        if on_epoch is not None:
            on_epoch(done)
    return history


class _Step:
    """One step: forward, loss, backward, update."""

    def __init__(
        self,
        model: Module,
        optimizer: Optimizer,
        criterion: Criterion,
        arithmetic: Precision,
        channels_last: bool,
        world: World,
    ) -> None:
        self.model, self.optimizer, self.criterion = model, optimizer, criterion
        self.arithmetic, self.world, self.device = arithmetic, world, device_of(model)
        self.channels_last = channels_last
        if arithmetic.scale and isinstance(optimizer, Nesterov):
            raise ValueError("Nesterov has moved ahead when float16 overflows: use SGD(nesterov=True), or bfloat16")
        if channels_last:  # here, since a checkpoint's arrays are not laid out so
            model.to(self.device, channels_last=True)
        world.prepare(model)

    def step(self, images: np.ndarray, labels: np.ndarray, place: str, stop: bool) -> tuple[float, float, float, bool]:
        """Learn from a batch; return, over all processes, its summed loss, right answers, images, whether to stop.

        This process's part of the batch may be empty. Raises ValueError if the loss is no number: no step is
        taken then.
        """
        self.optimizer.look_ahead()
        with self.arithmetic.of_step():
            loss = right = 0.0
            if len(labels):
                targets, x = move(labels, self.device), move(images, self.device, self.channels_last)
                outputs = self.arithmetic.loss_inputs(self.model(self.arithmetic.lower(x)))
                loss = float(self.criterion(outputs, targets)) * len(labels)
                right = int((self.criterion.predict(outputs) == targets).sum())
            loss, right, seen, stop = self.world.sum(loss, right, len(labels), stop)
            if not math.isfinite(loss):
                if not np.isfinite(images).all():
                    raise ValueError(f"the loss became {loss} {place}: images of it hold NaN or infinite values")
                raise ValueError(
                    f"the loss became {loss} {place}: the steps are too long for this network. "
                    f"Try a smaller learning rate: lr={self.optimizer.lr / 10:g} instead of {self.optimizer.lr:g}"
                )
            self.optimizer.zero_grad()
            with self.world.averaged(len(labels) / max(seen, 1)):
                if len(labels):
                    dy = self.arithmetic.output_gradients(self.criterion.backward())
                    self.model.backward(dy, need_input_grad=False)
        if not self.arithmetic.unscale(self.optimizer.parameters):
            self.optimizer.zero_grad()  # an overflow: nothing is moved
        if seen:
            self.optimizer.step()
        return loss, right, seen, bool(stop)


def _watched(epoch: Epoch) -> float:
    """Return the figure that a plateau is judged by."""
    return epoch.train_loss if epoch.test_loss is None else epoch.test_loss
