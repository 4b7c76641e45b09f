"""Layers: thin keepers of parameters and settings over `functional`. Names, order and defaults are torch.nn's."""

from math import prod
from typing import Any

import numpy as np

from cnnlib import functional as F
from cnnlib import init as I
from cnnlib.arrays import Array, namespace, widened
from cnnlib.functional.geometry import AdaptiveWindows, Pair, Window, pair
from cnnlib.losses import Criterion, MAPLoss
from cnnlib.module import Given, Layer, Parameter, Shape, Trace


def at_least_one(**counts: int) -> None:
    """Raise TypeError unless the named numbers are ints, ValueError unless they are at least 1."""
    for name, count in counts.items():
        if not hasattr(count, "__index__") or isinstance(count, bool):
            raise TypeError(f"{name} must be an int, not {count!r}")
        if count < 1:
            raise ValueError(f"{name} must be at least 1, not {count}")


def _check_dtype(dtype: str) -> None:
    if dtype not in ("float32", "float64"):
        raise ValueError(f'dtype must be "float32" or "float64", not {dtype!r}')


class _Weighted(Layer):
    """A layer with a weight, and perhaps a bias for each output."""

    weight: Parameter
    bias: Parameter | None

    def _draw(
        self,
        shape: tuple[int, ...],
        outputs: int,
        bias: bool,
        dtype: str,
        rng: "np.random.Generator | None",
        init: I.Initializer | None,
    ) -> None:
        _check_dtype(dtype)
        rng = rng or I.shared_generator()
        self.weight = Parameter((init or I.uniform_fan_in)(rng, shape, dtype))
        self.bias = None
        if bias and init is None:
            self.bias = Parameter(I.uniform(rng, (outputs,), dtype, I.fans(shape)[0] ** -0.5))
        elif bias:
            self.bias = Parameter(np.zeros(outputs, dtype))

    def _accumulate(self, dweight: Array | None, dbias: Array | None) -> None:
        self.weight.accumulate(dweight)
        if self.bias is not None:
            self.bias.accumulate(dbias)

    @property
    def _trains(self) -> bool:
        return self.weight.requires_grad

    @property
    def _bias(self) -> Array | None:
        return None if self.bias is None else self.bias.data


class Elementwise(Layer):
    """A layer that leaves shapes as they are and reads, for each value, only what is at the same position."""

    def trace(self, shape: Shape) -> Trace:
        return Trace(shape, 0, Window(_positions(shape), (1, 1)))


def _positions(shape: Shape) -> Pair:
    """Return (H, W) of maps (C, H, W); features have one position."""
    return (shape[1], shape[2]) if len(shape) == 3 else (1, 1)


def _size(layer: Layer, shape: Shape) -> Pair:
    """Return (H, W) of maps (C, H, W), which features are not."""
    if len(shape) != 3:
        raise ValueError(f"this layer reads maps (C, H, W), but gets {shape}: {layer!r}")
    return shape[1], shape[2]


def _slide(layer: Layer, inputs: int, outputs: int, shape: Shape, window: Window) -> Shape:
    """Return the shape that a window makes of (inputs, H, W)."""
    if shape[0] != inputs:
        raise ValueError(f"this layer reads {inputs} channels, but gets {shape[0]}: {layer!r}")
    return (outputs, *window.outputs)


def _all_to_all(layer: Layer, weight_shape: Shape, shape: Shape) -> Trace:
    outputs, features = weight_shape
    if shape != (features,):
        raise ValueError(f"this layer reads {features} features, but gets {shape}: {layer!r}")
    return Trace((outputs,), outputs * features, Window((1, 1), (1, 1)))


class _Wide(Layer):
    """A layer whose sums need float32: it computes so, and takes and gives arrays of 16 bits where others do."""

    wide = True

    def __call__(self, x: Array) -> Array:
        return _narrowed(super().__call__(widened(x)), x)

    def backward(self, dy: Array, need_input_grad: bool = True) -> Array | None:
        dx = super().backward(widened(dy), need_input_grad)
        return None if dx is None else _narrowed(dx, dy)


def _narrowed(array: Array, like: Array) -> Array:
    return array if array.dtype == like.dtype else namespace(array).astype(array, like.dtype)


class Conv2d(_Weighted):
    """Convolution: `out_channels` filters, each as deep as the input. See `functional.conv2d`.

    `rng` draws the weight (O, C/groups, kh, kw), or the generator that `init.manual_seed` starts. Weight and bias start
    by torch's rule, or the weight by `init` and the bias at 0.
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
        rng: "np.random.Generator | None" = None,
        init: I.Initializer | None = None,
    ) -> None:
        at_least_one(in_channels=in_channels, out_channels=out_channels, groups=groups)
        for name, channels in (("in_channels", in_channels), ("out_channels", out_channels)):
            if channels % groups:
                raise ValueError(f"{name}={channels} must be divisible by groups={groups}: each has as many")
        self.kernel_size = pair("kernel_size", kernel_size, 1)
        self.stride = pair("stride", stride, 1)
        self.padding = pair("padding", padding, 0)
        self.dilation = pair("dilation", dilation, 1)
        self.groups = int(groups)
        shape = (out_channels, in_channels // groups, *self.kernel_size)
        self._draw(shape, out_channels, bias, dtype, rng, init)

    def window(self, shape: Shape) -> Window:
        """Return where the kernel stands on an input of (C, H, W)."""
        return Window(_size(self, shape), self.kernel_size, self.stride, self.padding, self.dilation)

    def trace(self, shape: Shape) -> Trace:
        window = self.window(shape)
        outputs, depth = self.weight.shape[:2]
        y_shape = _slide(self, depth * self.groups, outputs, shape, window)
        return Trace(y_shape, prod(window.outputs) * prod(self.weight.shape), window)

    def forward(self, x: Array) -> tuple[Array, Any]:
        return F.conv2d(x, self.weight.data, self._bias, self.stride, self.padding, self.dilation, self.groups)

    def gradients(self, dy: Array, cache: Any, need_input_grad: bool) -> Array | None:
        dx, dweight, dbias = F.conv2d_backward(dy, cache, need_input_grad, self._trains)
        self._accumulate(dweight, dbias)
        return dx


class SparseConv2d(_Weighted):
    """Convolution in which each filter reads only the channels that `table` lists. See `functional.sparse_conv2d`.

    The weight is (connections, kh, kw). Raises ValueError for a table in which a filter reads nothing or a channel's
    number is negative.
    """

    def __init__(
        self,
        table: F.ConnectionTable,
        kernel_size: int | Pair,
        bias: bool = True,
        *,
        dtype: str = "float32",
        rng: "np.random.Generator | None" = None,
        init: I.Initializer | None = None,
    ) -> None:
        if not table or not all(table) or min(min(channels) for channels in table) < 0:
            raise ValueError(f"table must list, for each filter, the numbers of the channels it reads, not {table}")
        self.table = table
        self.kernel_size = pair("kernel_size", kernel_size, 1)
        # a filter's fan in is what it reads, so each filter is drawn by itself
        filters: list[np.ndarray] = []
        for channels in table:
            self._draw((1, len(channels), *self.kernel_size), len(table), bias, dtype, rng, init)
            filters.append(self.weight.data[0])
        self.weight = Parameter(np.concatenate(filters))

    def trace(self, shape: Shape) -> Trace:
        window = Window(_size(self, shape), self.kernel_size)
        if shape[0] <= (last := max(max(channels) for channels in self.table)):
            raise ValueError(f"the table names channel {last}, counted from 0, but there are {shape[0]}: {self!r}")
        return Trace((len(self.table), *window.outputs), prod(window.outputs) * prod(self.weight.shape), window)

    def forward(self, x: Array) -> tuple[Array, Any]:
        return F.sparse_conv2d(x, self.weight.data, self._bias, self.table)

    def gradients(self, dy: Array, cache: Any, need_input_grad: bool) -> Array | None:
        dx, dweight, dbias = F.sparse_conv2d_backward(dy, cache, need_input_grad, self._trains)
        self._accumulate(dweight, dbias)
        return dx


class Linear(_Weighted):
    """Fully connected layer, weight (K, D). See `functional.linear`; `rng` and `init` as in `Conv2d`."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        dtype: str = "float32",
        rng: "np.random.Generator | None" = None,
        init: I.Initializer | None = None,
    ) -> None:
        at_least_one(in_features=in_features, out_features=out_features)
        self._draw((out_features, in_features), out_features, bias, dtype, rng, init)

    def trace(self, shape: Shape) -> Trace:
        return _all_to_all(self, self.weight.shape, shape)

    def forward(self, x: Array) -> tuple[Array, Any]:
        return F.linear(x, self.weight.data, self._bias)

    def gradients(self, dy: Array, cache: Any, need_input_grad: bool) -> Array | None:
        dx, dweight, dbias = F.linear_backward(dy, cache, need_input_grad, self._trains)
        self._accumulate(dweight, dbias)
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

    def trace(self, shape: Shape) -> Trace:
        given = (self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)
        window = Window(_size(self, shape), *given)
        return Trace((shape[0], *window.outputs), 0, window)

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

    def trace(self, shape: Shape) -> Trace:
        window = Window(_size(self, shape), self.kernel_size, self.stride, self.padding, ceil_mode=self.ceil_mode)
        return Trace((shape[0], *window.outputs), 0, window)

    def forward(self, x: Array) -> tuple[Array, Any]:
        return F.avg_pool2d(x, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad)

    def gradients(self, dy: Array, cache: Any, need_input_grad: bool) -> Array | None:
        return F.avg_pool2d_backward(dy, cache)


class ReLU(Elementwise):
    """Rectifier. See `functional.relu`.

    With `inplace` it writes over what it is given, forward and backward: an array less each time. The models use it
    behind convolutions, fully connected layers and batch normalisation, which don't need their outputs again. It must
    not be the first layer of a network, nor stand behind a part that feeds a head: others read what it is given there.
    As the first of a branch it gets a copy.
    """

    def __init__(self, inplace: bool = False) -> None:
        self.inplace = inplace

    def given(self, backward: bool = False) -> Given:
        return Given.WRITTEN_OVER if self.inplace else Given.KEPT

    def forward(self, x: Array) -> tuple[Array, Any]:
        return F.relu(x, self.inplace)

    def gradients(self, dy: Array, cache: Any, need_input_grad: bool) -> Array | None:
        return F.relu_backward(dy, cache, self.inplace)


class Tanh(Elementwise):
    """Hyperbolic tangent. See `functional.tanh`."""

    def forward(self, x: Array) -> tuple[Array, Any]:
        return F.tanh(x)

    def gradients(self, dy: Array, cache: Any, need_input_grad: bool) -> Array | None:
        return F.tanh_backward(dy, cache)


class Sigmoid(Elementwise):
    """Logistic function. See `functional.sigmoid`."""

    def forward(self, x: Array) -> tuple[Array, Any]:
        return F.sigmoid(x)

    def gradients(self, dy: Array, cache: Any, need_input_grad: bool) -> Array | None:
        return F.sigmoid_backward(dy, cache)


class Flatten(Layer):
    """All axes but the batch's as one. See `functional.flatten`."""

    def given(self, backward: bool = False) -> Given:
        return Given.HANDED_ON

    def trace(self, shape: Shape) -> Trace:
        whole = _positions(shape)
        return Trace((prod(shape),), 0, Window(whole, whole))

    def forward(self, x: Array) -> tuple[Array, Any]:
        return F.flatten(x)

    def gradients(self, dy: Array, cache: Any, need_input_grad: bool) -> Array | None:
        return F.flatten_backward(dy, cache)


class ScaledTanh(Elementwise):
    """LeNet-5's squashing function. See `functional.scaled_tanh`."""

    def __init__(self, amplitude: float = 1.7159, slope: float = 2 / 3) -> None:
        self.amplitude = amplitude
        self.slope = slope

    def forward(self, x: Array) -> tuple[Array, Any]:
        return F.scaled_tanh(x, self.amplitude, self.slope)

    def gradients(self, dy: Array, cache: Any, need_input_grad: bool) -> Array | None:
        return F.scaled_tanh_backward(dy, cache)


class AdaptiveAvgPool2d(Layer):
    """Averages to a wanted size; 1 is global average pooling. See `functional.adaptive_avg_pool2d`."""

    def __init__(self, output_size: int | Pair) -> None:
        self.output_size = pair("output_size", output_size, 1)

    def trace(self, shape: Shape) -> Trace:
        return Trace((shape[0], *self.output_size), 0, AdaptiveWindows(_size(self, shape), self.output_size))

    def forward(self, x: Array) -> tuple[Array, Any]:
        return F.adaptive_avg_pool2d(x, self.output_size)

    def gradients(self, dy: Array, cache: Any, need_input_grad: bool) -> Array | None:
        return F.adaptive_avg_pool2d_backward(dy, cache)


class Subsample2d(Layer):
    """LeNet-5's pooling with weights: a coefficient and a bias for each map. See `functional.subsample2d`.

    The coefficients start at one over the window's size, which makes a mean, and the biases at 0.
    """

    def __init__(self, channels: int, kernel_size: int | Pair = 2, *, dtype: str = "float32") -> None:
        at_least_one(channels=channels)
        _check_dtype(dtype)
        self.kernel_size = pair("kernel_size", kernel_size, 1)
        area = self.kernel_size[0] * self.kernel_size[1]
        self.weight = Parameter(np.full(channels, 1 / area, dtype))
        self.bias = Parameter(np.zeros(channels, dtype))

    def trace(self, shape: Shape) -> Trace:
        window, channels = Window(_size(self, shape), self.kernel_size, self.kernel_size), self.weight.shape[0]
        return Trace(_slide(self, channels, channels, shape, window), 0, window)

    def forward(self, x: Array) -> tuple[Array, Any]:
        return F.subsample2d(x, self.weight.data, self.bias.data, self.kernel_size)

    def gradients(self, dy: Array, cache: Any, need_input_grad: bool) -> Array | None:
        dx, dweight, dbias = F.subsample2d_backward(dy, cache)
        self.weight.accumulate(dweight)
        self.bias.accumulate(dbias)
        return dx


class RBF(_Wide):
    """Squared distances from fixed codes (K, D); the smallest output is the answer. See `functional.rbf`."""

    buffers = ("codes",)

    def __init__(self, codes: np.ndarray) -> None:
        self.codes = codes

    def trace(self, shape: Shape) -> Trace:
        return _all_to_all(self, tuple(self.codes.shape), shape)

    def criterion(self) -> Criterion:
        return MAPLoss()

    def forward(self, x: Array) -> tuple[Array, Any]:
        return F.rbf(x, self.codes)

    def gradients(self, dy: Array, cache: Any, need_input_grad: bool) -> Array | None:
        dx, _ = F.rbf_backward(dy, cache)
        return dx


class LocalResponseNorm(_Wide, Elementwise):
    """Division by what the neighbouring channels amount to. See `functional.local_response_norm`."""

    def __init__(
        self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0, convention: str = "torch"
    ) -> None:
        at_least_one(size=size)
        self.size, self.alpha, self.beta, self.k = int(size), alpha, beta, k
        self.convention = convention

    def forward(self, x: Array) -> tuple[Array, Any]:
        return F.local_response_norm(x, self.size, self.alpha, self.beta, self.k, self.convention)

    def gradients(self, dy: Array, cache: Any, need_input_grad: bool) -> Array | None:
        return F.local_response_norm_backward(dy, cache)


class BatchNorm2d(_Wide, Elementwise):
    """Each channel to mean 0 and variance 1, then a learned scale and offset. See `functional.batch_norm`.

    With `momentum` None the running statistics are plain means over all batches so far, as in torch.
    """

    running, counts = ("running_mean", "running_var"), ("num_batches_tracked",)
    buffers = running + counts

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, *, dtype: str = "float32"
    ) -> None:
        at_least_one(num_features=num_features)
        _check_dtype(dtype)
        if not (eps >= 0 and (momentum is None or 0 <= momentum <= 1)):
            raise ValueError(f"eps must be at least 0 and momentum None or from 0 to 1, not {eps} and {momentum}")
        self.eps, self.momentum = eps, momentum
        self.weight = Parameter(np.ones(num_features, dtype))
        self.bias = Parameter(np.zeros(num_features, dtype))
        self.running_mean: Array = np.zeros(num_features, dtype)
        self.running_var: Array = np.ones(num_features, dtype)
        self.num_batches_tracked: Array = np.zeros((), np.int64)

    def trace(self, shape: Shape) -> Trace:
        if shape[0] != (channels := self.weight.shape[0]):
            raise ValueError(f"this layer normalises {channels} channels, but gets {shape[0]}: {self!r}")
        return super().trace(shape)

    def forward(self, x: Array) -> tuple[Array, Any]:
        momentum = 1 / (1 + int(self.num_batches_tracked)) if self.momentum is None else self.momentum
        y, cache = F.batch_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight.data,
            self.bias.data,
            self.training,
            momentum,
            self.eps,
        )
        if self.training:
            self.running_mean[...], self.running_var[...] = cache.running_mean, cache.running_var
            self.num_batches_tracked += 1
        return y, cache

    def gradients(self, dy: Array, cache: Any, need_input_grad: bool) -> Array | None:
        dx, dweight, dbias = F.batch_norm_backward(dy, cache)
        self.weight.accumulate(dweight)
        self.bias.accumulate(dbias)
        return dx


class Dropout(Elementwise):
    """Switches values off at random in training. See `functional.dropout`.

    `rng` draws the masks, or the generator that `init.manual_seed` starts; `Module.reseed` gives every Dropout of a
    network its own.
    """

    def __init__(self, p: float = 0.5, *, rng: "np.random.Generator | None" = None) -> None:
        if not 0 <= p < 1:
            raise ValueError(f"p is the probability of dropping a value: 0 <= p < 1, not {p}")
        self.p = p
        self.rng = rng

    def given(self, backward: bool = False) -> Given:
        return Given.HANDED_ON  # in evaluation

    def forward(self, x: Array) -> tuple[Array, Any]:
        y, mask = F.dropout(x, self.p, self.training, rng=self.rng or I.shared_generator())
        return y, (mask,)

    def gradients(self, dy: Array, cache: Any, need_input_grad: bool) -> Array | None:
        return F.dropout_backward(dy, *cache)
