"""What one unit of a network can see of the input."""

from typing import Any

from cnnbook.figures import picture
from cnnbook.figures.live_figure import LiveFigure

# Side of the input, and the layers that have a window: name, kernel, stride, padding, rounding up (ceil_mode).
# Within an Inception module the widest branch counts, its 5x5 convolution.
# Sources: the papers' tables, as cnnlib.models builds them.
_POOL = (2, 2, 0, False)
NETWORKS: dict[str, tuple[int, tuple[tuple[str, int, int, int, bool], ...]]] = {
    "LeNet": (
        32,
        (
            ("C1", 5, 1, 0, False),
            ("S2", *_POOL),
            ("C3", 5, 1, 0, False),
            ("S4", *_POOL),
            ("C5", 5, 1, 0, False),
        ),
    ),
    "AlexNet": (
        227,
        (
            ("conv1", 11, 4, 0, False),
            ("pool1", 3, 2, 0, False),
            ("conv2", 5, 1, 2, False),
            ("pool2", 3, 2, 0, False),
            ("conv3", 3, 1, 1, False),
            ("conv4", 3, 1, 1, False),
            ("conv5", 3, 1, 1, False),
            ("pool5", 3, 2, 0, False),
        ),
    ),
    "VGG-16": (
        224,
        tuple(
            layer
            for block, convolutions in enumerate((2, 2, 3, 3, 3), start=1)
            for layer in (
                *((f"conv{block}_{number}", 3, 1, 1, False) for number in range(1, convolutions + 1)),
                (f"pool{block}", *_POOL),
            )
        ),
    ),
    "GoogLeNet": (
        224,
        (
            ("conv1", 7, 2, 3, False),
            ("pool1", 3, 2, 0, True),
            ("conv2", 3, 1, 1, False),
            ("pool2", 3, 2, 0, True),
            ("inception 3a", 5, 1, 2, False),
            ("inception 3b", 5, 1, 2, False),
            ("pool3", 3, 2, 0, True),
            *((f"inception 4{letter}", 5, 1, 2, False) for letter in "abcde"),
            ("pool4", 3, 2, 0, True),
            ("inception 5a", 5, 1, 2, False),
            ("inception 5b", 5, 1, 2, False),
        ),
    ),
}


def _check(state: dict[str, Any]) -> None:
    if state["network"] not in NETWORKS:
        raise ValueError(f"network must be one of {', '.join(NETWORKS)}; got {state['network']!r}")
    last = len(NETWORKS[state["network"]][1]) - 1
    if not 0 <= state["layer"] <= last:
        raise ValueError(f"layer must lie in 0..{last} for {state['network']}; got {state['layer']}")


def receptive_field(network: str = "AlexNet", layer: str | None = None) -> LiveFigure:
    """Return the figure that shows which pixels of the input one unit of a layer can depend on.

    Parameters
    ----------
    network
        "LeNet", "AlexNet", "VGG-16" or "GoogLeNet".
    layer
        Name of the layer that is shown first; the third one if left out.
    """
    if network not in NETWORKS:
        raise ValueError(f"network must be one of {', '.join(NETWORKS)}; got {network!r}")
    names = [name for name, *_ in NETWORKS[network][1]]
    if layer is not None and layer not in names:
        raise ValueError(f"layer must be one of {', '.join(names)}; got {layer!r}")
    index = 2 if layer is None else names.index(layer)
    state = {
        "networks": {
            name: {"size": size, "layers": [list(one) for one in layers]} for name, (size, layers) in NETWORKS.items()
        },
        "network": network,
        "layer": index,
        "row": -1,
        "column": -1,
    }
    size, layers = NETWORKS[network]
    field, jump, seen = 1, 1, []
    for _, kernel, stride, _, _ in layers:
        field, jump = field + (kernel - 1) * jump, jump * stride
        seen.append(field)
    description = (
        f"A unit of {names[index]} of {network} can depend on {seen[index]}\u00d7{seen[index]} pixels of the "
        f"{size}\u00d7{size} input."
    )
    parts = []
    for line, (name, field) in enumerate(zip(names, seen, strict=True)):
        y, width = 12 + 20 * line, 480 * field / max(seen)
        parts += [
            picture.text(20, y + 12, name, size=12),
            picture.box(130, y, width, 13, fill="hue-2" if line == index else "hue-1"),
            picture.text(138 + width, y + 12, f"{field}\u00d7{field}", size=12),
        ]
    still = picture.svg(720, 20 + 20 * len(names), description, *parts)
    return LiveFigure("receptive_field", state, description, still, _check)
