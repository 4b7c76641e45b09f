"""JupyterLite: what is in its site, and that its chapters run with cnnlib alone. NumPy for it comes from a network."""

import json
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

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
        page.goto(f"{site_address}/lab/index.html")
        expect(page.get_by_text("pooling.ipynb")).to_be_visible(timeout=60_000)
