"""The architectures: the papers' numbers, torchvision's names, and what the same network in torch.nn computes."""

import json
from math import prod
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as TF

from benchmarks.torch_twin import torch_twin
from cnnlib import cost, models
from cnnlib.containers import Branching
from cnnlib.functional import GeometryError
from cnnlib.layers import Dropout
from cnnlib.losses import AuxiliaryLoss, CrossEntropyLoss, MAPLoss
from cnnlib.models.lenet import C3_TABLE

# Read from torchvision 0.29.1: keys and shapes of its state dicts, in order.
TORCHVISION = json.loads((Path(__file__).parent / "torchvision_state_dicts.json").read_text())["models"]
OF_TORCHVISION = {
    "alexnet": lambda **o: models.alexnet("torchvision", **o),
    "vgg11": models.vgg11,
    "vgg13": models.vgg13,
    "vgg16": models.vgg16,
    "vgg19": models.vgg19,
    "googlenet_noaux": lambda **o: models.googlenet("torchvision", **o),
    "googlenet_aux": lambda **o: models.googlenet("torchvision", aux=True, **o),
    "resnet18": models.resnet18,
    "resnet34": models.resnet34,
    "resnet50": models.resnet50,
    "squeezenet1_1": models.squeezenet,
}

# name: (model, input, parameters, multiply-adds of convolutions and linear layers, values they put out).
# LeNet-5: LeCun et al. 1998, sec. II-B. The others: the papers' tables, added up in exact arithmetic; torchvision gives
# 1.814, 3.664, 4.089 and 0.349 thousand millions for its ResNets and SqueezeNet.
PAPER = {
    "lenet modern": (lambda: models.lenet(), (1, 32, 32), 61_706, 416_520, 6_518),
    "lenet 1998": (lambda: models.lenet("1998"), (1, 32, 32), 60_000, 325_680 + 840, 6_508),
    "alexnet": (lambda: models.alexnet(), (3, 227, 227), 60_965_224, 724_406_816, 659_272),
    "alexnet torchvision": (lambda: models.alexnet("torchvision"), (3, 224, 224), 61_100_840, 714_188_480, 494_184),
    "vgg A": (lambda: models.vgg("A"), (3, 224, 224), 132_863_336, 7_609_090_048, 7_435_240),
    "vgg A-LRN": (lambda: models.vgg("A-LRN"), (3, 224, 224), 132_863_336, 7_609_090_048, 7_435_240),
    "vgg B": (lambda: models.vgg("B"), (3, 224, 224), 133_047_848, 11_308_466_176, 12_252_136),
    "vgg C": (lambda: models.vgg("C"), (3, 224, 224), 133_638_952, 11_770_888_192, 13_556_712),
    "vgg D": (lambda: models.vgg("D"), (3, 224, 224), 138_357_544, 15_470_264_320, 13_556_712),
    "vgg E": (lambda: models.vgg("E"), (3, 224, 224), 143_667_240, 19_632_062_464, 14_861_288),
    "googlenet": (lambda: models.googlenet(), (3, 224, 224), 6_998_552, 1_582_671_872, 3_227_160),
    "resnet18": (lambda: models.resnet18(), (3, 224, 224), 11_689_512, 1_814_073_344, 2_484_712),
    "resnet34": (lambda: models.resnet34(), (3, 224, 224), 21_797_672, 3_663_761_408, 3_739_112),
    "resnet50": (lambda: models.resnet50(), (3, 224, 224), 25_557_032, 4_089_184_256, 11_114_984),
    "resnet20": (lambda: models.resnet_cifar(20), (3, 32, 32), 269_722, 40_551_040, 188_426),
    "resnet32": (lambda: models.resnet_cifar(32), (3, 32, 32), 464_154, 68_862_592, 303_114),
    "resnet56": (lambda: models.resnet_cifar(56), (3, 32, 32), 853_018, 125_485_696, 532_490),
    "squeezenet": (lambda: models.squeezenet(), (3, 224, 224), 1_235_496, 349_151_936, 2_589_352),
}
WEIGHTED = ("Conv2d", "SparseConv2d", "Linear")


@pytest.mark.parametrize("name", PAPER)
def test_the_papers_numbers(name):
    build, shape, parameters, multiply_adds, values = PAPER[name]
    model = build()
    rows = cost.table(model, shape)
    assert sum(prod(p.shape) for p in model.parameters()) == parameters == sum(row.parameters for row in rows)
    assert sum(row.multiply_adds for row in rows) == multiply_adds
    assert sum(row.activations for row in rows if row.kind in WEIGHTED) == values


def test_lenet_of_1998_layer_by_layer():
    """Parameters and connections of LeCun et al. 1998, sec. II-B; 340,908 connections in all."""
    rows = {row.name: row for row in cost.table(models.lenet("1998"), (1, 32, 32))}
    names = ("C1", "S2", "C3", "S4", "C5", "F6", "output")
    assert [rows[n].parameters for n in names] == [156, 12, 1516, 32, 48120, 10164, 0]
    assert [rows[n].output_shape for n in names] == [
        (6, 28, 28), (6, 14, 14), (16, 10, 10), (16, 5, 5), (120, 1, 1), (84,), (10,),
    ]  # fmt: skip
    biases = {n: prod(rows[n].output_shape) for n in ("C1", "C3", "C5", "F6")}
    connections = {n: rows[n].multiply_adds + biases[n] for n in biases}
    # a subsampling unit is connected to the 4 it adds up and to its bias
    connections |= {n: prod(rows[n].output_shape) * (4 + 1) for n in ("S2", "S4")}
    connections["output"] = rows["output"].multiply_adds
    assert connections == {
        "C1": 122_304, "S2": 5_880, "C3": 151_600, "S4": 2_000, "C5": 48_120, "F6": 10_164, "output": 840,
    }  # fmt: skip
    assert sum(connections.values()) == 340_908
    assert sum(map(len, C3_TABLE)) == 60


def test_lenets_codes_are_bitmaps_and_similar_digits_have_similar_ones():
    codes = models.lenet("1998", dtype="float64")["output"].codes
    assert codes.shape == (10, 84) and set(np.unique(codes)) == {-1.0, 1.0}
    distance = ((codes[:, None] - codes) ** 2).sum(2)
    assert distance[distance > 0].size == 90, "two digits share a code"
    assert distance[0, 8] < distance[0, 1]


def test_alexnet_shapes_and_counts_layer_by_layer():
    """Krizhevsky et al. 2012, sec. 3.5, at 227 pixels."""
    rows = {row.name: row for row in cost.table(models.alexnet(), (3, 227, 227))}
    shapes = [rows[n].output_shape for n in ("conv1", "pool1", "conv2", "pool2", "conv3", "conv5", "pool5")]
    assert shapes == [
        (96, 55, 55), (96, 27, 27), (256, 27, 27), (256, 13, 13), (384, 13, 13), (256, 13, 13), (256, 6, 6),
    ]  # fmt: skip
    weighted = [row.parameters for row in rows.values() if row.parameters]
    assert weighted == [34944, 307456, 885120, 663936, 442624, 37752832, 16781312, 4097000]
    with pytest.raises(ValueError, match="reads 9216 features, but gets"):
        cost.table(models.alexnet(), (3, 224, 224))


# Szegedy et al. 2014, table 1: output channels and size, and multiply-adds in exact arithmetic.
INCEPTION = {
    "3a": ((256, 28, 28), 163_696, 128_049_152),
    "3b": ((480, 28, 28), 388_736, 304_267_264),
    "4a": ((512, 14, 14), 376_176, 73_608_192),
    "4b": ((512, 14, 14), 449_160, 87_908_352),
    "4c": ((512, 14, 14), 510_104, 99_850_240),
    "4d": ((528, 14, 14), 605_376, 118_515_712),
    "4e": ((832, 14, 14), 868_352, 169_996_288),
    "5a": ((832, 7, 7), 1_043_456, 51_079_168),
    "5b": ((1024, 7, 7), 1_444_080, 70_697_984),
}


def test_googlenet_module_by_module():
    model = models.googlenet(aux=True)
    assert sum(prod(p.shape) for p in model.parameters()) == 13_378_280
    rows = cost.table(model, (3, 224, 224))
    for name, (shape, parameters, multiply_adds) in INCEPTION.items():
        own = [row for row in rows if row.name.split(".")[0] == f"inception{name}"]
        assert own[-1].output_shape == shape
        assert sum(row.parameters for row in own) == parameters
        assert sum(row.multiply_adds for row in own) == multiply_adds
    of = {row.name: row for row in rows}
    assert of["aux1.averagepool"].output_shape == (512, 4, 4) and of["aux2.averagepool"].output_shape == (528, 4, 4)
    assert [row.name for row in rows if row.kind == "LocalResponseNorm"] == ["norm1", "norm2"]


def test_vggs_receptive_fields():
    """Two 3x3 filters see 5x5, three 7x7 (Simonyan & Zisserman 2015, sec. 2.3); stride multiplies what follows."""
    rows = cost.table(models.vgg("E", width=0.02), (3, 224, 224))
    fields = [row.receptive_field[0] for row in rows if row.kind == "Conv2d"]
    assert fields[:4] == [3, 5, 10, 14]
    assert rows[36].kind == "MaxPool2d" and rows[36].jump == (32, 32)


@pytest.mark.parametrize("name", OF_TORCHVISION)
def test_torchvisions_names_and_shapes(name):
    true = TORCHVISION[name]
    model = OF_TORCHVISION[name]()
    assert [[key, list(array.shape)] for key, array in model.state_dict().items()] == true["state_dict"]
    assert sum(prod(p.shape) for p in model.parameters()) == true["n_params"]


@pytest.mark.parametrize("size", [15, 17, 24])
def test_googlenet_on_images_so_small_that_its_last_pooling_hangs_over(size):
    model = models.googlenet("torchvision", num_classes=5, width=0.1).eval()
    x = np.random.default_rng(0).standard_normal((2, 3, size, size)).astype(np.float32)
    true = torch_twin(model).eval()(torch.tensor(x)).detach().numpy()
    np.testing.assert_allclose(model(x), true, rtol=1e-4, atol=1e-6)


def test_googlenet_of_the_paper_lists_its_parameters_in_forward_order():
    names = [name for name, _ in models.googlenet(aux=True, width=0.1).named_parameters()]
    order = list(dict.fromkeys(name.split(".")[0] for name in names))
    assert order == [
        "conv1", "conv2", "conv3", "inception3a", "inception3b", "inception4a", "aux1", "inception4b", "inception4c",
        "inception4d", "aux2", "inception4e", "inception5a", "inception5b", "fc",
    ]  # fmt: skip
    shapes = {name: p.shape for name, p in models.googlenet().named_parameters() if name.startswith("inception3a")}
    weights = [shape[:2] + shape[2:3] for name, shape in shapes.items() if name.endswith("weight")]
    # 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool projection
    assert weights == [(64, 192, 1), (96, 192, 1), (128, 96, 3), (16, 192, 1), (32, 16, 5), (32, 192, 1)]
    assert [name.rpartition(".")[2] for name in names] == ["weight", "bias"] * (len(names) // 2)


SLIM = {"width": 0.125, "num_classes": 10, "dtype": "float64", "seed": 3}
WHOLE = {
    "lenet": (lambda: models.lenet(dtype="float64"), (3, 1, 32, 32)),
    "alexnet": (lambda: models.alexnet(**SLIM), (2, 3, 227, 227)),
    "alexnet torchvision": (lambda: models.alexnet("torchvision", **SLIM), (2, 3, 224, 224)),
    "vgg A-LRN": (lambda: models.vgg("A-LRN", **SLIM), (2, 3, 64, 64)),
    "vgg C": (lambda: models.vgg("C", **SLIM), (2, 3, 48, 32)),
    "vgg E": (lambda: models.vgg("E", **SLIM), (1, 3, 32, 32)),
    "googlenet": (lambda: models.googlenet(aux=True, **SLIM), (2, 3, 224, 224)),
    "googlenet torchvision": (lambda: models.googlenet("torchvision", aux=True, **SLIM), (2, 3, 96, 96)),
}


def in_forward_order(model):
    """The parameters as torch_twin lists them: each head where it branches off."""
    if not isinstance(model, Branching):
        return model.parameters()
    heads = {name: head for name, (_, head) in model.heads.items()}
    parts = [part for name in model.trunk for part in (model.trunk[name], heads.get(name)) if part]
    return [parameter for part in parts for parameter in part.parameters()]


def relative(found, true):
    return np.linalg.norm(np.asarray(found) - true.numpy()) / np.linalg.norm(true.numpy())


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_network_computes_what_torch_nn_computes(name, device):
    """Loss, every parameter's gradient and the input's, in float64, with random inputs that no symmetry hides in."""
    build, shape = WHOLE[name]
    model = build()
    for module in model.modules():
        if isinstance(module, Dropout):
            module.p = 0.0  # dropout's masks are compared by themselves
    twin = torch_twin(model)
    x, labels = np.random.default_rng(1).standard_normal(shape), np.arange(shape[0]) % 10

    tensor, targets = torch.tensor(x, requires_grad=True), torch.tensor(labels)
    outputs = twin(tensor)
    main, *heads = outputs if isinstance(outputs, tuple) else (outputs,)
    true = TF.cross_entropy(main, targets) + sum(0.3 * TF.cross_entropy(head, targets) for head in heads)
    true.backward()

    model.to(device)
    criterion = model.criterion()
    if device != "numpy":
        x, labels = torch.tensor(x, device=device), torch.tensor(labels, device=device)
    loss = criterion(model(x), labels)
    dx = model.backward(criterion.backward())
    assert float(loss) == pytest.approx(true.item(), rel=1e-12)
    assert relative(dx, tensor.grad) < 1e-12
    gradients = [relative(p.grad, q.grad) for p, q in zip(in_forward_order(model), twin.parameters(), strict=True)]
    assert max(gradients) < 1e-11

    model.eval(), twin.eval()
    assert relative(model(x), twin(tensor.detach()).detach()) < 1e-12


def test_lenet_of_1998_follows_its_definition():
    """Written out once more, directly from section II-B."""
    model = models.lenet("1998", dtype="float64", seed=1)
    p = {name: torch.tensor(parameter.data, requires_grad=True) for name, parameter in model.named_parameters()}
    x = np.random.default_rng(0).standard_normal((3, 1, 32, 32))
    labels = torch.tensor([7, 0, 3])

    def squash(a):
        return 1.7159 * torch.tanh(2 / 3 * a)

    def subsample(maps, layer):
        total = maps[..., ::2, ::2] + maps[..., ::2, 1::2] + maps[..., 1::2, ::2] + maps[..., 1::2, 1::2]
        return squash(total * p[f"{layer}.weight"][:, None, None] + p[f"{layer}.bias"][:, None, None])

    s2 = subsample(squash(TF.conv2d(torch.tensor(x), p["C1.weight"], p["C1.bias"])), "S2")
    maps, k = [], 0
    for o, channels in enumerate(C3_TABLE):
        kernels = p["C3.weight"][k : k + len(channels)]
        maps.append(TF.conv2d(s2[:, list(channels)], kernels[None]) + p["C3.bias"][o])
        k += len(channels)
    s4 = subsample(squash(torch.cat(maps, 1)), "S4")
    c5 = squash(TF.conv2d(s4, p["C5.weight"], p["C5.bias"])).flatten(1)
    f6 = squash(TF.linear(c5, p["F6.weight"], p["F6.bias"]))
    penalties = ((f6[:, None] - torch.tensor(model["output"].codes)) ** 2).sum(2)
    right = penalties[torch.arange(3), labels]
    true = (right + torch.log(np.exp(-1.0) + torch.exp(-penalties).sum(1))).mean()  # equation 9 with j = 1
    true.backward()

    criterion = model.criterion()
    assert isinstance(criterion, MAPLoss)
    outputs = model(x)
    loss = criterion(outputs, labels.numpy())
    model.backward(criterion.backward())
    np.testing.assert_allclose(outputs, penalties.detach().numpy(), rtol=1e-12)
    assert float(loss) == pytest.approx(true.item(), rel=1e-12)
    for name, parameter in model.named_parameters():
        assert relative(parameter.grad, p[name].grad) < 1e-12, name
    assert criterion.predict(outputs).tolist() == penalties.argmin(1).tolist()


def test_heads_speak_in_training_only():
    model = models.googlenet("torchvision", aux=True, **SLIM)
    x = np.random.default_rng(0).standard_normal((2, 3, 64, 64))
    assert [y.shape for y in model(x)] == [(2, 10)] * 3
    with pytest.raises(ValueError, match="3 outputs, so as many gradients, not 1"):
        model.backward(np.zeros((2, 10)))
    assert model.eval()(x).shape == (2, 10)
    assert isinstance(model.criterion(), AuxiliaryLoss)
    assert isinstance(models.googlenet(**SLIM).criterion(), CrossEntropyLoss)


def test_alexnet_starts_as_the_paper_says():
    state = models.alexnet(width=0.5, seed=4).state_dict()
    for name, array in state.items():
        if name.endswith("weight"):
            error = 0.01 * (0.5 / array.size) ** 0.5
            assert abs(array.std() - 0.01) < 5 * error and abs(array.mean()) < 5 * 0.01 / array.size**0.5
    ones = {name for name, array in state.items() if name.endswith("bias") and (array == 1).all()}
    assert ones == {f"{layer}.bias" for layer in ("conv2", "conv4", "conv5", "fc6", "fc7")}
    assert all((state[f"{layer}.bias"] == 0).all() for layer in ("conv1", "conv3", "fc8"))


@pytest.mark.parametrize(
    "build", [models.vgg16, models.googlenet, models.alexnet, models.resnet50, models.resnet_cifar, models.squeezenet]
)
def test_width_dtype_and_seed(build):
    def parameters(seed):
        model = build(width=0.1, num_classes=7, in_channels=1, dtype="float64", seed=seed)
        return [p.data for p in model.parameters()]

    arrays = parameters(seed=5)
    assert {a.dtype.name for a in arrays} == {"float64"} and arrays[0].shape[1] == 1 and arrays[-1].shape == (7,)
    assert all(map(np.array_equal, arrays, parameters(seed=5)))
    assert not np.array_equal(arrays[0], parameters(seed=6)[0])


@pytest.mark.parametrize(
    "wrong, says",
    [
        (lambda: models.lenet("1989"), 'variant must be "modern" or "1998", not \'1989\''),
        (lambda: models.lenet("1998", num_classes=26), "num_classes=26"),
        (lambda: models.alexnet("caffe"), 'variant must be "paper" or "torchvision"'),
        (lambda: models.vgg("F"), "config must be one of A, A-LRN, B, C, D, E, not 'F'"),
        (lambda: models.vgg16(width=0), "must be a positive number, not 0"),
        (lambda: models.googlenet(width=-1), "must be a positive number, not -1"),
        (lambda: models.resnet(101), "depth must be one of 18, 34, 50, not 101"),
        (lambda: models.resnet_cifar(18), "depth must be 6n + 2 with n from 1 on, as 20, 32 or 56, not 18"),
        (lambda: models.resnet_cifar(2), "depth must be 6n + 2"),
        (lambda: models.squeezenet(width=-1), "must be a positive number, not -1"),
        (lambda: models.lenet(num_classes=0), "num_classes must be at least 1, not 0"),
        (lambda: models.alexnet(in_channels=0), "in_channels must be at least 1, not 0"),
        (lambda: models.lenet(dtype="int64"), 'dtype must be "float32" or "float64"'),
    ],
)
def test_wrong_arguments(wrong, says):
    with pytest.raises(ValueError) as error:
        wrong()
    assert says in str(error.value)


def test_an_image_too_small_for_the_network_says_where(device):
    model = models.alexnet(width=0.05, dtype="float64").to(device)
    x = np.zeros((1, 3, 40, 40))
    with pytest.raises(GeometryError, match="window must fit into the padded input"):
        model(x if device == "numpy" else torch.tensor(x, device=device))
