"""Compare what came out of the sandbox with the reference. Believes nothing about it, not even its size."""

import base64
import binascii
import math
from contextlib import suppress
from typing import Any

import numpy as np

from autograder.hole import Hole, ask
from autograder.runner import LARGEST_ARRAY
from autograder.verdict import Right, Wrong

FEW = 4  # numbers in a row of a table
FLOATS = {"f2", "f4", "f8"}
PLAIN = FLOATS | {"b1", *(f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8))}


class WrongAnswer(ValueError):
    """Why an answer is not the right one, in words for the student."""


def judge(value: Any, right: Any, arguments: list[Any], hole: Hole) -> Right | Wrong:
    """Compare one answer, as the runner wrote it, with the right one; name the misconception where one fits."""
    try:
        answer = _parts(value, len(right)) if has_parts(right) else _one(value, np.shape(right))
    except WrongAnswer as error:
        return Wrong(str(error))
    if same(answer, right, hole.tolerance):
        return Right()
    for sentence, wrong in hole.misconceptions.items():
        thought = ask(wrong, arguments)
        if not same(thought, right, hole.tolerance) and same(answer, thought, hole.tolerance):
            return Wrong(f"{sentence} (your numbers are exactly what that mistake gives)")
    return Wrong(difference(answer, right, arguments, hole.tolerance))


def _things(value: Any) -> list[Any] | None:
    """Return the parts of a tuple, as the runner wrote it."""
    parts = value.get("tuple") if isinstance(value, dict) else None
    return parts if isinstance(parts, list) else None


def _parts(value: Any, number: int) -> tuple[np.ndarray, ...]:
    parts = _things(value)
    if parts is None:
        raise WrongAnswer(f"should return {number} arrays")
    if len(parts) != number:
        raise WrongAnswer(f"returns {_counted(parts)}, {number} arrays are expected")
    return tuple(received(part) for part in parts)


def _one(value: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Read one array; a tuple of its rows is one too."""
    parts = _things(value)
    if parts is None:
        return received(value)
    rows = []
    if shape[:1] == (len(parts),):
        with suppress(WrongAnswer):  # whatever they are, they are too many
            rows = [received(part) for part in parts]
    if not rows or any(row.shape != rows[0].shape for row in rows):
        raise WrongAnswer(f"returns {_counted(parts)}, one array is expected")
    return np.stack(rows)


def _counted(parts: list[Any]) -> str:
    return f"{len(parts)} thing{'s' * (len(parts) != 1)}"


def has_parts(right: Any) -> bool:
    """Whether the right answer is several arrays; a tuple of numbers is one array."""
    return isinstance(right, tuple) and any(isinstance(part, np.ndarray) for part in right)


def received(value: Any) -> np.ndarray:
    """Read an array from the runner's record, checking every field before using it. Raises WrongAnswer."""
    value = value if isinstance(value, dict) else {}
    if value == {"plain": None}:
        raise WrongAnswer("returns None: is a return missing?")
    dtype, shape = value.get("dtype"), value.get("shape")
    if not isinstance(dtype, str) or not isinstance(shape, list):
        raise WrongAnswer("returns no array")
    if dtype[1:2] == "c":
        raise WrongAnswer("returns complex numbers, with imaginary parts that are not zero")
    if dtype[:1] not in ("<", ">", "|", "=") or dtype[1:] not in PLAIN:
        raise WrongAnswer(f"returns an array of type {dtype[:20]}; numbers are expected")
    if len(shape) > 8 or not all(type(size) is int and 0 <= size <= LARGEST_ARRAY for size in shape):
        raise WrongAnswer("returns an array of no usable shape")
    if math.prod(shape) > LARGEST_ARRAY:
        raise WrongAnswer(f"returns an array of {math.prod(shape):,} values, far too many")
    try:
        content = base64.b64decode(value.get("data", ""), validate=True)
    except (binascii.Error, TypeError, ValueError):
        content = b""
    if len(content) != np.dtype(dtype).itemsize * math.prod(shape):
        raise WrongAnswer("returns an array that cannot be read")
    return np.frombuffer(content, dtype=dtype).reshape(shape).astype(float)


def same(answer: Any, right: Any, tolerance: float) -> bool:
    """Whether two arrays, or tuples of arrays, agree up to `tolerance` times the largest number of the right one."""
    if isinstance(answer, tuple) and isinstance(right, tuple) and len(answer) == len(right):
        return all(same(a, r, tolerance) for a, r in zip(answer, right, strict=True))
    answer, right = np.asarray(answer, dtype=float), np.asarray(right, dtype=float)
    if answer.shape != right.shape:
        return False
    with np.errstate(invalid="ignore", over="ignore"):
        return bool(np.all(np.abs(answer - right) <= tolerance * _scale(right)))  # False wherever NaN


def _scale(right: np.ndarray) -> float:
    return float(np.max(np.abs(right), initial=0.0)) or 1.0


def difference(answer: Any, right: Any, arguments: list[Any], tolerance: float) -> str:
    """Describe a wrong answer by numbers that do not give the right one away.

    What is counted (no tolerance) is a table's, say, whose right numbers are the same at the next try: no sizes then.
    """
    if isinstance(right, tuple) and isinstance(answer, tuple):
        wrong = [n for n, (a, r) in enumerate(zip(answer, right, strict=True)) if not same(a, r, tolerance)]
        return f"array {wrong[0] + 1} of {len(right)}: " + difference(
            answer[wrong[0]], right[wrong[0]], arguments, tolerance
        )
    answer, right = np.asarray(answer, dtype=float), np.asarray(right, dtype=float)
    if answer.shape != right.shape:
        return f"returns the shape {answer.shape}; expected {right.shape}"
    bad = ~np.isfinite(answer)
    if bad.any():
        return f"{bad.sum()} of {bad.size} values are not finite (NaN or infinity)"
    if not answer.any():
        return "all zeros"
    if any(isinstance(a, np.ndarray) and a.shape == answer.shape and np.array_equal(a, answer) for a in arguments):
        return "returns its input unchanged"
    with np.errstate(over="ignore"):
        off = np.abs(answer - right)
        places, reach = np.flatnonzero(off > tolerance * _scale(right)), _scale(right)
        wrong = len(places)
        if tolerance == 0:
            return _counts(places, off.size)
        return f"{wrong} of {off.size} values are wrong, the worst by {off.max():.3g} where values reach {reach:.3g}"


def _counts(wrong: np.ndarray, size: int) -> str:
    """Say which of few numbers are wrong, or how many of many."""
    if size > FEW:
        return f"{len(wrong)} of {size} values are wrong"
    if len(wrong) == size:
        return f"all {size} numbers are wrong" if size > 1 else "another number"
    names = " and ".join(str(place + 1) for place in wrong)
    return f"number{'s' * (len(wrong) > 1)} {names} of {size} {'are' if len(wrong) > 1 else 'is'} wrong"
