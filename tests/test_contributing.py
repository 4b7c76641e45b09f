"""CONTRIBUTING's worked examples run, and do what they are examples of."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from autograder.hole import Hole, Mistake, ask
from autograder.judge import judge
from autograder.runner import encode
from autograder.sections import cite
from autograder.verdict import Mistaken, Right
from cnnbook.figures import live_figure, picture
from cnnbook.figures.live_figure import LiveFigure
from cnnlib import cost, init, layers
from cnnlib.arrays import check_arrays, check_gradient, namespace
from cnnlib.containers import Sequential
from cnnlib.models._start import start
from cnnlib.operation import operation

GUIDE = Path(__file__).parents[1] / "CONTRIBUTING.md"
LAYERS = ("AdaptiveAvgPool2d", "Conv2d", "Elementwise", "Flatten", "Linear")
# what the modules that the examples would stand in import
GIVEN = {
    "Hole": Hole,
    "Mistake": Mistake,
    "LiveFigure": LiveFigure,
    "Sequential": Sequential,
    "check_arrays": check_arrays,
    "check_gradient": check_gradient,
    "kaiming_normal": init.kaiming_normal,
    "namespace": namespace,
    "operation": operation,
    "picture": picture,
    "start": start,
} | {name: getattr(layers, name) for name in LAYERS}


def blocks(language: str) -> list[str]:
    """The examples in a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", GUIDE.read_text(encoding="utf-8"), flags=re.S | re.M)


@pytest.fixture(scope="module")
def names() -> dict[str, Any]:
    """What the examples define, each with what those before it have."""
    found = dict(GIVEN)
    for block in blocks("python"):
        assert len([line for line in block.splitlines() if line.strip()]) <= 16, "about ten lines"
        exec(block, found)
    return found


def test_the_operation_and_its_gradient_are_torchs(names: dict[str, Any]) -> None:
    x = torch.linspace(-3, 3, 7, dtype=torch.float64, requires_grad=True)
    expected = torch.nn.functional.softplus(x)
    expected.sum().backward()
    for array in (x.detach(), x.detach().numpy()):
        y, cache = names["softplus"](array)
        np.testing.assert_allclose(np.asarray(y), expected.detach(), rtol=1e-12)
        dx = names["softplus_backward"](y * 0 + 1, cache)
        np.testing.assert_allclose(np.asarray(dx), x.grad, rtol=1e-12)


def test_the_architecture_trains_and_is_counted(names: dict[str, Any]) -> None:
    network = names["all_convolutional"]()
    shapes = {row.name: row.output_shape for row in cost.table(network, (3, 32, 32))}
    said = re.findall(r"^ +(\w+)=.*# ([\d x]+)$", "".join(blocks("python")), flags=re.M)
    assert len(said) == 3
    for name, shape in said:
        assert shapes[name] == tuple(map(int, shape.split(" x ")))
    criterion, labels = network.criterion(), np.array([3, 1])
    x = np.random.default_rng(0).standard_normal((2, 3, 32, 32), np.float32)
    before = float(criterion(network(x), labels))
    network.backward(criterion.backward())
    for parameter in network.parameters():
        parameter.data -= 0.05 * parameter.grad
    assert float(criterion(network(x), labels)) < before


def test_the_figure_shows_itself_and_its_sides_agree(
    names: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (script,) = blocks("js")
    (tmp_path / "squares.js").write_text(script, encoding="utf-8")
    for name in ("toolkit.js", "theme.css"):
        (tmp_path / name).write_text("", encoding="utf-8")
    monkeypatch.setattr(live_figure, "files", lambda package: tmp_path)
    live_figure.source.cache_clear()
    shown = names["squares"]((2, 3))._repr_html_()
    live_figure.source.cache_clear()
    assert 'data-figure="squares"' in shown and "side * side" in shown and "Squares of sides 2, 3." in shown


def test_the_exercise_knows_right_from_wrong(names: dict[str, Any]) -> None:
    hole: Hole = names["hole"]
    for arguments in hole.cases(np.random.default_rng(0)).values():
        dy, x = arguments
        right = dy * (x > 0)
        assert isinstance(judge(encode(right), right, arguments, hole), Right)
        for mistake, wrong in hole.misconceptions.items():
            verdict = judge(encode(ask(wrong, arguments)), right, arguments, hole)
            assert verdict == Mistaken(mistake.mistake, mistake.right, cite(mistake.read))


def test_the_chapter_has_the_headings_that_a_chapter_has() -> None:
    (page,) = re.findall(r"^````markdown\n(.*?)^````$", GUIDE.read_text(encoding="utf-8"), flags=re.S | re.M)
    for part in ("**A question to carry along.**", "## Summary", "## Can you say it without looking?", "## Where next"):
        assert part in page


def test_everything_that_one_adds_has_its_example() -> None:
    headings = re.findall(r"^\*\*(An? [\w ]+)\*\*", GUIDE.read_text(encoding="utf-8"), flags=re.M)
    assert headings == [
        "An operation with its backward pass",
        "A layer",
        "An architecture",
        "A live figure",
        "An exercise of a problem set",
        "A chapter",
    ]
