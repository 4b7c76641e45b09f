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
    wanted: Array
    divisor: float | None


@operation
def cross_entropy(
    logits: Array,
    labels: Array,
    weight: Array | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> tuple[Array, CrossEntropyCache]:
    r"""Return the mean negative log-probability of the right classes, and a cache.

    .. math:: L = -\frac{1}{N} \sum_n \log \frac{e^{z_{n,t_n}}}{\sum_k e^{z_{n,k}}}

    In general each row wants a distribution over the classes, q, which label smoothing :math:`\epsilon` mixes with the
    uniform one; each class has a weight, and the mean is divided by the weights of the right classes:

    .. math::
        L_n = -\sum_k w_k q_{n,k} \log \frac{e^{z_{n,k}}}{\sum_j e^{z_{n,j}}}, \qquad
        q_{n,k} = (1 - \epsilon) [k = t_n] + \frac{\epsilon}{K}, \qquad L = \frac{\sum_n L_n}{\sum_n w_{t_n}}

    Parameters
    ----------
    logits : (N, K), written z above
    labels : (N,) integers from 0 to K-1, written t above; or soft ones, (N, K) probabilities of the logits' dtype, in
        the place of [k = t_n], where the mean is over N
    weight : (K,), written w; 1 without it
    ignore_index : rows with this label count for nothing
    reduction : "mean", "sum", or "none" for the L_n

    Returns
    -------
    loss : a scalar array, in nats; (N,) without a reduction
    cache : for `cross_entropy_backward`

    Raises
    ------
    TypeError
        If labels are neither integers nor of the logits' dtype, or from another library than the logits.
    ValueError
        If there isn't one label for each row, a label is no class, nothing counts in a mean, there isn't one weight for
        each class, or `label_smoothing` is outside 0 <= eps < 1.

    Source: torch.nn.functional.cross_entropy; label smoothing: Szegedy et al. 2016, section 7.
    """
    check_arrays(logits=logits, weight=weight)
    xp = namespace(logits)
    check_rank("logits", logits, "NK")
    soft = library(labels) == library(logits) and len(labels.shape) == 2 and xp.isdtype(labels.dtype, "real floating")
    check_cross_entropy(logits.shape[1], weight, reduction, label_smoothing)
    log_probabilities, _ = log_softmax(logits, dim=1)
    if soft:
        _check_soft_labels(logits, labels, ignore_index)
        wanted, divisor = labels, float(logits.shape[0])
    else:
        counted = _check_labels(xp, logits, labels, ignore_index)
        labels = xp.astype(labels, xp.int64)  # a byte could not number the classes beyond 255
        classes = xp.arange(logits.shape[1], dtype=labels.dtype, device=logits.device)
        chosen = xp.expand_dims(labels, axis=1) == classes  # (N, K)
        if 0 <= ignore_index < logits.shape[1]:
            chosen = chosen & (classes != ignore_index)
        wanted = xp.astype(chosen, logits.dtype)
        divisor = float(counted if weight is None else xp.sum(wanted * weight))
    if label_smoothing:
        wanted = (1 - label_smoothing) * wanted + label_smoothing / logits.shape[1]
        if not soft:
            wanted = wanted * xp.astype(xp.expand_dims(labels != ignore_index, axis=1), logits.dtype)
    if weight is not None:
        wanted = wanted * weight
    if reduction == "mean" and not divisor:
        raise ValueError(
            f"a mean over no examples is undefined: of the {logits.shape[0]} labels none counts, by ignore_index="
            f"{ignore_index} or a weight of 0"
        )
    # a wrong class of probability 0 must not make it 0 * -inf
    terms = wanted * xp.where(wanted == 0, xp.zeros_like(log_probabilities), log_probabilities)
    if reduction == "none":
        return -xp.sum(terms, axis=1), CrossEntropyCache(log_probabilities, wanted, None)
    divisor = divisor if reduction == "mean" else 1.0
    return -xp.sum(terms) / divisor, CrossEntropyCache(log_probabilities, wanted, divisor)


@operation
def cross_entropy_backward(dy: float | Array, cache: CrossEntropyCache) -> Array:
    r"""Return the gradient (N, K) with respect to the logits: what the network said minus what is right.

    .. math:: \frac{\partial L}{\partial z_{n,k}} = \frac{\delta}{N} \left(p_{n,k} - [k = t_n]\right)

    `dy` is the scalar :math:`\delta`: 1.0 where L is the loss itself; without a reduction it is (N,). In general
    :math:`w_k q_{n,k}` is in the place of [k = t_n], and p is multiplied by the sum of these.
    """
    log_probabilities, wanted, divisor = cache
    check_arrays(log_probabilities=log_probabilities)
    xp = namespace(log_probabilities)
    if divisor is None:
        check_gradient(dy, wanted.shape[:1], wanted)
        dy, divisor = xp.expand_dims(dy, axis=1), 1.0
    total = xp.sum(wanted, axis=1, keepdims=True)
    return (xp.exp(log_probabilities) * total - wanted) * (dy / divisor)


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


def check_cross_entropy(classes: int | None, weight: Array | None, reduction: str, label_smoothing: float) -> None:
    """Raise ValueError unless the settings of `cross_entropy` are possible, for so many classes if they are known."""
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f'reduction must be "mean", "sum" or "none", not {reduction!r}')
    if not 0 <= label_smoothing < 1:
        raise ValueError(
            f"label_smoothing is the share that all classes get: 0 <= label_smoothing < 1, not {label_smoothing}"
        )
    if weight is not None and classes is not None and tuple(weight.shape) != (classes,):
        raise ValueError(
            f"there is one weight for each of the {classes} classes: ({classes},), not {tuple(weight.shape)}"
        )


def _check_soft_labels(logits: Array, labels: Array, ignore_index: int) -> None:
    check_arrays(logits=logits, labels=labels)
    if tuple(labels.shape) != tuple(logits.shape):
        raise ValueError(
            f"soft labels have a probability for each class, {tuple(logits.shape)}, but are {tuple(labels.shape)}"
        )
    if ignore_index >= 0:
        raise ValueError(f"ignore_index={ignore_index} is a label's number, which soft labels don't have")
    if not logits.shape[0]:
        raise ValueError("a mean over no examples is undefined: the batch is empty")


def _check_labels(xp: Any, logits: Array, labels: Array, ignore_index: int) -> int:
    """Return how many labels count."""
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
    low, high, counted = int(xp.min(labels)), int(xp.max(labels)), N
    if low <= ignore_index <= high:
        counts = labels != ignore_index
        counted = int(xp.sum(xp.astype(counts, xp.int64)))
        others = xp.where(counts, labels, xp.zeros_like(labels))
        low, high = int(xp.min(others)), int(xp.max(others))
    if low < 0 or high >= K:
        wrong = low if low < 0 else high
        raise ValueError(
            f"labels are numbers of classes, 0 to {K - 1} for {K} logits, but there is a {wrong}. "
            f"Count classes from 0, or give the network {max(high + 1, 1)} outputs"
        )
    return counted
