"""The hot operations by torch's own kernels: what autograd would have called, called without autograd."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch

from cnnlib import functional as F
from cnnlib.arrays import Array, all_finite, check_arrays, check_gradient
from cnnlib.functional.convolution import Conv2dCache, conv_window
from cnnlib.functional.geometry import Pair, Window
from cnnlib.functional.linear import LinearCache, check_linear
from cnnlib.functional.normalization import LocalResponseNormCache, check_batch_norm, check_local_response_norm
from cnnlib.functional.pooling import pool_window
from cnnlib.kernels import winograd
from cnnlib.kernels.outer_product import OuterProduct
from cnnlib.optim import SGD, Adam, Move, multiplied_out

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
    window = conv_window(x, weight, bias, stride, padding, dilation, groups)
    if _covers_all(window, groups):
        y = torch.nn.functional.linear(x.flatten(1), weight.flatten(1), bias)[:, :, None, None]
    elif winograd.applies(x, weight, window, groups) and all_finite(
        y := winograd.conv2d(x, weight, bias, window, groups)
    ):
        pass
    else:
        y = _aten.convolution(x, weight, bias, window.stride, window.padding, window.dilation, False, (0, 0), groups)
    return y, Conv2dCache(x, weight, bias is not None, window, groups)


@F.conv2d_backward.kernel(torch.Tensor)
def conv2d_backward(
    dy: Array, cache: Conv2dCache, need_dx: bool = True, need_dweight: bool = True
) -> tuple[Array | None, Array | None, Array | None]:
    x, weight, has_bias, window, groups = cache
    check_gradient(dy, cache.output_shape, x)
    if _covers_all(window, groups):
        delta = dy.flatten(1)
        dx = (delta @ weight.flatten(1)).reshape(x.shape) if need_dx else None
        dweight = (delta.T @ x.flatten(1)).reshape(weight.shape) if need_dweight else None
        return dx, dweight, (delta.sum(0) if has_bias else None)
    if winograd.applies(x, weight, window, groups):
        dx, dweight = winograd.conv2d_backward(dy, x, weight, window, groups, need_dx, need_dweight)
        if all(all_finite(found) for found in (dx, dweight) if found is not None):
            return dx, dweight, (dy.sum((0, 2, 3)) if has_bias else None)
    return _aten.convolution_backward(
        dy,
        x,
        weight,
        [weight.shape[0]],
        window.stride,
        window.padding,
        window.dilation,
        False,
        (0, 0),
        groups,
        (need_dx, need_dweight, has_bias),
    )


def _covers_all(window: Window, groups: int) -> bool:
    """Whether the one place of the kernel covers its whole input: then it is a fully connected layer (LeNet's C5)."""
    unpadded, dense = window.padding == (0, 0), window.dilation == (1, 1)
    return window.outputs == (1, 1) and window.stride == (1, 1) and unpadded and dense and groups == 1


class TorchMaxPool2dCache(NamedTuple):
    """torch names a winner by its place in the input plane."""

    x: Array
    indices: Array
    window: Window
    ceil_mode: bool


class TiledMaxPool2dCache(NamedTuple):
    """Of a 2x2 pooling with stride 2: whether the left one won in each row of a window, then the upper row."""

    left_wins: Array
    upper_wins: Array
    like: Array


@F.max_pool2d.kernel(torch.Tensor)
def max_pool2d(
    x: Array,
    kernel_size: int | Pair,
    stride: int | Pair | None = None,
    padding: int | Pair = 0,
    dilation: int | Pair = 1,
    ceil_mode: bool = False,
) -> tuple[Array, TorchMaxPool2dCache | TiledMaxPool2dCache]:
    window = pool_window(x, kernel_size, stride, padding, dilation, ceil_mode)
    if _tiles(window, x):
        # Strided slices, columns first and then rows, take a third of the time of torch's general kernel. Ties go as in
        # reading order: the left one in each row, then the upper row.
        left, right = x[..., ::2], x[..., 1::2]
        rows = torch.maximum(left, right)
        upper, lower = rows[..., ::2, :], rows[..., 1::2, :]
        y = torch.maximum(upper, lower)
        if all_finite(y):
            return y, TiledMaxPool2dCache(left >= right, upper >= lower, x)
        # a NaN wins over any number, the last of several
        left_wins, upper_wins = ~((right > left) | right.isnan()), ~((lower > upper) | lower.isnan())
        return y, TiledMaxPool2dCache(left_wins, upper_wins, x)
    given = (window.kernel_size, window.stride, window.padding, window.dilation, ceil_mode)
    y, indices = _aten.max_pool2d_with_indices(x, *given)
    return y, TorchMaxPool2dCache(x, indices, window, ceil_mode)


@F.max_pool2d_backward.kernel(torch.Tensor)
def max_pool2d_backward(dy: Array, cache: TorchMaxPool2dCache | TiledMaxPool2dCache) -> Array:
    if isinstance(cache, TiledMaxPool2dCache):
        check_gradient(dy, tuple(cache.upper_wins.shape), cache.like)
        rows = torch.empty_like(cache.left_wins, dtype=dy.dtype)
        _share(dy, cache.upper_wins, rows[..., ::2, :], rows[..., 1::2, :])
        dx = torch.empty_like(cache.like)
        _share(rows, cache.left_wins, dx[..., ::2], dx[..., 1::2])
        return dx
    x, indices, window, ceil_mode = cache
    check_gradient(dy, tuple(indices.shape), x)
    return _aten.max_pool2d_with_indices_backward(
        dy, x, window.kernel_size, window.stride, window.padding, window.dilation, ceil_mode, indices
    )


def _share(gradient: Array, first_wins: Array, first: Array, second: Array) -> None:
    """Write the gradient to whoever won, and 0 to the other.

    It is its bits that are multiplied, as whole numbers: of numbers, 0 * inf would be NaN.
    """
    bits = {2: torch.int16, 4: torch.int32, 8: torch.int64}[gradient.itemsize]
    torch.mul(gradient.view(bits), first_wins, out=first.view(bits))
    torch.sub(gradient.view(bits), first.view(bits), out=second.view(bits))


@F.max_unpool2d_backward.kernel(torch.Tensor)
def max_unpool2d_backward(dy: Array, cache: TorchMaxPool2dCache | TiledMaxPool2dCache) -> Array:
    if isinstance(cache, TiledMaxPool2dCache):
        check_gradient(dy, tuple(cache.like.shape), cache.like)
        rows = torch.where(cache.left_wins, dy[..., ::2], dy[..., 1::2])
        return torch.where(cache.upper_wins, rows[..., ::2, :], rows[..., 1::2, :])
    check_gradient(dy, tuple(cache.x.shape), cache.x)
    indices = cache.indices
    return dy.flatten(2).gather(2, indices.flatten(2)).reshape(indices.shape)


def _tiles(window: Window, x: Array) -> bool:
    even = x.shape[2] % 2 == 0 and x.shape[3] % 2 == 0
    tiled = window.kernel_size == window.stride == (2, 2)
    return even and tiled and window.padding == (0, 0) and window.dilation == (1, 1)


class TorchAvgPool2dCache(NamedTuple):
    """The arguments, for torch's own backward."""

    x: Array
    outputs: tuple[int, ...]
    window: Window
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
    window = pool_window(x, kernel_size, stride, padding, 1, ceil_mode)
    if _tiles(window, x) and not _channels_side_by_side(x):
        rows = x[..., ::2, :] + x[..., 1::2, :]
        y = rows[..., ::2] + rows[..., 1::2]
        y *= 0.25
    else:
        y = _aten.avg_pool2d(x, window.kernel_size, window.stride, window.padding, ceil_mode, count_include_pad)
    return y, TorchAvgPool2dCache(x, tuple(y.shape), window, ceil_mode, count_include_pad)


@F.avg_pool2d_backward.kernel(torch.Tensor)
def avg_pool2d_backward(dy: Array, cache: TorchAvgPool2dCache) -> Array:
    x, outputs, window, ceil_mode, count_include_pad = cache
    check_gradient(dy, outputs, x)
    if _tiles(window, x) and not _channels_side_by_side(x):
        dx, share = torch.empty_like(x), dy * 0.25
        for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
            dx[..., i::2, j::2] = share
        return dx
    given = (window.kernel_size, window.stride, window.padding, ceil_mode, count_include_pad, None)
    return _aten.avg_pool2d_backward(dy, x, *given)


def _channels_side_by_side(x: Array) -> bool:
    """Whether enough channels lie side by side in memory for torch's own average pooling to be quicker than slices."""
    return x.shape[1] >= 16 and x.stride(1) == 1


@F.local_response_norm.kernel(torch.Tensor)
def local_response_norm(
    x: Array, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0, convention: str = "torch"
) -> tuple[Array, LocalResponseNormCache]:
    alpha = check_local_response_norm(x, size, alpha, convention)
    if x.ndim != 4 or not x.is_floating_point() or x.dtype not in (torch.float32, torch.float64):
        return F.local_response_norm.reference(x, size, alpha, beta, k, "paper")
    # the sum over a window of channels is a 1x1 convolution with ones in a band: one pass instead of `size`
    band = _band(x.shape[1], size, x.dtype, x.device) * alpha
    offset = torch.full((x.shape[1],), k, dtype=x.dtype, device=x.device)
    denominator = _aten.convolution(x * x, band, offset, (1, 1), (0, 0), (1, 1), False, (0, 0), 1)
    y = _power(denominator, beta)
    y *= x
    if not all_finite(y):  # 0 * inf of channels outside the window
        return F.local_response_norm.reference(x, size, alpha, beta, k, "paper")
    return y, LocalResponseNormCache(x, denominator, size, alpha, beta)


@F.local_response_norm_backward.kernel(torch.Tensor)
def local_response_norm_backward(dy: Array, cache: LocalResponseNormCache) -> Array:
    x, denominator, size, alpha, beta = cache
    check_gradient(dy, tuple(x.shape), x)
    if x.ndim != 4:
        return F.local_response_norm_backward.reference(dy, cache)
    dx = _power(denominator, beta)
    dx *= dy
    shared = dx * x
    shared /= denominator
    band = _band(x.shape[1], size, x.dtype, x.device).transpose(0, 1) * (2 * alpha * beta)
    reached = _aten.convolution(shared, band, None, (1, 1), (0, 0), (1, 1), False, (0, 0), 1)
    dx.addcmul_(x, reached, value=-1)
    return dx if all_finite(dx) else F.local_response_norm_backward.reference(dy, cache)


@lru_cache(maxsize=16)
def _band(channels: int, size: int, dtype: torch.dtype, device: torch.device) -> Array:
    """Return 1x1 filters (channels, channels, 1, 1) that add up, for each channel, those of its window."""
    ones = torch.ones(channels, channels, dtype=dtype, device=device)
    return ones.tril((size - 1) // 2).triu(-(size // 2))[:, :, None, None]


def _power(denominator: Array, beta: float) -> Array:
    """Return denominator**-beta as a new array; roots are much quicker than a general power."""
    if beta == 0.75:
        root = torch.rsqrt(denominator)
        return root.mul_(root.sqrt())
    return denominator**-beta


class TorchBatchNormCache(NamedTuple):
    """What torch's own backward reads: x itself, so that no normalised copy of it is kept."""

    x: Array
    weight: Array | None
    has_bias: bool
    training: bool
    eps: float
    mean: Array
    inverse_std: Array
    running_mean: Array | None
    running_var: Array | None


@F.batch_norm.kernel(torch.Tensor)
def batch_norm(
    x: Array,
    running_mean: Array | None,
    running_var: Array | None,
    weight: Array | None = None,
    bias: Array | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> tuple[Array, TorchBatchNormCache]:
    check_batch_norm(x, running_mean, running_var, weight, bias, training)
    if training:  # torch moves them in place
        running_mean, running_var = (v if v is None else v.clone() for v in (running_mean, running_var))
    given = (x, weight, bias, running_mean, running_var, training, float(momentum), float(eps))
    y, mean, inverse_std = _aten.native_batch_norm(*given)
    kept = (x, weight, bias is not None, training, float(eps), mean, inverse_std, running_mean, running_var)
    return y, TorchBatchNormCache(*kept)


@F.batch_norm_backward.kernel(torch.Tensor)
def batch_norm_backward(dy: Array, cache: TorchBatchNormCache) -> tuple[Array, Array | None, Array | None]:
    x, weight, has_bias, training, eps, mean, inverse_std, running_mean, running_var = cache
    check_gradient(dy, tuple(x.shape), x)
    wanted = (True, weight is not None, has_bias)
    return _aten.native_batch_norm_backward(
        dy, x, weight, running_mean, running_var, mean, inverse_std, training, eps, wanted
    )


@F.relu.kernel(torch.Tensor)
def relu(x: Array, inplace: bool = False) -> tuple[Array, Array]:
    check_arrays(x=x)
    y = torch.relu_(x) if inplace else torch.relu(x)
    return y, y


@F.relu_backward.kernel(torch.Tensor)
def relu_backward(dy: Array, cache: Array, inplace: bool = False) -> Array:
    check_gradient(dy, tuple(cache.shape), cache)
    if inplace and 0 not in dy.stride():  # one place for many values can't hold their gradients
        return _aten.threshold_backward.grad_input(dy, cache, 0, grad_input=dy)
    return _aten.threshold_backward(dy, cache, 0)


@F.tanh_backward.kernel(torch.Tensor)
def tanh_backward(dy: Array, cache: Array) -> Array:
    check_gradient(dy, tuple(cache.shape), cache)
    return _aten.tanh_backward(dy, cache)


@F.linear.kernel(torch.Tensor)
def linear(x: Array, weight: Array, bias: Array | None = None) -> tuple[Array, LinearCache]:
    check_linear(x, weight, bias)
    return torch.nn.functional.linear(x, weight, bias), LinearCache(x, weight, bias is not None)


@F.linear_backward.kernel(torch.Tensor)
def linear_backward(
    dy: Array, cache: LinearCache, need_dx: bool = True, need_dweight: bool = True
) -> tuple[Array | None, Array | None, Array | None]:
    x, weight, has_bias = cache
    (n, d), k = x.shape, weight.shape[0]
    check_gradient(dy, (n, k), x)
    dx = dy @ weight if need_dx else None
    if not need_dweight:
        return dx, None, (dy.sum(0) if has_bias else None)
    factors_are_smaller = n * (k + d) < k * d
    followed = torch.is_grad_enabled() and (dy.requires_grad or x.requires_grad)  # by autograd, to a second derivative
    dweight = OuterProduct(dy, x) if factors_are_smaller and not followed else dy.T @ x
    return dx, dweight, (dy.sum(0) if has_bias else None)


@multiplied_out.kernel(torch.Tensor)
def _multiplied_out(gradient: Array) -> Array:
    return gradient.array() if isinstance(gradient, OuterProduct) else gradient


@SGD.update_all.kernel(torch.Tensor)
def sgd_update_all(rule: SGD, like: Array, moves: Sequence[Move]) -> None:
    for is_first_step, ready in _fusible(rule, [move for move in moves if not _update_by_factors(rule, *move)]):
        if rule.momentum and is_first_step:
            for move in ready:
                move.state["momentum_buffer"] = torch.empty_like(move.w)
        torch._fused_sgd_(
            [move.w for move in ready],
            [move.g for move in ready],
            [move.state["momentum_buffer"] for move in ready] if rule.momentum else [],
            weight_decay=rule.weight_decay,
            momentum=rule.momentum,
            lr=rule.lr,
            dampening=rule.dampening,
            nesterov=rule.nesterov,
            maximize=False,
            is_first_step=is_first_step,
        )


def _update_by_factors(rule: SGD, w: Array, g: Array, state: dict[str, Array]) -> bool:
    """Make the step of a weight whose gradient is a product; return whether it was one.

    The product is stored nowhere but in momentum's first buffer, which it is.
    """
    b: Any = state.get("momentum_buffer")
    if not isinstance(g, OuterProduct) or g.is_stored or g.dtype != w.dtype:
        return False
    delta, decay = g.delta.T, rule.weight_decay
    if rule.momentum and b is None:
        b = state["momentum_buffer"] = g.array()  # b_1 = g_1: the buffer is the only place where it is stored
        if decay:
            b.add_(w, alpha=decay)
    elif rule.momentum:
        b.addmm_(delta, g.x, beta=rule.momentum, alpha=1 - rule.dampening)
        if decay:
            b.add_(w, alpha=(1 - rule.dampening) * decay)
    if rule.nesterov or not rule.momentum:
        w.addmm_(delta, g.x, beta=1 - rule.lr * decay, alpha=-rule.lr)
    if rule.momentum:
        w.add_(b, alpha=-rule.lr * (rule.momentum if rule.nesterov else 1))
    return True


@Adam.update_all.kernel(torch.Tensor)
def adam_update_all(rule: Adam, like: Array, moves: Sequence[Move]) -> None:
    fused = torch._fused_adamw_ if rule.decoupled else torch._fused_adam_
    for _, ready in _fusible(rule, moves):
        for w, state in [(move.w, move.state) for move in ready if not move.state]:
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(w), torch.zeros_like(w)
            state["step"] = torch.zeros((), dtype=w.dtype, device=w.device)
        steps = [move.state["step"] for move in ready]
        torch._foreach_add_(steps, 1)
        fused(
            [move.w for move in ready],
            [move.g for move in ready],
            [move.state["exp_avg"] for move in ready],
            [move.state["exp_avg_sq"] for move in ready],
            [],
            [step.float() for step in steps],
            lr=rule.lr,
            beta1=rule.betas[0],
            beta2=rule.betas[1],
            weight_decay=rule.weight_decay,
            eps=rule.eps,
            amsgrad=False,
            maximize=False,
        )


def _fusible(rule: SGD | Adam, moves: Sequence[Move]) -> Iterator[tuple[bool, list[Move]]]:
    """Yield (whether it is a first step, moves) for those that torch's fused step can make at once; make the others.

    It goes through memory in order, so that all arrays of a move have to lie in memory alike. A gradient that is a
    product is multiplied out when its turn comes, by itself, and dropped after the step.
    """
    groups = defaultdict[tuple[Any, ...], list[Move]](list)
    products: list[Move] = []
    for move in moves:
        w, g, buffer = move.w, move.g, next((state for state in move.state.values() if state.ndim == move.w.ndim), None)
        dense = w.is_contiguous() or w.is_contiguous(memory_format=torch.channels_last)
        alike = g.stride() == w.stride() and (buffer is None or buffer.stride() == w.stride())
        if not (dense and alike and w.dtype in (torch.float32, torch.float64) and g.dtype == w.dtype):
            rule.update(w, multiplied_out(g), move.state)
        elif isinstance(g, OuterProduct):
            products.append(move)
        else:
            groups[not move.state, w.dtype, w.device].append(move)
    for (first, *_), ready in groups.items():
        yield first, ready
    for w, g, state in products:
        ready = [Move(w, g.array(), state)]
        yield not state, ready
        ready.clear()  # the caller still holds the list while the next gradient is multiplied out
