"""The page that a student gets back. Whatever the student wrote is shown as text: nothing of it runs."""

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path

import jinja2

from autograder.result import Result

TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render(result: Result, title: str) -> str:
    """Return the HTML page for one result. Titles of hidden cases are shown, their numbers are not."""
    page = TEMPLATES.get_template("feedback.html.j2")
    return page.render(result=result, title=title, isolated=not result.isolation.startswith("NOT ISOLATED"))


def moodle_zip(path: Path, pages: Mapping[str, str]) -> None:
    """Write pages, by the folder of the download, as Moodle's "Upload multiple feedback files in a zip" takes them."""
    draft = path.with_name(f".{path.name}.new")
    with zipfile.ZipFile(draft, "w", zipfile.ZIP_DEFLATED) as archive:
        for folder, page in pages.items():
            name = os.fsencode(folder).decode(errors="replace")  # a zip's names are UTF-8, a folder's may not be
            archive.writestr(f"{name}/feedback.html", page.encode(errors="replace"))
    os.replace(draft, path)
