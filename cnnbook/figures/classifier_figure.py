"""A network that knows ImageNet, to show photographs, pictures of one's own and the camera's."""

import base64
import io
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnbook import pretrained
from cnnbook.figures import picture
from cnnbook.figures.live_figure import LiveFigure

NETWORK = "squeezenet-imagenet"
LAYERS = ("conv1", "pool1", "fire2", "fire3", "pool3", "fire4", "fire5", "pool5")
LAYERS += ("fire6", "fire7", "fire8", "fire9", "conv10")
SIZE = 227
_THUMB = 44  # pixels
_STILL = "chelsea"


def eight_bits(weight: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return filters (O, ...) as integers from -127 to 127 and the scale of each (O,): weight = scale * integer.

    A filter's errors add up to half a step at most: what it reads, behind the first layer, lies behind a ReLU, is never
    negative, and so has a mean, which the sum of its weights multiplies.
    """
    flat = weight.reshape(len(weight), -1)
    largest = np.abs(flat).max(1)
    scale = (np.where(largest == 0, 1, largest) / 127).astype("f4")
    exact = flat / scale[:, None]
    rounded = np.rint(exact)
    for own, left in zip(rounded, exact - rounded, strict=True):
        missing = round(float(left.sum()))
        way = np.sign(missing)
        own[np.argsort(-way * left)[: abs(missing)]] += way  # those that were nearest to it
    return rounded.clip(-127, 127).reshape(weight.shape).astype("i1"), scale


@cache
def _weights() -> dict[str, NDArray[np.float32]]:
    return pretrained.load(NETWORK).state_dict()


def network() -> bytes:
    """Return SqueezeNet in 8 bits as `squeezenet.js` unpacks it, 1.25 MB.

    A scale for each filter, then all biases, as little-endian floats of 32 bits; the filters as integers of 8 bits,
    layer after layer; the names of the classes in UTF-8, a line each.
    """
    filters, biases = ([w for key, w in _weights().items() if key.endswith(kind)] for kind in ("weight", "bias"))
    rounded, scales = zip(*(eight_bits(w) for w in filters), strict=True)
    names = "\n".join(pretrained.card(NETWORK).classes).encode()
    floats = np.concatenate([*scales, *biases]).astype("<f4")
    return floats.tobytes() + b"".join(w.tobytes() for w in rounded) + names


FILES: Mapping[str, Callable[[], bytes]] = {
    "network": network,
    **{one.name: one.path().read_bytes for one in pretrained.photographs()},
}
"""What the figure fetches when it is first used: the network, and each photograph's JPEG."""


def _jpeg(image: Any, quality: int) -> str:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


@cache
def _thumbnails() -> str:
    """Return the middle squares of all photographs side by side."""
    from PIL import Image, ImageOps

    photographs = pretrained.photographs()
    strip = Image.new("RGB", (_THUMB * len(photographs), _THUMB))
    for index, one in enumerate(photographs):
        strip.paste(ImageOps.fit(one.image().convert("RGB"), (_THUMB, _THUMB)), (_THUMB * index, 0))
    return _jpeg(strip, 60)


@cache
def _still() -> tuple[str, str]:
    """Return a description and a picture of what the network says of one of the photographs."""
    from PIL import Image

    card = pretrained.card(NETWORK)
    one = pretrained.photograph(_STILL)
    image = one.image().convert("RGB")
    logits = pretrained.load(NETWORK)(card.view()(image)[None])[0].astype("f8")
    shares = np.exp(logits - logits.max())
    shares /= shares.sum()
    five = shares.argsort()[::-1][:5]
    said = ", ".join(f"{card.classes[guess]} {shares[guess]:.0%}" for guess in five)
    description = (
        f"A photograph of {one.shows}, and the five guesses of a network that was trained on ImageNet: {said}."
    )
    margin = (card.resize - SIZE) // 2
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    square = image.resize((card.resize, card.resize), Image.Resampling.BILINEAR, (left, top, left + side, top + side))
    view = square.crop((margin, margin, margin + SIZE, margin + SIZE)).resize((140, 140))
    parts = [f'<image x="10" y="10" width="180" height="180" href="{_jpeg(view, 60)}"/>']
    for place, guess in enumerate(five):
        y = 10 + 37 * place
        parts += [
            picture.text(220, y + 13, f"{card.classes[guess]}, {shares[guess]:.0%}"),
            picture.box(220, y + 18, max(1, 460 * shares[guess]), 11, fill="hue-1"),
        ]
    return description, picture.svg(720, 200, description, *parts)


def _check(names: tuple[str, ...], state: dict[str, Any]) -> None:
    if state["photograph"] and state["photograph"] not in names:
        raise ValueError(f"photograph must be one of {', '.join(names)}, or empty; got {state['photograph']!r}")
    if state["layer"] not in LAYERS:
        raise ValueError(f"layer must be one of {', '.join(LAYERS)}; got {state['layer']!r}")
    if state["cover"] and not (len(state["cover"]) == 2 and all(0 <= at <= SIZE for at in state["cover"])):
        raise ValueError(
            f"cover must be the (x, y) of a patch's middle, from 0 to {SIZE}, or empty; got {state['cover']}"
        )


def classifier(layer: str = "fire4") -> LiveFigure:
    """Return the figure that shows pictures to SqueezeNet 1.1, trained on ImageNet, which computes in the page.

    The network, 1.7 MB, and each photograph are fetched when they are first wanted: in the built book from its folder
    `_static/figures`, of the figure's `widget()` from the kernel. Its weights are rounded to 8 bits, filter by filter.
    Needs the package pillow.

    Parameters
    ----------
    layer
        Whose maps are shown first: conv1, pool1, fire2, ... conv10.

    Raises
    ------
    ValueError
        If there is no such layer.
    """
    photographs = pretrained.photographs()
    state = {
        "photographs": [
            [one.name, one.shows, f"“{one.title}” by {one.author}, {one.licence}"] for one in photographs
        ],
        "thumbnails": _thumbnails(),
        "photograph": "",
        "cover": [],
        "layer": layer,
        "all": False,
    }
    description, still = _still()
    check = partial(_check, tuple(one.name for one in photographs))
    return LiveFigure("classifier", state, description, still, check, FILES)
