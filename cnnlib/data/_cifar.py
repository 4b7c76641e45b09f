"""CIFAR-10: 60,000 colour photographs of 32x32 pixels in ten classes."""

import os
from collections.abc import Callable
from pathlib import Path

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

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def cifar10(
    root: str | os.PathLike[str] = "data/cifar10",
    download: bool = False,
    raw: bool = False,
    url: str = _URL,
    say: Callable[[str], None] = print,
) -> DataSplit:
    """Return CIFAR-10, 50,000 + 10,000 photographs, from the published binary files in `root`.

    `root` holds `cifar-10-binary.tar.gz`, which need not be unpacked, or the unpacked files, also in their folder
    `cifar-10-batches-bin`. Nothing is downloaded unless `download` is true; then `say` is told address, size and
    checksum first. Images are float32 (N, 3, 32, 32), each channel with mean 0 and variance 1 over the training images;
    with `raw` uint8, 0 to 255. Labels are int64 (N,), numbers in `CIFAR10_CLASSES`.

    Raises DataFileError if files are missing or damaged. Source: Krizhevsky 2009; a record is one byte of label, then
    1,024 bytes each of red, green and blue, row by row.
    """
    root = Path(root)
    archive = root / "cifar-10-binary.tar.gz"
    folder = next((f for f in (root, root / _FOLDER) if all((f / name).is_file() for name in _TRAIN + _TEST)), None)
    if folder is None and not archive.is_file():
        if not download:
            raise DataFileError(
                f"CIFAR-10 is not in {root}: neither {archive.name} nor {_TRAIN[0]} to {_TRAIN[-1]} and {_TEST[0]}. "
                f"Put the files there, or allow the download of {_SIZE / 1e6:.0f} MB from {url} with download=True"
            )
        say(f"{url}: {_SIZE:,} bytes, md5 {_MD5}")
        try:
            fetch(url, archive, "md5", _MD5, _SIZE)
        except FetchError as error:
            raise DataFileError(str(error)) from error
    contents = _unpacked(archive) if folder is None else {n: (folder / n).read_bytes() for n in _TRAIN + _TEST}
    place = folder or archive
    (images, labels), test = _join(place, contents, _TRAIN), _join(place, contents, _TEST)
    if raw:
        return DataSplit(Dataset(images, labels), test)
    mean = images.mean((0, 2, 3), dtype=np.float64).astype(np.float32)[:, None, None]
    std = images.std((0, 2, 3), dtype=np.float64).astype(np.float32)[:, None, None]
    scale = np.where(std > 0, std, 1)
    return DataSplit(Dataset((images - mean) / scale, labels), Dataset((test.images - mean) / scale, test.labels))


def _unpacked(archive: Path) -> dict[str, bytes]:
    """Return name -> content of the files that are wanted, read in memory."""
    import gzip  # here, so that `import cnnlib` stays light
    import tarfile
    import zlib

    contents: dict[str, bytes] = {}
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                name = Path(member.name).name
                file = tar.extractfile(member) if name in _TRAIN + _TEST else None
                if file is not None:  # a folder of that name is none
                    contents[name] = file.read()
            while tar.fileobj.read(1 << 20):  # to the end, where gzip's checksum is
                pass
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataFileError(f"{archive} is truncated or damaged ({error})") from None
    if missing := [name for name in _TRAIN + _TEST if name not in contents]:
        raise DataFileError(f"{archive} is not CIFAR-10's binary version: it lacks {', '.join(missing)}")
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
