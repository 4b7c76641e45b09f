"""Convolution by Winograd's minimal filtering, held against the readable reference."""

import numpy as np
import pytest
import torch

from cnnlib import functional as F
from cnnlib.kernels import winograd

LAYERS = {
    "the last tiles reach beyond": ((2, 128, 22, 21), 128, 1, 1),
    "no frame": ((1, 256, 30, 28), 64, 0, 1),
    "a frame to the sides only": ((3, 128, 14, 17), 136, (0, 1), 1),
    "a wide frame, two groups": ((1, 256, 18, 21), 272, 2, 2),
    "smaller than a tile": ((33, 128, 3, 4), 128, 1, 1),
}


def layer(name, dtype):
    shape, filters, padding, groups = LAYERS[name]
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape).astype(dtype)
    weight = rng.standard_normal((filters, shape[1] // groups, 3, 3)).astype(dtype)
    bias = rng.standard_normal(filters).astype(dtype)
    return x, weight, bias, {"padding": padding, "groups": groups}


def side_by_side(array):
    return torch.from_numpy(array).contiguous(memory_format=torch.channels_last)


def error(found, expected):
    return np.linalg.norm(found.numpy() - expected) / np.linalg.norm(expected)


@pytest.fixture(autouse=True)
def small_ones_too(monkeypatch):
    monkeypatch.setattr(winograd, "WORTH", 1e6)


@pytest.fixture(params=[12 << 20, 1 << 16], ids=["in one piece", "in many pieces"])
def scratch(request, monkeypatch):
    monkeypatch.setattr(winograd, "SCRATCH", request.param)
    monkeypatch.setattr(winograd, "ENOUGH", 8)


@pytest.mark.parametrize("name", LAYERS)
def test_it_is_the_convolution(scratch, name):
    x, weight, bias, options = layer(name, "float64")
    expected, kept = F.conv2d.reference(x, weight, bias, **options)
    y, cache = F.conv2d(side_by_side(x), side_by_side(weight), torch.from_numpy(bias), **options)
    assert winograd.applies(cache.x, cache.weight, cache.window, cache.groups)
    assert error(y, expected) < 1e-13
    dy = np.random.default_rng(1).standard_normal(expected.shape)
    gradients = F.conv2d_backward.reference(dy, kept)
    for found, wanted in zip(F.conv2d_backward(side_by_side(dy), cache), gradients, strict=True):
        assert error(found, wanted) < 1e-13
    without_dx = F.conv2d_backward(side_by_side(dy), cache, need_dx=False)
    assert without_dx[0] is None and error(without_dx[1], gradients[1]) < 1e-13
    no_bias, cache = F.conv2d(side_by_side(x), side_by_side(weight), None, **options)
    assert error(no_bias, expected - bias[:, None, None]) < 1e-13
    assert F.conv2d_backward(side_by_side(dy), cache)[2] is None


def test_rounding_stays_within_what_the_module_says():
    x, weight, bias, options = layer("the last tiles reach beyond", "float32")
    exact, kept = F.conv2d.reference(*(a.astype("float64") for a in (x, weight, bias)), **options)
    y, cache = F.conv2d(side_by_side(x), side_by_side(weight), torch.from_numpy(bias), **options)
    dy = np.random.default_rng(1).standard_normal(exact.shape).astype("float32")
    assert 1e-7 < error(y, exact) < 4e-6
    gradients = F.conv2d_backward.reference(dy.astype("float64"), kept)
    for found, wanted in zip(F.conv2d_backward(side_by_side(dy), cache), gradients, strict=True):
        assert error(found, wanted) < 4e-6


def test_gradients_from_a_slice_of_channels():
    """What Concat hands to each of its parts is not dense."""
    x, weight, bias, options = layer("no frame", "float64")
    y, cache = F.conv2d(side_by_side(x), side_by_side(weight), torch.from_numpy(bias), **options)
    both = torch.randn(1, 128, *y.shape[2:], dtype=torch.float64).contiguous(memory_format=torch.channels_last)
    sliced = F.conv2d_backward(both[:, 32:96], cache)
    dense = F.conv2d_backward(both[:, 32:96].contiguous(memory_format=torch.channels_last), cache)
    for one, other in zip(sliced, dense, strict=True):
        assert torch.equal(one, other)


def test_what_torch_forbids_its_tensors_is_not_done(monkeypatch):
    monkeypatch.setattr(winograd, "_scratch", winograd._Scratch())
    x, weight, _, options = layer("no frame", "float64")
    x, weight = side_by_side(x), side_by_side(weight)
    with torch.inference_mode():
        inside, _ = F.conv2d(x, weight, None, **options)
    outside, _ = F.conv2d(x, weight, None, **options)
    assert torch.equal(inside, outside)
    followed, _ = F.conv2d(x, weight.requires_grad_(), None, **options)
    (gradient,) = torch.autograd.grad(followed.sum(), weight)
    assert gradient.shape == weight.shape


@pytest.mark.parametrize(
    "change",
    [
        {"stride": 2},
        {"dilation": 2},
        {"size": 5},
        {"filters": 32},
        {"extent": 5},
        {"worth": 1e12},
        {"padding": 3},
        {"padding": (1, 7)},
        {"layout": "NCHW"},
    ],
)
def test_other_convolutions_are_left_to_torch(change, monkeypatch):
    monkeypatch.setattr(winograd, "WORTH", change.get("worth", winograd.WORTH))
    size, extent = change.get("size", 3), change.get("extent", 24)
    x = torch.randn(change.get("images", 4), 128, extent, extent)
    weight = torch.randn(change.get("filters", 128), 128, size, size)
    if change.get("layout") != "NCHW":
        x = x.contiguous(memory_format=torch.channels_last)
    options = {name: change[name] for name in ("stride", "dilation", "padding") if name in change}
    y, cache = F.conv2d(x, weight, None, **options)
    assert not winograd.applies(x, weight, cache.window, cache.groups)
    expected = torch.nn.functional.conv2d(x, weight, None, **options)
    assert torch.equal(y, expected)
