"""Write the chapters as plain notebooks into _build/notebooks: those of the built book, and with --outputs its outputs.

Without outputs they are for who runs them, with outputs for who only reads them, as on GitHub.
"""

import re
import shutil
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "_build"
MADE, EXECUTED, FOLDER = BUILD / "html" / "notebooks", BUILD / "jupyter_execute" / "chapters", BUILD / "notebooks"
TO_PAGE = re.compile(r"\]\(\.\./(?=chapters/)")
NEEDS_SCRIPT = ("text/html", "application/vnd.jupyter.widget-view+json")


def readable(output: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Return an output in the forms that show without scripts, if it has any."""
    data = output.get("data", {})
    if "<script" in data.get("text/html", ""):
        output.data = {form: value for form, value in data.items() if form not in NEEDS_SCRIPT} or data
    return output


def add_outputs(notebook: nbformat.NotebookNode, executed: nbformat.NotebookNode) -> None:
    """Give each cell of code what it gave when the book was built."""
    outputs = {cell.id: cell.outputs for cell in executed.cells if cell.cell_type == "code"}
    for cell in notebook.cells:
        if cell.cell_type == "code" and cell.id in outputs:  # the first is no cell of the book
            cell.outputs = [readable(output) for output in outputs[cell.id]]


def main() -> None:
    """Write all of them anew."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    for path in sorted(MADE.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        for cell in notebook.cells:
            if cell.cell_type == "markdown":  # pages of a book without an address lie elsewhere from here
                cell.source = TO_PAGE.sub("](../html/", cell.source)
        if "--outputs" in sys.argv[1:]:
            add_outputs(notebook, nbformat.read(EXECUTED / path.name, as_version=4))
        nbformat.write(notebook, FOLDER / path.name)
    size = sum(path.stat().st_size for path in FOLDER.iterdir()) / 1e6
    print(f"==> {len(list(FOLDER.iterdir()))} notebooks are in {FOLDER.relative_to(ROOT)}, {size:.1f} MB", flush=True)


if __name__ == "__main__":
    main()
