"""The hot operations by torch's own kernels: what autograd would have called, called without autograd."""

from collections.abc import Iterator
from typing import NamedTuple

import torch

from cnnlib import functional as F
from cnnlib.functional._arrays import Array, check_arrays, check_gradient
from cnnlib.functional.convolution import Conv2dCache, conv_geometry
from cnnlib.functional.geometry import Pair
from cnnlib.functional.linear import LinearCache, check_linear
from cnnlib.functional.pooling import PoolGeometry, pool_geometry

_aten = torch.ops.aten


@F.conv2d.kernel(torch.Tensor)
def conv2d(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    stride: int | Pair = 1,
    padding: int | Pair = 0,
    dilation: int | Pair = 1,
    groups: int = 1,
) -> tuple[Array, Conv2dCache]:
    g = conv_geometry(x, weight, bias, stride, padding, dilation, groups)
    y = _aten.convolution(x, weight, bias, g.stride, g.padding, g.dilation, False, (0, 0), groups)
    return y, Conv2dCache(x, weight, bias is not None, g)


@F.conv2d_backward.kernel(torch.Tensor)
def conv2d_backward(dy: Array, cache: Conv2dCache, need_dx: bool = True) -> tuple[Array | None, Array, Array | None]:
    x, weight, has_bias, g = cache
    check_gradient(dy, g.output_shape(x, weight), x)
    return _aten.convolution_backward(
        dy,
        x,
        weight,
        [weight.shape[0]],
        g.stride,
        g.padding,
        g.dilation,
        False,
        (0, 0),
        g.groups,
        (need_dx, True, has_bias),
    )


class TorchMaxPool2dCache(NamedTuple):
    """torch names a winner by its place in the input plane."""

    x: Array
    indices: Array
    geometry: PoolGeometry
    ceil_mode: bool


class TiledMaxPool2dCache(NamedTuple):
    """Of a 2x2 pooling with stride 2: input and output say who won."""

    x: Array
    y: Array


@F.max_pool2d.kernel(torch.Tensor)
def max_pool2d(
    x: Array,
    kernel_size: int | Pair,
    stride: int | Pair | None = None,
    padding: int | Pair = 0,
    dilation: int | Pair = 1,
    ceil_mode: bool = False,
) -> tuple[Array, TorchMaxPool2dCache | TiledMaxPool2dCache]:
    g = pool_geometry(x, kernel_size, stride, padding, dilation, ceil_mode)
    if _tiles(g, x):  # four strided slices take a sixth of the time of torch's general kernel
        a, b, c, d = _tiled(x)
        y = torch.maximum(torch.maximum(a, b), torch.maximum(c, d))
        return y, TiledMaxPool2dCache(x, y)
    y, indices = _aten.max_pool2d_with_indices(x, g.kernel_size, g.stride, g.padding, g.dilation, ceil_mode)
    return y, TorchMaxPool2dCache(x, indices, g, ceil_mode)


@F.max_pool2d_backward.kernel(torch.Tensor)
def max_pool2d_backward(dy: Array, cache: TorchMaxPool2dCache | TiledMaxPool2dCache) -> Array:
    if isinstance(cache, TiledMaxPool2dCache):
        x, y = cache
        check_gradient(dy, tuple(y.shape), x)
        dx = torch.empty_like(x)
        for won, to in zip(_winners(cache), _tiled(dx), strict=True):
            torch.mul(dy, won, out=to)
        return dx
    x, indices, g, ceil_mode = cache
    check_gradient(dy, tuple(indices.shape), x)
    return _aten.max_pool2d_with_indices_backward(
        dy, x, g.kernel_size, g.stride, g.padding, g.dilation, ceil_mode, indices
    )


def _winners(cache: TiledMaxPool2dCache) -> Iterator[Array]:
    """Yield where each of the four taps won; of equals, the first in reading order."""
    free = torch.ones_like(cache.y, dtype=torch.bool)
    for seen in _tiled(cache.x):
        won = (seen == cache.y) & free
        free &= ~won
        yield won


def _tiles(g: PoolGeometry, x: Array) -> bool:
    even = x.shape[2] % 2 == 0 and x.shape[3] % 2 == 0
    return even and g.kernel_size == g.stride == (2, 2) and g.padding == (0, 0) and g.dilation == (1, 1)


def _tiled(x: Array) -> tuple[Array, Array, Array, Array]:
    return x[..., ::2, ::2], x[..., ::2, 1::2], x[..., 1::2, ::2], x[..., 1::2, 1::2]


class TorchAvgPool2dCache(NamedTuple):
    """The arguments, for torch's own backward."""

    x: Array
    outputs: tuple[int, ...]
    geometry: PoolGeometry
    ceil_mode: bool
    count_include_pad: bool


@F.avg_pool2d.kernel(torch.Tensor)
def avg_pool2d(
    x: Array,
    kernel_size: int | Pair,
    stride: int | Pair | None = None,
    padding: int | Pair = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> tuple[Array, TorchAvgPool2dCache]:
    g = pool_geometry(x, kernel_size, stride, padding, 1, ceil_mode)
    y = _aten.avg_pool2d(x, g.kernel_size, g.stride, g.padding, ceil_mode, count_include_pad)
    return y, TorchAvgPool2dCache(x, tuple(y.shape), g, ceil_mode, count_include_pad)


@F.avg_pool2d_backward.kernel(torch.Tensor)
def avg_pool2d_backward(dy: Array, cache: TorchAvgPool2dCache) -> Array:
    x, outputs, g, ceil_mode, count_include_pad = cache
    check_gradient(dy, outputs, x)
    return _aten.avg_pool2d_backward(dy, x, g.kernel_size, g.stride, g.padding, ceil_mode, count_include_pad, None)


@F.relu.kernel(torch.Tensor)
def relu(x: Array) -> tuple[Array, Array]:
    check_arrays(x=x)
    y = torch.relu(x)
    return y, y


@F.relu_backward.kernel(torch.Tensor)
def relu_backward(dy: Array, cache: Array) -> Array:
    check_gradient(dy, tuple(cache.shape), cache)
    return _aten.threshold_backward(dy, cache, 0)


@F.tanh_backward.kernel(torch.Tensor)
def tanh_backward(dy: Array, cache: Array) -> Array:
    check_gradient(dy, tuple(cache.shape), cache)
    return _aten.tanh_backward(dy, cache)


@F.linear.kernel(torch.Tensor)
def linear(x: Array, weight: Array, bias: Array | None = None) -> tuple[Array, LinearCache]:
    check_linear(x, weight, bias)
    return torch.nn.functional.linear(x, weight, bias), LinearCache(x, weight, bias is not None)


@F.max_unpool2d_backward.kernel(torch.Tensor)
def max_unpool2d_backward(dy: Array, cache: TorchMaxPool2dCache | TiledMaxPool2dCache) -> Array:
    check_gradient(dy, tuple(cache.x.shape), cache.x)
    if isinstance(cache, TiledMaxPool2dCache):
        dx = torch.zeros_like(cache.y)
        for won, put in zip(_winners(cache), _tiled(dy), strict=True):
            dx = torch.where(won, put, dx)
        return dx
    indices = cache.indices
    return dy.flatten(2).gather(2, indices.flatten(2)).reshape(indices.shape)
