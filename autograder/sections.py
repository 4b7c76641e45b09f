"""The sections of the book by label: where feedback sends its reader."""

import json
import re
from functools import cache
from pathlib import Path

CHAPTERS = Path(__file__).resolve().parent.parent / "chapters"
LABELLED = re.compile(r"^\(([\w-]+)\)=\n(#+) (.+)$", re.MULTILINE)


def cite(label: str) -> str:
    """Return a section's title and its chapter's. Raises ValueError for a label that no section has."""
    if label not in _cited():
        raise ValueError(f"no section of the book has the label {label!r}: a section's is the line above its heading")
    return _cited()[label]


@cache
def _cited() -> dict[str, str]:
    cited = {}
    for path in sorted(CHAPTERS.glob("*.ipynb")) + sorted(CHAPTERS.glob("*.md")):
        chapter = ""
        for label, level, title in LABELLED.findall(_text(path)):
            chapter = title if level == "#" else chapter
            cited[label] = f"“{title}”" if title == chapter else f"“{title}” in “{chapter}”"
    return cited


def _text(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return text
    return "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"])
