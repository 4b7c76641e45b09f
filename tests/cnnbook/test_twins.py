"""Each figure's arithmetic in JavaScript equals cnnlib's, or NumPy's, on random cases."""

import base64
import itertools

import numpy as np
import pytest

from cnnbook import figures
from cnnbook.figures import cells_figure as cells
from cnnbook.figures import convolution_figure as convolution
from cnnbook.figures import geometry_figure as geometry
from cnnbook.figures import ilsvrc_figure as ilsvrc
from cnnbook.figures import sketchpad_figure as sketchpad
from cnnbook.figures.surfaces import STARTS, SURFACES
from cnnlib import containers, cost, layers, models, optim
from cnnlib import functional as F
from cnnlib.models.googlenet import INCEPTION
from cnnlib.module import Parameter

EXACT = dict(rtol=0, atol=0)
CLOSE = dict(rtol=0, atol=1e-12)


def geometries(rng, count):
    while count:
        size, kernel, stride, padding, dilation = (
            int(rng.integers(low, high + 1)) for low, high in convolution.LIMITS.values()
        )
        if size + 2 * padding > dilation * (kernel - 1):
            count -= 1
            yield dict(size=size, kernel=kernel, stride=stride, padding=padding, dilation=dilation)


@pytest.mark.parametrize("module", [convolution, geometry])
def test_both_sides_know_the_same_limits(node, module):
    (limits,) = node(module.__name__.rpartition(".")[2].removesuffix("_figure"), [["LIMITS"]])
    assert {name: tuple(ends) for name, ends in limits.items()} == module.LIMITS


@pytest.mark.parametrize(
    "value, decimals, text",
    [
        (0, 2, "0"),
        (-3, 2, "\u22123"),
        (20.4, 0, "20"),
        (99.7, 0, "100"),
        (1 / 9, 2, "1/9"),
        (-2 / 27, 2, "\u22122/27"),
        (0.25, 2, "0.25"),
        (16 / 9, 2, "1.78"),
        (0.0004, 2, "4e\u22124"),
    ],
)
def test_numbers_as_they_are_shown(node, value, decimals, text):
    shown, back = node("convolution", [["format", value, decimals], ["parse", text]])
    assert shown == text
    if "e" not in text and decimals:
        assert back == pytest.approx(value, abs=0.005)


def test_what_is_no_number_is_refused(node):
    assert node("convolution", [["parse", text] for text in ("", "x", "1/", "1/0", "--1", "1 2")]) == [None] * 6  # NaN


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
    ranges = [range(low, high + 1) for low, high in convolution.LIMITS.values()]
    return [dict(zip(convolution.LIMITS, values, strict=True)) for values in itertools.product(*ranges)]


def twin_size(shape):
    try:
        return F.conv_output_size(shape["size"], shape["kernel"], **keywords(shape))
    except F.GeometryError:
        return 0


def test_convolution_output_size_on_everything_the_controls_reach(node):
    shapes = all_shapes()
    assert node("convolution", [["outputSize", shape] for shape in shapes]) == [twin_size(shape) for shape in shapes]


def test_every_suggestion_makes_the_kernel_fit_and_is_the_nearest(node):
    limits = convolution.LIMITS
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
    state = figures.convolution().state
    random, vertical = node("convolution", [["presetInput", "random", 7, 1], ["presetKernel", "vertical", 3, 1]])
    assert (random, vertical) == (state["input"], state["kernel"])


def test_window_counts_of_the_geometry_figure_rounded_down_and_up(node):
    rng = np.random.default_rng(2)
    ranges = geometry.LIMITS.items()
    shapes = [{name: int(rng.integers(low, high + 1)) for name, (low, high) in ranges} for _ in range(400)]
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
    cases, calls = [], []
    for _ in range(20):
        size, window, stride = (int(rng.integers(low, high)) for low, high in ((4, 13), (1, 5), (1, 5)))
        down, right = (int(shift) for shift in rng.integers(-3, 4, 2))
        x = rng.standard_normal((size, size))
        moved = np.pad(x, 3)[3 - down : 3 - down + size, 3 - right : 3 - right + size]
        cases.append((x, moved, window, stride))
        how = dict(kind=kind, window=window, stride=stride)
        calls += [["shifted", x.tolist(), down, right], ["pool", moved.tolist(), how]]
        calls.append(["change", x.tolist(), moved.tolist()])
    found = iter(node("pooling", calls))
    for (x, moved, window, stride), shifted, pooled, change in zip(cases, found, found, found, strict=True):
        np.testing.assert_allclose(shifted, moved, **EXACT)
        expected, _ = twin(moved[None, None], window, stride)
        np.testing.assert_allclose(pooled, expected[0, 0], **(EXACT if kind == "max" else CLOSE))
        assert change["places"] == int((x != moved).sum()) and change["total"] == x.size
        assert change["relative"] == pytest.approx(np.linalg.norm(x - moved) / np.linalg.norm(x), abs=1e-12)


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


@pytest.mark.parametrize("surface", SURFACES)
def test_a_race_starts_where_its_surface_can_be_seen(node, surface):
    """On the saddle: where descent is held up at the saddle point, and still leaves it."""
    (known,) = node("optimizers", [["SURFACES"]])
    start = figures.optimizers(surface).state["start"]
    assert start == known[surface]["start"] == list(STARTS[surface])
    error, _ = SURFACES[surface]
    (seen,) = node("optimizers", [["run", "SGD", dict(surface=surface, factor=1, start=start), 400]])
    held_up = [step for step, w in enumerate(seen) if np.linalg.norm(w) < 0.1]
    assert error(np.array(seen[-1])) < error(np.array(start)) - 0.02
    if surface == "saddle":
        assert held_up and error(np.array(seen[-1])) == pytest.approx(-0.25)


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


def test_gabor_fields_stimuli_and_responses(node):
    rng = np.random.default_rng(6)
    for kind in ("stripes", "bar", "stripes", "bar"):
        angle, preferred, shift = rng.uniform(0, 180), rng.uniform(0, 180), rng.uniform(-1, 1)
        calls = [["gabor", preferred, 0], ["gabor", preferred, -90]]
        even, odd, light = node("cells", [*calls, ["stimulus", dict(kind=kind, angle=angle, shift=shift)]])
        np.testing.assert_allclose(even, cells.gabor(preferred, 0), **CLOSE)
        np.testing.assert_allclose(odd, cells.gabor(preferred, -90), **CLOSE)
        np.testing.assert_allclose(light, cells.stimulus(kind, angle, shift), **CLOSE)
        (found,) = node("cells", [["responses", light, [even, odd]]])
        simple, energy = cells.responses(np.array(light), preferred)
        assert (found["simple"], found["complex"]) == pytest.approx((simple, energy), abs=1e-12)


def test_a_complex_cell_does_not_mind_where_the_stripes_are_and_a_simple_one_does():
    answers = np.array([cells.responses(cells.stimulus("stripes", 0, shift), 0) for shift in np.linspace(0, 1, 21)])
    assert np.ptp(answers[:, 1]) < 0.02 * answers[:, 1].max()
    assert answers[:, 0].min() == 0 and answers[:, 0].max() > 10


def naive(channels, filters):
    one, _, three, _, five, _ = filters
    return containers.Concat(
        b1=layers.Conv2d(channels, one, 1),
        b2=layers.Conv2d(channels, three, 3, padding=1),
        b3=layers.Conv2d(channels, five, 5, padding=2),
        b4=layers.MaxPool2d(3, stride=1, padding=1),
    )


def test_inception_costs_are_those_of_real_modules(node):
    tables = figures.inception().state["modules"]
    assert {name: tuple(table["filters"]) for name, table in tables.items()} == INCEPTION
    rows = {row.name: row for row in cost.table(models.googlenet(), (3, 224, 224))}
    for name, table in tables.items():
        reduced, plain = node("inception", [["cost", {**table, "form": form}] for form in ("reduced", "naive")])
        parts = [row for key, row in rows.items() if key.startswith(f"inception{name}.")]
        assert reduced["weights"] + reduced["biases"] == sum(row.parameters for row in parts)
        assert reduced["multiplyAdds"] == sum(row.multiply_adds for row in parts)
        assert (reduced["channels"], table["side"], table["side"]) == rows[f"inception{name}"].output_shape
        expected = cost.table(
            naive(table["channels"], table["filters"]), (table["channels"], table["side"], table["side"])
        )
        assert plain["weights"] + plain["biases"] == sum(row.parameters for row in expected)
        assert plain["multiplyAdds"] == sum(row.multiply_adds for row in expected)
        assert plain["channels"] == expected[-1].output_shape[0]


NETWORKS = {
    "LeNet": (models.lenet, (1, 32, 32)),
    "AlexNet": (models.alexnet, (3, 227, 227)),
    "VGG-16": (models.vgg, (3, 224, 224)),
    "GoogLeNet": (models.googlenet, (3, 224, 224)),
}


@pytest.mark.parametrize("network", NETWORKS)
def test_receptive_fields_are_those_of_the_networks(node, network):
    make, shape = NETWORKS[network]
    table = figures.receptive_field().state["networks"][network]
    (found,) = node("receptive_field", [["fields", table["size"], table["layers"]]])
    rows = [row for row in cost.table(make(), shape) if row.kind in ("Conv2d", "MaxPool2d", "AvgPool2d", "Concat")]
    if network == "GoogLeNet":
        # A module counts as one layer, and the 1x1 convolutions of the stem see nothing more.
        rows = [row for row in rows if "." not in row.name.removesuffix(".conv") and row.name != "conv2.conv"]
    seen = [(layer["size"], layer["field"], layer["jump"]) for layer in found]
    assert seen == [(row.output_shape[1], row.receptive_field[0], row.jump[0]) for row in rows]


def test_a_receptive_field_is_where_the_gradient_comes_from(node):
    stack = [["a", 5, 2, 1, False], ["b", 3, 1, 1, False], ["c", 2, 2, 0, False]]
    (found,) = node("receptive_field", [["fields", 40, stack]])
    x, caches = np.ones((1, 1, 40, 1)), []
    for _, kernel, stride, padding, _ in stack:
        x, cache = F.conv2d(x, np.ones((1, 1, kernel, 1)), stride=(stride, 1), padding=(padding, 0))
        caches.append(cache)
    dy = np.zeros_like(x)
    dy[0, 0, 4] = 1
    for cache in reversed(caches):
        dy, *_ = F.conv2d_backward(dy, cache)
    touched = np.flatnonzero(dy)
    last = found[-1]
    assert x.shape[2] == last["size"]
    first = last["start"] + 4 * last["jump"]
    assert (touched[0], touched[-1]) == (first, first + last["field"] - 1)


def test_the_filter_of_results(node):
    state = figures.ilsvrc().state
    rng = np.random.default_rng(7)
    for _ in range(40):
        chosen = {name: str(rng.choice(choices)) for name, choices in ilsvrc.CHOICES.items()}
        (found,) = node("ilsvrc", [["pick", state["rows"], chosen]])
        wanted = [
            row
            for row in state["rows"]
            if row[chosen["measure"]] is not None
            and (chosen["nets"] == "any" or (row["nets"] == 1) == (chosen["nets"] == "one"))
            and chosen["views"] in ("any", row["views"])
            and chosen["source"] in ("any", row["source"])
        ]
        assert found == sorted(wanted, key=lambda row: (row[chosen["measure"]], row["method"]))


def test_single_networks_are_compared_as_the_table_prints_them(node):
    state = figures.ilsvrc().state
    (found,) = node("ilsvrc", [["pick", state["rows"], {**state, "nets": "one"}]])
    assert [(row["method"], row["top5test"]) for row in found[:2]] == [("VGG", 7.0), ("GoogLeNet", 7.9)]


def test_the_sketch_pad_runs_the_lenet_of_cnnlib(node):
    rng = np.random.default_rng(8)
    weights = models.lenet(seed=3).state_dict()
    model = models.lenet(dtype="float64")
    model.load_state_dict({name: w.astype("<f2").astype(float) for name, w in weights.items()})
    coded = figures.sketchpad(weights).state["weights"]
    drawings = [[], [[[0.5, 0.5]]], *sketchpad.EXAMPLES]
    drawings += [[rng.random((int(n), 2)).round(3).tolist() for n in rng.integers(1, 6, 3)] for _ in range(4)]
    for strokes, found in zip(drawings, node("sketchpad", [["classify", one, coded] for one in drawings]), strict=True):
        x = sketchpad.rasterise(strokes)
        np.testing.assert_allclose(np.reshape(found["image"], (32, 32)), x, **CLOSE)
        x, outputs = x[None, None], {}
        for name, part in model.children():
            x = part(x)
            outputs[name] = x
        # C1, C3, C5 and F6 are shown behind their tanh.
        for name in ("C1", "S2", "C3", "S4", "C5", "F6"):
            value = outputs[name] if name.startswith("S") else np.tanh(outputs[name])
            np.testing.assert_allclose(found[name], value.ravel(), **CLOSE)
        np.testing.assert_allclose(found["logits"], x[0], **CLOSE)
        assert sum(found["probabilities"]) == pytest.approx(1, abs=1e-12)


def test_half_precision_is_decoded_exactly(node):
    values = np.concatenate([np.arange(0, 31744, 7), 32768 + np.arange(0, 31744, 11)]).astype("<u2").view("<f2")
    (found,) = node("sketchpad", [["decode", base64.b64encode(values.tobytes()).decode()]])
    assert np.array_equal(list(found.values()), values.astype(float))


def test_drawings_are_placed_as_in_mnist():
    small = [[[0.1 + 0.2 * x, 0.2 + 0.2 * y] for x, y in stroke] for stroke in sketchpad.EXAMPLES[5]]
    a, b = (sketchpad.rasterise(strokes) for strokes in (sketchpad.EXAMPLES[5], small))
    np.testing.assert_allclose(a, b, atol=1e-9)  # size and place of the drawing do not matter
    ink = (a + 0.1) / 1.275
    assert ink.min() == 0 and ink.max() == 1
    rows = np.flatnonzero(ink.sum(1) > 0.5)
    assert 18 <= rows[-1] - rows[0] + 1 <= 22
    centre = [(ink * axis).sum() / ink.sum() for axis in np.mgrid[:32, :32]]
    np.testing.assert_allclose(centre, 15.5, atol=0.1)
