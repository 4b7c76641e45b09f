"""Every release says what a student has to know before and after, in the course's order; points follow effort."""

import json
import re
from pathlib import Path

import pytest
import yaml

from autograder import source
from autograder.problem_set import answer_key

ROOT = Path(__file__).resolve().parents[2]
CHAPTERS = ROOT / "chapters"
TABLE = re.compile(r"^\| (\w+) \| (\d+) \| (\d+) \| `([\w-]+)` \| (\d+) \|$", re.MULTILINE)
ABOUT = {row[0]: row[1:] for row in TABLE.findall((ROOT / "homework" / "README.md").read_text(encoding="utf-8"))}
SETS = list(ABOUT)


def linked(text):
    """The sets that a text links to, each once, in order."""
    return list(dict.fromkeys(re.findall(r"\(homework-(\w+)\.ipynb\)", text)))


def chapters():
    """All chapters of the book, in order."""
    parts = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))["parts"]
    return [Path(chapter["file"]).name for part in parts for chapter in part["chapters"]]


def text_of(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells)


def test_the_sets_have_one_order_everywhere():
    assert sorted(SETS) == source.names()
    assert [name.removeprefix("homework-") for name in chapters() if name.startswith("homework-")] == SETS
    guide = (CHAPTERS / "instructors.md").read_text(encoding="utf-8")
    for heading in ("plan-four-weeks", "homework-in-a-course"):
        assert linked(guide.partition(f"({heading})=")[2].partition("\n(")[0]) == SETS, heading
    assert linked(text_of(CHAPTERS / "how-to-use.ipynb")) == SETS
    assert linked((CHAPTERS / "index.md").read_text(encoding="utf-8")) == SETS


@pytest.mark.parametrize("name", SETS)
def test_a_release_begins_with_what_one_has_to_know(name):
    first = source.release(name).cells[0].source
    points, hours, after, _ = ABOUT[name]
    assert f"- **Time:** about {hours} hours" in first
    (needs,) = re.findall(r"^- \*\*You need\*\* (.*)$", first, re.MULTILINE)
    needed = re.findall(r"\]\(([\w-]+)\.ipynb\)", needs)
    assert after in needed and set(needed) <= set(chapters())
    for what in ("Hand in", "Late:", "Together:", "Assistants:"):
        assert f"- **{what}** " in first
    assert source.load(name).points == int(points)
    assert 3.5 <= int(points) / int(hours) <= 6, "points follow the hours"


@pytest.mark.parametrize("name", SETS)
def test_a_release_ends_with_what_comes_next(name):
    last = source.release(name).cells[-1].source
    assert last.startswith("## What comes next\n")
    assert linked(last) == SETS[SETS.index(name) + 1 :][:1]


@pytest.mark.parametrize("name", SETS)
def test_the_variants_are_as_many_as_the_guide_says(name):
    drawn = {str({key: choice for key, choice in source.variant(name, seed).items() if key[:4] != "row_" and
                  key != "network"}) for seed in range(200)}  # fmt: skip
    assert len(drawn) == int(ABOUT[name][3])
    assert f"{len(drawn)} in {name}" in (CHAPTERS / "instructors.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", SETS)
def test_a_solution_derives_before_it_computes(name):
    problem_set = source.load(name)
    for grade_id, key in answer_key(problem_set).items():
        inside = problem_set.exercises[grade_id].solution.partition("### BEGIN SOLUTION\n")[2]
        if key.hole.numpy_only and grade_id != "lp-forward":
            assert inside.lstrip().startswith("# "), grade_id


@pytest.mark.parametrize(("grade_id", "what"), [("stop", "early stopping"), ("soft", "label smoothing")])
def test_what_no_chapter_has_is_said_to_stand_here(grade_id, what):
    in_chapters = [path.name for path in CHAPTERS.glob("[!h]*.ipynb") if what in text_of(path).lower()]
    cells = source.release("training").cells
    statement = cells[[cell.id for cell in cells].index(grade_id) - 1].source
    assert ("No chapter has" in statement) is not bool(in_chapters), in_chapters
