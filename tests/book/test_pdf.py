"""The book as one PDF: printed offline, whole but for the homework, with its formulas, heads, links and bookmarks."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from pypdf import PdfReader
from pypdf.generic import Destination

pytestmark = [pytest.mark.slow, pytest.mark.browser]


@pytest.fixture(scope="module")
def book(site: Path, root: Path) -> PdfReader:
    """The PDF of the book as it is now."""
    done = subprocess.run([sys.executable, "tools/make_pdf.py"], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return PdfReader(root / "_build" / "pdf" / "book.pdf")


@pytest.fixture(scope="module")
def pages(book: PdfReader) -> list[str]:
    return [page.extract_text() for page in book.pages]


@pytest.fixture(scope="module")
def text(pages: list[str]) -> str:
    return "".join(pages)


def squeezed(text: str) -> str:
    """The text's letters and digits alone: a PDF breaks lines, and joins letters, where it likes."""
    ligatures = {"\ufb00": "ff", "\ufb01": "fi", "\ufb02": "fl", "\ufb03": "ffi", "\ufb04": "ffl"}
    for one, letters in ligatures.items():
        text = text.replace(one, letters)
    return re.sub(r"[\W_]+", "", text).lower()


def titles_of(site: Path, kind: str) -> list[str]:
    """The titles of the book's pages of which the name matches."""
    pages = [page for page in sorted((site / "chapters").glob("*.html")) if re.match(kind, page.stem)]
    titles = [re.search(r"<title>(.*?) (?:&#8212;|\u2014) ", page.read_text())[1] for page in pages]
    return [squeezed(re.sub(r"&\w+;|<[^>]+>", "", title)) for title in titles]


CHAPTER = r"(?!homework-|index$)"


def test_every_page_of_the_book_but_the_homework_is_in_it(book: PdfReader, text: str, site: Path) -> None:
    printed, titles, homework = squeezed(text), titles_of(site, CHAPTER), titles_of(site, "homework-")
    assert len(titles) > 20 and not [title for title in titles if title not in printed]
    begun = {squeezed(chapter.title) for chapter in chapters_of(book)}
    assert len(homework) > 3 and not begun & set(homework)
    assert 8 * len(titles) < len(book.pages) <= 450


def chapters_of(book: PdfReader) -> list[Destination]:
    """The bookmarks of the second level: below the book's title its pages, and what the first page holds."""
    (_, inside) = book.outline
    return [item for item in inside if not isinstance(item, list)]


def test_a_chapter_begins_a_page_and_stands_at_the_head_of_each(book: PdfReader, pages: list[str], site: Path) -> None:
    titles = titles_of(site, CHAPTER)
    begins = {squeezed(one.title): book.get_destination_page_number(one) for one in chapters_of(book)}
    assert set(titles) <= set(begins) and len({begins[title] for title in titles}) == len(titles)
    for title in titles:
        begin, end = begins[title], min((at for at in begins.values() if at > begins[title]), default=len(book.pages))
        printed = {page: squeezed(pages[page]) for page in range(begin, end)}
        bare = [page for page, words in printed.items() if words == str(page + 1)]  # a picture that fills it
        assert len(bare) <= 2
        assert not [page for page, words in printed.items() if page not in bare and not words.startswith(title)]


def test_its_links_lead_somewhere(book: PdfReader) -> None:
    known = book.named_destinations
    links = [link.get_object() for page in book.pages for link in page.get("/Annots") or []]
    inside = [link["/Dest"] for link in links if "/Dest" in link]
    outside = [str(link["/A"].get_object()["/URI"]) for link in links if "/A" in link]
    assert len(inside) > 500 and not [name for name in inside if name not in known]
    assert not [url for url in outside if not url.startswith(("http://", "https://", "mailto:"))]


def test_formulas_are_set_solutions_printed_and_folded_code_is_not(text: str) -> None:
    assert "\\frac" not in text and "\\sum" not in text
    assert text.count("Solution to") > 20
    assert "plotting.drawing(" not in text, "code that only draws is folded in the book"


def test_it_has_bookmarks_and_tags(book: PdfReader) -> None:
    assert book.outline and "/StructTreeRoot" in book.trailer["/Root"]
