"""Class weights, ignored and soft labels, label smoothing, reductions: torch's CrossEntropyLoss, as an object."""

import inspect
import math

import numpy as np
import pytest
import torch

from cnnlib import functional as F
from cnnlib import losses, models, optim, training
from cnnlib.arrays import move
from cnnlib.data import Dataset

RNG = np.random.default_rng(0)
LOGITS, LABELS = 3 * RNG.standard_normal((6, 4)), np.array([0, 3, 1, 1, 2, 3])
SOFT = RNG.dirichlet(np.ones(4), 6)
WEIGHT = np.array([0.5, 2.0, 0.0, 1.5])
SETTINGS = [
    {},
    {"weight": WEIGHT},
    {"ignore_index": 3},
    {"label_smoothing": 0.1},
    {"weight": WEIGHT, "ignore_index": 1, "label_smoothing": 0.3},
    {"reduction": "sum", "weight": WEIGHT},
    {"reduction": "none", "label_smoothing": 0.2, "ignore_index": 0},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("labels", [LABELS, SOFT], ids=["labels", "soft"])
def test_the_loss_is_torchs(device, settings, labels):
    if labels is SOFT:
        settings = {name: value for name, value in settings.items() if name != "ignore_index"}
    criterion = losses.CrossEntropyLoss(**settings)
    theirs = {n: torch.tensor(v) if isinstance(v, np.ndarray) else v for n, v in settings.items()}
    z = torch.tensor(LOGITS, requires_grad=True)
    true = torch.nn.CrossEntropyLoss(**theirs)(z, torch.tensor(labels))
    dy = RNG.standard_normal(tuple(true.shape))
    true.backward(torch.tensor(dy))
    loss = criterion(move(LOGITS.copy(), device), move(labels.copy(), device))
    np.testing.assert_allclose(move(loss, "numpy"), true.detach().numpy(), rtol=1e-12, atol=1e-14)
    dx = criterion.backward(move(dy, device) if dy.ndim else float(dy))
    np.testing.assert_allclose(move(dx, "numpy"), z.grad.numpy(), rtol=1e-12, atol=1e-14)


def test_names_and_defaults_are_torchs():
    ours = inspect.signature(losses.CrossEntropyLoss).parameters
    theirs = inspect.signature(torch.nn.CrossEntropyLoss.__init__).parameters
    assert list(ours) == [name for name in theirs if name in ours] and len(ours) == 4
    assert all(ours[name].default == theirs[name].default for name in ours)


def test_a_wrong_class_of_probability_0_costs_nothing_unless_it_is_smoothed(device):
    logits, labels = move(np.array([[1.0, -np.inf, 2.0]]), device), move(np.array([0]), device)
    assert float(losses.CrossEntropyLoss([1.0, 2.0, 3.0])(logits, labels)) == pytest.approx(math.log1p(math.e))
    assert float(losses.CrossEntropyLoss(label_smoothing=0.1)(logits, labels)) == math.inf


@pytest.mark.parametrize(
    "settings, labels, error, message",
    [
        ({"weight": [1.0, 2.0]}, LABELS, ValueError, r"one weight for each of the 4 classes: \(4,\), not \(2,\)"),
        ({"ignore_index": 1}, SOFT, ValueError, "ignore_index=1 is a label's number, which soft labels don't have"),
        ({}, SOFT[:, :3], ValueError, r"a probability for each class, \(6, 4\), but are \(6, 3\)"),
        ({}, SOFT.astype("f4"), TypeError, "one dtype"),
        ({"ignore_index": 3}, np.full(6, 3), ValueError, "no examples is undefined: of the 6 labels none counts"),
        ({"weight": WEIGHT}, np.full(6, 2), ValueError, "or a weight of 0"),
        ({"ignore_index": 9}, np.array([9, 0, 1, 2, 3, 7]), ValueError, "0 to 3 for 4 logits, but there is a 7"),
    ],
)
def test_labels_and_weights_that_do_not_fit(device, settings, labels, error, message):
    with pytest.raises(error, match=message):
        losses.CrossEntropyLoss(**settings)(move(LOGITS.copy(), device), move(labels.copy(), device))


@pytest.mark.parametrize("wrong", [-0.1, 1.0, math.nan])
def test_settings_that_can_not_be(wrong):
    with pytest.raises(ValueError, match=f"0 <= label_smoothing < 1, not {wrong}"):
        losses.CrossEntropyLoss(label_smoothing=wrong)
    with pytest.raises(ValueError, match='reduction must be "mean", "sum" or "none", not \'max\''):
        F.cross_entropy(LOGITS, LABELS, reduction="max")


def test_a_batch_in_which_no_label_counts_moves_nothing(device):
    """Whatever the rule remembers: of three batches one has a label that counts, and the epoch is as of this alone."""
    rng = np.random.default_rng(1)
    images, labels = rng.random((6, 1, 32, 32)), np.full(6, -100)
    labels[4] = 7
    ends = []
    for chosen in (slice(None), slice(4, 5)):
        model = models.lenet(seed=2, dtype="float64").to(device)
        optimizer = optim.Nesterov(model.parameters(), 0.1)
        average, part = training.AveragedModel(model), Dataset(images[chosen], labels[chosen])
        training.fit(model, part, optimizer=optimizer, epochs=2, batch_size=2, averaged=average)
        assert average.n_averaged == 2
        ends.append([np.array(move(array, "numpy")) for array in model.state_dict().values()])
    for first, second in zip(*ends, strict=True):
        np.testing.assert_allclose(first, second, rtol=1e-10, atol=1e-13)
    with pytest.raises(ValueError, match="no image of epoch 1 could be read, or no label counts"):
        training.fit(model, Dataset(images[:4], labels[:4]), optimizer=optimizer, epochs=1)


def test_epochs_and_evaluation_are_means_over_what_counts(device):
    """Whatever the batches are: by the weights of the labels, and without the ignored ones."""
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 10, 45)
    labels[::4] = -1
    dataset = Dataset(rng.random((45, 1, 32, 32), np.float32), labels)
    weight = rng.random(10).astype("f4")
    criterion = losses.CrossEntropyLoss(weight, ignore_index=-1, label_smoothing=0.1)
    model = models.lenet(seed=2).to(device)
    logits = torch.tensor(np.array(move(model.eval()(move(dataset.images, device)), "numpy")))
    theirs = torch.nn.CrossEntropyLoss(torch.tensor(weight), ignore_index=-1, label_smoothing=0.1)
    true = float(theirs(logits, torch.tensor(labels)))
    right = float((logits.argmax(1).numpy() == labels)[labels >= 0].mean())
    for size in (7, 45):
        assert training.evaluate(model, dataset, size, criterion) == (pytest.approx(true, rel=1e-5), right)
    still = optim.SGD(model.parameters(), 0.0)
    history = training.fit(model, dataset, optimizer=still, epochs=1, batch_size=16, criterion=criterion)
    assert history.epochs[0].train_loss == pytest.approx(true, rel=1e-5)
    assert history.epochs[0].train_accuracy == right
    with pytest.raises(ValueError, match='fit takes the mean over a batch: give it reduction="mean", not \'sum\''):
        training.fit(model, dataset, optimizer=still, epochs=1, criterion=losses.CrossEntropyLoss(reduction="sum"))
