"""Photographs in folders: generated JPEGs, the papers' crops and colours, and files that are broken."""

import math

import numpy as np
import pytest
from PIL import Image

from cnnlib import data
from cnnlib.data import DataFileError, ImageFolder, View

PLAIN = View(size=24, resize=32, augment="none")


def write_jpeg(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, "JPEG", quality=95, **options)


def smooth(seed, height=48, width=64):
    """A picture of two gradients, whose pixels are all different."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    base = rng.integers(30, 60, 3)
    return np.stack([base[0] + 2 * x, base[1] + 2 * y, base[2] + x + y], -1).astype(np.uint8)


@pytest.fixture
def root(tmp_path):
    """Two classes of 5 and 4 photographs, of all orientations."""
    for k in range(9):
        pixels = smooth(k) if k % 2 else smooth(k, 64, 40)
        write_jpeg(tmp_path / "set" / ("cat" if k < 5 else "dog") / f"{k}.JPEG", pixels)
    (tmp_path / "set" / ".cache").mkdir()
    (tmp_path / "set" / "cat" / ".DS_Store").write_bytes(b"hidden")
    return tmp_path / "set"


def images(folder, **options):
    made = list(data.batches(folder, 4, **options))
    return np.concatenate([m.images for m in made]), np.concatenate([m.labels for m in made])


def test_folders_are_classes(root):
    folder = ImageFolder(root, PLAIN)
    assert folder.classes == ["cat", "dog"] and folder.labels.tolist() == [0] * 5 + [1] * 4
    pixels, labels = images(folder)
    assert pixels.shape == (9, 3, 24, 24) and pixels.dtype == np.float32 and labels.tolist() == folder.labels.tolist()
    assert 0 <= pixels.min() and pixels.max() <= 1


def test_evaluation_shows_the_middle(root):
    """The shorter side becomes 32 pixels, the middle 24 are kept."""
    pixels, _ = images(ImageFolder(root, PLAIN))
    source = np.asarray(Image.open(root / "cat" / "1.JPEG")).astype(float) / 255  # 48 x 64: times 2/3
    rows, columns = (np.arange(24) + 4.5) * 1.5, (np.arange(24) + 4.5) * 1.5 + 8  # centres of the pixels
    expected = source[rows.astype(int)][:, columns.astype(int)].transpose(2, 0, 1)
    assert np.abs(pixels[1] - expected).max() < 0.02


def test_ten_crops_are_corners_middle_and_mirror_images(root):
    ten, _ = images(ImageFolder(root, View(24, 32, "none", crops=10)))
    whole, _ = images(ImageFolder(root, View(32, 32, "none")))
    assert ten.shape == (9, 10, 3, 24, 24)
    places = [(0, 0), (0, 8), (8, 0), (8, 8), (4, 4)]
    for k, (top, left) in enumerate(places):
        assert np.array_equal(ten[:, k], whole[:, :, top : top + 24, left : left + 24])
        assert np.array_equal(ten[:, 5 + k], ten[:, k, :, :, ::-1])


def test_random_crops_are_windows_of_the_square(root):
    """Krizhevsky's: every draw is a window, mirrored or not, and different draws come up."""
    folder = ImageFolder(root, View(24, 32, "crop"))
    whole, _ = images(ImageFolder(root, View(32, 32, "none")))
    seen = set()
    for seed in range(12):
        order = np.random.default_rng(seed).permutation(9)
        crops, labels = images(folder, rng=np.random.default_rng(seed))
        assert np.array_equal(labels, folder.labels[order])
        for number, crop in zip(order, crops, strict=True):
            fits = [
                (top, left, mirrored)
                for mirrored, picture in ((False, crop), (True, crop[..., ::-1]))
                for top in range(9)
                for left in range(9)
                if np.array_equal(whole[number][:, top : top + 24, left : left + 24], picture)
            ]
            assert len(fits) == 1
            seen.add(fits[0])
    tops, lefts, mirrored = (set(values) for values in zip(*seen, strict=True))
    assert tops == lefts == set(range(9)) and mirrored == {False, True}


def test_scaled_crops_have_googlenets_sizes():
    from cnnlib.data._folder import _random_box

    rng = np.random.default_rng(0)
    boxes = np.array([_random_box(60, 40, rng) for _ in range(2000)])
    w, h = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    share, ratio = w * h / 2400, w / h
    assert boxes.min() >= 0 and boxes[:, 2].max() <= 60 and boxes[:, 3].max() <= 40
    assert 0.08 <= share.min() < 0.1 and 0.8 < share.max() <= 1
    assert 3 / 4 <= ratio.min() < 0.77 and 1.3 < ratio.max() <= 4 / 3 + 1e-9
    assert abs(np.log(ratio[share < 0.4]).mean()) < 0.02  # as often wide as high
    strip = _random_box(1000, 10, np.random.default_rng(0))
    assert math.isclose(strip[2] - strip[0], 10) and math.isclose(strip[3] - strip[1], 10)


def test_scaled_crops_are_the_photograph(root):
    made, _ = images(ImageFolder(root, View(24, 32, "scale")), rng=np.random.default_rng(0))
    again, _ = images(ImageFolder(root, View(24, 32, "scale"), workers=5), rng=np.random.default_rng(0))
    assert made.shape == (9, 3, 24, 24) and np.array_equal(made, again), "threads change nothing"
    slopes = np.abs(np.diff(made[:, 0], axis=2)).mean((1, 2))
    assert slopes.max() > 1.5 * slopes.min(), "one scale for all"


def test_a_run_goes_on_at_any_batch(root):
    folder = ImageFolder(root, View(24, 32, "crop"))
    whole = list(data.batches(folder, 2, np.random.default_rng(4)))
    for start in (1, 3, 5):
        rest = list(data.batches(folder, 2, np.random.default_rng(4), start=start))
        assert len(rest) == 5 - start
        for one, same in zip(rest, whole[start:], strict=True):
            assert np.array_equal(one.images, same.images)
    halves = [list(data.batches(folder, 2, np.random.default_rng(4), part=(k, 2))) for k in (0, 1)]
    for first, second, both in zip(*halves, whole, strict=True):
        assert np.array_equal(np.concatenate([first.images, second.images]), both.images)


def test_colours_are_measured_and_varied(tmp_path):
    """One flat colour an image: mean, covariance and their eigenvectors are known."""
    rng = np.random.default_rng(0)
    direction = np.array([0.6, 0.8, 0.0])
    colours = np.clip(128 + 50 * rng.standard_normal((40, 1)) * direction + rng.normal(0, 4, (40, 3)), 0, 255)
    for k, colour in enumerate(colours.round().astype(np.uint8)):
        Image.fromarray(np.tile(colour, (32, 32, 1))).save(tmp_path / f"{k}.png")
        (tmp_path / "ab"[k % 2]).mkdir(exist_ok=True)
        (tmp_path / f"{k}.png").rename(tmp_path / "ab"[k % 2] / f"{k}.png")
    folder = ImageFolder(tmp_path, View(24, 32, "crop"))
    true = colours.round() / 255
    mean, std, noise = data.statistics(folder)
    np.testing.assert_allclose(mean, true.mean(0), atol=1e-6)
    np.testing.assert_allclose(std, true.std(0), atol=1e-6)
    values, vectors = np.linalg.eigh(np.cov(true.T, bias=True))
    np.testing.assert_allclose(noise.eigenvalues, values, atol=1e-6)
    np.testing.assert_allclose(np.abs(noise.eigenvectors.T @ vectors), np.eye(3), atol=1e-4)
    assert noise.sigma == 0.1
    draws = np.array([noise.draw(rng) for _ in range(4000)])
    expected = vectors @ np.diag((0.1 * values) ** 2) @ vectors.T
    np.testing.assert_allclose(np.cov(draws.T), expected, atol=0.06 * expected.max())

    scaled = ImageFolder(tmp_path, View(24, 32, "crop", mean=tuple(mean), std=tuple(std), noise=noise))
    plain = images(scaled)[0]
    np.testing.assert_allclose(plain.mean((0, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(plain.std((0, 2, 3)), 1, atol=1e-5)
    order = np.random.default_rng(1).permutation(40)
    noisy = images(scaled, rng=np.random.default_rng(1))[0]
    moved = (noisy - plain[order]) * std[:, None, None]
    assert np.allclose(moved, moved[:, :, :1, :1], atol=1e-6), "one colour for the whole image"
    assert np.ptp(moved[:, 0, 0, 0]) > 0, "another for each image"


# ---- what is broken


def test_folders_that_are_no_data_set(tmp_path):
    with pytest.raises(DataFileError, match="there is no folder .*none"):
        ImageFolder(tmp_path / "none")
    with pytest.raises(DataFileError, match=r"has no folders: images are expected as .*/CLASS/image.jpg"):
        ImageFolder(tmp_path)
    write_jpeg(tmp_path / "cat" / "1.jpg", smooth(0))
    with pytest.raises(DataFileError, match="one class only, cat"):
        ImageFolder(tmp_path)
    (tmp_path / "dog").mkdir()
    (tmp_path / "dog" / ".hidden").write_text("")
    with pytest.raises(DataFileError, match="dog has no images"):
        ImageFolder(tmp_path)
    write_jpeg(tmp_path / "dog" / "1.jpg", smooth(0))
    assert ImageFolder(tmp_path, classes=["ant", "cat", "dog"]).labels.tolist() == [1, 2]
    with pytest.raises(DataFileError, match="classes that are not learned: dog"):
        ImageFolder(tmp_path, classes=["cat", "cow"])


def spoil(root):
    """Break three files, each in its own way; return their paths in order."""
    content = (root / "cat" / "1.JPEG").read_bytes()
    (root / "cat" / "1.JPEG").write_bytes(content[: len(content) // 2])
    (root / "cat" / "3.JPEG").write_bytes(b"")
    (root / "dog" / "7.JPEG").write_text("<!DOCTYPE html>")
    return [root / "cat" / "1.JPEG", root / "cat" / "3.JPEG", root / "dog" / "7.JPEG"]


def test_corrupt_files_are_named_and_counted(root):
    broken, told = spoil(root), []
    with pytest.raises(DataFileError, match=r"1 corrupt image, 0 allowed: .*cat/1.JPEG \((?i:.*truncated)"):
        images(ImageFolder(root, PLAIN))
    with pytest.raises(DataFileError) as caught:
        images(ImageFolder(root, PLAIN, skip_corrupt=2, say=told.append))
    assert "3 corrupt images, 2 allowed" in str(caught.value)
    assert all(str(path) in str(caught.value) for path in broken) and len(told) == 2
    told.clear()
    folder = ImageFolder(root, PLAIN, skip_corrupt=3, say=told.append)
    for _ in range(2):  # each is counted once, however often it is met
        pixels, labels = images(folder)
        assert len(pixels) == 6 and labels.tolist() == [0] * 3 + [1] * 3
    assert list(folder.corrupt) == broken and len(told) == 3
    for line, path in zip(told, broken, strict=True):
        assert str(path) in line and "of 3 allowed" in line


def test_where_no_image_is_whole_there_is_nothing_to_measure(root):
    for path in root.glob("*/*"):
        path.write_bytes(b"")
    with pytest.raises(DataFileError, match="none of 9 images could be read"):
        data.statistics(ImageFolder(root, PLAIN, skip_corrupt=9, say=lambda line: None))


def test_grey_and_transparent_pictures_are_made_colour(root):
    Image.fromarray(smooth(0)[..., 0]).save(root / "cat" / "0.JPEG")
    Image.fromarray(np.dstack([smooth(1), smooth(1)[..., :1]])).save(root / "cat" / "1.png")
    Image.fromarray(np.dstack([smooth(2), smooth(2)[..., :1]]), "CMYK").save(root / "cat" / "2.JPEG")
    pixels, _ = images(ImageFolder(root, PLAIN))
    assert pixels.shape == (10, 3, 24, 24)
    assert np.array_equal(pixels[0, 0], pixels[0, 1])


@pytest.mark.parametrize(
    "options, message",
    [
        ({"size": 40, "resize": 32}, "crop of 40 must be positive and fit into a square of 32"),
        ({"augment": "zoom"}, "augment must be"),
        ({"crops": 5}, "crops must be 1 or 10"),
    ],
)
def test_views_that_can_not_be(options, message):
    with pytest.raises(ValueError, match=message):
        View(**options)


def test_a_reader_that_is_left_alone_ends(root):
    """Breaking off in the midst leaves no thread behind that decodes."""
    import threading

    before = threading.active_count()
    reader = data.batches(ImageFolder(root, PLAIN), 1)
    next(reader)
    assert threading.active_count() > before
    reader.close()
    assert threading.active_count() == before
