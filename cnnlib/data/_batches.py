"""Batches by index: one array, one draw of an order, and slices of it."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np


class Dataset(NamedTuple):
    """Images (N, C, H, W) and the numbers of their classes (N,), both NumPy arrays."""

    images: np.ndarray
    labels: np.ndarray


class DataSplit(NamedTuple):
    """What a network learns from, and what it is judged by."""

    train: Dataset
    test: Dataset


Augmentation = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def batches(
    dataset: Dataset,
    batch_size: int,
    rng: np.random.Generator | None = None,
    augment: Augmentation | None = None,
) -> Iterator[Dataset]:
    """Yield the data set in batches, in an order drawn by `rng`, or in its own order without one.

    The last batch may be smaller. `augment` changes each batch of images, drawing from `rng`.

    Raises ValueError for a batch size below 1, an empty data set, images and labels of different number, or an
    augmentation without `rng`.
    """
    count = len(dataset.labels)
    if len(dataset.images) != count:
        raise ValueError(f"each image has one label, but there are {len(dataset.images)} images and {count} labels")
    if batch_size < 1 or count == 0:
        raise ValueError(f"cannot make batches of {batch_size} from {count} images")
    if augment is not None and rng is None:
        raise ValueError("an augmentation draws at random: give rng too")
    order = np.arange(count) if rng is None else rng.permutation(count)
    for start in range(0, count, batch_size):
        chosen = order[start : start + batch_size]
        images = dataset.images[chosen]
        yield Dataset(images if augment is None else augment(images, rng), dataset.labels[chosen])


def shift(images: np.ndarray, rng: np.random.Generator, pixels: int = 2) -> np.ndarray:
    """Return copies of images (N, C, H, W), each moved by up to `pixels` up or down and left or right.

    What is moved in at one side repeats the edge, so that a background stays what it is.
    """
    N, _, H, W = images.shape
    rows = np.arange(H) + rng.integers(-pixels, pixels + 1, (N, 1))
    columns = np.arange(W) + rng.integers(-pixels, pixels + 1, (N, 1))
    rows, columns = rows.clip(0, H - 1), columns.clip(0, W - 1)
    image = np.arange(N)[:, None, None]
    # the channels come last out of this indexing, whence the transposition
    return np.ascontiguousarray(images[image, :, rows[:, :, None], columns[:, None, :]].transpose(0, 3, 1, 2))
