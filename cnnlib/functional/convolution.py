"""The convolutional layer: one small filter, the same weights at every place.

What is called convolution here is cross-correlation, as in most deep-learning libraries: the kernel is not flipped.

Letters of shapes: N images, C input channels, H x W input, O output channels (filters), kh x kw kernel, oh x ow output,
G groups.
"""

from typing import NamedTuple

from cnnlib.arrays import Array, all_finite, check_arrays, check_gradient, check_rank, namespace
from cnnlib.functional.geometry import Pair, Window, pad, pair, window_on
from cnnlib.operation import operation


class Conv2dCache(NamedTuple):
    """What the backward pass needs: the inputs themselves, never the unfolded windows (kh*kw times larger)."""

    x: Array
    weight: Array
    has_bias: bool
    window: Window
    groups: int

    @property
    def output_shape(self) -> tuple[int, int, int, int]:
        """(N, O, oh, ow)."""
        return (self.x.shape[0], self.weight.shape[0], *self.window.outputs)


def conv_window(
    x: Array,
    weight: Array,
    bias: Array | None,
    stride: int | Pair,
    padding: int | Pair,
    dilation: int | Pair,
    groups: int,
) -> Window:
    """Check the arguments of `conv2d` against each other and return where the kernel stands."""
    check_arrays(x=x, weight=weight, bias=bias)
    check_rank("x", x, "NCHW")
    check_rank("weight", weight, "OCHW")
    stride, padding = pair("stride", stride, 1), pair("padding", padding, 0)
    dilation = pair("dilation", dilation, 1)
    channels, filters, depth = x.shape[1], weight.shape[0], weight.shape[1]
    if not hasattr(groups, "__index__") or groups < 1:
        raise ValueError(f"groups must be a positive int, not {groups!r}")
    if filters % groups:
        raise ValueError(
            f"the filters are shared out evenly among the groups: {filters} filters do not divide into "
            f"{groups} groups; groups={_nearest_divisor(filters, groups)} works for the filters"
        )
    if channels != depth * groups:
        raise ValueError(
            f"a filter is as deep as its input: x has {channels} channels, but the weight of shape "
            f"{tuple(weight.shape)} with groups={groups} reads {depth}*{groups} = {depth * groups}. "
            f"Give x {depth * groups} channels, or make the filters {channels // groups or 1} deep"
        )
    if bias is not None and tuple(bias.shape) != (filters,):
        raise ValueError(
            f"there is one bias for each filter: bias must have shape ({filters},), not {tuple(bias.shape)}"
        )
    kernel_size: Pair = (weight.shape[2], weight.shape[3])
    return window_on(tuple(x.shape[2:]), kernel_size, stride, padding, dilation)


@operation
def conv2d(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    stride: int | Pair = 1,
    padding: int | Pair = 0,
    dilation: int | Pair = 1,
    groups: int = 1,
) -> tuple[Array, Conv2dCache]:
    r"""Slide O filters over the input: local in space, full in depth.

    .. math::
        y_{n,o,p,q} = b_o + \sum_{c,i,j} w_{o,c,i,j}\; \tilde x_{n,\,c,\,pS + iD,\,qS + jD}

    where :math:`\tilde x` is x framed by P rows and columns of zeros, S the stride and D the dilation. Whether an
    infinite or NaN weight makes NaN of such a zero, or passes it over, depends on the engine and on the sizes, as in
    torch; so it is of an infinite gradient in `conv2d_backward`.

    Parameters
    ----------
    x : (N, C, H, W)
    weight : (O, C/groups, kh, kw)
    bias : (O,), or None
    stride, padding, dilation : pixels; an int, or a pair (vertical, horizontal)
    groups : how many blocks the channels and the filters are split into, block g of the filters reading only block g of
        the channels (AlexNet's two GPUs are groups=2)

    Returns
    -------
    y : (N, O, oh, ow), sizes by `conv_output_size`
    cache : for `conv2d_backward`

    Raises
    ------
    TypeError, ValueError
        If dtypes, libraries, devices or channels don't match; GeometryError if the kernel doesn't fit.

    Source: LeCun et al. 1998, section II-A; arguments and defaults of torch.nn.functional.conv2d.
    """
    window = conv_window(x, weight, bias, stride, padding, dilation, groups)
    xp = namespace(x)
    N, O, (oh, ow) = x.shape[0], weight.shape[0], window.outputs
    G, C_g, O_g = groups, weight.shape[1], weight.shape[0] // groups

    framed = pad(xp, x, window.padding, window.padding)
    x_g = xp.reshape(framed, (N, G, C_g, *framed.shape[2:]))
    w_g = xp.reshape(weight, (1, G, O_g, C_g, *window.kernel_size))
    y = xp.zeros((N, G, O_g, oh * ow), dtype=x.dtype, device=x.device)
    for i, j, rows, columns in window.taps():
        seen = xp.reshape(x_g[..., rows, columns], (N, G, C_g, oh * ow))
        y = y + w_g[..., i, j] @ seen  # (1, G, O_g, C_g) @ (N, G, C_g, oh*ow)
    y = xp.reshape(y, (N, O, oh, ow))
    if bias is not None:
        y = y + xp.reshape(bias, (1, O, 1, 1))
    return y, Conv2dCache(x, weight, bias is not None, window, groups)


@operation
def conv2d_backward(
    dy: Array, cache: Conv2dCache, need_dx: bool = True, need_dweight: bool = True
) -> tuple[Array | None, Array | None, Array | None]:
    r"""Return the gradients of a loss L with respect to x, weight and bias.

    A weight is used at every location, so its gradient is the sum of what each location asks for; a pixel is seen by
    many windows, so its gradient is the sum over the windows:

    .. math::
        \frac{\partial L}{\partial w_{o,c,i,j}} = \sum_{n,p,q} \delta_{n,o,p,q}\,\tilde x_{n,c,pS+iD,qS+jD},
        \qquad
        \frac{\partial L}{\partial \tilde x_{n,c,pS+iD,qS+jD}} \mathrel{+}= \sum_{o} w_{o,c,i,j}\,\delta_{n,o,p,q}

    Parameters
    ----------
    dy : (N, O, oh, ow), written :math:`\delta` above; it is not changed
    cache : from `conv2d`
    need_dx : False leaves dx out (None), as a network's first layer may
    need_dweight : False leaves dweight out (None), as a frozen layer does

    Returns
    -------
    dx, dweight, dbias : shaped as x, weight and bias; dbias is None where there was no bias
    """
    x, weight, has_bias, window, G = cache
    check_gradient(dy, cache.output_shape, x)
    xp = namespace(dy)
    N, O, oh, ow = dy.shape
    C_g, O_g = weight.shape[1], weight.shape[0] // G

    framed = pad(xp, x, window.padding, window.padding)
    x_g = xp.reshape(framed, (N, G, C_g, *framed.shape[2:]))
    w_g = xp.reshape(weight, (1, G, O_g, C_g, *window.kernel_size))
    dy_g = xp.reshape(dy, (N, G, O_g, oh * ow))
    dw_g, dx_g = xp.zeros_like(w_g[0, ...]), xp.zeros_like(x_g)
    for i, j, rows, columns in window.taps():
        seen = xp.reshape(x_g[..., rows, columns], (N, G, C_g, oh * ow))
        if need_dweight:
            dw_g[..., i, j] = xp.sum(dy_g @ xp.matrix_transpose(seen), axis=0)
        if need_dx:
            asked = xp.matrix_transpose(w_g[..., i, j]) @ dy_g
            dx_g[..., rows, columns] += xp.reshape(asked, (N, G, C_g, oh, ow))

    dweight = xp.reshape(dw_g, weight.shape) if need_dweight else None
    dbias = xp.sum(dy, axis=(0, 2, 3)) if has_bias else None
    if not need_dx:
        return None, dweight, dbias
    top, left = window.padding
    dx = xp.reshape(dx_g, framed.shape)[..., top : top + x.shape[2], left : left + x.shape[3]]
    return dx, dweight, dbias


class ConvTranspose2dCache(NamedTuple):
    """The input, and the convolution that this is the transpose of."""

    x: Array
    weight: Array
    has_bias: bool
    window: Window
    groups: int
    y_shape: tuple[int, ...]


@operation
def conv_transpose2d(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    stride: int | Pair = 1,
    padding: int | Pair = 0,
    output_padding: int | Pair = 0,
    groups: int = 1,
    dilation: int | Pair = 1,
) -> tuple[Array, ConvTranspose2dCache]:
    """Spread each value over the window that a convolution would have read it from; what overlaps adds.

    This is `conv2d_backward`'s dx as a layer: the convolution from y to x with the same weight has it as its gradient.

    Parameters
    ----------
    x : (N, O, oh, ow)
    weight : (O, C/groups, kh, kw), as of the convolution that is transposed
    bias : (C,), or None
    output_padding : rows and columns at the far edge of y that the convolution would have left unread; less than stride
        (torch also takes more, up to dilation)

    Returns
    -------
    y : (N, C, H, W) with H = (oh - 1)*stride - 2*padding + dilation*(kh - 1) + output_padding + 1
    cache : for `conv_transpose2d_backward`

    Raises TypeError and ValueError as `conv2d`. Source: Zeiler & Fergus 2013, section 2.1; arguments and defaults of
    torch.nn.functional.conv_transpose2d.
    """
    check_arrays(x=x, weight=weight, bias=bias)
    xp = namespace(x)
    check_rank("x", x, "NOHW")
    check_rank("weight", weight, "OCHW")
    steps, padded = pair("stride", stride, 1), pair("padding", padding, 0)
    spaced, more = pair("dilation", dilation, 1), pair("output_padding", output_padding, 0)
    if x.shape[1] != weight.shape[0]:
        raise ValueError(f"x must have one channel for each filter: {weight.shape[0]}, but has {x.shape[1]}")
    if any(more[a] >= steps[a] for a in (0, 1)):
        raise ValueError(f"output_padding={more} must be less than stride={steps}: more would be another output")
    size = [
        (x.shape[2 + a] - 1) * steps[a] - 2 * padded[a] + spaced[a] * (weight.shape[2 + a] - 1) + more[a] + 1
        for a in (0, 1)
    ]
    if min(size) < 1:
        raise ValueError(f"padding={padded} leaves nothing of the output: its size would be {size[0]} x {size[1]}")
    y_shape = (x.shape[0], weight.shape[1] * groups, *size)
    unseen = xp.zeros(y_shape, dtype=x.dtype, device=x.device)
    window = conv_window(unseen, weight, None, steps, padded, spaced, groups)
    y, _, _ = conv2d_backward(x, Conv2dCache(unseen, weight, False, window, groups))
    if bias is not None:
        y = y + xp.reshape(bias, (1, -1, 1, 1))
    return y, ConvTranspose2dCache(x, weight, bias is not None, window, groups, y_shape)


@operation
def conv_transpose2d_backward(dy: Array, cache: ConvTranspose2dCache) -> tuple[Array, Array, Array | None]:
    """Return dx, dweight and dbias: dx by the convolution itself, dweight with x and dy in each other's place."""
    x, weight, has_bias, window, groups, y_shape = cache
    check_gradient(dy, y_shape, x)
    xp = namespace(dy)
    dx, of_conv = conv2d(dy, weight, None, window.stride, window.padding, window.dilation, groups)
    _, dweight, _ = conv2d_backward(x, of_conv, need_dx=False)
    return dx, dweight, (xp.sum(dy, axis=(0, 2, 3)) if has_bias else None)


ConnectionTable = tuple[tuple[int, ...], ...]


class SparseConv2dCache(NamedTuple):
    """The convolution with zeros for the missing connections, and which connections there are."""

    dense: Conv2dCache
    links: list[tuple[int, int]]


@operation
def sparse_conv2d(
    x: Array, weight: Array, bias: Array | None, table: ConnectionTable
) -> tuple[Array, SparseConv2dCache]:
    """Convolve as LeNet-5's C3 does: each filter reads only the channels that `table` lists for it.

    Parameters
    ----------
    x : (N, C, H, W)
    weight : (L, kh, kw), one kernel for each connection, in the table's order
    bias : (O,), or None
    table : for each of the O filters, the channels it reads

    Returns
    -------
    y : (N, O, oh, ow)
    cache : for `sparse_conv2d_backward`

    Raises ValueError if the weight doesn't have one kernel for each connection or the table names a channel that x
    lacks. Source: LeCun et al. 1998, section II-B and table I.
    """
    check_arrays(x=x, weight=weight, bias=bias)
    xp = namespace(x)
    check_rank("x", x, "NCHW")
    check_rank("weight", weight, "LHW")
    links = [(o, c) for o, channels in enumerate(table) for c in channels]
    if len(links) != weight.shape[0]:
        raise ValueError(
            f"there is one kernel for each connection: {len(links)} in the table, {weight.shape[0]} kernels"
        )
    if max(c for _, c in links) >= x.shape[1]:
        raise ValueError(f"the table names channel {max(c for _, c in links)}, but x has {x.shape[1]}, counted from 0")
    dense = xp.zeros((len(table), x.shape[1], *weight.shape[1:]), dtype=x.dtype, device=x.device)
    for k, (o, c) in enumerate(links):
        dense[o, c, ...] = weight[k, ...]
    y, cache = conv2d(x, dense, bias)
    if not all_finite(y):  # the zeros of `dense` hand 0 * inf to filters that don't read it
        y = xp.concat([conv2d(*_of_filter(x, weight, bias, links, o))[0] for o in range(len(table))], axis=1)
    return y, SparseConv2dCache(cache, links)


@operation
def sparse_conv2d_backward(
    dy: Array, cache: SparseConv2dCache, need_dx: bool = True, need_dweight: bool = True
) -> tuple[Array | None, Array | None, Array | None]:
    """Return dx, dweight and dbias: of the dense gradient, only what belongs to a connection."""
    dx, dense, dbias = conv2d_backward(dy, cache.dense, need_dx, need_dweight)
    xp = namespace(dy)
    if need_dx and not all_finite(dx):
        x, weight = cache.dense.x, xp.stack([cache.dense.weight[o, c, ...] for o, c in cache.links], axis=0)
        dx = xp.zeros_like(x)
        for o in range(dy.shape[1]):
            _, of_one = conv2d(*_of_filter(x, weight, None, cache.links, o))
            asked, _, _ = conv2d_backward(dy[:, o : o + 1, ...], of_one)
            for k, c in enumerate([c for filter, c in cache.links if filter == o]):
                dx[:, c, ...] += asked[:, k, ...]
    dweight = None if dense is None else xp.stack([dense[o, c, ...] for o, c in cache.links], axis=0)
    return dx, dweight, dbias


def _of_filter(
    x: Array, weight: Array, bias: Array | None, links: list[tuple[int, int]], o: int
) -> tuple[Array, Array, Array | None]:
    """Return the channels that filter o reads, its kernels as a weight, and its bias."""
    xp = namespace(x)
    maps = xp.stack([x[:, c, ...] for filter, c in links if filter == o], axis=1)
    kernels = xp.stack([weight[k, ...] for k, (filter, _) in enumerate(links) if filter == o], axis=0)
    return maps, xp.expand_dims(kernels, axis=0), None if bias is None else bias[o : o + 1]


def _nearest_divisor(number: int, wanted: int) -> int:
    return min((d for d in range(1, number + 1) if number % d == 0), key=lambda d: abs(d - wanted))
