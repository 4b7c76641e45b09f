"""One MyST source a problem set; from it the students' release, the instructor's solution, the grader's cases."""

import random
import re
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import jupytext
import nbformat
import yaml
from nbformat import NotebookNode
from nbgrader.preprocessors import (
    CheckCellMetadata,
    ClearHiddenTests,
    ClearMarkScheme,
    ClearOutput,
    ClearSolutions,
    ComputeChecksums,
    LockCells,
)

from autograder import dry_run
from autograder.problem_set import Exercise, Given, ProblemSet, Written, answer_key

FOLDER = Path(__file__).resolve().parent.parent / "homework"
HIDDEN = re.compile(r"### BEGIN HIDDEN TESTS\n(.*?)### END HIDDEN TESTS", re.DOTALL)


def names() -> list[str]:
    """Return the names of all problem sets."""
    return sorted(path.stem for path in FOLDER.glob("*.md") if path.stem != "README")


def text(name: str) -> str:
    """Return a problem set's source. Raises ValueError for a name that is none."""
    if name not in names():
        raise ValueError(f"no problem set {name!r}: there are {', '.join(names())}")
    return (FOLDER / f"{name}.md").read_text(encoding="utf-8")


def page(name: str) -> Path:
    """Return the file of the book that shows a problem set: its release for class seed 0."""
    return FOLDER.parent / "chapters" / f"homework-{name}.ipynb"


def solution(name: str, class_seed: int = 0) -> NotebookNode:
    """Return the instructor's notebook, with solutions and hidden regions, in the variant that the seed draws."""
    header, body = re.fullmatch(r"---\n(.*?)---\n(.*)", text(name), re.DOTALL).groups()
    about = yaml.safe_load(header)
    # one generator a choice: another choice added later leaves the earlier ones as they were
    draw = {
        key: random.Random(f"{name} {key} {class_seed}").choice(choices)
        for key, choices in about.pop("variants", {}).items()
    }
    template = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),  # for the parts that all sets share
        variable_start_string="<<",
        variable_end_string=">>",
        block_start_string="<%",
        block_end_string="%>",
        undefined=jinja2.StrictUndefined,
    )
    body = template.from_string(body).render(draw, set_name=name)
    notebook = jupytext.reads(f"---\n{yaml.safe_dump(about)}---\n{body}", fmt="md:myst")
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": about["kernelspec"],
            "language_info": {"name": "python"},
            "mystnb": {"execution_mode": "off"},  # unanswered exercises raise; the book shows them unexecuted
            "problem_set": {"name": name, "class_seed": class_seed},
        }
    )
    for number, cell in enumerate(notebook.cells):
        # jupytext draws random ids; the same source must give the same file
        cell.id = cell.metadata.get("nbgrader", {}).get("grade_id", f"text-{number}")
    return notebook


def release(name: str, class_seed: int = 0) -> NotebookNode:
    """Return the students' notebook: what nbgrader's own generate_assignment makes of the source."""
    notebook, resources = solution(name, class_seed), {}
    for step in (
        LockCells,
        ClearSolutions,
        ClearOutput,
        ClearHiddenTests,
        ClearMarkScheme,
        ComputeChecksums,
        CheckCellMetadata,
    ):
        notebook, resources = step().preprocess(notebook, resources)
    for cell in notebook.cells:
        about = cell.metadata.get("nbgrader", {})
        if cell.cell_type == "code" and (about.get("grade") or about.get("solution")):
            cell.metadata.tags = ["raises-exception"]  # "Run all" goes on past what is not answered yet
    notebook.metadata.problem_set.cells = _for_dry_run(name, class_seed, {c.id: c.source for c in notebook.cells})
    return notebook


def _for_dry_run(name: str, class_seed: int, shown: dict[str, str]) -> list[dict[str, Any]]:
    """Return what the students' dry run has to know, taken from what the release shows."""
    problem_set = _load(name, class_seed, shown)
    answers = {grade_id: key.hole.answer for grade_id, key in answer_key(problem_set).items()}
    checks = {grade_id: shown[exercise.check] for grade_id, exercise in problem_set.exercises.items()}
    return dry_run.about(problem_set, answers, checks)


@cache
def load(name: str, class_seed: int = 0) -> ProblemSet:
    """Return the problem set as the grader knows it. Raises ValueError for cells that do not fit together."""
    return _load(name, class_seed, {cell.id: cell.source for cell in release(name, class_seed).cells})


def _load(name: str, class_seed: int, stubs: dict[str, str]) -> ProblemSet:
    source = solution(name, class_seed)
    cells: list[Given | Exercise | Written] = []
    title = heading = ""
    answer: NotebookNode | None = None
    for cell in source.cells:
        if cell.cell_type == "markdown":
            title = title or next(iter(re.findall(r"^# (.*)$", cell.source, re.MULTILINE)), "")
            heading = next(iter(re.findall(r"^## (.*)$", cell.source, re.MULTILINE)), heading)
        about = cell.metadata.get("nbgrader")
        if about is None:
            continue
        if about.grade and about.solution:
            cells.append(Written(cell.id, heading, about.points, stubs[cell.id], cell.source))
        elif about.grade:
            hidden = HIDDEN.search(cell.source)
            if hidden is None or answer is None:
                raise ValueError(f"{name}: the check {cell.id} needs a hidden region and an answer cell above it")
            cells.append(
                Exercise(answer.id, cell.id, heading, about.points, answer.source, stubs[answer.id], hidden[1])
            )
            answer = None
        elif about.solution:
            answer = cell
        else:
            cells.append(Given(cell.id, cell.source))
    return ProblemSet(name, title, class_seed, tuple(cells))
