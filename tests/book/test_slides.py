"""The decks: one a chapter, offline, stepped with the arrow keys, their figures alive; and how cells become slides."""

from pathlib import Path

import course
import nbformat
import pytest
import slides as decks
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

ROOT = Path(__file__).resolve().parents[2]

plain = decks.Text({"lenet": "LeNet"}.get, lambda key: ("LeCun et al.", "1998"))


def shown(*sources: str | nbformat.NotebookNode) -> list[tuple[str, str]]:
    """The kind and text of each cell of the deck that these cells make."""
    cells = [nbformat.v4.new_markdown_cell(one) if isinstance(one, str) else one for one in sources]
    made = decks.Slides(plain).of(nbformat.v4.new_notebook(cells=cells))
    return [(cell.metadata.slideshow.slide_type, cell.source) for cell in made.cells]


def code(source: str, *tags: str, output: bool = True) -> nbformat.NotebookNode:
    outputs = [nbformat.v4.new_output("stream", text="4\n")] if output else []
    return nbformat.v4.new_code_cell(source, metadata={"tags": list(tags)}, outputs=outputs)


# ---- cells to slides ----


def test_prose_is_the_speakers() -> None:
    text = "A first sentence, by {cite:t}`lecun1998`, is short. What follows is for the speaker."
    assert shown("(label)=\n# Title", f"## Part\n\n{text}\n\nMore.") == [
        ("slide", "# Title"),
        ("slide", "## Part"),
        ("-", "A first sentence, by LeCun et al. (1998), is short."),
        ("notes", "A first sentence, by LeCun et al. (1998), is short. What follows is for the speaker."),
        ("notes", "More."),
    ]


def test_the_question_formulas_and_lists_are_shown() -> None:
    made = shown(
        "# Title\n\n**A question to carry along.** Why?", "## Part\n\nProse:\n\n$$\nx + y\n$$ (sum)\n\n- one\n- two"
    )
    assert ("-", "**A question to carry along.** Why?") in made
    assert ("-", "$$\nx + y\n$$") in made
    assert made[-1] == ("-", "- one\n- two")


def test_a_paragraph_behind_a_list_is_prose_again() -> None:
    for prose in ("**Bold** words begin it.", "2.5 is a number.", "*So* it goes."):
        made = shown(f"## Part\n\n- one\n\n- two\n\n  of two lines\n\n{prose}")
        assert made[1:] == [("-", "- one\n\n- two\n\n  of two lines"), ("notes", prose)]


def test_more_than_fits_goes_on_below() -> None:
    many = "\n".join(f"- point {number}" for number in range(10))
    made = shown("## Part", many, many)
    assert [kind for kind, _ in made] == ["slide", "-", "subslide"]
    assert made[-1][1].startswith('<p class="section">Part</p>')


def test_misconceptions_and_exercises_are_shown_and_solutions_are_not() -> None:
    made = shown(
        "## Exercises",
        ":::{admonition} Misconception: it shrinks\n:class: warning\nIt does {term}`not <no>`.\n:::",
        "```{exercise} Count\n:label: count\n\nHow many?\n```",
        "````{solution-start} count\n:class: dropdown\n````\n\nFour.",
        code("2 + 2"),
        "````{solution-end}\n````\n\n```{admonition} Answers\n:class: dropdown\n1. Yes.\n```",
    )
    assert made == [
        ("slide", "## Exercises"),
        ("subslide", "### Misconception: it shrinks\n\nIt does not."),
        ("subslide", "### Exercise: Count\n\nHow many?"),
        ("notes", "Four."),
        ("notes", "1. Yes."),
    ]


def test_code_is_shown_where_the_page_shows_it() -> None:
    made = shown(
        "## Part", code("import this", "hide-input", output=False), code("draw()", "hide-input"), code("run()")
    )
    assert [kind for kind, _ in made] == ["slide", "-", "subslide", "-"]
    assert made[1][1] == "draw()" and made[3][1] == "run()"


def test_a_cells_own_mark_wins() -> None:
    cell = nbformat.v4.new_markdown_cell("Prose.", metadata={"slideshow": {"slide_type": "fragment"}})
    assert shown("## Part", cell)[-1] == ("fragment", "Prose.")


def test_roles_are_written_out() -> None:
    assert plain("{ref}`lenet`, {ref}`the net <lenet>`, {term}`logits`, {cite:p}`lecun1998`, {eq}`sum`") == (
        "LeNet, the net, logits, (LeCun et al. 1998), the formula"
    )
    assert plain("[a](lenet.ipynb), [b](#here), [c](https://example.org)") == (
        "[a](../chapters/lenet.html), b, [c](https://example.org)"
    )


# ---- the built decks ----


def test_every_chapter_has_a_deck_without_leftovers(site: Path) -> None:
    left = []
    for name in course.chapters():
        deck = (site / "slides" / f"{name}.html").read_text()
        left += [
            f"{name}: {mark}"
            for mark in ("{ref}", "{term}", "{cite", ":::", "{admonition}", "unpkg", "cdnjs")
            if mark in deck
        ]
        page = (site / "chapters" / f"{name}.html").read_text()
        assert f'href="../slides/{name}.html"' in page
    assert not left, "\n".join(left)


@pytest.mark.browser
def test_a_deck_is_stepped_with_the_arrow_keys(page: Page, site: Path) -> None:
    """From the disk; an external request or a script error fails the test when its browser context closes."""
    page.set_viewport_size({"width": 1280, "height": 720})
    page.goto((site / "slides" / "convolutional-layers.html").as_uri())
    page.wait_for_function("window.Reveal?.isReady()")
    expect(page.locator("section.present h1")).to_be_visible()
    total = page.evaluate("Reveal.getTotalSlides()")
    assert total > 20
    for _ in range(total + 3):
        page.keyboard.press("ArrowRight")
    assert page.evaluate("Reveal.isLastSlide()") and page.evaluate("Reveal.getSlidePastCount()") == total - 1
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("Reveal.getSlidePastCount()") == total - 2
    page.wait_for_function("MathJax.startup.promise")
    assert page.locator("mjx-container").count() > 10 and page.locator("mjx-merror").count() == 0


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 375])
def test_a_deck_is_accessible_and_fits_a_phone(page: Page, site: Path, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 720})
    page.goto((site / "slides" / "lenet.html").as_uri())
    page.wait_for_function("window.Reveal?.isReady()")
    for _ in range(6):
        found = Axe().run(page, options={"preload": False, "resultTypes": ["violations"]})
        assert found.violations_count == 0, found.generate_report()
        assert page.evaluate("document.documentElement.scrollWidth") == width
        page.keyboard.press("ArrowRight")


@pytest.mark.browser
def test_a_live_figure_works_in_a_deck(page: Page, site: Path) -> None:
    page.set_viewport_size({"width": 1280, "height": 720})
    page.goto((site / "slides" / "convolutional-layers.html").as_uri())
    page.wait_for_function("window.Reveal?.isReady()")
    page.evaluate(
        """() => {
            const slide = document.querySelector('.cnnlib-demo[data-figure="convolution"]').closest("section");
            const { h, v } = Reveal.getIndices(slide);
            Reveal.slide(h, v);
        }"""
    )
    figure = page.locator('section.present .cnnlib-demo[data-figure="convolution"]').first
    before = page.evaluate("Reveal.getSlidePastCount()")
    figure.get_by_role("gridcell", name="output row 1 column 1:").press("ArrowRight")
    expect(figure.get_by_role("status")).to_contain_text("Output row 1, column 2")
    assert page.evaluate("Reveal.getSlidePastCount()") == before, "the figure's own keys turn no slide"
