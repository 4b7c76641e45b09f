"""Layers: thin keepers of parameters and settings over `functional`. Names, order and defaults are torch.nn's."""

from typing import Any

import numpy as np

from cnnlib import functional as F
from cnnlib import init
from cnnlib.functional._arrays import Array
from cnnlib.functional.geometry import Pair, pair
from cnnlib.module import Layer, Parameter


class Conv2d(Layer):
    """Convolution: `out_channels` filters, each as deep as the input. See `functional.conv2d`.

    `rng` draws the weights (O, C/groups, kh, kw) and biases (O,), by torch's default rule; without it they come from
    seed 0.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Pair,
        stride: int | Pair = 1,
        padding: int | Pair = 0,
        dilation: int | Pair = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        dtype: str = "float32",
        rng: np.random.Generator | None = None,
    ) -> None:
        for name, channels in (("in_channels", in_channels), ("out_channels", out_channels)):
            if channels % groups:
                raise ValueError(f"{name}={channels} must be divisible by groups={groups}")
        rng = rng or np.random.default_rng(0)
        self.kernel_size = pair("kernel_size", kernel_size, 1)
        self.stride = pair("stride", stride, 1)
        self.padding = pair("padding", padding, 0)
        self.dilation = pair("dilation", dilation, 1)
        self.groups = groups
        shape = (out_channels, in_channels // groups, *self.kernel_size)
        fan_in, _ = init.fans(shape)
        self.weight = Parameter(init.uniform_fan_in(rng, shape, dtype, fan_in))
        self.bias = Parameter(init.uniform_fan_in(rng, (out_channels,), dtype, fan_in)) if bias else None

    def forward(self, x: Array) -> tuple[Array, Any]:
        bias = self.bias.data if self.bias else None
        return F.conv2d(x, self.weight.data, bias, self.stride, self.padding, self.dilation, self.groups)

    def gradients(self, dy: Array, cache: Any, need_input_grad: bool) -> Array | None:
        dx, dweight, dbias = F.conv2d_backward(dy, cache, need_input_grad)
        self.weight.accumulate(dweight)
        if self.bias:
            self.bias.accumulate(dbias)
        return dx


class Linear(Layer):
    """Fully connected layer. See `functional.linear`; `rng` as in `Conv2d`."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        dtype: str = "float32",
        rng: np.random.Generator | None = None,
    ) -> None:
        rng = rng or np.random.default_rng(0)
        shape = (out_features, in_features)
        self.weight = Parameter(init.uniform_fan_in(rng, shape, dtype, in_features))
        self.bias = Parameter(init.uniform_fan_in(rng, (out_features,), dtype, in_features)) if bias else None

    def forward(self, x: Array) -> tuple[Array, Any]:
        return F.linear(x, self.weight.data, self.bias.data if self.bias else None)

    def gradients(self, dy: Array, cache: Any, need_input_grad: bool) -> Array | None:
        dx, dweight, dbias = F.linear_backward(dy, cache, need_input_grad)
        self.weight.accumulate(dweight)
        if self.bias:
            self.bias.accumulate(dbias)
        return dx


class MaxPool2d(Layer):
    """The largest value of each window. See `functional.max_pool2d`."""

    def __init__(
        self,
        kernel_size: int | Pair,
        stride: int | Pair | None = None,
        padding: int | Pair = 0,
        dilation: int | Pair = 1,
        ceil_mode: bool = False,
    ) -> None:
        self.kernel_size = pair("kernel_size", kernel_size, 1)
        self.stride = self.kernel_size if stride is None else pair("stride", stride, 1)
        self.padding = pair("padding", padding, 0)
        self.dilation = pair("dilation", dilation, 1)
        self.ceil_mode = ceil_mode

    def forward(self, x: Array) -> tuple[Array, Any]:
        return F.max_pool2d(x, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)

    def gradients(self, dy: Array, cache: Any, need_input_grad: bool) -> Array | None:
        return F.max_pool2d_backward(dy, cache)


class AvgPool2d(Layer):
    """The mean of each window. See `functional.avg_pool2d`."""

    def __init__(
        self,
        kernel_size: int | Pair,
        stride: int | Pair | None = None,
        padding: int | Pair = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        self.kernel_size = pair("kernel_size", kernel_size, 1)
        self.stride = self.kernel_size if stride is None else pair("stride", stride, 1)
        self.padding = pair("padding", padding, 0)
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad

    def forward(self, x: Array) -> tuple[Array, Any]:
        return F.avg_pool2d(x, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad)

    def gradients(self, dy: Array, cache: Any, need_input_grad: bool) -> Array | None:
        return F.avg_pool2d_backward(dy, cache)


class ReLU(Layer):
    """Rectifier. See `functional.relu`."""

    def forward(self, x: Array) -> tuple[Array, Any]:
        return F.relu(x)

    def gradients(self, dy: Array, cache: Any, need_input_grad: bool) -> Array | None:
        return F.relu_backward(dy, cache)


class Tanh(Layer):
    """Hyperbolic tangent. See `functional.tanh`."""

    def forward(self, x: Array) -> tuple[Array, Any]:
        return F.tanh(x)

    def gradients(self, dy: Array, cache: Any, need_input_grad: bool) -> Array | None:
        return F.tanh_backward(dy, cache)


class Sigmoid(Layer):
    """Logistic function. See `functional.sigmoid`."""

    def forward(self, x: Array) -> tuple[Array, Any]:
        return F.sigmoid(x)

    def gradients(self, dy: Array, cache: Any, need_input_grad: bool) -> Array | None:
        return F.sigmoid_backward(dy, cache)


class Flatten(Layer):
    """All axes but the batch's as one. See `functional.flatten`."""

    def forward(self, x: Array) -> tuple[Array, Any]:
        return F.flatten(x)

    def gradients(self, dy: Array, cache: Any, need_input_grad: bool) -> Array | None:
        return F.flatten_backward(dy, cache)
