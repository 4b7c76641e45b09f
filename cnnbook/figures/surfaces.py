"""The error surfaces over two weights that the figures on optimisation share, and their still pictures."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from cnnbook.figures import picture

Point = NDArray[np.float64]

# Where a race starts: on the saddle almost on the ridge, so that plain descent is held up at the saddle point.
STARTS = {"valley": (-1.6, 1.0), "saddle": (-1.6, 1e-3), "plateau": (-1.5, 0.9)}
VIEW = {"x": (-2.0, 2.0), "y": (-1.5, 1.5)}
SURFACES: dict[str, tuple[Callable[[Point], float], Callable[[Point], Point]]] = {
    "valley": (lambda w: (w[0] ** 2 + 20 * w[1] ** 2) / 2, lambda w: w * np.array([1.0, 20.0])),
    "saddle": (
        lambda w: (w[0] ** 2 - w[1] ** 2) / 2 + w[1] ** 4 / 4,
        lambda w: np.array([w[0], w[1] ** 3 - w[1]]),
    ),
    "plateau": (lambda w: 1 - np.exp(-(w @ w) / 0.72), lambda w: w / 0.36 * np.exp(-(w @ w) / 0.72)),
}


def still(surface: str, tracks: Sequence[tuple[str, Sequence[Point]]], description: str) -> str:
    """Return the surface in shades of its error, with one track for each (colour, points)."""
    error, _ = SURFACES[surface]
    columns, rows = 40, 30
    x, y = np.linspace(*VIEW["x"], columns), np.linspace(*VIEW["y"][::-1], rows)
    values = np.array([[error(np.array([a, b])) for a in x] for b in y])
    bands = np.searchsorted(np.quantile(values, np.linspace(0, 1, 7)[1:-1]), values)
    shades = []
    for band in range(1, 6):
        runs = []
        for r, row in enumerate(bands == band):
            edges = np.flatnonzero(np.diff(np.concatenate([[0], row, [0]])))
            for start, end in zip(edges[::2], edges[1::2], strict=True):
                runs.append(f"M{16 + start} {1 + r}h{end - start}v1h{start - end}z")
        shades.append(f'<path d="{"".join(runs)}" fill="var(--plus)" opacity="{band / 6:.2f}"/>')
    lines = []
    for color, points in tracks:
        inside = [p for p in points if abs(p[0]) <= 2 and abs(p[1]) <= 1.5]
        d = "L".join(f"{360 + 100 * p[0]:.1f} {160 - 100 * p[1]:.1f}" for p in inside)
        lines.append(f'<path d="M{d}" fill="none" stroke="var(--{color})" stroke-width="2.5"/>')
    return picture.svg(
        720,
        340,
        description,
        '<g transform="scale(10)">',
        *shades,
        "</g>",
        *lines,
        picture.text(360, 332, description, anchor="middle", size=11),
    )
