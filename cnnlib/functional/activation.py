"""Nonlinearities, element by element: y = f(x), so dL/dx = f'(x) dL/dy."""

from typing import NamedTuple

from cnnlib.arrays import Array, check_arrays, check_gradient, namespace
from cnnlib.operation import operation


@operation
def relu(x: Array, inplace: bool = False) -> tuple[Array, Array]:
    r"""Return :math:`y = \max(x, 0)` and a cache, for x of any shape; with `inplace`, y is x, overwritten.

    Source: Nair & Hinton 2010; Glorot et al. 2011.
    """
    check_arrays(x=x)
    xp = namespace(x)
    y = xp.where(x < 0, xp.zeros_like(x), x)  # a NaN is handed on, not hidden
    if inplace:
        x[...] = y
        y = x
    return y, y


@operation
def relu_backward(dy: Array, cache: Array, inplace: bool = False) -> Array:
    r"""Return :math:`\partial L/\partial x = [y > 0]\, \partial L/\partial y`, with `inplace` written over dy.

    The gradient at 0 is 0, as in torch, and at NaN :math:`\partial L/\partial y`.
    """
    check_gradient(dy, cache.shape, cache)
    xp = namespace(dy)
    dx = xp.where(cache <= 0, xp.zeros_like(dy), dy)
    if inplace:
        dy[...] = dx
        dx = dy
    return dx


@operation
def tanh(x: Array) -> tuple[Array, Array]:
    r"""Return :math:`y = \tanh x` and a cache, for x of any shape."""
    check_arrays(x=x)
    y = namespace(x).tanh(x)
    return y, y


@operation
def tanh_backward(dy: Array, cache: Array) -> Array:
    r"""Return :math:`\partial L/\partial x = (1 - y^2)\, \partial L/\partial y`."""
    check_gradient(dy, cache.shape, cache)
    return dy * (1 - cache * cache)


@operation
def sigmoid(x: Array) -> tuple[Array, Array]:
    r"""Return :math:`y = 1/(1 + e^{-x})` and a cache, for x of any shape."""
    check_arrays(x=x)
    xp = namespace(x)
    e = xp.exp(-xp.abs(x))  # never overflows: the exponent is never positive
    y = xp.where(x < 0, e, xp.ones_like(e)) / (1 + e)
    return y, y


@operation
def sigmoid_backward(dy: Array, cache: Array) -> Array:
    r"""Return :math:`\partial L/\partial x = y (1 - y)\, \partial L/\partial y`."""
    check_gradient(dy, cache.shape, cache)
    return dy * (cache * (1 - cache))


class ScaledTanhCache(NamedTuple):
    """What the backward pass needs."""

    y: Array
    amplitude: float
    slope: float


@operation
def scaled_tanh(x: Array, amplitude: float = 1.7159, slope: float = 2 / 3) -> tuple[Array, ScaledTanhCache]:
    r"""Return :math:`y = A \tanh(S x)` and a cache.

    With the defaults f(1) is about 1 and f(-1) about -1, so that targets of +-1 lie within the range.
    Source: LeCun et al. 1998, section II-B and appendix A.
    """
    check_arrays(x=x)
    y = amplitude * namespace(x).tanh(slope * x)
    return y, ScaledTanhCache(y, amplitude, slope)


@operation
def scaled_tanh_backward(dy: Array, cache: ScaledTanhCache) -> Array:
    r"""Return :math:`\partial L/\partial x = A S (1 - (y/A)^2)\, \partial L/\partial y`."""
    y, amplitude, slope = cache
    check_gradient(dy, y.shape, y)
    return dy * (amplitude * slope - (slope / amplitude) * y * y)
