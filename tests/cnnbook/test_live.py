"""The figures in a real JupyterLab: shown by a cell, and as a widget that Python reads and sets."""

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import Locator, expect

from cnnbook import figures

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A JupyterLab server on loopback with one notebook: its address."""
    folder = tmp_path_factory.mktemp("lab")
    cells = [
        "from cnnbook import figures\nfigures.convolution()",
        "figure = figures.convolution().widget()\nfigure",
        "print('Python sees', figure.position)\nfigure.stride = 2",
        "from cnnlib import models\n"
        "for name in figures.__all__[1:]:\n"
        "    other = getattr(figures, name)(*[models.lenet().state_dict()] * (name == 'sketchpad'))\n"
        "    display(other, other.widget())",
        "from cnnbook import questions\n"
        "questions.predict('live', 'Two and two?', answer=4, wrong={22: 'Side by side.'})",
    ]
    kernel = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(cell) for cell in cells], metadata={"kernelspec": kernel}
    )
    nbformat.write(notebook, folder / "figures.ipynb")
    own = {
        name: str(folder / name.lower())
        for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    }
    environment = {**os.environ, **own, "PYTHONPATH": str(Path(figures.__file__).parents[2])}
    options = "--no-browser --allow-root --ip=127.0.0.1 --port=0 --ServerApp.base_url=/ --IdentityProvider.token=open"
    log = (folder / "log").open("w")
    server = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "jupyterlab",
            *options.split(),
            f"--ServerApp.root_dir={folder}",
        ],
        env=environment,
        stdout=log,
        stderr=log,
    )
    try:
        yield _address(server, folder)
    finally:
        server.terminate()
        server.wait(timeout=30)
        log.close()


def _address(server, folder):
    for _ in range(240):
        assert server.poll() is None, (folder / "log").read_text()
        for found in (folder / "jupyter_runtime_dir").glob("jpserver-*.json"):
            base = f"http://127.0.0.1:{json.loads(found.read_text())['port']}"
            with urllib.request.urlopen(f"{base}/api/status?token=open", timeout=10) as answer:
                if answer.status == 200:
                    return base
        time.sleep(0.25)
    raise TimeoutError((folder / "log").read_text())


def run(cell: Locator) -> None:
    """Run a cell as a reader does; JupyterLab drops a run that falls into the moment its session gets ready."""
    for _ in range(4):
        cell.locator(".cm-content").click()
        cell.page.keyboard.press("Shift+Enter")
        try:
            return expect(cell.locator(".jp-InputPrompt")).to_have_text(re.compile(r"\[\d+\]"), timeout=15_000)
        except AssertionError:
            continue
    raise AssertionError("the cell never ran")


def test_in_a_live_notebook(lab, browser):
    errors = []
    with browser.new_context(viewport={"width": 1280, "height": 1400}) as context:
        context.set_default_timeout(60_000)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"{lab}/lab/tree/figures.ipynb?token=open")
        page.locator('.jp-Notebook-ExecutionIndicator[data-status="idle"]').wait_for()
        first, second, third, fourth, fifth = (page.locator(".jp-Notebook .jp-Cell").nth(number) for number in range(5))

        run(first)
        shown = first.locator(".cnnlib-demo[data-live]")
        shown.get_by_role("gridcell", name="output row 1 column 1:").press("ArrowDown")
        expect(shown.get_by_role("status")).to_contain_text("Output row 2, column 1 of 5 by 5")

        # "x" cuts a cell in JupyterLab's command mode; pressed in a figure it is the figure's.
        shown.get_by_role("gridcell", name="output row 2 column 1:").press("x")
        shown.get_by_role("textbox", name="input row 1 column 1").click()
        page.keyboard.press("2")
        expect(shown.get_by_role("textbox", name="input row 1 column 1")).to_have_value("2")
        expect(page.locator(".jp-Notebook .jp-CodeCell")).to_have_count(5)

        run(second)
        widget = second.locator(".jp-OutputArea-output")
        widget.get_by_role("gridcell", name="output row 1 column 1:").press("ArrowRight")
        expect(widget.get_by_role("status")).to_contain_text("Output row 1, column 2 of 5 by 5")

        run(third)
        expect(third).to_contain_text("Python sees [0, 1]")
        # Python set the stride to 2: three outputs a side.
        expect(widget.get_by_role("gridcell", name=re.compile("^output row"))).to_have_count(9)

        run(fourth)
        count = len(figures.__all__) - 1
        expect(fourth.locator(".cnnlib-demo[data-live]")).to_have_count(count, timeout=30_000)
        expect(fourth.locator(".frame")).to_have_count(2 * count, timeout=30_000)

        run(fifth)
        fifth.get_by_role("textbox", name="Two and two?").fill("22")
        fifth.get_by_role("textbox", name="Two and two?").press("Enter")
        expect(fifth.get_by_role("group", name="What your answer says")).to_contain_text("Side by side.")
        run(fifth)  # the browser has kept the answer
        expect(fifth.get_by_role("group", name="What your answer says")).to_contain_text("The answer: 4.")
    assert errors == []
