"""Each figure's arithmetic in JavaScript equals cnnlib's, or NumPy's, on random cases."""

import itertools

import numpy as np
import pytest

from cnnlib import cost, demos, layers, optim
from cnnlib import functional as F
from cnnlib.demos.surfaces import SURFACES
from cnnlib.module import Parameter

CONVOLUTION_LIMITS = dict(size=(1, 11), kernel=(1, 5), stride=(1, 4), padding=(0, 3), dilation=(1, 3))
EXACT = dict(rtol=0, atol=0)
CLOSE = dict(rtol=0, atol=1e-12)


def geometries(rng, count):
    while count:
        size, kernel, stride, padding, dilation = (
            int(rng.integers(low, high + 1)) for low, high in CONVOLUTION_LIMITS.values()
        )
        if size + 2 * padding > dilation * (kernel - 1):
            count -= 1
            yield dict(size=size, kernel=kernel, stride=stride, padding=padding, dilation=dilation)


def keywords(shape):
    return {name: shape[name] for name in ("stride", "padding", "dilation", "ceil_mode") if name in shape}


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
    ranges = [range(low, high + 1) for low, high in CONVOLUTION_LIMITS.values()]
    return [dict(zip(CONVOLUTION_LIMITS, values, strict=True)) for values in itertools.product(*ranges)]


def twin_size(shape):
    try:
        return F.conv_output_size(shape["size"], shape["kernel"], **keywords(shape))
    except F.GeometryError:
        return 0


def test_convolution_output_size_on_everything_the_controls_reach(node):
    shapes = all_shapes()
    assert node("convolution", [["outputSize", shape] for shape in shapes]) == [twin_size(shape) for shape in shapes]


def test_every_suggestion_makes_the_kernel_fit_and_is_the_nearest(node):
    limits = CONVOLUTION_LIMITS
    shapes = [shape for shape in all_shapes() if not twin_size(shape)]
    for shape, offered in zip(shapes, node("convolution", [["suggestions", s, limits] for s in shapes]), strict=True):
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


def test_window_counts_of_the_geometry_figure_rounded_down_and_up(node):
    rng = np.random.default_rng(2)
    limits = dict(size=(1, 32), kernel=(1, 11), stride=(1, 8), padding=(0, 5), dilation=(1, 4))
    shapes = [{name: int(rng.integers(low, high + 1)) for name, (low, high) in limits.items()} for _ in range(400)]
    for ceil in (False, True):
        counts = node("geometry", [["outputSize", {**shape, "ceil": ceil}] for shape in shapes])
        for shape, count in zip(shapes, counts, strict=True):
            assert count == twin_size({**shape, "ceil_mode": ceil}), shape
    same = node("geometry", [["samePadding", shape] for shape in shapes])
    for shape, padding in zip(shapes, same, strict=True):
        if padding is not None:
            assert twin_size({**shape, "stride": 1, "padding": padding}) == shape["size"]


@pytest.mark.parametrize("kind, twin", [("max", F.max_pool2d), ("average", F.avg_pool2d)])
def test_pooling_of_a_shifted_image(node, kind, twin):
    rng = np.random.default_rng(3)
    for _ in range(12):
        size, window, stride = (int(rng.integers(low, high)) for low, high in ((4, 13), (1, 5), (1, 5)))
        down, right = (int(shift) for shift in rng.integers(-3, 4, 2))
        x = rng.standard_normal((size, size))
        ((moved),) = node("pooling", [["shifted", x.tolist(), down, right]])
        wide = np.pad(x, 3)
        np.testing.assert_allclose(moved, wide[3 - down : 3 - down + size, 3 - right : 3 - right + size], **EXACT)
        how = dict(kind=kind, window=window, stride=stride)
        (pooled,) = node("pooling", [["pool", moved, how]])
        expected, _ = twin(np.array(moved)[None, None], window, stride)
        np.testing.assert_allclose(pooled, expected[0, 0], **(EXACT if kind == "max" else CLOSE))
        (found,) = node("pooling", [["change", x.tolist(), moved]])
        assert found["places"] == int((x != np.array(moved)).sum()) and found["total"] == x.size
        assert found["relative"] == pytest.approx(np.linalg.norm(x - moved) / np.linalg.norm(x), abs=1e-12)


def test_shared_gradient_adds_up_to_the_backward_pass(node):
    rng = np.random.default_rng(4)
    for _ in range(12):
        size, kernel, stride, padding = (
            int(rng.integers(low, high)) for low, high in ((4, 10), (1, 5), (1, 4), (0, 3))
        )
        x = rng.standard_normal((size, size))
        y, cache = F.conv2d(x[None, None], rng.standard_normal((1, 1, kernel, kernel)), stride=stride, padding=padding)
        dy = rng.standard_normal(y.shape)
        where = dict(stride=stride, padding=padding)
        weight = [int(at) for at in rng.integers(0, kernel, 2)]
        dw, parts = node(
            "shared_gradient",
            [
                ["weightGradient", x.tolist(), dy[0, 0].tolist(), where, kernel],
                ["contributions", x.tolist(), dy[0, 0].tolist(), where, weight],
            ],
        )
        np.testing.assert_allclose(dw, F.conv2d_backward(dy, cache)[1][0, 0], **CLOSE)
        r, c = (int(at) for at in rng.integers(0, y.shape[2], 2))
        one = np.zeros_like(dy)
        one[0, 0, r, c] = dy[0, 0, r, c]
        assert parts[r][c] == pytest.approx(F.conv2d_backward(one, cache)[1][0, 0, *weight], abs=1e-12)


@pytest.mark.parametrize("bias", [False, True])
def test_parameter_counts_are_those_of_real_layers(node, bias):
    for side, channels, filters, kernel in [(8, 1, 2, 3), (8, 3, 4, 5), (9, 3, 1, 1)]:
        arguments = dict(side=side, channels=channels, filters=filters, kernel=kernel, bias=bias)
        (found,) = node("parameters", [["counts", arguments]])
        shape = (channels, side, side)
        dense = layers.Linear(np.prod(shape).item(), side * side * filters, bias=bias)
        convolution = layers.Conv2d(channels, filters, kernel, padding=kernel // 2, bias=bias)
        (row,) = cost.table(convolution, shape)
        assert found["full"] == sum(parameter.data.size for parameter in dense.parameters())
        assert found["shared"] == row.parameters
        # Unshared, each of the products that a place makes has a weight of its own.
        assert found["local"] == row.multiply_adds + bias * np.prod(row.output_shape)


def test_gradient_descent_on_the_quadratic(node):
    rng = np.random.default_rng(5)
    for _ in range(10):
        rate, curvature, start = rng.uniform(0, 2.5), rng.uniform(0.5, 4), rng.uniform(-2, 2)
        (seen,) = node("learning_rate", [["descend", dict(rate=rate, curvature=curvature, start=start), 20]])
        w = Parameter(np.array([start]))
        sgd, expected = optim.SGD([w], lr=rate), [start]
        for _ in range(20):
            w.grad = curvature * w.data
            sgd.step()
            expected.append(float(w.data[0]))
        np.testing.assert_allclose(seen, expected, rtol=1e-12)


def test_the_names_of_the_regimes_are_what_happens(node):
    for product in (0.3, 1, 1.4, 2, 2.2):
        run = ["descend", dict(rate=product, curvature=1, start=1), 30]
        name, seen = node("learning_rate", [["regime", product], run])
        sizes = np.abs(seen)
        happens = {
            "creeps": min(seen) > 0 and sizes[-1] < 1e-3,
            "one": seen[1] == 0,
            "oscillates": min(seen) < 0 and sizes[-1] < 1e-3,
            "cycles": seen[-1] == 1 and seen[-2] == -1,
            "diverges": sizes[-1] > 100,
        }
        assert [name] == [key for key, holds in happens.items() if holds]


POINTS = [[-1.6, 1.0], [0.3, -1.2], [1.9, 0.05]]


@pytest.mark.parametrize("surface", SURFACES)
def test_surfaces_and_their_gradients(node, surface):
    error, gradient = SURFACES[surface]
    values = node("optimizers", [["errorAt", surface, w] for w in POINTS])
    slopes = node("optimizers", [["gradientAt", surface, w] for w in POINTS])
    for w, value, slope in zip(np.array(POINTS), values, slopes, strict=True):
        assert value == pytest.approx(error(w), abs=1e-12)
        np.testing.assert_allclose(slope, gradient(w), **CLOSE)
        step = 1e-6 * np.eye(2)
        numeric = [(error(w + one) - error(w - one)) / 2e-6 for one in step]
        np.testing.assert_allclose(slope, numeric, atol=1e-7)


RULES = {
    "SGD": (optim.SGD, dict(lr=0.04)),
    "Momentum": (optim.Momentum, dict(lr=0.02, momentum=0.9)),
    "Nesterov": (optim.SGD, dict(lr=0.02, momentum=0.9, nesterov=True)),
    "Adagrad": (optim.Adagrad, dict(lr=0.3)),
    "RMSprop": (optim.RMSprop, dict(lr=0.03, alpha=0.9)),
    "Adam": (optim.Adam, dict(lr=0.1)),
}


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("rule", RULES)
def test_every_optimiser_takes_the_steps_of_cnnlib(node, rule, surface):
    make, arguments = RULES[rule]
    gradient = SURFACES[surface][1]
    for start, factor in zip(POINTS, (1, 0.5, 0.25), strict=True):
        (seen,) = node("optimizers", [["run", rule, dict(surface=surface, factor=factor, start=start), 100]])
        w = Parameter(np.array(start))
        optimizer = make([w], **{**arguments, "lr": arguments["lr"] * factor})
        expected = [w.data.copy()]
        for _ in range(100):
            w.grad = gradient(w.data)
            optimizer.step()
            expected.append(w.data.copy())
        np.testing.assert_allclose(seen, expected, rtol=1e-9, atol=1e-12)


def test_the_walk_over_the_saddle(node):
    (kicks,) = node("saddle", [["pushes", 400]])
    assert np.abs(kicks).max() <= 1 and abs(np.mean(kicks)) < 0.1
    for offset, rate, noise in [(1e-6, 0.1, 0), (1e-12, 0.25, 1e-3), (0.1, 0.5, 0.1)]:
        (seen,) = node("saddle", [["walk", dict(offset=offset, rate=rate, noise=noise), kicks]])
        w = Parameter(np.array([-1.5, offset]))
        sgd, expected = optim.SGD([w], lr=rate), [w.data.copy()]
        for kick in kicks:
            w.grad = SURFACES["saddle"][1](w.data) + noise * np.array(kick)
            sgd.step()
            expected.append(w.data.copy())
        np.testing.assert_allclose(seen, expected, rtol=1e-9, atol=1e-12)
        (step,) = node("saddle", [["escape", seen]])
        assert step == np.flatnonzero(np.abs(np.array(expected)[:, 1]) > 0.5)[0]
        if noise == 0 and offset < 1e-3:
            (guess,) = node("saddle", [["predicted", dict(offset=offset, rate=rate)]])
            assert guess == pytest.approx(step, abs=3)
