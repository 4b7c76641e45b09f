"""What is recorded of one submission. Points are never stored on their own: they follow from verdicts, here only."""

import json
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from autograder.verdict import Right, Verdict, words


class State(StrEnum):
    """Where a submission ends. Only one that needs a human has no score."""

    GRADED = "graded"
    ZERO = "zero"
    HUMAN = "needs a human"


@dataclass
class CaseResult:
    """One case and what was said of the answer to it."""

    title: str
    verdict: Verdict


@dataclass
class CodeResult:
    """An exercise that was run: each case that is right earns its share of the points."""

    grade_id: str
    title: str
    points: float
    cases: Annotated[list[CaseResult], Field(min_length=1)]
    remarks: list[str] = field(default_factory=list)
    kind: Literal["code"] = "code"

    @property
    def earned(self) -> float:
        """Points for the cases that are right."""
        right = sum(isinstance(case.verdict, Right) for case in self.cases)
        return round(self.points * right / len(self.cases), 4)

    @property
    def common_reason(self) -> str | None:
        """What is said of every case, if it is the same and nothing is right."""
        said = {words(case.verdict) for case in self.cases}
        right = any(isinstance(case.verdict, Right) for case in self.cases)
        return said.pop() if len(said) == 1 and not right else None

    @property
    def reason(self) -> str:
        """The first complaint, for a submission that ends with 0 points."""
        return next((words(case.verdict) for case in self.cases if not isinstance(case.verdict, Right)), "right")


@dataclass(frozen=True)
class Unread:
    """A written answer that waits for a person; its SHA-256 says later whether it is the one that was read."""

    digest: str
    kind: Literal["unread"] = "unread"


@dataclass(frozen=True)
class NotAnswered:
    """Nothing was written."""

    kind: Literal["not answered"] = "not answered"


@dataclass(frozen=True)
class Awarded:
    """A person has read the answer and gave these points."""

    points: float
    kind: Literal["awarded"] = "awarded"


@dataclass
class WrittenResult:
    """A question that is answered in words: without points until a person gives some."""

    grade_id: str
    title: str
    points: float
    reading: Annotated[Unread | NotAnswered | Awarded, Field(discriminator="kind")]
    remarks: list[str] = field(default_factory=list)
    kind: Literal["written"] = "written"

    @property
    def earned(self) -> float | None:
        """Points that a person gave; None until then."""
        match self.reading:
            case Unread():
                return None
            case NotAnswered():
                return 0.0
            case Awarded(points):
                return points

    @property
    def reason(self) -> str:
        """Why the points are what they are."""
        match self.reading:
            case Unread():
                return "a person reads this answer"
            case NotAnswered():
                return "not answered"
            case Awarded():
                return "read by a person"

    common_reason = reason


ExerciseResult = Annotated[CodeResult | WrittenResult, Field(discriminator="kind")]


@dataclass(frozen=True)
class Undecided:
    """Why no machine may decide this submission."""

    reason: str


@dataclass
class Result:
    """What is recorded of one submission: its exercises, or why a human must look at it first."""

    student: str
    problem_set: str
    points: float
    seed: int
    class_seed: int
    isolation: str
    judged: Annotated[list[ExerciseResult], Field(min_length=1)] | Undecided
    digest: str | None = None  # of the notebook that was read; None if none was
    file_time: str | None = None  # of that notebook's file, in ISO format: no more than a hint of when it came
    seconds: float = 0.0
    printed: str = ""
    remarks: list[str] = field(default_factory=list)

    @property
    def exercises(self) -> list[CodeResult | WrittenResult]:
        """The exercises; none where a human must look at the submission first."""
        return [] if isinstance(self.judged, Undecided) else self.judged

    @property
    def unread(self) -> list[str]:
        """Titles of the written answers that wait for a person."""
        return [exercise.title for exercise in self.exercises if exercise.earned is None]

    @property
    def score(self) -> float | None:
        """Points of all exercises; None where a human must look."""
        if isinstance(self.judged, Undecided) or self.unread:
            return None
        return round(sum(exercise.earned for exercise in self.judged), 4)

    @property
    def by_machine(self) -> tuple[float, float] | None:
        """Points that the grader gave, and those that it could give; None where a person gives none, or all."""
        code = [exercise for exercise in self.exercises if isinstance(exercise, CodeResult)]
        if len(code) == len(self.exercises):
            return None
        return round(sum(exercise.earned for exercise in code), 4), sum(exercise.points for exercise in code)

    @property
    def state(self) -> State:
        """Where the submission ends."""
        if self.score is None:
            return State.HUMAN
        return State.GRADED if self.score > 0 else State.ZERO

    @property
    def reason(self) -> str:
        """Why a human must look, or why there are no points; nothing for a submission that has some."""
        if isinstance(self.judged, Undecided):
            return self.judged.reason
        if self.unread:
            return f"to be read by a person: {', '.join(self.unread)}"
        if self.state is State.ZERO:
            return "; ".join(dict.fromkeys(exercise.reason for exercise in self.judged))[:1000]
        return ""

    def to_json(self) -> dict[str, Any]:
        """Return the record as plain values, with what follows from them for whoever opens the file."""
        plain = asdict(self)
        for exercise, about in zip(self.exercises, plain["judged"], strict=False):
            about["earned"] = exercise.earned
        return plain | {"state": str(self.state), "score": self.score, "reason": self.reason}

    def dumps(self) -> str:
        """Return the record as text."""
        return json.dumps(self.to_json(), indent=1, ensure_ascii=False)

    @classmethod
    def loads(cls, text: str) -> "Result":
        """Read a record back. Raises ValueError for anything else than what `dumps` wrote.

        A value of another type, a key too many or too few, points that do not follow from the verdicts, or a person's
        points, which stand in the gradebook alone: none of them is a record.
        """
        result = _RESULT.validate_json(text, strict=True)
        if result.to_json() != json.loads(text, parse_constant=_no_number):
            raise ValueError("the record does not say what follows from it")
        if any(isinstance(e, WrittenResult) and isinstance(e.reading, Awarded) for e in result.exercises):
            raise ValueError("a record holds no points of a person's: they stand in the gradebook")
        if any(exercise.points < 0 for exercise in result.exercises):
            raise ValueError("an exercise has fewer than 0 points")
        if result.exercises and sum(exercise.points for exercise in result.exercises) != result.points:
            raise ValueError("the exercises do not add up to the points of the set")
        return result


_RESULT = TypeAdapter(Result)


def _no_number(word: str) -> None:
    raise ValueError(f"{word} is no number of points")
