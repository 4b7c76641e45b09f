"""Data sets: what comes with the package, files made here, and a mirror on this machine."""

import contextlib
import gzip
import hashlib
import http.server
import os
import re
import socket
import struct
import threading
from pathlib import Path

import numpy as np
import pytest

from cnnlib import data
from cnnlib.data import DataFileError, Dataset, _idx

IDX_DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: "i2", 0x0C: "i4", 0x0D: "f4", 0x0E: "f8"}


def idx_bytes(array, code=0x08):
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
    return head + np.asarray(array, np.dtype(IDX_DTYPES[code]).newbyteorder(">")).tobytes()


# ---- the digits


def test_the_digits_are_those_of_the_notice():
    (images, labels), (test_images, test_labels) = data.digits(raw=True)
    assert (images.shape, test_images.shape) == ((4000, 28, 28), (1000, 28, 28))
    assert images.dtype == np.uint8 and labels.dtype == test_labels.dtype == np.int64
    stored = np.concatenate([images, test_images]), np.concatenate([labels, test_labels]).astype(np.uint8)
    digest = hashlib.sha256(b"".join(a.tobytes() for a in stored)).hexdigest()
    assert digest == "134ef8b090a7d9129a9badd8ba4a7afe788e29341a96bd3cfe07c35acf886d76"
    assert digest in (Path(__file__).parents[2] / "NOTICE").read_text()
    assert np.bincount(labels).tolist() == [400] * 10 and np.bincount(test_labels).tolist() == [100] * 10
    assert (Path(data.__file__).parent / "digits.npz").stat().st_size < 1_000_000


def test_no_digit_is_in_both_parts():
    (images, _), (test_images, _) = data.digits(raw=True)
    trained = {image.tobytes() for image in images}
    assert len(trained) == 4000 and not any(image.tobytes() in trained for image in test_images)


def test_digits_as_lenet_reads_them():
    raw, split = data.digits(raw=True), data.digits()
    for (images, labels), (grey, same) in zip(split, raw, strict=True):
        assert images.shape == (len(labels), 1, 32, 32) and images.dtype == np.float32
        assert np.array_equal(labels, same)
        np.testing.assert_allclose(images[:, 0, 2:-2, 2:-2], grey / 255 * 1.275 - 0.1, atol=1e-6)
        frame = np.ones((32, 32), bool)
        frame[2:-2, 2:-2] = False
        assert np.allclose(images[:, 0, frame], -0.1)
    assert split.train.images.max() == pytest.approx(1.175)
    assert abs(split.train.images.mean()) < 0.05  # what the scale is for


# ---- batches


@pytest.mark.parametrize("count, size", [(10, 3), (9, 3), (2, 5), (1, 1)])
def test_batches_hold_everything_once(count, size):
    dataset = Dataset(np.arange(count * 4).reshape(count, 1, 2, 2), np.arange(count))
    in_order = list(data.batches(dataset, size))
    assert [len(b.labels) for b in in_order] == [min(size, count - k) for k in range(0, count, size)]
    assert np.concatenate([b.labels for b in in_order]).tolist() == list(range(count))
    drawn = list(data.batches(dataset, size, np.random.default_rng(0)))
    again = list(data.batches(dataset, size, np.random.default_rng(0)))
    labels = np.concatenate([b.labels for b in drawn])
    assert sorted(labels) == list(range(count))
    for one, same in zip(drawn, again, strict=True):
        assert np.array_equal(one.labels, same.labels)
        assert np.array_equal(one.images[:, 0, 0, 0], 4 * one.labels)  # each image with its own label
    if count == 10:
        assert labels.tolist() != list(range(count))


def test_batches_are_augmented_and_the_data_set_is_not():
    images = np.zeros((4, 1, 2, 2))
    images.flags.writeable = False
    dataset = Dataset(images, np.arange(4))
    for images, _ in data.batches(dataset, 2, np.random.default_rng(0), lambda x, rng: x + rng.integers(1, 3)):
        assert images.min() >= 1
    for images, _ in data.batches(dataset, 2):
        images += 1  # a batch is a copy
    assert not dataset.images.any()


@pytest.mark.parametrize(
    "dataset, arguments, message",
    [
        (Dataset(np.zeros((3, 1)), np.zeros(2)), (1,), "3 images and 2 labels"),
        (Dataset(np.zeros((3, 1)), np.zeros(3)), (0,), "batches of 0 from 3"),
        (Dataset(np.zeros((0, 1)), np.zeros(0)), (2,), "batches of 2 from 0"),
        (Dataset(np.zeros((3, 1)), np.zeros(3)), (2, None, data.shift), "give rng too"),
    ],
)
def test_batches_that_can_not_be(dataset, arguments, message):
    with pytest.raises(ValueError, match=message):
        next(data.batches(dataset, *arguments))


@pytest.mark.parametrize("pixels", [0, 1, 2, 9])
def test_shift_moves_by_whole_pixels_and_repeats_the_edge(pixels):
    images = np.random.default_rng(0).standard_normal((40, 2, 5, 7)).astype("float32")
    images.flags.writeable = False
    moved = data.shift(images, np.random.default_rng(1), pixels)
    assert moved.shape == images.shape and moved.dtype == images.dtype and moved.flags.c_contiguous
    seen = set()
    for image, result in zip(images, moved, strict=True):
        fits = []
        for down in range(-pixels, pixels + 1):
            for right in range(-pixels, pixels + 1):
                wide = np.pad(image, ((0, 0), (pixels, pixels), (pixels, pixels)), mode="edge")
                window = wide[:, pixels + down : pixels + down + 5, pixels + right : pixels + right + 7]
                if np.array_equal(window, result):
                    fits.append((down, right))
        assert fits
        if len(fits) == 1:
            seen.add(fits[0])
    if pixels == 1:
        assert len(seen) == 9, "every move should come up in forty draws"


# ---- IDX files


@pytest.mark.parametrize("code, dtype", IDX_DTYPES.items())
@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (2, 3, 4), (0, 28, 28)])
@pytest.mark.parametrize("zipped", [False, True])
def test_idx_goes_round(tmp_path, code, dtype, shape, zipped):
    values = np.asarray(np.random.default_rng(0).integers(0, 100, shape), dtype)
    if dtype != "u1":
        values -= np.asarray(50, dtype)
    path = tmp_path / "values"
    path.write_bytes(gzip.compress(idx_bytes(values, code)) if zipped else idx_bytes(values, code))
    for place in (path, str(path)):
        found = data.idx(place)
        assert found.dtype == np.dtype(dtype) and found.dtype.isnative and found.flags.writeable
        assert np.array_equal(found, values) and found.shape == shape


def test_a_cut_idx_file_is_never_read(tmp_path):
    """At every length, plain and gzipped."""
    path, whole = tmp_path / "cut", idx_bytes(np.arange(24).reshape(2, 3, 4), 0x0B)
    zipped = gzip.compress(whole)
    for data_bytes in (whole, zipped):
        for length in range(len(data_bytes)):
            path.write_bytes(data_bytes[:length])
            with pytest.raises(DataFileError, match=re.escape(str(path))):
                data.idx(path)
    path.write_bytes(whole[:-1])
    with pytest.raises(DataFileError, match=r"truncated: shape \(2, 3, 4\) needs 64 bytes, there are 63"):
        data.idx(path)
    path.write_bytes(whole[:9])
    with pytest.raises(DataFileError, match="header ends early, at 9 of 16"):
        data.idx(path)
    path.write_bytes(zipped[:20])
    with pytest.raises(DataFileError, match="gzip file is truncated or damaged"):
        data.idx(path)


def test_a_damaged_gzip_file_is_never_read(tmp_path):
    path, zipped = tmp_path / "damaged.gz", bytearray(gzip.compress(idx_bytes(np.arange(200) % 251)))
    zipped[-6] ^= 1  # its checksum
    path.write_bytes(zipped)
    with pytest.raises(DataFileError, match="damaged"):
        data.idx(path)


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "no IDX file.*nowhere"),
        (b"<!DOCTYPE html>", "begins 3c 21 44 4f"),
        (b"\x89PNG\r\n\x1a\n", "no IDX file"),
        (b"\0\0\x0a\x01\0\0\0\0", "no IDX file"),
        (b"\0\x01\x08\x01\0\0\0\0", "no IDX file"),
        (idx_bytes(np.arange(3)) + b"!", r"bytes left over: shape \(3,\) needs 11 bytes, there are 12"),
        (b"\0\0\x08\x03" + b"\xff" * 12, "truncated"),  # 2^96 bytes: no memory is asked for
        (b"\0\0\x08\xff" + b"\0\0\0\x01" * 255 + b"7", "no IDX file"),  # 255 axes
    ],
)
def test_a_foreign_file_is_refused(tmp_path, content, message):
    path = tmp_path / "foreign"
    path.write_bytes(content)
    with pytest.raises(DataFileError, match=message):
        data.idx(path)


def test_a_missing_idx_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        data.idx(tmp_path / "none")


# ---- MNIST from a folder


def write_mnist(root, zipped=False, **replaced):
    """Write a data set of 5 + 3 random images; `replaced` gives other arrays for a file."""
    rng = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", 5), ("t10k", 3)):
        arrays[f"{part}-images-idx3-ubyte"] = rng.integers(0, 256, (count, 28, 28))
        arrays[f"{part}-labels-idx1-ubyte"] = rng.integers(0, 10, count)
    root.mkdir(exist_ok=True)
    for name, array in arrays.items():
        content = replaced.get(name.partition("-idx")[0].replace("-", "_"), idx_bytes(array))
        (root / (f"{name}.gz" if zipped else name)).write_bytes(gzip.compress(content) if zipped else content)
    return arrays


@pytest.mark.parametrize("read", [data.mnist, data.fashion_mnist])
@pytest.mark.parametrize("zipped", [False, True])
def test_mnist_from_a_folder(tmp_path, read, zipped):
    arrays = write_mnist(tmp_path / "set", zipped)
    raw, split = read(tmp_path / "set", raw=True), read(str(tmp_path / "set"))
    for part, name in ((0, "train"), (1, "t10k")):
        assert np.array_equal(raw[part].images, arrays[f"{name}-images-idx3-ubyte"])
        assert np.array_equal(raw[part].labels, arrays[f"{name}-labels-idx1-ubyte"])
        assert raw[part].images.dtype == np.uint8 and raw[part].labels.dtype == np.int64
        assert np.array_equal(split[part].images, data.prepare(raw[part].images))
        assert split[part].images.shape[1:] == (1, 32, 32)


def test_missing_files_are_named(tmp_path):
    write_mnist(tmp_path / "set")
    (tmp_path / "set" / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataFileError) as caught:
        data.mnist(tmp_path / "set")
    message = str(caught.value)
    assert "t10k-labels-idx1-ubyte.gz" in message and "train" not in message.partition("Put the files")[0]
    assert "download=True" in message and "12 MB" in message and _idx._MNIST.mirror in message
    assert not (tmp_path / "nowhere").exists()
    with pytest.raises(DataFileError, match="train-images-idx3-ubyte.gz, train-labels"):
        data.mnist(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(
    "replaced, message",
    [
        ({"train_labels": idx_bytes(np.array([0, 1, 10, 2, 3]))}, "a label 10: classes are 0 to 9"),
        ({"t10k_labels": idx_bytes(np.array([0, -1, 2]), 0x09)}, "t10k-labels"),
        ({"t10k_labels": idx_bytes(np.array([0, 0.5, 2]), 0x0D)}, "t10k-labels"),
        ({"t10k_labels": idx_bytes(np.array([0, 1]))}, r"uint8 \(2,\)"),
        ({"train_images": idx_bytes(np.zeros((5, 27, 28)))}, r"\(5, 27, 28\)"),
        ({"train_images": idx_bytes(np.zeros((5, 28, 28)), 0x0D)}, "float32"),
        ({"train_images": idx_bytes(np.zeros(5))}, r"uint8 \(5,\)"),
    ],
)
def test_files_of_another_data_set(tmp_path, replaced, message):
    write_mnist(tmp_path / "set", **replaced)
    with pytest.raises(DataFileError, match=message):
        data.mnist(tmp_path / "set")


# ---- downloads, from a mirror on this machine


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """A folder, served on the loopback; the published sums are those of the files made here."""
    folder = tmp_path / "mirror"
    write_mnist(folder, zipped=True)
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(folder))

        def do_GET(self):
            asked.append(self.path)
            super().do_GET()

        def log_message(self, *arguments):
            pass

    def published(file):
        content = (folder / f"{file.name}.gz").read_bytes()
        return file._replace(size=len(content), md5=hashlib.md5(content).hexdigest())

    source = _idx._MNIST
    monkeypatch.setattr(
        _idx,
        "_MNIST",
        source._replace(train=tuple(map(published, source.train)), test=tuple(map(published, source.test))),
    )
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        server.folder, server.asked = folder, asked
        server.url = f"http://127.0.0.1:{server.server_port}/"
        yield server
        server.shutdown()
        thread.join()


def test_a_download_shows_what_it_fetches_and_happens_once(tmp_path, mirror):
    root, told = tmp_path / "new" / "root", []
    split = data.mnist(root, download=True, mirror=mirror.url, say=told.append, raw=True)
    assert len(split.train.labels) == 5 and len(split.test.labels) == 3
    files = (*_idx._MNIST.train, *_idx._MNIST.test)
    assert len(told) == 4
    for line, file in zip(told, files, strict=True):
        assert mirror.url + file.name in line and f"{file.size:,} bytes" in line and file.md5 in line
    assert sorted(os.listdir(root)) == sorted(f"{file.name}.gz" for file in files)
    assert len(mirror.asked) == 4
    data.mnist(root, download=True, mirror=mirror.url, say=told.append)
    assert len(mirror.asked) == len(told) == 4
    (root / f"{files[2].name}.gz").unlink()
    data.mnist(root, download=True, mirror=mirror.url.rstrip("/"), say=told.append)
    assert mirror.asked[4:] == [f"/{files[2].name}.gz"]


def test_nothing_is_fetched_unasked(tmp_path, mirror):
    with pytest.raises(DataFileError, match=f"{re.escape(mirror.url)} with download=True"):
        data.mnist(tmp_path / "root", mirror=mirror.url)
    assert mirror.asked == [] and not (tmp_path / "root").exists()


def test_a_file_with_another_checksum_is_thrown_away(tmp_path, mirror):
    file = _idx._MNIST.train[1]
    (mirror.folder / f"{file.name}.gz").write_bytes(gzip.compress(idx_bytes(np.arange(5))) + b"\0")
    with pytest.raises(DataFileError, match=f"{file.name}.gz is not the published file.*{file.md5}"):
        data.mnist(tmp_path / "root", download=True, mirror=mirror.url, say=lambda line: None)
    assert os.listdir(tmp_path / "root") == [f"{_idx._MNIST.train[0].name}.gz"]


def test_a_file_that_is_not_on_the_mirror(tmp_path, mirror):
    (mirror.folder / f"{_idx._MNIST.train[0].name}.gz").unlink()
    with pytest.raises(DataFileError, match="train-images-idx3-ubyte.gz could not be fetched.*404"):
        data.mnist(tmp_path / "root", download=True, mirror=mirror.url, say=lambda line: None)
    assert os.listdir(tmp_path / "root") == []


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nhalf"])
def test_a_mirror_that_breaks_off(tmp_path, mirror, answer):
    """No answer, another protocol, half a file: one kind of error, nothing left behind."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            with contextlib.suppress(OSError), listener.accept()[0] as connection:
                connection.recv(4096)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        with pytest.raises(DataFileError, match=re.escape(url)):
            data.mnist(tmp_path / "root", download=True, mirror=url, say=lambda line: None)
        thread.join()
    assert os.listdir(tmp_path / "root") == []


def test_the_published_sizes_add_up():
    """As the data sets' own pages and torchvision list them, 11.6 and 30.9 MB."""
    totals = [sum(f.size for f in (*s.train, *s.test)) for s in (_idx._MNIST, _idx._FASHION_MNIST)]
    assert totals == [11_594_722, 30_878_645]
    for source in (_idx._MNIST, _idx._FASHION_MNIST):
        assert all(re.fullmatch("[0-9a-f]{32}", f.md5) for f in (*source.train, *source.test))


def test_fashion_mnist_as_debian_has_it(tmp_path):
    train, test = data.fashion_mnist(tmp_path / "none", raw=True)
    assert train.images.shape == (60000, 28, 28) and test.images.shape == (10000, 28, 28)
    assert np.bincount(train.labels).tolist() == [6000] * 10 and np.bincount(test.labels).tolist() == [1000] * 10
    assert train.labels[0] == 9  # an ankle boot
