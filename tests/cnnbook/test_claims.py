"""The ledger of claims: every value comes out, and what it names exists."""

import re
from collections import Counter
from functools import cache
from pathlib import Path

import nbformat
import pytest

from cnnbook import claims
from cnnbook.claims import __main__ as command
from cnnbook.claims import agrees, compute, every_claim, load

SLIDES = load()
CLAIMS = [claim for _, claim in every_claim(SLIDES)]
ROOT = Path(__file__).resolve().parent.parent.parent
# The papers of the lecture: on its slides, in its table of results, in its references.
NAMED = {
    "hubel1959",
    "hubel1962",
    "lecun1998",
    "deng2009",
    "krizhevsky2012",
    "zeiler2013",
    "sermanet2014",
    "he2014",
    "russakovsky2015",
    "simonyan2015",
    "szegedy2014",
    "glorot2011",
    "ioffe2015",
}


@cache
def book_pages() -> dict[str, str]:
    """The text of every page: Markdown, or the cells of a notebook."""
    texts = {path.stem: path.read_text() for path in (ROOT / "chapters").glob("*.md")}
    for path in (ROOT / "chapters").glob("*.ipynb"):
        texts[path.stem] = "\n\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells)
    return texts


@cache
def labels() -> set[str]:
    return {label for text in book_pages().values() for label in re.findall(r"^\(([\w-]+)\)=$", text, re.M)}


def entries() -> set[str]:
    return set(re.findall(r"^@\w+\{([\w-]+),", (ROOT / "references.bib").read_text(), re.M))


@pytest.mark.parametrize("claim", [claim for claim in CLAIMS if claim.compute], ids=lambda claim: claim.id)
def test_value_comes_out(claim: claims.Claim) -> None:
    assert claim.of, "what is the value?"
    found = compute(claim)
    assert agrees(found, claim.value), f"computed {found}"


def test_there_are_claims_of_every_verdict() -> None:
    counts = Counter(claim.verdict for claim in CLAIMS)
    assert set(counts) == set(claims.VERDICTS)
    assert len(CLAIMS) >= 100 and sum(bool(claim.compute) for claim in CLAIMS) >= 80
    assert not [claim.id for claim, times in Counter(claim.id for claim in CLAIMS).items() if times > 1]


def test_sources_are_in_the_bibliography() -> None:
    assert {key for claim in CLAIMS for key in claim.source} <= entries()


def test_the_bibliography_has_each_work_once() -> None:
    """By its key and by its title."""
    text = (ROOT / "references.bib").read_text()
    for kind in (r"^@\w+\{([\w-]+),", r"^\s*title\s*=\s*\{(.+)\},?$"):
        found = re.findall(kind, text, re.M)
        assert found and not [each for each, times in Counter(found).items() if times > 1]


@pytest.mark.parametrize("slide", SLIDES, ids=lambda slide: slide.name)
def test_slide_has_its_place_in_the_book(slide: claims.Slide) -> None:
    assert slide.sections and slide.count >= 1 and (slide.title or slide.topic)
    assert {*slide.sections, *(claim.section for claim in slide.claims)} <= labels()


def test_slides_are_the_lectures() -> None:
    """As many as its text has, from the title to the references."""
    assert sum(slide.count for slide in SLIDES) == 54
    assert [SLIDES[0].title, SLIDES[-1].title] == ["Convolutional Neural Networks", "References"]


def test_what_was_at_hand_is_said_once_on_both_pages() -> None:
    """Only the slides' text: said at the top, so that nothing missing in it is held against the slides."""
    said = {name: text.count("Only text extracted from") for name, text in book_pages().items()}
    assert {name: times for name, times in said.items() if times} == {"claims": 1, "lecture": 1}
    for page, mark in (("claims", "<!-- claims -->"), ("lecture", "<!-- slides -->")):
        before, _ = book_pages()[page].split(mark)
        assert "\n## " not in before and "Only text extracted from" in before


def test_papers_that_the_lecture_names_are_cited() -> None:
    assert NAMED <= entries()
    cited = {claim_key for claim in CLAIMS for claim_key in claim.source}
    for text in book_pages().values():
        for keys in re.findall(r"\{cite(?::\w+)?\}`([^`]+)`", text):
            cited.update(key.strip() for key in keys.split(","))
    assert NAMED <= cited
    assert cited <= entries()


@pytest.mark.parametrize(
    ("computed", "stated", "same"),
    [
        (3, 3, True),
        (3, 4, False),
        (True, 1, False),
        (0.1 + 0.2, 0.3, True),
        (0.3333, 0.333, False),
        (0.04, 0.0, False),
        (1e20 / 3 * 3, 1e20, True),
        ([1, [2.0]], [1, [2.0]], True),
        ([1, 2], [1], False),
        (1, 1.0, True),
        (1.0, 1, False),
        ("A", "A", True),
        (float("nan"), 1.0, False),
    ],
)
def test_agreement(computed: object, stated: object, same: bool) -> None:
    assert agrees(computed, stated) is same


def test_command_fails_when_a_value_differs(tmp_path: Path, monkeypatch, capsys) -> None:  # noqa: ANN001
    ledger = tmp_path / "lecture.yml"
    text = (
        "slides: [{title: T, sections: [lenet], claims: [{id: sum, claim: c, verdict: holds, why: w, section: lenet, "
    )
    monkeypatch.setattr(command, "load", lambda: load(ledger))
    for code, status, word in (("1 + 1", 0, "pass"), ("1 + 2", 1, "FAIL"), ("1 / 0", 1, "ZeroDivisionError")):
        ledger.write_text(text + f"compute: {code}, value: 2}}]}}]\n")
        assert command.main([]) == status
        assert word in capsys.readouterr().out
    assert command.main(["sum", "no-such-claim"]) == 2
    assert capsys.readouterr() == ("", "no claim's id contains no-such-claim\n")
    assert command.main(["--help"]) == 0


@pytest.mark.parametrize("fault", ["verdict: maybe", "verdict: holds", "verdict: holds, compute: 1, whose: nobody"])
def test_faulty_entry_is_refused(tmp_path: Path, fault: str) -> None:
    ledger = tmp_path / "lecture.yml"
    ledger.write_text(
        f"slides: [{{title: T, sections: [x], claims: [{{id: the-id, claim: c, why: w, section: x, {fault}}}]}}]\n"
    )
    with pytest.raises(ValueError, match="the-id"):
        load(ledger)
