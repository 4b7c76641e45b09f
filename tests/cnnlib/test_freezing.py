"""Frozen parts: no gradients, no moves, no backward pass; parts in evaluation; gradients for the image."""

import numpy as np
import pytest
import torch

from benchmarks.torch_twin import torch_twin
from cnnlib import functional as F
from cnnlib import layers, losses, memory, models, optim
from cnnlib.arrays import move
from cnnlib.containers import Branching, Concat, Residual, Sequential
from cnnlib.module import Module, Parameter

CLOSE = {"rtol": 1e-10, "atol": 1e-12}


def network(seed=0):
    """Return a float64 network of two parts, each with batch normalisation."""
    drawn = {"dtype": "float64", "rng": np.random.default_rng(seed)}
    body = Sequential(
        layers.Conv2d(2, 4, 3, padding=1, bias=False, **drawn),  # a bias here has no gradient but rounding
        layers.BatchNorm2d(4, dtype="float64"),
        layers.ReLU(inplace=True),
        Concat(
            layers.Conv2d(4, 3, 3, padding=1, bias=False, **drawn),
            Sequential(layers.Conv2d(4, 2, 1, **drawn), layers.Tanh()),
        ),
    )
    head = Sequential(
        layers.BatchNorm2d(5, dtype="float64"), layers.Flatten(), layers.Dropout(0.5), layers.Linear(180, 3, **drawn)
    )
    return Sequential(body=body, head=head)


def batch(seed=1):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((4, 2, 6, 6)), rng.integers(0, 3, 4)


def step(model, device, need_input_grad=False):
    x, labels = (move(array, device) for array in batch())
    criterion = losses.CrossEntropyLoss()
    criterion(model(x), labels)
    return model.backward(criterion.backward(), need_input_grad)


def without_dropout(model, twin):
    """Dropout off in both, where the rest trains."""
    for module in (*model.modules(), *twin.modules()):
        if isinstance(module, layers.Dropout | torch.nn.Dropout):
            module.eval()


def held(model):
    return [np.array(move(array, "numpy")) for array in model.state_dict().values()]


def gradients_are_torchs(model, twin):
    for ours, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        assert (ours.grad is None) == (theirs.grad is None)
        if ours.grad is not None:
            np.testing.assert_allclose(move(ours.grad, "numpy"), theirs.grad.numpy(), **CLOSE)


RULES = {
    "SGD": {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1},
    "RMSprop": {"lr": 0.01, "momentum": 0.9, "weight_decay": 0.1},
    "AdamW": {"lr": 0.01, "weight_decay": 0.1},
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("frozen", ["body", "head", "body.0", "body.3.1", ""])
def test_training_with_a_frozen_part_is_torchs(device, rule, frozen):
    """Two steps, then freezing, with momentum under way, then three more, then thawed: each number is torch's."""
    model = network()
    twin = torch_twin(model)
    part = model[frozen] if frozen else model
    same = [t for p, t in zip(model.parameters(), twin.parameters(), strict=True) if p in part.parameters()]
    without_dropout(model, twin)
    model.to(device)
    x, labels = batch()
    optimizer = getattr(optim, rule)(model.parameters(), **RULES[rule])
    reference = getattr(torch.optim, rule)(twin.parameters(), **RULES[rule])
    for k in range(7):
        if k in (2, 5):
            assert part.requires_grad_(k == 5) is part
            for tensor in same:
                tensor.requires_grad_(k == 5)
            reference.zero_grad()
        before = held(part)
        optimizer.zero_grad()
        step(model, device)
        reference.zero_grad()
        loss = torch.nn.functional.cross_entropy(twin(torch.tensor(x)), torch.tensor(labels))
        if loss.requires_grad:
            loss.backward()
        gradients_are_torchs(model, twin)
        optimizer.step()
        reference.step()
        for p in part.parameters() if 2 <= k < 5 else ():
            assert p.grad is None and any(np.array_equal(move(p.data, "numpy"), array) for array in before)
    for ours, theirs in zip(model.state_dict().values(), twin.state_dict().values(), strict=True):
        np.testing.assert_allclose(move(ours, "numpy"), theirs.numpy(), **CLOSE)


@pytest.mark.parametrize("rule", [optim.SGD, optim.Momentum, optim.Nesterov, optim.Adagrad, optim.RMSprop])
@pytest.mark.parametrize("how", ["frozen", "without a gradient"])
def test_what_is_not_trained_does_not_move(device, rule, how):
    """Whatever the rule remembers of earlier steps."""
    stays, moves = (Parameter(move(np.full(3, 2.0), device)) for _ in range(2))
    optimizer = rule([stays, moves], lr=0.1, **({"momentum": 0.9} if rule is optim.SGD else {}))
    for k in range(6):
        optimizer.look_ahead()
        for parameter in (stays, moves):
            if parameter.requires_grad and not (k > 2 and parameter is stays):
                parameter.grad = move(np.ones(3), device)
        optimizer.step()
        if k == 2:
            at, stays.requires_grad, stays.grad = np.array(move(stays.data, "numpy")), how != "frozen", None
        elif k > 2:
            assert np.array_equal(move(stays.data, "numpy"), at)
    assert (move(moves.data, "numpy") < move(stays.data, "numpy")).all()


def test_a_frozen_parameter_drops_its_gradient():
    """An old one would move it, and count in the gradients' norm."""
    parameter = Parameter(np.ones(2))
    parameter.accumulate(np.ones(2))
    parameter.requires_grad = False
    parameter.accumulate(np.ones(2))
    assert parameter.grad is None
    assert not Parameter(np.ones(2), requires_grad=False).requires_grad


class Counting(layers.Elementwise):
    """Counts its backward passes, and says what it was asked for."""

    def __init__(self):
        self.asked = []

    def forward(self, x):
        return x, ()

    def gradients(self, dy, cache, need_input_grad):
        self.asked.append(need_input_grad)
        return dy


def test_a_frozen_beginning_needs_no_backward_pass(device):
    drawn = {"dtype": "float64", "rng": np.random.default_rng(0)}

    def part(inputs):
        return Sequential(conv=layers.Conv2d(inputs, 2, 1, **drawn), count=Counting())

    nets = {
        "Sequential": Sequential(a=part(2), b=Sequential(part(2), part(2)), c=part(2)),
        "Branching": Branching({"a": part(2), "b": part(2), "c": part(2)}, {"a": ("x", part(2)), "b": ("y", part(2))}),
        "Concat": Sequential(a=part(2), b=Concat(part(2), part(2)), c=part(4)),
        "Residual": Sequential(
            a=part(2), b=Residual({"p": part(2), "q": part(2)}, {"s": part(2)}, {"t": part(2)}), c=part(2)
        ),
    }
    for name, net in nets.items():
        net.to(device)
        x = move(batch()[0], device)

        def run(x=x, net=net):
            for module in net.modules():
                if isinstance(module, Counting):
                    module.asked.clear()
            y = net(x)
            dx = net.backward(y, need_input_grad=False)
            assert dx is None
            assert all(getattr(module, "_cache", None) is None for module in net.modules()), "a cache was left"
            net(x)
            net.forget()
            assert all(getattr(module, "_cache", None) is None for module in net.modules())
            return {
                n: len(net[n].asked)
                for n, p in net.named_parameters()
                for n in [n.replace("conv.bias", "count")]
                if n.endswith("count")
            }

        counts = run()
        assert set(counts.values()) == {1}, name
        net["a"].requires_grad_(False)
        counts = run()
        assert [n for n, count in counts.items() if not count] == ["a.count"], name
        net["b"].requires_grad_(False)
        assert {n[0] for n, count in run().items() if not count} == {"a", "b"}, name
        net["a"].requires_grad_(True)  # behind it is frozen, but the gradient has to come by
        assert set(run().values()) == {1}, name
        net.requires_grad_(False)
        assert set(run().values()) == {0} and net.is_frozen(), name


def count_products(monkeypatch, model, device):
    """Return how many weight gradients a step computes, by asking the operations."""
    asked = []
    step(model, device)  # loads the kernels, which register with the operations themselves
    for name in ("conv2d_backward", "linear_backward", "sparse_conv2d_backward"):
        real = getattr(F, name)

        def spy(dy, cache, need_dx=True, need_dweight=True, real=real):
            found = real(dy, cache, need_dx, need_dweight)
            assert (found[1] is not None) == need_dweight and (found[0] is not None) == need_dx
            asked.append(need_dweight)
            return found

        monkeypatch.setattr(layers.F, name, spy)
    step(model, device)
    monkeypatch.undo()
    return sum(asked), len(asked)


def test_a_frozen_part_costs_no_weight_gradients(device, monkeypatch):
    model = network().to(device)
    assert count_products(monkeypatch, model, device) == (4, 4)
    model["head"].requires_grad_(False)
    assert count_products(monkeypatch, model, device) == (3, 4)
    model["body"].requires_grad_(False)
    model["body"]["0"].requires_grad_(True)
    assert count_products(monkeypatch, model, device) == (1, 4)
    model["body"].requires_grad_(False)
    model["head.3"].requires_grad_(True)
    assert count_products(monkeypatch, model, device) == (1, 1)


CONVOLUTIONS = {  # each by another way on torch: plain, covering the whole input, in groups, by Winograd's filtering
    "plain": ((2, 4, 7, 7), (6, 4, 3, 3), 1, (1, 1)),
    "whole": ((2, 4, 3, 3), (6, 4, 3, 3), 1, (0, 0)),
    "groups": ((2, 4, 7, 7), (6, 2, 3, 3), 2, (1, 1)),
    "winograd": ((8, 128, 32, 32), (128, 128, 3, 3), 1, (1, 1)),
}


@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_without_a_weights_gradient_the_others_are_the_same(engine, kind):
    x_shape, w_shape, groups, padding = CONVOLUTIONS[kind]
    if kind == "winograd" and engine.name == "array_api_strict":
        x_shape, w_shape = (1, 8, 6, 6), (8, 8, 3, 3)  # it has no such form
    rng = np.random.default_rng(0)
    x, w, b = (engine.array(rng.standard_normal(shape)) for shape in (x_shape, w_shape, w_shape[:1]))
    y, cache = F.conv2d(x, w, b, 1, padding, 1, groups)
    dy = engine.array(rng.standard_normal(tuple(y.shape)))
    for run in (lambda op: op, lambda op: op.reference):
        whole = run(F.conv2d_backward)(dy, cache)
        dx, dweight, dbias = run(F.conv2d_backward)(dy, cache, True, False)
        assert dweight is None
        for found, true in ((dx, whole[0]), (dbias, whole[2])):
            assert np.array_equal(engine.numpy(found), engine.numpy(true))
        if kind == "winograd":
            break  # the reference is slow, and the same as in the other cases
    assert run(F.conv2d_backward)(dy, cache, False, False)[:2] == (None, None)


def block():
    """Return a float64 network with a block whose three chains can be trained."""
    drawn = {"padding": 1, "dtype": "float64", "rng": np.random.default_rng(0)}
    path = {"conv1": layers.Conv2d(4, 4, 3, **drawn), "relu1": layers.ReLU(inplace=True)}
    chains = path, {"proj": layers.Conv2d(4, 4, 3, **drawn)}, {"conv2": layers.Conv2d(4, 4, 3, **drawn)}
    fc = layers.Linear(4, 3, dtype="float64", rng=drawn["rng"])
    return Sequential(
        conv=layers.Conv2d(3, 4, 3, **drawn), block=Residual(*chains), mean=layers.AdaptiveAvgPool2d(1),
        flat=layers.Flatten(), fc=fc,
    )  # fmt: skip


TUNED = {
    "block": (block, ("block.conv1", "block.proj", "block.conv2", "conv")),
    "resnet18": (
        lambda: models.resnet18(3, width=1 / 16, dtype="float64"),
        ("", "fc", "layer4", "layer4.1.conv2", "layer4.1.bn1", "layer3.0.downsample.0", "layer2.0.conv1", "conv1"),
    ),
    "resnet50": (lambda: models.resnet50(3, width=1 / 16, dtype="float64"), ("layer4.2.conv3", "layer2.0.bn2")),
    "resnet20": (lambda: models.resnet_cifar(20, 3, dtype="float64", width=1 / 4), ("layer3", "layer3.0.conv2", "bn1")),
    "squeezenet": (
        lambda: models.squeezenet(3, width=1 / 8, dtype="float64"),
        ("classifier.1", "features.12", "features.12.expand3x3", "features.9.squeeze", "features.0"),
    ),
    "googlenet": (
        lambda: models.googlenet("torchvision", 3, width=1 / 16, dtype="float64"),
        ("fc", "inception5b", "inception4b.branch3", "conv1.bn"),
    ),
}


@pytest.mark.parametrize("name, trained", [(name, part) for name, (_, parts) in TUNED.items() for part in parts])
def test_each_convolution_is_asked_for_what_autograd_asks_of_it(device, monkeypatch, name, trained):
    """One part trains, and the rest is frozen in evaluation: the gradients are torch's, and no work is done in vain."""
    model = TUNED[name][0]()
    rng = np.random.default_rng(5)
    for array in model.state_dict().values():
        if array.dtype.kind == "f" and array.ndim == 1:
            array[...] = rng.uniform(0.5, 1.5, array.shape)
    twin = torch_twin(model).eval()
    model.requires_grad_(False).eval()
    part = model[trained] if trained else model
    part.requires_grad_().train()
    for ours, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        theirs.requires_grad_(ours.requires_grad)
    ours, theirs = ([m for m in net.modules() if isinstance(m, kind)] for net, kind in (
        (model, layers.BatchNorm2d), (twin, torch.nn.BatchNorm2d),
    ))  # fmt: skip
    for norm, true in zip(ours, theirs, strict=True):
        true.train(norm.training)
    wanted, found = [], []

    def note(module, inputs, output):
        if output.requires_grad:
            wanted.append((tuple(module.weight.shape), inputs[0].requires_grad, module.weight.requires_grad))

    for module in twin.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(note)
    real = F.conv2d_backward

    def spy(dy, cache, need_dx=True, need_dweight=True):
        found.append((tuple(cache.weight.shape), need_dx, need_dweight))
        return real(dy, cache, need_dx, need_dweight)

    images, labels = np.random.default_rng(2).standard_normal((3, 3, 48, 48)), np.array([0, 2, 1])
    torch.nn.functional.cross_entropy(twin(torch.tensor(images)), torch.tensor(labels)).backward()
    start = model.state_dict(copy=True)
    for channels_last in (False,) if device == "numpy" else (False, True):
        found.clear()
        model.to(device, channels_last).load_state_dict(start)
        model.zero_grad()
        criterion = losses.CrossEntropyLoss()
        criterion(model(move(images.copy(), device, channels_last)), move(labels, device))
        monkeypatch.setattr(layers.F, "conv2d_backward", spy)  # when the kernels have registered with the operation
        assert model.backward(criterion.backward(), need_input_grad=False) is None
        assert sorted(found) == sorted(wanted)
        assert all(getattr(module, "_cache", None) is None for module in model.modules()), "a cache was left"
        for parameter, true in zip(model.parameters(), twin.parameters(), strict=True):
            assert (parameter.grad is None) == (true.grad is None)
            if true.grad is not None:
                error = np.linalg.norm(move(parameter.grad, "numpy") - true.grad.numpy())
                assert error <= 1e-10 * np.linalg.norm(true.grad.numpy())
        for (key, own), true in zip(model.state_dict().items(), twin.state_dict().values(), strict=True):
            np.testing.assert_allclose(move(own, "numpy"), true.numpy(), **CLOSE, err_msg=key)


@pytest.mark.parametrize("channels_last", [False, True])
def test_batch_norm_keeps_its_statistics_and_dropout_is_off_in_a_part_in_evaluation(device, channels_last):
    """The rest trains; gradients come through the part, for its weights too."""
    if channels_last and device == "numpy":
        with pytest.raises(ValueError, match="channels_last is a memory layout of torch"):
            network().to(device, channels_last)
        return
    model = network()
    twin = torch_twin(model)
    rng = np.random.default_rng(5)
    for ours, theirs in zip(model.state_dict().values(), twin.state_dict().values(), strict=True):
        if ours.dtype.kind == "f" and ours.ndim == 1:
            ours[...] = rng.uniform(0.5, 1.5, ours.shape)
            theirs.copy_(torch.tensor(ours))
    model.to(device, channels_last)
    model["head"].eval(), twin[1].eval()
    x, labels = batch()
    kept = held(model["head"])
    step(model, device)
    torch.nn.functional.cross_entropy(twin(torch.tensor(x)), torch.tensor(labels)).backward()
    gradients_are_torchs(model, twin)
    for before, now in zip(kept, held(model["head"]), strict=True):
        assert np.array_equal(before, now)
    for ours, theirs in zip(model.state_dict().values(), twin.state_dict().values(), strict=True):
        np.testing.assert_allclose(move(ours, "numpy"), theirs.numpy(), **CLOSE)
    assert not np.array_equal(move(model["body.1"].running_mean, "numpy"), kept[2])


NETWORKS = {
    "batch norm and dropout": (network, (2, 6, 6)),
    "LeNet": (lambda: models.lenet(dtype="float64"), (1, 32, 32)),
    "GoogLeNet with heads": (
        lambda: models.googlenet("torchvision", 3, aux=True, width=1 / 16, dtype="float64"),
        (3, 32, 32),
    ),
    "ResNet-18": (lambda: models.resnet18(3, width=1 / 16, dtype="float64"), (3, 48, 48)),
    "SqueezeNet": (lambda: models.squeezenet(3, width=1 / 8, dtype="float64"), (3, 48, 48)),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("frozen", [False, True])
def test_the_images_gradient_from_a_network_in_evaluation_is_torchs(device, name, frozen):
    build, shape = NETWORKS[name]
    model = build()
    twin = torch_twin(model).eval()
    model.to(device).eval()
    if frozen:
        model.requires_grad_(False)
        twin.requires_grad_(False)
    images, labels = np.random.default_rng(2).standard_normal((3, *shape)), np.array([0, 2, 1])
    before = held(model)
    for _ in range(2):  # once for each forward pass
        criterion = losses.CrossEntropyLoss()
        criterion(model(move(images.copy(), device)), move(labels, device))
        dx = model.backward(criterion.backward())
    x = torch.tensor(images, requires_grad=True)
    torch.nn.functional.cross_entropy(twin(x), torch.tensor(labels)).backward()
    np.testing.assert_allclose(move(dx, "numpy"), x.grad.numpy(), rtol=1e-10, atol=1e-14)
    assert np.abs(x.grad.numpy()).max() > 1e-6
    assert frozen == all(p.grad is None for p in model.parameters())
    assert all(np.array_equal(a, b) for a, b in zip(before, held(model), strict=True))


def test_a_branching_network_takes_as_many_gradients_as_it_gave_outputs(device):
    drawn = {"dtype": "float64", "rng": np.random.default_rng(0)}
    net = Branching({"a": layers.Conv2d(2, 2, 1, **drawn)}, {"a": ("h", layers.Conv2d(2, 3, 1, **drawn))}).to(device)
    with pytest.raises(RuntimeError, match="needs a forward pass"):
        net.backward(None)
    x = move(batch()[0], device)
    first, second = net(x)
    with pytest.raises(ValueError, match="there are 2 outputs, so as many gradients, not 1"):
        net.backward(first)
    assert net.backward((first, second)).shape == x.shape
    y = net.eval()(x)
    with pytest.raises(ValueError, match="there are 1 outputs, so as many gradients, not 2"):
        net.backward((first, second))
    assert net.backward(y).shape == x.shape


def test_memory_counts_gradients_of_what_is_trained_only():
    model = models.lenet()
    optimizer = optim.Adam(model.parameters())
    whole = memory.predict(model, (1, 32, 32), 8, optimizer)
    model["C5"].requires_grad_(False)
    less = memory.predict(model, (1, 32, 32), 8, optimizer)
    size = sum(p.data.nbytes for p in model["C5"].parameters())
    assert (whole.gradients - less.gradients, whole.optimizer - less.optimizer) == (size, 2 * size)
    measured = memory.measure(model, (1, 32, 32), 8, optimizer)
    assert (measured.gradients, measured.optimizer) == (less.gradients, less.optimizer)


def test_a_module_of_ones_own_is_frozen_too(device):
    class Own(Module):
        def __init__(self):
            self.inside = layers.Linear(3, 3, dtype="float64")

        def __call__(self, x):
            return self.inside(x)

        def backward(self, dy, need_input_grad=True):
            return self.inside.backward(dy, need_input_grad)

    net = Sequential(Own(), layers.Linear(3, 2, dtype="float64")).to(device)
    net[0].requires_grad_(False)
    net(move(np.ones((2, 3)), device))
    net.backward(move(np.ones((2, 2)), device), need_input_grad=False)
    assert [p.grad is None for p in net.parameters()] == [True, True, False, False]
