"""Pooling: one number for a window, in each channel by itself. It has no weights."""

from typing import Any, NamedTuple

from cnnlib.arrays import Array, all_finite, check_arrays, check_gradient, check_rank, namespace
from cnnlib.functional.geometry import AdaptiveWindows, GeometryError, Pair, Window, pad, pair, window_on
from cnnlib.operation import operation


def pool_window(
    x: Array,
    kernel_size: int | Pair,
    stride: int | Pair | None,
    padding: int | Pair,
    dilation: int | Pair,
    ceil_mode: bool,
) -> Window:
    """Check the arguments of a pooling and return where its window stands."""
    check_arrays(x=x)
    check_rank("x", x, "NCHW")
    kernel_size = pair("kernel_size", kernel_size, 1)
    stride = kernel_size if stride is None else pair("stride", stride, 1)
    padding, dilation = pair("padding", padding, 0), pair("dilation", dilation, 1)
    given: dict[str, Any] = {"kernel_size": kernel_size, "padding": padding, "dilation": dilation}
    try:
        return _stand(tuple(x.shape[2:]), stride, ceil_mode, **given)
    except GeometryError as error:
        smallest = tuple(min(kernel_size[a], (x.shape[2 + a] - 1) // dilation[a] + 1) for a in (0, 1))
        tries = [*error.suggestions, {"kernel_size": smallest, "padding": (0, 0)}]
        works = [t for t in tries if _stands(tuple(x.shape[2:]), stride, ceil_mode, **given | t)]
        raise GeometryError(error.rule, works) from None


def _stand(size: Pair, stride: Pair, ceil_mode: bool, kernel_size: Pair, padding: Pair, dilation: Pair) -> Window:
    if any(2 * padding[a] > kernel_size[a] for a in (0, 1)):
        raise GeometryError(
            f"Padding may be at most half the window, or a window could stand on padding alone: padding={padding}, "
            f"kernel_size={kernel_size}.",
            [{"padding": tuple(min(padding[a], kernel_size[a] // 2) for a in (0, 1))}],
        )
    return window_on(size, kernel_size, stride, padding, dilation, ceil_mode)


def _stands(*args: Any, **given: Any) -> bool:
    try:
        _stand(*args, **given)
    except GeometryError:
        return False
    return True


class MaxPool2dCache(NamedTuple):
    """The winning tap of each window, as its number i*kw + j, and the shape to send gradients back to.

    A window that stands on padding alone has no winner: -1.
    """

    winner: Array
    window: Window
    x_shape: tuple[int, ...]
    like: Array


@operation
def max_pool2d(
    x: Array,
    kernel_size: int | Pair,
    stride: int | Pair | None = None,
    padding: int | Pair = 0,
    dilation: int | Pair = 1,
    ceil_mode: bool = False,
) -> tuple[Array, MaxPool2dCache]:
    r"""Return the largest value of each window.

    .. math:: y_{n,c,p,q} = \max_{i,j}\; \tilde x_{n,\,c,\,pS + iD,\,qS + jD}

    where :math:`\tilde x` is x framed by minus infinity, so that padding never wins.

    Parameters
    ----------
    x : (N, C, H, W)
    kernel_size, stride, padding, dilation : pixels; an int, or a pair (vertical, horizontal); stride None means
        kernel_size, so that the windows tile the input
    ceil_mode : let a last window hang over the far edge where the stride leaves a remainder

    Returns
    -------
    y : (N, C, oh, ow)
    cache : for `max_pool2d_backward`

    Raises
    ------
    GeometryError
        If the window is larger than the padded input, or the padding larger than half the window.

    Source: arguments and defaults of torch.nn.functional.max_pool2d. Of equal values the first in reading order wins.
    """
    window = pool_window(x, kernel_size, stride, padding, dilation, ceil_mode)
    xp = namespace(x)
    framed = pad(xp, x, window.padding, window.beyond, value=-xp.inf)
    inside = pad(xp, xp.ones(x.shape[2:], dtype=xp.bool, device=x.device), window.padding, window.beyond, value=False)
    y = xp.full((*x.shape[:2], *window.outputs), -xp.inf, dtype=x.dtype, device=x.device)
    winner = xp.full(y.shape, -1, dtype=xp.int32, device=x.device)
    for i, j, rows, columns in window.taps():
        seen, tap = framed[..., rows, columns], i * window.kernel_size[1] + j
        # a NaN is handed on, not hidden; where all is minus infinity, the first that is no padding wins
        wins = (seen > y) | xp.isnan(seen) | ((winner < 0) & inside[rows, columns])
        y = xp.where(wins, seen, y)
        winner = xp.where(wins, xp.asarray(tap, dtype=xp.int32, device=x.device), winner)
    return y, MaxPool2dCache(winner, window, tuple(x.shape), y)


@operation
def max_pool2d_backward(dy: Array, cache: MaxPool2dCache) -> Array:
    """Return dx (N, C, H, W): each window's gradient goes to its winner; where windows overlap, gradients add.

    `dy` is (N, C, oh, ow) and is not changed; `cache` is from `max_pool2d`.
    """
    winner, window, x_shape, like = cache
    check_gradient(dy, like.shape, like)
    xp = namespace(dy)
    dx = _framed_zeros(xp, dy, window, x_shape)
    for i, j, rows, columns in window.taps():
        won = winner == i * window.kernel_size[1] + j
        dx[..., rows, columns] += xp.where(won, dy, xp.zeros_like(dy))
    return _unframed(dx, window, x_shape)


class AvgPool2dCache(NamedTuple):
    """How many values each window averages, and the shape to send gradients back to."""

    count: Array
    window: Window
    x_shape: tuple[int, ...]
    like: Array


@operation
def avg_pool2d(
    x: Array,
    kernel_size: int | Pair,
    stride: int | Pair | None = None,
    padding: int | Pair = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> tuple[Array, AvgPool2dCache]:
    r"""Return the mean of each window.

    .. math:: y_{n,c,p,q} = \frac{1}{m_{p,q}} \sum_{i,j} \tilde x_{n,\,c,\,pS + i,\,qS + j}

    where :math:`\tilde x` is x framed by zeros and :math:`m_{p,q}` counts the values in the window: padding included,
    as in torch, unless `count_include_pad` is False. What hangs over the frame by `ceil_mode` never counts.

    Parameters and errors are those of `max_pool2d`.

    Returns
    -------
    y : (N, C, oh, ow)
    cache : for `avg_pool2d_backward`

    Source: arguments and defaults of torch.nn.functional.avg_pool2d.
    """
    window = pool_window(x, kernel_size, stride, padding, 1, ceil_mode)
    check_arrays(x=x)
    xp = namespace(x)
    framed = pad(xp, x, window.padding, window.beyond)
    count = window_count(xp, x, window, count_include_pad)
    y = xp.zeros((*x.shape[:2], *window.outputs), dtype=x.dtype, device=x.device)
    for _, _, rows, columns in window.taps():
        y = y + framed[..., rows, columns]
    y = y / count
    return y, AvgPool2dCache(count, window, tuple(x.shape), y)


@operation
def avg_pool2d_backward(dy: Array, cache: AvgPool2dCache) -> Array:
    """Return dx (N, C, H, W): each window shares its gradient out evenly; where windows overlap, gradients add.

    `dy` is (N, C, oh, ow) and is not changed; `cache` is from `avg_pool2d`.
    """
    count, window, x_shape, like = cache
    check_gradient(dy, like.shape, like)
    xp = namespace(dy)
    share = dy / count
    dx = _framed_zeros(xp, dy, window, x_shape)
    for _, _, rows, columns in window.taps():
        dx[..., rows, columns] += share
    return _unframed(dx, window, x_shape)


def window_count(xp: Any, x: Array, window: Window, count_include_pad: bool) -> Array:
    """Return, as an array (oh, ow), how many values each average is over."""
    sides: list[Array] = []
    for axis in (0, 1):
        size, padding = x.shape[2 + axis], window.padding[axis]
        low, high = (-padding, size + padding) if count_include_pad else (0, size)
        starts = [p * window.stride[axis] - padding for p in range(window.outputs[axis])]
        counts = [min(s + window.kernel_size[axis], high) - max(s, low) for s in starts]
        sides.append(xp.asarray(counts, dtype=x.dtype, device=x.device))
    return xp.reshape(sides[0], (-1, 1)) * xp.reshape(sides[1], (1, -1))


def _framed_zeros(xp: Any, dy: Array, window: Window, x_shape: tuple[int, ...]) -> Array:
    framed = [x_shape[2 + a] + window.padding[a] + window.beyond[a] for a in (0, 1)]
    return xp.zeros((*x_shape[:2], *framed), dtype=dy.dtype, device=dy.device)


def _unframed(dx: Array, window: Window, x_shape: tuple[int, ...]) -> Array:
    top, left = window.padding
    return dx[..., top : top + x_shape[2], left : left + x_shape[3]]


class AdaptiveAvgPool2dCache(NamedTuple):
    """The two averaging matrices, and the shapes of input and output."""

    vertical: Array
    horizontal: Array
    x_shape: tuple[int, ...]
    like: Array


@operation
def adaptive_avg_pool2d(x: Array, output_size: int | Pair) -> tuple[Array, AdaptiveAvgPool2dCache]:
    r"""Return averages over as many windows as are asked for, of sizes that differ by one at most.

    .. math:: y = A\, x\, B^\top

    where row p of A is the mean over rows :math:`\lfloor pH/P \rfloor` to :math:`\lceil (p+1)H/P \rceil - 1`,
    and B does the same for columns. `output_size` is (P, Q), or an int for both; 1 averages over the whole map, which
    is global average pooling.

    x is (N, C, H, W), y (N, C, P, Q). Source: Lin et al. 2014 (global); arguments of
    torch.nn.functional.adaptive_avg_pool2d.
    """
    check_arrays(x=x)
    check_rank("x", x, "NCHW")
    xp, windows = namespace(x), AdaptiveWindows(tuple(x.shape[2:]), pair("output_size", output_size, 1))
    vertical, horizontal = (_averages(xp, x, windows, a) for a in (0, 1))
    y = vertical @ x @ xp.matrix_transpose(horizontal)
    if not all_finite(y):  # a product hands 0 * inf to windows that don't see it
        y = xp.zeros_like(y)
        for p, q, rows, columns in windows.boxes():
            y[..., p, q] = xp.mean(x[..., rows, columns], axis=(2, 3))
    return y, AdaptiveAvgPool2dCache(vertical, horizontal, tuple(x.shape), y)


@operation
def adaptive_avg_pool2d_backward(dy: Array, cache: AdaptiveAvgPool2dCache) -> Array:
    r"""Return :math:`\partial L/\partial x = A^\top \delta\, B`: each window shares its gradient out evenly."""
    check_gradient(dy, cache.like.shape, cache.like)
    xp = namespace(dy)
    if all_finite(dy):
        return xp.matrix_transpose(cache.vertical) @ dy @ cache.horizontal
    dx = xp.zeros(cache.x_shape, dtype=dy.dtype, device=dy.device)
    for p, q, rows, columns in AdaptiveWindows((cache.x_shape[2], cache.x_shape[3]), tuple(dy.shape[2:])).boxes():
        area = (rows.stop - rows.start) * (columns.stop - columns.start)
        dx[..., rows, columns] += dy[..., p : p + 1, q : q + 1] / area
    return dx


def _averages(xp: Any, x: Array, windows: AdaptiveWindows, axis: int) -> Array:
    """Return the matrix (outputs, size) that averages a column (axis 0) or a row of pixels."""
    spans = [windows.span(axis, p) for p in range(windows.outputs[axis])]
    rows = [[(first <= r < end) / (end - first) for r in range(windows.size[axis])] for first, end in spans]
    return xp.asarray(rows, dtype=x.dtype, device=x.device)


class Subsample2dCache(NamedTuple):
    """What the backward pass needs: the sums of the windows, before they are weighed."""

    total: Array
    weight: Array
    of_average: AvgPool2dCache
    area: int


@operation
def subsample2d(x: Array, weight: Array, bias: Array, kernel_size: int | Pair = 2) -> tuple[Array, Subsample2dCache]:
    r"""LeNet-5's S layers: the sum of each window, times a learned coefficient of the map, plus a learned bias.

    .. math:: y_{n,c,p,q} = w_c \sum_{i,j} x_{n,c,pF+i,qF+j} + b_c

    x is (N, C, H, W), weight and bias (C,) each, y (N, C, oh, ow); windows tile the input. The squashing function that
    follows is a layer of its own. Source: LeCun et al. 1998, section II-B.
    """
    check_arrays(x=x, weight=weight, bias=bias)
    xp = namespace(x)
    check_rank("x", x, "NCHW")
    for name, vector in (("weight", weight), ("bias", bias)):
        if tuple(vector.shape) != (x.shape[1],):
            raise ValueError(f"{name} must have one value for each map, ({x.shape[1]},), not {tuple(vector.shape)}")
    mean, of_average = avg_pool2d(x, kernel_size)
    height, width = pair("kernel_size", kernel_size, 1)
    total = mean * (height * width)
    y = total * xp.reshape(weight, (1, -1, 1, 1)) + xp.reshape(bias, (1, -1, 1, 1))
    return y, Subsample2dCache(total, weight, of_average, height * width)


@operation
def subsample2d_backward(dy: Array, cache: Subsample2dCache) -> tuple[Array, Array, Array]:
    """Return dx, dweight and dbias, shaped as x, weight and bias."""
    total, weight, of_average, area = cache
    check_gradient(dy, total.shape, total)
    xp = namespace(dy)
    dx = avg_pool2d_backward(dy * xp.reshape(weight, (1, -1, 1, 1)) * area, of_average)
    return dx, xp.sum(dy * total, axis=(0, 2, 3)), xp.sum(dy, axis=(0, 2, 3))


@operation
def max_unpool2d(x: Array, switches: Any) -> tuple[Array, Any]:
    """Put each value back where the maximum was found, and 0 elsewhere; return the result and a cache.

    `switches` is the cache of the `max_pool2d` to be undone, x of the shape of its output. Where windows overlap and
    share a winner, values add. Source: Zeiler & Fergus 2013, section 2.1 ("unpooling").
    """
    return max_pool2d_backward(x, switches), switches


@operation
def max_unpool2d_backward(dy: Array, cache: Any) -> Array:
    """Return dx: each value gets the gradient of the place that it was put in."""
    winner, window, x_shape, like = cache
    check_gradient(dy, x_shape, like)
    xp = namespace(dy)
    framed = pad(xp, dy, window.padding, window.beyond)
    dx = xp.zeros_like(like)
    for i, j, rows, columns in window.taps():
        dx = xp.where(winner == i * window.kernel_size[1] + j, framed[..., rows, columns], dx)
    return dx
