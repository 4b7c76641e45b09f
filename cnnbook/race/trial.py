"""One training of the race, and how several are summed up."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import sqrt
from statistics import mean, stdev
from typing import Any, NamedTuple

from cnnbook.race.networks import NETWORKS, SIZE, rate
from cnnlib import cost, data, lr_scheduler, memory, optim, training

SEEDS = (0, 1, 2)
TESTED = 2000
PLAN = {"images": 6000, "epochs": 10, "batch_size": 32}
SHORT = {"images": 160, "epochs": 1, "batch_size": 32}


@dataclass(frozen=True)
class Trial:
    """What a network of one seed came to.

    `accuracy` is that on the test images, `curve` that on the training images in each epoch; `seconds` are those that
    training took of a processor; `megabytes` are those of a training step, by `memory.predict`.
    """

    network: str
    seed: int
    plan: dict[str, Any]
    rate: float
    accuracy: float
    train_loss: float
    curve: list[float]
    seconds: float
    parameters: int
    multiply_adds: int
    megabytes: float


def run(network: str, seed: int, plan: dict[str, Any]) -> Trial:
    """Train a network of `NETWORKS`, by Adam with a cosine schedule; the seed draws weights, order and dropout."""
    side = SIZE["lenet" if network == "LeNet" else "others"]
    model, shape = NETWORKS[network](seed), (3, side, side)
    rows = cost.table(model, shape)
    model.to("cpu", channels_last=True)
    optimizer = optim.Adam(model.parameters(), lr=rate(network))
    needed = memory.predict(model, shape, plan["batch_size"], optimizer)
    train, test = pictures(side, plan["images"])
    started = time.process_time()
    history = training.fit(
        model,
        train,
        optimizer=optimizer,
        epochs=plan["epochs"],
        batch_size=plan["batch_size"],
        seed=seed,
        scheduler=lr_scheduler.CosineAnnealingLR(optimizer, plan["epochs"]),
        channels_last=True,
    )
    seconds = time.process_time() - started
    return Trial(
        network,
        seed,
        plan,
        rate(network),
        training.evaluate(model, test, 250)[1],
        round(history.epochs[-1].train_loss, 4),
        history.series("train_accuracy"),
        round(seconds, 1),
        sum(row.parameters for row in rows),
        sum(row.multiply_adds for row in rows),
        round(needed.total / 1e6, 2),
    )


@lru_cache(maxsize=2)
def pictures(side: int, images: int) -> data.DataSplit:
    """Return the race's data set, the same for all seeds."""
    return data.shapes(side, images, min(images, TESTED))


class Interval(NamedTuple):
    """A mean of a few seeds, and half the width of its 95% interval."""

    mean: float
    half: float

    def __str__(self) -> str:
        return f"{self.mean:.1%} ± {self.half:.1%}"


# Student's t for 95% and 1, 2, ... degrees of freedom
T95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)


def interval(values: Sequence[float]) -> Interval:
    """Return the mean of at least two values and its 95% interval by Student's t; one of three values is wide."""
    return Interval(mean(values), T95[len(values) - 2] * stdev(values) / sqrt(len(values)))
