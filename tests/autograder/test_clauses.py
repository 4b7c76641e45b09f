"""Every clause of a statement has a fixed case in the visible check: who misses it sees the check complain."""

import contextlib
import io
from functools import cache

import pytest

from autograder import source
from autograder.problem_set import Given, Written, answer_key
from autograder.release_check import SECRET


def class_seeds(name, tables):
    """Few class seeds that draw every choice of a set's variants between them: its tables', or all others."""
    chosen, seen = [], set()
    for class_seed in range(60):
        drawn = {(key, str(choice)) for key, choice in source.variant(name, class_seed).items()
                 if (key.startswith("row_") or key == "network") is tables}  # fmt: skip
        if drawn - seen:
            chosen.append(class_seed)
            seen |= drawn
    return chosen


MISTAKES = [
    (name, class_seed, grade_id, mistake)
    for name in source.names()
    for tables in (False, True)
    for class_seed in class_seeds(name, tables)
    for grade_id, key in answer_key(source.load(name, class_seed)).items()
    if callable(key.solution) is not tables
    for mistake in key.hole.misconceptions
]
# an answer that two others use: a mistake in it must not hide the same mistake in them
FORWARD = {
    "weight-gradient": "forward",
    "input-gradient": "forward",
    "lp-backward": "lp-forward",
    "five-backward": "five-forward",
}


@cache
def solved(name, class_seed):
    """What the instructor's cells define."""
    namespace = {}
    for cell in source.load(name, class_seed).cells:
        if not isinstance(cell, Written):
            exec(cell.source if isinstance(cell, Given) else cell.solution, namespace)
    return namespace


@cache
def visible(name, class_seed):
    """The visible parts of the checks by id."""
    return {cell.id: SECRET.sub("", cell.source) for cell in source.solution(name, class_seed).cells}


def complaint(name, class_seed, grade_id, wrong):
    """What the visible check of an exercise says, where `wrong` holds the answers of some exercises."""
    problem_set = source.load(name, class_seed)
    key, namespace = answer_key(problem_set), dict(solved(name, class_seed))
    namespace |= {key[answer].hole.answer: value for answer, value in wrong.items()}
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            exec(visible(name, class_seed)[problem_set.exercises[grade_id].check], namespace)
        except AssertionError as error:
            return str(error)
    return ""


@pytest.mark.parametrize(
    ("name", "class_seed", "grade_id", "mistake"),
    MISTAKES,
    ids=[f"{grade_id}-{seed}-{mistake.mistake}" for _, seed, grade_id, mistake in MISTAKES],
)
def test_who_misses_a_clause_sees_the_check_complain(name, class_seed, grade_id, mistake):
    key = answer_key(source.load(name, class_seed))
    wrong = {grade_id: key[grade_id].hole.misconceptions[mistake]}
    assert complaint(name, class_seed, grade_id, wrong), mistake.clause
    first = FORWARD.get(grade_id)
    for other, answer in key[first].hole.misconceptions.items() if first else ():
        if other.clause == mistake.clause:
            assert complaint(name, class_seed, grade_id, wrong | {first: answer}), f"hidden by {other.mistake}"
