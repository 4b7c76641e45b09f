"""The hot operations in NumPy: few passes over memory, and every multiplication inside a matrix product.

Maps are seen as (B, C, H, W, n), where B*n is the batch: a large batch lies last (B = 1), so that what a tap of the
kernel sees is copied in long runs and all images go through one product; a small one that comes as N,C,H,W lies first
(n = 1), so that nothing is transposed. Either way a convolution puts out an NCHW view of that memory, and elementwise
operations and pooling keep the layout. Scratch buffers are used again (a fresh one costs more in page faults than in
arithmetic) and never leave this module.
"""

import threading
from math import prod
from typing import Any, NamedTuple

import numpy as np

from cnnlib import functional as F
from cnnlib.arrays import Array, all_finite, check_arrays, check_gradient
from cnnlib.functional.convolution import Conv2dCache, conv_window
from cnnlib.functional.geometry import Pair, Window, window_on
from cnnlib.functional.pooling import AvgPool2dCache, MaxPool2dCache, pool_window, window_count

_scratch = threading.local()


def _buffer(name: str, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Return an uninitialised array that the next call with this name will use again."""
    size, key = int(np.prod(shape)), (name, dtype)
    buffers: dict[Any, np.ndarray] = _scratch.__dict__
    if key not in buffers or buffers[key].size < size:
        buffers[key] = np.empty(size, dtype)
    return buffers[key][:size].reshape(shape)


BATCH_LAST_FROM = 16
"""From how many images on it pays to turn a batch that lies first."""


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
    window = conv_window(x, weight, bias, stride, padding, dilation, groups)
    maps = _maps(x, _is_batch_last(x))
    B, _, _, _, n = maps.shape
    y = np.empty((B, weight.shape[0], *window.outputs, n), x.dtype)
    for channels, filters in _groups(weight, groups):
        _correlate(_frame(maps[:, channels], window.padding), weight[filters], window, out=y[:, filters])
    if bias is not None:
        y += bias[:, None, None, None]
    return _images(y), Conv2dCache(x, weight, bias is not None, window, groups)


@F.conv2d_backward.kernel(np.ndarray)
def conv2d_backward(
    dy: Array, cache: Conv2dCache, need_dx: bool = True, need_dweight: bool = True
) -> tuple[Array | None, Array | None, Array | None]:
    x, weight, has_bias, window, groups = cache
    check_gradient(dy, cache.output_shape, x)
    batch_last = _is_batch_last(x)
    maps, delta = _maps(x, batch_last), _dense(_maps(dy, batch_last), "delta")
    dweight = np.empty(weight.shape, weight.dtype) if need_dweight else None
    dx = np.empty(maps.shape, x.dtype) if need_dx else None
    for channels, filters in _groups(weight, groups):
        if dweight is not None:
            _weight_gradient(_frame(maps[:, channels], window.padding), delta[:, filters], window, out=dweight[filters])
        if dx is not None:
            _input_gradient(delta[:, filters], weight[filters], window, out=dx[:, channels])
    dbias = _matrix(delta).sum(axis=(0, 2)) if has_bias else None
    return (None if dx is None else _images(dx)), dweight, dbias


def _is_batch_last(x: Array) -> bool:
    return x.shape[0] >= BATCH_LAST_FROM or x.transpose(1, 2, 3, 0).flags.c_contiguous


def _maps(x: Array, batch_last: bool) -> Array:
    """Return x (N, C, H, W) as a view (B, C, H, W, n)."""
    return x.transpose(1, 2, 3, 0)[None] if batch_last else x[..., None]


def _images(maps: Array) -> Array:
    """Return maps (B, C, H, W, n) as a view (N, C, H, W): the way back from `_maps`."""
    return maps[..., 0] if maps.shape[4] == 1 else maps[0].transpose(3, 0, 1, 2)


def _groups(weight: Array, groups: int) -> list[tuple[slice, slice]]:
    C_g, O_g = weight.shape[1], weight.shape[0] // groups
    return [(slice(k * C_g, (k + 1) * C_g), slice(k * O_g, (k + 1) * O_g)) for k in range(groups)]


def _by_rows(channels: int, window: Window) -> bool:
    """Whether to copy only the horizontal shifts: kw copies of the input instead of kh*kw, for kh products.

    With few channels those products would be too thin to be worth it; with a stride their operands would have gaps;
    with one place only (LeNet's C5) the input is its own window.
    """
    return channels >= 16 and window.stride == (1, 1) and window.kernel_size[0] > 1 and window.outputs != (1, 1)


def _correlate(framed: Array, weight: Array, window: Window, out: Array) -> None:
    """Write what each filter (O, C, kh, kw) makes of each window of framed (B, C, Hp, Wp, n) into out."""
    product = _matrix(out)
    if not _by_rows(framed.shape[1], window):
        np.matmul(weight.reshape(weight.shape[0], -1), _unfold(framed, window), out=product)
        return
    for i, part in enumerate(_rows(framed, window)):
        row_of_weights = weight[:, :, i].reshape(weight.shape[0], -1)
        if i == 0:
            np.matmul(row_of_weights, part, out=product)
        else:
            product += np.matmul(row_of_weights, part, out=_buffer("product", product.shape, product.dtype))


def _weight_gradient(framed: Array, delta: Array, window: Window, out: Array) -> None:
    """Write the sum over all places of what each asks of each weight into out (O, C, kh, kw)."""
    places = _matrix(delta)
    if not _by_rows(framed.shape[1], window):
        out[...] = _over_places(places, _unfold(framed, window)).reshape(out.shape)
        return
    for i, part in enumerate(_rows(framed, window)):
        out[:, :, i] = _over_places(places, part).reshape(out[:, :, i].shape)


def _over_places(delta: Array, seen: Array) -> Array:
    """Return the products of delta (B, O, L) and seen (B, K, L), added up over all places and images: (O, K)."""
    products = np.matmul(delta, seen.transpose(0, 2, 1))
    return products[0] if len(products) == 1 else products.sum(axis=0)


def _input_gradient(delta: Array, weight: Array, window: Window, out: Array) -> None:
    """Write into out (B, C, H, W, n) what each pixel's windows ask of it, added up."""
    B, C, H, W, n = out.shape
    spread = weight.reshape(weight.shape[0], -1).T  # (C*kh*kw, O)
    if _is_plain_product(window):
        np.matmul(spread, _matrix(delta), out=_matrix(out))
        return
    down, right = (window.extent[a] - 1 - window.padding[a] for a in (0, 1))
    reach = (down, right)
    if C >= 16 and _by_rows(weight.shape[0], window) and min(reach) >= 0 and all_finite(weight):
        # with stride 1, what a pixel gets is a correlation of delta, framed by zeros, with the kernel turned round
        turned = np.ascontiguousarray(weight[:, :, ::-1, ::-1].transpose(1, 0, 2, 3))
        around = window_on(window.outputs, window.kernel_size, window.stride, reach, window.dilation)
        _correlate(_frame(delta, reach), turned, around, out)
        return
    asked = _buffer("windows", (B, spread.shape[0], window.outputs[0] * window.outputs[1] * n), delta.dtype)
    np.matmul(spread, _matrix(delta), out=asked)
    asked = asked.reshape(B, C, *window.kernel_size, *window.outputs, n)
    (top, left), whole = window.padding, window.padding == (0, 0)
    framed = out if whole else _buffer("framed", (B, C, H + 2 * top, W + 2 * left, n), delta.dtype)
    framed[...] = 0
    for i, j, rows, cols in window.taps():
        framed[:, :, rows, cols] += asked[:, :, i, j]
    if not whole:
        out[...] = framed[:, :, top : top + H, left : left + W]


def _is_plain_product(window: Window) -> bool:
    return window.kernel_size == window.stride == (1, 1) and window.padding == (0, 0)


def _unfold(framed: Array, window: Window) -> Array:
    """Return the windows as columns (B, C*kh*kw, oh*ow*n): what each weight of a filter sees, place by place."""
    if _is_plain_product(window):
        return _matrix(framed)
    B, C, Hp, Wp, n = framed.shape
    (kh, kw), (oh, ow) = window.kernel_size, window.outputs
    if (kh, kw) == (Hp, Wp):
        return framed.reshape(B, C * kh * kw, n)
    windows = _buffer("windows", (B, C, kh, kw, oh, ow, n), framed.dtype)
    for i, j, rows, cols in window.taps():
        windows[:, :, i, j] = framed[:, :, rows, cols]
    return windows.reshape(B, C * kh * kw, oh * ow * n)


def _rows(framed: Array, window: Window) -> list[Array]:
    """Return for each row i of the kernel what its weights see, (B, C*kw, oh*ow*n): views into one copy."""
    B, C, Hp, _, n = framed.shape
    (kh, kw), (oh, ow) = window.kernel_size, window.outputs
    shifts = _buffer("windows", (B, C, kw, Hp, ow, n), framed.dtype)
    for j in range(kw):
        shifts[:, :, j] = framed[:, :, :, j * window.dilation[1] : j * window.dilation[1] + ow]
    flat, row = shifts.reshape(B, C * kw, Hp * ow * n), ow * n
    return [flat[:, :, i * window.dilation[0] * row : (i * window.dilation[0] + oh) * row] for i in range(kh)]


def _matrix(maps: Array) -> Array:
    """Return maps (B, C, H, W, n) as matrices (B, C, H*W*n), a view."""
    B, C, H, W, n = maps.shape
    return maps.reshape(B, C, H * W * n, copy=False)


def _dense(maps: Array, name: str) -> Array:
    """Return maps with a place after the other in memory, copied only if they are not laid out so already."""
    if maps.flags.c_contiguous:
        return maps
    copy = _buffer(name, maps.shape, maps.dtype)
    copy[...] = maps
    return copy


def _frame(maps: Array, padding: Pair) -> Array:
    """Return maps (B, C, H, W, n) within a frame of zeros, with a place after the other in memory."""
    if padding == (0, 0):
        return _dense(maps, "framed")
    (B, C, H, W, n), (top, left) = maps.shape, padding
    framed = _buffer("framed", (B, C, H + 2 * top, W + 2 * left, n), maps.dtype)
    framed[:, :, :top] = framed[:, :, top + H :] = 0
    framed[:, :, :, :left] = framed[:, :, :, left + W :] = 0
    framed[:, :, top : top + H, left : left + W] = maps
    return framed


@F.relu.kernel(np.ndarray)
def relu(x: Array, inplace: bool = False) -> tuple[Array, Array]:
    check_arrays(x=x)
    y = np.maximum(x, 0, out=x if inplace else None)
    return y, y


@F.relu_backward.kernel(np.ndarray)
def relu_backward(dy: Array, cache: Array, inplace: bool = False) -> Array:
    check_gradient(dy, cache.shape, cache)
    return _masked(dy, cache != 0, out=dy if inplace and dy.flags.writeable else None)  # y is positive, 0 or NaN


def _masked(values: Array, mask: Array, out: Array | None = None) -> Array:
    """Return values where the mask is true, and 0 elsewhere.

    A product is several times quicker than `numpy.where`. It is one of the values' bits as whole numbers, since
    0 * inf would be NaN.
    """
    bits = np.dtype(f"i{values.itemsize}")
    product = np.multiply(values.view(bits), mask, out=None if out is None else out.view(bits))
    return product.view(values.dtype) if out is None else out


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
    window: Window
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
    window = pool_window(x, kernel_size, stride, padding, dilation, ceil_mode)
    if prod(window.kernel_size) > 256 or not window.stays_inside:
        return F.max_pool2d.reference(x, kernel_size, stride, padding, dilation, ceil_mode)
    seen = [x[..., rows, cols] for _, _, rows, cols in window.taps()]
    y = seen[0].copy(order="K")
    winner = np.zeros_like(y, dtype=np.uint8)
    for tap, values in enumerate(seen[1:], start=1):
        wins = values > y
        wins |= np.isnan(values)  # handed on, not hidden
        np.copyto(winner, tap, where=wins)
        np.maximum(y, values, out=y)
    return y, NumpyMaxPool2dCache(winner, window, x)


@F.max_pool2d_backward.kernel(np.ndarray)
def max_pool2d_backward(dy: Array, cache: MaxPool2dCache | NumpyMaxPool2dCache) -> Array:
    if isinstance(cache, MaxPool2dCache):
        return F.max_pool2d_backward.reference(dy, cache)
    winner, window, x = cache
    check_gradient(dy, winner.shape, x)
    tiles = window.stride == window.kernel_size and window.dilation == (1, 1)
    dx = np.zeros_like(x)
    for tap, (_, _, rows, cols) in enumerate(window.taps()):
        if tiles:
            _masked(dy, winner == tap, out=dx[..., rows, cols])
        else:
            dx[..., rows, cols] += _masked(dy, winner == tap)
    return dx


@F.max_unpool2d_backward.kernel(np.ndarray)
def max_unpool2d_backward(dy: Array, cache: MaxPool2dCache | NumpyMaxPool2dCache) -> Array:
    if isinstance(cache, MaxPool2dCache):
        return F.max_unpool2d_backward.reference(dy, cache)
    winner, window, x = cache
    check_gradient(dy, x.shape, x)
    dx = np.empty(winner.shape, dy.dtype)
    for tap, (_, _, rows, cols) in enumerate(window.taps()):
        np.copyto(dx, dy[..., rows, cols], where=winner == tap)
    return dx


@F.avg_pool2d.kernel(np.ndarray)
def avg_pool2d(
    x: Array,
    kernel_size: int | Pair,
    stride: int | Pair | None = None,
    padding: int | Pair = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> tuple[Array, AvgPool2dCache]:
    window = pool_window(x, kernel_size, stride, padding, 1, ceil_mode)
    if not window.stays_inside:
        return F.avg_pool2d.reference(x, kernel_size, stride, padding, ceil_mode, count_include_pad)
    seen = [x[..., rows, cols] for _, _, rows, cols in window.taps()]
    y = seen[0].copy(order="K")
    for values in seen[1:]:
        y += values
    y /= y.dtype.type(len(seen))
    return y, AvgPool2dCache(window_count(np, x, window, count_include_pad), window, x.shape, y)


@F.avg_pool2d_backward.kernel(np.ndarray)
def avg_pool2d_backward(dy: Array, cache: AvgPool2dCache) -> Array:
    count, window, x_shape, y = cache
    if window.stride != window.kernel_size or not window.stays_inside:
        return F.avg_pool2d_backward.reference(dy, cache)
    check_gradient(dy, y.shape, y)
    share = dy / count
    # laid out as y, and all written but what no window read
    order = np.argsort([-abs(stride) for stride in y.strides], kind="stable")
    dx = np.zeros([x_shape[axis] for axis in order], dy.dtype).transpose(np.argsort(order))
    for _, _, rows, cols in window.taps():
        dx[..., rows, cols] = share
    return dx
