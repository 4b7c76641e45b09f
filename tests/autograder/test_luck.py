"""No mistake earns points by luck: a case is right for it at every seed, where its clause plays no part, or at none."""

from collections import Counter

import pytest

from autograder import source
from autograder.grading import questions
from autograder.hole import ask
from autograder.judge import same
from autograder.problem_set import answer_key

SEEDS = 12


@pytest.mark.parametrize("class_seed", [0, 1])
@pytest.mark.parametrize("name", source.names())
def test_a_mistake_gets_a_case_right_always_or_never(name, class_seed):
    problem_set = source.load(name, class_seed)
    key, right, known = answer_key(problem_set), Counter(), set()
    for seed in range(SEEDS):
        for grade_id, asked in questions(problem_set, seed).items():
            hole = key[grade_id].hole
            for mistake, wrong in hole.misconceptions.items() if callable(key[grade_id].solution) else ():
                for question in asked:
                    case = (grade_id, mistake.mistake, question.title)
                    known.add(case)
                    right[case] += same(ask(wrong, question.arguments), question.right, hole.tolerance)
    assert known and {case: right[case] for case in known if 0 < right[case] < SEEDS} == {}
