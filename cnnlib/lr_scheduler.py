"""How the learning rate changes while training goes on: `scheduler.step()` after each epoch. Names are torch's.

All of them raise ValueError for a factor or a rate that is negative, infinite or NaN, and for numbers of epochs that
are none.
"""

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

from cnnlib.optim import Optimizer, check_at_least_zero


class LRScheduler:
    """A rule that gives the learning rate of each epoch, from the one that a group of parameters started with.

    Schedules of one optimizer share these rates, as in torch: they are the groups' when the first of them is made.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        self.base_lrs: list[float] = []
        for group in optimizer.param_groups:
            if group.initial_lr is None:
                group.initial_lr = group.lr
            self.base_lrs.append(group.initial_lr)
        self.epoch: int = 0
        self.step(0)

    def lr(self, epoch: int, base_lr: float) -> float:
        """Return the learning rate of an epoch, counted from 0, where the first one is `base_lr`."""
        raise NotImplementedError

    def step(self, epoch: int | None = None) -> None:
        """Go on to the next epoch, or to `epoch` when a run is resumed."""
        self.epoch = self.epoch + 1 if epoch is None else epoch
        for group, base_lr in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            group.lr = self.lr(self.epoch, base_lr)


class StepLR(LRScheduler):
    """Multiply the rate by `gamma` every `step_size` epochs."""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> None:
        _check_epochs("step_size", step_size)
        check_at_least_zero("gamma", gamma)
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer)

    def lr(self, epoch: int, base_lr: float) -> float:
        return base_lr * self.gamma ** (epoch // self.step_size)


class MultiStepLR(LRScheduler):
    """Multiply the rate by `gamma` at each milestone (an epoch): the lecture's "divide by 10, one to three times".

    Raises ValueError unless the milestones are epochs from 1 on, in order; one that stands twice counts twice.
    """

    def __init__(self, optimizer: Optimizer, milestones: Sequence[int], gamma: float = 0.1) -> None:
        check_at_least_zero("gamma", gamma)
        self.milestones, self.gamma = list(milestones), gamma
        if self.milestones != sorted(self.milestones) or min(self.milestones, default=1) < 1:
            raise ValueError(f"milestones must be epochs from 1 on, in order, not {self.milestones}")
        super().__init__(optimizer)

    def lr(self, epoch: int, base_lr: float) -> float:
        return base_lr * self.gamma ** sum(epoch >= milestone for milestone in self.milestones)


class ExponentialLR(LRScheduler):
    """Multiply the rate by `gamma` every epoch."""

    def __init__(self, optimizer: Optimizer, gamma: float) -> None:
        check_at_least_zero("gamma", gamma)
        self.gamma = gamma
        super().__init__(optimizer)

    def lr(self, epoch: int, base_lr: float) -> float:
        return base_lr * self.gamma**epoch


class CosineAnnealingLR(LRScheduler):
    r"""Let the rate fall along half a cosine, to `eta_min` after `T_max` epochs.

    .. math:: \eta_t = \eta_{min} + \tfrac{1}{2} (\eta_0 - \eta_{min}) \left( 1 + \cos(\pi t / T) \right)

    Source: Loshchilov & Hutter 2017, equation 5, without restarts.
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0) -> None:
        _check_epochs("T_max", T_max)
        check_at_least_zero("eta_min", eta_min)
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer)

    def lr(self, epoch: int, base_lr: float) -> float:
        fall = (1 + math.cos(math.pi * epoch / self.T_max)) / 2
        return self.eta_min + (base_lr - self.eta_min) * fall


class LinearLR(LRScheduler):
    """Warm-up: from `start_factor` times the rate to `end_factor` times it within `total_iters` epochs."""

    def __init__(
        self, optimizer: Optimizer, start_factor: float = 1 / 3, end_factor: float = 1.0, total_iters: int = 5
    ) -> None:
        _check_epochs("total_iters", total_iters)
        check_at_least_zero("start_factor", start_factor)
        check_at_least_zero("end_factor", end_factor)
        self.start_factor, self.end_factor, self.total_iters = start_factor, end_factor, total_iters
        super().__init__(optimizer)

    def lr(self, epoch: int, base_lr: float) -> float:
        done = min(epoch, self.total_iters) / self.total_iters
        return base_lr * (self.start_factor + (self.end_factor - self.start_factor) * done)


class SequentialLR(LRScheduler):
    """One schedule after the other: warm up, then cosine. Schedule k starts its own count at `milestones[k - 1]`."""

    def __init__(self, optimizer: Optimizer, schedulers: Sequence[LRScheduler], milestones: Sequence[int]) -> None:
        if not schedulers:
            raise ValueError("there is no schedule to follow: the list is empty")
        if len(milestones) != len(schedulers) - 1 or list(milestones) != sorted(milestones):
            raise ValueError(
                f"{len(schedulers)} schedules need {len(schedulers) - 1} milestones between them, epochs in order, "
                f"not {milestones}"
            )
        self.schedulers, self.milestones = list(schedulers), list(milestones)
        super().__init__(optimizer)

    def lr(self, epoch: int, base_lr: float) -> float:
        current = sum(epoch >= milestone for milestone in self.milestones)
        started = self.milestones[current - 1] if current else 0
        return self.schedulers[current].lr(epoch - started, base_lr)


class ReduceLROnPlateau:
    """Multiply the rate by `factor` once a figure has not improved for more than `patience` epochs.

    `step(figure)` after each epoch; smaller is better for `mode` "min", larger for "max". An improvement is one by more
    than `threshold`, as a share of the best. After a reduction, `cooldown` epochs are not counted.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        if mode not in ("min", "max"):
            raise ValueError(f'mode must be "min" or "max", not {mode!r}')
        if not 0 < factor < 1:
            raise ValueError(f"factor must be between 0 and 1, not {factor}: the rate is to fall")
        _check_epochs("patience", patience, 0)
        _check_epochs("cooldown", cooldown, 0)
        check_at_least_zero("threshold", threshold)
        check_at_least_zero("min_lr", min_lr)
        self.optimizer, self.mode, self.factor, self.patience = optimizer, mode, factor, patience
        self.threshold, self.cooldown, self.min_lr = threshold, cooldown, min_lr
        self.best = math.inf if mode == "min" else -math.inf
        self.bad_epochs = self.cooling = 0

    def step(self, figure: float) -> None:
        """Take note of an epoch's figure, and reduce the rate if it is time."""
        if self._improves(figure):
            self.best, self.bad_epochs = figure, 0
        else:
            self.bad_epochs += 1
        if self.cooling > 0:
            self.cooling -= 1
            self.bad_epochs = 0
        if self.bad_epochs > self.patience:
            for group in self.optimizer.param_groups:
                group.lr = max(group.lr * self.factor, self.min_lr)
            self.cooling, self.bad_epochs = self.cooldown, 0

    def _improves(self, figure: float) -> bool:
        if self.mode == "min":
            return figure < self.best * (1 - self.threshold)
        return figure > self.best * (1 + self.threshold)


def _check_epochs(name: str, value: Any, least: int = 1) -> None:
    if not (isinstance(value, Real) and float(value) >= least):
        raise ValueError(f"{name} is a number of epochs, at least {least}, not {value!r}")
