"""Losses as objects: `loss = criterion(outputs, targets)`, then `dy = criterion.backward()`."""

from typing import Any

import numpy as np

from cnnlib import functional as F
from cnnlib.arrays import Array, as_on, move, namespace
from cnnlib.functional.loss import check_cross_entropy


class _Loss:
    _cache: Any = None

    def backward(self) -> Array:
        """Return the gradient of the last loss with respect to the outputs it was computed from."""
        if self._cache is None:
            raise RuntimeError(
                f"{type(self).__name__}.backward needs a loss before it, and one for each backward: "
                "call criterion(outputs, targets) first"
            )
        cache, self._cache = self._cache, None
        return self._gradient(cache)

    def _gradient(self, cache: Any) -> Array:
        raise NotImplementedError


class Criterion(_Loss):
    """A loss that tells classes apart, from outputs (N, K) or what a network gives in their place, and labels (N,)."""

    def __call__(self, outputs: Any, labels: Array) -> Array:
        raise NotImplementedError

    def scores(self, outputs: Any) -> Array:
        """Return what ranks the classes, (N, K): the larger, the likelier; softmax makes probabilities of them."""
        return outputs

    def size(self, labels: Array) -> float:
        """Return by what a batch's loss counts in the mean over several batches: how many labels it is a mean over."""
        return float(labels.shape[0])

    def right(self, outputs: Any, labels: Array) -> tuple[int, int]:
        """Return how many labels are predicted, and of how many."""
        return int((self.predict(outputs) == labels).sum()), int(labels.shape[0])

    def predict(self, outputs: Any) -> Array:
        """Return the numbers of the likeliest classes, (N,): of equals the lowest, and -1 where a score is NaN.

        `training.top_k` ranks by the same rule.
        """
        scores = self.scores(outputs)
        xp = namespace(scores)
        best = xp.argmax(scores, axis=1)
        return xp.where(xp.any(xp.isnan(scores), axis=1), xp.full_like(best, -1), best)


class CrossEntropyLoss(Criterion):
    """Mean negative log-probability of the right classes, from logits (N, K) and labels (N,), or soft ones (N, K).

    See `functional.cross_entropy`; names and defaults are torch's. `weight` follows the logits to their device.
    """

    def __init__(
        self,
        weight: Array | None = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        check_cross_entropy(None, weight, reduction, label_smoothing)
        self.weight = np.asarray(weight, float) if isinstance(weight, (list, tuple)) else weight
        self.ignore_index, self.reduction, self.label_smoothing = ignore_index, reduction, label_smoothing

    def __call__(self, logits: Array, labels: Array) -> Array:
        weight = None if self.weight is None else as_on(self.weight, logits)
        loss, self._cache = F.cross_entropy(
            logits, labels, weight, self.ignore_index, self.reduction, self.label_smoothing
        )
        return loss

    def backward(self, dy: float | Array = 1.0) -> Array:
        """Return the gradient of the last loss; `dy` is that of what is made of it, (N,) without a reduction."""
        self._dy = dy
        return super().backward()

    def _gradient(self, cache: Any) -> Array:
        return F.cross_entropy_backward(self._dy, cache)

    def size(self, labels: Array) -> float:
        if len(labels.shape) == 2:
            return float(labels.shape[0])
        counts = namespace(labels).astype(labels != self.ignore_index, namespace(labels).int64)
        if self.weight is None:
            return float(counts.sum())
        chosen = np.asarray(move(labels, "numpy"))[np.asarray(move(counts, "numpy"), bool)]
        return float(np.asarray(move(self.weight, "numpy"))[chosen].sum())

    def right(self, outputs: Any, labels: Array) -> tuple[int, int]:
        if len(labels.shape) == 2:
            labels = namespace(labels).argmax(labels, axis=1)
        counted = int((labels != self.ignore_index).sum())
        return int(((self.predict(outputs) == labels) & (labels != self.ignore_index)).sum()), counted


class MSELoss(_Loss):
    """Mean squared error of two arrays of one shape. See `functional.mse_loss`."""

    def __call__(self, input: Array, target: Array) -> Array:
        loss, self._cache = F.mse_loss(input, target)
        return loss

    def _gradient(self, cache: Any) -> Array:
        return F.mse_loss_backward(1.0, cache)


class MAPLoss(Criterion):
    r"""LeNet-5's criterion of 1998, from penalties (N, K), as of `layers.RBF`, and labels (N,).

    .. math:: L = \frac{1}{N} \sum_n \left( y_{n,t_n} + \log\Big( e^{-j} + \sum_k e^{-y_{n,k}} \Big) \right)

    The constant j > 0 is the penalty of a "rubbish" class, which keeps penalties from all growing at once; the paper
    gives no value. Source: LeCun et al. 1998, equation 9.
    """

    def __init__(self, j: float = 1.0) -> None:
        if not j > 0:
            raise ValueError(f"j must be positive, not {j}")
        self.j = j

    def __call__(self, outputs: Array, labels: Array) -> Array:
        # cross-entropy of the negated penalties, with the rubbish class as one more that is never right
        xp = namespace(outputs)
        rubbish = xp.full((outputs.shape[0], 1), -self.j, dtype=outputs.dtype, device=outputs.device)
        loss, self._cache = F.cross_entropy(xp.concat([-outputs, rubbish], axis=1), labels)
        return loss

    def _gradient(self, cache: Any) -> Array:
        return -F.cross_entropy_backward(1.0, cache)[:, :-1]

    def scores(self, outputs: Array) -> Array:
        """Return the penalties with their sign turned: the smallest is the likeliest."""
        return -outputs


class AuxiliaryLoss(Criterion):
    """Cross-entropy of the main logits plus `weight` times that of each auxiliary head's.

    Takes what a network with heads returns: (main, aux1, aux2) in training, the main logits alone in evaluation;
    `backward` returns as many gradients. Source: Szegedy et al. 2014, section 5 (weight 0.3).
    """

    def __init__(self, weight: float = 0.3) -> None:
        if not weight >= 0:
            raise ValueError(f"weight must be at least 0, not {weight}")
        self.weight = weight

    def __call__(self, outputs: Array | tuple[Array, ...], labels: Array) -> Array:
        main, *others = outputs if isinstance(outputs, tuple) else (outputs,)
        loss, cache = F.cross_entropy(main, labels)
        caches = [cache]
        for logits in others:
            extra, cache = F.cross_entropy(logits, labels)
            loss = loss + self.weight * extra
            caches.append(cache)
        self._cache = caches
        return loss

    def _gradient(self, cache: Any) -> Any:
        main, *others = cache
        gradients = [F.cross_entropy_backward(1.0, main)]
        gradients += [F.cross_entropy_backward(self.weight, one) for one in others]
        return tuple(gradients) if others else gradients[0]

    def scores(self, outputs: Array | tuple[Array, ...]) -> Array:
        """Return the main logits."""
        return outputs[0] if isinstance(outputs, tuple) else outputs
