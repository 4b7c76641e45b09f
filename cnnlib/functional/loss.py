"""Losses: one number that says how wrong the outputs are, averaged over the batch."""

from math import prod
from typing import Any, NamedTuple

from cnnlib.arrays import Array, check_arrays, check_gradient, check_rank, library, namespace
from cnnlib.operation import operation


class LogSoftmaxCache(NamedTuple):
    """What the backward pass needs."""

    y: Array
    dim: int


@operation
def log_softmax(x: Array, dim: int = 1) -> tuple[Array, LogSoftmaxCache]:
    r"""Return :math:`y_k = x_k - \log \sum_j e^{x_j}` along axis `dim`, and a cache.

    The largest x is subtracted first, which changes nothing but keeps the exponentials from overflowing.
    """
    check_arrays(x=x)
    xp = namespace(x)
    if not -len(x.shape) <= dim < len(x.shape):
        raise ValueError(f"dim={dim} must be one of the axes of x, which has {len(x.shape)}")
    shifted = x - xp.max(x, axis=dim, keepdims=True)
    y = shifted - xp.log(xp.sum(xp.exp(shifted), axis=dim, keepdims=True))
    return y, LogSoftmaxCache(y, dim)


@operation
def log_softmax_backward(dy: Array, cache: LogSoftmaxCache) -> Array:
    r"""Return :math:`\partial L/\partial x_k = \delta_k - e^{y_k} \sum_j \delta_j`, where :math:`\delta` is `dy`."""
    y, dim = cache
    check_gradient(dy, y.shape, y)
    xp = namespace(dy)
    return dy - xp.exp(y) * xp.sum(dy, axis=dim, keepdims=True)


@operation
def softmax(x: Array, dim: int = 1) -> tuple[Array, LogSoftmaxCache]:
    r"""Return :math:`y_k = e^{x_k} / \sum_j e^{x_j}` along axis `dim`, which sums to 1, and a cache."""
    log_y, _ = log_softmax(x, dim)
    check_arrays(x=x)
    y = namespace(x).exp(log_y)
    return y, LogSoftmaxCache(y, dim)


@operation
def softmax_backward(dy: Array, cache: LogSoftmaxCache) -> Array:
    r"""Return :math:`\partial L/\partial x_k = y_k (\delta_k - \sum_j \delta_j y_j)`, where :math:`\delta` is `dy`."""
    y, dim = cache
    check_gradient(dy, y.shape, y)
    xp = namespace(dy)
    return y * (dy - xp.sum(dy * y, axis=dim, keepdims=True))


class CrossEntropyCache(NamedTuple):
    """What the backward pass needs."""

    log_probabilities: Array
    chosen: Array


@operation
def cross_entropy(logits: Array, labels: Array) -> tuple[Array, CrossEntropyCache]:
    r"""Return the mean negative log-probability of the right classes, and a cache.

    .. math:: L = -\frac{1}{N} \sum_n \log \frac{e^{z_{n,t_n}}}{\sum_k e^{z_{n,k}}}

    Parameters
    ----------
    logits : (N, K), written z above
    labels : (N,) integers from 0 to K-1, written t above

    Returns
    -------
    loss : a scalar array, in nats
    cache : for `cross_entropy_backward`

    Raises
    ------
    TypeError
        If labels are not integers, or from another library than the logits.
    ValueError
        If there isn't one label for each row, or a label is no class.

    Source: torch.nn.functional.cross_entropy with its defaults.
    """
    check_arrays(logits=logits)
    xp = namespace(logits)
    check_rank("logits", logits, "NK")
    _check_labels(xp, logits, labels)
    log_probabilities, _ = log_softmax(logits, dim=1)
    labels = xp.astype(labels, xp.int64)  # a byte could not number the classes beyond 255
    classes = xp.arange(logits.shape[1], dtype=labels.dtype, device=logits.device)
    chosen = xp.expand_dims(labels, axis=1) == classes  # (N, K)
    # not a product: a wrong class of probability 0 would make it 0 * -inf
    loss = -xp.sum(xp.where(chosen, log_probabilities, xp.zeros_like(log_probabilities))) / logits.shape[0]
    return loss, CrossEntropyCache(log_probabilities, xp.astype(chosen, logits.dtype))


@operation
def cross_entropy_backward(dy: float | Array, cache: CrossEntropyCache) -> Array:
    r"""Return the gradient (N, K) with respect to the logits: what the network said minus what is right.

    .. math:: \frac{\partial L}{\partial z_{n,k}} = \frac{\delta}{N} \left(p_{n,k} - [k = t_n]\right)

    `dy` is the scalar :math:`\delta`: 1.0 where L is the loss itself.
    """
    log_probabilities, chosen = cache
    check_arrays(log_probabilities=log_probabilities)
    xp = namespace(log_probabilities)
    return (xp.exp(log_probabilities) - chosen) * (dy / chosen.shape[0])


@operation
def mse_loss(input: Array, target: Array) -> tuple[Array, Array]:
    r"""Return :math:`L = \frac{1}{M} \sum_m (x_m - t_m)^2` over all M elements, and a cache.

    `input` and `target` have one shape (ValueError otherwise: nothing is broadcast). Source:
    torch.nn.functional.mse_loss.
    """
    check_arrays(input=input, target=target)
    xp = namespace(input)
    if tuple(input.shape) != tuple(target.shape):
        raise ValueError(
            f"input and target must have one shape, but are {tuple(input.shape)} and {tuple(target.shape)}"
        )
    difference = input - target
    return xp.mean(difference * difference), difference


@operation
def mse_loss_backward(dy: float | Array, cache: Array) -> Array:
    r"""Return :math:`\partial L/\partial x_m = \frac{2\delta}{M} (x_m - t_m)` for the scalar :math:`\delta` = `dy`."""
    return cache * (2 * dy / prod(cache.shape))


def _check_labels(xp: Any, logits: Array, labels: Array) -> None:
    if not hasattr(labels, "dtype") or library(labels) != library(logits):
        raise TypeError(
            f"logits and labels must be from one library: logits are from {library(logits)}, labels are "
            f"{type(labels).__name__}"
        )
    if not xp.isdtype(labels.dtype, "integral"):
        raise TypeError(f"labels must be integers, the numbers of the classes, not {labels.dtype}")
    if labels.device != logits.device:
        raise ValueError(f"arrays lie on different devices: logits on {logits.device}, labels on {labels.device}")
    N, K = logits.shape
    if tuple(labels.shape) != (N,):
        raise ValueError(
            f"there is one label for each of the {N} rows: labels must have shape ({N},), not {tuple(labels.shape)}"
        )
    if N == 0:
        raise ValueError("a mean over no examples is undefined: the batch is empty")
    low, high = int(xp.min(labels)), int(xp.max(labels))
    if low < 0 or high >= K:
        wrong = low if low < 0 else high
        raise ValueError(
            f"labels are numbers of classes, 0 to {K - 1} for {K} logits, but there is a {wrong}. "
            f"Count classes from 0, or give the network {max(high + 1, 1)} outputs"
        )
