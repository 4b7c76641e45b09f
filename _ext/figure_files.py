"""What live figures fetch when they are first used: scripts in the book's `_static/figures`, made by its build.

So the repository and the wheel hold each array and photograph once, in the form that Python reads. Their licences want
the notice beside them.
"""

import shutil
from pathlib import Path

from sphinx.application import Sphinx

from cnnbook import figures
from cnnbook.figures.live_figure import LiveFigure, file_script

NOTICE = Path(__file__).parent.parent / "NOTICE"


def figures_with_files() -> list[LiveFigure]:
    return [figures.classifier()]


def write_files(figure: LiveFigure, folder: Path) -> None:
    """Write a figure's files as scripts into `folder/NAME`."""
    target = folder / figure.name
    target.mkdir(parents=True, exist_ok=True)
    for name, content in figure.files.items():
        (target / f"{name}.js").write_text(file_script(figure.name, name, content()), encoding="ascii")
    shutil.copyfile(NOTICE, target / "NOTICE")


def hand_out(app: Sphinx) -> None:
    if app.builder.name == "html":
        for figure in figures_with_files():
            write_files(figure, Path(app.outdir) / "_static" / "figures")


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", hand_out)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
