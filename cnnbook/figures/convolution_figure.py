"""Convolution, one output at a time."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from cnnbook.figures import picture
from cnnbook.figures.live_figure import LiveFigure, check_range
from cnnlib import functional

# The reach of the figure's controls. Geometry that does not fit is no error here: the figure explains it.
LIMITS = {"size": (1, 11), "kernel": (1, 5), "stride": (1, 4), "padding": (0, 3), "dilation": (1, 3)}

INPUT = [
    [0, 0, 3, 2, 2, 1, 1],
    [0, 2, 2, 1, 0, 3, 2],
    [0, 1, 1, 2, 1, 3, 0],
    [3, 0, 0, 0, 1, 2, 3],
    [0, 3, 2, 2, 2, 3, 2],
    [3, 3, 0, 0, 1, 1, 0],
    [0, 3, 1, 1, 1, 3, 2],
]
KERNEL = [[-1, 0, 1]] * 3


def _planes(values: ArrayLike, name: str) -> list[list[list[float]]]:
    array = np.asarray(values)
    array = array[None] if array.ndim == 2 else array
    low, high = LIMITS["size" if name == "input" else "kernel"]
    if array.ndim != 3 or array.shape[1] != array.shape[2] or not low <= array.shape[1] <= high:
        raise ValueError(
            f"{name} must be (W, W) or (C, W, W) with W from {low} to {high}, so that the figure fits a page; "
            f"got {np.shape(values)}"
        )
    if array.shape[0] not in (1, 3):
        raise ValueError(f"{name} must have 1 or 3 channels; got {array.shape[0]}")
    if not np.isfinite(array.astype(float)).all():
        raise ValueError(f"{name} must hold finite numbers")
    return array.tolist()


def _check(state: dict[str, Any]) -> None:
    shapes = {name: np.shape(_planes(state[name], name)) for name in ("input", "kernel")}
    if shapes["input"][0] != shapes["kernel"][0]:
        raise ValueError(
            f"a kernel is full in depth: it needs as many channels as the input; got {shapes['kernel'][0]} for the "
            f"kernel and {shapes['input'][0]} for the input"
        )
    check_range(state, {name: LIMITS[name] for name in ("stride", "padding", "dilation")})
    if len(state["position"]) != 2 or min(state["position"]) < 0:
        raise ValueError(f"position must be the output's [row, column], from 0; got {state['position']}")


def convolution(
    input: ArrayLike | None = None,
    kernel: ArrayLike | None = None,
    *,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    position: tuple[int, int] = (0, 0),
) -> LiveFigure:
    """Return the figure in which a kernel slides over an input and each output's sum is written out.

    Parameters
    ----------
    input
        (W, W) or (C, W, W) numbers, C 1 or 3, W up to 11; a 7x7 example if left out.
    kernel
        (F, F) or (C, F, F) numbers, F up to 5; vertical edges if left out.
    stride, padding, dilation
        As in :func:`cnnlib.functional.conv2d`, the same for both axes.
    position
        (row, column) of the output that is shown first.

    Raises
    ------
    ValueError
        For a shape or value beyond what the figure can draw. A kernel that does not fit is drawn with the reason.
    """
    state = {
        "input": _planes(INPUT if input is None else input, "input"),
        "kernel": _planes(KERNEL if kernel is None else kernel, "kernel"),
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
        "position": list(position),
    }
    _check(state)
    return LiveFigure("convolution", state, *_still(state), _check)


def _still(state: dict[str, Any]) -> tuple[str, str]:
    """Return the description and the picture of the first channel."""
    stride, padding, dilation = (state[name] for name in ("stride", "padding", "dilation"))
    x = np.pad(np.asarray(state["input"], dtype=float), ((0, 0), (padding, padding), (padding, padding)))
    kernel = np.asarray(state["kernel"], dtype=float)
    span = dilation * (kernel.shape[1] - 1) + 1
    geometry = (
        f"A {kernel.shape[1]}\u00d7{kernel.shape[1]} kernel with stride {stride}, padding {padding} and dilation "
        f"{dilation} slides over a {x.shape[1] - 2 * padding}\u00d7{x.shape[1] - 2 * padding} input"
    )
    if span > x.shape[1]:
        description = f"{geometry}: it does not fit, it spans {span} rows and the padded input has {x.shape[1]}."
        words = picture.text(360, 36, description, anchor="middle", size=12)
        return description, picture.svg(720, 60, description, words)
    y, _ = functional.conv2d(x[None], kernel[None], stride=stride, dilation=dilation)
    y = y[0, 0]
    row, col = (min(at, y.shape[0] - 1) for at in state["position"])
    description = (
        f"{geometry}. The output is {y.shape[0]}\u00d7{y.shape[0]}; at row {row + 1}, column {col + 1} the products "
        f"add up to {picture.number(y[row, col])}."
    )
    taps = range(kernel.shape[1])
    window = {(row * stride + i * dilation, col * stride + j * dilation) for i in taps for j in taps}
    cell = min(34.0, 640 / (x.shape[1] + kernel.shape[1] + y.shape[0]))
    parts, left = [], 20.0
    for title, values, marked in (
        ("Input", x[0].tolist(), window),
        ("Kernel", kernel[0].tolist(), {(i, j) for i in taps for j in taps}),
        ("Output", y.tolist(), {(row, col)}),
    ):
        parts += [picture.text(left, 24, title), picture.numbers(left, 34, cell, values, marked)]
        left += cell * len(values) + 22
    return description, picture.svg(720, 50 + cell * x.shape[1], description, *parts)
