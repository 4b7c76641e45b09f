"""Fine-tuning by `fit`: groups, frozen parts, parts in evaluation, clipping, averages; interrupted and resumed."""

from functools import partial

import numpy as np
import pytest
import torch

from cnnlib import data, lr_scheduler, models, optim, training
from cnnlib.arrays import move
from cnnlib.containers import Sequential
from cnnlib.data import Dataset
from cnnlib.layers import BatchNorm2d, Conv2d, Dropout, Flatten, Linear, ReLU
from cnnlib.losses import CrossEntropyLoss
from cnnlib.training import AveragedModel, Callbacks, Checkpoint, CheckpointError

DIGITS = data.digits()
TRAIN = Dataset(DIGITS.train.images[:130], DIGITS.train.labels[:130])
TEST = Dataset(DIGITS.test.images[:60], DIGITS.test.labels[:60])


def network(device="numpy"):
    rng = np.random.default_rng(0)
    body = Sequential(Conv2d(1, 4, 5, stride=4, rng=rng), BatchNorm2d(4), ReLU(), Flatten(), Dropout(0.3))
    return Sequential(body=body, mid=Linear(4 * 7 * 7, 20, rng=rng), relu=ReLU(), fc=Linear(20, 10, rng=rng)).to(device)


def prepare(device, frozen=("body.0",), evaluated=("body",)):
    model = network(device)
    for name in frozen:
        model[name].requires_grad_(False)
    for name in evaluated:
        model[name].eval()
    groups = [
        {"params": model["fc"].parameters(), "lr": 0.1},
        {"params": model["body"].parameters() + model["mid"].parameters(), "weight_decay": 0.0},
    ]
    optimizer = optim.SGD(groups, 0.02, momentum=0.9, weight_decay=1e-3)
    return model, optimizer, AveragedModel(model, training.get_ema_avg_fn(0.9))


def run(device, prepared=None, epochs=3, **arguments):
    model, optimizer, averaged = prepared or prepare(device)
    history = training.fit(
        model, TRAIN, TEST, optimizer=optimizer, epochs=epochs, batch_size=32, seed=7, max_norm=2.0,
        scheduler=lr_scheduler.CosineAnnealingLR(optimizer, 3), averaged=averaged, drop_last=True,
        augment=partial(data.shift, pixels=1), criterion=CrossEntropyLoss(label_smoothing=0.1), **arguments,
    )  # fmt: skip
    return model, averaged, history


def arrays(source):
    return {name: np.array(move(array, "numpy")) for name, array in source.state_dict().items()}


def same(first, second):
    assert first.keys() == second.keys()
    for name, array in first.items():
        assert np.array_equal(array, second[name]), name


@pytest.mark.parametrize("asked", [2, 5, 8])
def test_an_interrupted_fine_tuning_goes_on_to_the_same_bits(device, tmp_path, asked):
    """In an epoch's midst, while testing (after four batches), in the second epoch."""
    whole, average, history = run(device)
    path, count = tmp_path / "run", iter(range(1, 1000))
    with pytest.raises(training.InterruptedRunError):
        run(device, checkpoint=path, callbacks=Callbacks(should_stop=lambda: next(count) == asked))
    resumed, again, joined = run(device, checkpoint=Checkpoint(path, resume=True))
    same(arrays(resumed), arrays(whole))
    same(arrays(again), arrays(average))
    assert again.n_averaged == 12
    assert joined.series("train_loss") == history.series("train_loss")
    assert joined.series("test_loss") == history.series("test_loss")


def test_what_is_kept_is_kept(device):
    start = arrays(network(device))
    batches = []
    model, averaged, history = run(device, callbacks=Callbacks(on_batch=batches.append))
    moved = {name for name, array in arrays(model).items() if not np.array_equal(array, start[name])}
    bn = {"body.1.weight", "body.1.bias"}
    assert moved == bn | {"mid.weight", "mid.bias", "fc.weight", "fc.bias"}
    assert model.training and not model["body"].training and not model["body.4"].training and model["fc"].training
    assert (batches[-1].batch, batches[-1].batches) == (4, 4), "130 images, and the last batch of two is left out"
    assert training.evaluate(averaged.module, TEST, criterion=CrossEntropyLoss(label_smoothing=0.1)) == (
        history.epochs[-1].test_loss,
        history.epochs[-1].test_accuracy,
    )


def test_a_network_in_evaluation_as_a_whole_is_switched_to_training(device):
    model = network(device).eval()
    training.fit(model, TRAIN, TEST, optimizer=optim.SGD(model.parameters(), 0.01), epochs=1)
    assert all(module.training for module in model.modules())
    assert int(model["body.1"].num_batches_tracked) == 3
    model.requires_grad_(False)
    with pytest.raises(ValueError, match="all parameters that the optimizer was given are frozen"):
        training.fit(model, TRAIN, optimizer=optim.SGD(model.parameters()), epochs=1)
    model.requires_grad_()
    with pytest.raises(ValueError, match="max_norm, to which gradients are clipped, .* not -1"):
        training.fit(model, TRAIN, optimizer=optim.SGD(model.parameters()), epochs=1, max_norm=-1)


def test_fit_clips():
    """With a norm of 0 nothing moves, and with one that is never reached all is as without."""
    ends = []
    for max_norm in (None, 1e9, 0):
        model = models.lenet(seed=1)
        training.fit(model, TRAIN, optimizer=optim.SGD(model.parameters(), 0.05), epochs=1, max_norm=max_norm)
        ends.append(arrays(model))
    same(ends[0], ends[1])
    same(ends[2], arrays(models.lenet(seed=1)))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"frozen": ()}, "other parts frozen: body.0.weight then only, body.0.bias then only.*requires_grad_"),
        ({"frozen": ("body.0", "mid")}, "other parts frozen: mid.weight now only, mid.bias now only"),
        ({"evaluated": ()}, "other parts in evaluation mode: body then only, body.0 then only"),
        ({"evaluated": ("body", "fc")}, "other parts in evaluation mode: fc now only"),
    ],
)
def test_a_run_goes_on_with_the_same_parts_only(tmp_path, changes, message):
    run("numpy", epochs=1, checkpoint=tmp_path / "run")
    with pytest.raises(CheckpointError, match=message):
        run("numpy", prepare("numpy", **changes), checkpoint=Checkpoint(tmp_path / "run", resume=True))


def test_a_run_goes_on_with_the_same_groups_and_its_average(tmp_path):
    run("numpy", epochs=1, checkpoint=tmp_path / "run")
    model, optimizer, averaged = prepare("numpy")
    before = arrays(averaged)
    with pytest.raises(CheckpointError, match="an average of its weights, and there is none now"):
        run("numpy", (model, optimizer, None), checkpoint=Checkpoint(tmp_path / "run", resume=True))
    ungrouped = optim.SGD(model.parameters(), 0.02, momentum=0.9)
    with pytest.raises(CheckpointError, match="groups of 2 and 6 parameters in the state, of 8 here"):
        run("numpy", (model, ungrouped, averaged), checkpoint=Checkpoint(tmp_path / "run", resume=True))
    same(arrays(model), arrays(network()))
    same(arrays(averaged), before)
    training.load_checkpoint(tmp_path / "run", network())  # to use the weights, nothing has to be the same


class Twin(torch.nn.Module):
    def __init__(self, shapes):
        super().__init__()
        self.all = torch.nn.ParameterList(
            torch.nn.Parameter(torch.zeros(shape, dtype=torch.float64)) for shape in shapes
        )


@pytest.mark.parametrize("kind", ["ema", "swa"])
def test_averages_are_torchs(device, kind):
    from torch.optim import swa_utils

    layer = Linear(4, 3, dtype="float64").to(device)
    twin = Twin([p.shape for p in layer.parameters()])
    ours_fn, theirs_fn = (
        (training.get_ema_avg_fn(0.8), swa_utils.get_ema_avg_fn(0.8))
        if kind == "ema"
        else (None, swa_utils.get_swa_avg_fn())
    )
    ours, theirs = AveragedModel(layer, ours_fn), swa_utils.AveragedModel(twin, avg_fn=theirs_fn)
    rng = np.random.default_rng(0)
    for _ in range(5):
        for parameter, tensor in zip(layer.parameters(), twin.parameters(), strict=True):
            new = rng.standard_normal(parameter.shape)
            parameter.data[...] = move(new, device)
            tensor.data.copy_(torch.tensor(new))
        ours.update_parameters(layer)
        theirs.update_parameters(twin)
    assert ours.n_averaged == int(theirs.n_averaged) == 5
    for a, b in zip(ours.module.parameters(), theirs.module.parameters(), strict=True):
        np.testing.assert_allclose(move(a.data, "numpy"), b.detach().numpy(), rtol=1e-12)
    again = AveragedModel(Linear(4, 3, dtype="float64").to(device))
    again.load_state_dict(ours.state_dict())
    same(arrays(again), arrays(ours))
    x = move(rng.standard_normal((2, 4)), device)
    assert np.array_equal(move(again(x), "numpy"), move(ours.module(x), "numpy"))


@pytest.mark.parametrize("use_buffers", [False, True])
def test_buffers_are_copied_or_averaged(use_buffers):
    norm = BatchNorm2d(2)
    averaged = AveragedModel(norm, training.get_ema_avg_fn(0.5), use_buffers)
    for value in (1.0, 3.0):
        norm.running_mean[...] = value
        averaged.update_parameters(norm)
    assert averaged.module.running_mean.tolist() == [2.0 if use_buffers else 3.0] * 2
    with pytest.raises(ValueError, match="the average is of another network"):
        averaged.update_parameters(BatchNorm2d(3))
    for wrong in (-0.1, 1.1, float("nan"), "0.9"):
        with pytest.raises(ValueError, match="0 <= decay <= 1, not"):
            training.get_ema_avg_fn(wrong)


def residual(classes=10):
    return models.resnet_cifar(8, classes, 1, width=1 / 4, seed=3)


def tuned(path, device):
    """A network that knows ten digits, with a new head for five, which alone is trained."""
    net = residual()
    assert models.load_weights(net, path) == ([], [])
    net["fc"] = Linear(16, 5, rng=np.random.default_rng(1))
    for name, part in net.children():
        if name != "fc":
            part.requires_grad_(False).eval()
    return net.to(device)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_residual_network_is_given_a_head_trained_interrupted_resumed_saved_and_loaded(device, tmp_path, precision):
    if precision == "bfloat16" and device == "numpy":
        net = residual().to(device)
        with pytest.raises(ValueError, match="bfloat16 arithmetic needs the torch engine"):
            training.fit(net, TRAIN, optimizer=optim.SGD(net.parameters(), 0.05), epochs=1, precision=precision)
        return
    first = residual().to(device)
    training.fit(first, TRAIN, optimizer=optim.SGD(first.parameters(), 0.05), epochs=1, checkpoint=tmp_path / "first")
    five = [Dataset(part.images[part.labels < 5], part.labels[part.labels < 5]) for part in (TRAIN, TEST)]

    def run(net, checkpoint, **arguments):
        groups = optim.param_groups_weight_decay(net, 0.01)
        optimizer = optim.AdamW(groups, 0.01)
        return training.fit(
            net, *five, optimizer=optimizer, epochs=2, batch_size=16, precision=precision, checkpoint=checkpoint,
            scheduler=lr_scheduler.CosineAnnealingLR(optimizer, 2), max_norm=1.0, **arguments,
        )  # fmt: skip

    whole, broken = tuned(tmp_path / "first", device), tuned(tmp_path / "first", device)
    history = run(whole, tmp_path / "whole")
    count = iter(range(1, 1000))
    with pytest.raises(training.InterruptedRunError):
        run(broken, tmp_path / "broken", callbacks=Callbacks(should_stop=lambda: next(count) == 3))
    resumed = tuned(tmp_path / "first", device)
    joined = run(resumed, Checkpoint(tmp_path / "broken", resume=True))
    same(arrays(resumed), arrays(whole))
    assert joined.series("test_loss") == history.series("test_loss")
    before, after = arrays(first), arrays(whole)
    moved = {name for name in before if not np.array_equal(before[name], after[name])}
    assert moved == {"fc.weight", "fc.bias"} and history.epochs[1].train_loss < history.epochs[0].train_loss
    again = residual(5).to(device)
    training.load_checkpoint(tmp_path / "whole", again)
    same(arrays(again), after)
    assert training.evaluate(again, five[1]) == (history.epochs[-1].test_loss, history.epochs[-1].test_accuracy)
    assert models.load_weights(residual(), tmp_path / "whole", ignore="fc.").missing_keys == ["fc.weight", "fc.bias"]
    thawed = tuned(tmp_path / "first", device)
    thawed["layer3"].requires_grad_()
    with pytest.raises(CheckpointError, match=r"other parts frozen: layer3\.0\.conv1\.weight then only"):
        run(thawed, Checkpoint(tmp_path / "whole", resume=True))


def test_drop_last():
    images = np.arange(10.0).reshape(10, 1, 1, 1)
    dataset = Dataset(images, np.arange(10))

    def sizes(size, **options):
        return [len(batch.labels) for batch in data.batches(dataset, size, **options)]

    assert sizes(4) == [4, 4, 2] and sizes(4, drop_last=True) == [4, 4] and sizes(5, drop_last=True) == [5, 5]
    assert sizes(10, drop_last=True) == [10] and sizes(4, drop_last=True, start=1) == [4]
    rng = np.random.default_rng
    whole = [batch.labels for batch in data.batches(dataset, 4, rng(0))]
    for a, b in zip(data.batches(dataset, 4, rng(0), drop_last=True), whole[:2], strict=True):
        assert np.array_equal(a.labels, b)
    for size in range(1, 11):
        loader = torch.utils.data.DataLoader(torch.arange(10), size, drop_last=True)
        found = [batch.labels.tolist() for batch in data.batches(dataset, size, drop_last=True)]
        assert found == [batch.tolist() for batch in loader]
    with pytest.raises(ValueError, match="drop_last leaves nothing of 10 images in batches of 11"):
        sizes(11, drop_last=True)
