"""A pad to draw digits on, which a LeNet reads."""

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cnnbook.figures import picture
from cnnbook.figures.live_figure import LiveFigure
from cnnlib import functional

Stroke = list[list[float]]

SHAPES = {
    "C1.weight": (6, 1, 5, 5),
    "C1.bias": (6,),
    "C3.weight": (16, 6, 5, 5),
    "C3.bias": (16,),
    "C5.weight": (120, 16, 5, 5),
    "C5.bias": (120,),
    "F6.weight": (84, 120),
    "F6.bias": (84,),
    "output.weight": (10, 84),
    "output.bias": (10,),
}
_PEN = 1.25  # radius in pixels of the 28x28 image


def _arc(x: float, y: float, rx: float, ry: float, start: int, end: int) -> Stroke:
    """Return part of an ellipse around (x, y); angles in degrees, clockwise from the right."""
    angles = np.deg2rad(np.linspace(start, end, 3 + abs(end - start) // 15))
    return np.stack([x + rx * np.cos(angles), y + ry * np.sin(angles)], 1).round(3).tolist()


EXAMPLES: list[list[Stroke]] = [
    [_arc(0.5, 0.5, 0.22, 0.36, -90, 270)],
    [[[0.52, 0.14], [0.5, 0.5], [0.48, 0.86]]],
    [[*_arc(0.48, 0.34, 0.2, 0.2, -170, 20), [0.5, 0.65], [0.28, 0.86], [0.74, 0.84]]],
    [[*_arc(0.46, 0.32, 0.2, 0.18, -150, 90), *_arc(0.46, 0.68, 0.23, 0.19, -90, 150)]],
    [[[0.36, 0.16], [0.3, 0.54], [0.7, 0.5]], [[0.66, 0.2], [0.6, 0.88]]],
    [[[0.7, 0.15], [0.38, 0.17], [0.35, 0.45], *_arc(0.46, 0.64, 0.22, 0.22, -80, 130)]],
    [[[0.62, 0.12], [0.42, 0.36], *_arc(0.48, 0.66, 0.19, 0.2, 180, -180)]],
    [[[0.28, 0.18], [0.72, 0.16], [0.58, 0.48], [0.46, 0.88]]],
    [[*_arc(0.5, 0.32, 0.17, 0.17, 90, -270), *_arc(0.5, 0.68, 0.2, 0.19, -90, 270)]],
    [[*_arc(0.48, 0.34, 0.19, 0.19, 0, -350), [0.66, 0.4], [0.6, 0.88]]],
]


def rasterise(strokes: list[Stroke]) -> NDArray[np.float64]:
    """Return the strokes, lists of (x, y) in the unit square, as LeNet's image (32, 32) from -0.1 to 1.175.

    As in MNIST the drawing fills a box of 20 pixels, and its centre of mass lies in the middle of 28x28.
    """
    wide = np.full((32, 32), -0.1)
    if not strokes:
        return wide
    points = [np.array(stroke, dtype=float) for stroke in strokes]
    low, high = np.concatenate(points).min(0), np.concatenate(points).max(0)
    scale = min((20 - 2 * _PEN) / max((high - low).max(), 1e-9), 200)
    points = [(stroke - (low + high) / 2) * scale + 13.5 for stroke in points]
    grid = np.stack(np.meshgrid(np.arange(28), np.arange(28)), -1).astype(float)  # (28, 28, (x, y))

    def ink(shift: NDArray[np.float64]) -> NDArray[np.float64]:
        nearest = np.full((28, 28), np.inf)
        for stroke in points:
            for a, b in zip(stroke, [*stroke[1:], stroke[-1]], strict=True):
                along = b - a
                length = along @ along
                share = np.clip((grid - a - shift) @ along / length, 0, 1) if length else np.zeros((28, 28))
                away = np.linalg.norm(grid - a - shift - share[..., None] * along, axis=-1)
                nearest = np.minimum(nearest, away)
        return np.clip(_PEN + 0.5 - nearest, 0, 1)

    first = ink(np.zeros(2))
    centre = (first[..., None] * grid).sum((0, 1)) / first.sum()
    wide[2:30, 2:30] = -0.1 + 1.275 * ink(13.5 - centre)
    return wide


def _probabilities(image: NDArray[np.float64], w: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    x = image[None, None]
    for name, pooled in (("C1", True), ("C3", True), ("C5", False)):
        x, _ = functional.conv2d(x, w[f"{name}.weight"], w[f"{name}.bias"])
        x, _ = functional.tanh(x)
        if pooled:
            x, _ = functional.avg_pool2d(x, 2)
    x, _ = functional.linear(x.reshape(1, 120), w["F6.weight"], w["F6.bias"])
    x, _ = functional.linear(functional.tanh(x)[0], w["output.weight"], w["output.bias"])
    return np.exp(functional.log_softmax(x)[0])[0]


def _check(state: dict[str, Any]) -> None:
    for stroke in state["strokes"]:
        points = np.asarray(stroke, dtype=float)
        if points.ndim != 2 or points.shape[1] != 2 or not ((points >= 0) & (points <= 1)).all():
            raise ValueError("strokes must be lists of (x, y) with both from 0 to 1, the top left corner being (0, 0)")


def sketchpad(weights: Mapping[str, ArrayLike], strokes: list[Stroke] | None = None) -> LiveFigure:
    """Return the figure in which a digit is drawn, and a LeNet reads it in the page, all of its maps shown.

    Parameters
    ----------
    weights
        ``state_dict()`` of a trained ``models.lenet()`` on any engine (on the CPU). The page carries them rounded to
        16 bits, 165 kB.
    strokes
        The first drawing: lists of (x, y) in the unit square; a 3 if left out.

    Raises
    ------
    ValueError
        If the weights are not those of the modern LeNet for 10 classes.
    """
    shapes = {name: tuple(np.shape(value)) for name, value in weights.items()}
    if shapes != SHAPES:
        wrong = sorted(name for name in shapes.keys() | SHAPES.keys() if shapes.get(name) != SHAPES.get(name))
        raise ValueError(
            "the sketch pad runs the modern LeNet for 10 classes, models.lenet(); these weights differ: "
            + ", ".join(f"{name} {shapes.get(name, 'missing')}" for name in wrong)
        )
    rounded = {name: np.asarray(value).astype("<f2") for name, value in weights.items()}
    state = {
        "weights": {name: base64.b64encode(value.tobytes()).decode() for name, value in rounded.items()},
        "examples": EXAMPLES,
        "strokes": EXAMPLES[3] if strokes is None else strokes,
    }
    _check(state)
    chances = _probabilities(
        rasterise(state["strokes"]), {name: value.astype(float) for name, value in rounded.items()}
    )
    best = int(chances.argmax())
    description = f"A drawn digit, which LeNet reads as {best} with probability {picture.number(float(chances[best]))}."
    lines = "".join("M" + "L".join(f"{40 + 200 * x:.1f} {10 + 200 * y:.1f}" for x, y in s) for s in state["strokes"])
    parts = [f'<path d="{lines}" fill="none" stroke="var(--ink)" stroke-width="14" stroke-linecap="round"/>']
    for digit, chance in enumerate(chances):
        y = 10 + 20 * digit
        parts += [
            picture.text(320, y + 13, str(digit)),
            picture.box(340, y, max(1, 300 * chance), 14, fill="hue-2" if digit == best else "hue-1"),
        ]
    return LiveFigure("sketchpad", state, description, picture.svg(720, 220, description, *parts), _check)
