"""The built book in Chromium, with no network: each page is opened on a laptop and on a phone, in light and in dark."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import course
import pytest
import yaml
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, Response, expect

from tests.main_thread import DRAWN, MainThread, squares_drawn

pytestmark = pytest.mark.browser

LAPTOP = {"width": 1280, "height": 900}
PHONE = {"width": 375, "height": 800}
FORMULAS = ".math.notranslate"  # Sphinx's own, and not what a live figure writes
WIDER_THAN_THE_SCREEN = """() => document.documentElement.scrollWidth <= innerWidth ? [] :
    [...document.querySelectorAll("main *")]
    .filter(e => e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 120))"""
ONE_TOKEN_OF_A_KIND = """() => {  // thousands of coloured words of code, of two dozen colours, are most of axe's work
    const seen = new Set();
    for (const code of document.querySelectorAll("pre")) {
        const first = [...code.querySelectorAll("span")].filter((token) => {
            const kind = `${token.className} in ${code.parentElement.className}`;
            return !seen.has(kind) && seen.add(kind);
        });
        code.replaceChildren("code\\n", ...first.flatMap((token) => [token, "\\n"]));  // no line longer than before
    }
}"""
LIMITS = yaml.safe_load(course.BUDGETS.read_text())["limits"]

# Faults of sphinx-book-theme 1.3 and pydata-sphinx-theme 0.17 themselves: axe's rule, a class of the faulty element.
THEME_FAULTS = {
    ("region", "logo__title"),  # the book's title in the sidebar stands outside any landmark
}


def is_theme_fault(rule: str, element: str) -> bool:
    return any(rule == known and name in element.split(">")[0] for known, name in THEME_FAULTS)


def open_page(page: Page, address: str) -> None:
    """Load the page, and wait until its formulas are set and every live figure and question answers."""
    page.goto(address)
    if page.locator(FORMULAS).count():
        page.wait_for_function("window.MathJax?.startup?.promise")
        page.evaluate("() => MathJax.startup.promise")
    page.wait_for_function("!document.querySelector('.cnnlib-demo:not([data-live])')")


def choose(page: Page, scheme: Literal["light", "dark"]) -> None:
    """As a reader whose system is light or dark."""
    page.emulate_media(color_scheme=scheme)
    expect(page.locator("html")).to_have_attribute("data-theme", scheme)


def faults_of(page: Page, **options: Any) -> list[str]:
    """What axe finds, the theme's own faults left out."""
    # preloading would fetch stylesheets again, from addresses that axe gets wrong; of what is right no list is needed
    options |= {"preload": False, "resultTypes": ["violations"]}
    return [
        f"{fault['id']} ({fault['help']}): {node['html'][:200]}"
        for fault in Axe().run(page, options=options).response["violations"]
        for node in fault["nodes"]
        if not is_theme_fault(fault["id"], node["html"])
    ]


def test_page_on_a_laptop(
    page: Page, address: str, page_name: str, subtests: pytest.Subtests, record_property: Callable[[str, Any], None]
) -> None:
    """A first visit, of which all is asked that one load can tell.

    External requests, script errors and missing files fail the test when its browser context closes.
    """
    url = f"{address}/{page_name}.html"
    page.set_viewport_size(LAPTOP)
    client = page.context.new_cdp_session(page)
    client.send("Network.enable")
    client.send("Network.setCacheDisabled", {"cacheDisabled": True})
    answers: list[Response] = []
    page.on("response", lambda answer: answers.append(answer))
    thread = MainThread(page)
    spent: list[float] = []
    squares: list[float] = []

    def visit() -> None:
        before = thread.milliseconds()
        open_page(page, url)
        page.wait_for_load_state("networkidle")  # what is asked for late counts too
        spent.append(thread.milliseconds() - before)

    with subtests.test("it opens, and its formulas, figures and questions are ready"):
        visit()
        expect(page.locator("article h1")).to_be_visible()

    requests, weight = len(answers), sum(len(answer.body()) for answer in answers if answer.ok)
    with subtests.test("what is loaded"):
        assert 0 < weight <= LIMITS["page_bytes"]

    # The browser's own start-up falls into a first page now and then, so the best of a few counts, of both.
    with subtests.test("it is soon interactive"):
        squares.append(squares_drawn(page.context))
        while len(spent) < 3 and min(spent) > LIMITS["interactive_squares"] * min(squares) / DRAWN:
            visit()
            squares.append(squares_drawn(page.context))
        assert min(spent) <= LIMITS["interactive_squares"] * min(squares) / DRAWN, (spent, squares)

    with subtests.test("its maths is typeset"):
        formulas = page.locator(FORMULAS)
        raw = [text for text in formulas.all_inner_texts() if "\\(" in text or "\\[" in text]
        assert not raw
        assert formulas.count() == formulas.filter(has=page.locator("mjx-container")).count()
        assert page.locator("mjx-merror").count() == 0

    # All of axe's rules in light; in dark, where the page is the same but for its colours, those of colour.
    page.emulate_media(reduced_motion="reduce")
    page.evaluate(ONE_TOKEN_OF_A_KIND)
    with subtests.test("it is accessible in light"):
        choose(page, "light")
        found = faults_of(page)
        assert not found, "\n".join(found)
    with subtests.test("it is accessible in dark"):
        choose(page, "dark")
        found = faults_of(page, runOnly=["color-contrast", "link-in-text-block"])
        assert not found, "\n".join(found)

    record_property("page", page_name)
    record_property("requests", requests)
    record_property("megabytes", weight / 1e6)


def test_a_pale_word_of_code_is_found(page: Page) -> None:
    pale = '<span class="k" style="color: #ddd">if</span>'
    code = f'<div class="highlight"><pre><span class="n">fine</span> <span class="n">too</span> {pale}</pre></div>'
    page.set_content(f'<html lang="en"><title>Code</title><main><h1>Code</h1>{code}</main></html>')
    page.evaluate(ONE_TOKEN_OF_A_KIND)
    (fault,) = faults_of(page)
    assert fault.startswith("color-contrast") and pale[:15] in fault


def test_page_from_a_file_on_a_phone(page: Page, site: Path, page_name: str, subtests: pytest.Subtests) -> None:
    """Opened in dark, without a server, then changed to light: the laptop's has a server, and begins in light."""
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size(PHONE)
    with subtests.test("it opens, and its formulas, figures and questions are ready"):
        open_page(page, (site / f"{page_name}.html").as_uri())
        page.wait_for_load_state("networkidle")
        expect(page.locator("article h1")).to_be_visible()
    for scheme in ("dark", "light"):
        with subtests.test(f"it fits in {scheme}"):
            choose(page, scheme)
            wide = page.evaluate(WIDER_THAN_THE_SCREEN)
            assert not wide, "\n".join(wide)
            assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


@pytest.mark.parametrize("folder", ["chapters", "slides"])
def test_a_figure_finds_its_network(page: Page, site: Path, folder: str) -> None:
    """Opened from the disk, it loads what it needs, and looks."""
    page.goto((site / folder / "alexnet.html").as_uri())
    figure = page.locator('.cnnlib-demo[data-figure="classifier"][data-live]')
    # by script, since a slide that is not yet shown can't be clicked
    figure.get_by_label("an espresso", exact=True).evaluate("field => field.click()")
    said = figure.locator(".said")
    expect(said).to_have_text(re.compile("^First guess: espresso"))
    assert (site / "_static" / "figures" / "classifier" / "NOTICE").read_text() == (course.ROOT / "NOTICE").read_text()


def test_front_door(page: Page, address: str) -> None:
    open_page(page, f"{address}/index.html")
    page.wait_for_url("**/chapters/index.html")


def test_dark_mode_is_dark_and_can_be_chosen(page: Page, address: str) -> None:
    page.emulate_media(color_scheme="light")
    page.set_viewport_size(LAPTOP)
    open_page(page, f"{address}/chapters/index.html")
    brightness = "() => getComputedStyle(document.body).backgroundColor.match(/[\\d.]+/g).slice(0, 3).map(Number)"
    assert min(page.evaluate(brightness)) > 230
    button = page.locator("button.theme-switch-button").first
    for _ in range(3):  # auto, light, dark in turn
        if page.locator("html").get_attribute("data-theme") == "dark":
            break
        button.click()
    assert page.locator("html").get_attribute("data-theme") == "dark"
    assert max(page.evaluate(brightness)) < 40


def test_search_finds_a_glossary_word(page: Page, address: str) -> None:
    page.goto(f"{address}/search.html?q=equivariance")
    expect(page.locator("#search-results li a").first).to_have_attribute("href", re.compile("glossary"))


def test_icons_are_drawn(page: Page, address: str) -> None:
    """They come from the web font alone, since the theme's script for them is left out."""
    page.set_viewport_size(LAPTOP)
    open_page(page, f"{address}/chapters/index.html")
    widths = page.locator("button i.fa-solid:visible, button span.fa-solid:visible").evaluate_all(
        """icons => icons.map(i => [getComputedStyle(i, "::before").content, i.getBoundingClientRect().width])"""
    )
    assert widths and all(content not in ("none", "normal") and width > 8 for content, width in widths)
    assert page.evaluate("""document.fonts.check('900 16px "Font Awesome 6 Free"')""")


def test_keyboard_reaches_the_text(page: Page, address: str) -> None:
    """The first stop of the Tab key is the skip link, and what has the focus is seen to have it."""
    page.set_viewport_size(LAPTOP)
    open_page(page, f"{address}/chapters/glossary.html")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('href')") == "#main-content"
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#main-content"
