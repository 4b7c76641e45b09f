"""The lecture's checkable statements, each with a verdict, and the computation or the source that it rests on.

`lecture.yml` holds them, slide by slide. `python -m cnnbook.claims` computes every value again; the book's pages "The
claims, one by one" and "The lecture, slide by slide" are made from the same file.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml

import cnnlib
from cnnbook.ilsvrc_results import ROWS as ILSVRC
from cnnlib import cost, data, init, layers, lr_scheduler, models, optim
from cnnlib import functional as F
from cnnlib.module import Parameter

FILE = Path(__file__).with_name("lecture.yml")
VERDICTS = {
    "holds": "Holds",
    "holds if": "Holds under a condition",
    "dated": "Dated",
    "not confirmed": "Not confirmed",
    "wrong": "Wrong as stated",
}
WHOSE = {
    "lecture": "",
    "paper": "Not on the slide; its paper says it.",
    "reader": "Not on the slide; readers easily take it from there.",
}
_LOSS = 1e-9  # what a float may be off: the code rounds to the digits that the file writes


@dataclass(frozen=True)
class Claim:
    """One statement of a slide, in our words.

    `compute` is a piece of Python whose last line is an expression; it has to give `value`. `of` says in words what
    that value is. `source` lists keys of references.bib, `section` is a label of the book, `whose` a key of `WHOSE`.
    """

    id: str
    claim: str
    verdict: str
    why: str
    section: str
    compute: str = ""
    value: Any = None
    of: str = ""
    source: tuple[str, ...] = ()
    whose: str = "lecture"


@dataclass(frozen=True)
class Slide:
    """Consecutive slides of one title; `sections` are the labels of where the book treats them.

    Where the title is lost, or says little, `topic` says in our words what the slides are about.
    """

    title: str
    sections: tuple[str, ...]
    topic: str = ""
    count: int = 1
    claims: tuple[Claim, ...] = field(default=())

    @property
    def name(self) -> str:
        """The title, with the topic where there is one, or the topic alone."""
        if not self.title:
            return self.topic[0].upper() + self.topic[1:]
        return f"{self.title} ({self.topic})" if self.topic else self.title


def load(path: Path = FILE) -> list[Slide]:
    """Return the slides in the lecture's order.

    Raises ValueError, with the claim's id, for a verdict that does not exist, and for a claim with neither a
    computation nor a source.
    """
    slides = []
    for entry in yaml.safe_load(path.read_text(encoding="utf-8"))["slides"]:
        claims = tuple(
            Claim(**{**claim, "source": tuple(claim.get("source", ()))}) for claim in entry.pop("claims", [])
        )
        for claim in claims:
            if claim.verdict not in VERDICTS:
                raise ValueError(f"{claim.id}: verdict must be one of {', '.join(VERDICTS)}, not {claim.verdict!r}")
            if claim.whose not in WHOSE:
                raise ValueError(f"{claim.id}: whose must be one of {', '.join(WHOSE)}, not {claim.whose!r}")
            if not (claim.compute or claim.source):
                raise ValueError(f"{claim.id}: a claim needs a computation or a source")
        slides.append(Slide(**{**entry, "sections": tuple(entry["sections"]), "claims": claims}))
    return slides


def every_claim(slides: list[Slide]) -> Iterator[tuple[Slide, Claim]]:
    """Yield (slide, claim) in the lecture's order."""
    for slide in slides:
        for claim in slide.claims:
            yield slide, claim


def compute(claim: Claim) -> Any:
    """Run the claim's code and return what its last line gives, as plain numbers, lists, truth values and strings."""
    tree = ast.parse(claim.compute)
    if not tree.body or not isinstance(tree.body[-1], ast.Expr):
        raise ValueError(f"{claim.id}: the last line of the code has to be an expression")
    last = ast.Expression(tree.body.pop().value)
    names = dict(_NAMES)
    exec(compile(tree, claim.id, "exec"), names)
    return _plain(eval(compile(last, claim.id, "eval"), names))


def agrees(computed: Any, stated: Any) -> bool:
    """Whether a computed value is the stated one, floats but for what their arithmetic loses."""
    if isinstance(stated, list):
        return isinstance(computed, list) and len(computed) == len(stated) and all(map(agrees, computed, stated))
    if isinstance(stated, float) and isinstance(computed, (int, float)):
        return abs(computed - stated) <= _LOSS * max(1, abs(stated))
    return type(computed) is type(stated) and computed == stated


@cache
def costs(network: str, size: int, **options: Any) -> list[cost.Cost]:
    """Return `cost.table` of a network of `cnnlib.models` for images of `size` pixels a side.

    The counts depend on shapes alone, so no weights are drawn.
    """
    return cost.table(getattr(models, network)(seed=None, **options), (1 if network == "lenet" else 3, size, size))


def parameters(rows: list[cost.Cost]) -> int:
    """Return the sum of a table's parameters."""
    return sum(row.parameters for row in rows)


def gradient_steps(rule: optim.Optimizer, gradients: Any) -> list[Any]:
    """Return where an optimiser's one parameter is after each of these gradients."""
    (parameter,), path = rule.parameters, []
    for gradient in gradients:
        parameter.grad = np.asarray(gradient, dtype=parameter.data.dtype)
        rule.step()
        path.append(parameter.data.copy())
    return path


_NAMES = {
    "np": np,
    "cnnlib": cnnlib,
    "F": F,
    "cost": cost,
    "data": data,
    "init": init,
    "layers": layers,
    "lr_scheduler": lr_scheduler,
    "models": models,
    "optim": optim,
    "Parameter": Parameter,
    "ILSVRC": ILSVRC,
    "costs": costs,
    "parameters": parameters,
    "gradient_steps": gradient_steps,
}


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return value
