"""What is said of one case. Right is a type that only `autograder.judge` makes: no text and no gap is worth points."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field


@dataclass(frozen=True)
class Right:
    """The answer is the reference's."""

    kind: Literal["right"] = "right"


@dataclass(frozen=True)
class Wrong:
    """An answer came back that is another than the reference's; `why` is for the student."""

    why: str
    kind: Literal["wrong"] = "wrong"


@dataclass(frozen=True)
class NoAnswer:
    """Nothing came back that could be compared; `why` is for the student."""

    why: str
    kind: Literal["no answer"] = "no answer"


Verdict = Annotated[Right | Wrong | NoAnswer, Field(discriminator="kind")]


def words(verdict: Right | Wrong | NoAnswer) -> str:
    """Return a verdict as a student reads it."""
    return "right" if isinstance(verdict, Right) else verdict.why
