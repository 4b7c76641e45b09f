"""A dry run for students: each answer on its own, as the grader runs it, with the checks that they see anyway.

It needs no solution, no hidden case and no sandbox: what it knows of a problem set, the released notebook says.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autograder import runner
from autograder.problem_set import Exercise, Given, ProblemSet, Written, answer_key
from autograder.submission import Submission, UnreadableNotebook, read

SECONDS = 10.0  # that an answer may take
# The course is not there when answers are graded; its checks live beside the answers, not among them.
LAUNCH = """
import importlib.util, os, sys
about = importlib.util.spec_from_file_location("runner", sys.argv[1])
runner = importlib.util.module_from_spec(about)
about.loader.exec_module(runner)
sys.modules |= dict.fromkeys(("cnnlib", "cnnbook", "autograder"))
runner.main(os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT))
"""
# They see arrays, as the grader does, whatever an answer returns: tensors, lists.
CHECK = """
__checks__ = globals().get("__checks__", {{}})
for name, value in [*globals().items()]:
    if name in {answers!r} and callable(value):
        __checks__[name] = lambda *a, value=value, **k: sys.modules["__main__"].runner.as_answer(value(*a, **k), True)
    elif name != "__checks__":
        __checks__[name] = value
exec(compile({source!r}, "<check>", "exec"), __checks__)
"""
IN_CHECK = re.compile(r" \(line \d+ of the cell: exec\(compile\(.*", re.DOTALL)


class NoDryRun(ValueError):
    """Why nothing can be run, in words for the student."""


@dataclass(frozen=True)
class Said:
    """What the dry run says of one exercise."""

    title: str
    fails: bool
    words: str


def about(problem_set: ProblemSet, answers: dict[str, str], checks: dict[str, str]) -> list[dict[str, Any]]:
    """Return what a release carries for its dry run: nothing that its cells do not show.

    `answers` and `checks` give, by grade id, the name that an exercise asks for and the visible part of its check.
    """
    cells = []
    for cell in problem_set.cells:
        if isinstance(cell, Given):
            cells.append({"grade_id": cell.grade_id, "given": cell.source})
        elif isinstance(cell, Exercise):
            told = {"answer": answers[cell.grade_id], "stub": cell.stub, "check": checks[cell.grade_id]}
            cells.append({"grade_id": cell.grade_id, "title": cell.title, **told})
        else:
            cells.append({"grade_id": cell.grade_id, "title": cell.title, "stub": cell.stub})
    return cells


def released(path: Path) -> tuple[ProblemSet, dict[str, str]]:
    """Read what a notebook says of its problem set, and the visible checks. Raises NoDryRun if it says nothing."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))["metadata"]["problem_set"]
        cells: list[Given | Exercise | Written] = []
        checks = {}
        for cell in told["cells"]:
            grade_id, title, stub = cell["grade_id"], cell.get("title", ""), cell.get("stub", "")
            if "given" in cell:
                cells.append(Given(grade_id, cell["given"]))
            elif "check" in cell:
                answer = cell["answer"]
                hidden = f"from autograder.hole import Hole\nhole = Hole({answer!r}, cases=dict)"
                cells.append(Exercise(grade_id, f"check-{grade_id}", title, 0, f"{answer} = None", stub, hidden))
                checks[grade_id] = cell["check"]
            else:
                cells.append(Written(grade_id, title, 0, stub, ""))
        return ProblemSet(told["name"], "", told["class_seed"], tuple(cells)), checks
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise NoDryRun(
            f"{path} does not say which problem set it is: its metadata is lost, or it is no release. "
            "Give the notebook that was handed out too: python -m autograder try FILE --release HANDED_OUT"
        ) from None


def dry_run(path: Path, release: Path | None = None) -> list[Said]:
    """Run each answer of a notebook on its own. Raises NoDryRun."""
    if sys.platform == "emscripten":
        raise NoDryRun("a Python in the browser starts no other: download the notebook, and run this where Python is")
    problem_set, checks = released(release or path)
    try:
        submission = read(path, problem_set)
    except (UnreadableNotebook, OSError) as error:
        raise NoDryRun(str(error)) from None
    failed = _failures(problem_set, submission, checks) if submission.answers else {}
    said = []
    for grade_id, exercise in problem_set.exercises.items():
        remarks = "".join(f"; {remark}" for remark in submission.answers[grade_id].remarks
                          ) if grade_id in submission.answers else ""  # fmt: skip
        why = submission.unanswered.get(grade_id) or failed.get(grade_id)
        said.append(Said(exercise.title, why is not None, (why or "runs, and its check passes") + remarks))
    for grade_id, question in problem_set.written.items():
        written = grade_id in submission.written
        said.append(Said(question.title, not written, "a person will read it" if written else "not answered"))
    return said


def _failures(problem_set: ProblemSet, submission: Submission, checks: dict[str, str]) -> dict[str, str]:
    """Return why exercises would fail, by grade id: what their cells, or else their checks, ran into."""
    failed: dict[str, str] = {}
    cells = [{"grade_id": each.statement, "source": each.statement} for each in submission.imports]
    for cell in problem_set.cells:
        if isinstance(cell, Given):
            cells.append({"grade_id": cell.grade_id, "source": cell.source})
        elif cell.grade_id in submission.answers:
            cells.append({"grade_id": cell.grade_id, "source": submission.answers[cell.grade_id].source})
    answers = [key.hole.answer for key in answer_key(problem_set).values()]
    for grade_id in submission.answers:
        check = "import sys" + CHECK.format(source=checks[grade_id], answers=answers)
        cells.append({"grade_id": f"check-{grade_id}", "source": check})
    while cells:
        records, ended = _run(cells)
        for record in records:
            if record["step"] == "failed":
                failed.setdefault(record["exercise"].removeprefix("check-"), _hint(record["error"], submission))
        if ended is None:
            break
        reached = records[-1]["exercise"] if records else cells[0]["grade_id"]
        failed.setdefault(reached.removeprefix("check-"), ended)  # and the others run without it
        cells = [cell for cell in cells if cell["grade_id"] not in (reached, f"check-{reached}")]
    return {grade_id: why for grade_id, why in failed.items() if grade_id in submission.answers}


def _run(cells: list[dict[str, str]]) -> tuple[list[dict[str, Any]], str | None]:
    """Run cells one after the other in a process of their own; return its records, and why it ended early if it did."""
    job = {"cells": [{"answer": "", "cases": [], **cell} for cell in cells], "seconds": SECONDS, "processes": 0}
    with tempfile.TemporaryDirectory() as folder:
        told, ended = Path(folder, "told"), None
        try:
            done = subprocess.run(
                [sys.executable, "-B", "-c", LAUNCH, str(Path(runner.__file__).resolve()), str(told)],
                input=json.dumps(job).encode(),
                cwd=folder,
                capture_output=True,
                timeout=SECONDS * (len(cells) + 2),
            )
            error = done.stderr.decode(errors="replace").strip().splitlines()
        except subprocess.TimeoutExpired:
            ended, error = "took too long", []
        lines = told.read_bytes().splitlines() if told.exists() else []
    records = []
    for line in lines:
        try:
            records.append(json.loads(line))
        except ValueError:
            break  # cut off where the process ended
    if records and records[-1]["step"] == "end":
        return records[:-1], None
    return records, ended or f"ends the process: {error[-1] if error else 'without a word'}"


def _hint(error: str, submission: Submission) -> str:
    """Put a message of Python's into the words of the course where a student may not know what it means."""
    error = IN_CHECK.sub("", error)
    missing = re.match(r"NameError: name '(\w+)' is not defined", error)
    if missing and missing[1] in submission.defines:
        return f"{error}. Another cell of the notebook defines it: helpers belong in the answer cell"
    if "of cnnlib halted" in error:
        return "Answers are graded without cnnlib: write it out"
    if error.startswith("NotImplementedError"):
        return "not answered"
    return error.removeprefix("AssertionError: ")


def this_notebook(set_name: str, path: str | None = None) -> None:
    """Print a dry run of the notebook that calls this, as it was saved last."""
    try:
        file = Path(path) if path else _this_file(set_name)
        print(f"{file.name}, as it was saved last:")
        _print(dry_run(file))
    except NoDryRun as error:
        print(f"No dry run: {error}")


def _this_file(set_name: str) -> Path:
    """Return the file of the running notebook: as Jupyter or VS Code says, else the only one of this set here."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    names = [shell.user_ns.get("__vsc_ipynb_file__") if shell else None, os.environ.get("JPY_SESSION_NAME")]
    for name in filter(None, names):
        for path in (Path(name), Path(Path(name).name)):
            if path.is_file():
                return path
    here = [path for path in sorted(Path().glob("*.ipynb")) if _is_of(path, set_name)]
    if len(here) != 1:
        several = f"{len(here)} notebooks of this problem set lie here" if here else "no saved notebook of it lies here"
        raise NoDryRun(f'{several}: say which, this_notebook("{set_name}", "FILE.ipynb")')
    return here[0]


def _is_of(path: Path, set_name: str) -> bool:
    try:
        return released(path)[0].name == set_name
    except NoDryRun:
        return False


def _print(said: Iterable[Said]) -> bool:
    """Print one line an exercise; return whether all would count."""
    said = list(said)
    for each in said:
        print(f"{'✗' if each.fails else '✓'} {each.title}: {each.words}")
    return not any(each.fails for each in said)


def main(words: list[str]) -> int:
    """Run `python -m autograder try FILE`; return the exit status.

    It is 1 where an answer would fail, 2 where nothing can be run. From the wheel: `python -m autograder.dry_run FILE`.
    """
    parser = argparse.ArgumentParser("python -m autograder try", description=__doc__.partition("\n")[0])
    parser.add_argument("file", type=Path, help="a notebook with answers")
    parser.add_argument("--release", type=Path, help="the notebook as it was handed out, where FILE lost its metadata")
    asked = parser.parse_args(words)
    sys.stdout.reconfigure(errors="replace")
    try:
        return 0 if _print(dry_run(asked.file, asked.release)) else 1
    except NoDryRun as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
