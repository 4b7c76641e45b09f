"""Live figures under test: run in node against their NumPy twins, and in Chromium with no network."""

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from playwright._impl._driver import compute_driver_executable
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect, sync_playwright

from cnnlib import demos
from cnnlib import functional as F
from cnnlib.demos.demo import source

CHROMIUM = "/usr/bin/chromium"
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()


def shown(value: float) -> str:
    """A number as the figures write it, where two decimals are enough."""
    return f"{value:.10g}".replace("-", "\u2212")


@dataclass(frozen=True)
class Move:
    """One thing a reader does, and the sentence that the figure's status line must then say."""

    how: str  # "key", "mouse" or "touch"
    role: str
    name: str
    says: Callable[[], str]
    key: str = ""

    def do(self, figure: Locator) -> None:
        target = figure.get_by_role(self.role, name=re.compile(self.name)).first
        if self.how == "key":
            target.focus()
            target.press(self.key)
        elif self.how == "mouse":
            target.click(force=True)
        else:
            target.tap(force=True)


def _convolution_says(row: int, col: int) -> str:
    state = demos.convolution().state
    y, _ = F.conv2d(np.array([state["input"]], float), np.array([state["kernel"]], float))
    return f"Output row {row + 1}, column {col + 1} of 5 by 5: the 9 products add up to {shown(y[0, 0, row, col])}."


MOVES = {
    "convolution": [
        Move("key", "gridcell", "output row 1 column 1:", lambda: _convolution_says(0, 1), key="ArrowRight"),
        Move("key", "gridcell", "output row 1 column 1:", lambda: _convolution_says(4, 4), key="Control+End"),
        Move("mouse", "gridcell", "output row 3 column 2:", lambda: _convolution_says(2, 1)),
        Move("touch", "gridcell", "output row 4 column 2:", lambda: _convolution_says(3, 1)),
        Move("touch", "button", "next output", lambda: _convolution_says(0, 1)),
    ],
}
FIGURES = [name for name in demos.__all__ if name != "Demo"]


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, list], list]:
    """Call functions of a figure's module: node("convolution", [["outputSize", {...}], ...]) -> their values."""
    folder = tmp_path_factory.mktemp("node")
    runner = folder / "run.mjs"
    runner.write_text(
        'import { readFileSync } from "node:fs";\n'
        "const { module, calls } = JSON.parse(readFileSync(0));\n"
        "const figure = await import(module);\n"
        "console.log(JSON.stringify(calls.map(([name, ...args]) => figure[name](...args))));\n"
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


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


class Reader:
    """A reader's browser that reaches nothing but the page's own file, and what went wrong in it."""

    def __init__(self, context: BrowserContext, folder: Path) -> None:
        self.context, self.folder = context, folder
        self.requests: list[str] = []
        self.errors: list[str] = []

    def open(self, *shown: demos.Demo, page_attributes: str = "") -> Page:
        page = self.context.new_page()
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        page.on("request", lambda request: self.requests.append(request.url))
        body = "".join(demo._repr_html_() for demo in shown)
        path = self.folder / "page.html"
        path.write_text(
            f'<!doctype html><html lang="en" {page_attributes}><head><meta charset="utf-8"><title>Figures</title>'
            '<meta name="viewport" content="width=device-width"></head>'
            f"<body><main><h1>Figures</h1>{body}</main></body></html>",
            encoding="utf-8",
        )
        page.goto(path.as_uri())
        return page


@pytest.fixture
def reader(chromium: Browser, tmp_path: Path) -> Iterator[Callable[..., Reader]]:
    """Make a reader: reader(width=375, has_touch=True, ...). Afterwards: no error, no request but the page itself."""
    made: list[Reader] = []

    def make(width: int = 1280, **options: object) -> Reader:
        context = chromium.new_context(viewport={"width": width, "height": 900}, offline=True, **options)
        context.set_default_timeout(10_000)
        made.append(Reader(context, tmp_path))
        return made[-1]

    yield make
    for one in made:
        one.context.close()
        assert one.errors == []
        assert [url for url in one.requests if not url.startswith(tmp_path.as_uri())] == []


@pytest.fixture
def says() -> Callable[[Locator, str], None]:
    """Wait until the figure's status line says the sentence."""
    return lambda figure, sentence: expect(figure.get_by_role("status")).to_have_text(sentence)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "figure_name" in metafunc.fixturenames:
        metafunc.parametrize("figure_name", FIGURES)
    if "move" in metafunc.fixturenames:
        cases = [(name, move) for name in FIGURES for move in MOVES[name]]
        ids = [f"{name}-{move.how}-{move.key or move.role}" for name, move in cases]
        metafunc.parametrize("moved_name, move", cases, ids=ids)
