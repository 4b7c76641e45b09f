"""Every operation of cnnlib.functional: random inputs that fit it, and what torch says about them."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as TF
from hypothesis import HealthCheck, assume, settings
from hypothesis import strategies as st

# The same examples on every machine and in every run: what is red stays red.
SETTINGS = settings(
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@dataclass(frozen=True)
class Case:
    """An operation, called as op(*arrays, *arguments), and the torch function called in the same way."""

    calls: st.SearchStrategy  # of (arrays, arguments), arrays in float64 or of labels
    torch: Callable
    gradients: int  # how many of the arrays, from the first, have one


def numbers(draw, shape, ties=False):
    """Return an array of O(1) numbers; with `ties`, many of them equal."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return rng.integers(-2, 3, shape).astype(float) if ties else rng.standard_normal(shape)


def per_axis(draw, low, high):
    """Return (vertical, horizontal), and how it may be written: an int where both are equal."""
    pair = draw(st.one_of(st.integers(low, high).map(lambda v: (v, v)), st.tuples(*[st.integers(low, high)] * 2)))
    return pair, (pair[0] if pair[0] == pair[1] and draw(st.booleans()) else pair)


def spatial(draw, kernel_size, padding, dilation):
    """Return (height, width) of an input into which the window fits, often just so."""
    extent = [d * (k - 1) + 1 for k, d in zip(kernel_size, dilation, strict=True)]
    return tuple(max(1, e - 2 * p) + draw(st.integers(0, 6)) for e, p in zip(extent, padding, strict=True))


@st.composite
def conv2d(draw):
    groups = draw(st.integers(1, 3))
    depth, filters = draw(st.integers(1, 3)), groups * draw(st.integers(1, 3))
    kernel_size = per_axis(draw, 1, 4)[0]
    (_, stride), (pads, padding), (gaps, dilation) = (per_axis(draw, *r) for r in ((1, 3), (0, 3), (1, 3)))
    size = spatial(draw, kernel_size, pads, gaps)
    x = numbers(draw, (draw(st.integers(1, 3)), groups * depth, *size))
    weight = numbers(draw, (filters, depth, *kernel_size))
    bias = draw(st.sampled_from([None, numbers(draw, (filters,))]))
    return (x, weight, bias), (stride, padding, dilation, groups)


@st.composite
def pooling(draw, last, dilated):
    kernel, kernel_size = per_axis(draw, 1, 4)
    pads, padding = per_axis(draw, 0, 2)
    if any(2 * p > k for p, k in zip(pads, kernel, strict=True)):
        pads, padding = (0, 0), 0
    gaps, dilation = per_axis(draw, 1, 3) if dilated else ((1, 1), None)
    stride = draw(st.sampled_from([None, per_axis(draw, 1, 4)[1]]))
    # Where gaps are wider than the input, a window can stand on padding alone: minus infinity, nobody's gradient.
    size = tuple(max(pair) for pair in zip(gaps, spatial(draw, kernel, pads, gaps), strict=True))
    x = numbers(draw, (draw(st.integers(1, 3)), draw(st.integers(1, 3)), *size), ties=draw(st.booleans()))
    if draw(st.booleans()):  # the common case, which has its own kernels
        kernel_size, stride, padding, dilation = 2, 2, 0, dilation and 1
        x = np.repeat(np.repeat(x, 2, 2), 2, 3) + (0 if draw(st.booleans()) else numbers(draw, 1))
    middle = (padding, dilation) if dilated else (padding,)
    return (x,), (kernel_size, stride, *middle, draw(st.booleans()), *[draw(st.booleans()) for _ in range(last)])


@st.composite
def elementwise(draw, low=1):
    shape = draw(st.lists(st.integers(1, 5), min_size=low, max_size=4))
    return (numbers(draw, shape, ties=draw(st.booleans())),), ()


@st.composite
def linear(draw):
    n, d, k = (draw(st.integers(1, 9)) for _ in range(3))
    bias = draw(st.sampled_from([None, numbers(draw, (k,))]))
    return (numbers(draw, (n, d)), numbers(draw, (k, d)), bias), ()


@st.composite
def flatten(draw):
    (x,), _ = draw(elementwise())
    return (x,), (draw(st.integers(0, x.ndim - 1)),)


@st.composite
def log_softmax(draw):
    (x,), _ = draw(elementwise())
    return (3 * x,), (draw(st.integers(-x.ndim, x.ndim - 1)),)


@st.composite
def cross_entropy(draw):
    n, k = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    labels = np.array(draw(st.lists(st.integers(0, k - 1), min_size=n, max_size=n)), dtype=np.int64)
    logits = 3 * numbers(draw, (n, k))
    if draw(st.booleans()):
        return (logits, labels), ()
    weight = draw(st.sampled_from([None, 1 + np.abs(numbers(draw, (k,)))]))
    ignored = draw(st.sampled_from([-100, -1, 0, k - 1]))
    if draw(st.booleans()):
        labels, ignored = np.abs(numbers(draw, (n, k))), -100
    elif ignored < 0:
        labels[draw(st.integers(0, n - 1))] = ignored
    assume(labels.ndim == 2 or (labels != ignored).any())
    reduction = draw(st.sampled_from(["mean", "sum", "none"]))
    return (logits, labels, weight), (ignored, reduction, draw(st.sampled_from([0.0, 0.1, 0.7])))


def torch_cross_entropy(logits, labels, weight=None, ignored=-100, reduction="mean", smoothing=0.0):
    """torch's, whose arguments have two more between them that it no longer wants."""
    return TF.cross_entropy(
        logits, labels, weight, ignore_index=ignored, reduction=reduction, label_smoothing=smoothing
    )


@st.composite
def mse_loss(draw):
    (x,), _ = draw(elementwise())
    return (x, numbers(draw, x.shape)), ()


@st.composite
def conv_transpose2d(draw):
    groups, (_, weight, _), (stride, padding, dilation, _) = 1, *draw(conv2d())
    groups = draw(st.sampled_from([g for g in (1, 2, 3) if weight.shape[0] % g == 0]))
    x = numbers(draw, (draw(st.integers(1, 3)), weight.shape[0], draw(st.integers(1, 4)), draw(st.integers(1, 4))))
    bias = draw(st.sampled_from([None, numbers(draw, (weight.shape[1] * groups,))]))
    (strides, pads, gaps), more = ((v, v) if isinstance(v, int) else v for v in (stride, padding, dilation)), []
    for a in (0, 1):
        more.append(draw(st.integers(0, strides[a] - 1)))
        size = (x.shape[2 + a] - 1) * strides[a] - 2 * pads[a] + gaps[a] * (weight.shape[2 + a] - 1) + more[a] + 1
        assume(size > 0)
    return (x, weight, bias), (stride, padding, tuple(more), groups, dilation)


@st.composite
def sparse_conv2d(draw):
    channels, filters, size = draw(st.integers(1, 4)), draw(st.integers(1, 4)), draw(st.integers(1, 3))
    reads = st.sets(st.integers(0, channels - 1), min_size=1).map(lambda s: tuple(sorted(s)))
    table = tuple(draw(reads) for _ in range(filters))
    x = numbers(draw, (2, channels, size + draw(st.integers(0, 3)), size + draw(st.integers(0, 3))))
    return (x, numbers(draw, (sum(map(len, table)), size, size)), numbers(draw, (filters,))), (table,)


def torch_sparse_conv2d(x, weight, bias, table):
    """Filter by filter, each on the channels it reads."""
    starts = np.cumsum([0, *map(len, table)])
    maps = [TF.conv2d(x[:, list(c)], weight[None, starts[o] : starts[o + 1]]) for o, c in enumerate(table)]
    return torch.cat(maps, 1) + bias[:, None, None]


@st.composite
def adaptive_avg_pool2d(draw):
    x = numbers(draw, tuple(draw(st.integers(1, 9)) for _ in range(4)))
    return (x,), (per_axis(draw, 1, 8)[1],)


@st.composite
def subsample2d(draw):
    kernel, kernel_size = per_axis(draw, 1, 3)
    shape = (2, draw(st.integers(1, 3)), *(k * draw(st.integers(1, 3)) + draw(st.integers(0, k - 1)) for k in kernel))
    return (numbers(draw, shape), numbers(draw, shape[1:2]), numbers(draw, shape[1:2])), (kernel_size,)


def torch_subsample2d(x, weight, bias, kernel_size):
    """The sum of a window by its definition."""
    total = TF.avg_pool2d(x, kernel_size, divisor_override=1)
    return total * weight[:, None, None] + bias[:, None, None]


@st.composite
def local_response_norm(draw):
    shape = (draw(st.integers(1, 2)), draw(st.integers(1, 9)), *draw(st.sampled_from([(), (3,), (3, 2)])))
    size, alpha = draw(st.integers(1, 7)), draw(st.sampled_from([1e-4, 0.3, 2.0]))
    return (numbers(draw, shape),), (
        size,
        alpha,
        draw(st.sampled_from([0.75, 0.5, 1.0])),
        draw(st.sampled_from([1.0, 2.0])),
    )


def torch_local_response_norm(x, size, alpha, beta, k):
    """torch's own wants three axes."""
    return TF.local_response_norm(x[..., None] if x.ndim < 3 else x, size, alpha, beta, k).reshape(x.shape)


@st.composite
def rbf(draw):
    n, d, k = (draw(st.integers(1, 6)) for _ in range(3))
    return (numbers(draw, (n, d)), numbers(draw, (k, d))), ()


CASES = {
    "adaptive_avg_pool2d": Case(adaptive_avg_pool2d(), TF.adaptive_avg_pool2d, 1),
    "avg_pool2d": Case(pooling(last=1, dilated=False), TF.avg_pool2d, 1),
    "conv2d": Case(conv2d(), TF.conv2d, 3),
    "conv_transpose2d": Case(conv_transpose2d(), TF.conv_transpose2d, 3),
    "cross_entropy": Case(cross_entropy(), torch_cross_entropy, 1),
    "flatten": Case(flatten(), torch.flatten, 1),
    "linear": Case(linear(), TF.linear, 3),
    "local_response_norm": Case(local_response_norm(), torch_local_response_norm, 1),
    "log_softmax": Case(log_softmax(), TF.log_softmax, 1),
    "max_pool2d": Case(pooling(last=0, dilated=True), TF.max_pool2d, 1),
    "mse_loss": Case(mse_loss(), TF.mse_loss, 1),
    "rbf": Case(rbf(), lambda x, codes: ((x[:, None] - codes) ** 2).sum(2), 2),
    "relu": Case(elementwise(), TF.relu, 1),
    "scaled_tanh": Case(elementwise(), lambda x: 1.7159 * torch.tanh(2 / 3 * x), 1),
    "sigmoid": Case(elementwise(), torch.sigmoid, 1),
    "softmax": Case(log_softmax(), torch.softmax, 1),
    "sparse_conv2d": Case(sparse_conv2d(), torch_sparse_conv2d, 3),
    "subsample2d": Case(subsample2d(), torch_subsample2d, 3),
    "tanh": Case(elementwise(), torch.tanh, 1),
}


def by_torch(case, arrays, arguments):
    """Return y, a random dy and the gradients (None for a bias left out), computed by torch in float64.

    dy is rounded to the arrays' own dtype, as the arrays are, so that rounding is no difference to anyone.
    """
    tensors = [None if a is None else torch.tensor(a if a.dtype.kind == "i" else a.astype(float)) for a in arrays]
    wanted = [t.requires_grad_() for t in tensors[: case.gradients] if t is not None]
    y = case.torch(*tensors, *arguments)
    dy = np.asarray(np.random.default_rng(1).standard_normal(tuple(y.shape))).astype(arrays[0].dtype)
    found = iter(torch.autograd.grad(y, wanted, torch.tensor(dy.astype(float))))
    gradients = [None if t is None else next(found).numpy() for t in tensors[: case.gradients]]
    return y.detach().numpy(), dy, gradients
