"""The networks of the race: `cnnlib.models`, slim and for small images, and the same ones with one thing changed."""

from collections.abc import Callable
from functools import partial

import numpy as np

from cnnlib import models
from cnnlib.containers import Branching, Concat, Sequential
from cnnlib.init import kaiming_normal
from cnnlib.layers import (
    AdaptiveAvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    Linear,
    LocalResponseNorm,
    MaxPool2d,
    ReLU,
    Tanh,
)
from cnnlib.models.googlenet import INCEPTION, inception
from cnnlib.module import Module

Build = Callable[..., Module]
Rule = Callable[[Module], list[Module]]
"""What takes a layer's place: itself, nothing, or several."""

# The papers' images have 224 pixels, these 48. AlexNet's first stride is halved, and its last pooling and VGG's leave
# one pixel of each map; GoogLeNet reads 48 as it is. LeNet reads its own 32. In the race VGG and GoogLeNet have batch
# normalisation, as in torchvision's vgg11_bn and googlenet: without it so short a training is too short for them.
OPTIONS = {
    "lenet": {"in_channels": 3},
    "alexnet": {"num_classes": 10, "width": 1 / 6, "stride": 2, "maps": 1},
    "vgg": {"config": "A", "num_classes": 10, "width": 1 / 8, "maps": 1},
    "googlenet": {"variant": "torchvision", "num_classes": 10, "width": 1 / 8},
}
SIZE = {"lenet": 32, "others": 48}


def lenet(seed: int) -> Sequential:
    """Return LeNet-5, full size, on three colours."""
    return models.lenet(seed=seed, **OPTIONS["lenet"])


def alexnet(seed: int) -> Sequential:
    """Return AlexNet with 1/6 of its channels."""
    return he(models.alexnet(seed=seed, **OPTIONS["alexnet"]), seed)


def vgg(seed: int) -> Sequential:
    """Return VGG-11 with 1/8 of its channels."""
    return models.vgg(seed=seed, **OPTIONS["vgg"])


def googlenet(seed: int, aux: bool = False) -> Branching:
    """Return GoogLeNet with batch normalisation and 1/8 of its channels."""
    return models.googlenet(seed=seed, aux=aux, **OPTIONS["googlenet"])


def he(network: Module, seed: int) -> Module:
    """Draw the weights by He's rule: N(0, 0.01) is for layers a few thousand inputs wide, and a slim one dies of it."""
    rng = np.random.default_rng(seed)
    for layer in network.modules():
        if isinstance(layer, (Conv2d, Linear)):
            layer.weight.data = kaiming_normal(rng, layer.weight.shape, "float32")
            layer.bias.data[:] = 0
    return network


def changed(network: Module, rule: Rule) -> Module:
    """Return a chain with each layer replaced by what `rule` says; names stay those of the layers' places."""
    parts: dict[str, Module] = {}
    for name, part in network.children():
        if isinstance(part, (Sequential, Concat)):
            parts[name] = changed(part, rule)
        else:
            parts |= {name if k == 0 else f"{name}+{k}": new for k, new in enumerate(rule(part))}
    return type(network)(**parts)


def without(kind: type[Module]) -> Rule:
    """Return the rule that leaves out the layers of a kind."""
    return lambda layer: [] if isinstance(layer, kind) else [layer]


def tanh_for_relu(layer: Module) -> list[Module]:
    """Put tanh where a rectifier was."""
    return [Tanh()] if isinstance(layer, ReLU) else [layer]


def normalised(layer: Module) -> list[Module]:
    """Put batch normalisation behind each convolution."""
    return [layer, BatchNorm2d(layer.weight.shape[0])] if isinstance(layer, Conv2d) else [layer]


def two_small(network: Sequential, seed: int) -> Sequential:
    """Put two 3x3 convolutions in the place of AlexNet's 5x5 one, with its channels and groups, a rectifier between."""
    rng, parts = np.random.default_rng(seed), {}
    for name, part in network.children():
        parts[name] = part
        if name == "conv2":
            outputs, depth = part.weight.shape[:2]
            start = {"padding": 1, "groups": 2, "rng": rng, "init": kaiming_normal}
            parts[name] = Conv2d(2 * depth, outputs, 3, **start)
            parts |= {"relu2a": ReLU(inplace=True), "conv2b": Conv2d(outputs, outputs, 3, **start)}
    return Sequential(**parts)


def modules(seed: int, naive: bool) -> Sequential:
    """Return a stem and Inception 3a, 3b and 4a with 1/8 of the channels, all batch-normalised.

    A naive module has no 1x1 reductions; its pooling's branch passes on all of its input, so each is wider than the one
    before.
    """
    rng = np.random.default_rng(seed)

    def unit(inputs: int, outputs: int, size: int, stride: int = 1) -> Sequential:
        convolution = Conv2d(inputs, outputs, size, stride, size // 2, rng=rng, init=kaiming_normal)
        return Sequential(conv=convolution, relu=ReLU(inplace=True))

    channels, parts = 24, {"conv1": unit(3, 8, 7, stride=2), "pool1": MaxPool2d(3, stride=2, ceil_mode=True)}
    parts |= {"conv2": unit(8, channels, 3), "pool2": MaxPool2d(3, stride=2, ceil_mode=True)}
    for name in ("3a", "3b", "4a"):
        one, red3, three, red5, five, pool = (filters // 8 for filters in INCEPTION[name])
        if naive:
            parts[name] = Concat(
                branch1=unit(channels, one, 1),
                branch2=unit(channels, three, 3),
                branch3=unit(channels, five, 5),
                branch4=MaxPool2d(3, stride=1, padding=1),
            )
            channels += one + three + five
        else:
            parts[name] = inception(channels, one, red3, three, red5, five, pool, unit=unit, large=5)
            channels = one + three + five + pool
    parts |= {"average": AdaptiveAvgPool2d(1), "flatten": Flatten()}
    return changed(Sequential(**parts, fc=Linear(channels, 10, rng=rng, init=kaiming_normal)), normalised)


NETWORKS: dict[str, Build] = {
    "LeNet": lenet,
    "AlexNet": alexnet,
    "VGG-11": lambda seed: changed(vgg(seed), normalised),
    "GoogLeNet": googlenet,
    "AlexNet without LRN": lambda seed: changed(alexnet(seed), without(LocalResponseNorm)),
    "AlexNet without dropout": lambda seed: changed(alexnet(seed), without(Dropout)),
    "AlexNet with two 3x3": lambda seed: two_small(alexnet(seed), seed),
    "AlexNet with tanh": lambda seed: changed(alexnet(seed), tanh_for_relu),
    "VGG-11 without batch normalisation": vgg,
    "GoogLeNet with auxiliary heads": partial(googlenet, aux=True),
    "three modules, reduced": partial(modules, naive=False),
    "three modules, naive": partial(modules, naive=True),
}

RATES = {
    "LeNet": 2e-3,
    "VGG-11": 2e-3,
    "GoogLeNet": 4e-3,
    "GoogLeNet with auxiliary heads": 4e-3,
    "three modules, reduced": 2e-3,
    "three modules, naive": 2e-3,
}
"""Adam's rates, 1e-3 for the others. Set by a few trials, not searched for."""


def rate(name: str) -> float:
    """Return the rate that a network of `NETWORKS` is trained with."""
    return RATES.get(name, 1e-3)


RACE = ("LeNet", "AlexNet", "VGG-11", "GoogLeNet")

ABLATIONS = {
    "local response normalisation": ("AlexNet", "AlexNet without LRN"),
    "dropout": ("AlexNet", "AlexNet without dropout"),
    "ReLU, not tanh": ("AlexNet", "AlexNet with tanh"),
    "batch normalisation": ("VGG-11", "VGG-11 without batch normalisation"),
    "two 3x3, not one 5x5": ("AlexNet with two 3x3", "AlexNet"),
    "auxiliary heads": ("GoogLeNet with auxiliary heads", "GoogLeNet"),
    "1x1 reductions": ("three modules, reduced", "three modules, naive"),
}
"""What is asked -> (with it, without it)."""
