"""A simple and a complex cell."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnbook.figures import picture
from cnnbook.figures.live_figure import LiveFigure, check_range

SIDE, WAVE, WIDTH = 31, 8.0, 4.5
LIMITS = {"angle": (0, 180), "shift": (-1, 1), "preferred": (0, 180)}
KINDS = ("stripes", "bar")


def _across(angle: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return each pixel's coordinates across and along stripes at the angle in degrees, (SIDE, SIDE) each."""
    row, column = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    cos, sin = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    return column * cos + row * sin, row * cos - column * sin


def gabor(angle: float, phase: float) -> NDArray[np.float64]:
    """Return a receptive field, (SIDE, SIDE): a cosine of the phase in degrees under a bell; mean 0, length 1."""
    u, v = _across(angle)
    field = np.exp(-(u * u + v * v) / (2 * WIDTH**2)) * np.cos(2 * np.pi * u / WAVE + np.deg2rad(phase))
    field -= field.mean()
    return field / np.linalg.norm(field)


def stimulus(kind: str, angle: float, shift: float) -> NDArray[np.float64]:
    """Return light from -1 to 1, (SIDE, SIDE): stripes or a bar, moved by the shift in wavelengths."""
    u, _ = _across(angle)
    if kind == "stripes":
        return np.cos(2 * np.pi * (u / WAVE - shift))
    return 2 * np.exp(-(((u - shift * WAVE) / 2) ** 2)) - 1


def responses(light: NDArray[np.float64], preferred: float) -> tuple[float, float]:
    """Return the simple and the complex cell's response: the rectified even sum, and the energy of even and odd."""
    even, odd = (float((light * gabor(preferred, phase)).sum()) for phase in (0, -90))
    return max(0.0, even), float(np.hypot(even, odd))


def _check(state: dict[str, Any]) -> None:
    check_range(state, LIMITS)
    if state["kind"] not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}; got {state['kind']!r}")


def cells(kind: str = "stripes", *, angle: float = 15, shift: float = 0.2, preferred: float = 0) -> LiveFigure:
    """Return the figure in which light is moved and turned before a simple and a complex cell.

    Parameters
    ----------
    kind
        "stripes" or "bar".
    angle
        The light's direction in degrees, 0 for vertical, up to 180.
    shift
        How far the light is moved across its direction, in wavelengths, from -1 to 1.
    preferred
        The direction in degrees that both cells are made for.
    """
    state = {"kind": kind, "angle": float(angle), "shift": float(shift), "preferred": float(preferred)}
    _check(state)
    simple, complex_ = responses(stimulus(kind, angle, shift), preferred)
    description = (
        f"A simple and a complex cell made for {preferred:g} degrees look at {kind} at {angle:g} degrees, moved by "
        f"{shift:g} wavelengths: their responses are {picture.number(simple)} and {picture.number(complex_)}."
    )
    shifts = np.linspace(-1, 1, 41)
    answers = [responses(stimulus(kind, angle, value), preferred) for value in shifts]
    parts = []
    for cell, color in ((0, "hue-1"), (1, "hue-2")):
        line = "L".join(
            f"{360 + 300 * x:.1f} {170 - 12 * answer[cell]:.1f}" for x, answer in zip(shifts, answers, strict=True)
        )
        parts.append(f'<path d="M{line}" fill="none" stroke="var(--{color})" stroke-width="2"/>')
    parts += [
        '<path d="M60 20V170H660" fill="none" stroke="var(--edge)"/>',
        picture.text(60, 14, "response of the simple cell (falls to 0) and of the complex cell", size=12),
        picture.text(660, 186, "light moved by -1 to 1 wavelengths", anchor="end", size=12),
    ]
    return LiveFigure("cells", state, description, picture.svg(720, 200, description, *parts), _check)
