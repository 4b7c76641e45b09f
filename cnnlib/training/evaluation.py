"""How good a network is: its loss, and how often the right class is first, or among the first few."""

from collections.abc import Callable, Sequence

import numpy as np

from cnnlib.arrays import move
from cnnlib.data import Batches, batches
from cnnlib.functional import softmax
from cnnlib.losses import Criterion
from cnnlib.module import Module
from cnnlib.training.distributed import ALONE, World


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
    device, criterion = model.device, criterion or model.criterion()
    losses = right = seen = 0.0
    with model.evaluating():
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
    device, criterion = model.device, model.criterion()
    right, seen = np.zeros(len(ks), int), 0
    with model.evaluating():
        for images, labels in batches(dataset, batch_size):
            if not len(labels):
                continue
            crops = images.reshape(-1, *images.shape[-3:])
            scores = criterion.scores(model(move(crops, device)))
            outputs = move(softmax(scores, dim=1)[0], "numpy")
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
