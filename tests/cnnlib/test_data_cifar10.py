"""CIFAR-10's two versions, unpacked and as archives, from files made here and a server on this machine."""

import hashlib
import io
import os
import pickle
import tarfile

import numpy as np
import pytest

from cnnlib import data
from cnnlib.data import DataFileError, _cifar

NAMES = _cifar._TRAIN + _cifar._TEST


def records(count, seed):
    """Random images with labels: as the file has them, and as arrays."""
    rng = np.random.default_rng(seed)
    images, labels = rng.integers(0, 256, (count, 3, 32, 32), np.uint8), rng.integers(0, 10, count, np.uint8)
    content = b"".join(bytes([label]) + image.tobytes() for image, label in zip(images, labels, strict=True))
    return content, images, labels


def files():
    return {name: records(4 if name in _cifar._TRAIN else 3, k) for k, name in enumerate(NAMES)}


def write_archive(path, contents):
    with tarfile.open(path, "w:gz") as tar:
        for name, content in contents.items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


@pytest.fixture(params=["archive", "folder", "files"])
def root(request, tmp_path):
    contents = {name: content for name, (content, _, _) in files().items()} | {"readme.html": b"<html>"}
    if request.param == "archive":
        write_archive(tmp_path / "cifar-10-binary.tar.gz", contents)
        return tmp_path
    folder = tmp_path / "cifar-10-batches-bin" if request.param == "folder" else tmp_path
    folder.mkdir(exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return tmp_path


def test_cifar10_from_a_folder(root):
    true = files()
    raw, split = data.cifar10(root, raw=True), data.cifar10(str(root))
    train = np.concatenate([true[name][1] for name in _cifar._TRAIN])
    assert np.array_equal(raw.train.images, train) and np.array_equal(raw.test.images, true["test_batch.bin"][1])
    assert raw.train.labels.tolist() == [label for name in _cifar._TRAIN for label in true[name][2]]
    assert raw.train.images.dtype == np.uint8 and split.test.labels.dtype == np.int64
    assert split.train.images.dtype == split.test.images.dtype == np.float32
    np.testing.assert_allclose(split.train.images.mean((0, 2, 3)), 0, atol=1e-4)
    np.testing.assert_allclose(split.train.images.std((0, 2, 3)), 1, atol=1e-4)
    mean, std = train.mean((0, 2, 3))[:, None, None], train.std((0, 2, 3))[:, None, None]
    np.testing.assert_allclose(split.test.images, (raw.test.images - mean) / std, atol=1e-4)
    assert len(data.CIFAR10_CLASSES) == 10


def in_python_2(images, labels):
    """Return a file of the Python version byte by byte as Python 2 wrote the published ones, by cPickle, protocol 2."""

    def text(content):
        return b"U" + bytes([len(content)]) + content

    raw = images.tobytes()
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text(b"b") + b"\x87R"
    dtype = b"cnumpy\ndtype\n" + text(b"u1") + b"K\x00K\x01\x87R(K\x03" + text(b"|") + b"NNN" + 2 * b"J\xff\xff\xff\xff"
    dtype += b"K\x00tb"
    shape = b"M" + len(labels).to_bytes(2, "little") + b"M" + (3072).to_bytes(2, "little") + b"\x86"
    state = b"(K\x01" + shape + dtype + b"\x89T" + len(raw).to_bytes(4, "little") + raw + b"tb"
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    names = text(b"batch_label") + text(b"training batch 1 of 5")
    return b"\x80\x02}(" + text(b"data") + array + state + text(b"labels") + numbers + names + b"u."


def in_python_3(protocol):
    def write(images, labels):
        return pickle.dumps({b"data": images.reshape(-1, 3072), b"labels": labels.tolist()}, protocol)

    return write


def write_python_version(root, how, contents):
    if how == "archive":
        with tarfile.open(root / "cifar-10-python.tar.gz", "w:gz") as tar:
            for name, content in contents.items():
                member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
        return
    folder = root / "cifar-10-batches-py" if how == "folder" else root
    folder.mkdir(exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)


@pytest.mark.parametrize("how", ["archive", "folder", "files"])
@pytest.mark.parametrize("write", [in_python_2, *map(in_python_3, range(2, 5))])
def test_the_python_version_is_the_same(how, write, tmp_path):
    binary, python = tmp_path / "binary", tmp_path / "python"
    binary.mkdir()
    python.mkdir()
    for name, (content, _, _) in files().items():
        (binary / name).write_bytes(content)
    contents = {name.removesuffix(".bin"): write(images, labels) for name, (_, images, labels) in files().items()}
    write_python_version(python, how, contents | {"batches.meta": b"\x80\x02}."})
    for raw in (True, False):
        true, found = data.cifar10(binary, raw=raw), data.cifar10(python, raw=raw)
        for a, b in zip(true, found, strict=True):
            assert np.array_equal(a.images, b.images) and np.array_equal(a.labels, b.labels)
            assert a.images.dtype == b.images.dtype and a.labels.dtype == b.labels.dtype


class Harmful:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_pickle_that_is_no_batch_is_refused_and_runs_nothing(tmp_path):
    images, labels = np.zeros((2, 3072), np.uint8), [1, 2]
    good = pickle.dumps({b"data": images, b"labels": labels}, 2)
    whole = {name.removesuffix(".bin"): good for name in NAMES}
    write_python_version(tmp_path, "files", whole)
    data.cifar10(tmp_path)
    for bad, message in [
        ({b"data": Harmful(tmp_path / "harm"), b"labels": labels}, "names posix.mkdir: reading it could run code"),
        ({b"data": images.astype("f4"), b"labels": labels}, "its data are f4, not u1"),
        ({b"data": images, b"labels": [1]}, r"its data are \(2, 3072\), for 1 labels"),
        ({b"data": images, b"labels": [1, 300]}, "truncated or foreign"),
        ({b"data": images, b"labels": [1, 10]}, "a label 10: classes are 0 to 9"),
        ({b"data": [[0] * 3072] * 2, b"labels": labels}, "truncated or foreign"),
        ({b"data": images}, "KeyError"),
        ([1, 2], "truncated or foreign"),
    ]:
        (tmp_path / "data_batch_3").write_bytes(pickle.dumps(bad, 2))
        with pytest.raises(DataFileError, match=f"data_batch_3.*{message}"):
            data.cifar10(tmp_path)
    for content in (b"", good[:-1], good[:100], b"no pickle", b"\x80\x02."):
        (tmp_path / "data_batch_3").write_bytes(content)
        with pytest.raises(DataFileError, match="data_batch_3 is truncated or foreign"):
            data.cifar10(tmp_path)
    assert not (tmp_path / "harm").exists(), "a data file ran code"


def test_cifar10_that_is_not_there(tmp_path):
    with pytest.raises(DataFileError, match=r"neither cifar-10-binary.tar.gz nor.*download of 170 MB .*download=True"):
        data.cifar10(tmp_path / "none")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    "name, change, message",
    [
        ("data_batch_2.bin", lambda c: c[:-1], r"data_batch_2.bin is truncated .* 3 of them and 3072 more"),
        ("test_batch.bin", lambda c: b"", "test_batch.bin is truncated"),
        ("test_batch.bin", lambda c: b"\x0a" + c[1:], "a label 10: classes are 0 to 9"),
        ("data_batch_5.bin", None, "lacks data_batch_5.bin"),
    ],
)
def test_damaged_cifar10(tmp_path, name, change, message):
    contents = {name: content for name, (content, _, _) in files().items()}
    if change is None:
        del contents[name]
    else:
        contents[name] = change(contents[name])
    write_archive(tmp_path / "cifar-10-binary.tar.gz", contents)
    with pytest.raises(DataFileError, match=message):
        data.cifar10(tmp_path)


def test_a_cut_archive(tmp_path):
    path = tmp_path / "cifar-10-binary.tar.gz"
    write_archive(path, {name: content for name, (content, _, _) in files().items()})
    whole = path.read_bytes()
    for length in (0, 5, 100, len(whole) // 2, len(whole) - 30):
        path.write_bytes(whole[:length])
        with pytest.raises(DataFileError, match="cifar-10-binary.tar.gz (is truncated|is not CIFAR)"):
            data.cifar10(tmp_path)


def test_a_download(tmp_path, monkeypatch):
    """By way of a file URL, which urllib reads as any other."""
    source, told = tmp_path / "published", []
    write_archive(source, {name: content for name, (content, _, _) in files().items()})
    content, url = source.read_bytes(), source.as_uri()
    with pytest.raises(DataFileError, match=f"is not the published file.*{_cifar._MD5}"):
        data.cifar10(tmp_path / "root", download=True, url=url, say=told.append)
    assert os.listdir(tmp_path / "root") == []
    assert told == [f"{url}: 170,052,171 bytes, md5 c32a1d4ab5d03f1284b67883e8d87530"]
    monkeypatch.setattr(_cifar, "_MD5", hashlib.md5(content).hexdigest())
    split = data.cifar10(tmp_path / "root", download=True, url=url, say=told.append)
    assert len(split.train.labels) == 20 and os.listdir(tmp_path / "root") == ["cifar-10-binary.tar.gz"]
    data.cifar10(tmp_path / "root", download=True, url="file:///nowhere", say=told.append)
    assert len(told) == 2, "fetched again"
