"""The instructor's guide takes from the chapters all that they ask and all misconceptions that they name."""

import re
from pathlib import Path

import chapter_guide
import course
import nbformat
import pytest


def test_guide_of_a_chapter(tmp_path: Path) -> None:
    notebook = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_markdown_cell(
                "(top)=\n# The title\n\n**Time:** about 20 minutes of reading, a few seconds."
            ),
            nbformat.v4.new_code_cell('questions.predict("one", "How <em>many</em>?", answer=1)'),
            nbformat.v4.new_markdown_cell("(place)=\n## Here\n\n:::{admonition} Misconception: all are equal\n:::"),
            nbformat.v4.new_markdown_cell("```{exercise}\n:label: x\nDo it.\n```"),
        ]
    )
    path = tmp_path / "top.ipynb"
    nbformat.write(notebook, path)
    guide = chapter_guide.guide("top", path)
    assert "### The title" in guide and "{ref}`top`: 20 minutes of reading, 1 exercises." in guide
    assert "<li>How <em>many</em>?</li>" in guide
    assert "- All are equal. See {ref}`place`." in guide


@pytest.mark.parametrize("name", course.chapters())
def test_every_chapter_has_its_guide(name: str) -> None:
    path = course.chapters()[name]
    guide = chapter_guide.guide(name, path)
    assert "None minutes" not in guide
    assert guide.count("<li>") == path.read_text().count("questions.predict(")
    named = len(re.findall(r"^:+\{admonition\} Misconception", course.text(path), flags=re.M))
    assert guide.count("\n- ") == named > 0


def test_front_page_leads_to_every_page_of_the_book(root: Path) -> None:
    front = (root / "chapters" / "index.md").read_text()
    named = set(re.findall(r"\{ref\}`(?:[^`<]*<)?([\w-]+)>?`", front)) | set(re.findall(r"\(([\w-]+)\.ipynb\)", front))
    missing = {Path(page).name for page in course.toc_files()} - named - {"how-to-use"}
    assert not missing
    assert "tour" in named  # of the page "how to use this book"
