"""Where windows stand along one axis: padding, stride, dilation, and the rounding."""

from typing import Any

from cnnbook.figures import picture
from cnnbook.figures.live_figure import LiveFigure, check_range
from cnnlib import functional

LIMITS = {"size": (1, 32), "kernel": (1, 11), "stride": (1, 8), "padding": (0, 5), "dilation": (1, 4)}


def _check(state: dict[str, Any]) -> None:
    check_range(state, LIMITS)


def geometry(
    size: int = 12,
    kernel: int = 3,
    *,
    stride: int = 2,
    padding: int = 1,
    dilation: int = 1,
    ceil: bool = False,
    position: int = 0,
) -> LiveFigure:
    """Return the figure that draws every window over one row of the input and works out the output size.

    Parameters
    ----------
    size, kernel, stride, padding, dilation, ceil
        As in :func:`cnnlib.functional.conv_output_size`, along one axis.
    position
        The output, from 0, whose window is marked first.

    Raises
    ------
    ValueError
        For values beyond the controls' reach. A kernel that does not fit is drawn with the reason.
    """
    shape = {"size": size, "kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation}
    state = {**shape, "ceil": ceil, "position": position}
    _check(state)
    words = f"A window of {kernel} taps, stride {stride}, padding {padding}, dilation {dilation}, over {size} positions"
    try:
        count = functional.conv_output_size(size, kernel, stride, padding, dilation, ceil)
    except functional.GeometryError as error:
        description = f"{words} does not fit. {error}"
        return LiveFigure("geometry", state, description, picture.svg(720, 40, description), _check)
    description = f"{words} gives {count} outputs."
    return LiveFigure("geometry", state, description, _still(shape, count, description), _check)


def _still(shape: dict[str, int], count: int, description: str) -> str:
    padding, places = shape["padding"], shape["size"] + 2 * shape["padding"]
    cell = min(34.0, 680 / places)
    parts = [picture.text(20, 22, description, size=13)]
    for place in range(places):
        inside = padding <= place < padding + shape["size"]
        parts.append(
            picture.box(20 + place * cell, 34, cell - 1, cell - 1, fill="plus" if inside else "panel", stroke="line")
        )
    for out in range(count):
        y = 44 + cell + out * 12
        for tap in range(shape["kernel"]):
            x = 20 + (out * shape["stride"] + tap * shape["dilation"] + 0.5) * cell
            parts.append(picture.box(x - 4, y, 8, 7, fill="mark"))
    return picture.svg(720, 56 + cell + count * 12, description, *parts)
