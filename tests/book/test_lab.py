"""What JupyterLab fills into the chapters: the table is of the sources as they are, and says what the book says."""

import json
import re
import zipfile
from collections.abc import Callable
from html import unescape
from pathlib import Path

import lab_references
import pytest
from hatchling.build import build_editable

ROLE = re.compile(r"\{(?P<role>[\w:]+)\}`(?P<content>[^`]+)`")
CITED = re.compile(r'<a class="[^"]+" href="references\.html#id\d+" title="(?P<title>[^"]+)">(?P<said>.*?)</a>')


def targets(markdown: str) -> list[tuple[str, str]]:
    """Each role and what it refers to, as JupyterLab names it."""
    found = []
    for one in ROLE.finditer(markdown):
        target = re.sub(r".*<(.+)>$", r"\1", " ".join(one["content"].split())).lower()
        found += [(one["role"].partition(":")[0], name) for name in re.split(", *", target)]
    return found


def test_the_table_is_of_the_sources_as_they_are() -> None:
    written = lab_references.TABLE.read_text(encoding="utf-8")
    assert written == lab_references.table(), "type `.venv/bin/python _ext/lab_references.py`"


def test_it_holds_all_that_a_chapter_refers_to() -> None:
    sources = lab_references.sources()
    known = {
        "cite": lab_references.papers(),
        "eq": lab_references.equations(),
        "term": lab_references.terms(),
        "ref": [*lab_references.places(), *lab_references.exercises()],
    }
    asked = [one for name, text in sources.items() if name.endswith("ipynb") for one in targets(text)]
    assert {role for role, _ in asked} == known.keys()
    assert [one for one in asked if one[1] not in known[one[0]]] == []


def test_an_editable_install_brings_it(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """requirements.txt and Binder install the library so."""
    monkeypatch.chdir(root)
    inside = zipfile.ZipFile(tmp_path / build_editable(str(tmp_path))).namelist()
    (folder,) = {name.rpartition("/package.json")[0] for name in inside if name.endswith("/package.json")}
    assert folder.endswith(".data/data/share/jupyter/labextensions/cnnbook-lab")
    package = json.loads((root / "lab" / "package.json").read_text())
    assert package["name"] == folder.rpartition("/")[2]
    brought = {package["jupyterlab"]["_build"]["load"], "static/references.json"}
    assert brought <= {name.removeprefix(f"{folder}/") for name in inside}


def test_no_reference_goes_over_two_lines() -> None:
    """JupyterLab doesn't read the label behind a line's end."""
    roles = [one[0] for text in lab_references.sources().values() for one in ROLE.finditer(text)]
    assert [role for role in roles if "\n" in role] == []


def test_a_citation_is_worded_as_in_the_book(site: Path) -> None:
    """The book names paper and year; a page's link has the entry as its title."""

    def plain(html: str) -> str:
        return " ".join(unescape(re.sub(r"<[^>]+>", "", html)).replace("\xa0", " ").split())

    known = {plain(paper["html"]): paper["cited"] for paper in lab_references.papers().values()}
    seen = [
        (plain(found["title"]), plain(found["said"]))
        for path in sorted((site / "chapters").glob("*.html"))
        for found in CITED.finditer(path.read_text(encoding="utf-8"))
    ]
    assert seen
    assert [one for one in seen if one[1] not in (", ".join(known[one[0]]), known[one[0]][1])] == []


@pytest.mark.parametrize(
    "known, numbered",
    [
        (lab_references.equations, r'id="equation-(?P<label>[\w-]+)">\s*<span class="eqno">\((?P<number>\d+)\)'),
        (
            lab_references.exercises,
            r'class="exercise admonition" id="(?P<label>[\w-]+)">\s*<p class="admonition-title">'
            r'<span class="caption-number">Exercise (?P<number>\d+)',
        ),
    ],
    ids=["equation", "exercise"],
)
def test_what_is_numbered_has_the_number_of_the_book(
    known: Callable[[], dict[str, dict]], numbered: str, site: Path
) -> None:
    shown = {
        found["label"]: found["number"]
        for path in (site / "chapters").glob("*.html")
        for found in re.finditer(numbered, path.read_text("utf-8"))
    }
    assert shown
    assert {label: one["number"] for label, one in known().items()} == shown
