"""The book's chapters: which pages they are, what they say of themselves, and what the last build measured of them.

    .venv/bin/python _ext/course.py

writes the measured times, and the reading times that the chapters state, into chapters/budgets.yml.
"""

import re
import sys
from pathlib import Path

import nbformat
import yaml

ROOT = Path(__file__).resolve().parent.parent
BUDGETS = ROOT / "chapters" / "budgets.yml"
CACHE = ROOT / "_build" / ".jupyter_cache"

# Pages with code that teach no chapter of the course: they are looked things up in.
NOT_CHAPTERS = {"how-to-use", "race", "variants", "speed", "lecture", "claims", "notation", "instructors"}

SECONDS = [  # what a "Time:" line says of running, and how many seconds that is
    (r"(\d+) seconds", lambda match: int(match[1])),
    (r"(\d+) minutes? (?:on|to run)", lambda match: 60 * int(match[1])),
    (r"half a minute", lambda match: 30),
    (r"\ba minute", lambda match: 60),
    (r"a few seconds|some seconds", lambda match: 10),
]


def toc_files() -> list[str]:
    """The pages of _toc.yml behind the first, as paths without an ending, in reading order."""

    def files(entry: dict) -> list[str]:
        inner = [one for group in ("parts", "chapters", "sections") for one in entry.get(group, [])]
        return ([entry["file"]] if "file" in entry else []) + [name for one in inner for name in files(one)]

    return files(yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8")))


def chapters() -> dict[str, Path]:
    """Map each chapter's name to its notebook, in reading order."""
    names = {Path(page).name: ROOT / f"{page}.ipynb" for page in toc_files()}
    return {
        name: path
        for name, path in names.items()
        if path.exists() and not name.startswith("homework-") and name not in NOT_CHAPTERS
    }


def text(path: Path) -> str:
    """All Markdown of a notebook."""
    cells = nbformat.read(path, as_version=4).cells
    return "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def stated_times(markdown: str) -> tuple[int | None, int | None]:
    """Return the minutes of reading and the seconds of running that a chapter's "Time:" line states."""
    line = re.search(r"\*\*Time:\*\*(.*?)(?:\n\n|\n:::|\Z)", markdown, flags=re.S)
    if not line:
        return None, None
    reading, _, running = " ".join(line[1].split()).partition("minutes")
    minutes = re.search(r"(\d+) $", reading)
    seconds = next((value(found) for words, value in SECONDS if (found := re.search(words, running))), None)
    return (int(minutes[1]) if minutes else None), seconds


def measured_seconds() -> dict[str, float]:
    """Return how long the last build took to run each notebook, from the record that it keeps of executions."""
    from jupyter_cache import get_cache

    cache = get_cache(CACHE)
    found = {}
    for path in [ROOT / f"{page}.ipynb" for page in toc_files()]:
        if not path.exists():
            continue
        name = path.stem
        try:
            found[name] = cache.match_cache_file(str(path)).data["execution_seconds"]
        except KeyError:
            continue  # not run since it changed
    return found


def main() -> None:
    """Write chapters/budgets.yml anew."""
    budgets = yaml.safe_load(BUDGETS.read_text(encoding="utf-8"))
    measured = measured_seconds()
    head = BUDGETS.read_text(encoding="utf-8").partition("\nchapters:")[0]
    lines = []
    for name, path in chapters().items():
        seconds = round(measured[name]) if name in measured else budgets["chapters"].get(name, {}).get("seconds")
        if seconds is None:
            sys.exit(f"{name} was never run: `make book` first")
        lines.append(f"  {name}: {{seconds: {seconds}, reading_minutes: {stated_times(text(path))[0]}}}\n")
    BUDGETS.write_text(f"{head}\nchapters:\n{''.join(lines)}", encoding="utf-8")


if __name__ == "__main__":
    main()
