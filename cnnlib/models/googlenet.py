"""GoogLeNet: Inception modules and auxiliary classifiers, 2014."""

import os
from collections.abc import Callable
from typing import Any

from cnnlib.arrays import Array, namespace
from cnnlib.containers import Branching, Concat, Sequential
from cnnlib.init import kaiming_normal
from cnnlib.layers import (
    AdaptiveAvgPool2d,
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Elementwise,
    Flatten,
    Linear,
    LocalResponseNorm,
    MaxPool2d,
    ReLU,
    at_least_one,
)
from cnnlib.models._start import start
from cnnlib.models._weights import load_weights
from cnnlib.models._width import scaled
from cnnlib.module import Module, Shape, Trace

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

Unit = Callable[..., Sequential]


class TransformInput(Elementwise):
    """From pixels with ImageNet's mean and deviation per channel to pixels from -1 to 1. Source: torchvision."""

    MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

    def trace(self, shape: Shape) -> Trace:
        self._check(shape[0])
        return super().trace(shape)

    def _check(self, channels: int) -> None:
        if channels != 3:
            raise ValueError(f"transform_input is for red, green and blue, not {channels} channels")

    def forward(self, x: Array) -> tuple[Array, Any]:
        self._check(x.shape[1])
        xp = namespace(x)
        mean, std = (
            xp.reshape(xp.asarray(values, dtype=x.dtype, device=x.device), (1, 3, 1, 1))
            for values in (self.MEAN, self.STD)
        )
        return (x * std + mean - 0.5) / 0.5, (std / 0.5,)

    def gradients(self, dy: Array, cache: Any, need_input_grad: bool) -> Array | None:
        (factor,) = cache
        return dy * factor if need_input_grad else None


def googlenet(
    variant: str = "paper",
    num_classes: int = 1000,
    in_channels: int = 3,
    *,
    aux: bool = False,
    seed: int | None = 0,
    dtype: str = "float32",
    width: float = 1.0,
    weights: str | os.PathLike[str] | None = None,
    transform_input: bool | None = None,
) -> Branching:
    """Return GoogLeNet for images 224x224, with its two auxiliary heads if `aux`.

    "paper" is the network of 2014 with 6,998,552 parameters (13,378,280 with heads): local response normalisation
    (where the paper gives no numbers, Caffe's 5, 1e-4, 0.75, 1), true 5x5 filters, 3x3 poolings that round up (only so
    do 112, 56, 28, 14, 7 come out).

    "torchvision" has batch normalisation instead of biases, 3x3 filters in the branch that is called 5x5, a 2x2 fourth
    pooling, less dropout, and torchvision's names: 6,624,904 parameters (13,004,888). torchvision's own order of
    outputs in training is (logits, aux2, aux1).

    Weights start by He's rule, biases at 0. `width` multiplies the channels; `seed` draws the weights (None
    leaves them undrawn, at 0), or `weights` is a file of them (a path or a URL, such as torchvision's
    googlenet-1378be20.pth), see `models.load_weights`; weights of heads that the network doesn't have are left out.

    torchvision's published weights were trained on pixels from -1 to 1, though everything around them prepares images
    with ImageNet's mean and deviation: `transform_input` converts the latter into the former as the first layer, as
    torchvision does. It is on by default for torchvision's variant with `weights`, and off otherwise.

    Raises ValueError for an unknown variant or numbers below 1. Source: Szegedy et al. 2014, table 1 and section 5.
    """
    if variant not in ("paper", "torchvision"):
        raise ValueError(f'variant must be "paper" or "torchvision", not {variant!r}')
    at_least_one(num_classes=num_classes, in_channels=in_channels)
    paper = variant == "paper"
    drawn = start(seed if weights is None else None, dtype, kaiming_normal)
    if transform_input is None:
        transform_input = weights is not None and not paper

    def unit(inputs: int, outputs: int, size: int, stride: int = 1) -> Sequential:
        """A convolution that keeps the size (divided by the stride), and what follows each of them."""
        given = (inputs, outputs, size, stride, size // 2)
        if paper:
            return Sequential(conv=Conv2d(*given, **drawn), relu=ReLU(inplace=True))
        conv, bn = Conv2d(*given, bias=False, **drawn), BatchNorm2d(outputs, eps=0.001, dtype=dtype)
        return Sequential(conv=conv, bn=bn, relu=ReLU(inplace=True))

    def module(inputs: int, name: str) -> Concat:
        return inception(inputs, *_widths(name, width), unit=unit, large=5 if paper else 3)

    def pool(size: int = 3) -> MaxPool2d:
        return MaxPool2d(size, stride=2, ceil_mode=True)

    def norm() -> LocalResponseNorm:
        return LocalResponseNorm(size=5, alpha=1e-4, beta=0.75, k=1.0)

    def head(inputs: int) -> Sequential:
        reduced, hidden = scaled(128, width), scaled(1024, width)
        return Sequential(
            averagepool=AvgPool2d(5, stride=3) if paper else AdaptiveAvgPool2d(4),  # 4 x 4
            conv=unit(inputs, reduced, 1),
            flatten=Flatten(),
            fc1=Linear(reduced * 4 * 4, hidden, **drawn),
            relu=ReLU(inplace=True),
            dropout=Dropout(0.7),
            fc2=Linear(hidden, num_classes, **drawn),
        )

    c1, c2, c3 = (scaled(channels, width) for channels in (64, 64, 192))
    after = {name: _outputs(name, width) for name in INCEPTION}
    heads: dict[str, tuple[str, Module]] = {}
    trunk: dict[str, Module] = {}
    if transform_input:
        trunk["transform_input"] = TransformInput()
    trunk["conv1"] = unit(in_channels, c1, 7, stride=2)  # 64 x 112 x 112, of images 224 x 224
    trunk["maxpool1"] = pool()  # 64 x 56 x 56
    if paper:
        trunk["norm1"] = norm()
    trunk["conv2"] = unit(c1, c2, 1)
    trunk["conv3"] = unit(c2, c3, 3)  # 192 x 56 x 56
    if paper:
        trunk["norm2"] = norm()
    trunk["maxpool2"] = pool()  # 192 x 28 x 28
    trunk["inception3a"] = module(c3, "3a")  # 256 x 28 x 28
    trunk["inception3b"] = module(after["3a"], "3b")  # 480 x 28 x 28
    trunk["maxpool3"] = pool()  # 480 x 14 x 14
    trunk["inception4a"] = module(after["3b"], "4a")  # 512 x 14 x 14
    if aux:
        heads["inception4a"] = "aux1", head(after["4a"])
    trunk["inception4b"] = module(after["4a"], "4b")  # 512 x 14 x 14
    trunk["inception4c"] = module(after["4b"], "4c")  # 512 x 14 x 14
    trunk["inception4d"] = module(after["4c"], "4d")  # 528 x 14 x 14
    if aux:
        heads["inception4d"] = "aux2", head(after["4d"])
    trunk["inception4e"] = module(after["4d"], "4e")  # 832 x 14 x 14
    trunk["maxpool4"] = pool(3 if paper else 2)  # 832 x 7 x 7
    trunk["inception5a"] = module(after["4e"], "5a")  # 832 x 7 x 7
    trunk["inception5b"] = module(after["5a"], "5b")  # 1024 x 7 x 7
    trunk["avgpool"] = AdaptiveAvgPool2d(1)  # 1024 x 1 x 1
    trunk["flatten"] = Flatten()
    trunk["dropout"] = Dropout(0.4 if paper else 0.2)
    trunk["fc"] = Linear(after["5b"], num_classes, **drawn)
    network = Branching(trunk, heads, heads_last=not paper)
    if weights is not None:
        load_weights(network, weights, ignore=() if aux else ("aux1.", "aux2."))
    return network


def _widths(name: str, width: float) -> list[int]:
    return [scaled(filters, width) for filters in INCEPTION[name]]


def _outputs(name: str, width: float) -> int:
    """Return the channels of a module's output: its four branches stacked."""
    one, _, three, _, five, pool = _widths(name, width)
    return one + three + five + pool


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
