"""How good a network is: its loss, and how often the right class is first, or among the first few."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from cnnlib.arrays import Array, library, move
from cnnlib.data import Batches, batches
from cnnlib.functional import softmax
from cnnlib.layers import RBF
from cnnlib.losses import AuxiliaryLoss, CrossEntropyLoss, MAPLoss
from cnnlib.models.googlenet import AUXILIARY_WEIGHT, GoogLeNet
from cnnlib.module import Module
from cnnlib.training.distributed import ALONE, World

Criterion = CrossEntropyLoss | MAPLoss | AuxiliaryLoss


def evaluate(
    model: Module,
    dataset: Batches,
    batch_size: int = 500,
    criterion: Criterion | None = None,
    *,
    world: World = ALONE,
    on_batch: Callable[[], None] = lambda: None,
) -> tuple[float, float]:
    """Return (mean loss in nats, accuracy from 0 to 1) of `model` in evaluation mode; its mode is put back.

    The processes of a `world` share each batch; `on_batch` is called after each.
    """
    device, criterion = device_of(model), criterion or criterion_of(model)
    losses, right, seen = 0.0, 0, 0
    with in_evaluation(model):
        for images, labels in batches(dataset, batch_size, part=world.part):
            if len(labels):
                targets = move(labels, device)
                outputs = model(move(images, device))
                losses += float(criterion(outputs, targets)) * len(labels)
                right += int((criterion.predict(outputs) == targets).sum())
                seen += len(labels)
            on_batch()
    losses, right, seen = world.sum(losses, right, seen)
    if not seen:
        raise ValueError("there is nothing to evaluate: no image could be read")
    return losses / seen, right / seen


def top_k(
    model: Module,
    dataset: Batches,
    ks: Sequence[int] = (1, 5),
    batch_size: int = 100,
    on_batch: Callable[[int], None] = lambda seen: None,
) -> list[float]:
    """Return, for each k, the share of images (0 to 1) whose class is among the network's k likeliest.

    Where a data set gives several crops of an image, (N, crops, C, H, W), the network's probabilities for them are
    averaged, as in Krizhevsky et al. 2012, section 4.1. Raises ValueError for a k beyond the number of classes.
    """
    device, penalties = device_of(model), any(isinstance(module, RBF) for module in model.modules())
    right, seen = np.zeros(len(ks), int), 0
    with in_evaluation(model):
        for images, labels in batches(dataset, batch_size):
            if not len(labels):
                continue
            crops = images.reshape(-1, *images.shape[-3:])
            outputs = model(move(crops, device))
            outputs = move(softmax(-outputs if penalties else outputs, dim=1)[0], "numpy")
            probabilities = outputs.reshape(len(labels), -1, outputs.shape[1]).mean(1)
            if max(ks) > probabilities.shape[1]:
                raise ValueError(f"the network knows {probabilities.shape[1]} classes: top-{max(ks)} says nothing")
            # how many classes are likelier than the right one
            better = (probabilities > probabilities[np.arange(len(labels)), labels][:, None]).sum(1)
            right += [(better < k).sum() for k in ks]
            seen += len(labels)
            on_batch(seen)
    if not seen:
        raise ValueError("there is nothing to evaluate: no image could be read")
    return [float(count) / seen for count in right]


@contextmanager
def in_evaluation(model: Module) -> Iterator[None]:
    """Switch to evaluation, and back to what it was."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def criterion_of(model: Module) -> Criterion:
    """Return the loss that a network's outputs are made for: cross-entropy, unless its paper has one of its own."""
    if isinstance(model, GoogLeNet) and model.has_heads:
        return AuxiliaryLoss(AUXILIARY_WEIGHT)
    if any(isinstance(module, RBF) for module in model.modules()):
        return MAPLoss()
    return CrossEntropyLoss()


def device_of(model: Module) -> str:
    """Return where the model's parameters are, as `Module.to` takes it: "numpy", "cpu", "cuda:0"."""
    data: Array = model.parameters()[0].data
    return "numpy" if library(data) == "numpy" else str(data.device)
