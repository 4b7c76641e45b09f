"""What layers see: projections against linear algebra, patches and boxes against the network itself."""

import numpy as np
import pytest
import torch

from cnnlib import cost, data, models, visualize
from cnnlib.containers import Concat, Sequential
from cnnlib.layers import (
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    Linear,
    MaxPool2d,
    ReLU,
    Tanh,
)


def normal(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


def rng(seed=0):
    return np.random.default_rng(seed)


def images_for(device, *shape, dtype="float64"):
    x = normal(*shape).astype(dtype)
    return x if device == "numpy" else torch.tensor(x, device=device)


def network(device="numpy", seed=0):
    return Sequential(
        conv1=Conv2d(2, 4, 3, stride=2, padding=1, dtype="float64", rng=rng(seed)),
        relu1=ReLU(),
        pool1=MaxPool2d(3, stride=2, padding=1),
        mixed=Concat(
            narrow=Sequential(Conv2d(4, 3, 1, dtype="float64", rng=rng(seed + 1)), ReLU()),
            wide=Conv2d(4, 2, 5, padding=2, dtype="float64", rng=rng(seed + 2)),
        ),
        norm=BatchNorm2d(5, dtype="float64"),
        drop=Dropout(0.5),
        flatten=Flatten(),
        fc=Linear(5 * 5 * 4, 6, dtype="float64", rng=rng(seed + 3)),
    ).to(device)


INPUT = (2, 18, 15)


def test_names_are_those_of_the_cost_table_and_of_the_containers():
    names = visualize.layer_names(network())
    assert {row.name for row in cost.table(network(), INPUT)} < {*names}
    assert names.index("mixed") < names.index("mixed.narrow.0") < names.index("norm")


def test_activations_are_the_layers_outputs(device):
    model, x = network(device), images_for(device, 7, *INPUT)
    model.eval()
    expected = x
    for name, part in model.children():
        expected = part(expected)
        found = visualize.activations(model, x, name, batch_size=3)
        assert type(found) is type(x)
        np.testing.assert_allclose(np.asarray(found.tolist()), np.asarray(expected.tolist()), rtol=1e-12)
    inner = visualize.activations(model, x, "mixed.wide")
    outer = visualize.activations(model, x, "mixed")
    np.testing.assert_allclose(np.asarray(inner.tolist()), np.asarray(outer[:, 3:].tolist()), rtol=1e-12)


def test_images_and_network_may_be_of_two_libraries(device):
    x = normal(2, *INPUT)
    found = visualize.activations(network(device), x, "fc")
    assert isinstance(found, np.ndarray)
    np.testing.assert_allclose(found, visualize.activations(network(), x, "fc"), rtol=1e-10)


def test_an_unknown_layer_is_answered_with_the_names():
    for call in (
        lambda: visualize.activations(network(), normal(1, *INPUT), "conv9"),
        lambda: visualize.project(network(), normal(1, *INPUT), "conv9", (0, 0, 0)),
        lambda: visualize.strongest(network(), normal(1, *INPUT), "conv9", 0, 1),
        lambda: visualize.receptive_field(network(), INPUT, "conv9", (0, 0, 0)),
        lambda: visualize.filters(network(), "conv9"),
    ):
        with pytest.raises(ValueError, match="'conv9'.*conv1, relu1, .*mixed.narrow.0.*fc"):
            call()


def test_the_network_is_left_as_it_was(device):
    model, x = network(device), images_for(device, 3, *INPUT)
    model(x)
    dy = images_for(device, 3, 6)
    model.backward(dy)
    before = {name: np.array(value.tolist()) for name, value in model.state_dict().items()}
    grads = [parameter.grad for parameter in model.parameters()]
    model["norm"].training = False  # one part of another mode than the rest
    visualize.project(model, x, "fc", 2)
    visualize.strongest(model, x, "mixed", 1, 2)
    visualize.occlusion(model, x[0], 1, 8, 7)
    assert [m.training for m in (model, model["norm"], model["drop"])] == [True, False, True]
    assert all(p.grad is g for p, g in zip(model.parameters(), grads, strict=True))
    for name, value in model.state_dict().items():
        assert np.array_equal(before[name], value.tolist()), name


@pytest.mark.parametrize("rule", visualize.RULES)
def test_what_is_linear_is_projected_by_its_transpose(device, rule):
    """Behind convolutions and averages only: y = A x, so the projection of unit k is y_k times row k of A."""
    model = Sequential(
        Conv2d(2, 4, 3, stride=(2, 1), padding=(0, 2), bias=False, groups=2, dtype="float64"),
        AvgPool2d(2, stride=1, padding=1),
        Concat(Conv2d(4, 2, 2, dilation=2, bias=False, dtype="float64"), Conv2d(4, 1, 3, bias=False, dtype="float64")),
        Flatten(),
        Linear(3 * 4 * 7, 5, bias=False, dtype="float64"),
    ).to(device)
    shape = (2, 11, 6)
    size = int(np.prod(shape))
    basis = np.eye(size).reshape(size, *shape)
    columns = visualize.activations(model, basis, "4")  # the image of each pixel
    matrix = np.asarray(columns).T  # (5, pixels)
    x = normal(3, *shape)
    y = x.reshape(3, -1) @ matrix.T
    units = [4, 0, (2,)]
    found = visualize.project(model, x, "4", units, rule)
    for n, k in enumerate((4, 0, 2)):
        np.testing.assert_allclose(found[n].ravel(), y[n, k] * matrix[k], rtol=1e-9, atol=1e-12)


def test_the_gradient_rule_is_the_chain_rule(device):
    model, x = network(device), images_for(device, 2, *INPUT)
    found = visualize.project(model, x, "mixed.narrow.0", [(1, 2, 3), (0, 0, 0)], "gradient")

    twin = network()
    values = np.asarray(x.tolist())
    for n, unit in enumerate([(1, 2, 3), (0, 0, 0)]):
        y = visualize.activations(twin, values, "mixed.narrow.0")[(n, *unit)]
        for pixel in ((0, 4, 5), (1, 9, 11), (0, 0, 0), (1, 6, 6)):
            step = np.zeros_like(values)
            step[(n, *pixel)] = 1e-6
            up, down = (visualize.activations(twin, values + s, "mixed.narrow.0")[(n, *unit)] for s in (step, -step))
            assert float(found[(n, *pixel)]) == pytest.approx(y * (up - down) / 2e-6, abs=1e-7)


def test_the_rules_differ_at_relus_and_at_squashings_only():
    x = normal(1, 1, 6, 6)
    for squash, same in ((ReLU(), False), (Tanh(), False), (MaxPool2d(1), True)):
        model = Sequential(squash, Conv2d(1, 1, 5, dtype="float64"))
        gradient, deconvnet, guided = (
            visualize.project(model, x, "1", (0, 1, 0), rule) for rule in ("gradient", "deconvnet", "guided")
        )
        assert np.array_equal(gradient, deconvnet) is same
        assert np.array_equal(gradient, guided) is not isinstance(squash, ReLU)
        if isinstance(squash, ReLU):
            assert (deconvnet >= 0).all() and (deconvnet[x < 0] > 0).any()
            np.testing.assert_array_equal(guided, np.where(x > 0, deconvnet, 0))
            np.testing.assert_array_equal(guided, np.maximum(gradient, 0))


def test_a_switch_puts_the_value_back_where_it_was_found(device):
    model = Sequential(MaxPool2d(2), Conv2d(1, 1, 1, bias=False, dtype="float64")).to(device)
    model[1].weight.data[...] = 2.0
    x = np.zeros((1, 1, 4, 4))
    x[0, 0, 3, 2] = 5.0
    found = visualize.project(model, x, "1", (0, 1, 1))
    expected = np.zeros_like(x)
    expected[0, 0, 3, 2] = 2 * (2 * 5.0)  # the activation, 10, through the weight
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    "model, shape",
    [
        (models.lenet("1998"), (1, 32, 32)),
        (models.alexnet(width=0.05), (3, 227, 227)),
        (models.vgg11(width=0.05), (3, 64, 64)),
        (models.googlenet(width=0.05, aux=True), (3, 224, 224)),
        (models.resnet18(width=0.05), (3, 224, 224)),
        (models.resnet_cifar(20), (3, 32, 32)),
        (models.squeezenet(width=0.1), (3, 224, 224)),
    ],
    ids=["lenet", "alexnet", "vgg", "googlenet", "resnet18", "resnet20", "squeezenet"],
)
def test_boxes_have_the_size_of_the_cost_table(model, shape):
    windows = 0
    for row in cost.table(model, shape):
        if len(row.output_shape) == 3 and "avgpool" not in row.name and not row.name.startswith("aux"):
            box = visualize.receptive_field(model, shape, row.name, (0, 0, 0))
            assert box.size == row.receptive_field, row.name
            windows += 1
    assert windows > 5


def test_a_unit_depends_on_its_box_and_on_nothing_else():
    """Checked by the chain rule: no gradient leaves the box, and gradient reaches all four of its sides."""
    model = network()
    for layer in ("conv1", "mixed.narrow.0", "mixed.wide", "mixed", "norm"):
        x = normal(40, *INPUT)
        y = visualize.activations(model, x, layer)
        unit = (y.shape[1] - 1, 2, 1)
        box = visualize.receptive_field(model, INPUT, layer, unit)
        found = abs(visualize.project(model, x, layer, unit, "gradient")).sum((0, 1)) > 0
        rows, columns = np.flatnonzero(found.any(1)), np.flatnonzero(found.any(0))
        clipped = (max(box.top, 0), max(box.left, 0), min(box.bottom, INPUT[1]), min(box.right, INPUT[2]))
        assert (rows[0], columns[0], rows[-1] + 1, columns[-1] + 1) == clipped, layer


def test_behind_flatten_a_feature_sees_the_whole_map():
    model = models.lenet()
    assert visualize.receptive_field(model, (1, 32, 32), "output", 3) == (0, 0, 32, 32)
    assert visualize.receptive_field(model, (1, 32, 32), "F6", (3,)).size == (32, 32)


def test_patches_have_the_activation_that_they_claim(device):
    model, x = network(device), normal(50, *INPUT)
    for layer in ("relu1", "mixed", "fc"):
        maps = visualize.activations(model, x, layer)
        patches = visualize.strongest(model, x, layer, 3, count=5, batch_size=7)
        largest = maps[:, 3].reshape(50, -1).max(1)
        np.testing.assert_allclose([p.value for p in patches], np.sort(largest)[::-1][:5], rtol=1e-10)
        assert len({p.image for p in patches}) == 5
        for p in patches:
            assert maps[(p.image, *p.unit)] == pytest.approx(p.value)


def test_a_cropped_patch_alone_makes_the_unit_answer_the_same():
    """Without padding, what the box shows is all that the unit saw."""
    images = data.digits().test.images[:60]
    model = models.lenet()
    for patch in visualize.strongest(model, images, "C3", 5, count=4):
        cut = visualize.crop(images[patch.image], patch.box)
        assert cut.shape == (1, 14, 14)
        answer = visualize.activations(model, cut[None], "C3")
        assert answer.shape == (1, 16, 1, 1)
        assert answer[0, 5, 0, 0] == pytest.approx(patch.value, rel=1e-5)


def test_a_crop_that_sticks_out_is_filled():
    image = np.arange(12.0).reshape(1, 3, 4)
    cut = visualize.crop(image, visualize.Box(-1, 2, 2, 6), fill=-7)
    np.testing.assert_array_equal(cut[0], [[-7, -7, -7, -7], [2, 3, -7, -7], [6, 7, -7, -7]])
    assert (visualize.crop(image, visualize.Box(5, 5, 7, 8)) == 0).all()


def test_neighbours():
    collection = np.array([[0.0, 0], [3, 4], [1, 0], [0, 2]])
    indices, distances = visualize.nearest(collection[:2], collection, count=3)
    np.testing.assert_array_equal(indices, [[0, 2, 3], [1, 3, 2]])
    np.testing.assert_allclose(distances, [[0, 1, 2], [0, 13**0.5, 20**0.5]])
    same, _ = visualize.nearest(torch.tensor(collection[:2]), torch.tensor(collection), count=3)
    np.testing.assert_array_equal(same, indices)
    with pytest.raises(ValueError, match=r"\(2, 1\).*\(4, 2\)"):
        visualize.nearest(collection[:2, :1], collection)
    with pytest.raises(ValueError, match="1 to 4 neighbours, not 5"):
        visualize.nearest(collection, collection, count=5)


def test_neighbours_are_those_of_all_distances():
    """Far from the origin, where the product that ranks them loses digits, and with rows that are equal."""
    collection = normal(300, 20) + 1000
    collection[200:220] = collection[:20]
    queries = collection[:30] + 1e-3 * normal(30, 20)
    indices, distances = visualize.nearest(queries, collection, count=7)
    every = np.linalg.norm(queries[:, None] - collection, axis=2)
    np.testing.assert_array_equal(indices, np.argsort(every, axis=1, kind="stable")[:, :7])
    np.testing.assert_allclose(distances, np.sort(every, axis=1)[:, :7], rtol=1e-12)


def test_features_are_rows(device):
    x = normal(3, *INPUT)
    assert visualize.features(network(device), x, "pool1").shape == (3, 4 * 5 * 4)


def test_occlusion_finds_the_pixel_that_decides(device):
    """A network that looks at one pixel only: the answer falls where, and only where, the window covers it."""
    model = Sequential(Flatten(), Linear(10 * 8, 2, dtype="float64")).to(device)
    model[1].weight.data[...] = 0.0
    model[1].bias.data[...] = 0.0
    model[1].weight.data[1, 6 * 8 + 3] = 4.0  # row 6, column 3
    image = np.ones((1, 10, 8))
    found = visualize.occlusion(model, image, 1, window=(3, 2), stride=(1, 2), batch_size=5)
    rows, columns = np.mgrid[:8, :4] * np.array([1, 2]).reshape(2, 1, 1)
    covered = (rows <= 6) & (rows > 3) & (columns <= 3) & (columns > 1)
    assert covered.any()
    np.testing.assert_allclose(found, np.where(covered, 0.5, 1 / (1 + np.exp(-4.0))), rtol=1e-12)

    logits = visualize.occlusion(model, image, lambda outputs: outputs[:, 1], window=(3, 2), stride=(1, 2), fill=2.0)
    np.testing.assert_allclose(logits, np.where(covered, 8.0, 4.0))
    with pytest.raises(ValueError, match="classes 0 to 1, not 2"):
        visualize.occlusion(model, image, 2, window=3)
    with pytest.raises(ValueError, match="Nearest that works"):
        visualize.occlusion(model, image, 1, window=11)


def test_filters_and_tiles():
    model = models.alexnet(width=0.1)
    weight = visualize.filters(model)
    assert weight is model["conv1"].weight.data
    assert visualize.filters(model, "conv3").shape[2:] == (3, 3)
    with pytest.raises(ValueError, match="'fc6' is no convolution.*conv1, conv2"):
        visualize.filters(model, "fc6")

    picture = visualize.tile(weight[:5], columns=3, gap=2)
    assert picture.shape == (2 * 11 + 2, 3 * 11 + 4, 4)
    assert (picture[:11, :11, :3].min(), picture[:11, :11, :3].max()) == (0, 1)
    assert (picture[:11, :11, 3] == 1).all() and (picture[:, 11:13, 3] == 0).all()
    assert (picture[13:, 26:, 3] == 0).all()  # the sixth place is empty

    grey = visualize.tile(np.array([[[1.0, 2], [3, 4]], [[5, 6], [7, 8]]]))
    np.testing.assert_array_equal(grey, [[1, 2, np.nan, 5, 6], [3, 4, np.nan, 7, 8]])
    with pytest.raises(ValueError, match="tile takes"):
        visualize.tile(np.ones((2, 4, 3, 3)))


def test_wrong_units_and_rules_are_named():
    x = normal(2, *INPUT)
    with pytest.raises(
        ValueError, match=r"a unit of 'conv1' is \(channel, row, column\).*\(4, 9, 8\), not \(4, 0, 0\)"
    ):
        visualize.project(network(), x, "conv1", (4, 0, 0))
    with pytest.raises(ValueError, match=r"a unit of 'fc' is \(feature,\)"):
        visualize.project(network(), x, "fc", (1, 0, 0))
    with pytest.raises(ValueError, match="2 images, so as many units, not 1"):
        visualize.project(network(), x, "fc", [1])
    with pytest.raises(ValueError, match="deconvnet, gradient, guided"):
        visualize.project(network(), x, "fc", 1, "magic")
    with pytest.raises(ValueError, match="channels 0 to 3, not 4"):
        visualize.strongest(network(), x, "conv1", 4, 1)
    with pytest.raises(ValueError, match="1 to 2 patches, not 9"):
        visualize.strongest(network(), x, "conv1", 1)


def test_googlenet_and_its_heads(device):
    model = models.googlenet(width=0.05, aux=True, num_classes=4).to(device)
    x = normal(1, 3, 224, 224).astype("float32")
    assert visualize.activations(model, x, "aux1.fc2").shape == (1, 4)
    assert visualize.activations(model, x, "fc").shape == (1, 4)
    inside = visualize.activations(model, x, "inception3a.branch2")
    stacked = visualize.activations(model, x, "inception3a")
    start = visualize.activations(model, x, "inception3a.branch1").shape[1]
    np.testing.assert_array_equal(inside, stacked[:, start : start + inside.shape[1]])
    assert visualize.project(model, x, "inception4b", (0, 7, 7)).shape == x.shape
