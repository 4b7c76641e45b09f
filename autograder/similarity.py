"""Which answers are alike: fingerprints of tokens, so that renamed variables and new comments hide nothing.

A tool for questions, not for verdicts: short exercises have few right answers, and they look alike.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

from copydetect import CodeFingerprint, compare_files

TOKENS = 25  # matches shorter than this mean nothing
LONGEST = 50_000  # characters read of one student


@dataclass(frozen=True)
class Pair:
    """Two students and the share of the shorter answer that stands in the other one too."""

    one: str
    other: str
    share: float


def similar(answers: Mapping[str, str], given: str, at_least: float) -> list[Pair]:
    """Compare all students' code, without what was `given` to all; most similar pairs first."""
    common = list(CodeFingerprint("given.py", TOKENS, TOKENS, fp=io.StringIO(given)).hashes)
    prints = {
        student: CodeFingerprint(f"{student}.py", TOKENS, TOKENS, common, fp=io.StringIO(code[:LONGEST]))
        for student, code in answers.items()
    }
    pairs = [
        Pair(one, other, round(float(max(compare_files(prints[one], prints[other])[1])), 3))
        for one, other in combinations(sorted(prints), 2)
    ]
    return sorted((pair for pair in pairs if pair.share >= at_least), key=lambda pair: -pair.share)
