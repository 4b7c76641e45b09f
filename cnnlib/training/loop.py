"""The training loop."""

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from cnnlib.arrays import move
from cnnlib.data import Augmentation, Batches, Dataset, batches
from cnnlib.losses import Criterion
from cnnlib.lr_scheduler import LRScheduler, ReduceLROnPlateau
from cnnlib.module import Module
from cnnlib.optim import Nesterov, Optimizer, check_max_norm, clip_grad_norm_
from cnnlib.training.averaging import AveragedModel
from cnnlib.training.checkpoint import Checkpoint
from cnnlib.training.distributed import ALONE, World
from cnnlib.training.evaluation import evaluate
from cnnlib.training.history import Batch, Epoch, History, UnderWay
from cnnlib.training.precision import Precision


class InterruptedRunError(Exception):
    """A run that was asked to stop, and has."""


@dataclass(frozen=True)
class Callbacks:
    """What a run calls: with the history that a resumed run has, after every batch and epoch, and whether to stop.

    `should_stop` is asked at every batch, which is still learned from before the run stops.
    """

    on_start: Callable[[History], None] = lambda history: None
    on_batch: Callable[[Batch], None] = lambda batch: None
    on_epoch: Callable[[Epoch], None] = lambda epoch: None
    should_stop: Callable[[], bool] = lambda: False


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
    criterion: Criterion | None = None,
    precision: str = "float32",
    channels_last: bool = False,
    drop_last: bool = False,
    max_norm: float | None = None,
    averaged: AveragedModel | None = None,
    checkpoint: Checkpoint | str | os.PathLike[str] | None = None,
    world: World = ALONE,
    callbacks: Callbacks = Callbacks(),  # noqa: B008 - it is frozen
) -> History:
    """Train `model` to tell classes apart, by `criterion` or the one its outputs are made for; return its history.

    Order, augmentation and Dropout of a batch are drawn from `seed`, the number of its epoch and its own, so that a run
    resumed from a `checkpoint` (a path, or a `Checkpoint` that says more) ends with the weights of an unbroken one.
    `test` is evaluated after each epoch; a plateau `scheduler` watches its loss, or without it that of training.

    With `precision` "bfloat16" or "float16" steps are computed in 16 bits (see `training.precision`), evaluation in
    float32; `channels_last` lays images and filters out in memory as N, H, W, C. The processes of a `world` share each
    batch (see `training.distributed`).

    A part that is in evaluation mode stays so, with its running statistics and without Dropout, while the rest trains;
    a network that is in evaluation mode as a whole (`model.training` is False) is switched to training first. Frozen
    parts stay as they are. Gradients are clipped to `max_norm` by `optim.clip_grad_norm_`; after each step `averaged`
    takes the weights in, and is what is evaluated. `drop_last` leaves out a last batch that is smaller.

    Raises
    ------
    ValueError
        If the loss becomes NaN or infinite, or an argument is out of range.
    CheckpointError
        If the checkpoint can't be written, which is tried before the run begins, or on resuming read.
    InterruptedRunError
        If `callbacks.should_stop` said so: the state is in the checkpoint, if there is one.
    WorkerLostError
        If another process of the world has died.
    """
    if epochs < 1 or batch_size < 1:
        raise ValueError(f"epochs and batch_size must be at least 1, not {epochs} and {batch_size}")
    if not isinstance(checkpoint, Checkpoint):
        checkpoint = Checkpoint(checkpoint)
    if not model.training:
        model.train()
    history = checkpoint.begin(model, optimizer, writes=world.rank == 0, averaged=averaged)
    arithmetic = Precision(model, precision, history.loss_scale)
    criterion = criterion or model.criterion()
    if (reduction := getattr(criterion, "reduction", "mean")) != "mean":
        raise ValueError(f'fit takes the mean over a batch: give it reduction="mean", not {reduction!r}')
    if all(not parameter.requires_grad for parameter in optimizer.parameters):
        raise ValueError("all parameters that the optimizer was given are frozen: thaw some by requires_grad_(True)")
    step = _Step(model, optimizer, criterion, arithmetic, channels_last, world, max_norm, averaged)
    run = _Run(step, history, checkpoint, batch_size, seed, augment, callbacks, drop_last)
    if isinstance(scheduler, ReduceLROnPlateau):
        for epoch in history.epochs:  # what it has seen brings it to where it was
            scheduler.step(_watched(epoch))
    run.begin()
    for number in range(len(history.epochs), epochs):
        if isinstance(scheduler, LRScheduler):
            scheduler.step(number)
        learned = run.learn(train, number)
        test_loss, test_accuracy = (None, None) if test is None else run.test(test, number, learned)
        rate, loss, accuracy = optimizer.lr, learned.loss / learned.size, learned.right / learned.seen
        seconds = time.perf_counter() - run.started
        epoch = Epoch(number + 1, rate, loss, accuracy, test_loss, test_accuracy, seconds)
        history.epochs.append(epoch)
        if isinstance(scheduler, ReduceLROnPlateau):
            scheduler.step(_watched(epoch))
        run.save()
        callbacks.on_epoch(epoch)
    return history


@dataclass
class _Run:
    """The epochs of a run, batch by batch; what has been done is saved, and a wish to stop is heard."""

    step: "_Step"
    history: History
    checkpoint: Checkpoint
    batch_size: int
    seed: int
    augment: Augmentation | None
    callbacks: Callbacks
    drop_last: bool = False
    started: float = 0.0
    """When the epoch would have begun, had it not been interrupted."""

    def begin(self) -> None:
        """Wait for all processes, and say what is there already."""
        world = self.step.world
        world.wait()
        if world.size > 1:
            self.save(self.history.under_way)  # so that there is one, whenever a process dies
        self.callbacks.on_start(self.history)

    def learn(self, train: Batches, number: int) -> UnderWay:
        """Learn from every image once, or from those that an interrupted epoch has left; return the sums over them."""
        model, world = self.step.model, self.step.world
        rng, so_far = np.random.default_rng([self.seed, number]), self.history.under_way or UnderWay()
        count = len(train.labels) / self.batch_size
        self.started, of = time.perf_counter() - so_far.seconds, int(count) if self.drop_last else math.ceil(count)
        fresh = batches(
            train,
            self.batch_size,
            rng,
            self.augment,
            drop_last=self.drop_last,
            start=so_far.batches,
            part=world.part,
        )
        for k, (images, labels) in enumerate(fresh, so_far.batches):
            model.reseed(self.seed, number, k, *(world.part if world.size > 1 else ()))
            place = f"in epoch {number + 1}, batch {k + 1}"
            so_far, stop = self.step.take(images, labels, so_far, place, self.callbacks.should_stop())
            so_far = replace(so_far, seconds=time.perf_counter() - self.started)
            if so_far.size:
                mean_loss, accuracy = so_far.loss / so_far.size, so_far.right / so_far.seen
                self.callbacks.on_batch(Batch(number + 1, k + 1, of, mean_loss, accuracy))
            if stop or (self.checkpoint.is_due(k + 1) and k + 1 < of):
                self.save(so_far)
            if stop:
                raise InterruptedRunError(f"stopped {place}")
        if not so_far.size:
            raise ValueError(
                f"there is nothing to learn from: no image of epoch {number + 1} could be read, or no label counts"
            )
        return so_far

    def test(self, test: Batches, number: int, learned: UnderWay) -> tuple[float, float]:
        """Return the mean loss and the accuracy on the test images."""
        world = self.step.world

        def pause() -> None:
            if world.size == 1 and self.callbacks.should_stop():
                raise InterruptedRunError(f"stopped while testing epoch {number + 1}")

        self.step.average_buffers()
        model = self.step.model if self.step.averaged is None else self.step.averaged.module
        at_once = 500 if isinstance(test, Dataset) else self.batch_size  # photographs are large
        try:
            return evaluate(model, test, at_once, self.step.criterion, world=world, on_batch=pause)
        except InterruptedRunError:  # here every part is in its own mode again, which is saved too
            self.save(learned)
            raise

    def save(self, under_way: UnderWay | None = None) -> None:
        """Write the checkpoint, if there is one to write."""
        step = self.step
        step.average_buffers()
        self.history.under_way, self.history.loss_scale = under_way, step.arithmetic.scale
        if step.world.rank == 0:
            self.checkpoint.save(step.model, step.optimizer, self.history, step.averaged)


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
        max_norm: float | None,
        averaged: AveragedModel | None,
    ) -> None:
        self.max_norm, self.averaged = max_norm, averaged
        if max_norm is not None:
            check_max_norm(max_norm)
        self.model, self.optimizer, self.criterion = model, optimizer, criterion
        self.arithmetic, self.world, self.device = arithmetic, world, model.device
        self.channels_last = channels_last
        if arithmetic.scale and isinstance(optimizer, Nesterov):
            raise ValueError("Nesterov has moved ahead when float16 overflows: use SGD(nesterov=True), or bfloat16")
        if channels_last:  # here, since a checkpoint's arrays are not laid out so
            model.to(self.device, channels_last=True)
        world.prepare(model)
        if averaged is not None:  # it keeps its statistics where the network does
            for own, one in zip(averaged.module.modules(), model.modules(), strict=False):
                own.training = one.training

    def average_buffers(self) -> None:
        """Let all processes have the same running statistics."""
        for model in (self.model, *([self.averaged.module] if self.averaged else [])):
            self.world.average_buffers(model)

    def take(
        self, images: np.ndarray, labels: np.ndarray, so_far: UnderWay, place: str, stop: bool
    ) -> tuple[UnderWay, bool]:
        """Learn from a batch; return the epoch's sums with it, and whether a process of the world was asked to stop.

        This process's part of the batch may be empty, or have no label that counts; where that is so of the whole
        batch, nothing is moved. Raises ValueError if the loss is no number: no step is taken then.
        """
        self.optimizer.look_ahead()
        with self.arithmetic.of_step():
            loss = size = right = counted = 0.0
            if len(labels):
                targets, x = move(labels, self.device), move(images, self.device, self.channels_last)
                outputs = self.arithmetic.loss_inputs(self.model(self.arithmetic.lower(x)))
                if size := self.criterion.size(targets):
                    loss = float(self.criterion(outputs, targets)) * size
                right, counted = self.criterion.right(outputs, targets)
            share = size
            loss, size, right, seen, wishes = self.world.sum(loss, size, right, counted, stop)
            if not math.isfinite(loss):
                if not np.isfinite(images).all():
                    raise ValueError(f"the loss became {loss} {place}: images of it hold NaN or infinite values")
                raise ValueError(
                    f"the loss became {loss} {place}: the steps are too long for this network. "
                    f"Try a smaller learning rate: lr={self.optimizer.lr / 10:g} instead of {self.optimizer.lr:g}"
                )
            self.optimizer.zero_grad()
            with self.world.averaged(share / (size or 1)):
                if share:
                    dy = self.arithmetic.output_gradients(self.criterion.backward())
                    self.model.backward(dy, need_input_grad=False)
        if not (size and self.arithmetic.unscale(self.optimizer.parameters)):
            self.optimizer.zero_grad()  # nothing was learned, or a gradient overflows: nothing is moved
        if self.max_norm is not None:
            clip_grad_norm_(self.optimizer.parameters, self.max_norm)
        self.optimizer.step()
        if size and self.averaged is not None:
            self.averaged.update_parameters(self.model)
        sums = (so_far.batches + 1, so_far.loss + loss, so_far.right + right, so_far.seen + seen)
        return UnderWay(*sums, size=so_far.size + size), bool(wishes)


def _watched(epoch: Epoch) -> float:
    """Return the figure that a plateau is judged by."""
    return epoch.train_loss if epoch.test_loss is None else epoch.test_loss
