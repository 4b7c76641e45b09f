"""The data sets by name, read and described as `train` and `evaluate` need them."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from cnnlib import data as datasets
from cnnlib.data import Augmentation, Batches, DataFileError, ImageFolder, View


class Data(StrEnum):
    """What a network can learn from."""

    digits = "digits"
    mnist = "mnist"
    fashion_mnist = "fashion-mnist"
    cifar10 = "cifar10"
    shapes = "shapes"
    folder = "folder"


CLASSES = {
    Data.digits: tuple("0123456789"),
    Data.mnist: tuple("0123456789"),
    Data.fashion_mnist: datasets.FASHION_MNIST_CLASSES,
    Data.cifar10: datasets.CIFAR10_CLASSES,
    Data.shapes: datasets.SHAPES,
}
LOAD = {Data.mnist: datasets.mnist, Data.fashion_mnist: datasets.fashion_mnist, Data.cifar10: datasets.cifar10}


@dataclass(frozen=True)
class Loaded:
    """A data set: `test` is None if the folder has no `val`; `settings` is what a checkpoint keeps of it."""

    train: Batches
    test: Batches | None
    classes: int
    shape: tuple[int, int, int]
    augment: Augmentation | None
    settings: dict[str, Any]


# By how many pixels images are shifted and whether they are mirrored, unless told. Clothes and photographs stay what
# they are in a mirror; clothes are centred, and the shapes lie anywhere as it is.
SHIFT = {Data.cifar10: 4, Data.fashion_mnist: 1, Data.shapes: 0}
FLIP = {Data.cifar10: True, Data.fashion_mnist: True}


def in_memory(data: Data, root: Path | None, download: bool, size: int, shift: int | None, flip: bool | None) -> Loaded:
    """Return a data set of arrays, the shapes in `size` x `size` pixels."""
    split = arrays(data, root, download, size)
    shape = split.train.images.shape[1:]
    shift = SHIFT.get(data, 2) if shift is None else shift
    flip = FLIP.get(data, False) if flip is None else flip
    steps = ([partial(datasets.shift, pixels=shift)] if shift else []) + ([datasets.flip] if flip else [])
    augment = None if not steps else steps[0] if len(steps) == 1 else datasets.each(*steps)
    return Loaded(*split, 10, shape, augment, {"shift": shift, "flip": flip})


def arrays(data: Data, root: Path | None, download: bool, size: int) -> datasets.DataSplit:
    """Return a data set of arrays from `root`, or from where it is by default; `size` is for the shapes."""
    if data is Data.digits:
        return datasets.digits()
    if data is Data.shapes:
        return datasets.shapes(size)
    options: dict[str, Any] = {} if root is None else {"root": root}
    return LOAD[data](download=download, say=_say, **options)


def photographs(
    root: Path | None,
    view: View,
    *,
    noise: bool,
    raw_pixels: bool,
    workers: int,
    skip_corrupt: int,
    progress: Callable[[str], None],
) -> Loaded:
    """Return the folders `root/train` and, if there is one, `root/val`; colours are measured on the former."""
    root = needed(root)
    folder = partial(ImageFolder, workers=workers, skip_corrupt=skip_corrupt, say=_say)
    train = folder(root / "train", view)
    test = folder(root / "val", view, train.classes) if (root / "val").exists() else None
    progress(f"measuring the colours of {root / 'train'}")
    measured = datasets.statistics(train)
    settings = {
        "size": view.size,
        "resize": view.resize,
        "augment": view.augment,
        "noise": noise,
        "classes": train.classes,
        "mean": measured.mean.tolist(),
        "std": [1 / 255] * 3 if raw_pixels else measured.std.tolist(),
    }
    train.view = replace(scaled(view, settings), noise=measured.noise if noise else None)
    if test is not None:
        test.view = scaled(view, settings)
    return Loaded(train, test, len(train.classes), (3, view.size, view.size), None, settings)


def scaled(view: View, settings: dict[str, Any]) -> View:
    """Return the view that subtracts and divides by what a run's settings say."""
    return replace(view, mean=tuple(settings["mean"]), std=tuple(settings["std"]))


def needed(root: Path | None) -> Path:
    """Return the folder, or raise DataFileError with what it should be."""
    if root is None:
        raise DataFileError(
            "--data folder needs --root FOLDER, with FOLDER/train/CLASS/*.jpg and FOLDER/val/CLASS/*.jpg"
        )
    return root


def count(dataset: Batches) -> int:
    """Return how many images there are."""
    return int(np.size(dataset.labels))


def _say(line: str) -> None:
    print(line, file=sys.stderr)
