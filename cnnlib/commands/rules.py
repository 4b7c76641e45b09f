"""Optimisers and schedules by name."""

import inspect
from enum import StrEnum
from typing import Any

from cnnlib import lr_scheduler, optim
from cnnlib.lr_scheduler import LRScheduler, ReduceLROnPlateau
from cnnlib.module import Parameter
from cnnlib.optim import Optimizer
from cnnlib.recipes import Recipe


class Rule(StrEnum):
    """The optimisers of `cnnlib.optim`."""

    sgd = "sgd"
    momentum = "momentum"
    nesterov = "nesterov"
    adagrad = "adagrad"
    rmsprop = "rmsprop"
    adadelta = "adadelta"
    adam = "adam"
    adamw = "adamw"


class Schedule(StrEnum):
    """The schedules of `cnnlib.lr_scheduler`."""

    constant = "constant"
    step = "step"
    multistep = "multistep"
    exponential = "exponential"
    cosine = "cosine"
    plateau = "plateau"


RULES: dict[Rule, type[Optimizer]] = {
    Rule.sgd: optim.SGD,
    Rule.momentum: optim.Momentum,
    Rule.nesterov: optim.Nesterov,
    Rule.adagrad: optim.Adagrad,
    Rule.rmsprop: optim.RMSprop,
    Rule.adadelta: optim.Adadelta,
    Rule.adam: optim.Adam,
    Rule.adamw: optim.AdamW,
}


def rule_settings(
    rule: Rule | None, recipe: Recipe, lr: float | None, momentum: float | None, weight_decay: float | None
) -> dict[str, Any]:
    """Return the optimizer's name, lr, momentum and weight decay: what was said, else the recipe's.

    Another optimizer than the recipe's has its own defaults. Raises ValueError for a setting that it doesn't have.
    """
    asked = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
    rule = rule or Rule(recipe.optimizer)
    known = {name: p.default for name, p in inspect.signature(RULES[rule]).parameters.items() if name in asked}
    if rule == recipe.optimizer:
        known |= {name: getattr(recipe, name) for name in known}
    for name, value in asked.items():
        if value is not None and name not in known:
            raise ValueError(f"{rule} has no {name.replace('_', ' ')}: leave --{name.replace('_', '-')} out")
    return {"optimizer": str(rule)} | {n: d if asked[n] is None else asked[n] for n, d in known.items()}


def make_optimizer(parameters: list[Parameter], settings: dict[str, Any]) -> Optimizer:
    """Return the optimizer of these settings. SGD's momentum is Nesterov's, in torch's form."""
    options: dict[str, Any] = {name: settings[name] for name in ("lr", "momentum", "weight_decay") if name in settings}
    if settings["optimizer"] == "sgd":
        options["nesterov"] = options["momentum"] > 0
    return RULES[Rule(settings["optimizer"])](parameters, **options)


def schedule_settings(
    schedule: Schedule | None,
    recipe: Recipe,
    epochs: int,
    warmup: int,
    gamma: float | None,
    step_size: int | None,
    milestones: str | None,
    patience: int | None,
) -> dict[str, Any]:
    """Return the schedule's name and its numbers: what was said, else the recipe's or the lecture's.

    Raises ValueError for a number that the schedule doesn't have.
    """
    schedule = schedule or Schedule(recipe.schedule)
    defaults: dict[str, dict[str, Any]] = {
        "constant": {},
        "step": {"step_size": max(1, epochs // 3), "gamma": 0.1},
        "multistep": {"milestones": [max(1 + warmup, epochs * percent // 100) for percent in (60, 85)], "gamma": 0.1},
        "exponential": {"gamma": 0.95},
        "cosine": {},
        "plateau": {"gamma": 0.1, "patience": 5},
    }
    known = defaults[schedule]
    if schedule == recipe.schedule:
        known |= recipe.options
    asked: dict[str, Any] = {"gamma": gamma, "step_size": step_size, "milestones": None, "patience": patience}
    if milestones is not None:
        try:
            asked["milestones"] = [int(epoch) for epoch in milestones.split(",")]
        except ValueError:
            raise ValueError(f"--milestones are epochs, as 24,34, not {milestones or 'nothing'}") from None
    for name, value in asked.items():
        if value is not None and name not in known:
            raise ValueError(f"the schedule {schedule} has no {name}: leave --{name.replace('_', '-')} out")
    if asked["milestones"] and min(asked["milestones"]) <= warmup:
        when = f"{warmup + 1} on, after the warm-up" if warmup else "1 on"
        raise ValueError(f"--milestones must be epochs from {when}, not {min(asked['milestones'])}")
    if warmup and schedule is Schedule.plateau:
        raise ValueError("--warmup changes the rate by the epoch, plateau by the loss: take one of them")
    return {
        "schedule": str(schedule),
        "warmup": warmup,
        **{name: default if asked[name] is None else asked[name] for name, default in known.items()},
    }


def make_scheduler(
    optimizer: Optimizer, settings: dict[str, Any], epochs: int
) -> LRScheduler | ReduceLROnPlateau | None:
    """Return the schedule of these settings. After a warm-up of W epochs, which grow from 1/(W+1), it starts anew."""
    warmup = settings["warmup"]
    if settings["schedule"] == "plateau":
        return ReduceLROnPlateau(optimizer, factor=settings["gamma"], patience=settings["patience"])
    if not warmup:
        return _after_warmup(optimizer, settings, epochs, 0)
    ramp = lr_scheduler.LinearLR(optimizer, 1 / (warmup + 1), total_iters=warmup)
    rest = _after_warmup(optimizer, settings, epochs, warmup)
    return lr_scheduler.SequentialLR(optimizer, [ramp, rest], [warmup])


def _after_warmup(optimizer: Optimizer, settings: dict[str, Any], epochs: int, warmup: int) -> LRScheduler:
    match settings["schedule"]:
        case "step":
            return lr_scheduler.StepLR(optimizer, settings["step_size"], settings["gamma"])
        case "multistep":
            milestones = [epoch - warmup for epoch in settings["milestones"]]
            return lr_scheduler.MultiStepLR(optimizer, milestones, settings["gamma"])
        case "exponential":
            return lr_scheduler.ExponentialLR(optimizer, settings["gamma"])
        case "cosine":
            return lr_scheduler.CosineAnnealingLR(optimizer, max(1, epochs - warmup))
    return lr_scheduler.ExponentialLR(optimizer, 1.0)
