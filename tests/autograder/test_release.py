"""The release holds no solution and no hidden case; its visible checks are right about right and wrong answers."""

import json
import re
from contextlib import nullcontext

import nbformat
import pytest

from autograder import source
from autograder.grading import grade
from autograder.problem_set import Given
from autograder.result import Awarded, State, WrittenResult
from tests.autograder.conftest import ANSWERS, SEED, typed_answers

SETS = source.names()
SECRET = re.compile(r"### BEGIN (SOLUTION|HIDDEN TESTS)\n.*?### END \1", re.DOTALL)


@pytest.mark.parametrize("name", SETS)
def test_committed_release_is_fresh(name):
    committed = source.page(name).read_text(encoding="utf-8")
    assert committed == nbformat.writes(source.release(name)) + "\n", "run: python -m autograder release"


@pytest.mark.parametrize("name", SETS)
def test_no_line_of_a_solution_or_hidden_region_is_released(name):
    notebook = source.solution(name)
    lines = {line.strip() for cell in notebook.cells for line in cell.source.splitlines()}
    public = {line.strip() for cell in notebook.cells for line in SECRET.sub("", cell.source).splitlines()}
    secret = {line for line in lines - public if re.search(r"\w{3}", line)}  # not a mere closing bracket
    assert len(secret) > 50
    whole = nbformat.writes(source.release(name))
    assert [line for line in secret if json.dumps(line)[1:-1] in whole] == []


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("class_seed", [0, 1, 2, 3])
def test_solution_gets_full_marks_and_release_none(name, class_seed, tmp_path, box):
    problem_set = source.load(name, class_seed)
    for notebook, state, score in (
        (source.solution(name, class_seed), State.GRADED, problem_set.points),
        (source.release(name, class_seed), State.ZERO, 0),
    ):
        path = tmp_path / "notebook.ipynb"
        nbformat.write(notebook, path)
        result = grade(path, "student", problem_set, box, SEED)
        for exercise in result.exercises:
            if isinstance(exercise, WrittenResult) and exercise.earned is None:  # whoever reads it finds it perfect
                exercise.reading = Awarded(exercise.points)
        assert (result.state, result.score) == (state, score), result


@pytest.mark.parametrize("name", SETS)
def test_points_are_stated(name):
    table = re.findall(r"^\| (\d+\. .*?) \| (\d+)", source.release(name).cells[0].source, re.MULTILINE)
    cells = [cell for cell in source.load(name).cells if not isinstance(cell, Given)]
    assert [(title, float(points)) for title, points in table] == [(cell.title, cell.points) for cell in cells]


def run_checks(name, class_seed, answers):
    """Execute the released notebook with answers typed in; return the message of the first check that fails."""
    namespace = {}
    for cell in source.release(name, class_seed).cells:
        if cell.cell_type == "code":
            try:
                exec(answers.get(cell.id, cell.source), namespace)
            except (AssertionError, NotImplementedError) as error:
                return f"{cell.id}: {error}"
    return ""


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("class_seed", [0, 1, 2, 3])
def test_visible_checks_pass_on_the_solution(name, class_seed):
    answers = {e.grade_id: e.solution for e in source.load(name, class_seed).exercises.values()}
    assert run_checks(name, class_seed, answers) == ""


@pytest.mark.parametrize(
    ("grade_id", "right", "wrong", "says"),
    [
        ("sizes", '"E": (19', '"E": (20', "row E: window 20 would end at entry 62 of 59: one output too many?"),
        ("sizes", '"E": (19', '"E": (18', "row E: after 18 windows another one fits, ending at 59 of 59"),
        ("sizes", '"D": (112, 1)', '"D": (112, 2)', "row D: 2 entries never reached; with stride 2 it is from 0 to 1"),
        ("forward", "dilation * u", "-dilation * u", "digits under a 2x2 kernel: 9 of 9 values are wrong"),
        ("forward", "bias[o]", "0", "stride 2, dilation 2: 8 of 8 values are wrong"),
        (
            "forward",
            "return np.array(y)",
            "return",
            "digits under a 2x2 kernel is None: does the function end without a return?",
        ),
        ("weight-gradient", "+= dy", "= dy", "dweight by hand: 8 of 8 values are wrong. The first is at"),
        ("input-gradient", "+= dy", "= dy", "dx by hand: "),
        ("lp-forward", " / window.size", "", "with p = 3, by hand: 1 of 1 values are wrong"),
        ("lp-backward", "else -slope", "else slope", "dx by hand, p = 2: "),
        ("lp-backward", "y[n, c, i, j] == 0", "False", "dx of an image of zeros"),
    ],
)
def test_visible_checks_name_what_is_wrong(grade_id, right, wrong, says):
    answers = typed_answers(ANSWERS / "convolution" / "loops.txt")
    assert run_checks("convolution", 0, answers) == ""
    assert right in answers[grade_id]
    with pytest.warns(RuntimeWarning) if wrong == "False" else nullcontext():
        message = run_checks("convolution", 0, answers | {grade_id: answers[grade_id].replace(right, wrong)})
    assert message.startswith(f"check-{grade_id}: ") and says in message
