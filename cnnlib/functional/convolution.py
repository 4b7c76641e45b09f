"""The convolutional layer: one small filter, the same weights at every place.

What is called convolution here is cross-correlation, as in every deep-learning library: the kernel is not flipped.

Letters of shapes: N images, C input channels, H x W input, O output channels (filters), kh x kw kernel, oh x ow output,
G groups.
"""

from typing import NamedTuple

from cnnlib.functional._arrays import Array, check_arrays, check_gradient, check_rank
from cnnlib.functional._operation import operation
from cnnlib.functional.geometry import Pair, output_shape, pad, pair, taps


class Conv2dCache(NamedTuple):
    """What the backward pass needs: the inputs themselves, never the unfolded windows (kh*kw times larger)."""

    x: Array
    weight: Array
    has_bias: bool
    geometry: "ConvGeometry"


class ConvGeometry(NamedTuple):
    """Where the kernel stands, each pair as (vertical, horizontal)."""

    kernel_size: Pair
    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int
    outputs: Pair

    def output_shape(self, x: Array, weight: Array) -> tuple[int, int, int, int]:
        """Return (N, O, oh, ow)."""
        return (x.shape[0], weight.shape[0], *self.outputs)


def conv_geometry(
    x: Array,
    weight: Array,
    bias: Array | None,
    stride: int | Pair,
    padding: int | Pair,
    dilation: int | Pair,
    groups: int,
) -> ConvGeometry:
    """Check the arguments of `conv2d` against each other and return where the kernel stands."""
    check_arrays(x=x, weight=weight, bias=bias)
    check_rank("x", x, "NCHW")
    check_rank("weight", weight, "OCHW")
    stride, padding = pair("stride", stride, 1), pair("padding", padding, 0)
    dilation = pair("dilation", dilation, 1)
    channels, filters, depth = x.shape[1], weight.shape[0], weight.shape[1]
    if not isinstance(groups, int) or groups < 1:
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
    outputs = output_shape(x.shape[2:], kernel_size, stride, padding, dilation)
    return ConvGeometry(kernel_size, stride, padding, dilation, groups, outputs)


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

    where :math:`\tilde x` is x framed by P rows and columns of zeros, S the stride and D the dilation.

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
    geometry = conv_geometry(x, weight, bias, stride, padding, dilation, groups)
    xp = check_arrays(x=x)
    N, O, oh, ow = geometry.output_shape(x, weight)
    G, C_g, O_g = groups, weight.shape[1], weight.shape[0] // groups

    framed = pad(xp, x, geometry.padding, geometry.padding)
    x_g = xp.reshape(framed, (N, G, C_g, *framed.shape[2:]))
    w_g = xp.reshape(weight, (1, G, O_g, C_g, *geometry.kernel_size))
    y = xp.zeros((N, G, O_g, oh * ow), dtype=x.dtype, device=x.device)
    for i, j, rows, columns in taps(geometry.kernel_size, geometry.stride, geometry.dilation, geometry.outputs):
        seen = xp.reshape(x_g[..., rows, columns], (N, G, C_g, oh * ow))
        y = y + w_g[..., i, j] @ seen  # (1, G, O_g, C_g) @ (N, G, C_g, oh*ow)
    y = xp.reshape(y, (N, O, oh, ow))
    if bias is not None:
        y = y + xp.reshape(bias, (1, O, 1, 1))
    return y, Conv2dCache(x, weight, bias is not None, geometry)


@operation
def conv2d_backward(dy: Array, cache: Conv2dCache, need_dx: bool = True) -> tuple[Array | None, Array, Array | None]:
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

    Returns
    -------
    dx, dweight, dbias : shaped as x, weight and bias; dbias is None where there was no bias
    """
    x, weight, has_bias, geometry = cache
    xp = check_gradient(dy, geometry.output_shape(x, weight), x)
    N, O, oh, ow = dy.shape
    G, C_g, O_g = geometry.groups, weight.shape[1], weight.shape[0] // geometry.groups

    framed = pad(xp, x, geometry.padding, geometry.padding)
    x_g = xp.reshape(framed, (N, G, C_g, *framed.shape[2:]))
    w_g = xp.reshape(weight, (1, G, O_g, C_g, *geometry.kernel_size))
    dy_g = xp.reshape(dy, (N, G, O_g, oh * ow))
    dw_g, dx_g = xp.zeros_like(w_g[0, ...]), xp.zeros_like(x_g)
    for i, j, rows, columns in taps(geometry.kernel_size, geometry.stride, geometry.dilation, geometry.outputs):
        seen = xp.reshape(x_g[..., rows, columns], (N, G, C_g, oh * ow))
        dw_g[..., i, j] = xp.sum(dy_g @ xp.matrix_transpose(seen), axis=0)
        if need_dx:
            asked = xp.matrix_transpose(w_g[..., i, j]) @ dy_g
            dx_g[..., rows, columns] += xp.reshape(asked, (N, G, C_g, oh, ow))

    dweight = xp.reshape(dw_g, weight.shape)
    dbias = xp.sum(dy, axis=(0, 2, 3)) if has_bias else None
    if not need_dx:
        return None, dweight, dbias
    top, left = geometry.padding
    dx = xp.reshape(dx_g, framed.shape)[..., top : top + x.shape[2], left : left + x.shape[3]]
    return dx, dweight, dbias


def _nearest_divisor(number: int, wanted: int) -> int:
    return min((d for d in range(1, number + 1) if number % d == 0), key=lambda d: abs(d - wanted))
