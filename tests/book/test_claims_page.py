"""The page of claims: a wrong one stops the build; in the browser buttons choose by verdict, without a script."""

from collections import Counter

import claims_pages
import pytest
from playwright.sync_api import Page, expect

from cnnbook.claims import VERDICTS, Claim, Slide, every_claim, load


@pytest.mark.parametrize(
    ("code", "words"), [("1 + 1", "sum says 3, but its code gives 2"), ("1 / 0", "the code of sum fails: ZeroDivision")]
)
def test_a_wrong_ledger_stops_the_build(monkeypatch: pytest.MonkeyPatch, code: str, words: str) -> None:
    claim = Claim("sum", "It is three.", "holds", "Why?", "lenet", compute=code, value=3)
    monkeypatch.setattr(claims_pages, "load", lambda: [Slide("T", ("lenet",), claims=(claim,))])
    with pytest.raises(claims_pages.ExtensionError, match=words):
        claims_pages.check(None)


@pytest.mark.browser
def test_verdicts_can_be_chosen(page: Page, address: str) -> None:
    counts = Counter(claim.verdict for _, claim in every_claim(load()))
    page.goto(f"{address}/chapters/claims.html")
    shown = page.locator(".claim:visible")
    expect(shown).to_have_count(sum(counts.values()))
    for verdict, name in VERDICTS.items():
        page.get_by_role("radio", name=f"{name.lower()}: {counts[verdict]}", exact=True).check()
        expect(shown).to_have_count(counts[verdict])
        empty = page.locator("section:visible").filter(has=page.locator("h2")).filter(has_not=page.locator(".claim"))
        assert not [text for text in empty.locator("h2").all_inner_texts() if text]
    page.keyboard.press("ArrowLeft")  # the buttons are one group: arrows go on in it
    expect(shown).to_have_count(counts["not confirmed"])


@pytest.mark.browser
def test_code_of_a_claim_unfolds(page: Page, address: str) -> None:
    page.goto(f"{address}/chapters/claims.html#claim-newton-step")
    claim = page.locator("#claim-newton-step")
    expect(claim).to_be_in_viewport()
    code = claim.locator("pre")
    expect(code).to_be_hidden()
    claim.locator("summary").click()
    expect(code).to_be_visible()
