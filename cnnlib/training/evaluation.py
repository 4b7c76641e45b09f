"""How good a network is: its loss, and how often the right class is first, or among the first few."""

from collections.abc import Callable, Sequence

import numpy as np

from cnnlib.arrays import move
from cnnlib.data import Batches, batches
from cnnlib.functional import log_softmax
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
    losses = size = right = seen = 0.0
    with model.evaluating():
        for images, labels in batches(dataset, batch_size, part=world.part):
            if len(labels):
                targets = move(labels, device)
                outputs = model(move(images, device))
                if counts := criterion.size(targets):
                    losses += float(criterion(outputs, targets)) * counts
                    size += counts
                found = criterion.right(outputs, targets)
                right, seen = right + found[0], seen + found[1]
            on_batch()
    losses, size, right, seen = world.sum(losses, size, right, seen)
    if not (seen and size):
        raise ValueError("there is nothing to evaluate: no image could be read, or no label counts")
    return losses / size, right / seen


def top_k(
    model: Module,
    dataset: Batches,
    ks: Sequence[int] = (1, 5),
    batch_size: int = 100,
    on_batch: Callable[[int], None] = lambda seen: None,
) -> list[float]:
    """Return, for each k, the share of images (0 to 1) whose class is among the network's k likeliest.

    Classes are ranked by the network's scores; of equals the lowest number comes first, and an image with a NaN among
    its scores is never right. Where a data set gives several crops of an image, (N, crops, C, H, W), the network's
    probabilities for them are averaged, as in Krizhevsky et al. 2012, section 4.1. Raises ValueError for a k beyond the
    number of classes.
    """
    device, criterion = model.device, model.criterion()
    right, seen = np.zeros(len(ks), int), 0
    with model.evaluating():
        for images, labels in batches(dataset, batch_size):
            if not len(labels):
                continue
            crops = images.reshape(-1, *images.shape[-3:])
            scores = criterion.scores(model(move(crops, device)))
            scores = move(scores, "numpy").reshape(len(labels), -1, scores.shape[1])
            if max(ks) > scores.shape[2]:
                raise ValueError(f"the network knows {scores.shape[2]} classes: top-{max(ks)} says nothing")
            before = places(_over_crops(scores), labels)
            right += [(before < k).sum() for k in ks]
            seen += len(labels)
            on_batch(seen)
    if not seen:
        raise ValueError("there is nothing to evaluate: no image could be read")
    return [float(count) / seen for count in right]


def places(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return how many classes come before the right one, (N,), from scores (N, K) and labels (N,).

    The larger score comes first, of equals the lower number; with a NaN among its scores, the right class is behind all
    K. So a place of 0 is what `Criterion.predict` finds.
    """
    of_right = np.take_along_axis(scores, labels[:, None].astype(int), 1)
    lower = np.arange(scores.shape[1]) < labels[:, None]
    before = ((scores > of_right) | ((scores == of_right) & lower)).sum(1)
    return np.where(np.isnan(scores).any(1), scores.shape[1], before)


def _over_crops(scores: np.ndarray) -> np.ndarray:
    """Return scores (N, K) that rank as the probabilities do, averaged over the crops of scores (N, crops, K).

    They stay logarithms, since probabilities may be too small for any float.
    """
    if scores.shape[1] == 1:
        return scores[:, 0]  # as they are: rounding could make equals of two
    log_probabilities, _ = log_softmax(scores.astype(np.float64), dim=2)
    return np.logaddexp.reduce(log_probabilities, axis=1)
