"""The figures in a page from a file, with no kernel and no network: moved, measured, and looked at by axe."""

import itertools
import re

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from cnnbook import figures
from tests.main_thread import MainThread, squares_drawn, squares_moved

pytestmark = pytest.mark.browser


def live(page, name):
    return page.locator(f'.cnnlib-demo[data-figure="{name}"][data-live]')


def test_a_move_is_answered(reader, make, says, moved_name, move):
    page = reader(width=375 if move.how == "touch" else 1280, has_touch=True).open(make(moved_name))
    move.do(live(page, moved_name))
    says(live(page, moved_name), move.says())


def test_two_of_a_kind_are_independent(reader, says):
    page = reader().open(figures.convolution(), figures.convolution(stride=2))
    first, second = live(page, "convolution").nth(0), live(page, "convolution").nth(1)
    first.get_by_role("gridcell", name="output row 2 column 1:").click()
    expect(second.get_by_role("gridcell", name="output row 1 column 1:")).to_have_attribute("aria-selected", "true")
    expect(first.get_by_role("gridcell", name="output row 2 column 1:")).to_have_attribute("aria-selected", "true")


def test_axe_finds_nothing(reader, make, figure_name):
    page = reader().open(make(figure_name))
    expect(live(page, figure_name)).to_be_visible()
    for width, scheme in itertools.product((1280, 375), ("light", "dark")):
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=scheme)
        found = Axe().run(page, options={"resultTypes": ["violations"]})
        assert found.violations_count == 0, f"{width} pixels, {scheme}: {found.generate_report()}"


def test_a_phone_shows_all_of_it(reader, make, figure_name):
    page = reader(width=375).open(make(figure_name))
    expect(live(page, figure_name)).to_be_visible()
    cut = """frame => [...frame.querySelectorAll("*")].filter((node) => {
        if (node.closest(".unseen, defs, .cards, .scroll")) return false;  // hidden, or may be scrolled by itself
        const edge = node.getBoundingClientRect();
        return edge.width && (edge.right > frame.getBoundingClientRect().right || edge.left < 0);
    }).map((node) => node.outerHTML.slice(0, 100))"""
    for width in (375, 320):  # the book leaves a figure about as much room on a phone as a bare page of 320 does
        page.set_viewport_size({"width": width, "height": 900})
        page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert live(page, figure_name).locator(".frame").evaluate(cut) == []


@pytest.mark.parametrize(
    "attributes, dark",
    [('data-theme="dark"', True), ('data-theme="light"', False), ("", True)],
    ids=["book dark", "book light", "the system's choice"],
)
def test_colours_follow_the_page(reader, attributes, dark):
    page = reader(color_scheme="dark").open(figures.convolution(), page_attributes=attributes)
    frame = live(page, "convolution").locator(".frame")
    color = frame.evaluate("node => getComputedStyle(node).backgroundColor")
    assert (max(int(part) for part in re.findall(r"\d+", color)[:3]) < 100) is dark, color


def test_the_still_picture_stands_in_without_scripts_and_in_print(reader, make, figure_name):
    demo = make(figure_name)
    quiet = reader(java_script_enabled=False).open(demo)
    picture = quiet.get_by_role("img", name=demo.description, exact=True)
    expect(picture).to_be_visible()
    page = reader().open(demo)
    expect(live(page, figure_name)).to_be_visible()
    expect(page.locator(".cnnlib-demo-still svg")).to_be_hidden()
    page.emulate_media(media="print")
    expect(page.locator(".cnnlib-demo-still svg")).to_be_visible()
    expect(page.locator(".cnnlib-demo-live")).to_be_hidden()


def test_every_control_shows_its_focus(reader, make, figure_name):
    page = reader().open(make(figure_name))
    expect(live(page, figure_name)).to_be_visible()
    ring = """() => {
        let node = document.activeElement;
        while (node?.shadowRoot?.activeElement) node = node.shadowRoot.activeElement;
        if (!node || node === document.body) return null;
        for (let at = node; at && !at.classList.contains("frame"); at = at.parentElement) {
            const style = getComputedStyle(at);
            if (style.outlineStyle !== "none" || style.boxShadow !== "none") return true;
        }
        return node.outerHTML;
    }"""
    seen = []
    for _ in range(40):
        page.keyboard.press("Tab")
        shows = page.evaluate(ring)
        if shows is None:
            break
        seen.append(shows)
    assert seen and all(shows is True for shows in seen), seen


def test_first_draw_costs_no_more_than_so_many_squares(reader, make, figure_name):
    # All that the page costs until the figure is drawn, reading it included. The start-up work of the browser itself
    # falls into the first page now and then, so the best of a few counts, of both.
    own, spent, squares = reader(), [], []
    while len(spent) < 6 and min(spent, default=np.inf) > min(squares, default=0):
        squares.append(squares_drawn(own.context))
        page = own.context.new_page()
        thread = MainThread(page)
        own.open(make(figure_name), page=page)
        page.wait_for_function("performance.getEntriesByName('cnnlib-demo-drawn').length === 1")
        spent.append(thread.milliseconds())
        page.close()
    assert min(spent) <= min(squares), (spent, squares)


def test_a_frame_while_dragged_costs_no_more_than_so_many_squares(reader, make, swept_name, sweep):
    own = reader()
    page = own.open(make(swept_name))
    role, name = sweep
    target = live(page, swept_name).get_by_role(role, name=re.compile(name)).first
    target.scroll_into_view_if_needed()
    edge = target.bounding_box()
    # Counts the frames in which the figure was drawn anew.
    live(page, swept_name).locator(".frame").evaluate(
        """frame => {
            window.drawn = 0;
            let changed = false;
            const all = { subtree: true, childList: true, attributes: true, characterData: true };
            new MutationObserver(() => { changed = true; }).observe(frame, all);
            const tick = () => { window.drawn += changed; changed = false; requestAnimationFrame(tick); };
            requestAnimationFrame(tick);
        }"""
    )
    thread, spent, squares = MainThread(page), [], []
    path = [
        (edge["x"] + 5 + (edge["width"] - 10) * column / 11, edge["y"] + edge["height"] * (0.1 + 0.2 * row))
        for row in range(5)
        for column in range(12)
    ]
    # A neighbour on the same core makes a thread slower even by its own clock, so the best of a few sweeps counts,
    # there and back: what was dragged to its end moves no further that way.
    while len(spent) < 6 and min(spent, default=np.inf) > min(squares, default=0):
        squares.append(squares_moved(own.context))
        page.mouse.move(*path[0])
        page.mouse.down()
        before, drawn_before = thread.milliseconds(), page.evaluate("window.drawn")
        for point in path:
            page.mouse.move(*point)
            page.evaluate("new Promise(requestAnimationFrame)")
        page.mouse.up()
        path.reverse()
        drawn = page.evaluate("window.drawn") - drawn_before
        assert drawn >= 8
        spent.append((thread.milliseconds() - before) / drawn)
    assert min(spent) <= min(squares), (spent, squares)


def test_a_convolution_that_does_not_fit_offers_ways_out(reader):
    page = reader().open(figures.convolution(kernel=[[1] * 5] * 5, dilation=3))
    figure = live(page, "convolution")
    expect(figure.get_by_role("alert")).to_contain_text(
        "span 3\u00b7(5 \u2212 1) + 1 = 13 rows, but the padded input has only 7"
    )
    figure.get_by_role("button", name="padding 3").click()
    expect(figure.get_by_role("alert")).to_be_hidden()
    expect(figure.get_by_role("gridcell", name=re.compile("^output row"))).to_have_count(1)


def test_a_convolution_is_edited_stepped_and_played(reader, says):
    page = reader().open(figures.convolution())
    figure = live(page, "convolution")
    figure.get_by_role("textbox", name="input row 1 column 3").fill("-7")
    says(figure, "Output row 1, column 1 of 5 by 5: the 9 products add up to \u22124.")  # it was 3, with weight 1
    figure.get_by_role("textbox", name="kernel row 1 column 3").fill("1/2")
    says(figure, "Output row 1, column 1 of 5 by 5: the 9 products add up to \u22120.5.")
    figure.get_by_role("spinbutton", name="Stride S").press("ArrowUp")
    expect(figure.get_by_role("gridcell", name=re.compile("^output row"))).to_have_count(9)
    figure.get_by_role("gridcell", name="output row 1 column 1:").press("Space")
    expect(figure.get_by_role("gridcell", name="output row 1 column 3:")).to_have_attribute("aria-selected", "true")
    figure.get_by_role("button", name="Pause").click()
    figure.get_by_role("radio", name="3").check(force=True)
    expect(figure.get_by_role("grid", name="Input, channel 3")).to_be_visible()
    figure.get_by_role("textbox", name="input channel 1 row 2 column 2").fill("x")
    expect(figure.get_by_role("textbox", name="input channel 1 row 2 column 2")).to_have_attribute(
        "aria-invalid", "true"
    )


def test_a_digit_is_drawn_with_the_keys(reader, make, says, sketchpad_says):
    page = reader().open(make("sketchpad"))
    figure = live(page, "sketchpad")
    pad = figure.get_by_role("application", name="Drawing pad")
    for key in ["Delete", "Space", *["ArrowRight"] * 3, *["ArrowDown"] * 5, "Space", "ArrowLeft"]:
        pad.press(key)
    expect(pad).to_have_attribute("aria-label", "Drawing pad, 1 stroke")
    x = [0.5, 0.54, 0.58, 0.62]
    drawn = [[[at, 0.5] for at in x] + [[0.62, round(0.5 + 0.04 * step, 2)] for step in range(1, 6)]]
    says(figure, sketchpad_says(drawn))
    pad.press("Backspace")  # a Mac's key "delete"
    says(figure, sketchpad_says([]))
