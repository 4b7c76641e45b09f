"""AlexNet: ImageNet, 2012."""

import os
from typing import Any

from cnnlib.containers import Sequential
from cnnlib.init import kaiming_normal, normal
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


def alexnet(
    variant: str = "paper",
    num_classes: int = 1000,
    in_channels: int = 3,
    *,
    seed: int | None = 0,
    dtype: str = "float32",
    width: float = 1.0,
    stride: int = 4,
    maps: int = 6,
    weights: str | os.PathLike[str] | None = None,
) -> Sequential:
    """Return AlexNet; its outputs are logits.

    "paper" is the network of 2012 with 60,965,224 parameters: filters 2, 4 and 5 in two groups (one for each of its two
    GPUs) and local response normalisation. It reads 227x227 images: the paper says 224, but (224 - 11)/4 + 1, rounded
    down, is not the 55 that it gives for conv1. Weights start at N(0, 0.01), biases at 1 where the paper says so.

    "torchvision" is torchvision's, with 61,100,840 parameters under its names: no groups, the filters of Krizhevsky's
    one-column network (64/192/384/256/256 by his configuration file; the footnote of his paper has 384 in the fourth
    layer), but without the file's two normalisations; dropout before the layers it protects, 224x224 images. Weights
    start by He's rule.

    For small images, conv1's `stride` can be smaller, and fc6 reads `maps` x `maps` values of each map: with stride 2
    and maps 2, 64x64 images go through maps of 27, 13, 6 and 2 pixels, where the paper's are 55, 27, 13 and 6.

    `width` multiplies the channels and the hidden units; `seed` draws the weights (None leaves them undrawn, at 0, but
    for those biases), or `weights` is a file of them (a path or a URL, such as torchvision's
    alexnet-owt-7be5be79.pth), see `models.load_weights`.

    Raises ValueError for an unknown variant or numbers below 1. Source: Krizhevsky et al. 2012, sections 3 and 5
    (padding as in Caffe's bvlc_alexnet); Krizhevsky 2014, and layers/layers-imagenet-1gpu.cfg of his cuda-convnet2.
    """
    if variant not in ("paper", "torchvision"):
        raise ValueError(f'variant must be "paper" or "torchvision", not {variant!r}')
    at_least_one(num_classes=num_classes, in_channels=in_channels, maps=maps)
    build = _paper if variant == "paper" else _torchvision
    drawn_from = seed if weights is None else None
    network = build(num_classes, in_channels, drawn_from, dtype, width, stride, maps)
    if weights is not None:
        load_weights(network, weights)
    return network


def _paper(
    num_classes: int, in_channels: int, seed: int | None, dtype: str, width: float, stride: int, maps: int
) -> Sequential:
    drawn = start(seed, dtype, normal(0.01))
    # even numbers, so that two groups share them
    c1, c2, c3, c4, c5, hidden = (scaled(channels, width, 2) for channels in (96, 256, 384, 384, 256, 4096))

    def norm() -> LocalResponseNorm:
        return LocalResponseNorm(size=5, alpha=1e-4, beta=0.75, k=2.0, convention="paper")

    network = Sequential(
        conv1=Conv2d(in_channels, c1, 11, stride=stride, **drawn),
        relu1=ReLU(inplace=True),
        norm1=norm(),
        pool1=MaxPool2d(3, stride=2),
        conv2=Conv2d(c1, c2, 5, padding=2, groups=2, **drawn),
        relu2=ReLU(inplace=True),
        norm2=norm(),
        pool2=MaxPool2d(3, stride=2),
        conv3=Conv2d(c2, c3, 3, padding=1, **drawn),
        relu3=ReLU(inplace=True),
        conv4=Conv2d(c3, c4, 3, padding=1, groups=2, **drawn),
        relu4=ReLU(inplace=True),
        conv5=Conv2d(c4, c5, 3, padding=1, groups=2, **drawn),
        relu5=ReLU(inplace=True),
        pool5=MaxPool2d(3, stride=2),
        flatten=Flatten(),
        fc6=Linear(c5 * maps * maps, hidden, **drawn),
        relu6=ReLU(inplace=True),
        drop6=Dropout(0.5),
        fc7=Linear(hidden, hidden, **drawn),
        relu7=ReLU(inplace=True),
        drop7=Dropout(0.5),
        fc8=Linear(hidden, num_classes, **drawn),
    )
    for name in ("conv2", "conv4", "conv5", "fc6", "fc7"):
        weighted: Any = network[name]
        weighted.bias.data[:] = 1  # section 5: so that the ReLUs have positive inputs from the start
    return network


def _torchvision(
    num_classes: int, in_channels: int, seed: int | None, dtype: str, width: float, stride: int, maps: int
) -> Sequential:
    drawn = start(seed, dtype, kaiming_normal)
    c1, c2, c3, c4, c5, hidden = (scaled(channels, width) for channels in (64, 192, 384, 256, 256, 4096))
    features = Sequential(
        Conv2d(in_channels, c1, 11, stride=stride, padding=2, **drawn),
        ReLU(inplace=True),
        MaxPool2d(3, stride=2),
        Conv2d(c1, c2, 5, padding=2, **drawn),
        ReLU(inplace=True),
        MaxPool2d(3, stride=2),
        Conv2d(c2, c3, 3, padding=1, **drawn),
        ReLU(inplace=True),
        Conv2d(c3, c4, 3, padding=1, **drawn),
        ReLU(inplace=True),
        Conv2d(c4, c5, 3, padding=1, **drawn),
        ReLU(inplace=True),
        MaxPool2d(3, stride=2),
    )
    classifier = Sequential(
        Dropout(0.5),
        Linear(c5 * maps * maps, hidden, **drawn),
        ReLU(inplace=True),
        Dropout(0.5),
        Linear(hidden, hidden, **drawn),
        ReLU(inplace=True),
        Linear(hidden, num_classes, **drawn),
    )
    return Sequential(features=features, avgpool=AdaptiveAvgPool2d(maps), flatten=Flatten(), classifier=classifier)
