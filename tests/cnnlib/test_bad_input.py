"""What does not fit is refused with the rule, the numbers, and what would work."""

import re

import array_api_strict
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import cnnlib
from cnnlib import functional as F
from cnnlib import layers, losses

from .operations import CASES, SETTINGS, numbers, per_axis

X, W = np.ones((2, 4, 6, 6)), np.ones((8, 4, 3, 3))


def refused(engine, error, parts, op, *arrays, **arguments):
    """Hold `op` and its reference to the error, and its message to each of `parts`."""
    arrays = [engine.array(a) if isinstance(a, np.ndarray) else a for a in arrays]
    for run in (op, op.reference):
        with pytest.raises(error) as caught:
            run(*arrays, **arguments)
        assert type(caught.value) is error
        for part in parts:
            assert part in str(caught.value)


@pytest.mark.parametrize(
    "error, parts, op, arrays, arguments",
    [
        (ValueError, ["as deep as its input", "3 channels", "reads 4"], F.conv2d, (X[:, :3], W), {}),
        (ValueError, ["4 channels", "groups=2 reads 4*2 = 8", "2 deep"], F.conv2d, (X, W), {"groups": 2}),
        (ValueError, ["8 filters", "3 groups", "groups=2"], F.conv2d, (X, W), {"groups": 3}),
        (ValueError, ["groups must be a positive int, not 0"], F.conv2d, (X, W), {"groups": 0}),
        (ValueError, ["one bias for each filter", "(8,)", "(7,)"], F.conv2d, (X, W, np.ones(7)), {}),
        (ValueError, ["x must have 4 axes (N, C, H, W)", "(4, 6, 6)"], F.conv2d, (X[0], W), {}),
        (ValueError, ["weight must have 4 axes (O, C, H, W)", "(4, 3, 3)"], F.conv2d, (X, W[0]), {}),
        (ValueError, ["stride must be at least 1, not 0"], F.conv2d, (X, W), {"stride": 0}),
        (ValueError, ["padding must be at least 0, not (1, -1)"], F.conv2d, (X, W), {"padding": (1, -1)}),
        (TypeError, ["stride", "pair of ints", "1.5"], F.conv2d, (X, W), {"stride": 1.5}),
        (TypeError, ["dilation", "(1, 1, 1)"], F.conv2d, (X, W), {"dilation": (1, 1, 1)}),
        (TypeError, ["padding", "'same'"], F.conv2d, (X, W), {"padding": "same"}),
        (TypeError, ["floating dtype", "x ", "int64"], F.conv2d, (X.astype(int), W), {}),
        (TypeError, ["float64", "weight is float32"], F.conv2d, (X, W.astype("float32")), {}),
        (ValueError, ["kernel_size must be at least 1, not 0"], F.max_pool2d, (X, 0), {}),
        (ValueError, ["4 axes (N, C, H, W)", "(4, 6, 6)"], F.max_pool2d, (X[0], 2), {}),
        (TypeError, ["floating dtype", "int64"], F.max_pool2d, (X.astype(int), 2), {}),
        (TypeError, ["floating dtype", "int64"], F.avg_pool2d, (X.astype(int), 2), {}),
        (TypeError, ["floating dtype", "bool"], F.relu, (X > 0,), {}),
        (ValueError, ["5 features", "reads 4"], F.linear, (np.ones((2, 5)), np.ones((3, 4))), {}),
        (ValueError, ["2 axes (N, D)", "(2, 4, 6, 6)"], F.linear, (X, np.ones((3, 6))), {}),
        (ValueError, ["one bias for each output", "(3,)", "(2,)"], F.linear, (W[0, 0], W[0, 0], W[0, 0, 0, :2]), {}),
        (ValueError, ["start_dim=4", "0 to 3"], F.flatten, (X, 4), {}),
        (ValueError, ["dim=2", "has 2"], F.log_softmax, (np.ones((2, 3)), 2), {}),
        (ValueError, ["one shape", "(2, 3)", "(3,)"], F.mse_loss, (np.ones((2, 3)), np.ones(3)), {}),
    ],
)
def test_arguments_that_do_not_fit(engine, error, parts, op, arrays, arguments):
    refused(engine, error, parts, op, *arrays, **arguments)


@pytest.mark.parametrize(
    "error, parts, labels",
    [
        (ValueError, ["0 to 2", "there is a 3", "4 outputs"], np.array([0, 3])),
        (ValueError, ["0 to 2", "there is a -1"], np.array([-1, 2])),
        (ValueError, ["labels must have shape (2,)", "(3,)"], np.array([0, 1, 2])),
        (ValueError, ["labels must have shape (2,)", "(2, 1)"], np.array([[0], [1]])),
        (TypeError, ["labels must be integers", "float64"], np.array([0.0, 1.0])),
        (TypeError, ["one library", "list"], [0, 1]),
    ],
)
def test_labels_that_are_no_classes(engine, error, parts, labels):
    refused(engine, error, parts, F.cross_entropy, np.zeros((2, 3)), labels)


def test_an_empty_batch_has_no_mean(engine):
    refused(engine, ValueError, ["batch is empty"], F.cross_entropy, np.zeros((0, 3)), np.zeros(0, int))


@pytest.mark.parametrize("name", sorted(set(CASES) - {"cross_entropy", "mse_loss"}))  # their dy is a number
def test_a_gradient_of_another_shape_or_kind(engine, name):
    op, backward = getattr(F, name), getattr(F, f"{name}_backward")

    @settings(SETTINGS, max_examples=3)
    @given(CASES[name].calls)
    def check(call):
        arrays = [None if a is None else engine.array(a) for a in call[0]]
        for forward, back in ((op, backward), (op.reference, backward.reference)):
            y, cache = forward(*arrays, *call[1])
            shape = tuple(y.shape)
            with pytest.raises(ValueError, match=rf"dy must have the shape .*{re.escape(str(shape))}"):
                back(engine.array(np.ones((shape[0] + 1, *shape[1:]))), cache)
            with pytest.raises(TypeError, match="float64.*float32|float32.*float64"):
                back(engine.array(np.ones(shape, "float32")), cache)

    check()


@pytest.mark.parametrize("op", [F.conv2d, F.linear, F.mse_loss])
def test_libraries_do_not_mix(op):
    shape = (2, 2, 3, 3) if op is F.conv2d else (2, 2)
    arrays = [np.ones(shape), torch.ones(shape, dtype=torch.float64), array_api_strict.ones(shape)]
    for first, second in ((0, 1), (1, 0), (0, 2), (2, 1)):
        names = [type(a).__module__.partition(".")[0] for a in (arrays[first], arrays[second])]
        with pytest.raises(TypeError, match=f"one library.*{names[0]}.*{names[1]}"):
            op(arrays[first], arrays[second])
    with pytest.raises(TypeError, match="must be an array, not list"):
        op([[1.0]], arrays[0])
    with pytest.raises(TypeError, match="one library"):
        F.cross_entropy(np.ones((2, 2)), torch.tensor([0, 1]))


def test_devices_do_not_mix():
    """torch's device without memory stands for the second GPU that few machines have."""
    here, there = torch.ones(2, 2, 3, 3), torch.ones(2, 2, 3, 3, device="meta")
    with pytest.raises(ValueError, match="different devices.*cpu.*meta"):
        F.conv2d(here, there)
    with pytest.raises(ValueError, match="different devices.*cpu.*meta"):
        F.mse_loss(here, there)
    with pytest.raises(ValueError, match="different devices.*cpu.*meta"):
        F.cross_entropy(here[:, :, 0, 0], torch.zeros(2, dtype=torch.int64, device="meta"))
    _, cache = F.conv2d(here, here)
    with pytest.raises(ValueError, match="different devices.*meta.*cpu"):
        F.conv2d_backward(there[:, :, :1, :1], cache)


@pytest.mark.parametrize("kind", ["conv2d", "max_pool2d", "avg_pool2d"])
def test_every_suggestion_works(kind):
    """For windows that fit nowhere: there is something that works, and each thing said to work does."""
    impossible = 0

    @settings(SETTINGS, max_examples=300)
    @given(st.data())
    def check(data):
        nonlocal impossible
        size = per_axis(data.draw, 1, 6)[0]
        arguments = {
            "kernel_size": per_axis(data.draw, 1, 9)[0],
            "stride": per_axis(data.draw, 1, 3)[1],
            "padding": per_axis(data.draw, 0, 4)[1],
            "dilation": per_axis(data.draw, 1, 4)[1],
        }
        if kind == "avg_pool2d":
            del arguments["dilation"]
        if kind != "conv2d":
            arguments["ceil_mode"] = data.draw(st.booleans())
        x = numbers(data.draw, (1, 2, *size))

        def run(kernel_size, **others):
            if kind == "conv2d":
                kh, kw = (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size
                return F.conv2d(x, np.ones((1, 2, kh, kw)), **others)
            return getattr(F, kind)(x, kernel_size, **others)

        try:
            run(**arguments)
        except cnnlib.GeometryError as error:
            impossible += 1
            assert error.suggestions
            for suggestion in error.suggestions:
                assert all(f"{name}={value}" in str(error) for name, value in suggestion.items())
                y, _ = run(**arguments | suggestion)
                assert y.size

    check()
    assert impossible > 50


def test_every_suggestion_for_one_axis_works():
    for size, k, p, d in np.ndindex(7, 6, 3, 4):
        arguments = {"size": size, "kernel_size": k + 1, "padding": p, "dilation": d + 1}
        try:
            F.conv_output_size(**arguments)
        except cnnlib.GeometryError as error:
            assert error.suggestions
            for suggestion in error.suggestions:
                assert F.conv_output_size(**arguments | suggestion) >= 1


def test_a_geometry_error_shows_its_sum():
    with pytest.raises(cnnlib.GeometryError, match="width") as caught:
        F.conv2d(np.ones((1, 1, 9, 4)), np.ones((1, 1, 3, 3)), dilation=(1, 3))
    message = str(caught.value)
    assert "3*(3-1)+1 = 7" in message and "4+2*0 = 4" in message
    assert {"padding": (0, 2)} in caught.value.suggestions  # the nearest: 1 would be too little
    assert {"dilation": (1, 1)} in caught.value.suggestions
    assert {"kernel_size": (3, 2)} in caught.value.suggestions
    with pytest.raises(cnnlib.GeometryError, match="half the window.*padding=\\(2, 2\\).*kernel_size=\\(3, 3\\)"):
        F.max_pool2d(np.ones((1, 1, 9, 9)), 3, padding=2)


@pytest.mark.parametrize("arguments", [{"stride": 0}, {"kernel_size": 0}, {"padding": -1}, {"dilation": 0}])
def test_an_output_size_of_nonsense(arguments):
    with pytest.raises(ValueError, match=f"{next(iter(arguments))} must be at least"):
        F.conv_output_size(**{"size": 7, "kernel_size": 3} | arguments)


def test_a_remainder_is_no_error(engine):
    y, _ = F.conv2d(engine.array(np.ones((1, 1, 8, 8))), engine.array(np.ones((1, 1, 3, 3))), stride=2)
    assert tuple(y.shape) == (1, 1, 3, 3)


@pytest.mark.parametrize(
    "build, parts",
    [
        (lambda: layers.Conv2d(3, 8, 3, groups=2), ["in_channels=3", "groups=2"]),
        (lambda: layers.Conv2d(4, 7, 3, groups=2), ["out_channels=7", "groups=2"]),
        (lambda: layers.Conv2d(4, 8, 3, groups=0), ["groups"]),
        (lambda: layers.Conv2d(0, 8, 3), ["in_channels"]),
        (lambda: layers.Conv2d(4, 8, 0), ["kernel_size", "at least 1"]),
        (lambda: layers.Linear(0, 8), ["in_features"]),
        (lambda: layers.MaxPool2d(2, stride=0), ["stride", "at least 1"]),
        (lambda: layers.SparseConv2d(((0,), ()), 5), ["table"]),
        (lambda: layers.SparseConv2d(((0,), (-1,)), 5), ["table", "-1"]),
        (lambda: layers.SparseConv2d((), 5), ["table"]),
        (lambda: layers.BatchNorm2d(0), ["num_features"]),
        (lambda: layers.BatchNorm2d(3, eps=-1), ["eps", "-1"]),
        (lambda: layers.BatchNorm2d(3, momentum=2), ["momentum", "2"]),
        (lambda: layers.BatchNorm2d(3, dtype="int32"), ["float32", "int32"]),
        (lambda: layers.Subsample2d(0), ["channels"]),
        (lambda: layers.LocalResponseNorm(0), ["size"]),
        (lambda: layers.Dropout(1.5), ["0 <= p < 1", "1.5"]),
        (lambda: losses.AuxiliaryLoss(float("nan")), ["weight", "nan"]),
        (lambda: cnnlib.models.lenet("ancient"), ["ancient"]),
        (lambda: cnnlib.models.lenet(num_classes=0), ["num_classes", "at least 1"]),
        (lambda: cnnlib.models.alexnet(maps=0), ["maps", "at least 1"]),
        (lambda: cnnlib.models.vgg(in_channels=-3), ["in_channels", "-3"]),
        (lambda: cnnlib.models.googlenet(num_classes=0), ["num_classes"]),
        (lambda: cnnlib.models.lenet(width=float("inf")), ["width", "positive", "inf"]),
        (lambda: cnnlib.models.lenet(width="2"), ["width", "'2'"]),
    ],
)
def test_layers_that_can_not_be(build, parts):
    with pytest.raises(ValueError) as caught:
        build()
    assert all(part in str(caught.value) for part in parts), caught.value


@pytest.mark.parametrize("number", [2.5, "10", None, True])
def test_numbers_of_things_are_ints(number):
    for build in (
        lambda: layers.Conv2d(number, 6, 5),
        lambda: layers.Linear(6, number),
        lambda: cnnlib.models.vgg11(num_classes=number),
    ):
        with pytest.raises(TypeError, match=f"must be an int, not {number!r}"):
            build()


def test_a_loss_backward_needs_a_loss():
    criterion = losses.MSELoss()
    with pytest.raises(RuntimeError, match="MSELoss.backward needs a loss"):
        criterion.backward()
    criterion(np.ones(3), np.zeros(3))
    criterion.backward()
    with pytest.raises(RuntimeError, match="MSELoss.backward needs a loss"):
        criterion.backward()
