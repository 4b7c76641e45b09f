"""Graders are tested by mutants: known wrong answers are rejected in their own words, right ones in any style pass."""

import numpy as np
import pytest

from autograder import source
from autograder.grading import questions
from autograder.hole import ask
from autograder.judge import has_parts, judge
from autograder.problem_set import answer_key
from autograder.result import CodeResult
from autograder.runner import as_array, encode
from autograder.verdict import Right, Wrong
from tests.autograder.conftest import ANSWERS, SEED, typed_answers

HOLES = [(name, grade_id) for name in source.names() for grade_id in source.load(name).exercises]
MISCONCEPTIONS = [
    (name, grade_id, sentence)
    for name, grade_id in HOLES
    for sentence in answer_key(source.load(name))[grade_id].hole.misconceptions
]
SPOIL = [
    lambda right: 0 * right,
    lambda right: 0 * right + 1,
    lambda right: right + 2e-5 * np.abs(right).max(),
    lambda right: right[..., None],
    lambda right: np.full(right.shape, np.nan),
]
ANSWER_FILES = sorted(ANSWERS.glob("*/*.txt"))


def as_sent(value):
    return tuple(map(as_array, value)) if has_parts(value) else as_array(value)


def verdicts(name, grade_id, answer):
    """Judge an answer, given as a function of the arguments, on every case; as the sandbox would send it."""
    problem_set = source.load(name)
    hole = answer_key(problem_set)[grade_id].hole
    return [
        judge(encode(as_sent(answer(*q.arguments))), q.right, q.arguments, hole)
        for q in questions(problem_set, SEED)[grade_id]
    ]


@pytest.mark.parametrize(("name", "grade_id", "sentence"), MISCONCEPTIONS)
def test_misconception_is_rejected_by_name(name, grade_id, sentence):
    wrong = answer_key(source.load(name))[grade_id].hole.misconceptions[sentence]
    said = verdicts(name, grade_id, lambda *arguments: ask(wrong, list(arguments)))
    assert any(isinstance(verdict, Wrong) and verdict.why.startswith(sentence) for verdict in said), said


@pytest.mark.parametrize(("name", "grade_id"), HOLES)
def test_there_are_enough_mutants(name, grade_id):
    assert len(answer_key(source.load(name))[grade_id].hole.misconceptions) >= 5


@pytest.mark.parametrize(("name", "grade_id"), HOLES)
def test_nothing_lazy_passes_a_single_case(name, grade_id):
    problem_set = source.load(name)
    for question in questions(problem_set, SEED)[grade_id]:
        hole = answer_key(problem_set)[grade_id].hole
        right = question.right
        if has_parts(right):
            parts = [np.asarray(part, dtype=float) for part in right]
            lazy = [(*parts[:n], how(part), *parts[n + 1 :]) for how in SPOIL for n, part in enumerate(parts)]
            lazy += [parts[0], tuple(parts[:1]), tuple(parts[::-1])]
        else:
            lazy = [how(np.asarray(right, dtype=float)) for how in SPOIL]
        lazy += [argument for argument in question.arguments if isinstance(argument, np.ndarray)]
        for answer in lazy:
            verdict = judge(encode(answer), right, question.arguments, hole)
            assert isinstance(verdict, Wrong) and verdict.why, (question.title, answer)


@pytest.mark.parametrize("path", ANSWER_FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_right_answers_in_any_style_get_full_marks(path, graded):
    answers = typed_answers(path)
    result = graded(answers, set_name=path.parent.name)
    assert answers.keys() == source.load(path.parent.name).exercises.keys()
    exercises = [exercise for exercise in result.exercises if isinstance(exercise, CodeResult)]
    cases = [(exercise.title, case.title, case.verdict) for exercise in exercises for case in exercise.cases]
    assert [case for case in cases if case[2] != Right()] == []
