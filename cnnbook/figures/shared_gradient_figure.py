"""The gradient of a shared weight, taken apart."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from cnnbook.figures import picture
from cnnbook.figures.live_figure import LiveFigure, check_range
from cnnlib import functional

LIMITS = {"kernel": (1, 4), "stride": (1, 3), "padding": (0, 2)}

INPUT = [
    [1, 0, 2, 1, 0],
    [0, 3, 1, 0, 2],
    [2, 1, 0, 3, 1],
    [1, 0, 2, 1, 0],
    [0, 2, 1, 0, 3],
]
GRADIENT = [[1, 0, -1], [2, 1, 0], [0, -1, 1]]


def _check(state: dict[str, Any]) -> None:
    check_range(state, LIMITS)
    x, dy = (np.asarray(state[name], dtype=float) for name in ("input", "gradient"))
    if x.ndim != 2 or x.shape[0] != x.shape[1] or not 4 <= x.shape[0] <= 9:
        raise ValueError(f"input must be (N, N) with N from 4 to 9; got {x.shape}")
    count = functional.conv_output_size(x.shape[0], state["kernel"], state["stride"], state["padding"])
    if dy.shape != (count, count):
        raise ValueError(
            f"gradient must have the output's shape: a {state['kernel']}x{state['kernel']} kernel with stride "
            f"{state['stride']} and padding {state['padding']} gives {(count, count)}; got {dy.shape}"
        )
    if not (np.isfinite(x).all() and np.isfinite(dy).all()):
        raise ValueError("input and gradient must hold finite numbers")
    for name, end in (("weight", state["kernel"]), ("place", count)):
        if len(state[name]) != 2 or not all(0 <= at < end for at in state[name]):
            raise ValueError(f"{name} must be [row, column] from 0 to {end - 1}; got {state[name]}")


def shared_gradient(
    input: ArrayLike | None = None,
    gradient: ArrayLike | None = None,
    *,
    kernel: int = 3,
    stride: int = 1,
    padding: int = 0,
    weight: tuple[int, int] = (0, 0),
    place: tuple[int, int] = (0, 0),
) -> LiveFigure:
    """Return the figure that shows what every output position adds to the gradient of one weight of a convolution.

    Parameters
    ----------
    input
        x, (N, N), N from 4 to 9; a 5x5 example if left out.
    gradient
        dy, (M, M), the loss's gradient at the outputs; an example, or ones, if left out.
    kernel, stride, padding
        As in :func:`cnnlib.functional.conv2d`; the gradient does not depend on the weights themselves.
    weight, place
        (row, column) of the weight and of the output position that are shown first.
    """
    x = np.asarray(INPUT if input is None else input)
    count = functional.conv_output_size(x.shape[0] if x.ndim else 0, kernel, stride, padding)
    example = GRADIENT if input is None and count == len(GRADIENT) else np.ones((count, count), dtype=int)
    state = {
        "input": x.tolist(),
        "gradient": np.asarray(example if gradient is None else gradient).tolist(),
        "kernel": kernel,
        "stride": stride,
        "padding": padding,
        "weight": list(weight),
        "place": list(place),
    }
    _check(state)
    dy = np.asarray(state["gradient"], dtype=float)
    _, cache = functional.conv2d(
        x[None, None].astype(float), np.zeros((1, 1, kernel, kernel)), stride=stride, padding=padding
    )
    _, dw, _ = functional.conv2d_backward(dy[None, None], cache)
    i, j = weight
    description = (
        f"The gradient of the weight in row {i + 1}, column {j + 1} is {picture.number(dw[0, 0, i, j])}: the sum of "
        f"what each of the {dy.size} output positions sends back."
    )
    met = {(r * stride + i - padding, c * stride + j - padding) for r in range(count) for c in range(count)}
    met = {(r, c) for r, c in met if 0 <= r < x.shape[0] and 0 <= c < x.shape[1]}
    parts, left = [], 20.0
    for title, values, marked in (("Input x", x, met), ("dy", dy, set()), ("dw, summed", dw[0, 0], {(i, j)})):
        parts += [picture.text(left, 24, title), picture.numbers(left, 34, 34, values.tolist(), marked)]
        left += 34 * len(values) + 30
    still = picture.svg(max(720, left), 50 + 34 * x.shape[0], description, *parts)
    return LiveFigure("shared_gradient", state, description, still, _check)
