"""Building an Inception module."""

from typing import Any

from cnnbook.figures import picture
from cnnbook.figures.live_figure import LiveFigure, check_range

# Szegedy et al. 2014, table 1: channels in, side of the maps, and the filters 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5,
# pool projection.
MODULES = {
    "3a": (192, 28, (64, 96, 128, 16, 32, 32)),
    "3b": (256, 28, (128, 128, 192, 32, 96, 64)),
    "4a": (480, 14, (192, 96, 208, 16, 48, 64)),
    "4b": (512, 14, (160, 112, 224, 24, 64, 64)),
    "4c": (512, 14, (128, 128, 256, 24, 64, 64)),
    "4d": (512, 14, (112, 144, 288, 32, 64, 64)),
    "4e": (528, 14, (256, 160, 320, 32, 128, 128)),
    "5a": (832, 7, (256, 160, 320, 32, 128, 128)),
    "5b": (832, 7, (384, 192, 384, 48, 128, 128)),
}


def _check(state: dict[str, Any]) -> None:
    check_range(state, {"channels": (1, 1024), "side": (1, 224)})
    if state["form"] not in ("naive", "reduced"):
        raise ValueError(f'form must be "naive" or "reduced"; got {state["form"]!r}')
    if len(state["filters"]) != 6 or not all(1 <= number <= 512 for number in state["filters"]):
        raise ValueError(f"filters must be six numbers from 1 to 512; got {state['filters']}")


def inception(module: str = "3a", form: str = "reduced") -> LiveFigure:
    """Return the figure that builds one Inception module from its six numbers and works out what it costs.

    Parameters
    ----------
    module
        Whose numbers come first: "3a", "3b", "4a" to "4e", "5a" or "5b" of GoogLeNet.
    form
        "naive", or "reduced" with 1x1 convolutions before the 3x3 and 5x5 ones and after the pooling.
    """
    if module not in MODULES:
        raise ValueError(f"module must be one of {', '.join(MODULES)}; got {module!r}")
    tables = {
        name: {"channels": channels, "side": side, "filters": list(filters)}
        for name, (channels, side, filters) in MODULES.items()
    }
    state = {"modules": tables, "module": module, "form": form, **tables[module]}
    _check(state)
    channels, side, (one, reduce3, three, reduce5, five, project) = MODULES[module]
    weights = {
        "naive": channels * (one + 9 * three + 25 * five),
        "reduced": channels * (one + reduce3 + reduce5 + project) + 9 * reduce3 * three + 25 * reduce5 * five,
    }
    description = (
        f"GoogLeNet's module {module} on {channels} channels of {side}\u00d7{side}: {weights['reduced']:,} weights "
        f"with 1\u00d71 reductions, {weights['naive']:,} without."
    )
    out = {"1\u00d71": one, "3\u00d73": three, "5\u00d75": five, "pool": project if form == "reduced" else channels}
    parts = [picture.text(360, 26, description, anchor="middle", size=12)]
    left = 40.0
    for index, (name, filters) in enumerate(out.items()):
        x, width = 40 + 165 * index, 640 * filters / sum(out.values())
        parts += [
            picture.box(x, 50, 145, 44, fill="panel", stroke="edge"),
            picture.text(x + 72, 77, f"{name}: {filters}", anchor="middle"),
            picture.box(left, 120, width, 26, fill=f"hue-{index + 1}"),
        ]
        left += width
    return LiveFigure("inception", state, description, picture.svg(720, 160, description, *parts), _check)
