"""Parts by name, nested ones too, and others in their place."""

import numpy as np
import pytest

from cnnlib import layers, models
from cnnlib.arrays import move
from cnnlib.containers import Concat, Residual, Sequential
from cnnlib.layers import Conv2d, Linear
from cnnlib.module import Module

SLIM = {"width": 1 / 16}
HEADS = {
    "lenet": (models.lenet, "output", (1, 32, 32)),
    "alexnet": (lambda: models.alexnet(**SLIM), "fc8", (3, 227, 227)),
    "alexnet of torchvision": (lambda: models.alexnet("torchvision", **SLIM), "classifier.6", (3, 224, 224)),
    "vgg": (lambda: models.vgg11(**SLIM), "classifier.6", (3, 224, 224)),
    "googlenet": (lambda: models.googlenet(**SLIM), "fc", (3, 64, 64)),
    "resnet18": (lambda: models.resnet18(**SLIM), "fc", (3, 64, 64)),
    "resnet50": (lambda: models.resnet50(**SLIM), "fc", (3, 64, 64)),
    "resnet20": (lambda: models.resnet_cifar(20), "fc", (3, 32, 32)),
    "squeezenet": (lambda: models.squeezenet(**SLIM), "classifier.1", (3, 64, 64)),
}


@pytest.mark.parametrize("name", HEADS)
def test_a_head_gives_way_to_another(device, name):
    build, head, shape = HEADS[name]
    model = build()
    assert model.output_layers() == [head]
    features = model[head].weight.shape[1]
    other = Conv2d(features, 5, 1) if name == "squeezenet" else Linear(features, 5)
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


def test_parts_of_blocks_give_way_and_keep_their_places(device):
    """In a path, in a shortcut and behind the sum; side by side in SqueezeNet's modules."""
    net = models.resnet18(**SLIM)
    names, before = list(net.state_dict()), net["layer2.0"]
    new = {
        "layer2.0.conv2": Conv2d(8, 8, 3, padding=1, bias=False),
        "layer2.0.downsample.0": Conv2d(4, 8, 1, 2, bias=False),
        "layer2.0.relu": layers.Tanh(),
    }
    for name, part in new.items():
        net[name] = part
        assert net[name] is part
    assert net["layer2.0"] is before and list(net.state_dict()) == names
    assert list(before) == [part for _, part in before.children()] and before[3] is new["layer2.0.conv2"]
    before["downsample"] = Conv2d(4, 8, 1, 2)
    assert before.shortcut["downsample"] is before["downsample"] and len(before) == 7
    squeeze = models.squeezenet(**SLIM)
    names, fire = list(squeeze.state_dict()), squeeze["features.4"]
    ones, threes = (squeeze[f"features.4.expand{size}"].weight.shape for size in ("1x1", "3x3"))
    squeeze["features.4.expand3x3"] = Conv2d(threes[1], threes[0], 3, padding=1)
    fire["expand1x1"] = Conv2d(ones[1], ones[0], 1)
    fire["squeeze_activation"] = layers.Sigmoid()
    assert list(squeeze.state_dict()) == names and type(fire[1]) is layers.Sigmoid and len(fire) == 4
    with pytest.raises(KeyError, match="place 2 of this Fire has no name of its own: it has squeeze, squeeze_act"):
        fire[2] = layers.ReLU()
    for model in (net, squeeze):
        model.to(device)
        model.backward(model(move(np.random.default_rng(0).standard_normal((2, 3, 64, 64)).astype("f4"), device)))
        assert all(parameter.grad is not None for parameter in model.parameters())
    with pytest.raises(ValueError, match="both"):
        net["layer1.0.conv1"] = net["layer1.0.conv2"]
    with pytest.raises(KeyError, match="'layer1.0.conv3' is no part of .*; nearest: .*'layer1.0.conv"):
        net["layer1.0.conv3"]
    with pytest.raises(KeyError, match="'rellu' is no part of this Residual: it has relu1, relu2; nearest: .*'relu2'"):
        Residual({"relu1": layers.ReLU()}, after={"relu2": layers.ReLU()})["rellu"]


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
