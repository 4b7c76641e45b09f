"""Read a notebook that somebody else wrote, within limits of time and memory."""

import pickle
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from autograder.answers import Answer, Submission, UnreadableNotebook, Wanted
from autograder.problem_set import ProblemSet, answer_key

__all__ = ["Answer", "Submission", "UnreadableNotebook", "read"]

LARGEST_NOTEBOOK = 20 << 20
SECONDS = 10  # of processor time, to find the answers in one notebook
MEMORY = 1 << 30
READER = [sys.executable, "-c", "from autograder.answers import main; main()"]


def read(path: Path, problem_set: ProblemSet) -> Submission:
    """Read a notebook of any format version and pick the answers to the exercises.

    A filled cell with the exercise's grade id is the answer. Where there is none, or none that defines the name
    that is asked for, cells elsewhere that define it count. Copies of the release's own empty cell never do. Several
    that count are all run, top to bottom, as in the notebook.

    Raises UnreadableNotebook, with the reason.
    """
    if path.is_symlink() or not path.is_file():
        raise UnreadableNotebook(f"{path.name} is no ordinary file")
    if path.stat().st_size > LARGEST_NOTEBOOK:
        raise UnreadableNotebook(
            f"{path.name} has {path.stat().st_size >> 20} MB; {LARGEST_NOTEBOOK >> 20} MB are read at most"
        )
    key = answer_key(problem_set)
    wanted = Wanted(
        exercises={grade_id: (e.stub, key[grade_id].hole.answer) for grade_id, e in problem_set.exercises.items()},
        written={grade_id: question.stub for grade_id, question in problem_set.written.items()},
        given=tuple(problem_set.given),
    )
    limits = ["prlimit", f"--cpu={SECONDS}", f"--as={MEMORY}", "--core=0", "--"]
    done = subprocess.run(
        # a dry run on Windows or a Mac, without prlimit, reads its own author's notebook; grading never starts there
        [*(limits if shutil.which("prlimit") else ()), *READER],
        input=pickle.dumps((path.name, path.read_bytes(), wanted)),
        capture_output=True,
        cwd=Path(__file__).parent.parent,  # where the package lies
    )
    if done.returncode == 0:
        picked = pickle.loads(done.stdout)
        if isinstance(picked, Submission):
            return picked
        raise picked
    raise UnreadableNotebook(
        f"{path.name} cannot be read: {_why(done.returncode, done.stderr.decode(errors='replace'))}"
    )


def _why(code: int, said: str) -> str:
    if code < 0 and signal.Signals(-code).name in ("SIGXCPU", "SIGKILL"):
        return f"to find the answers took more than {SECONDS} seconds of processor time"
    if "MemoryError" in said:
        return f"to find the answers took more than {MEMORY >> 20} MB of memory"
    return f"the reader ended with {code}; {''.join(said.strip().splitlines()[-1:])[:200]}"
