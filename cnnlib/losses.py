"""Losses as objects: `loss = criterion(outputs, targets)`, then `dy = criterion.backward()`."""

from typing import Any

from cnnlib import functional as F
from cnnlib.functional._arrays import Array


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


class CrossEntropyLoss(_Loss):
    """Mean negative log-probability of the right classes, from logits (N, K) and labels (N,).

    See `functional.cross_entropy`.
    """

    def __call__(self, logits: Array, labels: Array) -> Array:
        loss, self._cache = F.cross_entropy(logits, labels)
        return loss

    def _gradient(self, cache: Any) -> Array:
        return F.cross_entropy_backward(1.0, cache)


class MSELoss(_Loss):
    """Mean squared error of two arrays of one shape. See `functional.mse_loss`."""

    def __call__(self, input: Array, target: Array) -> Array:
        loss, self._cache = F.mse_loss(input, target)
        return loss

    def _gradient(self, cache: Any) -> Array:
        return F.mse_loss_backward(1.0, cache)
