"""Counting parameters: fully connected, local, shared."""

from typing import Any

from cnnbook.figures import picture
from cnnbook.figures.live_figure import LiveFigure, check_range

LIMITS = {"side": (8, 1000), "filters": (1, 256), "kernel": (1, 11)}


def _check(state: dict[str, Any]) -> None:
    check_range(state, LIMITS)
    if state["channels"] not in (1, 3):
        raise ValueError(f"channels must be 1 (grey) or 3 (RGB); got {state['channels']}")


def parameters(
    side: int = 1000, *, channels: int = 1, filters: int = 1, kernel: int = 10, bias: bool = False
) -> LiveFigure:
    """Return the figure that counts one layer's parameters three ways; it starts with the lecture's image.

    Parameters
    ----------
    side
        Height and width of the image in pixels, from 8 to 1000; the layer has as many positions.
    channels
        1 or 3.
    filters
        Units at each position, from 1 to 256.
    kernel
        Height and width of the window that a unit sees where it is connected locally.
    bias
        Whether each unit, or each filter where weights are shared, has a bias.
    """
    state = {"side": side, "channels": channels, "filters": filters, "kernel": kernel, "bias": bias}
    _check(state)
    units, window, own = side * side * filters, kernel * kernel * channels, int(bias)
    counts = {
        "Fully connected": units * (side * side * channels + own),
        "Local": units * (window + own),
        "Local and shared": filters * (window + own),
    }
    description = (
        f"Parameters of one layer on a {side}\u00d7{side} image with {channels} channel{'s' * (channels > 1)}: "
        + "; ".join(f"{name.lower()} {count:,}" for name, count in counts.items())
        + "."
    )
    parts = []
    for line, (name, count) in enumerate(counts.items()):
        y = 24 + 46 * line
        parts += [
            picture.text(20, y, name),
            picture.box(20, y + 6, max(2, (len(str(count)) - 1) * 32), 16, fill=f"hue-{line + 1}"),
            picture.text(28 + max(2, (len(str(count)) - 1) * 32), y + 19, f"{count:,}"),
        ]
    return LiveFigure("parameters", state, description, picture.svg(720, 160, description, *parts), _check)
