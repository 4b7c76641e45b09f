"""What a statement shows is what its script prints; what a person grades comes with all that two graders need."""

import contextlib
import io
import re

import numpy as np
import pytest

from autograder import source
from autograder.problem_set import Given, Written, answer_key

LOG = re.compile(r"^`(\w+\(.*\))` printed\n\n```text\n(.*?)```$", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
LOGS = [
    (name, class_seed, call, log)
    for name in source.names()
    for class_seed in (0, 1)
    for cell in source.release(name, class_seed).cells
    for call, log in LOG.findall(cell.source)
]
WRITTEN = [(name, grade_id) for name in source.names() for grade_id in source.load(name).written]


def last_digit(number):
    return 10.0 ** -len(number.partition(".")[2])


def test_every_log_of_a_release_is_found():
    shown = sum(cell.source.count("```text") for name in source.names() for cell in source.release(name).cells)
    assert 2 * shown == len(LOGS) >= 10
    assert len({str(source.variant("diagnosis", class_seed)) for class_seed in (0, 1)}) == 2


@pytest.mark.parametrize(("name", "class_seed", "call", "log"), LOGS, ids=[f"{c[:5]}-{seed}" for _, seed, c, _ in LOGS])
def test_a_log_is_what_its_script_prints(name, class_seed, call, log):
    namespace, said = {}, io.StringIO()
    for cell in source.load(name, class_seed).cells:
        if isinstance(cell, Given):
            exec(cell.source, namespace)
    with contextlib.redirect_stdout(said):
        exec(call, namespace)
    assert NUMBER.sub("", said.getvalue()) == NUMBER.sub("", log)
    for printed, shown in zip(NUMBER.findall(said.getvalue()), NUMBER.findall(log), strict=True):
        assert abs(float(printed) - float(shown)) <= 1.5 * last_digit(shown), (printed, shown)


@pytest.mark.parametrize(("name", "grade_id"), WRITTEN)
def test_a_written_question_has_all_that_two_graders_need(name, grade_id):
    question = source.load(name).written[grade_id]
    inside = question.rubric.partition("### BEGIN SOLUTION\n")[2].partition("### END SOLUTION")[0]
    parts = dict(re.findall(r"^\*\*(.+?)\.\*\* (.+?)\s*(?=^\*\*|\Z)", inside, re.MULTILINE | re.DOTALL))
    assert list(parts) == ["Rubric", "Model answer", "Full", "Half", "0"]
    assert re.search(r"[Hh]alf a point|[Oo]ne point|points? each", parts["Rubric"]), "says what is a point's worth"
    assert len(set(parts.values())) == 5 and min(map(len, parts.values())) > 40


def test_the_numbers_of_the_model_answers_are_those_of_the_runs():
    """What the five runs give, and their repairs, stands in the answers that graders compare with."""
    namespace = {}
    for cell in source.load("diagnosis").cells:
        if not isinstance(cell, Written):
            exec(cell.source if isinstance(cell, Given) else cell.solution, namespace)
    call = {name[4]: arguments for _, seed, name, _ in LOGS if not seed for arguments in [name[5:]]}
    log = {name[4]: printed for _, seed, name, printed in LOGS if not seed}

    def given(letter):
        return eval(call[letter].replace("(", "(lambda *a: a)(", 1), namespace)

    def trained(letter, repaired=False):
        with contextlib.redirect_stdout(io.StringIO()):
            return namespace[f"repaired_{letter}" if repaired else f"run_{letter}"](*given(letter))

    loss, p, nearest = namespace["loss"], namespace["probabilities"], namespace["nearest"]
    (x, y, *_), (_, _, x_val, y_val, _), (x_e, y_e, x_new, y_new, seed) = given("a"), given("c"), given("e")
    losses = np.array([float(line.split()[-1]) for line in log["d"].splitlines()])
    places = namespace["balanced"](y_e)
    order = np.random.default_rng(seed).permutation(len(places))
    test, train = (x_e[places][half] for half in np.split(order, [len(places) // 4]))
    by_class = [namespace["class_losses"](p(trained("c", repaired), x_val), y_val) for repaired in (False, True)]
    rare = y_new > 0
    said = {
        "a": [f"{namespace['blind_loss'](y):.2f}", f"{loss(trained('a', True), x, y):.2f}"],
        "b": [f"{namespace['batches_seen'](trained('b', fixed)[1][-1], 1.0, 0.1):.0f}" for fixed in (False, True)],
        "c": ["{:.2f}, {:.2f} and {:.2f}".format(*each) for each in by_class],
        "d": [f"{namespace['largest_rate'](losses, 0.4):.3f}", f"{losses[-1] / losses[-2]:.2f}"],
        "e": [f"{np.mean(nearest(train, test) == 0):.0%}".replace("%", " %"),
              f"{namespace['accuracy'](trained('e')[0], x_new[rare], y_new[rare]):.0%}".replace("%", " %")],
    }  # fmt: skip
    written = source.load("diagnosis").written
    missing = {(letter, text) for letter, texts in said.items() for text in texts
               if text not in written[f"{letter}-words"].rubric.replace("\n", " ")}  # fmt: skip
    assert missing == set()


CHANCE, ROOT = (0.084 * 0.916 / 2000) ** 0.5, 0.9**0.5  # of an error of 8.4 % on 2,000 images; of the momentum
CURVATURES, FLAT, STEEP = np.linspace(1, 100, 100), np.array([2.0, 0, 0, 0]), np.array([-3.0, 1, 0, 0])
PARAMETERS, PLACES = {"fully connected": 4096 * 1000, "convolution": 64 * 64 * 3**2}, 112**2


def p_norm(root, window):
    return getattr(np, root)(np.abs(window) ** 64.0) ** (1 / 64)


@pytest.mark.parametrize(
    ("name", "grade_id", "numbers"),
    [
        ("optimisation", "two-runs", [f"{0.003 * 2000:.0f} images", f"{100 * CHANCE:.1f} points"]),
        ("optimisation", "same-factor", [f"{ROOT:.4f}", f"{(1 - ROOT) ** 2:.4f}", f"{(1 + ROOT) ** 2:.3f}"]),
        ("architectures", "where-time", [f"{n:,}" for n in (*PARAMETERS.values(), PLACES, 36_864 * PLACES)]),
        ("architectures", "two-for-one", [f"about ${25 / 18:.2f}"]),
    ],
)
def test_the_numbers_of_a_model_answer_are_right(name, grade_id, numbers):
    rubric = source.load(name).written[grade_id].rubric
    assert [number for number in numbers if number not in rubric] == []


def test_the_bowl_has_the_factor_of_the_model_answer():
    factor = answer_key(source.load("optimisation"))["rate"].solution
    assert factor(CURVATURES, 0.01, 0.9) == pytest.approx(ROOT) == factor(CURVATURES, 0.03, 0.9)
    assert factor(CURVATURES, 0.03796, 0.9) == pytest.approx(ROOT) and factor(CURVATURES, 0.03798, 0.9) > 0.97


@pytest.mark.parametrize("class_seed", range(4))
def test_the_windows_of_the_model_answer_have_these_norms(class_seed):
    root = source.variant("convolution", class_seed)["root"]["name"]
    rubric = source.load("convolution", class_seed).written["as-maximum"].rubric
    other = FLAT if root == "mean" else FLAT * 0 + 2
    assert f"{p_norm(root, STEEP):.3f}" in rubric and f"{p_norm(root, other):.3f}" in rubric
