"""Pooling under a shifted input."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from cnnbook.figures import picture
from cnnbook.figures.live_figure import LiveFigure, check_range
from cnnlib import functional

LIMITS = {"window": (1, 4), "stride": (1, 4), "down": (-3, 3), "right": (-3, 3)}
KINDS = ("max", "average", "none")

# A response map with one strong and one weak spot: what a detector puts out around what it looks for.
INPUT = [
    [0, 0, 0, 0, 0, 0, 0, 0],
    [0, 1, 2, 1, 0, 0, 0, 0],
    [0, 2, 9, 4, 1, 0, 0, 0],
    [0, 1, 4, 3, 0, 0, 0, 0],
    [0, 0, 1, 0, 0, 1, 1, 0],
    [0, 0, 0, 0, 1, 5, 2, 0],
    [0, 0, 0, 0, 1, 2, 1, 0],
    [0, 0, 0, 0, 0, 0, 0, 0],
]


def _check(state: dict[str, Any]) -> None:
    check_range(state, LIMITS)
    if state["kind"] not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}; got {state['kind']!r}")
    image = np.asarray(state["input"], dtype=float)
    if image.ndim != 2 or image.shape[0] != image.shape[1] or not 4 <= image.shape[0] <= 12:
        raise ValueError(f"input must be (N, N) with N from 4 to 12, so that every window fits; got {image.shape}")
    if not (np.isfinite(image).all() and (image >= 0).all()):
        raise ValueError("input must hold finite numbers of at least 0, as after a ReLU")


def pooling(
    input: ArrayLike | None = None,
    kind: str = "max",
    *,
    window: int = 2,
    stride: int = 2,
    down: int = 0,
    right: int = 1,
) -> LiveFigure:
    """Return the figure in which the input is shifted, and the numbers that change before and after pooling are marked.

    Parameters
    ----------
    input
        (N, N) numbers of at least 0, N from 4 to 12; two spots if left out.
    kind
        "max", "average" or "none".
    window, stride
        Of the pooling, from 1 to 4; no padding.
    down, right
        The first shift in pixels, from -3 to 3; zeros come in from outside.
    """
    state = {
        "input": np.asarray(INPUT if input is None else input).tolist(),
        "kind": kind,
        "window": window,
        "stride": stride,
        "down": down,
        "right": right,
    }
    _check(state)
    x = np.asarray(state["input"], dtype=float)
    height, width = x.shape
    moved = np.zeros_like(x)
    moved[max(0, down) : height + min(0, down), max(0, right) : width + min(0, right)] = x[
        max(0, -down) : height - max(0, down), max(0, -right) : width - max(0, right)
    ]
    pool = {
        "max": lambda image: functional.max_pool2d(image[None, None], window, stride)[0][0, 0],
        "average": lambda image: functional.avg_pool2d(image[None, None], window, stride)[0][0, 0],
        "none": lambda image: image,
    }[kind]
    before, after = pool(x), pool(moved)
    description = (
        f"The input moves by {down} down and {right} right, which changes {int((moved != x).sum())} of its {x.size} "
        f"numbers; after {kind} pooling {int((after != before).sum())} of {after.size} differ."
    )
    parts, left = [], 20.0
    for title, values, other in (("Input, shifted", moved, x), ("Pooled", after, before), ("Without", before, before)):
        changed = {(int(r), int(c)) for r, c in np.argwhere(values != other)}
        parts += [picture.text(left, 24, title), picture.numbers(left, 34, 28, values.tolist(), changed)]
        left += 28 * len(values) + 24
    still = picture.svg(max(720, left), 50 + 28 * height, description, *parts)
    return LiveFigure("pooling", state, description, still, _check)
