"""Grade a whole class: find every submission, end with exactly one record for each, survive being killed."""

import ctypes
import hashlib
import json
import os
import secrets
import signal
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

from autograder.grading import fits, grade, questions
from autograder.late import handed_in
from autograder.problem_set import ProblemSet
from autograder.result import Result, Undecided
from autograder.sandbox import Limits, find_sandbox

LONGEST_NAME = 250  # bytes of a student's name: with .json or .html it names a file, which takes 255


class RunError(RuntimeError):
    """A class cannot be graded as asked; nothing was changed."""


@dataclass(frozen=True)
class Settings:
    """What must be equal for two results to be comparable."""

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
        seed = secrets.randbits(48) if seed is None else seed
        return cls(problem_set.name, problem_set.title, problem_set.class_seed, seed, checks, seconds, unsafe)


@dataclass(frozen=True)
class Results:
    """The folder that a run writes, one process at a time: `run.json`, and a record a student in `records/`.

    After a regrading `previous/` holds the records from before.
    """

    folder: Path

    @property
    def settings(self) -> Settings | None:
        """Settings of the run that the folder holds, if any. Raises RunError if they cannot be read."""
        path = self.folder / "run.json"
        if not path.exists():
            return None
        try:
            return Settings(**json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise RunError(f"{path} was not written by the autograder: {error}") from None

    def begin(self, settings: Settings) -> None:
        """Make the folder and note the settings."""
        (self.folder / "records").mkdir(parents=True, exist_ok=True)
        write(self.folder / "run.json", json.dumps(asdict(settings), indent=1))

    def save(self, result: Result) -> None:
        """Write one record; a reader sees the old one or the new one, never half of it."""
        write(self.folder / "records" / f"{result.student}.json", result.dumps())

    def set_aside(self) -> None:
        """Keep the records so far as the previous ones: a regrading compares with them."""
        (self.folder / "previous").mkdir(parents=True, exist_ok=True)
        for path in (self.folder / "records").glob("*.json"):
            os.replace(path, self.folder / "previous" / path.name)

    def load(self, problem_set: ProblemSet | None = None) -> dict[str, Result]:
        """Read all records by student. One that is damaged, or another student's, is none: it is graded again.

        The same holds for one of another run, and, where `problem_set` is given, for one that does not fit it.
        """
        run = self.settings
        records = self._read("records")
        if run:
            ours = run.problem_set, run.class_seed, run.seed
            records = {s: r for s, r in records.items() if (r.problem_set, r.class_seed, r.seed) == ours}
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


def find(folder: Path, set_name: str, roster: Mapping[str, object] | None = None) -> dict[str, list[Path]]:
    """Return every student's notebooks for one problem set.

    Takes `STUDENT/SET/*.ipynb` (nbgrader's layout), `STUDENT/*.ipynb` (an LMS download) and `STUDENT.ipynb`. Who
    has no notebook in an own folder, or stands in the roster only, is there too, with none. Raises RunError if
    the folder does not exist.
    """
    if not folder.is_dir():
        raise RunError(f"there is no folder {folder}")
    found: dict[str, list[Path]] = {student: [] for student in roster or ()}
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            inner = entry / set_name
            notebooks = sorted((inner if inner.is_dir() else entry).glob("*.ipynb"))
            named = [path for path in notebooks if path.stem in (set_name, f"homework-{set_name}")]
            found.setdefault(_student(entry.name), []).extend(named or notebooks)
        elif entry.suffix == ".ipynb":
            found.setdefault(_student(entry.stem), []).append(entry)
    return found


def _student(name: str) -> str:
    """Name a student after a file: bytes that are no UTF-8 would fit into no record, a longer name into no folder."""
    student = os.fsencode(name).decode(errors="replace")
    if len(student.encode()) <= LONGEST_NAME:
        return student
    end = "-" + hashlib.sha256(os.fsencode(name)).hexdigest()[:8]
    return student.encode()[: LONGEST_NAME - len(end)].decode(errors="ignore") + end


def digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, as in a record."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def grade_student(student: str, paths: list[Path], folder: Path, problem_set: ProblemSet, settings: Settings) -> Result:
    """Grade one student's notebook in this process: the job of one worker, on this machine or another."""
    names = ", ".join(path.name for path in paths)
    if any(path.resolve() != folder.resolve() / path.relative_to(folder) for path in paths):
        return for_a_human(student, f"{names} is a link and not a notebook of its own", problem_set, settings)
    if len(paths) > 1:
        reason = f"several notebooks, and none has the name of the set: {names}"
        return for_a_human(student, reason, problem_set, settings)
    path = paths[0] if paths else None
    limits = Limits(settings.seconds)
    result = grade(path, student, problem_set, find_sandbox(settings.unsafe), settings.seed, limits)
    result.handed_in = handed_in(path) if path else None
    return result


def for_a_human(student: str, reason: str, problem_set: ProblemSet, settings: Settings) -> Result:
    """Return the record of a submission that a machine must not decide."""
    about = problem_set.name, problem_set.points, settings.seed, problem_set.class_seed
    return Result(student, *about, "not run", Undecided(reason))


def grade_class(
    submissions: Mapping[str, list[Path]],
    folder: Path,
    problem_set: ProblemSet,
    settings: Settings,
    jobs: int,
) -> Iterator[Result]:
    """Grade submissions side by side and yield each result as it comes. N go in, N come out.

    A worker that dies takes the whole pool with it: what was left is then graded one at a time, in a process
    each, so that only the submission that kills its grader goes to a human.
    """
    left = dict(submissions)
    common = folder, problem_set, settings
    try:
        with _pool(jobs) as pool:
            futures = {pool.submit(grade_student, s, paths, *common): s for s, paths in left.items()}
            for future in as_completed(futures):
                result = outcome(future, futures[future], problem_set, settings)
                del left[futures[future]]
                yield result
    except BrokenProcessPool:
        for student, paths in left.items():
            try:
                with _pool(1) as pool:
                    yield outcome(pool.submit(grade_student, student, paths, *common), student, problem_set, settings)
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
