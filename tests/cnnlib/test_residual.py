"""The sum of a path and a shortcut: against autograd, with parts that write over what they are given, and its rules."""

import copy

import numpy as np
import pytest
import torch

from benchmarks.torch_twin import torch_twin
from cnnlib import cost, layers, losses, memory, optim, visualize
from cnnlib.arrays import move
from cnnlib.containers import Branching, Concat, Residual, Sequential
from cnnlib.models.resnet import ZeroPadding
from cnnlib.module import Given

SHAPE = (2, 4, 7, 6)


def conv(inputs=4, outputs=4, stride=1, size=3, seed=0):
    rng = np.random.default_rng([seed, inputs, outputs])
    return layers.Conv2d(inputs, outputs, size, stride, size // 2, dtype="float64", rng=rng)


def norm(channels=4):
    return layers.BatchNorm2d(channels, dtype="float64")


def relu():
    return layers.ReLU(inplace=True)


def basic():
    path = {"conv1": conv(), "bn1": norm(), "relu1": relu(), "conv2": conv(seed=1), "bn2": norm()}
    return Residual(path, after={"relu": relu()})


# Where the in-place rectifiers stand makes the difference: first or last in a branch, both, behind a view.
BLOCKS = {
    "basic": basic,
    "projection": lambda: Residual(
        {"conv": conv(4, 6, 2), "bn": norm(6)},
        {"downsample": Sequential(conv(4, 6, 2, size=1), norm(6))},
        {"relu": relu()},
    ),
    "zeros": lambda: Residual({"conv": conv(4, 6, 2)}, {"pad": ZeroPadding(4, 6, 2)}, {"relu": relu()}),
    "path begins in place": lambda: Residual({"relu": relu(), "conv": conv()}),
    "path ends in place": lambda: Residual({"conv": conv(), "relu": relu()}),
    "shortcut in place": lambda: Residual({"conv": conv()}, {"relu": relu()}),
    "projection begins in place": lambda: Residual({"conv": conv()}, {"relu": relu(), "proj": conv(size=1, seed=2)}),
    "both in place": lambda: Residual({"relu1": relu(), "conv": conv(), "relu2": relu()}, {"relu3": relu()}),
    "in place behind dropout": lambda: Residual({"drop": layers.Dropout(0.0), "relu": relu(), "conv": conv()}),
    "in place within": lambda: Residual({"inner": Sequential(relu(), conv(), relu())}, after={"relu": relu()}),
    "branches in place": lambda: Concat(Sequential(relu(), conv()), Sequential(conv(seed=3), relu()), relu()),
    "path of branches": lambda: Residual({"two": Concat(conv(4, 1), Sequential(relu(), conv(4, 3), relu()))}),
    "path ends in a block": lambda: Residual({"conv": conv(seed=4), "inner": basic()}),
    "shortcut is a block": lambda: Residual({"conv": conv(seed=4)}, {"inner": basic()}),
    "nested thrice": lambda: Residual({"inner": Residual({"inner": basic()})}, after={"relu": relu()}),
    "after is a block": lambda: Residual({"conv": conv(seed=5)}, after={"inner": basic()}),
}


def around(block):
    """A block that reads values of both signs, and behind it a neighbour that writes over what it is given."""
    return Sequential(first=conv(seed=7), block=block, relu1=relu(), last=conv(block_outputs(block), 3))


def block_outputs(block):
    return cost.table(block, SHAPE[1:])[-1].output_shape[0]


def twin_of(model):
    """In torch.nn, where no rectifier is in place."""
    twin = torch_twin(model)
    for module in twin.modules():
        if isinstance(module, torch.nn.ReLU):
            module.inplace = False
    return twin


def gradients(model, x, dy, device, channels_last):
    model.to(device, channels_last)
    y = model(move(x, device, channels_last))
    dx = model.backward(move(dy, device, channels_last))
    return [move(array, "numpy") for array in (y, dx, *(p.grad for p in model.parameters()))]


@pytest.mark.parametrize("name", BLOCKS)
def test_what_autograd_says(name, device):
    model = around(BLOCKS[name]())
    twin = twin_of(model)
    x = np.random.default_rng(1).normal(size=SHAPE)
    tensor = torch.tensor(x, requires_grad=True)
    true = twin(tensor)
    dy = np.random.default_rng(2).normal(size=tuple(true.shape))
    true.backward(torch.tensor(dy))
    expected = [true.detach(), tensor.grad, *(p.grad for p in twin.parameters())]
    for channels_last in (False,) if device == "numpy" else (False, True):
        model.zero_grad()
        for found, wanted in zip(gradients(model, x, dy.copy(), device, channels_last), expected, strict=True):
            np.testing.assert_allclose(found, wanted.numpy(), rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("name", BLOCKS)
def test_neither_input_nor_gradient_is_changed(name, device):
    """By a block alone; one that ends in a rectifier in place may write over its gradient, as that layer does."""
    block = BLOCKS[name]().to(device)
    x = move(np.random.default_rng(1).normal(size=SHAPE), device)
    before = np.array(move(x, "numpy"))
    y = block(x)
    assert np.array_equal(move(x, "numpy"), before) and block.given() is Given.KEPT
    dy = y * 0 - 1
    block.backward(dy)
    if block.given(backward=True) is not Given.WRITTEN_OVER:
        assert (move(dy, "numpy") == -1).all()
    for mode in (block.train, block.eval):
        mode()
        block(x)
        assert np.array_equal(move(x, "numpy"), before)


def test_what_is_handed_on_is_known_through_containers():
    assert [layer.given() for layer in (conv(), relu(), layers.ReLU(), layers.Flatten())] == [
        Given.KEPT, Given.WRITTEN_OVER, Given.KEPT, Given.HANDED_ON,
    ]  # fmt: skip
    assert Sequential(layers.Flatten(), relu()).given() is Given.WRITTEN_OVER
    assert Sequential(layers.Flatten(), layers.Dropout()).given() is Given.HANDED_ON
    assert Sequential(conv(), relu()).given() is Given.KEPT
    assert Sequential(conv(), relu()).given(backward=True) is Given.WRITTEN_OVER
    assert basic().given(backward=True) is Given.WRITTEN_OVER
    assert Residual({"conv": conv(), "relu": relu()}).given(backward=True) is Given.KEPT


@pytest.mark.parametrize("need_input_grad", [True, False])
def test_the_inputs_gradient_may_be_left_out(device, need_input_grad):
    x, dy = (np.random.default_rng(k).normal(size=SHAPE) for k in (1, 2))
    for name in ("basic", "shortcut is a block", "both in place"):
        with_it, block = BLOCKS[name]().to(device), BLOCKS[name]().to(device)
        with_it(move(x, device)), with_it.backward(move(dy.copy(), device))
        block(move(x, device))
        assert (block.backward(move(dy.copy(), device), need_input_grad) is None) is not need_input_grad
        for p, q in zip(block.parameters(), with_it.parameters(), strict=True):
            np.testing.assert_array_equal(move(p.grad, "numpy"), move(q.grad, "numpy"))


def test_two_blocks_with_one_weight_add_their_gradients(device):
    def chain():
        return Sequential(Residual({"conv": conv(seed=1)}), Residual({"conv": conv(seed=1)}))

    x, dy = (np.random.default_rng(k).normal(size=SHAPE) for k in (1, 2))
    apart, shared = chain(), chain()
    shared[1]["conv"].weight = shared[0]["conv"].weight
    apart.to(device), shared.to(device)
    for model in (apart, shared):
        model(move(x, device)), model.backward(move(dy, device))
    weights = [apart[k]["conv"].weight.grad for k in (0, 1)]
    found = move(shared[0]["conv"].weight.grad, "numpy")
    np.testing.assert_allclose(found, move(weights[0] + weights[1], "numpy"), rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_numbers_keep_their_kind(device, dtype):
    block = Residual(
        {"conv": layers.Conv2d(4, 6, 3, 2, 1, dtype=dtype)}, {"pad": ZeroPadding(4, 6, 2)}, {"relu": relu()}
    ).to(device)
    y = block(move(np.ones(SHAPE, dtype), device))
    dx = block.backward(y * 0 + 1)
    assert str(y.dtype).endswith(dtype) and str(dx.dtype).endswith(dtype)


def test_a_shortcut_of_another_shape_is_refused_with_both(device):
    for path, shortcut, shapes in (
        (conv(4, 6), None, "(6, 7, 6), the shortcut (4, 7, 6)"),
        (conv(4, 4, 2), None, "(4, 4, 3), the shortcut (4, 7, 6)"),
        (conv(4, 6, 2), {"proj": conv(4, 6, size=1)}, "(6, 4, 3), the shortcut (6, 7, 6)"),
        (conv(4, 1), None, "(1, 7, 6), the shortcut (4, 7, 6)"),  # would be broadcast
    ):
        block = Residual({"conv": path}, shortcut).to(device)
        with pytest.raises(ValueError, match="added value by value.*Conv2d with kernel_size 1") as error:
            cost.table(block, SHAPE[1:])
        assert f"of (4, 7, 6) the path makes {shapes}" in str(error.value)
        with pytest.raises(ValueError, match="added value by value") as error:
            block(move(np.ones(SHAPE), device))
        assert shapes.replace("(", "(2, ") in str(error.value)


def test_parts_are_named_once_and_found_by_name():
    block = BLOCKS["projection"]()
    assert [name for name, _ in block.children()] == ["conv", "bn", "downsample", "relu"]
    assert block["downsample"] is dict(block.children())["downsample"] and "(downsample): Sequential(" in repr(block)
    with pytest.raises(KeyError, match="'fc' is no part of this Residual: it has conv, bn, downsample, relu"):
        block["fc"]
    with pytest.raises(ValueError, match="two are called 'conv'"):
        Residual({"conv": conv()}, {"conv": conv()})
    with pytest.raises(ValueError, match="needs at least one part"):
        Residual({}, {"conv": conv()})
    one = conv()
    with pytest.raises(ValueError, match='is both "a" and "b"'):
        Residual({"a": one}, {"b": one})
    with pytest.raises(ValueError, match=r'is both "0\.conv1" and "1\.conv1"'):
        same = basic()
        Sequential(same, Residual({"conv1": same["conv1"]}))
    with pytest.raises(AttributeError, match="Residual has no 'shortcuts'"):
        block.shortcuts = None
    copied = copy.deepcopy(block)
    assert copied["conv"] is not block["conv"] and copied["conv"] is copied.path["conv"]


def test_what_a_block_costs():
    model = Sequential(conv=conv(), block=BLOCKS["projection"]())
    rows = {row.name: row for row in cost.table(model, (4, 17, 17))}
    assert list(rows) == [
        "conv", "block.conv", "block.bn", "block.downsample.0", "block.downsample.1", "block", "block.relu",
    ]  # fmt: skip
    assert rows["block"].kind == "Residual" and rows["block"].parameters == rows["block"].multiply_adds == 0
    assert rows["block"].output_shape == (6, 9, 9) and rows["block"].jump == (2, 2)
    assert rows["block"].receptive_field == (5, 5) and rows["block.downsample.0"].receptive_field == (3, 3)
    model = Sequential(*model, layers.Flatten(), layers.Linear(6 * 9 * 9, 3, dtype="float64"))
    optimizer = optim.SGD(model.parameters(), 0.1)
    predicted, measured = (f(model, (4, 17, 17), 2, optimizer) for f in (memory.predict, memory.measure))
    assert predicted.by_kind["Residual"] == 6 * 9 * 9 * 2 * 8 and measured.activations < predicted.activations


def test_a_layer_within_a_block_is_found(device):
    model = around(BLOCKS["projection"]()).to(device).eval()
    x = np.random.default_rng(3).normal(size=SHAPE)
    names = visualize.layer_names(model)
    assert names[1:7] == [
        "block", "block.conv", "block.bn", "block.downsample", "block.downsample.0", "block.downsample.1",
    ]  # fmt: skip
    first = model[:1](move(x, device))
    block = model["block"]
    expected = {
        "block.bn": block.path(first),
        "block.downsample": block["downsample"](first),
        "block.relu": block(first),
        "block": block(first),
    }
    for name, wanted in expected.items():
        found = visualize.activations(model, x, name)
        np.testing.assert_allclose(found, move(wanted, "numpy"), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", BLOCKS)
def test_a_projection_by_the_gradients_is_the_chain_rule(name, device):
    model = around(BLOCKS[name]()).to(device).eval()
    x = np.random.default_rng(3).normal(size=SHAPE)
    found = visualize.project(model, x, "last", (1, 2, 1), rule="gradient")
    tensor = torch.tensor(x, requires_grad=True)
    y = twin_of(model).eval()(tensor)[:, 1, 2, 1]
    (y * y.detach()).sum().backward()
    np.testing.assert_allclose(found, tensor.grad.numpy(), rtol=1e-9, atol=1e-12)


def test_blocks_are_trained_and_come_back_from_their_state(device):
    model = Sequential(block=basic(), flat=layers.Flatten(), fc=layers.Linear(4 * 7 * 6, 3, dtype="float64"))
    model.to(device)
    x = move(np.random.default_rng(0).normal(size=(8, *SHAPE[1:])), device)
    labels = move(np.arange(8) % 3, device)
    optimizer, criterion = optim.SGD(model.parameters(), 0.05, momentum=0.9), losses.CrossEntropyLoss()
    first = float(criterion(model(x), labels))
    for _ in range(30):
        optimizer.zero_grad()
        loss = criterion(model(x), labels)
        model.backward(criterion.backward(), need_input_grad=False)
        optimizer.step()
    assert float(loss) < first / 10
    again = Sequential(block=basic(), flat=layers.Flatten(), fc=layers.Linear(4 * 7 * 6, 3, dtype="float64"))
    again.load_state_dict(model.state_dict())
    true = move(model.eval()(x), "numpy")
    np.testing.assert_allclose(again.eval()(move(x, "numpy")), true, rtol=1e-9, atol=1e-12)


def test_heads_and_blocks(device):
    model = Branching({"block": basic(), "next": basic()}, {"block": ("head", Sequential(conv(seed=9)))}).to(device)
    x = move(np.random.default_rng(0).normal(size=SHAPE), device)
    y, extra = model(x)
    dx = model.backward((y * 0 + 1, extra * 0 + 1))
    assert dx.shape == x.shape
    assert [row.name for row in cost.table(model, SHAPE[1:]) if row.kind == "Residual"] == ["block", "next"]
