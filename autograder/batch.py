"""Grade a whole class: find every submission, end with exactly one record for each, survive being killed."""

import ctypes
import hashlib
import hmac
import json
import os
import secrets
import shutil
import signal
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import asdict, dataclass
from enum import StrEnum
from multiprocessing import get_context
from pathlib import Path

from autograder.choice import Chosen, Disputed, Nothing, choose
from autograder.downloads import HandedIn
from autograder.grading import Starved, fits, grade, questions
from autograder.late import file_time
from autograder.limits import Limits
from autograder.problem_set import ProblemSet
from autograder.result import Result, Undecided
from autograder.sandbox import find_sandbox
from autograder.submission import LARGEST_NOTEBOOK

SHORTEST_SECRET = 16


class RunError(RuntimeError):
    """A class cannot be graded as asked; nothing was changed."""


@dataclass(frozen=True)
class Settings:
    """What must be equal for two results to be comparable. `seed` is the run's secret: it draws the random inputs."""

    problem_set: str
    title: str
    class_seed: int
    seed: int
    checks: str
    seconds: float = 10.0
    unsafe: bool = False

    @classmethod
    def draw(cls, problem_set: ProblemSet, seed: int | None, seconds: float, unsafe: bool) -> "Settings":
        """Settle a run: its random inputs come from `seed`, or from one that nobody can guess."""
        checks = hashlib.sha256(repr(problem_set.cells).encode()).hexdigest()
        seed = secrets.randbits(128) if seed is None else seed
        return cls(problem_set.name, problem_set.title, problem_set.class_seed, seed, checks, seconds, unsafe)

    def seed_of(self, digest: str | None) -> int:
        """Return what draws the inputs of one notebook, given its SHA-256.

        Another notebook gets other inputs: what an answer printed of them, or a page said of it, helps no later one.
        """
        if digest is None:
            return self.seed
        return int.from_bytes(hmac.digest(str(self.seed).encode(), digest.encode(), "sha256")[:16])


def read_secret(path: Path) -> int:
    """Return the seed that a course's secret stands for: the same on every machine. Raises ValueError for a short one.

    The file's text is the secret, without white space around it.
    """
    secret = path.read_text(encoding="utf-8").strip()
    if len(set(secret)) < 8 or len(secret) < SHORTEST_SECRET:
        raise ValueError(
            f"{path} holds a secret that can be guessed: take {SHORTEST_SECRET} random characters or more, as "
            "`python -c 'import secrets; print(secrets.token_hex())'` writes them"
        )
    return int.from_bytes(hashlib.sha256(secret.encode()).digest()[:16])


class Phase(StrEnum):
    """How far a run has come; only one that has ended has a record of everybody."""

    GRADING = "grading"
    REGRADING = "regrading"
    ENDED = "ended"


@dataclass(frozen=True)
class Results:
    """The folder that a run writes, one process at a time: `run.json`, and a record a student in `records/`.

    `previous/` holds the records from before a regrading, from its beginning to the beginning of the next; `earlier/`
    those of names that the last download no longer has.
    """

    folder: Path

    @property
    def settings(self) -> Settings | None:
        """Settings of the run that the folder holds, if any. Raises RunError if they cannot be read."""
        held = self._held()
        return held[0] if held else None

    @property
    def phase(self) -> Phase | None:
        """How far the run has come that the folder holds, if any. Raises RunError if that cannot be read."""
        held = self._held()
        return held[1] if held else None

    def _held(self) -> tuple[Settings, Phase] | None:
        path = self.folder / "run.json"
        if not path.exists():
            return None
        try:
            held = json.loads(path.read_text(encoding="utf-8"))
            return Settings(**held["settings"]), Phase(held["phase"])
        except (ValueError, TypeError, KeyError) as error:
            raise RunError(f"{path} was not written by this autograder: {error!r}") from None

    def begin(self, settings: Settings) -> None:
        """Make the folder for a run, or go on with one."""
        self._note(settings, Phase.GRADING)
        (self.folder / "records").mkdir(exist_ok=True)

    def begin_again(self, settings: Settings) -> None:
        """Regrade, or go on with that: the records so far are kept as the previous ones until the next regrading.

        Whenever it is killed, the same call does the rest, and no record from before is lost.
        """
        records, previous = self.folder / "records", self.folder / "previous"
        if self.phase is not Phase.REGRADING:
            if records.exists():
                shutil.rmtree(previous, ignore_errors=True)
                os.rename(records, previous)
        elif self.settings != settings:
            shutil.rmtree(records, ignore_errors=True)  # of other checks, and not all of them
        self._note(settings, Phase.REGRADING)
        records.mkdir(exist_ok=True)

    def end(self, students: Collection[str]) -> list[str]:
        """Note that everybody has a record; those of others, under names of an earlier run, move to `earlier/`.

        Returns whose they are.
        """
        others = sorted(path for path in (self.folder / "records").glob("*.json") if path.stem not in students)
        for path in others:
            (self.folder / "earlier").mkdir(exist_ok=True)
            os.replace(path, self.folder / "earlier" / path.name)
            (self.folder / "feedback" / f"{path.stem}.html").unlink(missing_ok=True)
        self._note(self.settings, Phase.ENDED)
        return [path.stem for path in others]

    def _note(self, settings: Settings, phase: Phase) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        write(self.folder / "run.json", json.dumps({"phase": phase, "settings": asdict(settings)}, indent=1))

    def save(self, result: Result) -> None:
        """Write one record; a reader sees the old one or the new one, never half of it."""
        write(self.folder / "records" / f"{result.student}.json", result.dumps())

    def load(self, problem_set: ProblemSet | None = None) -> dict[str, Result]:
        """Read all records by student. One that is damaged, or another student's, is none: it is graded again.

        The same holds for one of another run, and, where `problem_set` is given, for one that does not fit it.
        """
        run = self.settings
        records = self._read("records")
        if run:
            ours = run.problem_set, run.class_seed
            records = {s: r for s, r in records.items() if (r.problem_set, r.class_seed) == ours}
            records = {s: r for s, r in records.items() if r.seed == run.seed_of(r.digest)}
        if run and problem_set:
            asked = questions(problem_set, run.seed)
            records = {s: r for s, r in records.items() if fits(r, problem_set, asked)}
        return records

    def previous(self) -> dict[str, Result]:
        """Read the records from before a regrading, by student."""
        return self._read("previous")

    def _read(self, kind: str) -> dict[str, Result]:
        records = {}
        for path in sorted((self.folder / kind).glob("*.json")):
            try:
                result = Result.loads(path.read_text(encoding="utf-8"))
            except ValueError:
                continue
            if result.student == path.stem:
                records[result.student] = result
        return records


def write(path: Path, text: str) -> None:
    """Write a file so that a crash or a full disk leaves the old one. A draft's name is never too long."""
    draft = path.with_name(f".{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]}.new")
    draft.write_text(text, encoding="utf-8", errors="replace")
    os.replace(draft, path)


def digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, as in a record."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _digest(path: Path) -> str | None:
    """Return the digest of a notebook that grading will read; None of one that it will refuse."""
    try:
        ordinary = path.is_file() and not path.is_symlink()  # reading a pipe would never end
        return digest(path) if ordinary and path.stat().st_size <= LARGEST_NOTEBOOK else None
    except OSError:
        return None


def grade_student(
    student: str, handed_in: HandedIn, problem_set: ProblemSet, settings: Settings, alone: bool = False
) -> Result:
    """Grade what one student handed in, in this process: the job of one worker, on this machine or another.

    Raises Starved where it must be graded again, `alone`.
    """
    match choose(handed_in, problem_set):
        case Disputed(reason):
            return for_a_human(student, reason, problem_set, settings)
        case Nothing():
            return for_a_human(student, "nothing was handed in", problem_set, settings)
        case Chosen(path, remark):
            box, limits = find_sandbox(settings.unsafe), Limits(settings.seconds)
            result = grade(path, student, problem_set, box, settings.seed_of(_digest(path)), limits, alone)
            result.seed = settings.seed_of(result.digest)  # which an unreadable notebook has none of
            result.remarks += [] if remark is None else [remark]
            result.file_time = file_time(path)
            return result


def for_a_human(student: str, reason: str, problem_set: ProblemSet, settings: Settings) -> Result:
    """Return the record of a submission that a machine must not decide."""
    about = problem_set.name, problem_set.points, settings.seed, problem_set.class_seed
    return Result(student, *about, "not run", Undecided(reason))


def grade_class(
    submissions: Mapping[str, HandedIn],
    problem_set: ProblemSet,
    settings: Settings,
    jobs: int,
) -> Iterator[Result]:
    """Grade submissions side by side and yield each result as it comes. N go in, N come out.

    A submission that neighbours starved is graded again, alone. A worker that dies takes the whole pool with it: what
    was left is then graded alone too, in a process each, so that only the submission that kills its grader goes to a
    human.
    """
    left = dict(submissions)
    common = problem_set, settings
    with suppress(BrokenProcessPool), _pool(jobs) as pool:
        futures = {pool.submit(grade_student, s, found, *common): s for s, found in left.items()}
        for future in as_completed(futures):
            if isinstance(future.exception(), Starved):
                continue
            result = outcome(future, futures[future], problem_set, settings)
            del left[futures[future]]
            yield result
    for student, found in left.items():
        try:
            with _pool(1) as pool:
                future = pool.submit(grade_student, student, found, *common, alone=True)
                yield outcome(future, student, problem_set, settings)
        except BrokenProcessPool:
            yield for_a_human(student, "the grader itself died on this notebook", problem_set, settings)


def outcome(future: Future, student: str, problem_set: ProblemSet, settings: Settings) -> Result:
    """Return a worker's result. A fault of the grader's own costs nobody a grade: a human hears of it."""
    error = future.exception()
    if error is None:
        return future.result()
    if isinstance(error, BrokenProcessPool):
        raise error
    return for_a_human(student, f"the grader failed: {type(error).__name__}: {error}", problem_set, settings)


def _pool(jobs: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_die_with_parent)


def _die_with_parent() -> None:
    """Ask the kernel to end this worker when the run is killed, and leave Ctrl-C to the run."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
