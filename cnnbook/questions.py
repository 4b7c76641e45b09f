"""Questions that a reader answers before the page does: predict, commit, then see.

`predict` puts a question into the page. The reader picks an answer or enters a number and presses *Commit*. Then the
page says whether it is right, explains the very misconception that leads to that answer, and keeps the answer in the
browser. It works in a built page with no kernel and no network, and in a live notebook.
"""

import base64
import hashlib
import html
import json
import math
import numbers
import re
from typing import Any

from cnnbook.figures.live_figure import LiveFigure

_ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_NUMBER = re.compile(r"[-\u2212]?[\d.]*\d")
EXACT = 1e-9
"""Two numbers this near each other, relative to their size, count as equal."""


class Question(LiveFigure):
    """A question in its start state, not yet answered; as the last value of a notebook cell it shows itself."""

    def __repr__(self) -> str:
        return f"Question: {self.description}"


def predict(
    id: str,
    question: str,
    *,
    choices: dict[str, str] | None = None,
    answer: Any,
    tolerance: float = 0.0,
    unit: str = "",
    wrong: dict[float, str] | None = None,
    because: str = "",
) -> Question:
    """Return a question that the reader has to commit to before its answer shows.

    Give `choices` for a question of one out of several; leave them out for a number. Texts may hold inline HTML.

    Parameters
    ----------
    id
        Lower-case words joined by hyphens, unique in the book: the browser keeps the reader's answer under it.
    question
        What is asked.
    choices
        What can be picked, and what is said to someone who picked it. What belongs to the right one is also said to
        those who picked another: it must not begin with "Yes". The page shows the choices in an order that the id
        draws, so that no position is more often right than another; choices that all begin with a number stay as given.
    answer
        The right choice's text, or the right number.
    tolerance
        How far a number may be off, relative to the answer: 0.05 takes 5% more or less.
    unit
        What a number counts, in the plural: "parameters".
    wrong
        Numbers that typical misconceptions lead to, and the explanation of each.
    because
        Said to everyone after the commit.

    Raises
    ------
    ValueError
        For an id of another form, an answer that is not among the choices, an explanation that is missing, a number
        that is not finite, or a wrong number that the tolerance would count as right.
    TypeError
        For an answer that is no number where there are no choices.
    """
    if not _ID.fullmatch(id):
        raise ValueError(f'id must be lower-case words joined by hyphens, as in "lenet-c3-work"; got {id!r}')
    if not question.strip():
        raise ValueError(f"question {id} is empty")
    content: dict[str, Any] = {"id": id, "question": question, "because": because}
    if choices is None:
        content |= _number(id, answer, tolerance, unit, wrong or {})
        offered = f"<p>A number{f' ({unit})' if unit else ''}:</p>"
    else:
        if tolerance or unit or wrong:
            raise ValueError(f"question {id} has choices; tolerance, unit and wrong belong to a number")
        content |= _choices(id, choices, answer)
        offered = f"<ul>{''.join(f'<li>{text}</li>' for text, _ in content['choices'])}</ul>"
    still = (
        f'<div style="color:var(--ink);padding:.8rem 1rem"><p><strong>Predict.</strong> {question}</p>{offered}'
        "<p>Decide, and write it down, before you read on.</p></div>"
    )
    # Not a secret, but nothing that an eye falls on in the page's source.
    payload = base64.b64encode(json.dumps(content).encode()).decode()
    return Question("question", {"payload": payload}, _plain(question), still, lambda state: None)


def _choices(id: str, choices: dict[str, str], answer: Any) -> dict[str, Any]:
    if len(choices) < 2:
        raise ValueError(f"question {id} needs at least two choices; got {len(choices)}")
    seen: dict[str, str] = {}
    for text, explanation in choices.items():
        plain = _plain(text)
        if not plain:
            raise ValueError(f"question {id} has an empty choice")
        if plain in seen:
            raise ValueError(f"question {id} offers {plain!r} twice")
        if not explanation.strip():
            raise ValueError(f"question {id} says nothing to someone who picks {plain!r}")
        seen[plain] = text
    if answer not in choices:
        raise ValueError(f"the answer of question {id} must be one of its choices {list(choices)}; got {answer!r}")
    shown = _in_order(id, list(choices))
    return {"choices": [[text, choices[text]] for text in shown], "answer": shown.index(answer)}


def _in_order(id: str, texts: list[str]) -> list[str]:
    """Return the choices as the page shows them, in the same order at each build."""
    if all(_NUMBER.match(_plain(text)) for text in texts):
        return texts
    drawn = {text: hashlib.sha256(f"{id} {place}".encode()).digest() for place, text in enumerate(texts)}
    return sorted(texts, key=drawn.__getitem__)


def _number(id: str, answer: Any, tolerance: float, unit: str, wrong: dict[float, str]) -> dict[str, Any]:
    value = _finite(id, "answer", answer)
    if not 0 <= tolerance < 1:
        raise ValueError(f"tolerance of question {id} must lie in 0..1, relative to the answer; got {tolerance}")
    mistakes: list[tuple[float, str]] = []
    for given, explanation in wrong.items():
        mistake = _finite(id, "wrong number", given)
        if _near(mistake, value, tolerance):
            raise ValueError(
                f"question {id} calls {mistake} wrong, but takes it for {value} with tolerance {tolerance}"
            )
        if any(mistake == other for other, _ in mistakes):
            raise ValueError(f"question {id} lists the wrong number {mistake} twice")
        if not explanation.strip():
            raise ValueError(f"question {id} does not explain the wrong number {mistake}")
        mistakes.append((mistake, explanation))
    shown = f"{value:,}" if isinstance(value, int) else f"{value:,.6g}"
    percent = f"{100 * tolerance:.3g}%" if tolerance else ""
    return {
        "answer": value,
        "shown": shown.replace("-", "\u2212"),
        "tolerance": max(tolerance, EXACT),
        "percent": percent,
        "unit": unit,
        "wrong": mistakes,
    }


def _finite(id: str, what: str, given: Any) -> int | float:
    """Return the number as Python's own int or float, whichever library it came from."""
    value = given.item() if hasattr(given, "item") and getattr(given, "size", 1) == 1 else given
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"the {what} of question {id} must be a number where there are no choices; got {given!r}")
    value = int(value) if isinstance(value, numbers.Integral) else float(value)
    if not math.isfinite(value):
        raise ValueError(f"the {what} of question {id} must be finite; got {value}")
    return value


def _near(value: float, target: float, tolerance: float) -> bool:
    return abs(value - target) <= max(tolerance, EXACT) * abs(target)


def _plain(text: str) -> str:
    """Return the text without its HTML."""
    return html.unescape(re.sub(r"<[^>]+>", "", text)).strip()
