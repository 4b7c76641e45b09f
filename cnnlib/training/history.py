"""What a training run tells of itself."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Epoch:
    """What one epoch came to: mean loss in nats and accuracy from 0 to 1; test figures are None without a test set."""

    epoch: int
    lr: float
    train_loss: float
    train_accuracy: float
    test_loss: float | None
    test_accuracy: float | None
    seconds: float


@dataclass(frozen=True)
class Batch:
    """Where a run stands, as told to `on_batch`: mean loss and accuracy of the epoch so far."""

    epoch: int
    batch: int
    batches: int
    loss: float
    accuracy: float


@dataclass(frozen=True)
class UnderWay:
    """How far an unfinished epoch has come: batches done, and the sums of loss and right answers over its images.

    `size` is how many labels the loss is a mean over, by their weights, and `seen` how many are right or wrong.
    """

    batches: int = 0
    loss: float = 0.0
    right: float = 0.0
    seen: float = 0.0
    seconds: float = 0.0
    size: float = 0.0


@dataclass(frozen=True)
class LossScale:
    """What float16 multiplies the loss by, and how many steps in a row have been fine with it."""

    value: float = 2.0**16
    fine: int = 0


@dataclass
class History:
    """The epochs of a run, in order, and what a checkpoint between two of them needs to go on."""

    epochs: list[Epoch] = field(default_factory=list)
    under_way: UnderWay | None = None
    loss_scale: LossScale | None = None

    def series(self, name: str) -> list[float]:
        """Return one figure of every epoch, as `history.series("train_loss")`."""
        return [getattr(epoch, name) for epoch in self.epochs]
