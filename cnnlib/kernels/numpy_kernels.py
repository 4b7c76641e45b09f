"""The hot operations in NumPy: few passes over memory, and every multiplication inside a matrix product.

Activations leave a convolution as an NCHW view of C,N,H,W memory, so that the whole batch is one matrix product with
no transposition; elementwise operations keep that layout. Scratch buffers are used again (a fresh one costs more in
page faults than in arithmetic) and never leave this module.
"""

import threading
from typing import NamedTuple

import numpy as np

from cnnlib import functional as F
from cnnlib.functional._arrays import Array, check_arrays, check_gradient
from cnnlib.functional.convolution import Conv2dCache, ConvGeometry, conv_geometry
from cnnlib.functional.geometry import Pair, taps
from cnnlib.functional.pooling import MaxPool2dCache, PoolGeometry, pool_geometry

_scratch = threading.local()


def _buffer(name: str, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Return an uninitialised array that the next call with this name will use again."""
    size, key = int(np.prod(shape)), (name, dtype)
    buffers = _scratch.__dict__
    if key not in buffers or buffers[key].size < size:
        buffers[key] = np.empty(size, dtype)
    return buffers[key][:size].reshape(shape)


@F.conv2d.kernel(np.ndarray)
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
    N, O, oh, ow = g.output_shape(x, weight)
    y = np.empty((O, N, oh, ow), x.dtype)
    for channels, filters in _groups(x, weight, groups):
        product = _correlate(x[:, channels], weight[filters], g, y[filters])
        if bias is not None:
            product += bias[filters, None]
    return y.transpose(1, 0, 2, 3), Conv2dCache(x, weight, bias is not None, g)


@F.conv2d_backward.kernel(np.ndarray)
def conv2d_backward(dy: Array, cache: Conv2dCache, need_dx: bool = True) -> tuple[Array | None, Array, Array | None]:
    x, weight, has_bias, g = cache
    check_gradient(dy, g.output_shape(x, weight), x)
    N, C, H, W = x.shape
    dweight = np.empty(weight.shape, weight.dtype)
    dx = np.empty((C, N, H, W), x.dtype) if need_dx else None
    delta = _channels_first(dy, "delta")  # (O, N*oh*ow)
    for channels, filters in _groups(x, weight, g.groups):
        windows = _unfold(x[:, channels], g)
        np.matmul(delta[filters], windows.T, out=dweight[filters].reshape(delta[filters].shape[0], -1))
        if need_dx:
            _input_gradient(delta[filters], weight[filters], g, dx[channels])
    dbias = delta.sum(axis=1) if has_bias else None
    return (dx.transpose(1, 0, 2, 3) if need_dx else None), dweight, dbias


def _groups(x: Array, weight: Array, groups: int) -> list[tuple[slice, slice]]:
    C_g, O_g = weight.shape[1], weight.shape[0] // groups
    return [(slice(k * C_g, (k + 1) * C_g), slice(k * O_g, (k + 1) * O_g)) for k in range(groups)]


def _correlate(x: Array, weight: Array, g: ConvGeometry, out: Array) -> Array:
    """Write the products of all windows with all filters into out (O, N, oh, ow); return it as (O, N*oh*ow)."""
    product = out.reshape(out.shape[0], -1)
    np.matmul(weight.reshape(weight.shape[0], -1), _unfold(x, g), out=product)
    return product


def _unfold(x: Array, g: ConvGeometry) -> Array:
    """Return the windows as columns (C*kh*kw, N*oh*ow): what each weight of a filter sees, place by place."""
    N, C = x.shape[:2]
    (kh, kw), (oh, ow) = g.kernel_size, g.outputs
    if (kh, kw) == g.stride == (1, 1) and g.padding == (0, 0):
        return _channels_first(x, "windows")
    framed = _frame(x, g.padding)  # (C, N, Hp, Wp)
    columns = _buffer("windows", (C, kh, kw, N, oh, ow), x.dtype)
    for i, j, rows, cols in taps(g.kernel_size, g.stride, g.dilation, g.outputs):
        columns[:, i, j] = framed[:, :, rows, cols]
    return columns.reshape(C * kh * kw, N * oh * ow)


def _input_gradient(delta: Array, weight: Array, g: ConvGeometry, out: Array) -> None:
    """Write into out (C, N, H, W) what each pixel's windows ask of it, added up."""
    C, N, H, W = out.shape
    (kh, kw), (oh, ow) = g.kernel_size, g.outputs
    spread = weight.reshape(weight.shape[0], -1).T  # (C*kh*kw, O)
    if (kh, kw) == g.stride == (1, 1) and g.padding == (0, 0):
        np.matmul(spread, delta, out=out.reshape(C, -1))
        return
    asked = _buffer("windows", (C * kh * kw, N * oh * ow), delta.dtype)
    np.matmul(spread, delta, out=asked)
    asked = asked.reshape(C, kh, kw, N, oh, ow)
    (top, left), whole = g.padding, g.padding == (0, 0)
    framed = out if whole else _buffer("framed", (C, N, H + 2 * top, W + 2 * left), delta.dtype)
    framed[...] = 0
    for i, j, rows, cols in taps(g.kernel_size, g.stride, g.dilation, g.outputs):
        framed[:, :, rows, cols] += asked[:, i, j]
    if not whole:
        out[...] = framed[:, :, top : top + H, left : left + W]


def _channels_first(x: Array, name: str) -> Array:
    """Return x (N, C, H, W) as a matrix (C, N*H*W), copied only if its memory is not laid out so already."""
    turned = x.transpose(1, 0, 2, 3)
    if turned.flags.c_contiguous:
        return turned.reshape(turned.shape[0], -1)
    matrix = _buffer(name, turned.shape, x.dtype)
    matrix[...] = turned
    return matrix.reshape(turned.shape[0], -1)


def _frame(x: Array, padding: Pair) -> Array:
    """Return x (N, C, H, W) as (C, N, H, W) within a frame of zeros."""
    turned, (top, left) = x.transpose(1, 0, 2, 3), padding
    if padding == (0, 0):
        return turned
    C, N, H, W = turned.shape
    framed = _buffer("framed", (C, N, H + 2 * top, W + 2 * left), x.dtype)
    framed[:, :, :top] = framed[:, :, top + H :] = 0
    framed[..., :left] = framed[..., left + W :] = 0
    framed[:, :, top : top + H, left : left + W] = turned
    return framed


@F.relu.kernel(np.ndarray)
def relu(x: Array) -> tuple[Array, Array]:
    check_arrays(x=x)
    y = np.maximum(x, 0)
    return y, y


@F.relu_backward.kernel(np.ndarray)
def relu_backward(dy: Array, cache: Array) -> Array:
    check_gradient(dy, cache.shape, cache)
    return np.multiply(dy, cache > 0)


@F.tanh_backward.kernel(np.ndarray)
def tanh_backward(dy: Array, cache: Array) -> Array:
    check_gradient(dy, cache.shape, cache)
    dx = np.multiply(cache, cache)
    np.subtract(1, dx, out=dx)
    dx *= dy
    return dx


class NumpyMaxPool2dCache(NamedTuple):
    """The number of the winning tap as a byte, and where the windows stand."""

    winner: Array
    geometry: PoolGeometry
    x: Array


@F.max_pool2d.kernel(np.ndarray)
def max_pool2d(
    x: Array,
    kernel_size: int | Pair,
    stride: int | Pair | None = None,
    padding: int | Pair = 0,
    dilation: int | Pair = 1,
    ceil_mode: bool = False,
) -> tuple[Array, MaxPool2dCache | NumpyMaxPool2dCache]:
    g = pool_geometry(x, kernel_size, stride, padding, dilation, ceil_mode)
    if g.kernel_size[0] * g.kernel_size[1] > 256 or g.padding != (0, 0) or g.beyond(x.shape[2:]) != (0, 0):
        return F.max_pool2d.reference(x, kernel_size, stride, padding, dilation, ceil_mode)
    seen = [x[..., rows, cols] for _, _, rows, cols in taps(g.kernel_size, g.stride, g.dilation, g.outputs)]
    y = seen[0].copy(order="K")
    winner = np.zeros_like(y, dtype=np.uint8)
    for tap, values in enumerate(seen[1:], start=1):
        wins = values > y
        wins |= np.isnan(values)  # handed on, not hidden
        np.copyto(winner, tap, where=wins)
        np.maximum(y, values, out=y)
    return y, NumpyMaxPool2dCache(winner, g, x)


@F.max_pool2d_backward.kernel(np.ndarray)
def max_pool2d_backward(dy: Array, cache: MaxPool2dCache | NumpyMaxPool2dCache) -> Array:
    if isinstance(cache, MaxPool2dCache):
        return F.max_pool2d_backward.reference(dy, cache)
    winner, g, x = cache
    check_gradient(dy, winner.shape, x)
    tiles = g.stride == g.kernel_size and g.dilation == (1, 1)
    dx = np.zeros_like(x)
    for tap, (_, _, rows, cols) in enumerate(taps(g.kernel_size, g.stride, g.dilation, g.outputs)):
        if tiles:
            np.multiply(dy, winner == tap, out=dx[..., rows, cols])
        else:
            dx[..., rows, cols] += dy * (winner == tap)
    return dx


@F.max_unpool2d_backward.kernel(np.ndarray)
def max_unpool2d_backward(dy: Array, cache: MaxPool2dCache | NumpyMaxPool2dCache) -> Array:
    if isinstance(cache, MaxPool2dCache):
        return F.max_unpool2d_backward.reference(dy, cache)
    winner, g, x = cache
    check_gradient(dy, x.shape, x)
    dx = np.empty(winner.shape, dy.dtype)
    for tap, (_, _, rows, cols) in enumerate(taps(g.kernel_size, g.stride, g.dilation, g.outputs)):
        np.copyto(dx, dy[..., rows, cols], where=winner == tap)
    return dx
