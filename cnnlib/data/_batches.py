"""Batches by index: one draw of an order, and slices of it."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np


class Dataset(NamedTuple):
    """Images (N, C, H, W) and the numbers of their classes (N,), both NumPy arrays."""

    images: np.ndarray
    labels: np.ndarray


class Stream(Protocol):
    """A data set whose images are not in memory: they are read batch by batch."""

    @property
    def labels(self) -> np.ndarray:
        """The numbers of the classes (N,) of all images."""

    def read(self, chosen: Sequence[np.ndarray], rngs: Sequence[list[np.random.Generator]] | None) -> Iterator[Dataset]:
        """Yield a batch for each array of image numbers; `rngs` has a generator for each image, to augment it."""


Batches = Dataset | Stream
"""What `batches` can make batches of."""


class DataSplit(NamedTuple):
    """What a network learns from, and what it is judged by."""

    train: Dataset
    test: Dataset


Augmentation = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def batches(
    dataset: Batches,
    batch_size: int,
    rng: np.random.Generator | None = None,
    augment: Augmentation | None = None,
    *,
    drop_last: bool = False,
    start: int = 0,
    part: tuple[int, int] = (0, 1),
) -> Iterator[Dataset]:
    """Yield the data set in batches, in an order drawn by `rng`, or in its own order without one.

    The last batch may be smaller, or is left out then with `drop_last`. `augment` changes each batch of images, drawing
    from `rng`; a `Stream` augments its images itself, each by a generator of its own, whenever `rng` is given. `start`
    leaves out so many batches, and the ones after them are as if they had been made. `part` (k, n) gives the k-th of n
    parts of each batch, which may be empty.

    Raises ValueError for a batch size below 1, or beyond the number of images with `drop_last`, an empty data set,
    images and labels of different number, or an augmentation without `rng`.
    """
    count = len(dataset.labels)
    if isinstance(dataset, Dataset) and len(dataset.images) != count:
        raise ValueError(f"each image has one label, but there are {len(dataset.images)} images and {count} labels")
    if batch_size < 1 or count == 0:
        raise ValueError(f"cannot make batches of {batch_size} from {count} images")
    if drop_last and count < batch_size:
        raise ValueError(f"drop_last leaves nothing of {count} images in batches of {batch_size}")
    if augment is not None and (rng is None or not isinstance(dataset, Dataset)):
        raise ValueError("an augmentation of a batch draws at random: give rng too, and images in memory")
    order = np.arange(count) if rng is None else rng.permutation(count)
    chosen = [order[first : first + batch_size] for first in range(0, count, batch_size)]
    if drop_last and len(chosen[-1]) < batch_size:
        chosen.pop()
    rank, size = part
    if not isinstance(dataset, Dataset):
        rngs = None
        if rng is not None:
            own = [one.spawn(len(numbers)) for one, numbers in zip(rng.spawn(len(chosen)), chosen, strict=True)]
            rngs = [_part(some, rank, size) for some in own[start:]]
        yield from dataset.read([_part(numbers, rank, size) for numbers in chosen[start:]], rngs)
        return
    for k, numbers in enumerate(chosen):
        if augment is not None and rng is not None:  # of the whole batch, so that the parts are those of the same batch
            images = augment(dataset.images[numbers], rng)  # and of those left out, so that the draws are the same
            if k >= start:
                yield Dataset(_part(images, rank, size), _part(dataset.labels[numbers], rank, size))
        elif k >= start:
            numbers = _part(numbers, rank, size)
            yield Dataset(dataset.images[numbers], dataset.labels[numbers])


def _part(values: Any, k: int, n: int) -> Any:
    """Return the k-th of n pieces of about the same size."""
    return values[len(values) * k // n : len(values) * (k + 1) // n]


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


def flip(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return copies of images (N, C, H, W), each mirrored left to right with probability 1/2."""
    mirrored = rng.random(len(images)) < 0.5
    return np.where(mirrored[:, None, None, None], images[..., ::-1], images)


def each(*augmentations: Augmentation) -> Augmentation:
    """Return the augmentation that does one after the other."""

    def augment(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        for one in augmentations:
            images = one(images, rng)
        return images

    return augment
