"""Containers as Python's: `in`, slices, iteration; each layer in one place, under one name; what can't be set."""

import copy
import inspect
import pickle
import pydoc

import numpy as np
import pytest

from cnnlib import layers, models, optim, visualize
from cnnlib.containers import Branching, Concat, Sequential
from cnnlib.module import Layer, Module, Parameter


def chain():
    return Sequential(C1=layers.Conv2d(1, 2, 3), relu=layers.ReLU(), flat=layers.Flatten(), out=layers.Linear(8, 3))


def test_in_asks_for_a_name_or_for_this_very_part():
    net = chain()
    assert "C1" in net and "C2" not in net and "0" not in net
    assert net["relu"] in net and layers.ReLU() not in net and 0 not in net
    assert "0" in Concat(layers.ReLU())


def test_iterating_gives_the_parts():
    net = chain()
    assert list(net) == [net["C1"], net["relu"], net["flat"], net["out"]] == [net[k] for k in range(len(net))]
    assert [name for name, _ in net.children()] == ["C1", "relu", "flat", "out"]
    with pytest.raises(KeyError, match="'C9' is no part of this Sequential: it has C1, relu, flat, out"):
        net["C9"]
    with pytest.raises(IndexError):
        net[4]
    assert net[np.int64(1)] is net["relu"] is net[-3]


@pytest.mark.parametrize("part", [slice(3), slice(1, None), slice(None, None, 2), slice(-2, None)])
def test_slices_are_networks_that_share_their_parts(part):
    net, x = chain(), np.random.default_rng(0).normal(size=(2, 1, 4, 4)).astype("f4")
    cut = net[part]
    assert type(cut) is Sequential and list(cut) == list(net)[part]
    assert [name for name, _ in cut.children()] == [name for name, _ in net.children()][part]
    assert all(name in net.state_dict() for name in cut.state_dict())
    assert np.array_equal(net[2:](net[:2](x)), net(x))
    net[:2](x)
    before = net["C1"].weight.data.copy()
    net[:2].backward(np.ones((2, 2, 2, 2), "f4"))
    optim.SGD(net[:2].parameters(), 0.1).step()
    assert not np.array_equal(net["C1"].weight.data, before)


def test_an_empty_slice_is_no_network():
    with pytest.raises(ValueError, match="needs at least one part"):
        chain()[4:]


@pytest.mark.parametrize("kind", [Sequential, Concat])
def test_names_are_given_once(kind):
    with pytest.raises(ValueError, match="each part has a name of its own, but two are called '0'"):
        kind(layers.ReLU(), layers.Tanh(), **{"0": layers.Sigmoid()})
    for name in ("a.b", ""):
        with pytest.raises(ValueError, match='at least one character and has no "."'):
            kind(**{name: layers.ReLU()})
    with pytest.raises(ValueError, match="two are called 'a'"):
        Branching({"a": layers.ReLU(), "b": layers.Tanh()}, {"b": ("a", layers.Sigmoid())})


@pytest.mark.parametrize("layer", [layers.ReLU(), layers.Linear(2, 2), Sequential(layers.ReLU())], ids=repr)
@pytest.mark.parametrize(
    "build",
    [
        lambda layer: Sequential(layer, layers.Tanh(), layer),
        lambda layer: Concat(layer, layer),
        lambda layer: Sequential(layer, Sequential(layers.Tanh(), layer)),
        lambda layer: Sequential(Concat(a=layer, b=layers.Tanh()), layer),
        lambda layer: Branching({"a": layer, "b": layers.Tanh()}, {"a": ("h", layer)}),
    ],
)
def test_a_layer_in_two_places_is_refused(layer, build):
    with pytest.raises(ValueError, match='is both ".*" and ".*": a layer keeps one cache for the backward pass'):
        build(layer)


def test_two_layers_with_one_weight_are_trained_and_listed_once(device):
    first, second = (layers.Linear(3, 3, bias=False, dtype="float64") for _ in range(2))
    second.weight = first.weight
    net = Sequential(first, layers.Tanh(), second).to(device)
    assert len(net.parameters()) == 1 and first.weight.data is second.weight.data
    optim.SGD(net.parameters(), 0.1).step()
    copied = copy.deepcopy(net)
    assert copied[0].weight is copied[2].weight is not first.weight


class Holding(Module):
    """A module of one's own, its layers wherever Python keeps things."""

    def __init__(self):
        self.stem = layers.Conv2d(1, 2, 1)
        self.blocks = [layers.Conv2d(2, 2, 3), [layers.BatchNorm2d(2), None]]
        self.pair = layers.Dropout(), 3
        self.heads = {"a": layers.Linear(4, 2)}
        self.scales = [Parameter(np.ones(2, "f4"))]

    def __call__(self, x):
        self.seen = x.shape  # a module of one's own may
        return x


def test_layers_in_lists_are_registered():
    net = Holding()
    names = [
        "scales.0",
        "stem.weight",
        "stem.bias",
        "blocks.0.weight",
        "blocks.0.bias",
        "blocks.1.0.weight",
        "blocks.1.0.bias",
        "heads.a.weight",
        "heads.a.bias",
    ]
    assert [name for name, _ in net.named_parameters()] == names
    assert set(names) < set(net.state_dict()) and "blocks.1.0.running_mean" in net.state_dict()
    assert len(list(net.modules())) == 6
    net.eval().to("cpu")
    assert not net.blocks[1][0].training and net.device == "cpu"
    assert all(type(array).__module__ == "torch" for array in net.state_dict().values())
    other = Holding()
    other.load_state_dict(net.state_dict())
    assert np.array_equal(other.heads["a"].weight.data, net.heads["a"].weight.data.numpy())
    net.reseed(1)
    assert net.pair[0].rng is not None
    net(np.ones(3))
    net.anything = 3


def test_a_layer_in_a_list_is_found_by_its_name():
    class Chain(Module):
        def __init__(self):
            self.parts = [layers.Conv2d(1, 2, 3), layers.ReLU()]

        def __call__(self, x):
            for part in self.parts:
                x = part(x)
            return x

        def walk(self, x, visitor):
            for k, part in enumerate(self.parts):
                x = part.walk(x, visitor.within(f"parts.{k}"))
            return x

        def before(self, name):
            return self.parts[: int(name.removeprefix("parts."))]

    net = Sequential(chain=Chain(), tanh=layers.Tanh())
    assert visualize.layer_names(net) == ["chain", "chain.parts.0", "chain.parts.1", "tanh"]
    x = np.random.default_rng(0).normal(size=(1, 1, 5, 5)).astype("f4")
    assert np.array_equal(visualize.activations(net, x, "chain.parts.1"), net["chain"](x))


def test_freezing_by_what_means_nothing_is_refused_with_what_works():
    net = chain()
    for owner in (net["C1"], net, models.lenet(), Holding()):
        with pytest.raises(AttributeError, match=r"a module is frozen by a method: call requires_grad_\(False\)"):
            owner.requires_grad = False
    with pytest.raises(AttributeError, match="freeze"):
        net["C1"].weight.freeze = True
    for wrong in (0, "no", None):
        with pytest.raises(TypeError, match="requires_grad is True, or False for a frozen parameter, not"):
            net["C1"].weight.requires_grad = wrong


RULES = [
    optim.SGD,
    optim.Momentum,
    optim.Nesterov,
    optim.Adagrad,
    optim.RMSprop,
    optim.Adadelta,
    optim.Adam,
    optim.AdamW,
]


@pytest.mark.parametrize("rule", RULES)
def test_a_misspelt_setting_of_a_rule_is_refused(rule):
    optimizer = rule(chain().parameters(), lr=0.1)
    for wrong in ("learning_rate", "weight_decy", "Lr"):
        with pytest.raises(AttributeError, match=rf"{rule.__name__} has no '{wrong}'.* What can be set: .*\blr\b"):
            setattr(optimizer, wrong, 0.01)
    settings = [name for name in vars(optimizer) if not name.startswith("_")]
    for name in settings:
        setattr(optimizer, name, getattr(optimizer, name))
    again = pickle.loads(pickle.dumps(optimizer))
    again.lr = 0.3
    with pytest.raises(AttributeError):
        again.learning_rate = 0.01


@pytest.mark.parametrize(
    "layer, wrong",
    [
        (layers.Conv2d(1, 1, 3), "paddng"),
        (layers.Dropout(0.5), "probability"),
        (layers.BatchNorm2d(2), "momentun"),
        (layers.MaxPool2d(2), "kernel"),
        (layers.ReLU(), "in_place"),
        (chain(), "C2"),
        (Concat(layers.ReLU()), "part"),
        (models.googlenet(width=0.1), "head"),
    ],
)
def test_a_misspelt_setting_of_a_layer_is_refused(layer, wrong):
    for one in (layer, copy.deepcopy(layer)):
        with pytest.raises(AttributeError, match=f"{type(layer).__name__} has no '{wrong}', so setting it"):
            setattr(one, wrong, 1)
        one.training = False
    assert "_made" not in repr(layer)


def test_constructors_still_say_what_they_take():
    assert list(inspect.signature(optim.SGD).parameters)[:3] == ["parameters", "lr", "momentum"]
    assert list(inspect.signature(layers.ReLU).parameters) == ["inplace"]
    assert not inspect.signature(layers.Tanh).parameters
    assert "kernel_size" in pydoc.render_doc(layers.Conv2d).split("Method resolution")[0]


def test_a_layer_of_ones_own_has_what_its_constructor_sets():
    class Scale(Layer):
        def __init__(self, factor):
            self.factor = factor

    class Shifted(Scale):
        def __init__(self, factor, offset):
            super().__init__(factor)
            self.offset = offset

    layer = Shifted(2.0, 1.0)
    layer.factor, layer.offset = 3.0, 2.0
    with pytest.raises(AttributeError, match="What can be set: factor, offset"):
        layer.factr = 1.0
