"""Grade one submission: run its answers in the sandbox, judge them outside, end in exactly one state."""

import hashlib
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from autograder import channel, runner
from autograder.downloads import plain
from autograder.hole import ask
from autograder.judge import has_parts, judge
from autograder.limits import Clock, Limits, OutOfClock, SubmissionOver
from autograder.problem_set import Given, ProblemSet, Written, answer_key
from autograder.result import CaseResult, CodeResult, NotAnswered, Result, Undecided, Unread, WrittenResult
from autograder.sandbox import Sandbox, SandboxError
from autograder.submission import Submission, UnreadableNotebook, read
from autograder.verdict import NoAnswer, Right, Wrong
from autograder.watch import Run


class Starved(Exception):
    """Others had the processor for so long that the clock says nothing of the answers: they must run again, alone."""


@dataclass(frozen=True)
class Question:
    """One case of one exercise with its right answer."""

    title: str
    arguments: list[Any]
    right: Any


def questions(problem_set: ProblemSet, seed: int) -> dict[str, list[Question]]:
    """Draw every exercise's cases from `seed`, with the answers that the instructor's solution gives."""
    drawn = {}
    for number, (grade_id, key) in enumerate(answer_key(problem_set).items()):
        cases = key.hole.cases(np.random.default_rng([seed, number]))
        drawn[grade_id] = [Question(title, args, ask(key.solution, args)) for title, args in cases.items()]
    return drawn


def fits(result: Result, problem_set: ProblemSet, asked: dict[str, list[Question]]) -> bool:
    """Whether a record is about this set: its exercises, their points, and the cases that were `asked`."""
    if result.points != problem_set.points:
        return False
    if isinstance(result.judged, Undecided):
        return True
    code = [(e.grade_id, e.points, [question.title for question in asked[e.grade_id]])
            for e in problem_set.exercises.values()]  # fmt: skip
    expected = code + [(e.grade_id, e.points, None) for e in problem_set.written.values()]
    cases = [[case.title for case in e.cases] if isinstance(e, CodeResult) else None for e in result.judged]
    return [(e.grade_id, e.points, c) for e, c in zip(result.judged, cases, strict=True)] == expected


def grade(
    path: Path | None,
    student: str,
    problem_set: ProblemSet,
    sandbox: Sandbox,
    seed: int,
    limits: Limits | None = None,
    alone: bool = True,
) -> Result:
    """Grade the notebook at `path` (None: nothing was handed in) on the random inputs that `seed` draws.

    Raises Starved, unless the submission runs `alone`: then the clock is longer, and it counts.
    """
    started = time.monotonic()
    result = Result(
        *(student, problem_set.name, problem_set.points, seed, problem_set.class_seed, sandbox.isolation),
        judged=Undecided("nothing was handed in"),
    )
    try:
        if path is not None:
            _grade(result, read(path, problem_set), problem_set, sandbox, limits or Limits(), alone)
    except (UnreadableNotebook, SandboxError, OSError) as error:
        result.judged = Undecided(str(error))
    result.seconds = round(time.monotonic() - started, 3)
    return result


def _grade(
    result: Result, submission: Submission, problem_set: ProblemSet, sandbox: Sandbox, limits: Limits, alone: bool
) -> None:
    result.digest = submission.digest
    if submission.class_seed not in (None, problem_set.class_seed):
        said = plain(str(submission.class_seed)[:20])
        result.remarks.append(f"the notebook is of class seed {said}; it was graded as one of {problem_set.class_seed}")
    trial = _Trial(problem_set, submission, questions(problem_set, result.seed))
    result.printed = trial.run(sandbox, limits.alone if alone else limits, alone)
    result.judged = [*trial.exercises(), *_written(problem_set, submission)]


class _Trial:
    """One submission's way through the sandbox. Where the process dies in an exercise, the others run again."""

    def __init__(self, problem_set: ProblemSet, submission: Submission, asked: dict[str, list[Question]]) -> None:
        self.problem_set, self.submission, self.asked = problem_set, submission, asked
        self.defined = set(submission.answers)  # exercises whose cell is run
        self.called = set(submission.answers)  # exercises that are asked for answers
        self.failed = dict(submission.unanswered)  # why an exercise gave no more answers
        self.values: dict[tuple[str, int], channel.Value | channel.Raised] = {}
        self.imports = {each.statement: each.name for each in submission.imports}  # run before everything else
        self.not_imported: dict[str, str] = {}  # names, and why they are not there

    def run(self, sandbox: Sandbox, limits: Limits, alone: bool) -> str:
        """Collect all values; return what was printed.

        Raises SandboxError if what is given to everybody does not run, Starved if the machine is to blame.
        """
        printed, clock = "", Clock()
        while self.called:
            run = sandbox.run(self._cells(), limits, clock)
            printed = printed or run.printed
            reached = self._collect(run)
            if run.ended is None:
                break
            why = run.ended.why
            if isinstance(run.ended, OutOfClock) and run.ended.starved and not alone:
                raise Starved(why)
            if isinstance(run.ended, SubmissionOver):
                self._give_up(why)
            elif reached is not None:
                self.failed.setdefault(reached.exercise, why)
                if isinstance(reached, channel.Define) or reached.exercise not in self.called:
                    self.defined.remove(reached.exercise)
                self.called.discard(reached.exercise)
            elif self.imports:  # one of them ended the process: the answers may do without
                self.not_imported |= dict.fromkeys(self.imports.values(), why)
                self.imports = {}
            else:
                self._needs_a_box(sandbox, limits)
                self._give_up(why)
        return printed

    def _give_up(self, why: str) -> None:
        for exercise in self.called:
            self.failed.setdefault(exercise, why)
        self.called = set()

    def _needs_a_box(self, sandbox: Sandbox, limits: Limits) -> None:
        """Run what is given without the answers. Raises SandboxError if that fails too: no student is to blame."""
        self.defined = set()
        bare = sandbox.run(self._cells(), limits)
        if bare.ended is not None:
            raise SandboxError(f"the sandbox fails without the answers too: {bare.ended.why}")

    def _cells(self) -> list[dict[str, Any]]:
        cells = [{"grade_id": words, "source": words, "answer": "", "cases": []} for words in self.imports]
        for cell in self.problem_set.cells:
            if isinstance(cell, Written):
                continue
            if isinstance(cell, Given):
                about = {"source": cell.source, "answer": "", "cases": []}
            elif cell.grade_id in self.defined:
                about = {
                    "source": self.submission.answers[cell.grade_id].source,
                    "answer": answer_key(self.problem_set)[cell.grade_id].hole.answer,
                    "cases": [
                        {"arguments": [runner.encode(a) for a in q.arguments], "parts": has_parts(q.right)}
                        for q in (self.asked[cell.grade_id] if cell.grade_id in self.called else ())
                    ],
                }
            else:
                continue
            cells.append({"grade_id": cell.grade_id, **about})
        return cells

    def _collect(self, run: Run) -> channel.Record | None:
        """Take the values out of one run's records; return the last one about an exercise: how far the run came."""
        reached = None
        for record in run.records:
            if isinstance(record, channel.Failed) and record.exercise in self.imports:
                self.not_imported[self.imports[record.exercise]] = record.error
            if isinstance(record, channel.End) or record.exercise not in self.defined:
                continue
            reached = record
            if isinstance(record, channel.Failed):
                self.failed.setdefault(record.exercise, record.error)
                self.called.discard(record.exercise)
            elif isinstance(record, channel.Value | channel.Raised) and record.exercise in self.called:
                self.values.setdefault((record.exercise, record.case), record)  # a case that nobody asked is not read
        return reached

    def exercises(self) -> Iterable[CodeResult]:
        """Judge what was collected."""
        for grade_id, exercise in self.problem_set.exercises.items():
            answer = self.submission.answers.get(grade_id)
            yield CodeResult(
                *(grade_id, exercise.title, exercise.points),
                cases=[
                    CaseResult(question.title, self._hint(self._verdict(grade_id, number, question)))
                    for number, question in enumerate(self.asked[grade_id])
                ],
                remarks=list(answer.remarks) if answer else [],
            )

    def _verdict(self, grade_id: str, number: int, question: Question) -> Right | Wrong | NoAnswer:
        match self.values.get((grade_id, number)):
            case channel.Value(value=value):
                return judge(value, question.right, question.arguments, answer_key(self.problem_set)[grade_id].hole)
            case channel.Raised(error=error):
                return NoAnswer(_sentence(error))
            case None:
                return NoAnswer(_sentence(self.failed.get(grade_id, "no answer came back")))

    def _hint(self, verdict: Right | Wrong | NoAnswer) -> Right | Wrong | NoAnswer:
        """Put a message of Python's into the words of the course where a student may not know what it means."""
        if not isinstance(verdict, NoAnswer):
            return verdict
        why = verdict.why
        missing = re.match(r"NameError: name '(\w+)' is not defined", why)
        if missing and missing[1] in self.not_imported:
            why += f". Another cell imports it, which failed: {_sentence(self.not_imported[missing[1]])}"
        elif missing and missing[1] in self.submission.defines:
            why += ". Another cell of the notebook defines it: helpers belong in the answer cell"
        if why.startswith("NotImplementedError"):
            why = "not answered"
        elif "ModuleNotFoundError: No module named 'cnnlib'" in why:
            why += ". Answers are graded without cnnlib: write it out"
        elif why.startswith("PermissionError: [Errno 1] "):
            why += ". The sandbox refuses what no answer needs"
        return replace(verdict, why=why)


def _written(problem_set: ProblemSet, submission: Submission) -> Iterable[WrittenResult]:
    """List the written questions: without points until they are read, 0 where nothing was written."""
    for grade_id, question in problem_set.written.items():
        text = submission.written.get(grade_id)
        reading = NotAnswered() if text is None else Unread(hashlib.sha256(text.encode()).hexdigest())
        yield WrittenResult(grade_id, question.title, question.points, reading)


def _sentence(error: str) -> str:
    """Shorten what came out of the sandbox, and put words where a student's exception has none."""
    return error[:600].strip() or "an exception without a name and without words"
