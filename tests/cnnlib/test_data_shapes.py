"""The drawn shapes: the same from a seed, balanced, and what they promise to be."""

import hashlib

import numpy as np
import pytest

from cnnlib import data
from cnnlib.data import _shapes


@pytest.mark.parametrize("size", [32, 64])
def test_the_shapes_are_arrays_as_of_the_other_sets(size):
    raw, split = data.shapes(size, 60, 20, raw=True), data.shapes(size, 60, 20)
    for part, count in ((0, 60), (1, 20)):
        assert raw[part].images.shape == split[part].images.shape == (count, 3, size, size)
        assert raw[part].images.dtype == np.uint8 and split[part].images.dtype == np.float32
        assert split[part].labels.dtype == np.int64 and np.array_equal(raw[part].labels, split[part].labels)
        np.testing.assert_allclose(split[part].images, (raw[part].images - np.float32(108)) / 52, atol=1e-6)
    assert abs(split.train.images.mean()) < 0.2 and 0.7 < split.train.images.std() < 1.2


def test_a_seed_gives_the_same_pictures():
    one, same, other = (data.shapes(32, 50, 20, seed, raw=True) for seed in (3, 3, 4))
    for part in (0, 1):
        assert np.array_equal(one[part].images, same[part].images)
        assert np.array_equal(one[part].labels, same[part].labels)
        assert not np.array_equal(one[part].images, other[part].images)


def test_the_pictures_are_the_ones_that_results_were_made_with():
    """Labels byte by byte. Pixels up to rounding, which another processor's sines may change."""
    (images, labels), _ = data.shapes(32, 40, 10, raw=True)
    assert hashlib.sha256(labels.astype(np.uint8).tobytes()).hexdigest()[:16] == "b4da76fb714ce2d6"
    pixels = [[106, 80, 83], [181, 76, 30], [255, 225, 165], [140, 132, 93], [130, 228, 181]]
    np.testing.assert_allclose(images[::8, :, 16, 16].astype(int), pixels, atol=1)
    assert (images.mean(), images.std()) == pytest.approx((111.714, 49.943), abs=0.01)


def test_fewer_images_are_the_first_ones_of_more():
    """Across the parts that are drawn at once, and whatever the size of the other set."""
    few, many = data.shapes(16, 13, 10, raw=True), data.shapes(16, 2 * _shapes._AT_ONCE + 7, 30, raw=True)
    for part, count in ((0, 13), (1, 10)):
        assert np.array_equal(few[part].images, many[part].images[:count])
        assert np.array_equal(few[part].labels, many[part].labels[:count])


def test_another_size_shows_the_same_scenes():
    small, large = data.shapes(32, 20, 10), data.shapes(64, 20, 10)
    shrunk = large.train.images.reshape(20, 3, 32, 2, 32, 2).mean((3, 5))
    for one, two in zip(small.train.images, shrunk, strict=True):
        assert np.corrcoef(one.ravel(), two.ravel())[0, 1] > 0.85


def test_each_class_is_as_frequent_as_the_others():
    train, test = data.shapes(16, 1000, 105)
    assert np.bincount(train.labels).tolist() == [100] * 10
    assert sorted(np.bincount(test.labels).tolist()) == [10] * 5 + [11] * 5
    assert all(sorted(ten) == list(range(10)) for ten in train.labels.reshape(-1, 10).tolist())


def test_no_picture_is_in_both_sets():
    train, test = data.shapes(16, 300, 300, raw=True)
    pictures = {image.tobytes() for part in (train, test) for image in part.images}
    assert len(pictures) == 600


def masks(size=64):
    """Each shape, ten times as large as its soft edge."""
    axis = np.linspace(-1.2, 1.2, size, dtype=np.float32)
    u, v = axis[None, None, :], -axis[None, :, None]
    return np.stack([(depth(*np.broadcast_arrays(u, v)) > 0)[0] for depth in _shapes._DEPTHS])


def test_the_shapes_differ_and_are_whole():
    """No shape covers another at any quarter turn, and none leaves the circle that is kept inside the picture."""
    drawn = masks()
    axis = np.linspace(-1.2, 1.2, 64)
    outside = np.hypot(axis[None, :], axis[:, None]) > 1.1
    assert len(drawn) == len(data.SHAPES) == len(set(data.SHAPES)) == 10
    for k, one in enumerate(drawn):
        assert 150 < one.sum() < 2500 and not (one & outside).any(), data.SHAPES[k]
        for other in drawn[k + 1 :]:
            for turned in (np.rot90(other, quarter) for quarter in range(4)):
                assert (one & turned).sum() / (one | turned).sum() < 0.85, data.SHAPES[k]


def test_a_class_is_where_its_label_says():
    """Without noise, the brightest change between two scenes that differ by the class only is their shapes'."""
    scenes = np.full((10, _shapes._NUMBERS), 0.7, np.float32)

    class Silent:
        def standard_normal(self, shape, dtype):
            return np.zeros(shape, dtype)

    pictures = _shapes._render(np.arange(10), scenes, 64, Silent())
    differ = abs(pictures[:, None] - pictures[None]).max((2, 3, 4))
    assert (differ + 1000 * np.eye(10)).min() > 50


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"size": 8}, "size must be at least 16, not 8"),
        ({"train": 0}, "at least 1, not 0 and 2000"),
        ({"test": -1}, "at least 1, not 10000 and -1"),
        ({"seed": -1}, "seed must be 0 or more, not -1"),
    ],
)
def test_what_can_not_be_drawn(arguments, message):
    with pytest.raises(ValueError, match=message):
        data.shapes(**arguments)


@pytest.mark.slow
def test_a_linear_model_fails():
    """By least squares on all pixels: little better than guessing."""
    train, test = data.shapes(32, 4000, 1000)
    x = train.images[:, :, ::2, ::2].reshape(len(train.labels), -1)
    weights = np.linalg.solve(
        x.T @ x + 1e3 * np.eye(x.shape[1], dtype="f4"), x.T @ np.eye(10, dtype="f4")[train.labels]
    )
    guesses = (test.images[:, :, ::2, ::2].reshape(len(test.labels), -1) @ weights).argmax(1)
    assert (guesses == test.labels).mean() < 0.25
