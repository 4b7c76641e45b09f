"""Grade one submission: run its answers in the sandbox, judge them outside, end in exactly one state."""

import re
import time
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np

from autograder import runner
from autograder.hole import ask
from autograder.judge import has_parts, judge
from autograder.problem_set import Given, ProblemSet, Written, answer_key
from autograder.sandbox import Limits, Run, Sandbox, SandboxError
from autograder.submission import Submission, UnreadableNotebook, read


class State(StrEnum):
    """Where a submission ends. Only one that needs a human has no score."""

    GRADED = "graded"
    ZERO = "zero"
    HUMAN = "needs a human"


@dataclass
class CaseResult:
    """One case: right if the message is empty."""

    title: str
    message: str


@dataclass
class ExerciseResult:
    """Points of one exercise, why there are none, and its cases. `earned` is None until a person has read it."""

    grade_id: str
    title: str
    points: float
    earned: float | None
    reason: str = ""
    remarks: list[str] = field(default_factory=list)
    cases: list[CaseResult] = field(default_factory=list)


@dataclass
class Result:
    """What is recorded of one submission. `score` is None where a human must look."""

    student: str
    problem_set: str
    state: State
    score: float | None
    points: float
    reason: str
    seed: int
    class_seed: int
    isolation: str
    digest: str = ""
    handed_in: str = ""
    seconds: float = 0.0
    printed: str = ""
    remarks: list[str] = field(default_factory=list)
    exercises: list[ExerciseResult] = field(default_factory=list)

    def settle(self) -> None:
        """Add the exercises up and take the state that follows."""
        unread = [exercise.title for exercise in self.exercises if exercise.earned is None]
        if unread:
            self.state, self.score, self.reason = State.HUMAN, None, f"to be read by a person: {', '.join(unread)}"
            return
        self.score = round(sum(exercise.earned for exercise in self.exercises), 4)
        self.state, self.reason = (State.GRADED, "") if self.score > 0 else (State.ZERO, "")
        if self.state is State.ZERO:
            reasons = (exercise.reason or exercise.cases[0].message for exercise in self.exercises)
            self.reason = "; ".join(dict.fromkeys(reasons))[:1000]

    def to_json(self) -> dict[str, Any]:
        """Return the record as plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> "Result":
        """Read the record back. Raises KeyError or TypeError for anything else than what `to_json` wrote."""
        exercises = [
            ExerciseResult(**{**exercise, "cases": [CaseResult(**case) for case in exercise["cases"]]})
            for exercise in record["exercises"]
        ]
        return cls(**{**record, "state": State(record["state"]), "exercises": exercises})


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


def grade(
    path: Path | None,
    student: str,
    problem_set: ProblemSet,
    sandbox: Sandbox,
    seed: int,
    limits: Limits | None = None,
) -> Result:
    """Grade the notebook at `path` (None: nothing was handed in) on the random inputs that `seed` draws."""
    started = time.monotonic()
    result = Result(
        *(student, problem_set.name, State.HUMAN, None, problem_set.points, ""),
        *(seed, problem_set.class_seed, sandbox.isolation),
    )
    try:
        if path is None:
            raise UnreadableNotebook("nothing was handed in")
        submission = read(path, problem_set)
        result.digest = submission.digest
        if submission.class_seed not in (None, problem_set.class_seed):
            said = str(submission.class_seed)[:20]
            result.remarks.append(
                f"the notebook is of class seed {said}; it was graded as one of {problem_set.class_seed}"
            )
        trial = _Trial(problem_set, submission, questions(problem_set, seed))
        result.printed = trial.run(sandbox, limits or Limits())
        result.exercises = trial.exercises()
        result.exercises += _written(problem_set, submission)
        result.settle()
    except (UnreadableNotebook, SandboxError, OSError) as error:
        result.reason = str(error)
    result.seconds = round(time.monotonic() - started, 3)
    return result


class _Trial:
    """One submission's way through the sandbox. Where the process dies in an exercise, the others run again."""

    def __init__(self, problem_set: ProblemSet, submission: Submission, asked: dict[str, list[Question]]) -> None:
        self.problem_set, self.submission, self.asked = problem_set, submission, asked
        self.defined = set(submission.answers)  # exercises whose cell is run
        self.called = set(submission.answers)  # exercises that are asked for answers
        self.failed = dict(submission.unanswered)  # why an exercise gave no more answers
        self.values: dict[tuple[str, int], dict[str, Any]] = {}

    def run(self, sandbox: Sandbox, limits: Limits) -> str:
        """Collect all values; return what was printed. Raises SandboxError if not even the first cell ran."""
        printed = ""
        while self.called:
            run = sandbox.run(self._cells(), limits)
            printed = printed or run.printed
            exercise, step = self._collect(run)
            if not run.ended:
                break
            if exercise not in self.called:
                raise SandboxError(f"the sandbox failed before it reached an answer: {run.ended}")
            self.failed.setdefault(exercise, run.ended)
            self.called.remove(exercise)
            if step == "define":
                self.defined.remove(exercise)
        return printed

    def _cells(self) -> list[dict[str, Any]]:
        cells = []
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

    def _collect(self, run: Run) -> tuple[str, str]:
        """Take the values out of one run's records; return the exercise and the step that it had reached."""
        reached, step = "", ""
        for record in run.records:
            grade_id = record.get("exercise")
            if not isinstance(grade_id, str) or grade_id not in self.defined:
                continue
            reached, step = grade_id, record["step"]
            if step == "failed":
                self.failed.setdefault(grade_id, str(record.get("error"))[:600])
                self.called.discard(grade_id)
            elif step == "value" and grade_id in self.called:
                number = record.get("case")
                if type(number) is int and 0 <= number < len(self.asked[grade_id]):
                    self.values.setdefault((grade_id, number), record)
        return reached, step

    def exercises(self) -> list[ExerciseResult]:
        """Judge what was collected."""
        results = []
        for grade_id, exercise in self.problem_set.exercises.items():
            cases = []
            for number, question in enumerate(self.asked[grade_id]):
                record = self.values.get((grade_id, number))
                if record is None:
                    message = self.failed.get(grade_id, "no answer came back")
                else:
                    hole = answer_key(self.problem_set)[grade_id].hole
                    message = judge(record, question.right, question.arguments, hole)
                cases.append(CaseResult(question.title, _hint(message, self.submission)))
            right = sum(not case.message for case in cases)
            answer = self.submission.answers.get(grade_id)
            results.append(
                ExerciseResult(
                    *(grade_id, exercise.title, exercise.points),
                    earned=round(exercise.points * right / len(cases), 4),
                    reason=cases[0].message if len({case.message for case in cases}) == 1 else "",
                    remarks=list(answer.remarks) if answer else [],
                    cases=cases,
                )
            )
        return results


def _written(problem_set: ProblemSet, submission: Submission) -> list[ExerciseResult]:
    """List the written questions: without points until they are read, 0 where nothing was written."""
    results = []
    for grade_id, question in problem_set.written.items():
        answered = grade_id in submission.written
        reason = "a person reads this answer" if answered else "not answered"
        earned = None if answered else 0.0
        results.append(ExerciseResult(grade_id, question.title, question.points, earned, reason))
    return results


def _hint(message: str, submission: Submission) -> str:
    """Put a message of Python's into the words of the course where a student may not know what it means."""
    missing = re.match(r"NameError: name '(\w+)' is not defined", message)
    if missing and missing[1] in submission.defines:
        return f"{message}. Another cell of the notebook defines it: helpers belong in the answer cell"
    if message.startswith("NotImplementedError"):
        return "not answered"
    if message.startswith("ModuleNotFoundError: No module named 'cnnlib'"):
        return f"{message}. Answers are graded without cnnlib: write it out"
    return message
