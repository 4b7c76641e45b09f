"""Each figure's arithmetic in JavaScript equals cnnlib's, or NumPy's, on random cases."""

import itertools

import numpy as np
import pytest

from cnnlib import demos
from cnnlib import functional as F

EXACT = dict(rtol=0, atol=0)
CLOSE = dict(rtol=0, atol=1e-12)


def geometries(rng, count):
    while count:
        size, kernel, stride, padding, dilation = (
            int(rng.integers(low, high + 1)) for low, high in ((1, 11), (1, 5), (1, 4), (0, 3), (1, 3))
        )
        if size + 2 * padding > dilation * (kernel - 1):
            count -= 1
            yield dict(size=size, kernel=kernel, stride=stride, padding=padding, dilation=dilation)


def keywords(shape):
    return {name: shape[name] for name in ("stride", "padding", "dilation")}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", ["integers", "reals"])
def test_convolution(node, channels, kind):
    rng = np.random.default_rng(0)

    def draw(*shape):
        return rng.integers(-9, 10, shape).astype(float) if kind == "integers" else rng.standard_normal(shape)

    cases = []
    for shape in geometries(rng, 60):
        x = draw(channels, shape["size"], shape["size"])
        cases.append((x, draw(channels, shape["kernel"], shape["kernel"]), shape))
    ys = node("convolution", [["conv2d", x.tolist(), w.tolist(), keywords(s)] for x, w, s in cases])
    for (x, w, shape), y in zip(cases, ys, strict=True):
        expected, _ = F.conv2d(x[None], w[None], **keywords(shape))
        np.testing.assert_allclose(y, expected[0, 0], **(EXACT if kind == "integers" else CLOSE))


def all_shapes():
    names = ("size", "kernel", "stride", "padding", "dilation")
    ranges = (range(1, 12), range(1, 6), range(1, 5), range(4), range(1, 4))
    return [dict(zip(names, values, strict=True)) for values in itertools.product(*ranges)]


def twin_size(shape):
    try:
        return F.conv_output_size(shape["size"], shape["kernel"], **keywords(shape))
    except F.GeometryError:
        return 0


def test_convolution_output_size_on_everything_the_controls_reach(node):
    shapes = all_shapes()
    assert node("convolution", [["outputSize", shape] for shape in shapes]) == [twin_size(shape) for shape in shapes]


def test_every_suggestion_makes_the_kernel_fit_and_is_the_nearest(node):
    shapes = [shape for shape in all_shapes() if not twin_size(shape)]
    for shape, offered in zip(shapes, node("convolution", [["suggestions", s] for s in shapes]), strict=True):
        assert offered
        for change in offered:
            ((name, value),) = change.items()
            assert twin_size({**shape, **change}) > 0
            nearer = value + (1 if value < shape[name] else -1)
            assert twin_size({**shape, name: nearer}) == 0


def test_rows_that_are_never_read_get_no_gradient(node):
    shapes = list(geometries(np.random.default_rng(1), 80))
    for shape, unread in zip(shapes, node("convolution", [["unreadRows", shape] for shape in shapes]), strict=True):
        padded = shape["size"] + 2 * shape["padding"]
        weight = np.ones((1, 1, shape["kernel"], 1))
        y, cache = F.conv2d(
            np.ones((1, 1, padded, 1)), weight, stride=(shape["stride"], 1), dilation=(shape["dilation"], 1)
        )
        dx, *_ = F.conv2d_backward(np.ones_like(y), cache)
        assert unread == np.flatnonzero(dx[0, 0, :, 0] == 0).tolist()


def test_the_default_input_is_the_preset_of_that_name(node):
    state = demos.convolution().state
    random, vertical = node("convolution", [["presetInput", "random", 7, 1], ["presetKernel", "vertical", 3, 1]])
    assert (random, vertical) == (state["input"], state["kernel"])
