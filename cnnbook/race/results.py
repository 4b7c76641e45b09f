"""The results file: a row for each trial, kept as soon as it is there."""

import json
import os
from dataclasses import asdict
from pathlib import Path

from filelock import FileLock

from cnnbook.race.networks import rate
from cnnbook.race.trial import Interval, Trial, interval

PATH = Path(__file__).parent / "results.json"


def load(path: Path = PATH) -> list[Trial]:
    """Return the trials of a results file, none if it isn't there."""
    return [Trial(**row) for row in json.loads(path.read_text(encoding="utf-8"))["trials"]] if path.exists() else []


def keep(trial: Trial, path: Path = PATH) -> None:
    """Put a trial into the file, in the place of an earlier one of the same network, seed and kind of plan.

    The file is written beside its place first, so that an interruption loses nothing; another process that writes as
    well waits.
    """
    with FileLock(path.with_suffix(".lock")):
        trials = [old for old in load(path) if _key(old) != _key(trial)] + [trial]
        rows = ",\n".join(json.dumps(asdict(one)) for one in sorted(trials, key=_key))
        beside = path.with_suffix(".partial")
        beside.write_text(f'{{"trials": [\n{rows}\n]}}\n', encoding="utf-8")
        os.replace(beside, path)


def _key(trial: Trial) -> tuple[str, int, int]:
    return trial.network, trial.plan["images"], trial.seed


def of(trials: list[Trial], network: str, plan: dict[str, object]) -> list[Trial]:
    """Return the trials of a network under a plan, in the order of their seeds."""
    return sorted(
        (t for t in trials if (t.network, t.plan, t.rate) == (network, plan, rate(network))), key=lambda t: t.seed
    )


def effect(with_it: list[Trial], without_it: list[Trial]) -> Interval:
    """Return how much accuracy one thing adds: the difference between trials of the same seed.

    Raises ValueError unless both were run for the same seeds.
    """
    if [t.seed for t in with_it] != [t.seed for t in without_it]:
        raise ValueError("an effect is a difference between trials of the same seeds")
    return interval([a.accuracy - b.accuracy for a, b in zip(with_it, without_it, strict=True)])
