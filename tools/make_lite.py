"""Build a JupyterLab that runs in the browser, with no server, into _build/lite: the chapters that need only cnnlib.

What cnnlib imports beside NumPy is in the site, and so are the widgets' front ends and what shows MyST. NumPy,
matplotlib and the widgets' Python come from Pyodide's address and from PyPI when a reader's notebook asks for them, so
running needs a network. The packages for this are in requirements-lite.txt and an environment of their own.
"""

import hashlib
import json
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "_build"
ENVIRONMENT, STAGE, SITE = BUILD / "lite-env", BUILD / "lite-stage", BUILD / "lite"
REQUIREMENTS = ROOT / "requirements-lite.txt"
FIRST_CELL = (
    "# installs the course's library into this browser's Python\n"
    "%pip install -q array-api-compat cnnlib matplotlib anywidget ipywidgets"
)
REFERENCE = re.compile(r"\{(?:ref|eq)\}`(?:(?P<text>[^`<]+?)\s*<(?=[^`]+>`))?(?P<label>[\w-]+)>?`")
LINK = re.compile(r"\[(?P<text>[^\]]+)\]\((?P<page>[\w-]+\.(?:ipynb|md))(?:#[^)]*)?\)")


def run(*command: str | Path) -> None:
    BUILD.mkdir(exist_ok=True)  # what jupyter-lite leaves in the folder it runs in belongs there
    done = subprocess.run([str(word) for word in command], cwd=BUILD, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{done.stdout[-2000:]}{done.stderr[-2000:]}\n==> this failed: {' '.join(map(str, command))}")


def set_up() -> None:
    """Make the environment, unless it is the one that the requirements ask for."""
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes() + (ROOT / "constraints.txt").read_bytes()).hexdigest()
    stamp = ENVIRONMENT / "lite.stamp"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    print("==> installing JupyterLite, about a minute", flush=True)
    venv.create(ENVIRONMENT, clear=True, with_pip=True)
    pip = (ENVIRONMENT / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    run(*pip, "-r", REQUIREMENTS, "-c", ROOT / "constraints.txt")
    stamp.write_text(wanted)


def chapters() -> list[Path]:
    """The book's chapters that need no torch, which Pyodide doesn't have."""
    found = [path for path in sorted((ROOT / "chapters").glob("*.ipynb")) if not path.name.startswith("homework-")]
    return [path for path in found if not re.search(r"\btorch\b", code(path), flags=re.M)]


def code(path: Path) -> str:
    cells = nbformat.read(path, as_version=4).cells
    return "\n".join(cell.source for cell in cells if cell.cell_type == "code")


def unlinked(markdown: str, pages: set[str]) -> str:
    """Return a cell in which links to other pages than these are words, which JupyterLab would open in vain."""
    table = json.loads((ROOT / "lab" / "static" / "references.json").read_text(encoding="utf-8"))
    known = {
        **{label: (place["file"], f"*{place['title']}*") for label, place in table["places"].items()},
        **{label: (place["file"], f"({place['number']})") for label, place in table["equations"].items()},
        **{label: (place["file"], f"Exercise {place['number']}") for label, place in table["exercises"].items()},
    }

    def words(found: re.Match) -> str:
        file, shown = known.get(found["label"].lower(), (None, None))
        return found[0] if file is None or file in pages else found["text"] or shown

    kept = REFERENCE.sub(words, markdown)
    return LINK.sub(lambda found: found[0] if found["page"] in pages else found["text"], kept)


def stage() -> None:
    """Lay out what the site is made of: the notebooks, each with a cell that installs the library, and its wheel."""
    shutil.rmtree(STAGE, ignore_errors=True)
    (STAGE / "files").mkdir(parents=True)
    pages = {path.name for path in chapters()}
    for path in chapters():
        notebook = nbformat.read(path, as_version=4)
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                cell.source = unlinked(cell.source, pages)
        notebook.cells.insert(1, nbformat.v4.new_code_cell(FIRST_CELL, id="install-cnnlib"))
        nbformat.write(notebook, STAGE / "files" / path.name)
    make_wheel("--no-build-isolation", ROOT)


def make_wheel(*what: str | Path) -> None:
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--disable-pip-version-check")
    run(*pip, "--wheel-dir", STAGE / "wheels", *what)


def build() -> None:
    shutil.rmtree(SITE, ignore_errors=True)
    make_wheel(re.search(r"^array-api-compat==\S+$", (ROOT / "requirements.txt").read_text(), flags=re.M)[0])
    wheels = [word for wheel in sorted((STAGE / "wheels").glob("*.whl")) for word in ("--piplite-wheels", wheel)]
    lite = ENVIRONMENT / "bin" / "jupyter-lite"
    contents = ("--contents", STAGE / "files", f"--LiteBuildApp.federated_extensions={ROOT / 'lab'}")
    run(lite, "build", "--lite-dir", STAGE, *contents, *wheels, "--output-dir", SITE)


def main() -> None:
    set_up()
    print("==> building JupyterLite", flush=True)
    stage()
    build()
    print(
        f"==> {len(chapters())} chapters run in the browser from {SITE.relative_to(ROOT)}: put it on a web server",
        flush=True,
    )


if __name__ == "__main__":
    main()
