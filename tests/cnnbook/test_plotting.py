"""The chapters' drawings: described, in the page's colours, and at peace with each other on one page."""

import re
from xml.etree import ElementTree

import matplotlib
import pytest

from cnnbook import plotting

matplotlib.use("agg")


def draw(description: str, **options: str) -> plotting.Drawing:
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(4, 2))
    plotting.number_grid(left, [[1, -2], [-0.0, 3]])
    left.plot([0, 2], [0, 2], color=plotting.INK)
    plotting.pictures([right], [[[0.0, 1.0], [1.0, 0.0]]])
    return plotting.drawing(figure, description, **options)


def test_a_drawing_says_what_it_shows():
    html = draw('A "grid" & a picture')._repr_html_()
    assert 'role="img" aria-label="A &quot;grid&quot; &amp; a picture"' in html
    with pytest.raises(ValueError, match="description"):
        draw("  ")


def test_black_becomes_the_pages_colour():
    html = draw("A grid")._repr_html_()
    assert "fill:currentColor" in html and "#000000" not in html


def test_numbers_are_written_as_in_print():
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", draw("A grid").svg)
    assert sorted(text.strip() for text in texts) == sorted(["1", "\u22122", "0", "3"])


def test_drawings_on_one_page_share_no_ids():
    ids = [re.findall(r'\bid="([^"]+)"', draw(description).svg) for description in ("One", "Another")]
    assert ids[0] and not set(ids[0]) & set(ids[1])


def test_a_drawing_is_whole_and_the_same_each_time():
    svg = draw("A grid", caption="A <em>caption</em>")._repr_html_()
    assert svg == draw("A grid", caption="A <em>caption</em>")._repr_html_()
    ElementTree.fromstring(f"<svg xmlns:xlink='http://www.w3.org/1999/xlink' {draw('A grid').svg}")


def test_guesses_are_bars_as_long_as_their_shares() -> None:
    from matplotlib import pyplot

    figure, ax = pyplot.subplots()
    words = plotting.guesses(ax, ["cat", "dog", "cup"], [0.5, 0.25, 0.01], right="dog")
    assert words == "cat 50%, dog 25%, cup 1%"
    assert [bar.get_width() for bar in ax.patches] == [0.5, 0.25, 0.01]
    first, second, third = (bar.get_facecolor() for bar in ax.patches)
    assert first == third != second
    assert [text.get_text() for text in ax.texts] == ["cat", "dog", "cup"]
    assert ax.patches[0].get_y() < ax.patches[1].get_y() and ax.yaxis_inverted()
    pyplot.close(figure)
