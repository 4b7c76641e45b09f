"""The buttons that open a chapter elsewhere: none without a repository, the right ones with it."""

import os
import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import nbformat
import pytest

pytestmark = pytest.mark.slow

CONFIG = """\
title: Tiny
only_build_toc_files: true
execute: {{execute_notebooks: "off"}}
launch_buttons: {{thebe: false}}
sphinx:
  local_extensions: {{launch_buttons: {extensions}, plain_notebooks: {extensions}}}
"""
ELSEWHERE = re.compile(r'href="(https?://[^"]*(?:binder|colab|hub)[^"]*)"')


@pytest.fixture
def build(root: Path, tmp_path: Path):  # noqa: ANN201
    (tmp_path / "_config.yml").write_text(CONFIG.format(extensions=root / "_ext"))
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: chapters/index\n")
    (tmp_path / "chapters").mkdir()
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_markdown_cell("(top)=\n# Tiny\n\n{ref}`Top <top>`"), nbformat.v4.new_code_cell("1 + 1")],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    )
    nbformat.write(notebook, tmp_path / "chapters" / "index.ipynb")

    def run(**settings: str) -> tuple[set[str], str]:
        """Build the book with these settings: what its buttons lead to, and what the build said."""
        own = {name: value for name, value in os.environ.items() if not name.startswith("COURSE_")}
        command = [Path(sys.executable).with_name("jupyter-book"), "build", ".", "-W", "--all"]
        done = subprocess.run(command, cwd=tmp_path, env=own | settings, capture_output=True, text=True)
        page = tmp_path / "_build" / "html" / "chapters" / "index.html"
        links = set(ELSEWHERE.findall(page.read_text().replace("&amp;", "&"))) if done.returncode == 0 else set()
        return links, done.stdout + done.stderr

    return run


def test_buttons_come_with_a_repository(build) -> None:  # noqa: ANN001
    links, said = build()
    assert links == set() and "build succeeded" in said

    links, _ = build(COURSE_REPOSITORY="https://github.com/someone/course.git", COURSE_HUB="https://hub.example.org/")
    assert links == {
        "https://github.com/someone/course",
        "https://mybinder.org/v2/gh/someone/course/main?urlpath=lab/tree/chapters/index.ipynb",
        "https://colab.research.google.com/github/someone/course/blob/gh-pages/notebooks/index.ipynb",
        "https://hub.example.org/hub/user-redirect/git-pull?repo=https%3A//github.com/someone/course"
        "&urlpath=lab/tree/course/chapters/index.ipynb&branch=main",
    }

    links, _ = build(COURSE_REPOSITORY="https://gitlab.com/someone/course", COURSE_BRANCH="autumn")
    assert links == {
        "https://mybinder.org/v2/gl/someone%2Fcourse/autumn?urlpath=lab/tree/chapters/index.ipynb",
    }


def test_the_download_is_the_plain_notebook_and_leads_to_the_published_book(build, tmp_path: Path) -> None:  # noqa: ANN001
    def downloaded() -> str:
        page = tmp_path / "_build" / "html" / "chapters" / "index.html"
        (link,) = re.findall(r'href="([^"]*\.ipynb)"[^>]*download', page.read_text().replace("\n", " "))
        notebook = nbformat.read(page.parent / link, as_version=4)
        return "\n".join(cell.source for cell in notebook.cells)

    build()
    assert "[Top](../chapters/index.html#top)" in downloaded()
    build(COURSE_REPOSITORY="https://github.com/Someone/course")
    assert "[Top](https://someone.github.io/course/chapters/index.html#top)" in downloaded()
    assert "git+https://github.com/Someone/course@main" in downloaded()
    links, _ = build(
        COURSE_REPOSITORY="https://github.com/someone/course",
        COURSE_SITE="https://cnn.example.org",
        COURSE_SITE_BRANCH="site",
    )
    assert "[Top](https://cnn.example.org/chapters/index.html#top)" in downloaded()
    assert "https://colab.research.google.com/github/someone/course/blob/site/notebooks/index.ipynb" in links


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"COURSE_REPOSITORY": "someone/course"}, "COURSE_REPOSITORY must be an address like https://github.com/"),
        ({"COURSE_REPOSITORY": "https://example.org/course"}, "must be a repository on GitHub, GitLab or Bitbucket"),
        ({"COURSE_HUB": "https://hub.example.org"}, "COURSE_HUB needs COURSE_REPOSITORY too"),
        ({"COURSE_SITE": "https://cnn.example.org"}, "COURSE_SITE needs COURSE_REPOSITORY too"),
    ],
)
def test_a_setting_that_leads_nowhere_stops_the_build(build, settings: dict[str, str], words: str) -> None:  # noqa: ANN001
    links, said = build(**settings)
    assert links == set() and words in " ".join(said.split())


def test_binder_finds_what_it_needs(root: Path) -> None:
    """Binder installs this list and no other, so it has to bring the library and what chapters import beside it."""
    listed = (root / ".binder" / "requirements.txt").read_text()
    files = ("requirements.txt", "constraints.txt")
    pinned = [line for name in files for line in (root / name).read_text().splitlines()]
    assert not [line for line in listed.splitlines() if "==" in line and line not in pinned]

    assert re.search(r"^-e \.\[.*torch.*\]$", listed, flags=re.M)
    exact = {name.lower() for name in re.findall(r"^(\S+)==\S+$", listed, flags=re.M)}
    code = [
        cell.source
        for path in (root / "chapters").glob("*.ipynb")
        for cell in nbformat.read(path, as_version=4).cells
        if cell.cell_type == "code" and not path.name.startswith("homework-")
    ]
    imported = {name for source in code for name in re.findall(r"^(?:import|from) (\w+)", source, flags=re.M)}
    packages = packages_distributions()
    needed = {packages[name][0].lower() for name in imported if name in packages} - {"cnnlib"}
    assert {"numpy", "torch", "matplotlib", "ipywidgets"} <= needed <= exact
