"""CIFAR-10: 60,000 colour photographs of 32x32 pixels in ten classes."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from cnnlib.data._batches import Dataset, DataSplit
from cnnlib.data._errors import DataFileError
from cnnlib.fetch import FetchError, fetch

# The binary version as its authors' page and torchvision list it.
_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
_SIZE, _MD5 = 170_052_171, "c32a1d4ab5d03f1284b67883e8d87530"
_FOLDER = "cifar-10-batches-bin"
_TRAIN, _TEST = tuple(f"data_batch_{k}.bin" for k in range(1, 6)), ("test_batch.bin",)
_RECORD = 1 + 3 * 32 * 32
# The Python version: the same images, each file a pickled dictionary of an array and a list.
_PYTHON_ARCHIVE, _PYTHON_FOLDER = "cifar-10-python.tar.gz", "cifar-10-batches-py"

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def cifar10(
    root: str | os.PathLike[str] = "data/cifar10",
    download: bool = False,
    raw: bool = False,
    url: str = _URL,
    say: Callable[[str], None] = print,
) -> DataSplit:
    """Return CIFAR-10, 50,000 + 10,000 photographs, from the published files in `root`.

    `root` holds `cifar-10-binary.tar.gz`, which need not be unpacked, or the unpacked files, also in their folder
    `cifar-10-batches-bin`; or else the Python version likewise, `cifar-10-python.tar.gz` or `cifar-10-batches-py`, of
    whose pickles nothing but arrays, lists, numbers and strings is read. Nothing is downloaded unless `download` is
    true; then `say` is told address, size and checksum first. Images are float32 (N, 3, 32, 32), each channel with mean
    0 and variance 1 over the training images; with `raw` uint8, 0 to 255. Labels are int64 (N,), numbers in
    `CIFAR10_CLASSES`.

    Raises DataFileError if files are missing or damaged. Source: Krizhevsky 2009; a record is one byte of label, then
    1,024 bytes each of red, green and blue, row by row.
    """
    root = Path(root)
    archive, python = root / "cifar-10-binary.tar.gz", root / _PYTHON_ARCHIVE
    folder = next((f for f in (root, root / _FOLDER) if _has(f, _TRAIN + _TEST)), None)
    if folder is None and not archive.is_file():
        names = tuple(_pickled(name) for name in _TRAIN + _TEST)
        found = next((f for f in (root, root / _PYTHON_FOLDER) if _has(f, names)), None)
        if found or python.is_file():
            archive, folder = python, found
        elif not download:
            raise DataFileError(
                f"CIFAR-10 is not in {root}: neither {archive.name} nor {_TRAIN[0]} to {_TRAIN[-1]} and {_TEST[0]}, "
                f"nor the Python version, {python.name}. "
                f"Put the files there, or allow the download of {_SIZE / 1e6:.0f} MB from {url} with download=True"
            )
        else:
            say(f"{url}: {_SIZE:,} bytes, md5 {_MD5}")
            try:
                fetch(url, archive, "md5", _MD5, _SIZE)
            except FetchError as error:
                raise DataFileError(str(error)) from error
    pickled = archive == python
    training, testing = (tuple(map(_pickled, names)) if pickled else names for names in (_TRAIN, _TEST))
    place = folder or archive
    contents = (
        {name: (folder / name).read_bytes() for name in training + testing}
        if folder
        else _unpacked(archive, training + testing)
    )
    if pickled:
        contents = {name: _records(f"{place}: {name}", content) for name, content in contents.items()}
    (images, labels), test = _join(place, contents, training), _join(place, contents, testing)
    if raw:
        return DataSplit(Dataset(images, labels), test)
    mean = images.mean((0, 2, 3), dtype=np.float64).astype(np.float32)[:, None, None]
    std = images.std((0, 2, 3), dtype=np.float64).astype(np.float32)[:, None, None]
    scale = np.where(std > 0, std, 1)
    return DataSplit(Dataset((images - mean) / scale, labels), Dataset((test.images - mean) / scale, test.labels))


def _has(folder: Path, names: tuple[str, ...]) -> bool:
    return all((folder / name).is_file() for name in names)


def _pickled(name: str) -> str:
    """Return what a file is called in the Python version."""
    return name.removesuffix(".bin")


def _records(place: str, content: bytes) -> bytes:
    """Return what a file of the Python version holds as the binary version has it.

    Source: the data set's page. b"data" is uint8 (N, 3072), all of red, then green, then blue; b"labels" N numbers.
    """
    import io
    import pickle

    class Reader(pickle.Unpickler):
        """Makes what Python is made of, and no array but a stand-in: all else that a pickle names could run code."""

        def find_class(self, module: str, name: str) -> Any:
            known = {
                ("numpy.core.multiarray", "_reconstruct"): _PickledArray,
                ("numpy", "ndarray"): None,
                ("numpy", "dtype"): _PickledType,
                ("_codecs", "encode"): _latin1,  # how Python 3 writes bytes for Python 2
            }
            try:
                return known[module.replace("numpy._core", "numpy.core"), name]
            except KeyError:
                raise DataFileError(
                    f"{place} names {module}.{name}: reading it could run code, so it is refused"
                ) from None

    try:
        held = Reader(io.BytesIO(content), encoding="bytes").load()
        data, labels = (held[key] if key in held else held[key.decode()] for key in (b"data", b"labels"))
        images, numbers = data.values(), np.asarray(labels, np.uint8)
        if images.shape != (len(numbers), _RECORD - 1):
            raise ValueError(f"its data are {images.shape}, for {len(numbers)} labels")
    except DataFileError:
        raise
    except Exception as error:  # bytes that are no pickle can break the reader in any way
        raise DataFileError(
            f"{place} is truncated or foreign: a dictionary with data (N, {_RECORD - 1}) and N labels is expected "
            f"({type(error).__name__}: {error})"
        ) from None
    return np.concatenate([numbers[:, None], images], 1).tobytes()


class _PickledType:
    """Stands in for a pickled dtype: what it is called, as "u1"."""

    def __init__(self, name: str | bytes, *_: object) -> None:
        self.name = name if isinstance(name, bytes) else name.encode()

    def __setstate__(self, state: object) -> None:
        """Keep nothing: of bytes there is one kind."""


class _PickledArray:
    """Stands in for a pickled array of bytes."""

    def __init__(self, *_: object) -> None:
        self._state: Any = None

    def __setstate__(self, state: Any) -> None:
        self._state = state

    def values(self) -> np.ndarray:
        """Return the array. Raises ValueError unless it is of bytes."""
        _, shape, dtype, fortran, content = self._state
        if dtype.name != b"u1":
            raise ValueError(f"its data are {dtype.name.decode()}, not u1")
        return np.frombuffer(content, np.uint8).reshape(shape, order="F" if fortran else "C")


def _latin1(text: str, encoding: str | bytes) -> bytes:
    if encoding not in ("latin1", b"latin1"):
        raise ValueError(f"its bytes are encoded as {encoding!r}")
    return text.encode("latin1")


def _unpacked(archive: Path, names: tuple[str, ...]) -> dict[str, bytes]:
    """Return name -> content of the files that are wanted, read in memory."""
    import gzip  # here, so that `import cnnlib` stays light
    import tarfile
    import zlib

    contents: dict[str, bytes] = {}
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                name = Path(member.name).name
                file = tar.extractfile(member) if name in names else None
                if file is not None:  # a folder of that name is none
                    contents[name] = file.read()
            while tar.fileobj.read(1 << 20):  # to the end, where gzip's checksum is
                pass
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataFileError(f"{archive} is truncated or damaged ({error})") from None
    if missing := [name for name in names if name not in contents]:
        raise DataFileError(f"{archive} is not the published file of CIFAR-10: it lacks {', '.join(missing)}")
    return contents


def _join(place: Path, contents: dict[str, bytes], names: tuple[str, ...]) -> Dataset:
    records = []
    for name in names:
        count, rest = divmod(len(contents[name]), _RECORD)
        if rest or not count:
            raise DataFileError(
                f"{place}: {name} is truncated or foreign: records have {_RECORD} bytes, and {len(contents[name]):,} "
                f"bytes are {count:,} of them and {rest} more"
            )
        records.append(np.frombuffer(contents[name], np.uint8).reshape(count, _RECORD))
    joined = np.concatenate(records)
    labels = joined[:, 0].astype(np.int64)
    if labels.max() > 9:
        raise DataFileError(f"{place}: {', '.join(names)} hold a label {labels.max()}: classes are 0 to 9")
    return Dataset(joined[:, 1:].reshape(-1, 3, 32, 32), labels)
