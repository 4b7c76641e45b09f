"""Checkpoints that survive: written whole or not at all."""

import json
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cnnlib.arrays import Array, move
from cnnlib.module import Module
from cnnlib.optim import Optimizer
from cnnlib.training.averaging import AveragedModel
from cnnlib.training.history import Epoch, History, LossScale, UnderWay

_FORMAT = "cnnlib checkpoint 1"


class CheckpointError(ValueError):
    """A checkpoint that can't be written, or that is damaged, foreign, or of another network."""


@dataclass(frozen=True)
class Checkpoint:
    """Where a run is saved, and when: after every epoch, and with `every` after so many batches too; None: nowhere.

    With `resume` the run goes on from the file. `settings` is recorded in it; a run can only be resumed under the same.
    """

    path: str | os.PathLike[str] | None
    every: int | None = None
    resume: bool = False
    settings: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.every is not None and (self.every < 1 or self.path is None):
            raise ValueError(f"every is a number of batches, and needs a path to save to: not {self.every}")
        if self.resume and self.path is None:
            raise ValueError("resume needs the checkpoint to resume from")

    def begin(
        self, model: Module, optimizer: Optimizer, writes: bool = True, averaged: AveragedModel | None = None
    ) -> History:
        """Return the history to go on from, having loaded its state; see that the file can be written, if `writes`."""
        if self.path is None:
            return History()
        history = History()
        if self.resume:
            history = load_checkpoint(self.path, model, optimizer, self.settings, averaged)
        if writes:
            check_place(self.path)
        return history

    def is_due(self, batches: int) -> bool:
        """Whether to save after so many batches of an epoch."""
        return self.every is not None and batches % self.every == 0

    def save(
        self, model: Module, optimizer: Optimizer, history: History, averaged: AveragedModel | None = None
    ) -> None:
        """Write the file, if there is to be one."""
        if self.path is not None:
            save_checkpoint(self.path, model, optimizer, history, self.settings, averaged)


def save_checkpoint(
    path: str | os.PathLike[str],
    model: Module,
    optimizer: Optimizer | None = None,
    history: History | None = None,
    settings: Mapping[str, Any] | None = None,
    averaged: AveragedModel | None = None,
) -> None:
    """Write a safetensors file with the model's state and, for resuming, the optimizer's, the history and settings.

    Which parameters are frozen and which parts in evaluation mode is recorded, and the average, if there is one.

    The file is written beside `path` and put in its place when it is whole, so an earlier one is never half replaced;
    where `path` is a symbolic link, that is the place it leads to.
    Raises CheckpointError if that fails.
    """
    from safetensors.numpy import save_file

    path, history = Path(path), history or History()
    state = {f"model.{name}": array for name, array in model.state_dict().items()}
    if optimizer is not None:
        state |= {f"optimizer.{name}": array for name, array in optimizer.state_dict().items()}
    if averaged is not None:
        state |= {f"averaged.{name}": array for name, array in averaged.state_dict().items()}
    metadata = {
        "format": _FORMAT,
        "epochs": json.dumps([asdict(epoch) for epoch in history.epochs]),
        "under_way": json.dumps(history.under_way and asdict(history.under_way)),
        "loss_scale": json.dumps(history.loss_scale and asdict(history.loss_scale)),
        "settings": json.dumps(dict(settings or {})),
        **{name: json.dumps(parts) for name, parts in _kept(model).items()},
    }
    arrays = {name: np.asarray(move(array, "numpy"), order="C") for name, array in state.items()}
    with _in_place_of(path) as partial:
        save_file(arrays, partial, metadata)


def _kept(model: Module) -> dict[str, list[str]]:
    """Return the names of the parameters that are frozen, and of the layers that a training network keeps as they are.

    A network that is in evaluation as a whole has none of the latter: it is not being trained.
    """
    named = list(_named_modules(model)) if model.training else []
    return {
        "frozen": [name for name, parameter in model.named_parameters() if not parameter.requires_grad],
        "in evaluation mode": [name for name, part in named if not part.training],
    }


def _named_modules(module: Module, prefix: str = "") -> Iterator[tuple[str, Module]]:
    for name, child in module.children():
        yield prefix + name, child
        yield from _named_modules(child, f"{prefix}{name}.")


def check_place(path: str | os.PathLike[str]) -> None:
    """Raise CheckpointError unless a checkpoint can be written to `path`: better before a long run than after it."""
    path = Path(path)
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder: name a file, as {path / 'run.safetensors'}")
    with _in_place_of(path, keep=False):
        pass


@contextmanager
def _in_place_of(path: Path, keep: bool = True) -> Iterator[Path]:
    """Give a name beside `path` to write to; what is there afterwards takes the place of `path`, if `keep`.

    A link is followed: what it leads to is replaced. A file that safetensors has made can be read by its owner only: it
    gets the permissions of any other new file.
    """
    path = Path(os.path.realpath(path))
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.touch()
        permissions = stat.S_IMODE(partial.stat().st_mode)
        yield partial
        if keep:
            partial.chmod(permissions)
            with partial.open("rb+") as file:
                os.fsync(file.fileno())
            os.replace(partial, path)
    except Exception as error:  # safetensors has its own class for a full disk, so: whatever it is, say what it means
        raise CheckpointError(f"{path} could not be written ({error}); an earlier file there is unchanged") from error
    finally:
        with suppress(OSError):  # it is gone where all went well
            partial.unlink()


def load_checkpoint(
    path: str | os.PathLike[str],
    model: Module,
    optimizer: Optimizer | None = None,
    settings: Mapping[str, Any] | None = None,
    averaged: AveragedModel | None = None,
) -> History:
    """Load what `save_checkpoint` wrote into the model and, where given, optimizer and average; return the history.

    Raises CheckpointError if the file is missing, truncated, no checkpoint, of another network, or was made under other
    `settings`; with an optimizer, whose run goes on, also if other parts were frozen or in evaluation mode, or if there
    was an average and there is none now. Nothing is changed then.
    """
    metadata, state = _read(path)
    if settings is not None:
        recorded = json.loads(metadata["settings"])
        differ = [
            f"{name} was {recorded.get(name)}, now {settings.get(name)}"
            for name in sorted(recorded.keys() | settings.keys())
            if recorded.get(name) != settings.get(name)
        ]
        if differ:
            raise CheckpointError(f"{path} is of a run with other settings: {'; '.join(differ)}")
    if optimizer is not None:
        _check_kept(path, metadata, model)
        if (averaged is not None) != any(name.startswith("averaged.") for name in state):
            there, here = ("no", "one") if averaged is not None else ("an", "none")
            raise CheckpointError(f"{path} is of a run with {there} average of its weights, and there is {here} now")
    of_model, of_optimizer, of_average = (
        {name.removeprefix(prefix): array for name, array in state.items() if name.startswith(prefix)}
        for prefix in ("model.", "optimizer.", "averaged.")
    )
    before: dict[str, Array] = model.state_dict(copy=True)
    average = None if averaged is None else averaged.state_dict(copy=True)
    try:
        model.load_state_dict(of_model)
        if averaged is not None:
            averaged.load_state_dict(of_average)
        if optimizer is not None:
            optimizer.load_state_dict(of_optimizer)
    except ValueError as error:
        model.load_state_dict(before)
        if averaged is not None and average is not None:
            averaged.load_state_dict(average)
        raise CheckpointError(f"{path}: {error}") from None
    epochs = [Epoch(**epoch) for epoch in json.loads(metadata["epochs"])]
    under_way, scale = (json.loads(metadata.get(name, "null")) for name in ("under_way", "loss_scale"))
    if under_way:
        under_way.setdefault("size", under_way["seen"])  # older files don't have it, and every label counted alike
    return History(epochs, under_way and UnderWay(**under_way), scale and LossScale(**scale))


def _check_kept(path: str | os.PathLike[str], metadata: Mapping[str, str], model: Module) -> None:
    """Raise CheckpointError unless the same parts as in the file are frozen, and in evaluation mode."""
    for what, now in _kept(model).items():
        then = json.loads(metadata.get(what, "[]"))
        if then != now:
            told = [f"{name} then only" for name in then if name not in now]
            told += [f"{name} now only" for name in now if name not in then]
            raise CheckpointError(
                f"{path} is of a run with other parts {what}: {', '.join(told)}. Make them so before, as by "
                "model[name].requires_grad_(False) and model[name].eval(), or start a new run from its weights by "
                "models.load_weights"
            )


def checkpoint_settings(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the settings that a checkpoint was saved with. Raises CheckpointError as `load_checkpoint` does."""
    return json.loads(_read(path, arrays=False)[0]["settings"])


def _read(path: str | os.PathLike[str], arrays: bool = True) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """Return the metadata and the arrays of a checkpoint."""
    from safetensors import SafetensorError, safe_open

    state = dict[str, np.ndarray]()
    try:
        with safe_open(Path(path), "numpy") as file:
            metadata = file.metadata() or {}
            for name in file.keys() if arrays else ():  # noqa: SIM118  (it is no dict)
                state[name] = file.get_tensor(name)
    except FileNotFoundError:
        raise CheckpointError(f"there is no checkpoint {path}") from None
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is truncated or no safetensors file ({error})") from None
    if metadata.get("format") != _FORMAT:
        raise CheckpointError(f"{path} is a safetensors file, but not one of cnnlib's checkpoints")
    return metadata, state
