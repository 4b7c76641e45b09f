"""The lines that come out of the sandbox. Student code can write there too: what is no record of these is no record."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter


class _Line(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Define(_Line):
    """The cell of an exercise is about to run."""

    step: Literal["define"]
    exercise: str


class Ask(_Line):
    """A case is about to be put to the answer."""

    step: Literal["ask"]
    exercise: str
    case: int


class Value(_Line):
    """What the answer returned, as `autograder.runner.encode` writes it; `autograder.judge` believes none of it."""

    step: Literal["value"]
    exercise: str
    case: int
    value: Any


class Raised(_Line):
    """The answer raised an exception on one case."""

    step: Literal["raised"]
    exercise: str
    case: int
    error: str


class Failed(_Line):
    """The exercise gives no more answers: its cell raised an exception, or its time is over."""

    step: Literal["failed"]
    exercise: str
    error: str


class End(_Line):
    """All cells were run and all cases put."""

    step: Literal["end"]


Record = Define | Ask | Value | Raised | Failed | End
_RECORD: TypeAdapter[Record] = TypeAdapter(Annotated[Record, Field(discriminator="step")])


def parse(line: bytes) -> Record:
    """Read one line. Raises ValueError if it is no record that the runner writes."""
    return _RECORD.validate_json(line)
