"""Parts by name, nested ones too, and others in their place."""

import numpy as np
import pytest

from cnnlib import layers, models
from cnnlib.arrays import move
from cnnlib.containers import Concat, Sequential
from cnnlib.layers import Linear
from cnnlib.module import Module

SLIM = {"width": 1 / 16}
HEADS = {
    "lenet": (models.lenet, "output", (1, 32, 32)),
    "alexnet": (lambda: models.alexnet(**SLIM), "fc8", (3, 227, 227)),
    "alexnet of torchvision": (lambda: models.alexnet("torchvision", **SLIM), "classifier.6", (3, 224, 224)),
    "vgg": (lambda: models.vgg11(**SLIM), "classifier.6", (3, 224, 224)),
    "googlenet": (lambda: models.googlenet(**SLIM), "fc", (3, 64, 64)),
}


@pytest.mark.parametrize("name", HEADS)
def test_a_head_gives_way_to_another(device, name):
    build, head, shape = HEADS[name]
    model = build()
    assert model.output_layers() == [head]
    other = Linear(model[head].weight.shape[1], 5)
    model[head] = other
    model.to(device)
    assert model[head] is other and [name for name, _ in model.named_parameters()][-2:] == [
        f"{head}.weight",
        f"{head}.bias",
    ]
    y = model.eval()(move(np.zeros((2, *shape), "f4"), device))
    assert tuple(y.shape) == (2, 5)
    model.backward(y)
    assert other.weight.grad is not None


def test_parts_of_parts():
    net = models.alexnet("torchvision", **SLIM)
    assert net["features.0"] is net["features"][0] and "features.0" in net and "features.99" not in net
    net["features"][-1] = layers.AvgPool2d(3, 2)
    net["features.2"] = layers.AvgPool2d(3, 2)
    assert type(net["features.12"]) is type(net["features"][2]) is layers.AvgPool2d
    assert [name for name, _ in net["features"].children()] == [str(k) for k in range(13)]
    google = models.googlenet(aux=True, **SLIM)
    assert google.output_layers() == ["fc", "aux1.fc2", "aux2.fc2"]
    google["aux2"] = layers.ReLU()
    google["inception4a.branch2.0"] = unit = layers.Tanh()
    assert google["aux2"] is google.heads["inception4d"][1] and google["inception4a"]["branch2"][0] is unit
    names = [name for name, _ in google.children()]
    assert google[0] is google["conv1"] and len(google) == len(names) and list(google)[-1] is google["fc"]
    assert models.lenet("1998").output_layers() == ["F6"]
    assert Sequential(layers.ReLU()).output_layers() == []


def test_parts_that_do_not_exist_are_told_with_the_nearest_names():
    net = models.alexnet("torchvision", **SLIM)
    for wrong, near in (("clasifier", "classifier"), ("features.01", "features.0"), ("clasifier.6", "classifier.6")):
        with pytest.raises(KeyError, match=rf"'{wrong}' is no part of this Sequential: it has .*; nearest: .*'{near}'"):
            net[wrong]
        with pytest.raises(KeyError, match=f"nearest: .*'{near}'"):
            net[wrong] = layers.ReLU()
    with pytest.raises(KeyError, match="'conv9' is no part of this Branching: it has conv1, .*; nearest: 'conv3'"):
        models.googlenet(**SLIM)["conv9"]
    with pytest.raises(KeyError, match=r"'zzz' is no part of this Sequential: it has [^;]*$"):
        net["zzz"]
    with pytest.raises(IndexError):
        net[9] = layers.ReLU()


def test_what_can_not_be_put_there_changes_nothing():
    net = models.googlenet(**SLIM)
    before = dict(net.children())
    for name, part, error, message in (
        ("fc", 5, TypeError, "gives way to a module, not 'fc' to 5"),
        (slice(2), layers.ReLU(), TypeError, "one part of a Branching"),
        ("fc", net["conv1"], ValueError, 'one Sequential is both "conv1" and "fc"'),
        ("conv2.relu", net["conv1.relu"], ValueError, 'both "conv1.relu" and "conv2.relu"'),
    ):
        with pytest.raises(error, match=message):
            net[name] = part
    assert all(net[name] is part for name, part in before.items())

    class Own(Module):
        def __init__(self):
            self.inside = layers.ReLU()

    with pytest.raises(TypeError, match=r"'0.inside' is held by a Own: set the attribute that holds it"):
        Sequential(Own())["0.inside"] = layers.ReLU()


def test_a_head_of_the_wrong_width_says_what_would_fit(device):
    net = models.googlenet(**SLIM)
    net["fc"] = Linear(100, 5)
    with pytest.raises(ValueError, match=r"x has 64 features, but the weight of shape \(5, 100\) reads 100. Give x"):
        net.to(device)(move(np.zeros((2, 3, 64, 64), "f4"), device))


def test_concat_and_places():
    both = Concat(layers.ReLU(), b=layers.Tanh())
    both[1] = layers.Sigmoid()
    assert type(both["b"]) is layers.Sigmoid and list(dict(both.children())) == ["0", "b"]
