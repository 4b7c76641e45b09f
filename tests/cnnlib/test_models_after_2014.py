"""ResNets and SqueezeNet against torch, written out once more from the state dictionary's names alone."""

import numpy as np
import pytest
import torch
import torch.nn.functional as TF
from safetensors.torch import save_file

from cnnlib import cost, models
from cnnlib.arrays import move
from cnnlib.containers import Residual
from cnnlib.layers import BatchNorm2d, Dropout
from cnnlib.models.resnet import ZeroPadding

SLIM = {"num_classes": 10, "dtype": "float64", "seed": 3}


class Plain:
    """What the names of torchvision's ResNets mean, in torch's functions; the batch's statistics in training."""

    def __init__(self, state, training=True):
        self.state, self.training = state, training

    def conv_bn(self, x, conv, bn, stride=1):
        weight, of = self.state[f"{conv}.weight"], lambda name: self.state[f"{bn}.{name}"]
        x = TF.conv2d(x, weight, None, stride, weight.shape[2] // 2)
        mean, var = (of(name).clone() for name in ("running_mean", "running_var"))
        return TF.batch_norm(x, mean, var, of("weight"), of("bias"), self.training)

    def block(self, x, name, stride, shortcuts):
        depth = sum(f"{name}.conv{k}.weight" in self.state for k in (1, 2, 3))
        y = x
        for k in range(1, depth + 1):
            strided = stride if k == depth - 1 else 1  # the first of two, the second of three
            y = self.conv_bn(y, f"{name}.conv{k}", f"{name}.bn{k}", strided)
            y = y.relu() if k < depth else y
        if f"{name}.downsample.0.weight" in self.state:
            x = self.conv_bn(x, f"{name}.downsample.0", f"{name}.downsample.1", stride)
        elif x.shape != y.shape:  # option A
            x = torch.cat([x[:, :, ::2, ::2], torch.zeros_like(y[:, x.shape[1] :])], 1)
        return (y + x).relu() if shortcuts else y.relu()

    def stages(self, x, count, shortcuts=True):
        for s in range(1, count + 1):
            b = 0
            while f"layer{s}.{b}.conv1.weight" in self.state:
                x = self.block(x, f"layer{s}.{b}", 2 if s > 1 and b == 0 else 1, shortcuts)
                b += 1
        return TF.linear(x.mean((2, 3)), self.state["fc.weight"], self.state["fc.bias"])

    def imagenet(self, x):
        return self.stages(TF.max_pool2d(self.conv_bn(x, "conv1", "bn1", 2).relu(), 3, 2, 1), 4)

    def cifar(self, x, shortcuts=True):
        return self.stages(self.conv_bn(x, "conv1", "bn1").relu(), 3, shortcuts)

    def squeezenet(self, x):
        def conv(x, name, **options):
            return TF.conv2d(x, self.state[f"{name}.weight"], self.state[f"{name}.bias"], **options).relu()

        x = conv(x, "features.0", stride=2)
        for k in range(2, 13):
            if k in (2, 5, 8):
                x = TF.max_pool2d(x, 3, 2, ceil_mode=True)
            else:
                x = conv(x, f"features.{k}.squeeze")
                x = torch.cat([conv(x, f"features.{k}.expand1x1"), conv(x, f"features.{k}.expand3x3", padding=1)], 1)
        return conv(x, "classifier.1").mean((2, 3))


NETWORKS = {
    "resnet18": (lambda: models.resnet18(width=0.125, **SLIM), Plain.imagenet, (2, 3, 64, 64)),
    "resnet34": (lambda: models.resnet34(width=0.125, **SLIM), Plain.imagenet, (2, 3, 64, 96)),
    "resnet50": (lambda: models.resnet50(width=0.125, **SLIM), Plain.imagenet, (2, 3, 64, 64)),
    "resnet50 odd": (lambda: models.resnet50(width=0.05, **SLIM), Plain.imagenet, (2, 3, 45, 71)),
    "resnet18 at 224": (lambda: models.resnet18(width=0.05, **SLIM), Plain.imagenet, (2, 3, 224, 224)),
    "resnet20": (lambda: models.resnet_cifar(20, **SLIM), Plain.cifar, (4, 3, 32, 32)),
    "resnet20 odd": (lambda: models.resnet_cifar(20, width=0.3, **SLIM), Plain.cifar, (4, 3, 19, 33)),
    "resnet56": (lambda: models.resnet_cifar(56, width=0.5, **SLIM), Plain.cifar, (2, 3, 32, 32)),
    "plain20": (
        lambda: models.resnet_cifar(20, shortcuts=False, **SLIM),
        lambda net, x: net.cifar(x, shortcuts=False),
        (4, 3, 32, 32),
    ),
    "squeezenet": (lambda: models.squeezenet(width=0.25, **SLIM), Plain.squeezenet, (2, 3, 224, 224)),
    "squeezenet odd": (lambda: models.squeezenet(width=0.25, **SLIM), Plain.squeezenet, (2, 3, 45, 72)),
    "squeezenet at 17": (lambda: models.squeezenet(**SLIM), Plain.squeezenet, (3, 3, 17, 17)),
}


def irregular(model):
    """Give what starts at 0 or 1 other values, which no symmetry hides in."""
    rng = np.random.default_rng(8)
    for module in model.modules():
        if isinstance(module, BatchNorm2d):
            module.weight.data[:] = rng.uniform(0.5, 1.5, module.weight.shape)
            module.running_mean[:] = rng.normal(size=module.weight.shape)
            module.running_var[:] = rng.uniform(0.5, 1.5, module.weight.shape)
        if getattr(module, "bias", None) is not None:
            module.bias.data[:] = rng.normal(size=module.bias.shape) / 10
        if isinstance(module, Dropout):
            module.p = 0.0
    return model


def relative(found, true):
    return np.linalg.norm(move(found, "numpy") - true.numpy()) / np.linalg.norm(true.numpy())


@pytest.mark.parametrize("name", NETWORKS)
def test_forward_and_gradients_are_torchs(name, device):
    build, plain, shape = NETWORKS[name]
    model = irregular(build())
    state = {key: torch.tensor(array.copy()) for key, array in model.state_dict().items()}
    named = {key: state[key].requires_grad_() for key, _ in model.named_parameters()}
    x = np.random.default_rng(1).standard_normal(shape)
    tensor, labels = torch.tensor(x, requires_grad=True), np.arange(shape[0]) % 10
    true = plain(Plain(state), tensor)
    TF.cross_entropy(true, torch.tensor(labels)).backward()
    evaluated = plain(Plain(state, training=False), tensor.detach()).detach()
    for channels_last in (False,) if device == "numpy" else (False, True):
        model.to(device, channels_last).train().zero_grad()
        model.load_state_dict(state)
        criterion, images = model.criterion(), move(x, device, channels_last)
        outputs = model(images)
        criterion(outputs, move(labels, device))
        dx = model.backward(criterion.backward())
        assert relative(outputs, true.detach()) < 1e-10 and relative(dx, tensor.grad) < 1e-10
        for key, parameter in model.named_parameters():
            assert relative(parameter.grad, named[key].grad) < 1e-10, key
        model.load_state_dict(state)
        assert relative(model.eval()(images), evaluated) < 1e-10


# He et al. 2016, table 1, and Iandola et al.'s release 1.1, at 224 pixels.
IMAGENET = {
    "resnet18": (models.resnet18, {"conv1": (64, 112), "maxpool": (64, 56), "layer1": (64, 56), "layer4": (512, 7)}),
    "resnet34": (models.resnet34, {"layer2": (128, 28), "layer3": (256, 14), "layer4": (512, 7)}),
    "resnet50": (models.resnet50, {"layer1": (256, 56), "layer2": (512, 28), "layer4": (2048, 7)}),
    "squeezenet": (
        models.squeezenet,
        {
            "features.0": (64, 111), "features.2": (64, 55), "features.4": (128, 55), "features.5": (128, 27),
            "features.8": (256, 13), "features.12": (512, 13), "classifier.1": (1000, 13),
        },
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", IMAGENET)
def test_shapes_of_the_tables(name):
    build, shapes = IMAGENET[name]
    last = {}
    for row in cost.table(build(seed=None), (3, 224, 224)):
        for part in shapes:
            if f"{row.name}.".startswith(f"{part}."):
                last[part] = row.output_shape
    assert last == {part: (maps, side, side) for part, (maps, side) in shapes.items()}


def test_poolings_of_squeezenet_round_up():
    """At 45 pixels they would come to 10, 4 and 1 if they rounded down."""
    rows = [row for row in cost.table(models.squeezenet(seed=None), (3, 45, 45)) if row.kind == "MaxPool2d"]
    assert [row.output_shape[1] for row in rows] == [11, 5, 2]


def test_the_stride_of_three_is_on_the_3x3():
    block = models.resnet50(seed=None, width=0.1)["layer2"]["0"]
    strides = {name: part.stride for name, part in block.children() if name.startswith("conv")}
    assert strides == {"conv1": (1, 1), "conv2": (2, 2), "conv3": (1, 1)}


def test_weights_start_as_torchvisions():
    """ResNets: He's rule for the fan out, torch's for the last layer; SqueezeNet: He's uniform, 0.01 at the end."""
    state = models.resnet50(seed=4, width=0.5).state_dict()
    for name, array in state.items():
        if array.ndim == 4:
            fan_out = array.shape[0] * array.shape[2] * array.shape[3]
            assert array.std() == pytest.approx((2 / fan_out) ** 0.5, rel=6 / (2 * array.size) ** 0.5), name
    bound = state["fc.weight"].shape[1] ** -0.5
    for array in (state["fc.weight"], state["fc.bias"]):
        assert 0.9 * bound < abs(array).max() <= bound
    of_squeezenet = models.squeezenet(seed=4).state_dict()
    for name, array in of_squeezenet.items():
        if name.endswith("bias"):
            assert not array.any()
        elif name == "classifier.1.weight":
            assert array.std() == pytest.approx(0.01, rel=0.01) and abs(array).max() > 0.03
        else:
            bound = (6 / array[0].size) ** 0.5
            assert 0.95 * bound < abs(array).max() <= bound, name


@pytest.mark.parametrize("depth, last", [(18, "bn2.weight"), (50, "bn3.weight")])
def test_blocks_can_start_as_their_shortcuts(depth, last):
    usual, zero = (models.resnet(depth, width=0.1, zero_init_residual=z).state_dict() for z in (False, True))
    changed = [name for name, array in zero.items() if not np.array_equal(array, usual[name])]
    assert changed == [name for name in usual if name.startswith("layer") and name.endswith(last)]
    assert not any(zero[name].any() for name in changed)
    block = models.resnet(depth, width=0.1, zero_init_residual=True)["layer1"]["1"].eval()
    x = np.random.default_rng(0).random((1, block["conv1"].weight.shape[1], 5, 5), np.float32)
    assert np.array_equal(block(x), x)


def test_shortcuts_without_parameters_are_strided_and_padded_with_zeros(device):
    layer = ZeroPadding(2, 5, 2)
    x = np.random.default_rng(0).normal(size=(2, 2, 5, 4))
    y = move(layer(move(x, device)), "numpy")
    assert y.shape == (2, 5, 3, 2) == (2, *layer.trace((2, 5, 4)).output_shape)
    assert np.array_equal(y[:, :2], x[:, :, ::2, ::2]) and not y[:, 2:].any()
    dx = move(layer.backward(move(np.ones_like(y), device)), "numpy")
    assert dx.sum() == 2 * 2 * 3 * 2 and (dx[:, :, ::2, ::2] == 1).all()
    layer(move(x, device))
    assert layer.backward(move(np.ones_like(y), device), need_input_grad=False) is None
    with pytest.raises(ValueError, match="out_channels must be at least 5, not 2"):
        ZeroPadding(5, 2, 2)


def test_the_plain_network_is_the_same_without_shortcuts():
    with_them, without = (models.resnet_cifar(20, shortcuts=s) for s in (True, False))
    assert [(n, p.shape) for n, p in with_them.named_parameters()] == [
        (n, p.shape) for n, p in without.named_parameters()
    ]
    assert sum(isinstance(m, Residual) for m in with_them.modules()) == 9
    assert not any(isinstance(m, Residual) for m in without.modules())
    x = np.random.default_rng(0).random((2, 3, 32, 32), np.float32)
    assert not np.allclose(with_them.eval()(x), without.eval()(x))


@pytest.mark.parametrize("name, build", [("resnet18", models.resnet18), ("squeezenet1_1", models.squeezenet)])
def test_a_file_of_torchvisions_shape_is_read(tmp_path, name, build):
    state = {key: torch.from_numpy(np.asarray(array)).clone() for key, array in build(seed=9).state_dict().items()}
    save_file(state, tmp_path / f"{name}.safetensors")
    found = build(seed=1, weights=tmp_path / f"{name}.safetensors").state_dict()
    assert all(np.array_equal(found[key], tensor.numpy()) for key, tensor in state.items())
