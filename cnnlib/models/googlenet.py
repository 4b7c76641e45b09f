"""GoogLeNet: Inception modules and auxiliary classifiers, 2014."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from cnnlib.arrays import Array, namespace
from cnnlib.containers import Concat, Sequential
from cnnlib.init import kaiming_normal
from cnnlib.layers import (
    AdaptiveAvgPool2d,
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    Linear,
    LocalResponseNorm,
    MaxPool2d,
    ReLU,
    at_least_one,
)
from cnnlib.models._weights import load_weights
from cnnlib.models._width import scaled
from cnnlib.module import Layer, Module

# Szegedy et al. 2014, table 1: filters 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool projection.
INCEPTION = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}

AUXILIARY_WEIGHT = 0.3
"""How much each auxiliary loss counts beside the main one. Source: Szegedy et al. 2014, section 5."""

Unit = Callable[..., Sequential]


class TransformInput(Layer):
    """From pixels with ImageNet's mean and deviation per channel to pixels from -1 to 1. Source: torchvision."""

    MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

    def forward(self, x: Array) -> tuple[Array, Any]:
        if x.shape[1] != 3:
            raise ValueError(f"transform_input is for red, green and blue, not {x.shape[1]} channels")
        xp = namespace(x)
        mean, std = (
            xp.reshape(xp.asarray(values, dtype=x.dtype, device=x.device), (1, 3, 1, 1))
            for values in (self.MEAN, self.STD)
        )
        return (x * std + mean - 0.5) / 0.5, (std / 0.5,)

    def gradients(self, dy: Array, cache: Any, need_input_grad: bool) -> Array | None:
        (factor,) = cache
        return dy * factor if need_input_grad else None


class GoogLeNet(Module):
    """A chain of parts, two of which also feed a head of their own.

    In training with heads, a forward pass returns (logits, logits of aux1, logits of aux2) and `backward` takes the
    gradients of all three (`losses.AuxiliaryLoss` makes them); otherwise there is one output, the logits.
    """

    def __init__(self, trunk: dict[str, Module], heads: dict[str, tuple[str, Module]], heads_last: bool) -> None:
        """Chain the parts of `trunk`; `heads` maps a trunk part to the (name, head) that reads its output.

        `heads_last` lists the heads' parameters just before the last part's, as torchvision does, and not where they
        branch off.
        """
        self._trunk = trunk
        self._heads = heads
        self._heads_last = heads_last

    @property
    def has_heads(self) -> bool:
        """Whether there are auxiliary heads."""
        return bool(self._heads)

    def __call__(self, x: Array) -> Array | tuple[Array, ...]:
        guesses: list[Array] = []
        for name, part in self._trunk.items():
            x = part(x)
            if self.training and name in self._heads:
                guesses.append(self._heads[name][1](x))
        return (x, *guesses) if guesses else x

    def backward(self, dy: Array | tuple[Array, ...], need_input_grad: bool = True) -> Array | None:
        """Return the gradient for the input, from the gradient of each output of the last forward pass.

        Where a head branches off, the trunk's output was used twice: what comes back from the head and what comes back
        from the rest of the trunk add.
        """
        gradients = list(dy) if isinstance(dy, (tuple, list)) else [dy]
        if len(gradients) != 1 + len(self._heads):
            raise ValueError(f"there are {1 + len(self._heads)} outputs, so as many gradients, not {len(gradients)}")
        dx = gradients.pop(0)
        first = next(iter(self._trunk))
        for name, part in reversed(self._trunk.items()):
            if name in self._heads:
                dx = dx + self._heads[name][1].backward(gradients.pop())
            dx = part.backward(dx, need_input_grad or name != first)
        return dx

    def branching(self) -> Iterator[tuple[str, Module]]:
        """Yield (name, part) in forward order, each head after the part that it reads."""
        for name, part in self._trunk.items():
            yield name, part
            if name in self._heads:
                yield self._heads[name]

    def children(self) -> Iterator[tuple[str, Module]]:
        if not self._heads_last:
            return self.branching()
        *before, last = self._trunk.items()
        return iter([*before, *self._heads.values(), last])


def googlenet(
    variant: str = "paper",
    num_classes: int = 1000,
    in_channels: int = 3,
    *,
    aux: bool = False,
    seed: int = 0,
    dtype: str = "float32",
    width: float = 1.0,
    weights: str | os.PathLike[str] | None = None,
    transform_input: bool | None = None,
) -> GoogLeNet:
    """Return GoogLeNet for images 224x224, with its two auxiliary heads if `aux`.

    "paper" is the network of 2014 with 6,998,552 parameters (13,378,280 with heads): local response normalisation
    (where the paper gives no numbers, Caffe's 5, 1e-4, 0.75, 1), true 5x5 filters, 3x3 poolings that round up (only so
    do 112, 56, 28, 14, 7 come out).

    "torchvision" has batch normalisation instead of biases, 3x3 filters in the branch that is called 5x5, a 2x2 fourth
    pooling, less dropout, and torchvision's names: 6,624,904 parameters (13,004,888). torchvision's own order of
    outputs in training is (logits, aux2, aux1).

    Weights start by He's rule, biases at 0. `width` multiplies the channels; `seed` draws the weights, or `weights` is
    a file of them (a path or a URL, such as torchvision's googlenet-1378be20.pth), see `models.load_weights`; weights
    of heads that the network doesn't have are left out.

    torchvision's published weights were trained on pixels from -1 to 1, though everything around them prepares images
    with ImageNet's mean and deviation: `transform_input` converts the latter into the former as the first layer, as
    torchvision does. It is on by default for torchvision's variant with `weights`, and off otherwise.

    Raises ValueError for an unknown variant or numbers below 1. Source: Szegedy et al. 2014, table 1 and section 5.
    """
    if variant not in ("paper", "torchvision"):
        raise ValueError(f'variant must be "paper" or "torchvision", not {variant!r}')
    at_least_one(num_classes=num_classes, in_channels=in_channels)
    paper, start = variant == "paper", {"dtype": dtype, "rng": np.random.default_rng(seed), "init": kaiming_normal}

    def unit(inputs: int, outputs: int, size: int, stride: int = 1) -> Sequential:
        """A convolution that keeps the size (divided by the stride), and what follows each of them."""
        padding = size // 2
        if paper:
            return Sequential(conv=Conv2d(inputs, outputs, size, stride, padding, **start), relu=ReLU(inplace=True))
        conv = Conv2d(inputs, outputs, size, stride, padding, bias=False, **start)
        return Sequential(conv=conv, bn=BatchNorm2d(outputs, eps=0.001, dtype=dtype), relu=ReLU(inplace=True))

    def norm() -> LocalResponseNorm:
        return LocalResponseNorm(size=5, alpha=1e-4, beta=0.75, k=1.0)

    c1, c2, c3 = (scaled(channels, width) for channels in (64, 64, 192))
    trunk: dict[str, Module] = {}
    if transform_input or (transform_input is None and weights is not None and not paper):
        trunk["transform_input"] = TransformInput()
    trunk["conv1"] = unit(in_channels, c1, 7, stride=2)
    trunk["maxpool1"] = MaxPool2d(3, stride=2, ceil_mode=True)
    if paper:
        trunk["norm1"] = norm()
    trunk["conv2"] = unit(c1, c2, 1)
    trunk["conv3"] = unit(c2, c3, 3)
    if paper:
        trunk["norm2"] = norm()
    trunk["maxpool2"] = MaxPool2d(3, stride=2, ceil_mode=True)
    heads: dict[str, tuple[str, Module]] = {}
    channels = c3
    for name, filters in INCEPTION.items():
        if name == "4a":
            trunk["maxpool3"] = MaxPool2d(3, stride=2, ceil_mode=True)
        if name == "5a":
            trunk["maxpool4"] = MaxPool2d(3 if paper else 2, stride=2, ceil_mode=True)
        widths = [scaled(f, width) for f in filters]
        trunk[f"inception{name}"] = inception(channels, *widths, unit=unit, large=5 if paper else 3)
        channels = widths[0] + widths[2] + widths[4] + widths[5]
        if aux and name in ("4a", "4d"):
            average = AvgPool2d(5, stride=3) if paper else AdaptiveAvgPool2d(4)
            reduced, hidden = scaled(128, width), scaled(1024, width)
            heads[f"inception{name}"] = (
                f"aux{len(heads) + 1}",
                Sequential(
                    averagepool=average,
                    conv=unit(channels, reduced, 1),
                    flatten=Flatten(),
                    fc1=Linear(reduced * 4 * 4, hidden, **start),
                    relu=ReLU(inplace=True),
                    dropout=Dropout(0.7),
                    fc2=Linear(hidden, num_classes, **start),
                ),
            )
    trunk["avgpool"] = AdaptiveAvgPool2d(1)
    trunk["flatten"] = Flatten()
    trunk["dropout"] = Dropout(0.4 if paper else 0.2)
    trunk["fc"] = Linear(channels, num_classes, **start)
    network = GoogLeNet(trunk, heads, heads_last=not paper)
    if weights is not None:
        load_weights(network, weights, ignore=() if aux else ("aux1.", "aux2."))
    return network


def inception(
    inputs: int,
    ch1x1: int,
    ch3x3red: int,
    ch3x3: int,
    ch5x5red: int,
    ch5x5: int,
    pool_proj: int,
    *,
    unit: Unit,
    large: int,
) -> Concat:
    """Return an Inception module with dimension reductions: four branches side by side.

    `unit(inputs, outputs, size)` makes a convolution with what follows it; `large` is the size of the third branch's
    filters. Source: Szegedy et al. 2014, figure 2b.
    """
    return Concat(
        branch1=unit(inputs, ch1x1, 1),
        branch2=Sequential(unit(inputs, ch3x3red, 1), unit(ch3x3red, ch3x3, 3)),
        branch3=Sequential(unit(inputs, ch5x5red, 1), unit(ch5x5red, ch5x5, large)),
        branch4=Sequential(MaxPool2d(3, stride=1, padding=1, ceil_mode=True), unit(inputs, pool_proj, 1)),
    )
