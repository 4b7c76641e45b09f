"""What students type into the search, and the section that has to be among the first three; offline, from the disk."""

import json
import re
from pathlib import Path
from urllib.parse import quote

import pytest
import section_search
from playwright.sync_api import Page, expect

ASKED = {  # what is typed: the places of which one has to be among the first three
    "1x1 convolution": {"googlenet#what-a-1-1-convolution-is"},
    "1 × 1": {"googlenet#what-a-1-1-convolution-is"},
    "im2col": {"glossary#term-im2col"},
    "ResNet": {"glossary#term-residual-network"},
    "skip connections": {"glossary#term-residual-network"},
    "feature maps": {"what-layers-see#filters-and-activation-maps", "glossary#term-activation-map"},
    "deconvolution": {"glossary#term-transposed-convolution", "shared-weights#back-to-the-pixels"},
    "regularization": {"alexnet#against-learning-by-heart"},
    "regularisation": {"alexnet#against-learning-by-heart"},
    "AdaGrad": {"better-steps#a-rate-for-each-weight"},
    "adam vs adamw": {"better-steps#adamw"},
    "what does stride do": {"convolutional-layers#stride-one-two-and-three"},
    "zero padding": {"convolutional-layers#zero-padding"},
    "output size formula": {"convolutional-layers#stride-padding-and-the-size-of-the-output"},
    "max pooling": {"pooling#max-pooling-and-average-pooling"},
    "global average pooling": {"pooling#one-number-for-a-whole-map"},
    "receptive field": {"what-layers-see#what-a-unit-can-see"},
    "translation invariance": {"pooling#equivariance-invariance-and-what-the-stride-breaks"},
    "batchnorm": {"relu-and-batch-normalization#batch-normalisation"},
    "batch norm eval mode": {"relu-and-batch-normalization#two-modes"},
    "dying relu": {"relu-and-batch-normalization#units-that-die"},
    "vanishing gradients": {"relu-and-batch-normalization#how-a-gradient-gets-lost"},
    "weight initialization": {"relu-and-batch-normalization#the-other-factor-the-start"},
    "learning rate too high": {"learning-rate#a-parabola-and-every-learning-rate", "learning-rate#one-step"},
    "momentum": {"better-steps#momentum"},
    "saddle points": {"patience#saddles-and-minima"},
    "number of parameters VGG": {"vggnet#where-the-parameters-are"},
    "auxiliary classifiers": {"googlenet#heads-on-the-way", "googlenet#do-the-heads-help"},
    "drop out": {"alexnet#a-different-network-every-time"},
    "top 5 error": {"alexnet#top-5-error"},
}  # fmt: skip


def first_three(page: Page, search: str, words: str) -> list[str]:
    """The first results' places, as page#section."""
    page.goto(f"{search}?q={quote(words)}")
    links = page.locator("#search-results li a")
    expect(links.first).to_be_visible()
    return [re.sub(r".*/|\.html", "", href) for href in links.evaluate_all("all => all.slice(0, 3).map(a => a.href)")]


def test_thirty_searches_of_students(page: Page, site: Path) -> None:
    found = {words: first_three(page, (site / "search.html").as_uri(), words) for words in ASKED}
    missed = {words: places for words, places in found.items() if not ASKED[words] & set(places)}
    assert len(ASKED) == 30 and not missed, "\n".join(f"{words}: {places}" for words, places in missed.items())


def test_a_result_arrives_at_its_section_and_shows_no_tex(page: Page, site: Path) -> None:
    page.goto(f"{(site / 'search.html').as_uri()}?q=output+size+formula")
    shown = page.locator("#search-results")
    expect(shown.locator("li mark").first).to_be_visible()
    assert not re.search(r"\\[A-Za-z(\[]|\$", shown.inner_text())
    page.locator("#search-results li a[href*='#']").first.press("Enter")
    page.wait_for_load_state()
    assert page.evaluate("document.getElementById(decodeURIComponent(location.hash.slice(1))) !== null")


def test_no_text_of_the_index_is_tex(site: Path) -> None:
    sections = json.loads((site / "_static" / "search" / "sections.js").read_text().partition("=")[2])
    assert not [one["title"] for one in sections if re.search(r"\\[A-Za-z(\[]|\$", one["title"] + one["text"])]


def test_every_result_has_a_place_of_its_own(site: Path) -> None:
    sections = json.loads((site / "_static" / "search" / "sections.js").read_text().partition("=")[2])
    places = [(one["page"], one["anchor"]) for one in sections]
    assert len(places) > 300 and len(set(places)) == len(places)
    pages = {page: (site / f"{page}.html").read_text() for page, _ in places}
    assert not [place for place in places if place[1] and f'id="{place[1]}"' not in pages[place[0]]]


@pytest.mark.parametrize(
    ("tex", "words"),
    [
        (r"1 \times 1", "1 × 1"),
        (r"\frac{1}{n} \sum_i x_i^2", "1/n ∑ i xi²"),
        (r"\left\lfloor \dfrac{W + 2P}{S} \right\rfloor", "⌊ W + 2P/S ⌋"),
        (r"\eta\,\mathbf{w}", "η w"),
    ],
)
def test_formulas_are_spoken(tex: str, words: str) -> None:
    assert section_search.spoken(tex) == words


def test_the_magnifier_leaves_the_first_letter_alone(page: Page, site: Path) -> None:
    page.set_viewport_size({"width": 1280, "height": 900})
    page.goto((site / "search.html").as_uri())
    gaps = page.locator("form.bd-search:visible").evaluate_all(
        """forms => forms.map(form => {
            const field = form.querySelector("input"), icon = form.querySelector("i").getBoundingClientRect();
            return field.getBoundingClientRect().left + parseFloat(getComputedStyle(field).paddingLeft) - icon.right;
        })"""
    )
    assert gaps and min(gaps) >= 4, gaps
