"""Every operation, forward and backward, against torch.nn.functional and torch's autograd in float64."""

import numpy as np
import pytest
import torch
import torch.nn.functional as TF
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnlib import functional as F

from .engines import GPU, LAYOUTS
from .operations import CASES, SETTINGS, by_torch

# Errors relative to the larger of 1 (the inputs' size) and the largest true value.
TOLERANCE = {"float64": 1e-12, "float32": 2e-6}
EXAMPLES = {"conv2d": 250, "max_pool2d": 250, "avg_pool2d": 200}


def close(found, true, dtype):
    assert found.dtype == dtype, f"{found.dtype} came of {dtype}"
    assert found.shape == true.shape
    error = np.abs(found.astype(float) - true).max(initial=0)
    assert error <= TOLERANCE[dtype] * max(1, np.abs(true).max(initial=0)), f"{error=}"


def as_tuple(gradients):
    return gradients if isinstance(gradients, tuple) else (gradients,)


def backward_of(name):
    return getattr(F, f"{name}_backward")


def test_every_operation_is_tested():
    operations = {name.removesuffix("_backward") for name in F.__all__ if name.endswith("_backward")}
    elsewhere = {"batch_norm", "dropout", "max_unpool2d"}  # they take more than arrays: test_stateful_operations.py
    assert operations == set(CASES) | elsewhere
    others = {"ConnectionTable", "GeometryError", "conv_output_size"}
    assert operations | {f"{name}_backward" for name in operations} | others == set(F.__all__)


@pytest.mark.parametrize("name", CASES)
def test_forward_and_gradients(engine, name):
    """The operation and its readable reference say what torch says, in any memory layout, and change no input."""
    case = CASES[name]

    @settings(SETTINGS, max_examples=EXAMPLES.get(name, 60) // (4 if engine.name == "array_api_strict" else 1))
    @given(
        case.calls,
        st.sampled_from(["float64", "float64", "float32"]),
        st.lists(st.sampled_from(LAYOUTS), min_size=4, max_size=4),
    )
    def check(call, dtype, layouts):
        arrays, arguments = call
        arrays = [a if a is None or a.dtype.kind == "i" else a.astype(dtype) for a in arrays]
        y, dy, gradients = by_torch(case, arrays, arguments)
        laid = [None if a is None else engine.array(a, layout) for a, layout in zip(arrays, layouts, strict=False)]
        laid_dy = engine.array(dy, layouts[-1])
        for run in (lambda op: op, lambda op: op.reference):
            found, cache = run(getattr(F, name))(*laid, *arguments)
            close(engine.numpy(found), y, dtype)
            for _ in range(2):  # the same again: the first backward left dy and the cache as they were
                asked = as_tuple(run(backward_of(name))(laid_dy, cache))
                assert len(asked) == len(gradients)
                for ours, true in zip(asked, gradients, strict=True):
                    if true is None:
                        assert ours is None
                    else:
                        close(engine.numpy(ours), true, dtype)
        for array, values in zip([*laid, laid_dy], [*arrays, dy], strict=True):
            assert array is None or np.array_equal(engine.numpy(array), values), "an input was changed"

    check()


def test_numeric_gradients():
    """The gradients are derivatives: central differences agree, without torch."""
    step = 1e-5
    for name, (arrays, arguments) in NUMERIC.items():
        op, count = getattr(F, name), CASES[name].gradients
        y, cache = op(*arrays, *arguments)
        dy = np.asarray(np.random.default_rng(2).standard_normal(np.shape(y)))
        gradients = as_tuple(backward_of(name)(dy, cache))
        for k in range(count):
            numeric = np.zeros_like(arrays[k])
            for place in np.ndindex(arrays[k].shape):
                up, down = ([a.copy() for a in arrays] for _ in range(2))
                up[k][place] += step
                down[k][place] -= step
                difference = op(*up, *arguments)[0] - op(*down, *arguments)[0]
                numeric[place] = (difference * dy).sum() / (2 * step)
            np.testing.assert_allclose(gradients[k], numeric, rtol=1e-7, atol=1e-8, err_msg=f"{name}, array {k}")
    assert set(NUMERIC) == set(CASES)


def _normal(*shape):
    return np.random.default_rng(shape).standard_normal(shape)


_APART = np.random.default_rng(3).permutation(2 * 2 * 7 * 6).reshape(2, 2, 7, 6) / 10 - 8.35  # no ties, no zeros
NUMERIC = {
    "adaptive_avg_pool2d": ((_normal(2, 2, 5, 4),), ((3, 2),)),
    "avg_pool2d": ((_normal(2, 2, 7, 6),), ((3, 2), 2, 1, True, False)),
    "conv2d": ((_normal(2, 4, 7, 6), _normal(6, 2, 3, 2), _normal(6)), ((2, 1), (1, 2), (1, 2), 2)),
    "conv_transpose2d": ((_normal(2, 4, 3, 4), _normal(4, 3, 3, 2), _normal(6)), (2, (1, 0), (1, 0), 2, (1, 2))),
    "cross_entropy": ((_normal(4, 3), np.array([0, 2, 2, 1])), ()),
    "flatten": ((_normal(2, 3, 2),), (1,)),
    "linear": ((_normal(3, 5), _normal(4, 5), _normal(4)), ()),
    "local_response_norm": ((_normal(2, 6, 3, 2),), (4, 0.5, 0.75, 2.0)),
    "log_softmax": ((_normal(3, 4),), (1,)),
    "max_pool2d": ((_APART,), ((3, 2), (2, 1), 1, (1, 2), True)),
    "mse_loss": ((_normal(3, 4), _normal(4, 3).T), ()),
    "rbf": ((_normal(3, 5), _normal(4, 5)), ()),
    "relu": ((_APART,), ()),
    "scaled_tanh": ((_normal(3, 4),), ()),
    "sigmoid": ((_normal(3, 4),), ()),
    "softmax": ((_normal(3, 4),), (1,)),
    "sparse_conv2d": ((_normal(2, 3, 4, 5), _normal(5, 2, 2), _normal(3)), (((0, 1), (2,), (0, 2)),)),
    "subsample2d": ((_normal(2, 3, 4, 6), _normal(3), _normal(3)), ((2, 3),)),
    "tanh": ((_normal(3, 4),), ()),
}


def test_defaults_and_keywords_are_torchs(engine):
    x, w = _normal(2, 4, 9, 8), _normal(6, 2, 3, 3)
    X, W = torch.tensor(x), torch.tensor(w)
    a, b = engine.array(x), engine.array(w)
    pairs = [
        (F.conv2d(a[:, :2, ...], b), TF.conv2d(X[:, :2], W)),
        (F.conv2d(a, b, groups=2, padding=(0, 1)), TF.conv2d(X, W, groups=2, padding=(0, 1))),
        (
            F.conv2d(a, b, bias=None, stride=2, dilation=2, groups=2),
            TF.conv2d(X, W, stride=2, dilation=2, groups=2),
        ),
        (F.max_pool2d(a, 3), TF.max_pool2d(X, 3)),
        (F.max_pool2d(a, kernel_size=2, ceil_mode=True), TF.max_pool2d(X, kernel_size=2, ceil_mode=True)),
        (
            F.max_pool2d(a, 3, padding=1, dilation=2, stride=1),
            TF.max_pool2d(X, 3, padding=1, dilation=2, stride=1),
        ),
        (F.avg_pool2d(a, 3, padding=1), TF.avg_pool2d(X, 3, padding=1)),
        (
            F.avg_pool2d(a, 3, stride=2, padding=1, count_include_pad=False, ceil_mode=True),
            TF.avg_pool2d(X, 3, stride=2, padding=1, count_include_pad=False, ceil_mode=True),
        ),
        (F.flatten(a), torch.nn.Flatten()(X)),  # as the layer: the batch axis stays
        (F.log_softmax(a), TF.log_softmax(X, dim=1)),
    ]
    for (y, _), true in pairs:
        close(engine.numpy(y), true.numpy(), "float64")


@pytest.mark.parametrize("op, arguments", [(F.conv2d, ()), (F.max_pool2d, (3, 1)), (F.max_pool2d, (2,))])
def test_results_keep_their_values_when_the_next_call_reuses_scratch_memory(engine, op, arguments):
    backward = F.conv2d_backward if op is F.conv2d else F.max_pool2d_backward
    results, copies = [], []
    for seed in range(3):
        x = np.random.default_rng(seed).standard_normal((2, 3, 6, 6))
        weight = [np.random.default_rng(seed).standard_normal((3, 3, 2, 2))] if op is F.conv2d else []
        y, cache = op(*map(engine.array, [x, *weight]), *arguments)
        gradients = as_tuple(backward(engine.array(np.ones(y.shape)), cache))
        results += [y, *(g for g in gradients if g is not None)]
        copies += [np.array(engine.numpy(result)) for result in results[len(copies) :]]
    for result, copy in zip(results, copies, strict=True):
        assert np.array_equal(engine.numpy(result), copy)


@pytest.mark.parametrize("name", ["conv2d", "linear"])
def test_without_need_dx_the_other_gradients_are_the_same(engine, name):
    arrays, arguments = NUMERIC[name]
    y, cache = getattr(F, name)(*map(engine.array, arrays), *arguments)
    dy = engine.array(_normal(*y.shape))
    dx, dweight, dbias = backward_of(name)(dy, cache)
    for run in (backward_of(name), backward_of(name).reference):
        none, *others = run(dy, cache, need_dx=False)
        assert none is None and dx is not None
        for found, true in zip(others, (dweight, dbias), strict=True):
            close(engine.numpy(found), engine.numpy(true), "float64")


def test_a_window_of_more_than_256_pixels(engine):
    """More taps than a byte can number."""
    x = np.random.default_rng(0).permutation(40 * 40).reshape(1, 1, 40, 40).astype(float)
    true = torch.tensor(x, requires_grad=True)
    TF.max_pool2d(true, 18, 11).sum().backward()
    y, cache = F.max_pool2d(engine.array(x), 18, 11)
    dx = F.max_pool2d_backward(engine.array(np.ones(y.shape)), cache)
    assert np.array_equal(engine.numpy(dx), true.grad.numpy())


def test_extreme_values(engine):
    """Nothing overflows (a warning is an error here), and a NaN is handed on."""
    x = np.array([[-1e4, -800.0, -40.0, 0.0, 40.0, 800.0, 1e4]])
    for name in ("sigmoid", "tanh", "log_softmax", "relu"):
        ours, cache = getattr(F, name)(engine.array(x))
        tensor = torch.tensor(x, requires_grad=True)
        true = TF.log_softmax(tensor, 1) if name == "log_softmax" else getattr(torch, name)(tensor)
        true.backward(torch.ones_like(true))
        np.testing.assert_allclose(engine.numpy(ours), true.detach().numpy(), rtol=1e-14, err_msg=name)
        dx = backward_of(name)(engine.array(np.ones_like(x)), cache)
        np.testing.assert_allclose(engine.numpy(dx), tensor.grad.numpy(), rtol=1e-12, atol=1e-15, err_msg=name)
    labels = np.array([0])
    loss, _ = F.cross_entropy(engine.array(x), engine.array(labels))
    assert float(loss) == 2e4

    picture = np.arange(36.0).reshape(1, 1, 6, 6)
    picture[0, 0, 2, 3] = np.nan
    for y, true in (
        (F.relu(engine.array(picture))[0], torch.relu(torch.tensor(picture))),
        (F.max_pool2d(engine.array(picture), 2)[0], TF.max_pool2d(torch.tensor(picture), 2)),
        (F.max_pool2d(engine.array(picture), 3, 1, 1)[0], TF.max_pool2d(torch.tensor(picture), 3, 1, 1)),
        (F.max_pool2d(engine.array(picture), 3)[0], TF.max_pool2d(torch.tensor(picture), 3)),
    ):
        np.testing.assert_array_equal(engine.numpy(y), true.numpy())
        assert np.isnan(engine.numpy(y)).any()


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int64"])
def test_labels_of_any_integer_dtype(engine, dtype):
    """Among 300 classes, which a byte can't count, label 7 is class 7."""
    logits = _normal(2, 300)
    true = TF.cross_entropy(torch.tensor(logits), torch.tensor([7, 100]))
    loss, cache = F.cross_entropy(engine.array(logits), engine.array(np.array([7, 100], dtype)))
    assert float(loss) == pytest.approx(float(true), rel=1e-13)
    dlogits = engine.numpy(F.cross_entropy_backward(1.0, cache))
    assert (dlogits < 0).sum() == 2 and dlogits[0, 7] < 0 and dlogits[1, 100] < 0


@pytest.mark.parametrize("ceil_mode", [False, True])
def test_output_size_by_trying_every_place(ceil_mode):
    """Against the definition: count the places where the window may stand."""
    for size in range(1, 9):
        for k, s, p, d in np.ndindex(4, 4, 3, 3):
            k, s, d = k + 1, s + 1, d + 1
            extent = d * (k - 1) + 1
            if ceil_mode and 2 * p > k:  # a pooling window never stands on padding alone
                continue
            starts = range(-p, size + 2 * p, s)
            stands = [a for a in starts if a + extent <= size + p]
            # rounding up adds one window that hangs over by less than a stride, if it starts before the input's end
            if ceil_mode:
                hangs = (a for a in starts if size + p < a + extent < size + p + s and a < size)
                stands += [a for a in hangs if not stands or stands[-1] + extent < size + p]
            if stands:
                assert F.conv_output_size(size, k, s, p, d, ceil_mode) == len(stands), (size, k, s, p, d)
            else:
                with pytest.raises(F.GeometryError, match="must fit into the padded input"):
                    F.conv_output_size(size, k, s, p, d, ceil_mode)


@pytest.mark.parametrize("name", ["max_pool2d", "avg_pool2d"])
def test_poolings_that_torch_accepts_and_no_others(engine, name):
    """Small maps, so that many windows don't fit, or fit only because the last one may hang over."""
    rng, accepted, tries = np.random.default_rng(0), 0, 300 if engine.name == "array_api_strict" else 1200
    for _ in range(tries):
        x = rng.standard_normal((1, 2, *rng.integers(1, 9, 2)))
        kernel_size, stride, padding, dilation = (
            tuple(rng.integers(*limits, 2).tolist()) for limits in ((1, 5), (1, 5), (0, 3), (1, 3))
        )
        more = {"ceil_mode": bool(rng.integers(2))}
        if name == "max_pool2d":
            more["dilation"] = dilation
        else:
            more["count_include_pad"] = bool(rng.integers(2))
        op = getattr(F, name)
        try:
            true = getattr(TF, name)(torch.tensor(x), kernel_size, stride, padding, **more).numpy()
        except RuntimeError:
            with pytest.raises(F.GeometryError, match="must fit into the padded input|at most half the window"):
                op(engine.array(x), kernel_size, stride, padding, **more)
            continue
        accepted += 1
        for run in (op, op.reference):
            y, _ = run(engine.array(x), kernel_size, stride, padding, **more)
            np.testing.assert_allclose(engine.numpy(y), true, rtol=1e-12)
    assert tries / 10 < accepted < tries * 0.9


def test_the_gpu(request):
    """Says so where the operations were not tested on a GPU."""
    if request.config.getoption("engine") is None and not GPU:
        pytest.skip("torch sees no GPU: cnnlib was not tested on CUDA")
