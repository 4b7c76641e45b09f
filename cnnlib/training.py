"""Training, evaluation, and checkpoints that survive."""

import json
import math
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cnnlib.data import Dataset, batches
from cnnlib.data._batches import Augmentation
from cnnlib.functional._arrays import Array, library
from cnnlib.layers import RBF
from cnnlib.losses import AuxiliaryLoss, CrossEntropyLoss, MAPLoss
from cnnlib.lr_scheduler import LRScheduler
from cnnlib.models.googlenet import AUXILIARY_WEIGHT, GoogLeNet
from cnnlib.module import Module, move
from cnnlib.optim import Optimizer

Criterion = CrossEntropyLoss | MAPLoss | AuxiliaryLoss


@dataclass(frozen=True)
class Epoch:
    """What one epoch came to: mean loss in nats and accuracy from 0 to 1; test figures are None without a test set."""

    epoch: int
    lr: float
    train_loss: float
    train_accuracy: float
    test_loss: float | None
    test_accuracy: float | None
    seconds: float


@dataclass
class History:
    """The epochs of a run, in order."""

    epochs: list[Epoch] = field(default_factory=list)

    def series(self, name: str) -> list[float]:
        """Return one figure of every epoch, as `history.series("train_loss")`."""
        return [getattr(epoch, name) for epoch in self.epochs]


@dataclass(frozen=True)
class Batch:
    """Where a run stands, as told to `on_batch`: mean loss and accuracy of the epoch so far."""

    epoch: int
    batch: int
    batches: int
    loss: float
    accuracy: float


class CheckpointError(ValueError):
    """A checkpoint that can't be written, or that is damaged, foreign, or of another network."""


def fit(
    model: Module,
    train: Dataset,
    test: Dataset | None = None,
    *,
    optimizer: Optimizer,
    epochs: int,
    batch_size: int = 64,
    seed: int = 0,
    scheduler: LRScheduler | None = None,
    augment: Augmentation | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
    settings: Mapping[str, Any] | None = None,
    criterion: Criterion | None = None,
    on_batch: Callable[[Batch], None] | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> History:
    """Train `model` to tell classes apart, by `criterion` or the one its outputs are made for; return its history.

    Each epoch draws order and augmentation from `seed` and its own number, so that a run resumed from a `checkpoint`
    (written after every epoch) ends with the weights of an unbroken one. `test` is evaluated after each epoch.
    `settings` is recorded in the checkpoint; a run can only be resumed under the same.

    Raises
    ------
    ValueError
        If the loss becomes NaN or infinite, or an argument is out of range.
    CheckpointError
        If the checkpoint can't be written, or on resuming read.
    """
    if epochs < 1 or batch_size < 1:
        raise ValueError(f"epochs and batch_size must be at least 1, not {epochs} and {batch_size}")
    history = History()
    if resume:
        if checkpoint is None:
            raise ValueError("resume needs the checkpoint to resume from")
        history = load_checkpoint(checkpoint, model, optimizer, settings)
    criterion, device = criterion or criterion_of(model), device_of(model)
    for number in range(len(history.epochs), epochs):
        if scheduler is not None:
            scheduler.step(number)
        started, rng = time.perf_counter(), np.random.default_rng([seed, number])
        losses, right, seen, of = 0.0, 0, 0, math.ceil(len(train.labels) / batch_size)
        model.train()
        model.reseed(seed, number)
        for k, (images, labels) in enumerate(batches(train, batch_size, rng, augment)):
            x, targets = move(images, device), move(labels, device)
            optimizer.look_ahead()
            outputs = model(x)
            loss = float(criterion(outputs, targets))
            if not math.isfinite(loss):
                raise ValueError(
                    f"the loss became {loss} in epoch {number + 1}, batch {k + 1}: the steps are too long for this "
                    f"network. Try a smaller learning rate: lr={optimizer.lr / 10:g} instead of {optimizer.lr:g}"
                )
            optimizer.zero_grad()
            model.backward(criterion.backward(), need_input_grad=False)
            optimizer.step()
            losses, seen = losses + loss * len(labels), seen + len(labels)
            right += int((criterion.predict(outputs) == targets).sum())
            if on_batch is not None:
                on_batch(Batch(number + 1, k + 1, of, losses / seen, right / seen))
        tested = (None, None) if test is None else evaluate(model, test, criterion=criterion)
        seconds = time.perf_counter() - started
        done = Epoch(number + 1, optimizer.lr, losses / seen, right / seen, *tested, seconds)
        history.epochs.append(done)
        if checkpoint is not None:
            save_checkpoint(checkpoint, model, optimizer, history, settings)
        if on_epoch is not None:
            on_epoch(done)
    return history


def evaluate(
    model: Module, dataset: Dataset, batch_size: int = 500, criterion: Criterion | None = None
) -> tuple[float, float]:
    """Return (mean loss in nats, accuracy from 0 to 1) of `model` in evaluation mode; its mode is put back."""
    was_training, device, criterion = model.training, device_of(model), criterion or criterion_of(model)
    model.eval()
    losses, right = 0.0, 0
    for images, labels in batches(dataset, batch_size):
        targets = move(labels, device)
        outputs = model(move(images, device))
        losses += float(criterion(outputs, targets)) * len(labels)
        right += int((criterion.predict(outputs) == targets).sum())
    model.train(was_training)
    return losses / len(dataset.labels), right / len(dataset.labels)


def criterion_of(model: Module) -> Criterion:
    """Return the loss that a network's outputs are made for: cross-entropy, unless its paper has one of its own."""
    if isinstance(model, GoogLeNet) and model.has_heads:
        return AuxiliaryLoss(AUXILIARY_WEIGHT)
    if any(isinstance(module, RBF) for module in model.modules()):
        return MAPLoss()
    return CrossEntropyLoss()


def device_of(model: Module) -> str:
    """Return where the model's parameters are, as `Module.to` takes it: "numpy", "cpu", "cuda:0"."""
    data = model.parameters()[0].data
    return "numpy" if library(data) == "numpy" else str(data.device)


_FORMAT = "cnnlib checkpoint 1"


def save_checkpoint(
    path: str | os.PathLike[str],
    model: Module,
    optimizer: Optimizer | None = None,
    history: History | None = None,
    settings: Mapping[str, Any] | None = None,
) -> None:
    """Write a safetensors file with the model's state and, for resuming, the optimizer's, the history and settings.

    The file is written beside `path` and put in its place when it is whole, so an earlier one is never half replaced.
    Raises CheckpointError if that fails.
    """
    from safetensors.numpy import save_file

    path = Path(path)
    state = {f"model.{name}": array for name, array in model.state_dict().items()}
    if optimizer is not None:
        state |= {f"optimizer.{name}": array for name, array in optimizer.state_dict().items()}
    epochs = [asdict(epoch) for epoch in history.epochs] if history else []
    metadata = {"format": _FORMAT, "epochs": json.dumps(epochs), "settings": json.dumps(dict(settings or {}))}
    arrays = {name: np.ascontiguousarray(move(array, "numpy")) for name, array in state.items()}
    partial = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
        save_file(arrays, partial, metadata)
        with open(partial, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
        partial = None
    except Exception as error:  # safetensors has its own class for a full disk, so: whatever it is, say what it means
        raise CheckpointError(f"{path} could not be written ({error}); an earlier file there is unchanged") from error
    finally:
        if partial is not None:
            os.unlink(partial)


def load_checkpoint(
    path: str | os.PathLike[str],
    model: Module,
    optimizer: Optimizer | None = None,
    settings: Mapping[str, Any] | None = None,
) -> History:
    """Load what `save_checkpoint` wrote into the model and, if given, the optimizer; return the history.

    Raises CheckpointError if the file is missing, truncated, no checkpoint, of another network, or was made under other
    `settings`; nothing is changed then.
    """
    from safetensors import SafetensorError, safe_open

    path, state = Path(path), dict[str, Any]()
    try:
        with safe_open(path, "numpy") as file:
            metadata = file.metadata() or {}
            for name in file.keys():  # noqa: SIM118  (it is no dict)
                state[name] = file.get_tensor(name)
    except FileNotFoundError:
        raise CheckpointError(f"there is no checkpoint {path}") from None
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is truncated or no safetensors file ({error})") from None
    if metadata.get("format") != _FORMAT:
        raise CheckpointError(f"{path} is a safetensors file, but not one of cnnlib's checkpoints")
    if settings is not None and (recorded := json.loads(metadata["settings"])) != dict(settings):
        differ = [
            f"{name} was {recorded.get(name)}, now {settings.get(name)}"
            for name in sorted(recorded.keys() | settings.keys())
            if recorded.get(name) != settings.get(name)
        ]
        raise CheckpointError(f"{path} is of a run with other settings: {'; '.join(differ)}")
    of_model, of_optimizer = (
        {name.removeprefix(prefix): array for name, array in state.items() if name.startswith(prefix)}
        for prefix in ("model.", "optimizer.")
    )
    before: dict[str, Array] = model.state_dict()
    try:
        model.load_state_dict(of_model)
        if optimizer is not None:
            optimizer.load_state_dict(of_optimizer)
    except ValueError as error:
        model.load_state_dict(before)
        raise CheckpointError(f"{path}: {error}") from None
    return History([Epoch(**epoch) for epoch in json.loads(metadata["epochs"])])
