"""IDX files, the format of MNIST and Fashion-MNIST."""

import gzip
import os
import struct
import zlib
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cnnlib.data._batches import Dataset, DataSplit
from cnnlib.data._digits import prepare
from cnnlib.data._errors import DataFileError
from cnnlib.fetch import FetchError, fetch

FASHION_MNIST_CLASSES = (
    *("T-shirt", "trouser", "pullover", "dress", "coat"),
    *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
)

_DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def idx(path: str | os.PathLike[str]) -> np.ndarray:
    """Read an IDX file, gzipped or not, into an array of its shape and type.

    Raises DataFileError that says what is wrong with the file; FileNotFoundError if there is none.
    Source: the format's description with the MNIST database (two zero bytes, a type, the number of axes, their sizes
    as big-endian 32-bit integers, then the values).
    """
    path = Path(path)
    data = path.read_bytes()
    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (EOFError, OSError, zlib.error) as error:
            raise DataFileError(f"{path}: the gzip file is truncated or damaged ({error})") from None
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in _DTYPES or data[3] > 64:
        raise DataFileError(
            f"{path} is no IDX file: it must begin with two zero bytes and a type, "
            f"but begins {data[:4].hex(' ') or 'nowhere'}"
        )
    dtype, axes = np.dtype(_DTYPES[data[2]]), data[3]
    start = 4 + 4 * axes
    if len(data) < start:
        raise DataFileError(f"{path}: the header ends early, at {len(data)} of {start} bytes")
    shape = struct.unpack(f">{axes}I", data[4:start])
    expected = start + prod(shape) * dtype.itemsize
    if len(data) != expected:
        state = "is truncated" if len(data) < expected else "has bytes left over"
        raise DataFileError(f"{path} {state}: shape {shape} needs {expected} bytes, there are {len(data)}")
    return np.frombuffer(data, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))


class _File(NamedTuple):
    name: str
    size: int
    md5: str


class _Source(NamedTuple):
    """Where the published files of a data set are, and how to know them."""

    title: str
    mirror: str
    folders: tuple[str, ...]
    train: tuple[_File, _File]
    test: tuple[_File, _File]


# Sizes and MD5 sums of the published .gz files, as torchvision.datasets lists them.
_MNIST = _Source(
    "MNIST",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    (),
    (
        _File("train-images-idx3-ubyte", 9912422, "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
        _File("train-labels-idx1-ubyte", 28881, "d53e105ee54ea40749a09fcbcd1e9432"),
    ),
    (
        _File("t10k-images-idx3-ubyte", 1648877, "9fb629c4189551a2d022fa330f9573f3"),
        _File("t10k-labels-idx1-ubyte", 4542, "ec29112dd5afa0611ce80d1b7f02629c"),
    ),
)
_FASHION_MNIST = _Source(
    "Fashion-MNIST",
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    ("/usr/share/datasets/fashion-mnist",),  # Debian's package dataset-fashion-mnist
    (
        _File("train-images-idx3-ubyte", 26421880, "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
        _File("train-labels-idx1-ubyte", 29515, "25c81989df183df01b3e8a0aad5dffbe"),
    ),
    (
        _File("t10k-images-idx3-ubyte", 4422102, "bef4ecab320f06d8554ea6380940ec79"),
        _File("t10k-labels-idx1-ubyte", 5148, "bb300cfdad3c16e7a12a480ee83cd310"),
    ),
)


def mnist(
    root: str | os.PathLike[str] = "data/mnist",
    download: bool = False,
    raw: bool = False,
    mirror: str | None = None,
    say: Callable[[str], None] = print,
) -> DataSplit:
    """Return MNIST, 60,000 + 10,000 digits, from the IDX files in `root`, gzipped or not.

    Nothing is downloaded unless `download` is true; then `say` is told mirror, size and checksum of each file first,
    and a file whose checksum is another is thrown away. Arrays are as `digits` returns them.

    Raises DataFileError if files are missing, damaged, or not 28x28 images with labels 0 to 9.
    """
    return _read(_MNIST, Path(root), download, raw, mirror, say)


def fashion_mnist(
    root: str | os.PathLike[str] = "data/fashion-mnist",
    download: bool = False,
    raw: bool = False,
    mirror: str | None = None,
    say: Callable[[str], None] = print,
) -> DataSplit:
    """Return Fashion-MNIST, 60,000 + 10,000 pictures of clothes, as `mnist` does.

    Where `root` has none, Debian's package dataset-fashion-mnist is read if it is installed. Source: Xiao, Rasul and
    Vollgraf 2017.
    """
    return _read(_FASHION_MNIST, Path(root), download, raw, mirror, say)


def _read(
    source: _Source, root: Path, download: bool, raw: bool, mirror: str | None, say: Callable[[str], None]
) -> DataSplit:
    files = (*source.train, *source.test)
    folder = next((f for f in (root, *map(Path, source.folders)) if _found(f, files)), None)
    if folder is None:
        mirror = mirror or source.mirror
        if not download:
            missing = [f"{f.name}.gz" for f in files if _path(root, f) is None]
            raise DataFileError(
                f"{source.title} is not in {root}: missing {', '.join(missing)}. Put the files there, or allow the "
                f"download of {sum(f.size for f in files) / 1e6:.0f} MB from {mirror} with download=True"
            )
        for file in files:
            if _path(root, file) is None:
                _download(file, mirror, root, say)
        folder = root
    parts = []
    for images_file, labels_file in (source.train, source.test):
        images, labels = (idx(_path(folder, file) or folder / file.name) for file in (images_file, labels_file))
        bytes_only = images.dtype == labels.dtype == np.uint8
        if not bytes_only or images.shape[1:] != (28, 28) or labels.shape != images.shape[:1]:
            raise DataFileError(
                f"{folder}: {images_file.name} must hold 28x28 bytes an image and {labels_file.name} one label "
                f"each, but they hold {images.dtype} {images.shape} and {labels.dtype} {labels.shape}"
            )
        if labels.size and labels.max() > 9:
            raise DataFileError(f"{folder}: {labels_file.name} holds a label {labels.max()}: classes are 0 to 9")
        parts.append(Dataset(images if raw else prepare(images), labels.astype(np.int64)))
    return DataSplit(*parts)


def _path(folder: Path, file: _File) -> Path | None:
    return next((p for p in (folder / file.name, folder / f"{file.name}.gz") if p.is_file()), None)


def _found(folder: Path, files: tuple[_File, ...]) -> bool:
    return all(_path(folder, file) for file in files)


def _download(file: _File, mirror: str, root: Path, say: Callable[[str], None]) -> None:
    url = f"{mirror.rstrip('/')}/{file.name}.gz"
    say(f"{url}: {file.size:,} bytes, md5 {file.md5}")
    try:
        fetch(url, root / f"{file.name}.gz", "md5", file.md5, file.size)
    except FetchError as error:
        raise DataFileError(str(error)) from error
