"""Gradient descent on a quadratic, by its learning rate."""

from typing import Any

from cnnbook.figures import picture
from cnnbook.figures.live_figure import LiveFigure, check_range

LIMITS = {"rate": (0, 2.5), "curvature": (0.5, 4), "start": (-2, 2)}


def _check(state: dict[str, Any]) -> None:
    check_range(state, LIMITS)


def learning_rate(rate: float = 0.3, *, curvature: float = 1.0, start: float = -1.8) -> LiveFigure:
    """Return the figure in which the learning rate is dragged past 1/curvature and 2/curvature.

    Parameters
    ----------
    rate
        From 0 to 2.5.
    curvature
        Second derivative of the error, from 0.5 to 4.
    start
        Where descent begins, from -2 to 2; the minimum is at 0.
    """
    state = {"rate": float(rate), "curvature": float(curvature), "start": float(start)}
    _check(state)
    factor = 1 - rate * curvature
    fate = "diverges" if factor < -1 else "never ends" if abs(factor) == 1 else "converges"
    description = (
        f"Gradient descent on a parabola of curvature {picture.number(curvature)} with learning rate "
        f"{picture.number(rate)} {fate}: each step multiplies w by {picture.number(factor)}."
    )

    def place(w: float) -> str:
        return f"{360 + 130 * w:.1f} {260 - 36 * w * w:.1f}"

    steps = [w for w in (start * factor**step for step in range(12)) if abs(w) <= 2.6]
    bowl = "L".join(place(-2.6 + 0.1 * step) for step in range(53))
    walk = "L".join(place(w) for w in steps)
    still = picture.svg(
        720,
        290,
        description,
        f'<path d="M{bowl}" fill="none" stroke="var(--hue-1)" stroke-width="2"/>',
        f'<path d="M{walk}" fill="none" stroke="var(--mark)" stroke-width="2"/>',
        picture.text(360, 284, description, anchor="middle", size=12),
    )
    return LiveFigure("learning_rate", state, description, still, _check)
