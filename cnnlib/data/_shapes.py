"""Ten shapes in random poses, colours and light over textures: made here, as many as are wanted."""

from collections.abc import Callable

import numpy as np

from cnnlib.data._batches import Dataset, DataSplit

SHAPES = ("disc", "ring", "half disc", "crescent", "triangle", "square", "star", "cross", "heart", "arrow")

SHAPES_MEAN, SHAPES_STD = 108.0, 52.0
"""What is subtracted from the pixels 0 to 255 and what they are divided by: about their mean and deviation."""

_AT_ONCE = 250
_NUMBERS = 44  # that an image is drawn from


def shapes(size: int = 32, train: int = 10_000, test: int = 2_000, seed: int = 0, raw: bool = False) -> DataSplit:
    """Return `train` + `test` colour pictures of `size` x `size` pixels, each with one of the ten `SHAPES`.

    A shape is turned by up to half a radian, stretched a little, and lies anywhere in full view; its radius is 1/5 to
    3/8 of the picture. It is lighter than the ground; apart from that its colour and texture say nothing of its class,
    nor do the ground's, two bars behind the shape, the direction of the light, or the noise in each pixel.

    Images are float32 (N, 3, size, size) with mean about 0 and variance about 1, with `raw` uint8, 0 to 255; labels are
    int64 (N,), numbers in `SHAPES`. Every ten images in turn have one of each class. The same `seed` gives the same
    pictures: fewer images are the first ones of more, and another size shows the same scenes with other noise.

    Raises ValueError for a size below 16, fewer than one image, or a negative seed.
    """
    if size < 16:
        raise ValueError(f"shapes can't be told apart below 16x16 pixels: size must be at least 16, not {size}")
    if train < 1 or test < 1:
        raise ValueError(f"train and test are numbers of images, at least 1, not {train} and {test}")
    if seed < 0:
        raise ValueError(f"seed must be 0 or more, not {seed}")
    parts = np.random.default_rng(seed).spawn(2)
    return DataSplit(*(_draw(count, size, rng, raw) for count, rng in zip((train, test), parts, strict=True)))


def _draw(count: int, size: int, rng: np.random.Generator, raw: bool) -> Dataset:
    of_classes, of_scenes, of_noise = rng.spawn(3)
    labels = of_classes.permuted(np.tile(np.arange(10), (-(-count // 10), 1)), axis=1).ravel()[:count]
    scenes = of_scenes.random((count, _NUMBERS), dtype=np.float32)
    images = np.empty((count, 3, size, size), np.uint8 if raw else np.float32)
    for start in range(0, count, _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        pixels = _render(labels[part], scenes[part], size, of_noise).round().clip(0, 255)
        images[part] = pixels if raw else (pixels - SHAPES_MEAN) / SHAPES_STD
    return Dataset(images, labels)


def _render(labels: np.ndarray, scenes: np.ndarray, size: int, noise: np.random.Generator) -> np.ndarray:
    """Return pictures (N, 3, size, size) of 0 to 255, from the numbers of each scene, which are uniform in 0 to 1."""
    drawn = iter(scenes.T[..., None, None])  # each (N, 1, 1)

    def between(low: float, high: float) -> np.ndarray:
        return low + (high - low) * next(drawn)

    def colour(low: float, high: float) -> np.ndarray:
        return np.stack([between(low, high) for _ in range(3)], 1)  # (N, 3, 1, 1)

    axis = (np.arange(size, dtype=np.float32) + 0.5) * np.float32(2 / size) - 1
    x, y = axis[None, None, :], axis[None, :, None]  # the picture is -1 to 1

    def waves() -> np.ndarray:
        """Stripes of any direction and length, (N, size, size)."""
        angle, number, phase = between(0, np.pi), between(4, 14), between(0, 2 * np.pi)
        return np.sin(number * (np.cos(angle) * x + np.sin(angle) * y) + phase)

    # background: a colour, two textures, two bars
    ground = colour(40, 140)
    picture = ground + colour(-22, 22) * waves()[:, None] + colour(-22, 22) * waves()[:, None]
    for _ in range(2):
        angle, place, half = between(0, 2 * np.pi), between(-0.8, 0.8), between(0.04, 0.12)
        inside = _cover(half - abs(np.cos(angle) * x + np.sin(angle) * y - place), size)
        picture += inside[:, None] * (colour(20, 220) - picture)

    # the shape: first where it is, in its own coordinates u, v
    radius, angle, stretch = between(0.4, 0.75), between(-0.5, 0.5), between(-0.15, 0.15)
    u, v = x - between(-1, 1) * (1 - radius) * 0.95, y - between(-1, 1) * (1 - radius) * 0.95
    cos, sin = np.cos(angle), np.sin(angle)
    u, v = (cos * u + sin * v) / radius * np.exp(stretch), (cos * v - sin * u) / radius * np.exp(-stretch)
    inside = np.empty(u.shape, np.float32)
    for k, depth in enumerate(_DEPTHS):
        those = labels == k
        inside[those] = _cover(depth(u[those], v[those]) * radius[those], size)
    # then what it looks like: a colour that differs from the ground's, one texture
    away = colour(0.1, 1)
    away *= between(70, 120)[:, None] / np.sqrt((away**2).mean(1, keepdims=True))
    figure = (ground + away).clip(10, 245) + colour(-25, 25) * waves()[:, None]
    picture += inside[:, None] * (figure - picture)

    # light from one side, and noise
    angle, strength = between(0, 2 * np.pi), between(0, 0.45)
    picture *= (1 + strength * (np.cos(angle) * x + np.sin(angle) * y))[:, None]
    return picture + 10 * noise.standard_normal(picture.shape, dtype=np.float32)


def _cover(depth: np.ndarray, size: int) -> np.ndarray:
    """Return how much of a pixel is inside, from its centre's distance to the edge: the edges are a pixel soft."""
    return (depth * (size / 2) + 0.5).clip(0, 1)


# How deep a point lies inside each shape, negative outside: about the distance from the edge, for a shape of radius 1.


def _disc(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return 0.9 - np.hypot(u, v)


def _ring(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return 0.22 - abs(np.hypot(u, v) - 0.73)


def _half_disc(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.minimum(1 - np.hypot(u, v + 0.4), v + 0.4)


def _crescent(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.minimum(1 - np.hypot(u, v), np.hypot(u - 0.5, v) - 0.8)


def _triangle(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return 0.5 - np.maximum(-v, abs(u) * np.float32(np.sqrt(0.75)) + v / 2)


def _square(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return 0.72 - np.maximum(abs(u), abs(v))


def _star(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Five tips at radius 1 and five notches at 0.42; all edges are the same one after turning and mirroring."""
    sector = np.float32(2 * np.pi / 5)
    angle = abs((np.arctan2(v, u) + sector / 2) % sector - sector / 2)
    r, notch = np.hypot(u, v), 0.42 * np.exp(0.5j * sector)  # the edge runs from 1 to here
    along = (notch - 1) / abs(notch - 1)
    return -((r * np.cos(angle) - 1) * np.float32(along.imag) - r * np.sin(angle) * np.float32(along.real))


def _cross(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.maximum(
        np.minimum(0.27 - abs(u), 0.93 - abs(v)),
        np.minimum(0.27 - abs(v), 0.93 - abs(u)),
    )


def _heart(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return 0.5 * (0.9 - np.sqrt(u**2 + (1.15 * (v + 0.25) - 0.75 * np.sqrt(abs(u))) ** 2))


def _arrow(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    shaft = np.minimum(0.17 - abs(u), np.minimum(v + 0.95, 0.3 - v))
    head = np.minimum(v, (0.95 - v - 1.35 * abs(u)) / np.float32(np.hypot(1, 1.35)))
    return np.maximum(shaft, head)


_DEPTHS: tuple[Callable[[np.ndarray, np.ndarray], np.ndarray], ...] = (
    _disc,
    _ring,
    _half_disc,
    _crescent,
    _triangle,
    _square,
    _star,
    _cross,
    _heart,
    _arrow,
)
