"""A race of optimisers on a surface over two weights."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from cnnbook.figures import surfaces
from cnnbook.figures.live_figure import LiveFigure, check_range

RULES = ("SGD", "Momentum", "Nesterov", "Adagrad", "RMSprop", "Adam")
LIMITS = {"factor": (1 / 16, 8), "step": (0, 200)}


def _check(state: dict[str, Any]) -> None:
    check_range(state, LIMITS)
    if state["surface"] not in surfaces.SURFACES:
        raise ValueError(f"surface must be one of {', '.join(surfaces.SURFACES)}; got {state['surface']!r}")
    unknown = set(state["chosen"]) - set(RULES)
    if unknown:
        raise ValueError(f"chosen may hold {', '.join(RULES)}; got {', '.join(sorted(unknown))}")
    if len(state["start"]) != 2 or not (abs(state["start"][0]) <= 2 and abs(state["start"][1]) <= 1.5):
        raise ValueError(f"start must be (x, y) with x in -2..2 and y in -1.5..1.5; got {state['start']}")


def optimizers(
    surface: str = "valley",
    *,
    chosen: Sequence[str] = RULES,
    start: tuple[float, float] | None = None,
    factor: float = 1.0,
    step: int = 60,
) -> LiveFigure:
    """Return the figure in which optimisers race from the same start.

    Parameters
    ----------
    surface
        "valley" (curvatures 1 and 20), "saddle" (minima at y = 1 and -1) or "plateau" (a hole in a flat plane).
    chosen
        Which of SGD, Momentum, Nesterov, Adagrad, RMSprop, Adam run.
    start
        (x, y); None for the surface's own, which on the saddle is almost on the ridge.
    factor
        Multiplies every rule's learning rate.
    step
        How many steps are shown first, up to 200.
    """
    if start is None:
        start = surfaces.STARTS.get(surface, (0, 0))  # the check below refuses any other surface
    state = {
        "surface": surface,
        "factor": float(factor),
        "start": [float(at) for at in start],
        "step": step,
        "chosen": list(chosen),
    }
    _check(state)
    description = (
        f"{len(state['chosen'])} optimisers on the {surface}, all from ({start[0]:g}, {start[1]:g}), "
        f"after {step} steps; plain gradient descent is drawn."
    )
    _, gradient = surfaces.SURFACES[surface]
    track = [np.array(state["start"])]
    for _ in range(step):
        track.append(track[-1] - 0.04 * factor * gradient(track[-1]))
    still = surfaces.still(surface, [("hue-1", track)], description)
    return LiveFigure("optimizers", state, description, still, _check)
