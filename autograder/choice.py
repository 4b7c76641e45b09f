"""Which of a student's notebooks counts. Where a machine can't tell, it says so."""

from dataclasses import dataclass
from pathlib import Path

from autograder.downloads import HandedIn, plain
from autograder.problem_set import ProblemSet
from autograder.submission import Submission, UnreadableNotebook, read


@dataclass(frozen=True)
class Nothing:
    """Nothing was handed in."""


@dataclass(frozen=True)
class Disputed:
    """A person must say what counts."""

    reason: str


@dataclass(frozen=True)
class Chosen:
    """The notebook that counts; `remark` says what the others are, None where there is no other."""

    path: Path
    remark: str | None = None


def choose(handed_in: HandedIn, problem_set: ProblemSet) -> Chosen | Disputed | Nothing:
    """Return the notebook that counts: the one with answers, whatever its name is.

    Two that hold different answers are for a person, and so is one that can't be read, beside others or alone.
    """
    paths = handed_in.notebooks
    if handed_in.unreadable:
        return Disputed("; ".join(handed_in.unreadable))
    if not paths:
        return Nothing()
    if len(paths) == 1:
        return Chosen(paths[0])
    names = [plain(path.name) for path in paths]
    try:
        read_in = [read(path, problem_set) for path in paths]
    except (UnreadableNotebook, OSError) as error:
        return Disputed(f"several notebooks ({', '.join(names)}), and not all can be read: {error}")
    filled = [number for number, each in enumerate(read_in) if _counts(each, problem_set)]
    if len({read_in[number].digest for number in filled}) > 1:
        return Disputed(f"several notebooks hold answers: {', '.join(names[number] for number in filled)}")
    number = filled[0] if filled else 0
    others = ", ".join(name for other, name in enumerate(names) if other != number)
    what = "the same, or without answers to this set" if filled else "without answers too"
    return Chosen(paths[number], f"{len(paths)} notebooks were handed in; {names[number]} counts, {others}: {what}")


def _counts(submission: Submission, problem_set: ProblemSet) -> bool:
    return not submission.is_untouched and submission.of_set in (None, problem_set.name)
