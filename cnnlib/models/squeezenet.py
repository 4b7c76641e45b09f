"""SqueezeNet: AlexNet's accuracy with a fiftieth of its parameters, 2016."""

import os
from collections.abc import Iterator
from typing import Any

from cnnlib.containers import Concat, Sequential
from cnnlib.init import kaiming_uniform, normal
from cnnlib.layers import AdaptiveAvgPool2d, Conv2d, Dropout, Flatten, MaxPool2d, ReLU, at_least_one
from cnnlib.models._start import start
from cnnlib.models._weights import load_weights
from cnnlib.models._width import scaled
from cnnlib.module import Module, Visitor

# Release 1.1: M a 3x3 pooling with stride 2, otherwise a Fire module's filters: squeeze 1x1, expand 1x1, expand 3x3.
FEATURES: tuple[str | tuple[int, int, int], ...] = (
    "M",  # 64 x 55 x 55
    (16, 64, 64),
    (16, 64, 64),  # 128 x 55 x 55
    "M",  # 128 x 27 x 27
    (32, 128, 128),
    (32, 128, 128),  # 256 x 27 x 27
    "M",  # 256 x 13 x 13
    (48, 192, 192),
    (48, 192, 192),  # 384 x 13 x 13
    (64, 256, 256),
    (64, 256, 256),  # 512 x 13 x 13
)


def squeezenet(
    num_classes: int = 1000,
    in_channels: int = 3,
    *,
    seed: int | None = 0,
    dtype: str = "float32",
    width: float = 1.0,
    weights: str | os.PathLike[str] | None = None,
) -> Sequential:
    """Return SqueezeNet 1.1 with 1,235,496 parameters under torchvision's names; its outputs are logits.

    Release 1.1 has the paper's Fire modules with smaller first filters and earlier poolings, for 2.4 times less
    arithmetic. Poolings round up, as Caffe's do. There is no fully connected layer: the last convolution has a filter
    for each class, whose map is averaged. Images are 224x224, others work too.

    That convolution starts at N(0, 0.01), the others by He's uniform rule, biases at 0, as in torchvision. `width`
    multiplies the channels; `seed` draws the weights (None leaves them undrawn, at 0), or `weights` is a file of them
    (a path or a URL, such as torchvision's squeezenet1_1-b8a52dc0.pth), see `models.load_weights`.

    Raises ValueError for numbers below 1. Source: Iandola et al. 2016; release 1.1 of the authors' repository
    forresti/SqueezeNet; torchvision.
    """
    at_least_one(num_classes=num_classes, in_channels=in_channels)
    drawn = start(seed if weights is None else None, dtype, kaiming_uniform)
    channels = scaled(64, width)
    features: list[Module] = [Conv2d(in_channels, channels, 3, stride=2, **drawn), ReLU(inplace=True)]  # 64 x 111 x 111
    for entry in FEATURES:
        if isinstance(entry, str):
            features.append(MaxPool2d(3, stride=2, ceil_mode=True))
        else:
            squeeze, ones, threes = (scaled(filters, width) for filters in entry)
            features.append(Fire(channels, squeeze, ones, threes, **drawn))
            channels = ones + threes
    final = Conv2d(channels, num_classes, 1, **(drawn | {"init": normal(0.01)} if "rng" in drawn else drawn))
    classifier = Sequential(Dropout(0.5), final, ReLU(inplace=True), AdaptiveAvgPool2d(1))  # 1000 x 1 x 1
    network = Sequential(features=Sequential(*features), classifier=classifier, flatten=Flatten())
    if weights is not None:
        load_weights(network, weights)
    return network


class Fire(Sequential):
    """1x1 filters that squeeze the channels, then 1x1 and 3x3 filters side by side that expand them.

    The two stand under their own names, `expand1x1` and `expand3x3`, as in torchvision. Source: Iandola et al. 2016,
    figure 1.
    """

    def __init__(self, inputs: int, squeeze: int, expand1x1: int, expand3x3: int, **drawn: Any) -> None:
        ones, threes = Conv2d(squeeze, expand1x1, 1, **drawn), Conv2d(squeeze, expand3x3, 3, padding=1, **drawn)
        self._expand = Concat(expand1x1=ones, expand3x3=threes)
        super().__init__(
            squeeze=Conv2d(inputs, squeeze, 1, **drawn),
            squeeze_activation=ReLU(inplace=True),
            expand=self._expand,
            expand_activation=ReLU(inplace=True),
        )

    def children(self) -> Iterator[tuple[str, Module]]:
        for name, part in super().children():
            yield from part.children() if name == "expand" else [(name, part)]

    def _put(self, name: str, part: Module) -> None:
        if name in self._expand:
            self._expand[name] = part
        else:
            super()._put(name, part)

    def walk(self, x: Any, visitor: Visitor) -> Any:
        for name, part in self._parts.items():
            x = part.walk(x, visitor if name == "expand" else visitor.within(name))
        return x

    def before(self, name: str) -> list[Module]:
        return super().before("expand" if name.startswith("expand") and name != "expand_activation" else name)
