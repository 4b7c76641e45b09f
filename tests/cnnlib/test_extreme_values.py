"""Infinite, NaN, huge and subnormal numbers: every operation and optimiser does with them what torch does.

NumPy's own warnings of such numbers are left to NumPy.
"""

import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as TF
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnlib import functional as F
from cnnlib import optim
from cnnlib.arrays import move
from cnnlib.kernels import winograd
from cnnlib.module import Parameter

from .engines import LAYOUTS
from .operations import CASES, SETTINGS

HUGE = {"float32": 1e25, "float64": 1e200}  # a square overflows, a sum does not
SUBNORMAL = {"float32": 1e-41, "float64": 1e-315}
KINDS = ("inf", "-inf", "nan", "huge", "subnormal")
WHERE = ("an input", "the gradient", "both")


@pytest.fixture(autouse=True)
def _numpys_warnings():
    with np.errstate(all="ignore"), warnings.catch_warnings():
        yield


def strewn(draw, array, dtype, kinds):
    """Return a copy in which a few values are extreme."""
    array, rng = array.astype(dtype), np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = {"inf": np.inf, "-inf": -np.inf, "nan": np.nan, "huge": HUGE[dtype], "subnormal": SUBNORMAL[dtype]}
    places = rng.choice(array.size, min(array.size, draw(st.integers(1, 3))), replace=False)
    array.reshape(-1)[places] = [values[kind] for kind in rng.choice(kinds, len(places))]
    return array


def alike(found, true, tolerance):
    """The same infinities and NaN, and numbers as near as rounding lets them be."""
    assert found.shape == true.shape
    finite = np.isfinite(true)
    np.testing.assert_array_equal(found[~finite], true[~finite])
    size = max(1, np.abs(true[finite]).max(initial=0))
    np.testing.assert_allclose(found[finite] / size, true[finite] / size, rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", CASES)
def test_every_operation_does_as_torch(engine, name):
    case = CASES[name]

    @settings(SETTINGS, max_examples=25 if engine.name == "array_api_strict" else 60)
    @given(st.data())
    def check(data):
        arrays, arguments = data.draw(case.calls)
        dtype, place = data.draw(st.sampled_from(sorted(HUGE))), data.draw(st.sampled_from(WHERE))
        kinds = data.draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=2, unique=True))
        chosen = data.draw(st.integers(0, case.gradients - 1))
        if place == "the gradient" or arrays[chosen] is None:
            chosen = None
        if name == "cross_entropy":  # its gradient is one number; torch multiplies it by more than it has to
            place, chosen = "an input", 0
        if name == "conv2d" and (place, chosen) != ("an input", 0):  # what inf times a zero of the frame is, is open
            (x, *others), (stride, padding, *more) = arrays, arguments
            top, left = (padding, padding) if isinstance(padding, int) else padding
            arrays = (np.pad(x, ((0, 0), (0, 0), (top, top), (left, left))), *others)
            arguments = (stride, 0, *more)
        if name == "conv_transpose2d":
            arguments = (arguments[0], 0, *arguments[2:])
        given = [
            a if a is None or a.dtype.kind == "i" else strewn(data.draw, a, dtype, kinds) if k == chosen else a
            for k, a in enumerate(arrays)
        ]
        given = [a if a is None or a.dtype.kind == "i" else a.astype(dtype) for a in given]
        tensors = [None if a is None else torch.tensor(a) for a in given]
        wanted = [t.requires_grad_() for t in tensors[: case.gradients] if t is not None]
        y = case.torch(*tensors, *arguments)
        dy = np.asarray(np.random.default_rng(1).standard_normal(tuple(y.shape))).astype(dtype)
        if place != "an input":
            dy = strewn(data.draw, dy, dtype, kinds)
        true = torch.autograd.grad(y, wanted, torch.tensor(dy))
        layouts = data.draw(st.lists(st.sampled_from(LAYOUTS), min_size=4, max_size=4))
        laid = [None if a is None else engine.array(a, layout) for a, layout in zip(given, layouts, strict=False)]
        tolerance = 1e-5 if dtype == "float32" else 1e-12
        for run in (lambda op: op, lambda op: op.reference):
            found, cache = run(getattr(F, name))(*laid, *arguments)
            alike(engine.numpy(found), y.detach().numpy(), tolerance)
            gradients = run(getattr(F, f"{name}_backward"))(engine.array(dy, layouts[-1]), cache)
            gradients = gradients if isinstance(gradients, tuple) else (gradients,)
            for ours, theirs in zip([g for g in gradients if g is not None], true, strict=True):
                alike(engine.numpy(ours), theirs.numpy(), tolerance)

    check()


@pytest.mark.parametrize("where", ["x", "weight", "dy"])
@pytest.mark.parametrize("batch", [2, 17])  # on NumPy, a larger batch lies last
def test_a_convolution_of_many_channels_does_as_torch(engine, where, batch):
    rng = np.random.default_rng(0)
    arrays = {"x": rng.standard_normal((batch, 16, 7, 6)), "weight": rng.standard_normal((20, 16, 3, 3))}
    arrays["dy"] = rng.standard_normal((batch, 20, 5, 4))
    arrays[where][1, 3, 2, 2] = np.inf
    x, weight = (torch.tensor(arrays[name], requires_grad=True) for name in ("x", "weight"))
    y = TF.conv2d(x, weight)
    true = torch.autograd.grad(y, (x, weight), torch.tensor(arrays["dy"]))
    found, cache = F.conv2d(engine.array(arrays["x"]), engine.array(arrays["weight"]))
    alike(engine.numpy(found), y.detach().numpy(), 1e-12)
    for ours, theirs in zip(F.conv2d_backward(engine.array(arrays["dy"]), cache)[:2], true, strict=True):
        alike(engine.numpy(ours), theirs.numpy(), 1e-12)


@pytest.mark.parametrize("where", ["x", "weight", "dy"])
def test_winograd_leaves_what_is_not_finite_to_the_other_form(where, monkeypatch):
    monkeypatch.setattr(winograd, "applies", lambda x, weight, window, groups=1: True)
    rng = np.random.default_rng(0)
    arrays = {"x": rng.standard_normal((2, 4, 13, 14)), "weight": rng.standard_normal((5, 4, 3, 3))}
    arrays["dy"] = rng.standard_normal((2, 5, 11, 12))
    arrays[where][1, 3, 2, 2] = np.inf
    x, weight, dy = (torch.tensor(array).contiguous(memory_format=torch.channels_last) for array in arrays.values())
    y, cache = F.conv2d(x, weight)
    true, reference = F.conv2d.reference(x, weight)
    alike(y.numpy(), true.numpy(), 1e-12)
    for ours, theirs in zip(
        F.conv2d_backward(dy, cache)[:2], F.conv2d_backward.reference(dy, reference)[:2], strict=True
    ):
        alike(ours.numpy(), theirs.numpy(), 1e-12)


@pytest.mark.parametrize("arguments", [(2,), (3, 2, 1), (3, 2)])
@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_unpooling_puts_an_infinite_value_in_one_place(engine, arguments, value):
    x = np.random.default_rng(0).permutation(2 * 8 * 8).reshape(1, 2, 8, 8).astype(float)
    pooled, switches = F.max_pool2d(engine.array(x), *arguments)
    small = np.ones(pooled.shape)
    small[0, 1, 1, 1] = value
    big, cache = F.max_unpool2d(engine.array(small), switches)
    assert (~np.isfinite(engine.numpy(big))).sum() == 1
    dy = np.where(engine.numpy(big) == 0, value, 1.0)  # at places that no value was put in
    assert np.isfinite(engine.numpy(F.max_unpool2d_backward(engine.array(dy), cache))).all()


def test_cross_entropy_of_classes_that_can_not_be(engine):
    for dtype, logits, true in (
        ("float64", [[1.0, -np.inf, 2.0]], np.log1p(np.e)),
        ("float32", [[3e38, -3e38]], 0.0),
    ):
        loss, cache = F.cross_entropy(engine.array(np.array(logits, dtype)), engine.array(np.array([0])))
        assert float(loss) == pytest.approx(true, rel=1e-6)
        assert np.isfinite(engine.numpy(F.cross_entropy_backward(1.0, cache))).all()


RULES = {
    "SGD": {"momentum": 0.9, "weight_decay": 0.1},
    "Adagrad": {},
    "RMSprop": {"momentum": 0.9},
    "Adadelta": {},
    "Adam": {},
    "AdamW": {},
}


@pytest.mark.parametrize("before", [0, 1])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("dtype", sorted(HUGE))
def test_a_step_by_an_extreme_gradient_is_torchs(device, rule, dtype, before):
    """And the steps after it, by ordinary gradients; it is the first one, or not."""
    values = np.array([np.inf, -np.inf, np.nan, HUGE[dtype], -HUGE[dtype], SUBNORMAL[dtype], 0, 1, -2], dtype)
    start = np.random.default_rng(0).standard_normal(values.shape).astype(dtype)
    ours = Parameter(move(start.copy(), device))
    theirs = torch.nn.Parameter(torch.tensor(start))
    mine, reference = (
        getattr(optim, rule)([ours], 0.1, **RULES[rule]),
        getattr(torch.optim, rule)([theirs], 0.1, **RULES[rule]),
    )
    for g in (*[np.ones_like(values)] * before, values, np.ones_like(values), start):
        ours.grad, theirs.grad = move(g.copy(), device), torch.tensor(g)
        mine.step()
        reference.step()
        found, true = move(ours.data, "numpy"), theirs.detach().numpy()
        np.testing.assert_allclose(found, true, rtol=1e-4 if dtype == "float32" else 1e-10, atol=1e-6)


def test_a_steady_gradient_leaves_centred_rmsprop_finite(device):
    """Its variance is 0, and rounding makes it less."""
    g = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    parameter = Parameter(move(np.zeros_like(g), device))
    rule = optim.RMSprop([parameter], centered=True)
    parameter.grad = move(g, device)
    for _ in range(4000):
        rule.step()
    assert np.isfinite(move(parameter.data, "numpy")).all()
