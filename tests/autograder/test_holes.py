"""Graders are tested by mutants: known wrong answers are rejected in their own words, right ones in any style pass."""

import numpy as np
import pytest

from autograder import feedback, source
from autograder.grading import questions
from autograder.hole import ask
from autograder.judge import has_parts, judge
from autograder.problem_set import answer_key
from autograder.result import CodeResult
from autograder.runner import as_array, encode
from autograder.sections import cite
from autograder.verdict import Mistaken, Right, Wrong, words
from tests.autograder.conftest import ANSWERS, SEED, typed_answers

HOLES = [(name, grade_id) for name in source.names() for grade_id in source.load(name).exercises]
MISTAKES = [
    (name, grade_id, mistake)
    for name, grade_id in HOLES
    for mistake in answer_key(source.load(name))[grade_id].hole.misconceptions
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


@pytest.mark.parametrize(("name", "grade_id", "mistake"), MISTAKES)
def test_a_mistake_is_named(name, grade_id, mistake):
    wrong = answer_key(source.load(name))[grade_id].hole.misconceptions[mistake]
    said = verdicts(name, grade_id, lambda *arguments: ask(wrong, list(arguments)))
    assert Mistaken(mistake.mistake, mistake.right, cite(mistake.read)) in said, said


@pytest.mark.parametrize("class_seed", range(6))
@pytest.mark.parametrize(("name", "grade_id"), HOLES)
def test_what_is_said_of_a_mistake_reads_as_a_sentence(name, grade_id, class_seed):
    for mistake in answer_key(source.load(name, class_seed))[grade_id].hole.misconceptions:
        assert cite(mistake.read)
        for text in (mistake.clause, mistake.mistake, mistake.right):
            assert text and not text.endswith(".") and "$" not in text and "<" not in text, text
        assert mistake.mistake != mistake.right


def test_a_label_that_no_section_has_is_an_error():
    assert cite("strides") == "“Stride one, two and three” in “Convolutional layers”"
    assert cite("pooling") == "“Pooling”"
    with pytest.raises(ValueError, match="no section of the book has the label 'nowhere'"):
        cite("nowhere")


def test_the_page_says_mistake_right_and_what_to_read(graded):
    answers = typed_answers(ANSWERS / "training" / "loops.txt")
    curve = answers["smooth"].replace("def smoothed(", "def right(")
    curve += "\ndef smoothed(losses, beta):\n    return right(losses, 1 - beta)\n"
    page = feedback.render(graded(answers | {"smooth": curve}, set_name="training"), "Training")
    said = "Mistake: beta and 1 - beta are exchanged. Right: beta is the share that is kept. Read: “A rate for each "
    assert said in page.replace("<strong>", "").replace("</strong>", "")
    assert "Graded by machine: 6 of 8 points. A person gives the other 4." in page


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
            assert isinstance(verdict, Wrong | Mistaken) and words(verdict), (question.title, answer)


@pytest.mark.parametrize("path", ANSWER_FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_right_answers_in_any_style_get_full_marks(path, graded):
    answers = typed_answers(path)
    result = graded(answers, set_name=path.parent.name)
    assert answers.keys() == source.load(path.parent.name).exercises.keys()
    exercises = [exercise for exercise in result.exercises if isinstance(exercise, CodeResult)]
    cases = [(exercise.title, case.title, case.verdict) for exercise in exercises for case in exercise.cases]
    assert [case for case in cases if case[2] != Right()] == []
