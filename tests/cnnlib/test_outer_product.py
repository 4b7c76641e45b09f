"""The gradient of a wide fully connected layer: a product that need not be stored, and acts as if it were."""

import copy
import io
import pickle
import weakref

import numpy as np
import pytest
import safetensors.torch
import torch

from cnnlib import functional as F
from cnnlib import layers, optim
from cnnlib.arrays import library, move
from cnnlib.kernels.outer_product import OuterProduct
from cnnlib.module import Parameter

from .test_optim import RULES


def factors(seed=0, rows=2):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.standard_normal((rows, 6))), torch.from_numpy(rng.standard_normal((rows, 7)))


@pytest.mark.parametrize("rule, settings", [*RULES, ("Momentum", {"weight_decay": 0.1})], ids=str)
def test_it_moves_a_weight_as_the_stored_gradient_does(rule, settings):
    lazy, stored = (Parameter(torch.ones(6, 7, dtype=torch.float64)) for _ in range(2))
    ours, reference = (getattr(optim, rule)([p], **settings) for p in (lazy, stored))
    for step in range(20):
        delta, x = factors(step)
        lazy.grad, stored.grad = OuterProduct(delta, x), delta.T @ x
        ours.step()
        reference.step()
        torch.testing.assert_close(lazy.data, stored.data, rtol=1e-12, atol=1e-13)
        assert not lazy.grad.is_stored


@pytest.mark.parametrize("rule, settings", [("SGD", {"momentum": 0.9}), ("SGD", {}), ("Adam", {})], ids=str)
def test_a_step_holds_one_product_at_a_time(rule, settings, monkeypatch):
    parameters = [Parameter(torch.ones(6, 7, dtype=torch.float64)) for _ in range(3)]
    optimizer = getattr(optim, rule)(parameters, **settings)
    whole, made = OuterProduct.array, []

    def held():
        """What was multiplied out and is neither dropped nor remembered by the rule."""
        kept = [id(array) for state in optimizer.state for array in state.values()]
        return [ref for ref in made if ref() is not None and id(ref()) not in kept]

    def array(self):
        assert not held()
        made.append(weakref.ref(product := whole(self)))
        return product

    monkeypatch.setattr(OuterProduct, "array", array)
    for step in range(2):
        for parameter in parameters:
            parameter.grad = OuterProduct(*factors(step))
        optimizer.step()
    assert not held()
    # momentum's first buffer is the product itself; later steps store none, nor does one without momentum
    assert len(made) == {"Adam": 6, "SGD": 3 if settings else 0}[rule]
    assert sum(ref() is not None for ref in made) == (3 if rule == "SGD" and settings else 0)


def test_reading_it_changes_nothing():
    product = OuterProduct(*factors())
    expected = product.delta.T @ product.x
    parameter = Parameter(torch.zeros(6, 7, dtype=torch.float64))
    parameter.grad = product
    assert torch.equal(parameter.grad * 2, 2 * expected) and float(parameter.grad.norm()) == float(expected.norm())
    assert torch.isfinite(parameter.grad).all() and torch.equal(parameter.grad, expected)
    assert parameter.grad is product and not product.is_stored
    assert library(product) == "torch" and isinstance(product, torch.Tensor)
    assert (product.shape, product.dtype, product.device) == (expected.shape, expected.dtype, expected.device)
    for array in (np.asarray(product), product.numpy(), move(product, "numpy"), product[:].numpy()):
        np.testing.assert_array_equal(array, expected)


WRITES = {
    "in place": lambda g: g.mul_(0.5),
    "by a slice": lambda g: g[:].copy_(0.5 * g),
    "by an index": lambda g: g.__setitem__((slice(None), slice(0, 7)), 0.5 * g),
    "by NumPy": lambda g: np.multiply(g.numpy(), 0.5, out=g.numpy()),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_what_is_written_into_it_is_what_the_step_uses(write):
    delta, x = factors()
    parameter = Parameter(torch.ones(6, 7, dtype=torch.float64))
    parameter.grad = OuterProduct(delta, x)
    write(parameter.grad)
    torch.testing.assert_close(torch.clone(parameter.grad), 0.5 * delta.T @ x)
    optim.SGD([parameter], lr=0.1).step()
    torch.testing.assert_close(parameter.data, 1 - 0.05 * delta.T @ x)


def test_it_adds_to_a_gradient_and_a_gradient_to_it():
    parameter = Parameter(torch.zeros(6, 7, dtype=torch.float64))
    products = [OuterProduct(*factors(seed)) for seed in range(3)]
    for gradient in (products[0], products[1].array(), products[2]):
        parameter.accumulate(gradient)
    torch.testing.assert_close(parameter.grad, sum(p.array() for p in products), rtol=1e-14, atol=0)


@pytest.mark.parametrize("rows, is_product", [(2, True), (40, False)])
def test_a_layers_gradient_is_one_where_that_is_smaller(rows, is_product):
    rng = np.random.default_rng(0)
    layer = layers.Linear(30, 20, dtype="float64").to("cpu")
    x, dy = (torch.from_numpy(rng.standard_normal((rows, n))) for n in (30, 20))
    layer(x)
    layer.backward(dy)
    assert isinstance(layer.weight.grad, OuterProduct) == is_product
    torch.testing.assert_close(torch.clone(layer.weight.grad), dy.T @ x)


def test_arrays_that_are_filled_anew_before_the_step_do_not_change_it(device):
    """The input's buffer and the gradient's: small batch, wide layer, as a data loader with one buffer has it."""
    rng = np.random.default_rng(0)
    start, x, dy = rng.standard_normal((20, 30)), rng.standard_normal((2, 30)), rng.standard_normal((2, 20))
    layer = layers.Linear(30, 20, bias=False, dtype="float64")
    layer.load_state_dict({"weight": start})
    layer.to(device)
    buffer, gradient = move(x.copy(), device), move(dy.copy(), device)
    rule = optim.SGD(layer.parameters(), lr=0.1, momentum=0.9)
    expected = np.array(start)
    velocity = 0
    for _ in range(2):
        layer(buffer)
        rule.zero_grad()
        layer.backward(gradient)
        buffer[:], gradient[:] = 7, 7
        rule.step()
        velocity = 0.9 * velocity + dy.T @ x
        expected -= 0.1 * velocity
        buffer[:], gradient[:] = move(x, device), move(dy, device)
    np.testing.assert_allclose(move(layer.weight.data, "numpy"), expected, rtol=1e-12, atol=1e-13)


def test_autograd_follows_a_gradient_that_it_is_asked_to():
    x, weight = (torch.randn(2, 30, dtype=torch.float64), torch.randn(20, 30, dtype=torch.float64))
    x.requires_grad_()
    _, cache = F.linear(x, weight)
    _, dweight, _ = F.linear_backward(torch.ones(2, 20, dtype=torch.float64), cache)
    (second,) = torch.autograd.grad(dweight.sum(), x)
    torch.testing.assert_close(second, torch.full_like(x, 20))


READS = {
    "NumPy by DLPack": lambda g: np.from_dlpack(g),
    "torch by DLPack": lambda g: torch.from_dlpack(g).numpy(),
    "a list": lambda g: np.array(g.tolist()),
    "a deep copy": lambda g: copy.deepcopy(g).numpy(),
    "pickle": lambda g: pickle.loads(pickle.dumps(g)).numpy(),
    "torch.save": lambda g: torch.load(saved(g), weights_only=True).numpy(),
    "safetensors": lambda g: safetensors.torch.load(safetensors.torch.save({"g": g}))["g"].numpy(),
    "its data": lambda g: g.data.numpy(),
}


def saved(tensor):
    file = io.BytesIO()
    torch.save(tensor, file)
    file.seek(0)
    return file


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_what_reads_memory_itself_reads_the_gradient(read):
    delta, x = factors()
    np.testing.assert_array_equal(read(OuterProduct(delta, x)), (delta.T @ x).numpy())


def test_what_writes_to_memory_itself_is_what_the_step_uses():
    product = OuterProduct(*factors())
    expected = product.array().clone()
    assert str(product) == str(expected)
    torch.from_dlpack(product).mul_(2)
    torch.testing.assert_close(torch.clone(product), 2 * expected)
    product.apply_(lambda value: value + 1)
    torch.testing.assert_close(torch.clone(product), 2 * expected + 1)
    product.data = torch.zeros_like(expected)
    assert product.is_stored and not torch.clone(product).any() and product.data_ptr()


def test_a_network_is_copied_with_its_gradients():
    layer = layers.Linear(30, 20, dtype="float64").to("cpu")
    layer(torch.ones(2, 30, dtype=torch.float64))
    layer.backward(torch.ones(2, 20, dtype=torch.float64))
    twin = copy.deepcopy(layer)
    assert torch.equal(twin.weight.grad, torch.clone(layer.weight.grad)) and twin.weight.grad is not layer.weight.grad
