"""What decides the answers is a secret of the run: nothing that a student has or gets lets anybody compute them."""

import json
import re

import pytest
from typer.testing import CliRunner

from autograder import batch, feedback, source
from autograder.__main__ import app
from autograder.downloads import HandedIn
from autograder.grading import questions
from autograder.problem_set import answer_key
from tests.autograder.conftest import ANSWERS, typed_answers

TABLE = {"sizes": typed_answers(ANSWERS / "convolution" / "loops.txt")["sizes"]}
SECRET = "4c1f8e0a9b6d2375"


def run(*words, code=0, **environment):
    done = CliRunner().invoke(app, list(map(str, words)), env=environment)
    assert done.exit_code == code, done.output
    return " ".join(done.output.split())


def spy(monkeypatch):
    """Collect the seeds that cases are drawn from."""
    seeds = []

    def seen(problem_set, seed):
        seeds.append(seed)
        return questions(problem_set, seed)

    monkeypatch.setattr("autograder.grading.questions", seen)
    return seeds


def test_a_run_draws_a_secret_of_its_own(convolution):
    seeds = {batch.Settings.draw(convolution, None, 10, False).seed for _ in range(20)}
    assert len(seeds) == 20 and max(seeds).bit_length() > 100


def test_another_notebook_gets_other_inputs(convolution, hand_in, tmp_path, monkeypatch):
    """What a first try printed of its inputs is no help for the second one, or for a neighbour's."""
    seeds, settings = spy(monkeypatch), batch.Settings.draw(convolution, None, 10, False)
    first = hand_in(TABLE, "first")
    second = hand_in({"sizes": TABLE["sizes"] + "\n# again"}, "second")
    for path in (first, second, first):
        result = batch.grade_student("ada", HandedIn([path]), convolution, settings)
        assert result.seed == seeds[-1] != settings.seed
    assert len(seeds) == 3 and seeds[0] == seeds[2] != seeds[1]


@pytest.mark.parametrize("name", source.names())
def test_the_release_does_not_say_what_draws_the_inputs(name):
    """Two runs on one class seed ask different things, under the same titles."""
    problem_set = source.load(name)
    one, other = (questions(problem_set, batch.Settings.draw(problem_set, None, 10, False).seed) for _ in range(2))
    assert [[q.title for q in asked] for asked in one.values()] == [[q.title for q in a] for a in other.values()]
    for grade_id, key in answer_key(problem_set).items():
        if callable(key.solution):
            for mine, yours in zip(one[grade_id], other[grade_id], strict=True):
                assert repr(mine.arguments) != repr(yours.arguments), f"{grade_id}: {mine.title}"


def test_a_page_of_feedback_shows_no_seed(convolution, hand_in):
    settings = batch.Settings.draw(convolution, None, 10, False)
    result = batch.grade_student("ada", HandedIn([hand_in(TABLE)]), convolution, settings)
    page = feedback.render(result, "Set")
    assert not [n for n in map(int, re.findall(r"\d+", page)) if n in (result.seed, settings.seed)]
    assert "seed" not in page


def test_two_machines_with_one_secret_ask_the_same(hand_in, tmp_path):
    (tmp_path / "class").mkdir()
    hand_in(TABLE, "ada", folder=tmp_path / "class")
    (tmp_path / "secret.txt").write_text(SECRET + "\n")
    words = ["grade", "convolution", tmp_path / "class", "--results"]
    run(*words, tmp_path / "one", "--secret", tmp_path / "secret.txt")
    run(*words, tmp_path / "two", AUTOGRADER_SECRET=str(tmp_path / "secret.txt"))
    run(*words, tmp_path / "three")
    seeds = [
        json.loads((tmp_path / run / "records" / "ada.json").read_text())["seed"] for run in ("one", "two", "three")
    ]
    assert seeds[0] == seeds[1] != seeds[2]
    assert "1 of them graded before" in run(*words, tmp_path / "one")  # the run keeps it


@pytest.mark.parametrize("secret", ["", "2027", "a" * 40, "x" * 15])
def test_a_secret_that_can_be_guessed_is_refused(secret, tmp_path):
    (tmp_path / "secret.txt").write_text(secret)
    words = ["grade", "convolution", tmp_path, "--results", tmp_path / "r", "--secret", tmp_path / "secret.txt"]
    assert "secret that can be guessed: take 16 random characters or more" in run(*words, code=1)
    assert not (tmp_path / "r" / "run.json").exists()
