"""Normalisation: across neighbouring channels (LRN, 2012), and over the batch (2015)."""

from typing import Any, NamedTuple

from cnnlib.arrays import Array, check_arrays, check_gradient, namespace
from cnnlib.operation import operation


class LocalResponseNormCache(NamedTuple):
    """What the backward pass needs; `denominator` is the s of the formula, `alpha` the one it was computed with."""

    x: Array
    denominator: Array
    size: int
    alpha: float
    beta: float


@operation
def local_response_norm(
    x: Array, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0, convention: str = "torch"
) -> tuple[Array, LocalResponseNormCache]:
    r"""Divide each value by what its neighbours in the next channels amount to.

    .. math::
        y_{n,c,p,q} = x_{n,c,p,q} \, / \, s_{n,c,p,q}^{\,\beta}, \qquad
        s_{n,c,p,q} = k + a \sum_{d = c - \lfloor n/2 \rfloor}^{c + \lfloor (n-1)/2 \rfloor} x_{n,d,p,q}^2

    with :math:`a = \alpha/n` for `convention` "torch" (so too in Caffe and ONNX), but :math:`a = \alpha` for "paper".
    AlexNet's n = 5, alpha = 1e-4, beta = 0.75, k = 2 are of the paper's convention: 5e-4 in torch's.

    Parameters
    ----------
    x : (N, C, ...), at least the two axes
    size : n, how many channels a window spans

    Returns
    -------
    y : shaped as x
    cache : for `local_response_norm_backward`

    Raises ValueError for a size below 1 or an unknown convention. Source: Krizhevsky et al. 2012, section 3.3;
    arguments and defaults of torch.nn.functional.local_response_norm.
    """
    alpha = check_local_response_norm(x, size, alpha, convention)
    check_arrays(x=x)
    xp = namespace(x)
    size, beta, k = int(size), float(beta), float(k)  # NumPy's numbers would make float64 of float32
    denominator = k + alpha * _window_sum(xp, x * x, size // 2, (size - 1) // 2)
    return x * denominator**-beta, LocalResponseNormCache(x, denominator, size, alpha, beta)


@operation
def local_response_norm_backward(dy: Array, cache: LocalResponseNormCache) -> Array:
    r"""Return dx, shaped as x.

    A value stands in its own numerator, and in the denominator of every window that reaches it:

    .. math::
        \frac{\partial L}{\partial x_c} = \delta_c\, s_c^{-\beta}
            - 2 a \beta\, x_c \sum_{d:\, c \in \text{window}(d)} \delta_d\, x_d\, s_d^{-\beta-1}
    """
    x, s, size, alpha, beta = cache
    check_gradient(dy, x.shape, x)
    xp = namespace(dy)
    power = s**-beta
    reached = _window_sum(xp, dy * x * power / s, (size - 1) // 2, size // 2)
    return dy * power - 2 * alpha * beta * x * reached


def check_local_response_norm(x: Array, size: int, alpha: float, convention: str) -> float:
    """Check the arguments and return alpha as the formula's a."""
    check_arrays(x=x)
    if len(x.shape) < 2:
        raise ValueError(f"x must have a batch axis and a channel axis, but its shape is {tuple(x.shape)}")
    if size < 1:
        raise ValueError(f"size is a number of channels, at least 1, not {size}")
    if convention not in ("torch", "paper"):
        raise ValueError(f'convention must be "torch" (alpha is divided by size) or "paper", not {convention!r}')
    return float(alpha / size if convention == "torch" else alpha)


def _window_sum(xp: Any, values: Array, before: int, after: int) -> Array:
    """Return, for each channel, the sum over channels from `before` in front of it to `after` behind it."""
    channels = values.shape[1]
    total = xp.zeros_like(values)
    for d in range(-before, after + 1):
        low, high = max(0, -d), min(channels, channels - d)
        if low < high:
            total[:, low:high, ...] += values[:, low + d : high + d, ...]
    return total


class BatchNormCache(NamedTuple):
    """What the backward pass needs, and in training the moved running statistics for the layer to keep."""

    normalized: Array
    weight: Array | None
    inverse_std: Array
    has_bias: bool
    training: bool
    running_mean: Array | None
    running_var: Array | None


@operation
def batch_norm(
    x: Array,
    running_mean: Array | None,
    running_var: Array | None,
    weight: Array | None = None,
    bias: Array | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> tuple[Array, BatchNormCache]:
    r"""Give each channel mean 0 and variance 1, then a learned scale and offset.

    .. math::
        \hat x = \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}}, \qquad y = \gamma_c\, \hat x + \beta_c

    In training, mean and (biased) variance are those of the batch, over all axes but the channels'; in evaluation the
    running ones. In training the cache holds new running statistics,
    :math:`(1 - m) \cdot \text{running} + m \cdot \text{batch}` with the unbiased variance; the given ones are not
    changed, unlike in torch.

    Parameters
    ----------
    x : (N, C, ...)
    running_mean, running_var, weight, bias : (C,) each, or None; written :math:`\mu, \sigma^2, \gamma, \beta`

    Returns
    -------
    y : shaped as x
    cache : for `batch_norm_backward`

    Raises
    ------
    ValueError
        If a vector is not one value for each channel, if a training batch has one value for each channel only (its
        variance says nothing), or if evaluation lacks running statistics.

    Source: Ioffe & Szegedy 2015, algorithm 1; arguments and defaults of torch.nn.functional.batch_norm.
    """
    check_batch_norm(x, running_mean, running_var, weight, bias, training)
    check_arrays(x=x)
    xp = namespace(x)
    momentum, eps = float(momentum), float(eps)  # NumPy's numbers would make float64 of float32
    over = (0, *range(2, len(x.shape)))
    wide = (1, -1, *(1 for _ in x.shape[2:]))  # a vector over the channels, to be broadcast
    if training:
        count = _count(x)
        mean = xp.mean(x, axis=over)
        centred = x - xp.reshape(mean, wide)
        variance = xp.mean(centred * centred, axis=over)
        if running_mean is not None:
            running_mean = (1 - momentum) * running_mean + momentum * mean
        if running_var is not None:
            running_var = (1 - momentum) * running_var + momentum * variance * (count / (count - 1))
    else:
        centred, variance = x - xp.reshape(running_mean, wide), running_var
    inverse_std = 1 / xp.sqrt(variance + eps)
    normalized = centred * xp.reshape(inverse_std, wide)
    y = normalized if weight is None else normalized * xp.reshape(weight, wide)
    y = y if bias is None else y + xp.reshape(bias, wide)
    return y, BatchNormCache(normalized, weight, inverse_std, bias is not None, training, running_mean, running_var)


@operation
def batch_norm_backward(dy: Array, cache: BatchNormCache) -> tuple[Array, Array | None, Array | None]:
    r"""Return dx, dweight and dbias, shaped as x, weight and bias (None where there was none).

    In training, x also moves its own mean and variance:

    .. math::
        \frac{\partial L}{\partial x} = \frac{\gamma}{\sqrt{\sigma^2 + \epsilon}} \left( \delta
            - \operatorname{mean}(\delta) - \hat x \cdot \operatorname{mean}(\delta\, \hat x) \right)

    In evaluation only the factor in front is left.
    """
    normalized, weight, inverse_std, has_bias, training, _, _ = cache
    check_gradient(dy, normalized.shape, normalized)
    xp = namespace(dy)
    over = (0, *range(2, len(dy.shape)))
    wide = (1, -1, *(1 for _ in dy.shape[2:]))
    dbias = xp.sum(dy, axis=over)
    dweight = xp.sum(dy * normalized, axis=over)
    scale = xp.reshape(inverse_std if weight is None else weight * inverse_std, wide)
    if training:
        count = _count(dy)
        dx = scale * (dy - xp.reshape(dbias / count, wide) - normalized * xp.reshape(dweight / count, wide))
    else:
        dx = scale * dy
    return dx, (None if weight is None else dweight), (dbias if has_bias else None)


def check_batch_norm(
    x: Array,
    running_mean: Array | None,
    running_var: Array | None,
    weight: Array | None,
    bias: Array | None,
    training: bool,
) -> None:
    """Raise TypeError or ValueError unless the arguments of `batch_norm` fit each other."""
    vectors = {"running_mean": running_mean, "running_var": running_var, "weight": weight, "bias": bias}
    check_arrays(x=x, **vectors)
    if len(x.shape) < 2:
        raise ValueError(f"x must have a batch axis and a channel axis, but its shape is {tuple(x.shape)}")
    for name, vector in vectors.items():
        if vector is not None and tuple(vector.shape) != (x.shape[1],):
            raise ValueError(f"{name} must have one value for each channel, ({x.shape[1]},), not {tuple(vector.shape)}")
    if training and _count(x) < 2:
        raise ValueError(
            f"a batch of shape {tuple(x.shape)} has one value for each channel: its variance is 0 and would divide "
            "by nothing. Train with at least 2 values a channel, or use evaluation mode"
        )
    if not training and (running_mean is None or running_var is None):
        raise ValueError("in evaluation batch_norm needs running_mean and running_var")


def _count(x: Array) -> int:
    count = x.shape[0]
    for size in x.shape[2:]:
        count *= size
    return count
