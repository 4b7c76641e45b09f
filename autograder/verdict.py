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
class Mistaken:
    """The answer is what a known mistake gives: the mistake, what is right, and which section of the book says why."""

    mistake: str
    right: str
    read: str
    kind: Literal["mistake"] = "mistake"


@dataclass(frozen=True)
class NoAnswer:
    """Nothing came back that could be compared; `why` is for the student."""

    why: str
    kind: Literal["no answer"] = "no answer"


Verdict = Annotated[Right | Wrong | Mistaken | NoAnswer, Field(discriminator="kind")]


def words(verdict: Right | Wrong | Mistaken | NoAnswer) -> str:
    """Return a verdict as a student reads it."""
    match verdict:
        case Right():
            return "right"
        case Mistaken(mistake, right, read):
            return f"Mistake: {mistake}. Right: {right}. Read: {read}"
        case Wrong(why) | NoAnswer(why):
            return why
