"""Modules, layers and containers: what they keep, when, and under which names."""

import re

import array_api_strict
import numpy as np
import pytest
import torch

from cnnlib import cost, layers, losses, models
from cnnlib import functional as F
from cnnlib.arrays import move
from cnnlib.containers import Concat, Sequential
from cnnlib.module import Module, Parameter


def network(device="numpy"):
    """Return a small float64 network with every kind of layer."""
    rng = np.random.default_rng(5)
    return Sequential(
        layers.Conv2d(2, 4, 3, padding=1, dtype="float64", rng=rng),
        layers.ReLU(),
        layers.MaxPool2d(2),
        Concat(
            wide=layers.Conv2d(4, 3, 3, padding=1, bias=False, dtype="float64", rng=rng),
            deep=Sequential(layers.Conv2d(4, 2, 1, dtype="float64", rng=rng), layers.Tanh()),
            pool=layers.AvgPool2d(3, 1, 1),
        ),
        layers.Sigmoid(),
        layers.Flatten(),
        head=layers.Linear(9 * 9, 3, dtype="float64", rng=rng),
    ).to(device)


def batch(device="numpy", seed=0):
    rng = np.random.default_rng(seed)
    return move(rng.standard_normal((4, 2, 6, 6)), device), move(rng.integers(0, 3, 4), device)


def numpy(array):
    return move(array, "numpy")


def step(model, x, labels, **arguments):
    criterion = losses.CrossEntropyLoss()
    criterion(model(x), labels)
    return model.backward(criterion.backward(), **arguments)


def test_names_are_torchs_in_forward_order():
    names = [name for name, _ in network().named_parameters()]
    assert names == [
        "0.weight",
        "0.bias",
        "3.wide.weight",
        "3.deep.0.weight",
        "3.deep.0.bias",
        "head.weight",
        "head.bias",
    ]
    assert list(network().state_dict()) == names
    assert [p.shape for p in network().parameters()] == [
        (4, 2, 3, 3),
        (4,),
        (3, 4, 3, 3),
        (2, 4, 1, 1),
        (2,),
        (3, 81),
        (3,),
    ]
    model = network()
    assert len(model) == 7 and model[0] is model["0"] and model[-1] is model["head"]


def test_gradients_of_a_whole_network(device):
    """Against torch.nn and autograd: branches that add, a head, and every layer between."""
    torch_net = torch.nn.ModuleDict(
        {
            "0": torch.nn.Conv2d(2, 4, 3, padding=1),
            "wide": torch.nn.Conv2d(4, 3, 3, padding=1, bias=False),
            "deep": torch.nn.Conv2d(4, 2, 1),
            "head": torch.nn.Linear(81, 3),
        }
    ).double()
    model = network(device)
    ours = {name.replace("3.", "").replace("deep.0", "deep"): p for name, p in model.named_parameters()}
    torch_net.load_state_dict({name: torch.tensor(numpy(p.data)) for name, p in ours.items()})
    x, labels = batch(device)
    dx = step(model, x, labels)

    X = torch.tensor(numpy(x), requires_grad=True)
    a = torch.max_pool2d(torch.relu(torch_net["0"](X)), 2)
    branches = [torch_net["wide"](a), torch.tanh(torch_net["deep"](a)), torch.nn.functional.avg_pool2d(a, 3, 1, 1)]
    logits = torch_net["head"](torch.sigmoid(torch.cat(branches, 1)).flatten(1))
    torch.nn.functional.cross_entropy(logits, torch.tensor(numpy(labels))).backward()
    np.testing.assert_allclose(numpy(dx), X.grad.numpy(), rtol=1e-10, atol=1e-14)
    for name, parameter in torch_net.named_parameters():
        np.testing.assert_allclose(numpy(ours[name].grad), parameter.grad.numpy(), rtol=1e-10, atol=1e-14)


def test_one_forward_one_backward(device):
    model, (x, labels) = network(device), batch(device)
    dy = F.cross_entropy_backward(1.0, F.cross_entropy(model(x), labels)[1])
    model.backward(dy)
    with pytest.raises(RuntimeError, match=r"Linear.backward needs a forward pass before it, one for each"):
        model.backward(dy)
    with pytest.raises(RuntimeError, match="ReLU.backward needs a forward pass"):
        layers.ReLU().backward(x)
    with pytest.raises(RuntimeError, match="needs a forward pass"):
        Concat(layers.ReLU(), layers.Tanh()).backward(x)


def test_evaluating_keeps_nothing(device):
    model, (x, labels) = network(device), batch(device)
    trained = model(x)
    model.forget()
    assert all(getattr(m, "_cache", None) is None for m in model.modules())
    assert model.eval() is model and not any(m.training for m in model.modules())
    with model.evaluating():
        assert np.array_equal(numpy(model(x)), numpy(trained))
        assert all(getattr(m, "_cache", None) is None for m in model.modules())
        with pytest.raises(RuntimeError, match=r"not within evaluating\(\)"):
            step(model, x, labels)
    step(model, x, labels)  # in evaluation mode too, for the image's sake
    assert model.train() is model and all(m.training for m in model.modules())
    step(model, x, labels)
    assert all(getattr(m, "_cache", None) is None for m in model.modules()), "a cache outlived its backward pass"


def test_gradients_accumulate_until_they_are_forgotten(device):
    model, (x, labels) = network(device), batch(device)
    step(model, x, labels)
    once = [numpy(p.grad).copy() for p in model.parameters()]
    step(model, x, labels)
    for parameter, grad in zip(model.parameters(), once, strict=True):
        np.testing.assert_allclose(numpy(parameter.grad), 2 * grad, rtol=1e-14)
    model.zero_grad()
    assert all(p.grad is None for p in model.parameters())


def test_a_parameter_used_twice_gets_the_sum(device):
    """y = w(w x): one weight in two layers, against autograd."""
    first, second = (layers.Linear(3, 3, bias=False, dtype="float64", rng=np.random.default_rng(1)) for _ in range(2))
    second.weight = first.weight
    model = Sequential(first, second).to(device)
    w = torch.tensor(numpy(first.weight.data), requires_grad=True)
    x = np.random.default_rng(0).standard_normal((2, 3))
    (torch.tensor(x) @ w.T @ w.T).sum().backward()
    model(move(x, device))
    model.backward(move(np.ones((2, 3)), device))
    np.testing.assert_allclose(numpy(first.weight.grad), w.grad.numpy(), rtol=1e-12)


def test_the_first_layers_input_gradient_is_left_out(device):
    model, (x, labels) = network(device), batch(device)
    step(model, x, labels)
    grads = [numpy(p.grad).copy() for p in model.parameters()]
    model.zero_grad()
    assert step(model, x, labels, need_input_grad=False) is None
    for parameter, grad in zip(model.parameters(), grads, strict=True):
        assert np.array_equal(numpy(parameter.grad), grad)

    branches = Concat(layers.Tanh(), layers.Conv2d(2, 3, 1, dtype="float64"), layers.MaxPool2d(1)).to(device)
    branches(x)
    assert branches.backward(move(np.ones((4, 7, 6, 6)), device), need_input_grad=False) is None


def test_each_branch_gets_the_gradients_of_its_own_channels(device):
    rng = np.random.default_rng(3)
    deep = Sequential(layers.Conv2d(2, 3, 1, dtype="float64", rng=rng), layers.ReLU(inplace=True))
    branches = Concat(deep, layers.ReLU()).to(device)
    x = batch(device)[0]
    y = branches(x)
    dy = y * 0 + 1
    alone = Sequential(layers.Conv2d(2, 3, 1, dtype="float64", rng=np.random.default_rng(3)), layers.ReLU()).to(device)
    alone(x)
    expected = numpy(alone.backward(dy[:, :3])) + (numpy(x) > 0)
    np.testing.assert_allclose(numpy(branches.backward(dy)), expected, rtol=1e-13, atol=1e-13)
    with branches.evaluating():
        branches(x)
        assert deep[1]._cache is None and branches[1]._cache is None


@pytest.mark.parametrize("part", [3, layers.ReLU], ids=["a number", "a class"])
def test_a_chain_takes_layers_only(part):
    with pytest.raises(TypeError, match='Sequential takes layers, but part "1" is'):
        Sequential(layers.ReLU(), part)


def test_concat_takes_a_gradient_for_just_its_channels():
    branches = Concat(layers.ReLU(), layers.Tanh())
    branches(np.ones((1, 2, 3, 3)))
    with pytest.raises(ValueError, match="channels|shape"):
        branches.backward(np.ones((1, 5, 3, 3)))


def test_state_goes_round(device):
    model, other = network(device), network("numpy")
    for parameter in other.parameters():
        parameter.data = parameter.data + 1
    model.load_state_dict(other.state_dict())
    x, _ = batch()
    np.testing.assert_allclose(numpy(model(move(x, device))), other(x), rtol=1e-12)
    assert {str(p.data.dtype).rpartition(".")[2] for p in model.parameters()} == {"float64"}
    other[0].weight.data[:] = 0  # copies were loaded
    assert numpy(model[0].weight.data).all()
    other.load_state_dict(model.state_dict())  # and back, from this engine into NumPy
    assert np.array_equal(other[0].weight.data, numpy(model[0].weight.data))
    assert isinstance(other[0].weight.data, np.ndarray)


def test_a_state_that_does_not_fit_changes_nothing(device):
    model = network(device)
    before = {name: numpy(array).copy() for name, array in model.state_dict().items()}
    state = {name: np.zeros(array.shape) for name, array in before.items()}
    del state["0.bias"], state["3.wide.weight"]
    state |= {"head.bias": np.zeros(4), "0.weight": np.zeros((4, 2, 3)), "tail.bias": np.zeros(1), "x": np.zeros(1)}
    with pytest.raises(ValueError) as caught:
        model.load_state_dict(state)
    lines = str(caught.value).splitlines()
    assert len(lines) == 7
    for wrong in (
        "missing: 0.bias",
        "missing: 3.wide.weight",
        "unexpected: tail.bias",
        "unexpected: x",
        "shape of head.bias: (4,) in the state, (3,) in the network",
        "shape of 0.weight: (4, 2, 3) in the state, (4, 2, 3, 3) in the network",
    ):
        assert f"  {wrong}" in lines
    for name, array in model.state_dict().items():
        assert np.array_equal(numpy(array), before[name])


def test_what_is_no_state_is_said():
    model = network()
    state = model.state_dict() | {"0.bias": [0.0] * 4, "head.bias": None}
    del state["0.weight"]
    with pytest.raises(ValueError) as caught:
        model.load_state_dict(state)
    said = str(caught.value)
    assert all(
        part in said
        for part in ("missing: 0.weight", "no array: 0.bias is of type list", "head.bias is of type NoneType")
    )
    with pytest.raises(TypeError, match=r"a mapping of name -> array, not str: .*load_weights\(model, path\)"):
        model.load_state_dict("weights.pth")


def test_bfloat16_comes_to_numpy_as_float32():
    values = torch.tensor([1.5, -0.25, 3.0], dtype=torch.bfloat16)
    assert move(values, "numpy").dtype == np.float32 and move(values, "numpy").tolist() == [1.5, -0.25, 3.0]
    model = network()
    state = {name: torch.from_numpy(array).bfloat16() for name, array in model.state_dict().items()}
    model.load_state_dict(state)
    assert all(np.array_equal(a, state[name].double().numpy()) for name, a in model.state_dict().items())


def test_moving_shares_memory_between_numpy_and_torch():
    model = network()
    weights = model[0].weight.data
    x, labels = batch()
    step(model, x, labels)
    assert model.to("cpu") is model
    assert all(isinstance(a, torch.Tensor) for p in model.parameters() for a in (p.data, p.grad))
    model[0].weight.data[0, 0, 0, 0] = 7.0
    assert weights[0, 0, 0, 0] == 7.0
    model.to("numpy")
    assert all(isinstance(a, np.ndarray) for p in model.parameters() for a in (p.data, p.grad))
    assert model[0].weight.data[0, 0, 0, 0] == 7.0 and np.shares_memory(model[0].weight.data, weights)


def test_moving_keeps_shape_and_refuses_unknown_places():
    assert models.lenet().to(torch.device("cpu")).parameters()[0].data.device.type == "cpu"
    with pytest.raises(ValueError, match="not 'None'"):
        models.lenet().to(None)
    assert tuple(move(np.array(3.0), "cpu").shape) == ()  # a scalar stays a scalar
    with pytest.raises(ValueError, match='"numpy", "cpu" or "cuda", not \'gpu\''):
        network().to("gpu")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match='"cuda".*no GPU.*"cpu" and "numpy" work'):
            network().to("cuda")


def test_buffers_are_saved_and_moved_but_not_trained(device):
    class Counting(layers.ReLU):
        buffers = ("seen",)

        def __init__(self):
            self.seen = np.array([3.0])

    model = Sequential(Counting()).to(device)
    assert model.parameters() == [] and list(model.state_dict()) == ["0.seen"]
    assert isinstance(model[0].seen, np.ndarray) == (device == "numpy")
    model.load_state_dict({"0.seen": np.array([8.0])})
    assert float(model[0].seen[0]) == 8.0


def test_one_seed_is_one_start_on_every_engine(device):
    reference, model = models.lenet(seed=3), models.lenet(seed=3).to(device)
    for ours, true in zip(model.parameters(), reference.parameters(), strict=True):
        assert np.array_equal(numpy(ours.data), true.data)
    other = models.lenet(seed=4)
    assert not np.array_equal(other["C1"].weight.data, reference["C1"].weight.data)


def test_torchs_default_initialisation_has_its_bounds():
    """U(-1/sqrt(fan in), 1/sqrt(fan in)) for weight and bias; drawn from the given generator."""
    conv = layers.Conv2d(8, 100, 5, groups=2, rng=np.random.default_rng(0))
    linear = layers.Linear(100, 50, rng=np.random.default_rng(0))
    for layer, fan_in in ((conv, 4 * 25), (linear, 100)):
        for parameter in (layer.weight, layer.bias):
            values = parameter.data
            assert values.dtype == np.float32
            assert np.abs(values).max() <= fan_in**-0.5
            assert np.abs(values).max() > 0.9 * fan_in**-0.5 and abs(values.mean()) < 0.3 * fan_in**-0.5
    again = layers.Linear(100, 50, rng=np.random.default_rng(1))
    assert not np.array_equal(again.weight.data, linear.weight.data)
    assert layers.Conv2d(1, 1, 3, bias=False).bias is None and layers.Linear(2, 2, bias=False).bias is None


def test_what_is_printed_says_what_it_is():
    text = repr(network())
    assert "(0): Conv2d(kernel_size=(3, 3), stride=(1, 1), padding=(1, 1)" in text and "(head): Linear" in text
    assert repr(Parameter(np.zeros((2, 3)))) == "Parameter(shape=(2, 3), dtype=float64, from numpy)"


def test_lenet_is_the_papers_table():
    model = models.lenet()
    counts = {}
    for name, parameter in model.named_parameters():
        layer = name.partition(".")[0]
        counts[layer] = counts.get(layer, 0) + int(np.prod(parameter.shape))
    assert counts == {"C1": 156, "C3": 2416, "C5": 48120, "F6": 10164, "output": 850}
    assert sum(counts.values()) == 61_706
    shapes, x = {}, np.zeros((2, 1, 32, 32), np.float32)
    for name, part in model.children():
        x = part(x)
        shapes[name] = x.shape[1:]
        assert x.dtype == np.float32
    assert [shapes[n] for n in ("C1", "S2", "C3", "S4", "C5", "F6", "output")] == [
        (6, 28, 28),
        (6, 14, 14),
        (16, 10, 10),
        (16, 5, 5),
        (120, 1, 1),
        (84,),
        (10,),
    ]
    assert models.lenet(num_classes=3, in_channels=2, dtype="float64")(np.zeros((1, 2, 32, 32))).shape == (1, 3)


def test_arrays_of_other_libraries_come_in_by_dlpack(device):
    """A state from a third library is loaded; what goes out is NumPy's or torch's, which speak DLPack themselves."""
    model = network(device)
    values = {name: numpy(array) + 1 for name, array in model.state_dict().items()}
    model.load_state_dict({name: array_api_strict.asarray(array) for name, array in values.items()})
    for name, array in model.state_dict().items():
        assert np.array_equal(numpy(array), values[name])
        assert np.array_equal(np.from_dlpack(array), values[name])
    moved = move(array_api_strict.asarray(np.arange(3.0)), device)
    assert type(moved) is type(model.parameters()[0].data) and moved.tolist() == [0, 1, 2]


@pytest.mark.parametrize("pool", [layers.MaxPool2d, layers.AvgPool2d])
def test_a_rectifier_writes_over_what_nobody_needs_and_nothing_else(device, pool):
    rng = np.random.default_rng(2)
    parts = layers.Conv2d(2, 4, 3, dtype="float64", rng=rng), layers.ReLU(inplace=True), pool(2)
    together = Sequential(layers.ReLU(), *parts).to(device)
    x = move(rng.standard_normal((3, 2, 8, 8)), device)
    kept = numpy(x).copy()
    y = together(x)
    dy = move(rng.standard_normal(tuple(y.shape)), device)
    kept_dy = numpy(dy).copy()
    overwritten = together["1"]._cache.x, together["2"]._cache
    dx = together.backward(dy)
    np.testing.assert_array_equal(numpy(x), kept)
    np.testing.assert_array_equal(numpy(dy), kept_dy)

    alone = np.array(numpy(x))
    first, relu_cache = F.relu.reference(alone)
    second, conv_cache = F.conv2d.reference(first, *(np.array(numpy(p.data)) for p in together["1"].parameters()))
    third, last_cache = F.relu.reference(second)
    np.testing.assert_allclose(numpy(overwritten[0]), first, rtol=1e-12)
    np.testing.assert_allclose(numpy(overwritten[1]), third, rtol=1e-12, atol=1e-12)
    operation = F.max_pool2d if pool is layers.MaxPool2d else F.avg_pool2d
    backward = F.max_pool2d_backward if pool is layers.MaxPool2d else F.avg_pool2d_backward
    fourth, pool_cache = operation.reference(third, 2)
    np.testing.assert_allclose(numpy(y), fourth, rtol=1e-12)
    back = F.relu_backward.reference(backward.reference(kept_dy, pool_cache), last_cache)
    back = F.relu_backward.reference(F.conv2d_backward.reference(back, conv_cache)[0], relu_cache)
    np.testing.assert_allclose(numpy(dx), back, rtol=1e-11, atol=1e-12)


def test_in_place_saves_an_array(device):
    x = move(np.linspace(-1, 1, 12).reshape(3, 4), device)
    y, cache = F.relu(x, inplace=True)
    assert y is x and cache is x
    dy = move(np.ones((3, 4)), device)
    assert F.relu_backward(dy, cache, inplace=True) is dy
    np.testing.assert_array_equal(numpy(dy), np.linspace(-1, 1, 12).reshape(3, 4) > 0)
    reference = np.linspace(-1, 1, 12)
    y, cache = F.relu.reference(reference, inplace=True)
    assert y is reference and reference.min() == 0
    assert F.relu_backward.reference(dy := np.ones(12), cache, inplace=True) is dy


def test_a_rectifier_at_the_end_leaves_the_gradient_that_it_is_given(device):
    model = Sequential(layers.Conv2d(1, 2, 3, dtype="float64"), layers.ReLU()).to(device)
    y = model(move(np.random.default_rng(0).standard_normal((2, 1, 5, 5)), device))
    assert (numpy(y) == 0).any()
    dy = y * 0 + 1
    model.backward(dy)
    np.testing.assert_array_equal(numpy(dy), 1)


class Squeezed(Module):
    """A reader's own module: a convolution that the library can't see from outside."""

    def __init__(self):
        self.inside = layers.Conv2d(3, 4, 3)

    def __call__(self, x):
        return self.inside(x)


class Led(Squeezed):
    """The same, and it says how its parts follow each other."""

    def walk(self, x, visitor):
        return self.inside.walk(x, visitor.within("inside"))


class Shaped(layers.Layer):
    """A reader's own layer, which doesn't say what it makes of a shape."""


def test_a_module_is_asked_what_it_is_made_of_or_refused_by_name():
    with pytest.raises(TypeError, match=r"Squeezed doesn't say how its parts follow each other.*walk"):
        cost.table(Sequential(Squeezed(), layers.ReLU()), (3, 8, 8))
    with pytest.raises(TypeError, match=r"Shaped doesn't say what it makes of an input's shape.*trace"):
        cost.table(Sequential(Shaped()), (3, 8, 8))
    rows = cost.table(Sequential(first=Led(), last=layers.ReLU()), (3, 8, 8))
    assert [(row.name, row.output_shape, row.receptive_field) for row in rows] == [
        ("first.inside", (4, 6, 6), (3, 3)),
        ("last", (4, 6, 6), (3, 3)),
    ]


def test_branches_see_together_what_each_sees():
    across, down = layers.Conv2d(1, 1, (1, 7), padding=(0, 3)), layers.Conv2d(1, 1, (7, 1), padding=(3, 0))
    assert cost.table(Concat(across, down), (1, 9, 9))[-1].receptive_field == (7, 7)


def test_evaluating_puts_every_part_back_as_it_was():
    model = Sequential(layers.Dropout(), Sequential(layers.ReLU(), layers.Dropout()))
    model[1].eval()
    with model.evaluating():
        assert not any(module.training for module in model.modules())
    assert [module.training for module in model.modules()] == [True, True, False, False, False]
    with pytest.raises(ZeroDivisionError), model.evaluating():
        raise ZeroDivisionError
    assert model.training


def test_a_network_knows_its_criterion_and_its_device(device):
    assert type(models.lenet().criterion()) is losses.CrossEntropyLoss
    assert type(models.lenet("1998").criterion()) is losses.MAPLoss
    assert type(models.googlenet(width=1 / 16, aux=True).criterion()) is losses.AuxiliaryLoss
    assert type(models.googlenet(width=1 / 16).criterion()) is losses.CrossEntropyLoss
    assert models.lenet().to(device).device == device
    penalties = move(np.array([[3.0, 1.0, 2.0]]), device)
    assert int(losses.MAPLoss().predict(penalties)[0]) == 1
    assert int(losses.CrossEntropyLoss().predict(penalties)[0]) == 0


@pytest.mark.parametrize(
    "build",
    [
        models.lenet,
        models.alexnet,
        models.vgg19,
        models.googlenet,
        models.resnet18,
        models.resnet_cifar,
        models.squeezenet,
    ],
)
def test_weights_can_be_left_undrawn(build):
    """For who only counts them: the same network, at 0 but for the biases that its paper starts at 1."""
    drawn, undrawn = build(width=1 / 16), build(width=1 / 16, seed=None)
    shapes = {name: array.shape for name, array in drawn.state_dict().items()}
    assert {name: array.shape for name, array in undrawn.state_dict().items()} == shapes
    assert not any(array.any() for name, array in undrawn.state_dict().items() if array.ndim > 1)


def test_in_place_needs_a_gradient_that_can_be_written(device):
    """One place for many values, as of an expanded array, can't hold their gradients."""
    model = Sequential(layers.Conv2d(2, 3, 3, dtype="float64"), layers.ReLU(inplace=True)).to(device)
    x = batch(device)[0]
    y = model(x)
    one = move(np.broadcast_to(np.ones(()), tuple(y.shape)), device) if device == "numpy" else y[:1, :1, :1, :1] * 0 + 1
    dx = model.backward(one if device == "numpy" else one.expand(y.shape))
    model(x)
    np.testing.assert_array_equal(numpy(dx), numpy(model.backward(y * 0 + 1)))


def test_costs_refuse_what_can_not_run():
    for part in (layers.Conv2d(5, 3, 1), layers.MaxPool2d(1), layers.AdaptiveAvgPool2d(1)):
        with pytest.raises(ValueError, match=r"reads maps \(C, H, W\), but gets \(5,\)"):
            cost.table(Sequential(layers.Flatten(), part), (5, 1, 1))


@pytest.mark.parametrize(
    "network, shape, says",
    [
        (
            Concat(layers.Conv2d(3, 2, 3), layers.Conv2d(3, 2, 1)),
            (3, 8, 8),
            "one height and one width.*(2, 6, 6), (2, 8, 8)",
        ),
        (Concat(layers.MaxPool2d(2), layers.ReLU()), (3, 9, 8), "one height and one width.*(3, 4, 4), (3, 9, 8)"),
        (layers.BatchNorm2d(7), (5, 8, 8), "normalises 7 channels, but gets 5"),
        (layers.BatchNorm2d(7), (5,), "normalises 7 channels, but gets 5"),
        (layers.SparseConv2d(((0, 1), (1, 5)), 3), (5, 8, 8), "names channel 5, counted from 0, but there are 5"),
        (layers.Subsample2d(4), (5, 8, 8), "reads 4 channels, but gets 5"),
        (models.resnet_cifar(8)["layer2"][0]["downsample"], (5, 8, 8), "reads 16 maps .C, H, W., but gets (5, 8, 8)"),
        (models.googlenet("torchvision", transform_input=True, width=0.02), (4, 64, 64), "red, green and blue, not 4"),
    ],
)
def test_costs_refuse_what_a_forward_pass_refuses(network, shape, says):
    with pytest.raises(ValueError) as error:
        cost.table(network, shape)
    assert re.search(says.replace("(", r"\(").replace(")", r"\)").replace("[", "."), str(error.value))
    with pytest.raises(ValueError):
        network(np.zeros((2, *shape), np.float32))


def test_a_shared_parameter_costs_once(device):
    first, second = layers.Conv2d(3, 3, 3, padding=1), layers.Conv2d(3, 3, 3, padding=1)
    second.weight = first.weight
    model = Sequential(first, layers.ReLU(), second).to(device)
    rows = cost.table(model, (3, 8, 8))
    assert [row.parameters for row in rows] == [3 * 3 * 9 + 3, 0, 3]
    assert sum(row.parameters for row in rows) == sum(np.prod(p.shape) for p in model.parameters())
    assert rows[0].multiply_adds == rows[2].multiply_adds == 64 * 3 * 3 * 9
