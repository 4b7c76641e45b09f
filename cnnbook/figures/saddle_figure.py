"""A walk over a saddle."""

import math
from typing import Any

import numpy as np

from cnnbook.figures import surfaces
from cnnbook.figures.live_figure import LiveFigure, check_range

LIMITS = {"offset": (1e-16, 0.1), "rate": (0.05, 0.5), "noise": (0, 1), "step": (0, 400)}


def _check(state: dict[str, Any]) -> None:
    check_range(state, LIMITS)


def saddle(offset: float = 1e-6, *, rate: float = 0.1, noise: float = 0.0, step: int = 100) -> LiveFigure:
    """Return the figure in which gradient descent starts almost on a saddle's ridge.

    Parameters
    ----------
    offset
        How far off the ridge the walk starts, a power of ten from 1e-16 to 0.1.
    rate
        Learning rate.
    noise
        Size of uniform noise that is added to each gradient; 0, or a power of ten from 1e-8 to 1.
    step
        The step that is marked first, up to 400.
    """
    state = {"offset": float(offset), "rate": float(rate), "noise": float(noise), "step": step}
    _check(state)
    _, gradient = surfaces.SURFACES["saddle"]
    track = [np.array([-1.5, offset])]
    for _ in range(step):
        track.append(track[-1] - rate * gradient(track[-1]))
    wait = round(math.log(0.5 / offset) / math.log(1 + rate))
    description = (
        f"Gradient descent starts {offset:g} off the ridge of a saddle; without noise it leaves after about "
        f"{wait} steps."
    )
    return LiveFigure("saddle", state, description, surfaces.still("saddle", [("hue-1", track)], description), _check)
