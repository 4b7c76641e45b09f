"""A page printed from the browser: black on white from the dark theme too, code broken into lines, boxes whole."""

from pathlib import Path

import pytest
from playwright.sync_api import Page

SEEN = """() => addEventListener("beforeprint", () => {
    const style = (selector) => getComputedStyle(document.querySelector(selector));
    const bright = (colour) => Math.max(...colour.match(/[\\d.]+/g).slice(0, 3).map(Number));
    window.seen = { ink: bright(style("article p").color), heading: bright(style("article h2").color),
                    paper: bright(style("body").backgroundColor), theme: document.documentElement.dataset.theme };
})"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_is_printed_black_on_white(page: Page, site: Path, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)
    page.goto((site / "chapters" / "how-to-use.html").as_uri())
    assert page.evaluate("document.documentElement.dataset.theme") == scheme
    page.evaluate(SEEN)
    page.pdf()
    seen = page.evaluate("seen")
    assert seen["ink"] < 80 and seen["heading"] < 80 and seen["paper"] == 255 and seen["theme"] == "light", seen
    assert page.evaluate("document.documentElement.dataset.theme") == scheme, "afterwards the page is as it was"


def test_printed_boxes_are_whole(page: Page, site: Path) -> None:
    """No code is cut off at the paper's edge, and no box is split that fits a page."""
    page.set_viewport_size({"width": 680, "height": 960})  # A4 within its margins
    page.goto((site / "chapters" / "how-to-use.html").as_uri())
    page.emulate_media(media="print")
    wrong = page.locator("article pre:visible, article .cell_input:visible, article .admonition:visible").evaluate_all(
        """boxes => boxes
            .filter(box => getComputedStyle(box).breakInside !== "avoid" || box.scrollWidth > box.clientWidth + 1)
            .map(box => box.outerHTML.slice(0, 100))"""
    )
    assert not wrong, "\n".join(wrong)
