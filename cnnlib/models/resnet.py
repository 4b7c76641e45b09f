"""Residual networks: layers learn what to add to their input, 2015."""

import os
from typing import Any

from cnnlib.arrays import Array, namespace
from cnnlib.containers import Residual, Sequential
from cnnlib.functional.geometry import Window
from cnnlib.init import kaiming_normal, kaiming_normal_fan_out
from cnnlib.layers import AdaptiveAvgPool2d, BatchNorm2d, Conv2d, Flatten, Linear, MaxPool2d, ReLU, at_least_one
from cnnlib.models._start import start
from cnnlib.models._weights import load_weights
from cnnlib.models._width import scaled
from cnnlib.module import Layer, Module, Shape, Trace

# He et al. 2016, table 1: kernel sizes of a block's convolutions, and how many blocks each of the four stages has.
IMAGENET = {18: ((3, 3), (2, 2, 2, 2)), 34: ((3, 3), (3, 4, 6, 3)), 50: ((1, 3, 1), (3, 4, 6, 3))}
FILTERS = (64, 128, 256, 512)
# Section 4.2: of 6n + 2 layers, a stage has n blocks of two 3x3 convolutions with so many filters.
CIFAR_FILTERS = (16, 32, 64)


def resnet(
    depth: int = 18,
    num_classes: int = 1000,
    in_channels: int = 3,
    *,
    seed: int | None = 0,
    dtype: str = "float32",
    width: float = 1.0,
    zero_init_residual: bool = False,
    weights: str | os.PathLike[str] | None = None,
) -> Sequential:
    """Return torchvision's ResNet of 18, 34 or 50 layers; its outputs are logits.

    It has 11,689,512, 21,797,672 or 25,557,032 parameters. Where a stage begins, its shortcut is a 1x1 convolution with
    batch normalisation (the paper's option B). In the 50 layers' blocks of 1x1, 3x3 and 1x1 filters it is the 3x3 that
    has the stride 2, as in torchvision (called v1.5), and not the first 1x1, as in the paper.

    Images are 224x224 in the paper; others work too. Convolutions start by He's rule for the fan out, the last layer by
    torch's, as in torchvision; with `zero_init_residual` each block's last scale starts at 0, so that each block starts
    as its shortcut. `width` multiplies the channels; `seed` draws the weights (None leaves them undrawn, at 0), or
    `weights` is a file of them (a path or a URL, such as torchvision's resnet18-f37072fd.pth), see
    `models.load_weights`.

    Raises ValueError for another depth or numbers below 1. Source: He et al. 2016, table 1; torchvision; for
    `zero_init_residual` Goyal et al. 2017, section 5.1.
    """
    if depth not in IMAGENET:
        raise ValueError(f"depth must be one of {', '.join(map(str, IMAGENET))}, not {depth!r}")
    at_least_one(num_classes=num_classes, in_channels=in_channels)
    drawn = start(seed if weights is None else None, dtype, kaiming_normal_fan_out)
    kernel_sizes, blocks = IMAGENET[depth]
    expansion = 4 if len(kernel_sizes) == 3 else 1
    stem, *stages = (scaled(filters, width) for filters in (FILTERS[0], *FILTERS))
    parts: dict[str, Module] = {
        "conv1": Conv2d(in_channels, stem, 7, stride=2, padding=3, bias=False, **drawn),  # 64 x 112 x 112
        "bn1": BatchNorm2d(stem, dtype=dtype),
        "relu": ReLU(inplace=True),
        "maxpool": MaxPool2d(3, stride=2, padding=1),  # 64 x 56 x 56
    }
    inputs = stem
    for k, filters in enumerate(stages):  # 56, 28, 14 and 7 pixels; 64, 128, 256 and 512 maps, or four times as many
        stage: list[Module] = []
        for b in range(blocks[k]):
            stride, outputs = (2 if k and not b else 1), filters * expansion
            shortcut = projection(inputs, outputs, stride, drawn) if stride > 1 or inputs != outputs else None
            channels = (inputs, *[filters] * (len(kernel_sizes) - 1), outputs)
            stage.append(block(channels, kernel_sizes, stride, shortcut, drawn, zero_init_residual))
            inputs = outputs
        parts[f"layer{k + 1}"] = Sequential(*stage)
    parts |= {"avgpool": AdaptiveAvgPool2d(1), "flatten": Flatten()}
    parts["fc"] = Linear(inputs, num_classes, **(drawn | {"init": None} if "rng" in drawn else drawn))
    network = Sequential(**parts)
    if weights is not None:
        load_weights(network, weights)
    return network


def block(
    channels: tuple[int, ...],
    kernel_sizes: tuple[int, ...],
    stride: int,
    shortcut: Module | None,
    drawn: dict[str, Any],
    zero_init: bool = False,
    add: bool = True,
) -> Module:
    """Return 3x3 and 3x3, or 1x1, 3x3 and 1x1 convolutions, normalised and rectified, around which a shortcut leads.

    `channels` are those of the input and of each convolution's output; the first 3x3 convolution has the stride. The
    last rectifier stands behind the sum. Without `add` there is no shortcut. Source: He et al. 2016, figures 2 and 5.
    """
    path: dict[str, Module] = {}
    strided = kernel_sizes.index(3)
    for k, size in enumerate(kernel_sizes):
        step, inputs, outputs = stride if k == strided else 1, channels[k], channels[k + 1]
        path[f"conv{k + 1}"] = Conv2d(inputs, outputs, size, step, size // 2, bias=False, **drawn)
        path[f"bn{k + 1}"] = norm = BatchNorm2d(outputs, dtype=drawn["dtype"])
        if k < len(kernel_sizes) - 1:
            path[f"relu{k + 1}"] = ReLU(inplace=True)
    if zero_init:
        norm.weight.data[:] = 0
    after: dict[str, Module] = {"relu": ReLU(inplace=True)}
    if not add:
        return Sequential(**path, **after)
    return Residual(path, None if shortcut is None else {"downsample": shortcut}, after)


def projection(inputs: int, outputs: int, stride: int, drawn: dict[str, Any]) -> Sequential:
    """Return option B: a 1x1 convolution to the path's shape, normalised. Source: He et al. 2016, equation 2."""
    convolution = Conv2d(inputs, outputs, 1, stride, bias=False, **drawn)
    return Sequential(convolution, BatchNorm2d(outputs, dtype=drawn["dtype"]))


class ZeroPadding(Layer):
    """Option A: every `stride`-th pixel of the input, and maps of zeros behind its maps, with nothing to learn.

    Source: He et al. 2016, section 3.3, and for the place of the zeros the authors' fb.resnet.torch.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        at_least_one(in_channels=in_channels, stride=stride)
        if out_channels < in_channels:
            raise ValueError(f"maps are added, so out_channels must be at least {in_channels}, not {out_channels}")
        self.in_channels, self.out_channels, self.stride = in_channels, out_channels, stride

    def trace(self, shape: Shape) -> Trace:
        if len(shape) != 3 or shape[0] != self.in_channels:
            raise ValueError(f"this layer reads {self.in_channels} maps (C, H, W), but gets {shape}: {self!r}")
        window = Window((shape[1], shape[2]), (1, 1), (self.stride, self.stride))
        return Trace((self.out_channels, *window.outputs), 0, window)

    def forward(self, x: Array) -> tuple[Array, Any]:
        xp, seen = namespace(x), x[:, :, :: self.stride, :: self.stride]
        y = xp.zeros((x.shape[0], self.out_channels, *seen.shape[2:]), dtype=x.dtype, device=x.device)
        y[:, : self.in_channels, ...] = seen
        return y, tuple(x.shape)

    def gradients(self, dy: Array, cache: Any, need_input_grad: bool) -> Array | None:
        if not need_input_grad:
            return None
        dx = namespace(dy).zeros(cache, dtype=dy.dtype, device=dy.device)
        dx[:, :, :: self.stride, :: self.stride] = dy[:, : self.in_channels, ...]
        return dx


def resnet_cifar(
    depth: int = 20,
    num_classes: int = 10,
    in_channels: int = 3,
    *,
    shortcuts: bool = True,
    seed: int | None = 0,
    dtype: str = "float32",
    width: float = 1.0,
    weights: str | os.PathLike[str] | None = None,
) -> Sequential:
    """Return the paper's network for CIFAR-10 with 6n + 2 layers, as 20, 32 or 56; its outputs are logits.

    ======= ============ ======================= ========== ========== ==========
    stage   output       convolutions            20 layers  32 layers  56 layers
    ======= ============ ======================= ========== ========== ==========
    conv1   16 x 32 x 32 16 filters 3x3          1          1          1
    layer1  16 x 32 x 32 16 filters 3x3          6          10         18
    layer2  32 x 16 x 16 32 filters 3x3          6          10         18
    layer3  64 x 8 x 8   64 filters 3x3          6          10         18
    fc      10           mean, fully connected   1          1          1
    in all               parameters              269,722    464,154    853,018
    ======= ============ ======================= ========== ========== ==========

    Shortcuts have nothing to learn: where the maps become more, zeros stand for those that are missing (option A).
    Without `shortcuts` it is the paper's plain network, with as many parameters. Weights start by He's rule; `width`,
    `seed` and `weights` are those of `resnet`.

    Raises ValueError for a depth that is not 6n + 2, or numbers below 1. Source: He et al. 2016, section 4.2.
    """
    at_least_one(depth=depth, num_classes=num_classes, in_channels=in_channels)
    n, rest = divmod(depth - 2, 6)
    if rest or n < 1:
        raise ValueError(f"depth must be 6n + 2 with n from 1 on, as 20, 32 or 56, not {depth}")
    drawn = start(seed if weights is None else None, dtype, kaiming_normal)
    stem, *stages = (scaled(filters, width) for filters in (CIFAR_FILTERS[0], *CIFAR_FILTERS))
    parts: dict[str, Module] = {
        "conv1": Conv2d(in_channels, stem, 3, padding=1, bias=False, **drawn),
        "bn1": BatchNorm2d(stem, dtype=dtype),
        "relu": ReLU(inplace=True),
    }
    inputs = stem
    for k, filters in enumerate(stages):
        stage: list[Module] = []
        for b in range(n):
            stride = 2 if k and not b else 1
            shortcut = ZeroPadding(inputs, filters, stride) if stride > 1 else None
            stage.append(block((inputs, filters, filters), (3, 3), stride, shortcut, drawn, add=shortcuts))
            inputs = filters
        parts[f"layer{k + 1}"] = Sequential(*stage)
    parts |= {"avgpool": AdaptiveAvgPool2d(1), "flatten": Flatten(), "fc": Linear(inputs, num_classes, **drawn)}
    network = Sequential(**parts)
    if weights is not None:
        load_weights(network, weights)
    return network


def resnet18(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> Sequential:
    """Return 18 layers, in blocks of two. See `resnet`."""
    return resnet(18, num_classes, in_channels, **options)


def resnet34(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> Sequential:
    """Return 34 layers, in blocks of two. See `resnet`."""
    return resnet(34, num_classes, in_channels, **options)


def resnet50(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> Sequential:
    """Return 50 layers, in blocks of three. See `resnet`."""
    return resnet(50, num_classes, in_channels, **options)
