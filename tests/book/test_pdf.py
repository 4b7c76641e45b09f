"""The book as one PDF: printed offline, whole, with its formulas, and found by a reader's bookmarks."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from pypdf import PdfReader

pytestmark = [pytest.mark.slow, pytest.mark.browser]


@pytest.fixture(scope="module")
def book(site: Path, root: Path) -> PdfReader:
    """The PDF of the book as it is now."""
    done = subprocess.run([sys.executable, "tools/make_pdf.py"], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return PdfReader(root / "_build" / "pdf" / "book.pdf")


@pytest.fixture(scope="module")
def text(book: PdfReader) -> str:
    return "".join(page.extract_text() for page in book.pages)


def squeezed(text: str) -> str:
    """The text's letters and digits alone: a PDF breaks lines, and joins letters, where it likes."""
    ligatures = {"\ufb00": "ff", "\ufb01": "fi", "\ufb02": "fl", "\ufb03": "ffi", "\ufb04": "ffl"}
    for one, letters in ligatures.items():
        text = text.replace(one, letters)
    return re.sub(r"[\W_]+", "", text).lower()


def test_every_page_of_the_book_is_in_it(book: PdfReader, text: str, site: Path) -> None:
    printed = squeezed(text)
    pages = sorted((site / "chapters").glob("*.html"))
    titles = [re.search(r"<title>(.*?) (?:&#8212;|\u2014) ", page.read_text())[1] for page in pages]
    assert len(titles) > 8
    missing = [title for title in titles if squeezed(re.sub(r"&\w+;|<[^>]+>", "", title)) not in printed]
    assert not missing
    assert len(book.pages) > 8 * len(titles), "chapters are longer than that"


def test_formulas_are_set_solutions_printed_and_folded_code_is_not(text: str) -> None:
    assert "\\frac" not in text and "\\sum" not in text
    assert text.count("Solution to") > 20
    assert "plotting.drawing(" not in text, "code that only draws is folded in the book"


def test_it_has_bookmarks_and_tags(book: PdfReader) -> None:
    assert book.outline and "/StructTreeRoot" in book.trailer["/Root"]
