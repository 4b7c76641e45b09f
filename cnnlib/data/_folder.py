"""Photographs in a folder for each class, as ImageNet comes, with the papers' augmentation."""

import math
import os
import struct
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cnnlib.data._batches import Dataset
from cnnlib.data._errors import DataFileError

_BITS_PER_SAMPLE, _ORIENTATION = 258, 274  # tags of TIFF, the second one of EXIF too
# Image.Transpose's members, by the orientation that they undo: EXIF 2.32, section 4.6.4 (A), tag Orientation.
_TURNS = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}

PREFETCH = 2
"""How many batches are decoded ahead of the one that is trained on."""


class ColourNoise(NamedTuple):
    """The principal components of a data set's colours: eigenvalues (3,), eigenvectors (3, 3) as columns."""

    eigenvalues: np.ndarray
    eigenvectors: np.ndarray
    sigma: float = 0.1

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """Return what is added to red, green and blue of all pixels of an image, (3,).

        Each component comes times its eigenvalue times a normal number of deviation sigma. Pixels go from 0 to 1 here:
        the paper doesn't say, but with 0 to 255 the noise would be stronger than any image. Source: Krizhevsky et al.
        2012, section 4.1.
        """
        return self.eigenvectors @ (rng.normal(0, self.sigma, 3) * self.eigenvalues)


class Statistics(NamedTuple):
    """Of pixels from 0 to 1: mean and standard deviation of each channel (3,), and their principal components."""

    mean: np.ndarray
    std: np.ndarray
    noise: ColourNoise


@dataclass(frozen=True)
class View:
    """How a photograph becomes an array (3, size, size).

    The shorter side is scaled to `resize` pixels and the square in the middle kept. In evaluation, the middle of it is
    cut out; with `crops` 10, the four corners and the middle, and the mirror images of these. In training, `augment`
    "crop" cuts at a random place (Krizhevsky et al. 2012), "scale" instead cuts 8% to 100% of the photograph's area at
    a random place with sides of a ratio from 3/4 to 4/3 and scales that (Szegedy et al. 2014, section 6); both mirror
    every second image, and add `noise` if there is any. "none" does as in evaluation. Last, `mean` is subtracted from
    pixels between 0 and 1, and the difference divided by `std`.
    """

    size: int = 224
    resize: int = 256
    augment: str = "crop"
    crops: int = 1
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    noise: ColourNoise | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.size <= self.resize:
            raise ValueError(f"a crop of {self.size} must be positive and fit into a square of {self.resize} pixels")
        if self.augment not in ("crop", "scale", "none"):
            raise ValueError(f'augment must be "crop", "scale" or "none", not {self.augment!r}')
        if self.crops not in (1, 10):
            raise ValueError(f"crops must be 1 or 10, not {self.crops}")

    def __call__(self, image: Any, rng: np.random.Generator | None = None) -> np.ndarray:
        """Return a Pillow image as float32 (3, size, size), or (10, 3, size, size); `rng` augments it."""
        margin = self.resize - self.size
        if rng is None or self.augment == "none":
            square = _square(image, self.resize)
            if self.crops == 1:
                return self._scale(_cut(square, margin // 2, margin // 2, self.size))
            corners = [(0, 0), (0, margin), (margin, 0), (margin, margin), (margin // 2, margin // 2)]
            cut = np.stack([self._scale(_cut(square, top, left, self.size)) for top, left in corners])
            return np.concatenate([cut, cut[..., ::-1]])
        if self.augment == "crop":
            top, left = rng.integers(0, margin + 1, 2)
            pixels = _cut(_square(image, self.resize), top, left, self.size)
        else:
            width, height = image.size
            pixels = _resized(image, self.size, _random_box(width, height, rng))
        pixels = pixels[:, ::-1] if rng.random() < 0.5 else pixels
        return self._scale(pixels, None if self.noise is None else self.noise.draw(rng))

    def _scale(self, pixels: np.ndarray, noise: np.ndarray | None = None) -> np.ndarray:
        offset = np.zeros(3) if noise is None else noise
        factor = 1 / (255 * np.asarray(self.std))
        shift = (offset - self.mean) / self.std
        scaled = pixels * factor.astype(np.float32) + shift.astype(np.float32)
        return np.ascontiguousarray(scaled.transpose(2, 0, 1))


def _to_rgb(image: Any) -> Any:
    """Return an image as Pillow's 8-bit RGB, black as 0 and white as 255.

    Raises ValueError if its range isn't known.
    """
    from PIL import Image

    if image.mode == "F" or (image.mode == "I" and image.format != "PPM"):  # Pillow scales a deep PPM to 16 bits
        numbers = "floats" if image.mode == "F" else "32-bit integers"
        raise ValueError(f"its pixels are {numbers}, Pillow's mode {image.mode}: which of them is white isn't known")
    if not image.mode.startswith("I"):
        return image.convert("RGB")
    (bits, *_) = getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, (16,))
    grey = np.asarray(image, np.float32) * (255 / (2**bits - 1))  # convert("RGB") would cut off what is above 255
    return Image.fromarray(np.rint(grey).astype(np.uint8)).convert("RGB")


def _orientation(image: Any) -> int:
    """Return what EXIF says of how the camera was held: 1 to 8, 1 if it says nothing that can be read."""
    try:
        return image.getexif().get(_ORIENTATION, 1)
    except (OSError, SyntaxError, ValueError, TypeError, struct.error):  # damage there leaves the picture whole
        return 1


def _upright(image: Any, orientation: int) -> Any:
    """Return an image as it was seen, whatever the orientation in which it was stored."""
    return image.transpose(_TURNS[orientation]) if orientation in _TURNS else image


def _square(image: Any, size: int) -> np.ndarray:
    """Return the square in the middle of an image, scaled to size x size: uint8 (size, size, 3)."""
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return _resized(image, size, (left, top, left + side, top + side))


def _resized(image: Any, size: int, box: tuple[float, float, float, float]) -> np.ndarray:
    from PIL import Image

    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR, box))


def _cut(square: np.ndarray, top: int, left: int, size: int) -> np.ndarray:
    return square[top : top + size, left : left + size]


def _random_box(width: int, height: int, rng: np.random.Generator) -> tuple[float, float, float, float]:
    for _ in range(10):
        area, ratio = width * height * rng.uniform(0.08, 1), math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = math.sqrt(area * ratio), math.sqrt(area / ratio)
        if w <= width and h <= height:
            left, top = rng.uniform(0, width - w), rng.uniform(0, height - h)
            return left, top, left + w, top + h
    side = min(width, height)  # a long strip: the middle of it
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side


def read_photograph(
    path: str | os.PathLike[str], view: View, rng: np.random.Generator | None = None
) -> np.ndarray:
    """Return one file as `view` shows it, upright, in colours, without transparency: float32 (3, size, size).

    Raises DataFileError that says what is wrong with it. See `ImageFolder`.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            image.draft("RGB", (view.resize, view.resize))  # a JPEG is decoded at a fraction of its size
            image.load()  # before EXIF is read: Pillow turns some formats itself
            return view(_upright(_to_rgb(image), _orientation(image)), rng)
    except UnidentifiedImageError:
        raise DataFileError("no image") from None
    except OSError as error:
        raise DataFileError(error.strerror or str(error)) from None
    except (SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataFileError(str(error)) from None


class ImageFolder:
    """Photographs `root/CLASS/*`, decoded by threads while the network trains; the classes are in alphabetical order.

    Images of every kind that Pillow opens become red, green and blue from 0 to 1, turned upright as their EXIF says,
    transparency left out. Those without a known range, of floats or of 32-bit integers, count as corrupt.

    Every file in a class's folder counts as an image, hidden ones excepted. One that can't be decoded ends the run with
    its name, unless `skip_corrupt` allows up to so many: then it is left out of its batch, named by `say`, and kept in
    `corrupt` with what is wrong with it. `classes` are those of the training images, for the others to be numbered by.

    Raises
    ------
    DataFileError
        If there is no such folder, no class or only one, a class without images, or one that `classes` doesn't list.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        view: View | None = None,
        classes: Sequence[str] | None = None,
        *,
        workers: int = 2,
        skip_corrupt: int = 0,
        say: Callable[[str], None] = print,
    ) -> None:
        self.root, self.view, self.workers = Path(root), view or View(), workers
        self.skip_corrupt, self.say = skip_corrupt, say
        self.corrupt: dict[Path, str] = {}
        if workers < 1 or skip_corrupt < 0:
            raise ValueError(f"workers must be at least 1 and skip_corrupt at least 0, not {workers}, {skip_corrupt}")
        _pillow()
        if not self.root.is_dir():
            raise DataFileError(f"there is no folder {self.root}")
        found = sorted(entry.name for entry in self.root.iterdir() if entry.is_dir() and not _hidden(entry))
        if not found:
            raise DataFileError(f"{self.root} has no folders: images are expected as {self.root}/CLASS/image.jpg")
        if len(found) == 1:
            raise DataFileError(f"{self.root} has one class only, {found[0]}: there is nothing to tell apart")
        self.classes = list(classes or found)
        if unknown := sorted(set(found) - set(self.classes)):
            raise DataFileError(f"{self.root} has classes that are not learned: {', '.join(unknown[:5])}")
        self.paths: list[Path] = []
        labels: list[int] = []
        for name in found:
            files = sorted(entry for entry in (self.root / name).iterdir() if entry.is_file() and not _hidden(entry))
            if not files:
                raise DataFileError(f"{self.root / name} has no images")
            self.paths += files
            labels += [self.classes.index(name)] * len(files)
        self._labels = np.array(labels, np.int64)

    @property
    def labels(self) -> np.ndarray:
        """The numbers of the classes, (N,)."""
        return self._labels

    def read(
        self, chosen: Sequence[np.ndarray], rngs: Sequence[list[np.random.Generator]] | None = None
    ) -> Iterator[Dataset]:
        """Yield a batch for each array of image numbers, a few of them decoded ahead.

        Images are float32 (N, 3, size, size), augmented by `rngs`, a generator for each image, or (N, 10, 3, size,
        size) if the view says so. Raises DataFileError when more images are corrupt than are allowed.
        """
        from concurrent.futures import Future, ThreadPoolExecutor  # Pillow decodes without holding Python's lock

        pool = ThreadPoolExecutor(self.workers, "decode")
        waiting: deque[tuple[np.ndarray, list[Future]]] = deque()
        try:
            for k, numbers in enumerate(chosen):
                own = rngs[k] if rngs else [None] * len(numbers)
                tasks = [pool.submit(self._load, n, rng) for n, rng in zip(numbers, own, strict=True)]
                waiting.append((numbers, tasks))
                if len(waiting) > PREFETCH:
                    yield self._batch(*waiting.popleft())
            while waiting:
                yield self._batch(*waiting.popleft())
        finally:
            pool.shutdown(cancel_futures=True)

    def _batch(self, numbers: np.ndarray, tasks: Sequence[Any]) -> Dataset:
        images, labels = [], []
        for number, task in zip(numbers, tasks, strict=True):
            loaded = task.result()
            if isinstance(loaded, str):
                self._note(self.paths[number], loaded)
            else:
                images.append(loaded)
                labels.append(self._labels[number])
        size = self.view.size
        return Dataset(np.stack(images) if images else np.empty((0, 3, size, size), "f4"), np.array(labels, np.int64))

    def _load(self, number: int, rng: np.random.Generator | None) -> np.ndarray | str:
        """Return an image as the view shows it, or what is wrong with the file."""
        try:
            return read_photograph(self.paths[number], self.view, rng)
        except DataFileError as error:
            return str(error)

    def _note(self, path: Path, fault: str) -> None:
        if path in self.corrupt:
            return
        self.corrupt[path] = fault
        if len(self.corrupt) > self.skip_corrupt:
            names = "; ".join(f"{path} ({fault})" for path, fault in self.corrupt.items())
            raise DataFileError(
                f"{len(self.corrupt)} corrupt image{'s'[: len(self.corrupt) > 1]}, {self.skip_corrupt} allowed: {names}"
            )
        self.say(f"left out, corrupt image {len(self.corrupt)} of {self.skip_corrupt} allowed: {path} ({fault})")


def statistics(folder: ImageFolder, sample: int = 1000) -> Statistics:
    """Return what is subtracted, divided by and added at random, from `sample` images evenly spread over the folder.

    The pixels are those that an evaluation of the folder sees. Raises DataFileError if none of them could be read.
    """
    numbers = np.unique(np.linspace(0, len(folder.labels) - 1, min(sample, len(folder.labels))).astype(int))
    count, total, products = 0, np.zeros(3), np.zeros((3, 3))
    plain = np.array(folder.view.mean)[:, None], np.array(folder.view.std)[:, None]
    for images, _ in folder.read(np.array_split(numbers, -(-len(numbers) // 32))):
        pixels = np.moveaxis(images, -3, 0).reshape(3, -1) * plain[1] + plain[0]
        count, total, products = count + pixels.shape[1], total + pixels.sum(1), products + pixels @ pixels.T
    if not count:
        raise DataFileError(
            f"{folder.root}: none of {len(numbers)} images could be read, so there is nothing to measure"
        )
    mean = total / count
    covariance = products / count - np.outer(mean, mean)
    eigenvalues, eigenvectors = np.linalg.eigh(covariance)
    std = np.sqrt(np.diag(covariance).clip(0))
    return Statistics(mean, np.where(std > 0, std, 1), ColourNoise(eigenvalues.clip(0), eigenvectors))


def _pillow() -> None:
    try:
        import PIL  # noqa: F401
    except ModuleNotFoundError:
        raise DataFileError("reading photographs needs Pillow: pip install 'cnnlib[images]'") from None


def _hidden(path: Path) -> bool:
    return path.name.startswith(".")
