"""Dropout: switch a random part of the network off, so that no unit can rely on another."""

import numpy as np

from cnnlib.arrays import Array, check_arrays, check_gradient, namespace
from cnnlib.operation import operation


@operation
def dropout(
    x: Array, p: float = 0.5, training: bool = True, *, rng: "np.random.Generator | None" = None
) -> tuple[Array, Array | None]:
    r"""Set each value to 0 with probability p and divide the others by 1 - p, so that the mean stays.

    .. math:: y = \frac{m \odot x}{1 - p}, \qquad m_i \sim \text{Bernoulli}(1 - p)

    In evaluation, x is returned as it is. Krizhevsky et al. 2012 do not divide in training but halve the outputs at
    test time, which has the same mean. `rng` draws the mask, the same one on every engine; it is needed in training.
    An infinite value that is dropped gives NaN, as in torch.

    Raises ValueError for a p outside 0 to 1, or without `rng`. Source: Srivastava et al. 2014; arguments and defaults
    of torch.nn.functional.dropout.
    """
    check_arrays(x=x)
    xp = namespace(x)
    if not 0 <= p < 1:
        raise ValueError(f"p is the probability of dropping a value: 0 <= p < 1, not {p}")
    if not training:
        return x, None
    if rng is None:
        raise ValueError("dropout draws at random: give rng=numpy.random.default_rng(seed)")
    kept = rng.random(tuple(x.shape), dtype=np.float32) >= p
    mask = xp.astype(xp.asarray(kept, device=x.device), x.dtype) / (1 - float(p))
    return x * mask, mask


@operation
def dropout_backward(dy: Array, cache: Array | None) -> Array:
    """Return dx: the gradient passes where the value passed, with the same factor."""
    if cache is None:
        return dy
    check_gradient(dy, cache.shape, cache)
    return dy * cache
