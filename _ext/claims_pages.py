"""The pages that are made from `cnnbook/claims/lecture.yml`: the claims, one by one, and the lecture, slide by slide.

A comment in a page, `<!-- claims -->` or `<!-- slides -->`, is replaced by what the file says, as MyST. All values are
computed anew first: a book whose ledger is wrong is not built.
"""

import html
from collections import Counter
from typing import Any

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

from cnnbook.claims import FILE, VERDICTS, WHOSE, Claim, Slide, agrees, compute, every_claim, load

STYLE = """\
<style>
.claims-filter { display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; padding: .3rem .8rem .6rem; margin: 1rem 0;
  border: 1px solid currentColor; border-radius: .4rem; }
.claims-filter legend { font-size: 1rem; width: auto; float: none; margin: 0; padding: 0 .4rem; }
.claims-filter label { display: flex; align-items: center; gap: .4rem; min-height: 2rem; }
div.claim.container { border-left: .3rem solid var(--claim-color, #1f9467); padding: .1rem 0 .1rem .9rem;
  margin: 1.4rem 0; scroll-margin-top: 4rem; overflow-wrap: anywhere; }
.claim p { margin-bottom: .4rem; }
.claim.holds-if { --claim-color: #2a7fc1; }
.claim.dated { --claim-color: #a55fb5; }
.claim.not-confirmed { --claim-color: #6b7280; }
.claim.wrong { --claim-color: #d1691a; }
.claim summary { cursor: pointer; padding: .2rem 0; }
@media print { .claims-filter { display: none; } .claim { break-inside: avoid; } }
%s
</style>"""
HIDING = """\
body:has(#show-{name}:checked) .claim:not(.{name}),
body:has(#show-{name}:checked) section:has(> .claim):not(:has(.claim.{name})) {{ display: none; }}"""


def class_name(verdict: str) -> str:
    return verdict.replace(" ", "-")


def written(value: Any, top: bool = True) -> str:
    """A value as a reader wants it: 3,146,752 and yes, and lists without Python's quotes."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}".replace("-", "−")
    if isinstance(value, float):
        return f"{value:g}".replace("-", "−")
    if isinstance(value, list):
        parts = "; ".join(written(each, top=False) for each in value)
        return parts if top else f"({parts})"
    return str(value)


def card(claim: Claim) -> str:
    """One claim: what is claimed, the verdict, why, the value and its code, the source, where the book treats it."""
    lines = [
        f"::::{{container}} claim {class_name(claim.verdict)}",
        f":name: claim-{claim.id}",
        "",
        f"**{claim.claim}**",
        "",
        f"*{VERDICTS[claim.verdict]}.* {WHOSE[claim.whose]} {claim.why}",
        "",
    ]
    if claim.compute:
        lines += [
            f"Computed: **{written(claim.value)}** ({claim.of}).",
            "",
            f"<details><summary>The code of “{html.escape(claim.id)}”</summary>",
            "",
            "```python",
            claim.compute.rstrip(),
            "```",
            "",
            "</details>",
            "",
        ]
    if claim.source:
        lines += [f"Source: {', '.join(f'{{cite:t}}`{key}`' for key in claim.source)}.", ""]
    return "\n".join([*lines, f"In the book: {{ref}}`{claim.section}`.", "", "::::", ""])


def ledger(slides: list[Slide]) -> str:
    """The whole page of claims, with the buttons that choose among them."""
    every = [claim for _, claim in every_claim(slides)]
    counts = Counter(claim.verdict for claim in every)
    computed = sum(bool(claim.compute) for claim in every)
    own = sum(claim.verdict == "wrong" and claim.whose == "lecture" for claim in every)
    choices = [("all", f"all {len(every)}", "checked")]
    choices += [(class_name(v), f"{name.lower()}: {counts[v]}", "") for v, name in VERDICTS.items()]
    buttons = "\n".join(
        f'<label><input type="radio" name="show" id="show-{name}" {checked}> {text}</label>'
        for name, text, checked in choices
    )
    hiding = "\n".join(HIDING.format(name=class_name(verdict)) for verdict in VERDICTS)
    lines = [
        f"Of {len(every)} statements, {counts['holds']} hold, {counts['holds if']} hold under a condition that is "
        f"not named, {counts['dated']} are dated, {counts['not confirmed']} are not confirmed, and "
        f"{counts['wrong']} are wrong as stated, {own} of them the lecture's own. {computed} rest on a "
        f"computation, the other {len(every) - computed} on a source.",
        "",
        STYLE % hiding,
        '<fieldset class="claims-filter"><legend>Show</legend>',
        buttons,
        "</fieldset>",
        "",
    ]
    for number, slide in enumerate(slides, 1):
        if slide.claims:
            lines += [f"(slide-{number})=", f"## {slide.name}", "", *map(card, slide.claims)]
    return "\n".join(lines)


def contents(slides: list[Slide]) -> str:
    """The lecture's slides as a list, each with its places in the book."""
    lines = []
    for number, slide in enumerate(slides, 1):
        title = f"**{slide.title}**" if slide.title else f"*{slide.name}*"
        notes = [slide.topic] if slide.title and slide.topic else []
        notes += [f"{slide.count} slides"] if slide.count > 1 else []
        note = f" ({', '.join(notes)})" if notes else ""
        places = ", ".join(f"{{ref}}`{label}`" for label in slide.sections)
        checked = f"; claims checked: {{ref}}`{len(slide.claims)} <slide-{number}>`" if slide.claims else ""
        lines.append(f"{number}. {title}{note}: {places}{checked}")
    return "\n".join(lines)


def check(app: Sphinx) -> None:
    """Compute every value again."""
    for _, claim in every_claim(load()):
        if not claim.compute:
            continue
        try:
            found = compute(claim)
        except Exception as error:
            raise ExtensionError(f"{FILE.name}: the code of {claim.id} fails: {error!r}") from error
        if not agrees(found, claim.value):
            raise ExtensionError(f"{FILE.name}: {claim.id} says {claim.value}, but its code gives {found}")


def fill(app: Sphinx, page: str, source: list[str]) -> None:
    """Put the generated parts into the page that asks for them."""
    for mark, make in (("<!-- claims -->", ledger), ("<!-- slides -->", contents)):
        if mark in source[0]:
            source[0] = source[0].replace(mark, make(load()))


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", check)
    app.connect("source-read", fill)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
