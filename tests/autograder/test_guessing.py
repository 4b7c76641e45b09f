"""Right answers differ by seed everywhere: a table of constants earns little. Feedback on one gives no number away."""

from collections import Counter

import numpy as np
import pytest

from autograder import source
from autograder.grading import questions
from autograder.hole import Hole
from autograder.judge import judge
from autograder.problem_set import answer_key
from autograder.runner import encode
from autograder.verdict import Wrong

SEEDS = 50
MOST = 0.4  # of the points of an exercise that its best guess may earn, without looking at the inputs


def shown(right):
    """A right answer as something that can be counted."""
    parts = right if isinstance(right, tuple) else (right,)
    return tuple(tuple(np.round(np.ravel(np.asarray(part, dtype=float)), 6)) for part in parts)


def drawn(name):
    """Yield the right answers of every exercise by case, once a seed: the run's, and for a table the class's."""
    for seed in range(SEEDS):
        run, of_class = source.load(name), source.load(name, seed)
        keys, asked, other = answer_key(run), questions(run, seed), questions(of_class, 0)
        yield {
            grade_id: {q.title: shown(q.right) for q in (asked if callable(key.solution) else other)[grade_id]}
            for grade_id, key in keys.items()
        }


@pytest.mark.parametrize("name", source.names())
def test_constants_earn_little(name):
    runs = list(drawn(name))
    for grade_id in runs[0]:
        best = {
            title: Counter(run[grade_id][title] for run in runs).most_common(1)[0][1] / SEEDS
            for title in runs[0][grade_id]
        }
        assert max(best.values()) <= 0.6 and np.mean(list(best.values())) <= MOST, f"{grade_id}: {best}"
        # nor does a table that is right for one run do well in another
        alike = [
            np.mean([one[grade_id][title] == other[grade_id][title] for title in one[grade_id]])
            for one, other in zip(runs, runs[1:], strict=False)
        ]
        assert np.mean(alike) <= MOST, f"{grade_id}: {np.mean(alike)}"


def told(value, right, misconceptions=None, tolerance=0.0):
    """What the student reads of one wrong answer."""
    verdict = judge(encode(np.array(value)), right, ["A"], Hole("SIZES", dict, misconceptions or {}, tolerance))
    assert isinstance(verdict, Wrong)
    return verdict.why


def test_feedback_on_a_table_says_which_number_is_wrong_and_not_by_how_much():
    assert told((28, 1), (28, 2)) == "number 2 of 2 is wrong"
    assert told((27, 1), (28, 2)) == "all 2 numbers are wrong"
    assert told((1, 2, 4), (1, 2, 3)) == "number 3 of 3 is wrong"
    assert told((27, 1), (28, 2), {"it is one more": {"A": (27, 1)}}).startswith("it is one more")


def test_feedback_on_what_is_counted_has_no_magnitudes():
    why = told(np.arange(60.0), np.arange(60.0) + np.eye(60)[7] * 12345)
    assert why == "1 of 60 values are wrong"


@pytest.mark.parametrize("name", ["convolution", "architectures"])
def test_no_sentence_about_a_table_holds_its_numbers(name):
    problem_set = source.load(name)
    for grade_id, key in answer_key(problem_set).items():
        if callable(key.solution):
            continue
        for question in questions(problem_set, 1)[grade_id]:
            right = np.asarray(question.right, dtype=float)
            for off in (0.5, 1, -1, 10):
                why = judge(encode(right + off), question.right, question.arguments, key.hole).why
                assert (
                    why.partition(" (your")[0] in key.hole.misconceptions
                    or why == f"all {len(right)} numbers are wrong"
                )
