"""What costs and visualize say that a unit sees, against the pixels whose gradient is not 0."""

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cnnlib import cost, layers, visualize
from cnnlib.containers import Concat, Residual, Sequential
from cnnlib.functional import GeometryError

SIDE = 64
KEEPERS = (layers.ReLU, layers.Tanh, layers.Sigmoid, lambda: layers.BatchNorm2d(1, dtype="float64"), layers.Dropout)


def ones(layer):
    """Give a convolution weights of 1, so that no gradient cancels another."""
    layer.weight.data[...] = 1
    return layer


@st.composite
def sliding(draw):
    """A convolution or an average pooling, on one channel."""
    size = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    stride = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    padding = tuple(draw(st.integers(0, n // 2)) for n in size)
    if draw(st.booleans()):
        return layers.AvgPool2d(size, stride, padding, ceil_mode=draw(st.booleans()))
    dilation = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    return ones(layers.Conv2d(1, 1, size, stride, padding, dilation, bias=False, dtype="float64"))


@st.composite
def keeping(draw):
    """A convolution that keeps the size: odd, with as much padding as it needs."""
    kh, kw = draw(st.tuples(*[st.sampled_from([1, 3, 5])] * 2))
    return ones(layers.Conv2d(1, 1, (kh, kw), padding=(kh // 2, kw // 2), bias=False, dtype="float64"))


@st.composite
def branching(draw):
    """Branches of the same output size, and a convolution that adds them up, or a sum of two or with the input."""
    branch = st.lists(keeping(), min_size=1, max_size=2).map(lambda parts: Sequential(*parts))
    if draw(st.booleans()):
        shortcut = {"shortcut": draw(branch)} if draw(st.booleans()) else None
        return Residual({"path": draw(branch)}, shortcut, {"relu": layers.ReLU(inplace=True)})
    branches = draw(st.lists(branch, min_size=2, max_size=3))
    total = ones(layers.Conv2d(len(branches), 1, 1, bias=False, dtype="float64"))
    return Sequential(split=Concat(*branches), add=total)


def seen(network, shape):
    """Return the rows and columns from first to last that the unit in the middle has a gradient for."""
    x = np.ones((1, 1, SIDE, SIDE))
    network.train()
    y = network(x)
    dy = np.zeros_like(y)
    unit = (0, shape[1] // 2, shape[2] // 2)
    dy[(0, *unit)] = 1
    dx = network.backward(dy)[0, 0]
    rows, columns = np.nonzero(dx)
    return unit, (rows.min(), columns.min(), rows.max() + 1, columns.max() + 1)


@settings(max_examples=150)
@given(st.lists(st.one_of(sliding(), branching()), min_size=1, max_size=3))
def test_fields_are_where_gradients_are(parts):
    network = Sequential(*parts)
    try:
        rows = cost.table(network, (1, SIDE, SIDE))
    except GeometryError:
        return
    shape, field = rows[-1].output_shape, rows[-1].receptive_field
    unit, found = seen(network, shape)
    box = visualize.receptive_field(network, (1, SIDE, SIDE), str(len(parts) - 1), unit)
    assume(min(box) >= 0 and max(box.bottom, box.right) <= SIDE)  # beyond the edge there is no gradient
    assert box == found and field == box.size


def test_layers_that_keep_positions_see_one_pixel():
    for make in KEEPERS:
        (row,) = cost.table(Sequential(make()), (1, 8, 8))
        assert (row.receptive_field, row.jump, row.unread) == ((1, 1), (1, 1), (0, 0))
