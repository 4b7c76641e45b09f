"""VGGNet: depth by stacks of 3x3 filters, 2014."""

import os
from typing import Any

from cnnlib.containers import Sequential
from cnnlib.init import kaiming_normal
from cnnlib.layers import (
    AdaptiveAvgPool2d,
    Conv2d,
    Dropout,
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
from cnnlib.module import Module

# Simonyan & Zisserman 2015, table 1. A number is a 3x3 convolution with so many filters, "1x256" a 1x1 convolution,
# M the 2x2 max pooling, L local response normalisation.
CONFIGURATIONS = {
    "A": "64 M 128 M 256 256 M 512 512 M 512 512 M",
    "A-LRN": "64 L M 128 M 256 256 M 512 512 M 512 512 M",
    "B": "64 64 M 128 128 M 256 256 M 512 512 M 512 512 M",
    "C": "64 64 M 128 128 M 256 256 1x256 M 512 512 1x512 M 512 512 1x512 M",
    "D": "64 64 M 128 128 M 256 256 256 M 512 512 512 M 512 512 512 M",
    "E": "64 64 M 128 128 M 256 256 256 256 M 512 512 512 512 M 512 512 512 512 M",
}


def vgg(
    config: str = "D",
    num_classes: int = 1000,
    in_channels: int = 3,
    *,
    seed: int | None = 0,
    dtype: str = "float32",
    width: float = 1.0,
    maps: int = 7,
    weights: str | os.PathLike[str] | None = None,
) -> Sequential:
    """Return the VGG network of a configuration of the paper's table 1; its outputs are logits.

    Images are 224x224 in the paper; others from 32x32 on work too, since the last maps are averaged to `maps` x `maps`,
    7x7 (which changes nothing at 224). With maps=2 it changes nothing at 64, and the first fully connected layer has
    4 values of each map to read, not 49. Names of parameters are torchvision's for A, B, D and E, and of its kind for
    the others. A-LRN normalises as AlexNet does. Weights start by He's rule, where the paper started deep networks from
    shallow ones. `width` multiplies the channels and the hidden units; `seed` draws the weights (None leaves them
    undrawn, at 0), or `weights` is a file of them (a path or a URL, such as torchvision's vgg16-397923af.pth), see
    `models.load_weights`.

    Raises ValueError for an unknown configuration or numbers below 1. Source: Simonyan & Zisserman 2015, table 1 and
    section 2.
    """
    if config not in CONFIGURATIONS:
        raise ValueError(f"config must be one of {', '.join(CONFIGURATIONS)}, not {config!r}")
    at_least_one(num_classes=num_classes, in_channels=in_channels, maps=maps)
    drawn = start(seed if weights is None else None, dtype, kaiming_normal)
    layers: list[Module] = []
    channels = in_channels
    for entry in CONFIGURATIONS[config].split():
        if entry == "M":
            layers.append(MaxPool2d(2))
        elif entry == "L":
            layers.append(LocalResponseNorm(size=5, alpha=1e-4, beta=0.75, k=2.0, convention="paper"))
        else:
            kernel_size, _, filters = entry.rpartition("x")
            outputs, size = scaled(int(filters), width), int(kernel_size or 3)
            layers += [Conv2d(channels, outputs, size, padding=size // 2, **drawn), ReLU(inplace=True)]
            channels = outputs
    hidden = scaled(4096, width)
    classifier = Sequential(
        Linear(channels * maps * maps, hidden, **drawn),
        ReLU(inplace=True),
        Dropout(0.5),
        Linear(hidden, hidden, **drawn),
        ReLU(inplace=True),
        Dropout(0.5),
        Linear(hidden, num_classes, **drawn),
    )
    network = Sequential(
        features=Sequential(*layers), avgpool=AdaptiveAvgPool2d(maps), flatten=Flatten(), classifier=classifier
    )
    if weights is not None:
        load_weights(network, weights)
    return network


def vgg11(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> Sequential:
    """Return configuration A. See `vgg`."""
    return vgg("A", num_classes, in_channels, **options)


def vgg13(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> Sequential:
    """Return configuration B. See `vgg`."""
    return vgg("B", num_classes, in_channels, **options)


def vgg16(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> Sequential:
    """Return configuration D. See `vgg`."""
    return vgg("D", num_classes, in_channels, **options)


def vgg19(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> Sequential:
    """Return configuration E. See `vgg`."""
    return vgg("E", num_classes, in_channels, **options)
