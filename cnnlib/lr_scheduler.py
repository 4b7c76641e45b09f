"""How the learning rate falls while training goes on: `scheduler.step()` after each epoch. Names are torch's."""

from collections.abc import Sequence

from cnnlib.optim import Optimizer


class LRScheduler:
    """A rule that gives the learning rate of each epoch, from the one that the optimizer started with."""

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        self.base_lr = optimizer.lr
        self.epoch = 0
        self.optimizer.lr = self.lr(0)

    def lr(self, epoch: int) -> float:
        """Return the learning rate of an epoch, counted from 0."""
        raise NotImplementedError

    def step(self, epoch: int | None = None) -> None:
        """Go on to the next epoch, or to `epoch` when a run is resumed."""
        self.epoch = self.epoch + 1 if epoch is None else epoch
        self.optimizer.lr = self.lr(self.epoch)


class MultiStepLR(LRScheduler):
    """Multiply the rate by `gamma` at each milestone (an epoch): the lecture's "divide by 10, one to three times".

    Raises ValueError unless the milestones are epochs from 1 on, in order; one that stands twice counts twice.
    """

    def __init__(self, optimizer: Optimizer, milestones: Sequence[int], gamma: float = 0.1) -> None:
        self.milestones, self.gamma = list(milestones), gamma
        if self.milestones != sorted(self.milestones) or min(self.milestones, default=1) < 1:
            raise ValueError(f"milestones must be epochs from 1 on, in order, not {self.milestones}")
        super().__init__(optimizer)

    def lr(self, epoch: int) -> float:
        return self.base_lr * self.gamma ** sum(epoch >= milestone for milestone in self.milestones)
