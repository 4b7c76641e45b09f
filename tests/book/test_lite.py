"""JupyterLite: what is in its site, and that its chapters run with cnnlib alone. NumPy for it comes from a network."""

import json
import re
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import lab_references
import make_lite
import nbformat
import pytest
from playwright.sync_api import Browser, expect

pytestmark = pytest.mark.slow

AS_IN_LITE = """\
import sys
for name in ("torch", "benchmarks", "autograder"):
    sys.modules[name] = None  # an import of it fails: Pyodide doesn't have the first, nor the wheel the others
import matplotlib
matplotlib.use("agg")
exec(sys.stdin.read(), {"__name__": "__main__"})
"""


@pytest.fixture
def lite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for what `make lite` lays out."""
    monkeypatch.setattr(make_lite, "STAGE", tmp_path / "stage")
    monkeypatch.setattr(make_lite, "SITE", tmp_path / "site")
    return tmp_path


def test_chapters_install_the_library_that_lies_beside_them(lite: Path) -> None:
    make_lite.stage()
    staged = {path.name for path in (lite / "stage" / "files").iterdir()}
    assert {"convolutional-layers.ipynb", "pooling.ipynb"} <= staged
    assert not {name for name in staged if name.startswith("homework-") or name == "lenet.ipynb"}
    for name in staged:
        notebook = nbformat.read(lite / "stage" / "files" / name, as_version=4)
        nbformat.validate(notebook)
        first = next(cell for cell in notebook.cells if cell.cell_type == "code")
        assert "%pip install -q array-api-compat cnnlib" in first.source
    (wheel,) = (lite / "stage" / "wheels").glob("cnnlib-*-py3-none-any.whl")
    assert "cnnbook/figures/question.js" in zipfile.ZipFile(wheel).namelist()


def test_no_link_leads_to_a_page_that_is_not_there(lite: Path) -> None:
    make_lite.stage()
    staged = {path.name: nbformat.read(path, as_version=4) for path in (lite / "stage" / "files").iterdir()}
    numbered = lab_references.equations() | lab_references.exercises()
    files = {label: place["file"] for label, place in (lab_references.places() | numbered).items()}
    led = {}
    for name, notebook in staged.items():
        text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
        roles = re.findall(r"\{(?:ref|eq)\}`(?:[^`<]*<)?([\w-]+)>?`", text)
        led[name] = {files[label.lower()] for label in roles}
        led[name] |= set(re.findall(r"\]\(([\w-]+\.(?:ipynb|md))", text))
    assert led["pooling.ipynb"] >= {"pooling.ipynb", "convolutional-layers.ipynb"}
    assert {name: pages - staged.keys() for name, pages in led.items() if pages - staged.keys()} == {}


@pytest.mark.parametrize(
    "written, shown",
    [
        ("{ref}`Pooling <pooling>` and {eq}`convolution`", "{ref}`Pooling <pooling>` and {eq}`convolution`"),
        ("{ref}`the *next* <lenet>`, {ref}`glossary`", "the *next*, *Glossary*"),
        ("[one](homework-training.ipynb), [two](pooling.ipynb#top)", "one, [two](pooling.ipynb#top)"),
        ("{term}`kernel` of {cite:t}`zhang2019`", "{term}`kernel` of {cite:t}`zhang2019`"),
    ],
)
def test_a_link_that_leads_nowhere_is_words(written: str, shown: str) -> None:
    assert make_lite.unlinked(written, {"pooling.ipynb", "convolutional-layers.ipynb"}) == shown


@pytest.mark.parametrize("path", make_lite.chapters(), ids=lambda path: path.stem)
def test_a_chapter_runs_with_cnnlib_alone(path: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", AS_IN_LITE]
    done = subprocess.run(command, cwd=tmp_path, input=make_lite.code(path), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def site_address(lite: Path) -> Iterator[str]:
    """The built site's address; JupyterLite is installed first where it isn't yet."""
    make_lite.set_up()
    make_lite.stage()
    make_lite.build()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=lite / "site"))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.browser
def test_the_site_opens_with_the_chapters(lite: Path, site_address: str, browser: Browser) -> None:
    listed = json.loads((lite / "site" / "api" / "contents" / "all.json").read_text())["content"]
    assert {entry["name"] for entry in listed} == {path.name for path in make_lite.chapters()}
    wheels = json.loads((lite / "site" / "pypi" / "all.json").read_text())
    assert {"cnnlib", "array-api-compat"} <= set(wheels)
    with browser.new_context() as context:
        context.set_default_timeout(60_000)
        page = context.new_page()
        page.goto(f"{site_address}/lab/index.html?path=how-to-use.ipynb")
        expect(page.get_by_text("pooling.ipynb")).to_be_visible()
        # MyST is shown as in the book, terms of the glossary and papers included
        expect(page.locator(".myst-admonition").first).to_contain_text("On this page")
        expect(page.locator(".myst-exercise-header").first).to_have_text("Exercise 1 (Two positions, nothing left out)")
        expect(page.locator(".jp-Notebook cite").first).to_have_text("Roediger and Karpicke, 2006")
        expect(page.locator(".myst .text-yellow-600")).to_have_text([])  # what jupyterlab-myst can't follow
