"""What an instructor says about one exercise: its cases and the wrong answers that people give."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.random import Generator


@dataclass(frozen=True)
class Mistake:
    """A mistake that people make, in the words of the student's feedback.

    Parameters
    ----------
    clause
        The part of the statement that it misses. A visible check has a fixed case for it, which the mistake fails.
    mistake
        What was done.
    right
        What is to be done instead.
    read
        Label of the section of the book that says why.
    """

    clause: str
    mistake: str
    right: str
    read: str


@dataclass(frozen=True)
class Hole:
    """One exercise, as a problem set's hidden region declares it.

    Parameters
    ----------
    answer
        Name that the student's cell defines: a function, or a table (a mapping).
    cases
        Given a random generator, titles and the arguments of one call each; for a table, the one key to look up.
        Titles appear in the feedback, arguments never do.
    misconceptions
        Mistakes, and the function (or table) that gives the answer of who makes them.
    tolerance
        Largest difference allowed, relative to the largest number of the expected array.
    numpy_only
        The answer runs where NumPy is the only package: torch would answer it in a line, or differentiate for the
        student. A case whose gradient is to be derived has thousands of numbers, so that a slope for each of them takes
        longer than an exercise may.
    """

    answer: str
    cases: Callable[[Generator], Mapping[str, list[Any]]]
    misconceptions: Mapping[Mistake, Any] = field(default_factory=dict)
    tolerance: float = 1e-5
    numpy_only: bool = False


def ask(answer: Any, arguments: list[Any]) -> Any:
    """Put one case to an answer: call the function, or look the key up in the table."""
    return answer(*arguments) if callable(answer) else answer[arguments[0]]
