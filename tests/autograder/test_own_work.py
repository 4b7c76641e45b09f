"""What is asked for must be done: no library, no autograd and no slope for every number answers for a student."""

import pytest

from autograder import dry_run, source
from autograder.grading import grade, questions
from autograder.problem_set import answer_key
from autograder.result import CodeResult
from autograder.verdict import NoAnswer, Right
from tests.autograder.conftest import ANSWERS, SEED, typed_answers

RIGHT = typed_answers(ANSWERS / "convolution" / "loops.txt")
NUMPY_ONLY = {
    ("convolution", "weight-gradient"),
    ("convolution", "input-gradient"),
    ("convolution", "lp-forward"),
    ("convolution", "lp-backward"),
    ("architectures", "five-backward"),
    ("training", "soft"),
}
LAYER = """
def pooled(x, k, s, p):
    return torch.nn.functional.avg_pool2d(x.abs() ** p, k, s) ** (1 / p)
"""
HEAD = "def lp_pool2d_backward(dy, x, k, s, p):\n"
BY_AUTOGRAD = {
    "backward": "import torch" + LAYER + HEAD + """
    x = torch.tensor(x, requires_grad=True)
    pooled(x, k, s, p).backward(torch.tensor(dy))
    return x.grad
""",
    "autograd.grad": "from torch import tensor, autograd\nimport torch" + LAYER + HEAD + """
    x = tensor(x, requires_grad=True)
    return autograd.grad(pooled(x, k, s, p), x, tensor(dy))[0].numpy()
""",
    "vjp": "import torch.func" + LAYER + HEAD + """
    _, pull = torch.func.vjp(lambda x: pooled(x, k, s, p), torch.tensor(x))
    return pull(torch.tensor(dy))[0]
""",
    "imported late, by a name that is put together": LAYER + HEAD + """
    global torch
    torch = __import__("importlib").import_module("to" + "rch")
    x = torch.tensor(x, requires_grad=True)
    pooled(x, k, s, p).backward(torch.tensor(dy))
    return x.grad
""",
    "found on the disk": "import os, sys" + LAYER + HEAD + """
    global torch
    for folder, folders, _ in os.walk("/"):
        if "torch" in folders and os.path.isfile(f"{folder}/torch/autograd/__init__.py"):
            sys.path.insert(0, folder)
            break
    import torch
    x = torch.tensor(x, requires_grad=True)
    pooled(x, k, s, p).backward(torch.tensor(dy))
    return x.grad
""",
    "of jax": "import jax\n" + HEAD + "    return jax.grad(lambda x: x.sum())(x)\n",
}  # fmt: skip


def verdicts(result, grade_id):
    exercise = next(each for each in result.exercises if each.grade_id == grade_id)
    assert isinstance(exercise, CodeResult)
    return [case.verdict for case in exercise.cases]


def refused(result, grade_id):
    """No case is right, and each is told the rule and what would work."""
    said = verdicts(result, grade_id)
    assert all(isinstance(verdict, NoAnswer) for verdict in said), said
    for verdict in said:
        assert "NumPy is the only package" in verdict.why and "write it" in verdict.why, verdict.why
    return True


def test_the_exercises_that_a_library_could_answer_run_with_numpy_alone():
    found = {
        (name, grade_id)
        for name in source.names()
        for grade_id, key in answer_key(source.load(name)).items()
        if key.hole.numpy_only
    }
    assert found == NUMPY_ONLY


@pytest.mark.parametrize("name", source.names())
def test_a_statement_says_where_its_answer_runs(name):
    notebook = source.release(name)
    for grade_id, key in answer_key(source.load(name)).items():
        place = [cell.id for cell in notebook.cells].index(grade_id)
        said = "NumPy is the only package" in notebook.cells[place - 1].source
        assert said is key.hole.numpy_only, grade_id


@pytest.mark.parametrize("way", BY_AUTOGRAD)
def test_autograd_is_no_derivation(way, graded):
    assert refused(graded(RIGHT | {"lp-backward": BY_AUTOGRAD[way]}), "lp-backward")


IMPORTED = {
    ("convolution", "lp-forward"): """
from torch.nn import functional as F
import torch
def lp_pool2d(x, k, s, p):
    return F.lp_pool2d(torch.tensor(x).abs(), float(p), k, s) / k ** (2 / p)
""",
    ("training", "soft"): """
import torch
def soft_cross_entropy(logits, labels, epsilon):
    z = torch.tensor(logits, requires_grad=True)
    loss = torch.nn.functional.cross_entropy(z, torch.tensor(labels), label_smoothing=epsilon)
    loss.backward()
    return loss, z.grad
""",
}


@pytest.mark.parametrize(("place", "answer"), IMPORTED.items(), ids=[grade_id for _, grade_id in IMPORTED])
def test_a_library_s_function_is_no_answer(place, answer, graded):
    name, grade_id = place
    assert refused(graded({grade_id: answer}, set_name=name), grade_id)


LIBRARIES = ["cnnlib", "cnnlib.functional", "autograder", "cnnbook", "sympy", "functorch"]


@pytest.mark.parametrize("library", LIBRARIES)
def test_no_course_and_no_other_library_is_there(library, graded):
    answer = f"import {library}\ndef lp_pool2d_backward(dy, x, k, s, p):\n    return x"
    said = verdicts(graded({"lp-backward": answer}), "lp-backward")
    assert all("No module named" in verdict.why for verdict in said), said


SLOPES = {
    ("convolution", "weight-gradient"): """
def circular_conv2d_backward_weight(dy, x, weight_shape, stride, dilation):
    return slope(lambda w: fast_conv(x, w, stride, dilation), np.zeros(weight_shape), dy, 1.0)
""",
    ("convolution", "input-gradient"): """
def circular_conv2d_backward_input(dy, weight, x_shape, stride, dilation):
    return slope(lambda x: fast_conv(x, weight, stride, dilation), np.zeros(x_shape), dy, 1.0)
""",
    ("convolution", "lp-backward"): """
def lp_pool2d_backward(dy, x, k, s, p):
    return slope(lambda x: fast_pool(x, k, s, p), x, dy)
""",
    ("architectures", "five-backward"): """
def five_branches_backward(dy, x, *weights):
    return slope(lambda x: five_branches(x, *weights), x, dy, 1e-6)
""",
    ("training", "soft"): """
def loss_of(logits, target):
    logits = logits - logits.max(axis=1, keepdims=True)
    return -np.mean(np.sum(target * (logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))), axis=1))
def soft_cross_entropy(logits, labels, epsilon):
    K = logits.shape[1]
    target = np.full(logits.shape, epsilon / (K - 1))
    target[np.arange(len(labels)), labels] = 1 - epsilon
    return loss_of(logits, target), slope(lambda z: loss_of(z, target), logits, 1.0, 1e-5)
""",
}  # fmt: skip
FAST = """
def fast_conv(x, w, s, d):
    rows, columns = np.arange(0, x.shape[2], s)[:, None], np.arange(0, x.shape[3], s)
    y = 0
    for u, v in np.ndindex(w.shape[2:]):
        seen = x[:, :, (rows + d * u) % x.shape[2], (columns + d * v) % x.shape[3]]
        y = y + np.tensordot(w[:, :, u, v], seen, (1, 1)).swapaxes(0, 1)
    return y
def fast_pool(x, k, s, p):
    windows = np.lib.stride_tricks.sliding_window_view(np.abs(x) ** p, (k, k), axis=(2, 3))[:, :, ::s, ::s]
    return windows.mean(axis=(4, 5)) ** (1 / p)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("place", "answer"), SLOPES.items(), ids=[grade_id for _, grade_id in SLOPES])
def test_a_slope_for_every_number_takes_too_long(place, answer, graded):
    name, grade_id = place
    result = graded(typed_answers(ANSWERS / name / "loops.txt") | {grade_id: FAST + answer}, set_name=name)
    said = verdicts(result, grade_id)
    assert all(isinstance(verdict, NoAnswer) and "derive" in verdict.why for verdict in said), said


MANY = 4000  # numbers; a slope for each takes two forward passes


@pytest.mark.parametrize(("name", "grade_id"), sorted(SLOPES))
def test_every_case_of_a_derivation_has_too_many_numbers_for_slopes(name, grade_id):
    for question in questions(source.load(name), SEED)[grade_id]:
        gradient = question.right[-1] if isinstance(question.right, tuple) else question.right
        assert gradient.size >= MANY, (question.title, gradient.size)


def test_torch_answers_stay_where_nothing_is_derived(hand_in, box):
    answers = typed_answers(ANSWERS / "convolution" / "tensors.txt")
    result = grade(hand_in(answers), "ada", source.load("convolution"), box, SEED)
    assert "torch" in answers["forward"] and set(verdicts(result, "forward")) == {Right()}


def test_a_forward_pass_in_torch_is_missing_where_numpy_is_alone_and_that_is_said(graded):
    answers = typed_answers(ANSWERS / "convolution" / "tensors.txt")
    needs = "def circular_conv2d_backward_input(dy, *a):\n    return circular_conv2d(dy)"
    said = verdicts(graded({"forward": answers["forward"], "input-gradient": needs}), "input-gradient")
    assert all("NumPy is the only package" in verdict.why for verdict in said), said


def test_the_dry_run_says_so_too(hand_in):
    torch_forward = typed_answers(ANSWERS / "convolution" / "tensors.txt")["forward"]
    answers = RIGHT | {"lp-backward": BY_AUTOGRAD["backward"], "forward": torch_forward}
    said = {each.title[0]: each for each in dry_run.dry_run(hand_in(answers))}
    assert said["6"].fails and "NumPy is the only package" in said["6"].words
    assert not said["2"].fails and not said["3"].fails and "its check needs circular_conv2d" in said["3"].words
