"""Live figures under test: run in node against their NumPy twins, and in Chromium with no network."""

import json
import math
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from figure_files import write_files
from playwright._impl._driver import compute_driver_executable
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

from cnnbook import figures, pretrained
from cnnbook.figures import cells_figure as cells
from cnnbook.figures import classifier_figure as classifier
from cnnbook.figures import sketchpad_figure as sketchpad
from cnnbook.figures.live_figure import source
from cnnbook.figures.surfaces import STARTS, SURFACES
from cnnlib import cost, models
from cnnlib import functional as F
from cnnlib.module import Parameter
from cnnlib.optim import SGD

# The package's names for these modules are the figures' functions.


def shown(value: float) -> str:
    """A number as the figures write it, where two decimals are enough."""
    return f"{value:.10g}".replace("-", "\u2212")


@dataclass(frozen=True)
class Move:
    """One thing a reader does, and the sentence that the figure's status line must then say."""

    how: str  # "key", "mouse", "touch" or "drag"
    role: str
    name: str
    says: Callable[[], str | re.Pattern]
    key: str = ""
    by: tuple[float, float] = (0, 0)  # a drag's way in pixels, from the middle

    def do(self, figure: Locator) -> None:
        target = figure.get_by_role(self.role, name=re.compile(self.name)).first
        if self.how == "key":
            target.focus()
            target.press(self.key)
        elif self.how == "mouse":
            target.click(force=True)
        elif self.how == "touch":
            target.tap(force=True)
        else:
            target.scroll_into_view_if_needed()
            edge = target.bounding_box()
            x, y = edge["x"] + edge["width"] / 2, edge["y"] + edge["height"] / 2
            mouse = figure.page.mouse
            mouse.move(x, y)
            mouse.down()
            mouse.move(x + self.by[0], y + self.by[1], steps=8)
            mouse.up()


def _convolution_says(row: int, col: int) -> str:
    state = figures.convolution().state
    y, _ = F.conv2d(np.array([state["input"]], float), np.array([state["kernel"]], float))
    return f"Output row {row + 1}, column {col + 1} of 5 by 5: the 9 products add up to {shown(y[0, 0, row, col])}."


def _geometry_says(output: int = 1, **change: object) -> str:
    arguments = dict(stride=2, padding=1, dilation=1, ceil_mode=False) | change
    count = F.conv_output_size(12, 3, **arguments)
    positions = [(output - 1) * arguments["stride"] + tap + 1 for tap in range(3)]
    return f"Output {output} of {count} reads positions {', '.join(map(str, positions))} of the padded input."


def _pooling_says(right: int, down: int = 0, kind: str = "max") -> str:
    x = np.array(figures.pooling().state["input"], float)
    moved = np.pad(x, 3)[3 - down : 11 - down, 3 - right : 11 - right]
    pool = {"max": F.max_pool2d, "average": F.avg_pool2d}[kind]
    before, after = (pool(image[None, None], 2)[0] for image in (x, moved))

    def part(a: np.ndarray, b: np.ndarray) -> tuple[str, str]:
        places = int((a != b).sum())
        share = f"{places} of {a.size} numbers ({int(100 * places / a.size + 0.5)}%)"
        return share, f"(relative distance {shown(round(np.linalg.norm(b - a) / np.linalg.norm(a), 2))})"

    (i, i_far), (o, o_far) = part(x, moved), part(before, after)
    says = f"The shift changes {i} of the input {i_far} and {o} of the output {o_far}."
    if right % 2 or down % 2:
        says += " It is no multiple of the stride 2, so the output need not be a shifted copy of itself."
    return says


def _shared_gradient_says(weight: tuple[int, int], place: tuple[int, int]) -> str:
    state = figures.shared_gradient().state
    x, dy = (np.array(state[name], float) for name in ("input", "gradient"))
    _, cache = F.conv2d(x[None, None], np.zeros((1, 1, 3, 3)))
    dw = F.conv2d_backward(dy[None, None], cache)[1][0, 0]
    one = np.zeros_like(dy)
    one[place] = dy[place]
    part = F.conv2d_backward(one[None, None], cache)[1][0, 0]
    return (
        f"The gradient of weight row {weight[0] + 1}, column {weight[1] + 1} is {shown(dw[weight])}, the sum of 9 "
        f"contributions; output row {place[0] + 1}, column {place[1] + 1} adds {shown(part[weight])}."
    )


def _parameters_says(kernel: int = 10, channels: int = 1, bias: int = 0) -> str:
    units, window = 1000**2, kernel**2 * channels + bias
    full = units * (1000**2 * channels + bias)
    return f"Fully connected: {full:,}; Local: {units * window:,}; Local and shared: {window:,}."


def _learning_rate_says(rate: float) -> str:
    words = {
        0: "Below 1/λ: it comes nearer from one side only.",
        1: "Between 1/λ and 2/λ: it jumps across the minimum at every step and still converges.",
        2: "Above 2/λ: every step ends higher than it began. It diverges.",
    }
    return f"{words[int(rate)]} Each step multiplies w by {shown(round(1 - rate, 3))}."


def _scientific(value: float) -> str:
    digits, exponent = f"{value:.1e}".split("e")
    raised = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return shown(round(value, 4)) if value >= 1e-3 else f"{float(digits):g}·10{raised}"


def _descend(surface: str, rate: float, start: tuple[float, float], steps: int) -> np.ndarray:
    gradient = SURFACES[surface][1]
    w = Parameter(np.array(start))
    sgd, seen = SGD([w], lr=rate), [w.data.copy()]
    for _ in range(steps):
        w.grad = gradient(w.data)
        sgd.step()
        seen.append(w.data.copy())
    return np.array(seen)


def _optimizers_says(steps: int, surface: str = "valley", start: tuple[float, float] | None = None) -> re.Pattern:
    # The order of the six is theirs; the sentence must hold plain descent's true error.
    least = {"saddle": -0.25}.get(surface, 0)
    error = SURFACES[surface][0](_descend(surface, 0.04, start or STARTS[surface], steps)[-1]) - least
    return re.compile(f"^After {steps} steps, error above the least: .*SGD {re.escape(_scientific(error))}[,.]")


def _saddle_says(rate: float = 0.1, exponent: int = -6) -> str:
    y = _descend("saddle", rate, (-1.5, 10.0**exponent), 400)[:, 1]
    guess = math.log(0.5 / 10.0**exponent) / math.log(1 + rate)
    raised = str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return (
        f"It leaves the ridge at step {np.flatnonzero(np.abs(y) > 0.5)[0]}. Without noise, y grows by 1 + η a step: "
        f"about ln(0.5 / 10{raised}) / ln(1 + {shown(rate)}) = {round(guess)} steps."
    )


def _sketchpad_says(strokes: list) -> str:
    if not strokes:
        return "Nothing drawn yet."
    model = models.lenet(dtype="float64")
    model.load_state_dict({name: w.astype("<f2").astype(float) for name, w in models.lenet().state_dict().items()})
    logits = model(sketchpad.rasterise(strokes)[None, None])[0]
    chances = np.exp(logits) / np.exp(logits).sum()
    return f"It reads {chances.argmax()}, {int(100 * chances.max() + 0.5)}%."


def _cells_says(**change: object) -> str:
    state = figures.cells().state | change
    light = cells.stimulus(state["kind"], state["angle"], state["shift"])
    simple, energy = (shown(round(answer, 2)) for answer in cells.responses(light, state["preferred"]))
    return f"Simple cell {simple}, complex cell {energy}."


def _classifier_says(name: str) -> re.Pattern:
    # The page rounds the weights, so that a share may print as its neighbour.
    card = pretrained.card(classifier.NETWORK)
    image = pretrained.photograph(name).image().convert("RGB")
    logits = pretrained.load(card.name)(card.view()(image)[None])[0].astype("f8")
    shares = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    percents = "|".join(str(round(100 * shares.max()) + step) for step in range(-3, 4))
    return re.compile(f"^First guess: {card.classes[shares.argmax()]}, ({percents})%[.]$")


def _ilsvrc_says(best: str, rows: int, measure: str = "Top-5, test") -> str:
    return f"{measure} error, {rows} rows; least: {best}."


def _inception_says(form: str = "reduced", module: str = "3a", one: int | None = None) -> str:
    tables = figures.inception(module).state
    (first, reduce3, three, reduce5, five, project), depth = tables["filters"], tables["channels"]
    first = one or first
    if form == "naive":
        weights, out, name = depth * (first + 9 * three + 25 * five), first + three + five + depth, "Naive"
    else:
        weights = depth * (first + reduce3 + reduce5 + project) + 9 * reduce3 * three + 25 * reduce5 * five
        out, name = first + three + five + project, "With reductions"
    return f"{name}: {weights:,} weights, {weights * tables['side'] ** 2:,} multiply-adds, {out} channels."


def _receptive_field_says(name: str, row: int) -> re.Pattern:
    found = cost.table(models.alexnet(), (3, 227, 227))
    layer = next(one for one in found if one.name == name)
    side, field, jump = layer.output_shape[1], layer.receptive_field[0], layer.jump[0]
    return re.compile(
        f"^{name} of AlexNet: {side}×{side} units, each sees {field}×{field} pixels .* {jump} pixels apart[.]"
        + (" Here the field reaches beyond the image[.]$" if row == 0 else "$")
    )


MOVES = {
    "cells": [
        Move("key", "slider", "Light turned", lambda: _cells_says(angle=20), key="ArrowRight"),
        Move("mouse", "radio", "Bar", lambda: _cells_says(kind="bar")),
        Move("touch", "slider", "direction", lambda: _cells_says(preferred=90)),
    ],
    "classifier": [
        Move("key", "radio", "tabby cat", lambda: _classifier_says("coffee"), key="ArrowRight"),
        Move("mouse", "radio", "giant panda", lambda: _classifier_says("panda")),
        Move("touch", "radio", "officer", lambda: _classifier_says("hopper")),
        Move("drag", "application", "^The pict", lambda: "A part is covered, and nothing is shown yet.", by=(60, 40)),
    ],
    "convolution": [
        Move("key", "gridcell", "output row 1 column 1:", lambda: _convolution_says(0, 1), key="ArrowRight"),
        Move("key", "gridcell", "output row 1 column 1:", lambda: _convolution_says(4, 4), key="Control+End"),
        Move("mouse", "gridcell", "output row 3 column 2:", lambda: _convolution_says(2, 1)),
        Move("touch", "gridcell", "output row 4 column 2:", lambda: _convolution_says(3, 1)),
        Move("touch", "button", "next output", lambda: _convolution_says(0, 1)),
    ],
    "geometry": [
        Move("key", "slider", "Output", lambda: _geometry_says(2), key="ArrowRight"),
        Move("mouse", "radio", "Ceil", lambda: _geometry_says(ceil_mode=True)),
        Move("touch", "button", "increase Stride S", lambda: _geometry_says(stride=3)),
    ],
    "ilsvrc": [
        Move(
            "key", "radio", "^All", lambda: _ilsvrc_says("VGG 2014, 1 net, multi-crop & dense, 7%", 5), key="ArrowRight"
        ),
        Move("mouse", "radio", "Several", lambda: _ilsvrc_says("GoogLeNet 2014, 7 nets, 6.7%", 8)),
        Move("touch", "radio", "One", lambda: _ilsvrc_says("VGG 2014, 1 net, multi-crop & dense, 7%", 5)),
    ],
    "inception": [
        Move("key", "slider", "^1×1", lambda: _inception_says(one=72), key="ArrowRight"),
        Move("mouse", "radio", "Naive", lambda: _inception_says("naive")),
        Move("touch", "radio", "Naive", lambda: _inception_says("naive")),
    ],
    "learning_rate": [
        Move("key", "slider", "Learning rate", lambda: _learning_rate_says(0.31), key="ArrowRight"),
        Move("drag", "img", "^Learning rate", lambda: _learning_rate_says(2.25), by=(0.4 * 1206, 0)),
        Move("touch", "img", "^Learning rate", lambda: _learning_rate_says(1.25)),
    ],
    "optimizers": [
        Move("key", "slider", "Step", lambda: _optimizers_says(61), key="ArrowRight"),
        Move("drag", "img", "^The valley", lambda: _optimizers_says(60, start=(-0.05, -0.1)), by=(0, 0)),
        Move("mouse", "radio", "Plateau", lambda: _optimizers_says(60, "plateau")),
        Move("mouse", "radio", "Saddle", lambda: _optimizers_says(60, "saddle")),
        Move("touch", "checkbox", "Momentum", lambda: re.compile("^((?!Momentum).)*$")),
    ],
    "parameters": [
        Move("key", "slider", "Window side", lambda: _parameters_says(kernel=9), key="ArrowLeft"),
        Move("mouse", "radio", "RGB", lambda: _parameters_says(channels=3)),
        Move("touch", "radio", "Yes", lambda: _parameters_says(bias=1)),
    ],
    "pooling": [
        Move("key", "slider", "Shift right", lambda: _pooling_says(2), key="ArrowRight"),
        Move("drag", "grid", "Input, shifted", lambda: _pooling_says(2, -1), by=(34, -34)),
        Move("mouse", "radio", "Average", lambda: _pooling_says(1, kind="average")),
        Move("touch", "button", "no shift", lambda: "No shift yet: drag the input, or use the sliders."),
    ],
    "receptive_field": [
        Move("key", "slider", "Layer", lambda: _receptive_field_says("pool2", 1), key="ArrowRight"),
        Move("drag", "img", "^The 227", lambda: _receptive_field_says("conv2", 0), by=(-130, -130)),
        Move("touch", "slider", "Layer", lambda: _receptive_field_says("conv3", 1)),
    ],
    "saddle": [
        Move("key", "slider", "Start off", lambda: _saddle_says(exponent=-5), key="ArrowRight"),
        Move("mouse", "slider", "Learning rate", lambda: _saddle_says(rate=0.25)),
        Move("touch", "slider", "Start off", lambda: _saddle_says(exponent=-8)),
    ],
    "shared_gradient": [
        Move("key", "gridcell", "dw row 1 column 1:", lambda: _shared_gradient_says((0, 1), (0, 0)), key="ArrowRight"),
        Move(
            "mouse", "gridcell", "contribution of output row 2 column 1:", lambda: _shared_gradient_says((0, 0), (1, 0))
        ),
        Move("touch", "gridcell", "dw row 3 column 3:", lambda: _shared_gradient_says((2, 2), (0, 0))),
    ],
    "sketchpad": [
        Move("key", "application", "Drawing pad", lambda: _sketchpad_says([]), key="Delete"),
        Move("key", "combobox", "Example", lambda: _sketchpad_says(sketchpad.EXAMPLES[4]), key="ArrowDown"),
        Move("mouse", "button", "Undo", lambda: _sketchpad_says([])),
        Move("touch", "button", "Clear", lambda: _sketchpad_says([])),
        Move("drag", "application", "Drawing pad", lambda: re.compile(r"^It reads \d, \d+%\.$"), by=(60, -40)),
    ],
}
# What is dragged while frames are counted: role and name. The results have nothing to drag.
SWEEPS = {
    "cells": ("slider", "Light moved"),
    "classifier": ("application", "^The picture"),
    "convolution": ("grid", "Output"),
    "geometry": ("slider", "Output"),
    "inception": ("slider", "Channels in"),
    "learning_rate": ("img", "^Learning rate"),
    "optimizers": ("img", "^The valley"),
    "parameters": ("slider", "Units"),
    "pooling": ("grid", "Input, shifted"),
    "receptive_field": ("img", "^The 227"),
    "saddle": ("slider", "Step"),
    "shared_gradient": ("grid", "Gradient of the weights"),
    "sketchpad": ("application", "Drawing pad"),
}
FIGURES = [name for name in figures.__all__ if name != "LiveFigure"]


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, list], list]:
    """Call functions of a figure's module, or read constants: node("convolution", [["outputSize", {}], ["LIMITS"]])."""
    folder = tmp_path_factory.mktemp("node")
    runner = folder / "run.mjs"
    runner.write_text(
        'import { readFileSync } from "node:fs";\n'
        "const { module, calls } = JSON.parse(readFileSync(0));\n"
        "const figure = await import(module);\n"
        "const call = (it, args) => (typeof it === 'function' ? it(...args) : it);\n"
        "console.log(JSON.stringify(calls.map(([name, ...args]) => call(figure[name], args))));\n"
    )

    def run(name: str, calls: list) -> list:
        module = folder / f"{name}.mjs"
        module.write_text(source(name), encoding="utf-8")
        command = json.dumps({"module": module.as_uri(), "calls": calls})
        done = subprocess.run(
            [compute_driver_executable()[0], runner], input=command, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


class Reader:
    """A reader's browser that reaches nothing but the page's own file, and what went wrong in it."""

    def __init__(self, context: BrowserContext, folder: Path) -> None:
        self.context, self.folder = context, folder
        self.requests: list[str] = []
        self.errors: list[str] = []

    def open(
        self, *shown: figures.LiveFigure, page_attributes: str = "", head: str = "", page: Page | None = None
    ) -> Page:
        page = page or self.context.new_page()
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        page.on("request", lambda request: self.requests.append(request.url))
        body = "".join(demo._repr_html_() for demo in shown)
        for demo in shown:
            if demo.files:
                write_files(demo, self.folder / "_static" / "figures")
        path = self.folder / "page.html"
        path.write_text(
            f'<!doctype html><html lang="en" data-content_root="./" {page_attributes}><head><meta charset="utf-8">'
            f'{head}<title>Figures</title><meta name="viewport" content="width=device-width"></head>'
            f"<body><main><h1>Figures</h1>{body}</main></body></html>",
            encoding="utf-8",
        )
        page.goto(path.as_uri())
        return page


@pytest.fixture
def reader(browser: Browser, tmp_path: Path) -> Iterator[Callable[..., Reader]]:
    """Make a reader: reader(width=375, has_touch=True, ...). Afterwards: no error, no request but the page itself."""
    made: list[Reader] = []

    def make(width: int = 1280, **options: object) -> Reader:
        context = browser.new_context(viewport={"width": width, "height": 900}, offline=True, **options)
        made.append(Reader(context, tmp_path))
        return made[-1]

    yield make
    for one in made:
        one.context.close()
        assert one.errors == []
        own = (tmp_path.as_uri(), "blob:", "data:")  # nothing else is the page's own
        assert [url for url in one.requests if not url.startswith(own)] == []


@pytest.fixture
def says() -> Callable[[Locator, str | re.Pattern], None]:
    """Wait until the figure's status line says the sentence."""
    return lambda figure, sentence: expect(figure.get_by_role("status")).to_have_text(sentence)


@pytest.fixture
def sketchpad_says() -> Callable[[list], str]:
    """What the sketch pad says of strokes, by cnnlib's LeNet."""
    return _sketchpad_says


@pytest.fixture(scope="session")
def make() -> Callable[[str], figures.LiveFigure]:
    """Make the figure of that name in its start state."""
    return lambda name: getattr(figures, name)(*([models.lenet().state_dict()] if name == "sketchpad" else []))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "figure_name" in metafunc.fixturenames:
        metafunc.parametrize("figure_name", FIGURES)
    if "move" in metafunc.fixturenames:
        cases = [(name, move) for name in FIGURES for move in MOVES[name]]
        ids = [f"{name}-{move.how}-{move.key or move.role}" for name, move in cases]
        metafunc.parametrize("moved_name, move", cases, ids=ids)
    if "sweep" in metafunc.fixturenames:
        metafunc.parametrize("swept_name, sweep", SWEEPS.items(), ids=SWEEPS)
