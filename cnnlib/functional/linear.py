"""The fully connected layer, and the flattening that comes before it."""

from math import prod
from typing import NamedTuple

from cnnlib.arrays import Array, all_finite, check_arrays, check_gradient, check_rank, namespace
from cnnlib.operation import operation


class LinearCache(NamedTuple):
    """What the backward pass needs."""

    x: Array
    weight: Array
    has_bias: bool


@operation
def linear(x: Array, weight: Array, bias: Array | None = None) -> tuple[Array, LinearCache]:
    r"""Return :math:`y = x W^\top + b`.

    Parameters
    ----------
    x : (N, D) features
    weight : (K, D)
    bias : (K,), or None

    Returns
    -------
    y : (N, K)
    cache : for `linear_backward`

    Raises
    ------
    TypeError, ValueError
        If dtypes, libraries, devices or the number of features don't match.

    Source: arguments and defaults of torch.nn.functional.linear.
    """
    check_linear(x, weight, bias)
    y = x @ weight.T
    return (y if bias is None else y + bias), LinearCache(x, weight, bias is not None)


@operation
def linear_backward(
    dy: Array, cache: LinearCache, need_dx: bool = True, need_dweight: bool = True
) -> tuple[Array | None, Array | None, Array | None]:
    r"""Return dx, dweight and dbias, shaped as x, weight and bias (None where there was none, or it is not needed).

    .. math::
        \frac{\partial L}{\partial x} = \delta W, \qquad \frac{\partial L}{\partial W} = \delta^\top x, \qquad
        \frac{\partial L}{\partial b} = \sum_n \delta_n

    where :math:`\delta` is `dy` of shape (N, K); it is not changed.
    """
    x, weight, has_bias = cache
    check_gradient(dy, (x.shape[0], weight.shape[0]), x)
    xp = namespace(dy)
    dx = dy @ weight if need_dx else None
    dweight = dy.T @ x if need_dweight else None
    return dx, dweight, (xp.sum(dy, axis=0) if has_bias else None)


def check_linear(x: Array, weight: Array, bias: Array | None) -> None:
    """Raise TypeError or ValueError unless the arguments of `linear` fit each other."""
    check_arrays(x=x, weight=weight, bias=bias)
    check_rank("x", x, "ND")
    check_rank("weight", weight, "KD")
    if x.shape[1] != weight.shape[1]:
        raise ValueError(
            f"every output weighs every feature: x has {x.shape[1]} features, but the weight of shape "
            f"{tuple(weight.shape)} reads {weight.shape[1]}. Give x {weight.shape[1]} features, or the weight "
            f"shape ({weight.shape[0]}, {x.shape[1]})"
        )
    if bias is not None and tuple(bias.shape) != (weight.shape[0],):
        raise ValueError(
            f"there is one bias for each output: bias must have shape ({weight.shape[0]},), not {tuple(bias.shape)}"
        )


class RBFCache(NamedTuple):
    """What the backward pass needs."""

    x: Array
    weight: Array


@operation
def rbf(x: Array, weight: Array) -> tuple[Array, RBFCache]:
    r"""Return the squared distance of each row from each code: LeNet-5's output layer. The smallest wins.

    .. math:: y_{n,k} = \sum_d (x_{n,d} - w_{k,d})^2

    x is (N, D), weight (K, D), y (N, K). Source: LeCun et al. 1998, section II-B, equation 7.
    """
    check_linear(x, weight, None)
    xp = namespace(x)
    difference = xp.expand_dims(x, axis=1) - xp.expand_dims(weight, axis=0)  # (N, K, D)
    return xp.sum(difference * difference, axis=2), RBFCache(x, weight)


@operation
def rbf_backward(dy: Array, cache: RBFCache) -> tuple[Array, Array]:
    r"""Return dx and dweight.

    .. math::
        \frac{\partial L}{\partial x_{n,d}} = 2 \sum_k \delta_{n,k} (x_{n,d} - w_{k,d}), \qquad
        \frac{\partial L}{\partial w_{k,d}} = -2 \sum_n \delta_{n,k} (x_{n,d} - w_{k,d})
    """
    x, weight = cache
    check_gradient(dy, (x.shape[0], weight.shape[0]), x)
    xp = namespace(dy)
    dx = 2 * (xp.sum(dy, axis=1, keepdims=True) * x - dy @ weight)
    dweight = 2 * (xp.reshape(xp.sum(dy, axis=0), (-1, 1)) * weight - dy.T @ x)
    if not (all_finite(dx) and all_finite(dweight)):  # a sum of differences is no difference of infinite sums
        asked = 2 * xp.expand_dims(dy, axis=2) * (xp.expand_dims(x, axis=1) - xp.expand_dims(weight, axis=0))
        dx, dweight = xp.sum(asked, axis=1), -xp.sum(asked, axis=0)
    return dx, dweight


@operation
def flatten(x: Array, start_dim: int = 1) -> tuple[Array, tuple[tuple[int, ...], Array]]:
    """Return x with all axes from `start_dim` on laid out as one, and a cache.

    Raises ValueError if x has no such axis. Source: torch.nn.Flatten, whose default keeps the batch axis.
    """
    check_arrays(x=x)
    xp = namespace(x)
    if not 0 <= start_dim < len(x.shape):
        raise ValueError(f"start_dim={start_dim} must be one of the axes of x, 0 to {len(x.shape) - 1}")
    y = xp.reshape(x, (*x.shape[:start_dim], prod(x.shape[start_dim:])))
    return y, (tuple(x.shape), y)


@operation
def flatten_backward(dy: Array, cache: tuple[tuple[int, ...], Array]) -> Array:
    """Return dy in the shape of x."""
    shape, y = cache
    check_gradient(dy, y.shape, y)
    return namespace(dy).reshape(dy, shape)
