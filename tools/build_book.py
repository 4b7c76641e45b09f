"""Build the executed book into _build/html, warnings as errors.

Pages are always read again, so a book that failed once fails again, and a passing build means what it would
mean in a fresh clone. Only the notebooks' executions are kept from build to build, and those are dropped when the
code that they ran changes, or when anything else wrote executions beside them. If nothing at all changed since the
last good build, nothing is done.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
from functools import cache
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "_build"
STAMP = BUILD / "book.stamp"
EXECUTION_STAMP = BUILD / "execution.stamp"

EXECUTIONS = "_build/.jupyter_cache"

CODE = ["cnnlib", "cnnbook", "homework", "autograder", "benchmarks/results", "requirements.txt", "constraints.txt"]
CODE += ["chapters/matplotlibrc"]
PAGES = ["chapters", "_config.yml", "_toc.yml", "_ext", "_static", "references.bib"]
PAGES += ["tools/build_book.py"]
COMMAND = ["jupyter-book", "build", ".", "-W", "-n", "--keep-going"]
# read by extensions in _ext
SETTINGS = [f"COURSE_{name}" for name in ("REPOSITORY", "BRANCH", "HUB", "SITE", "SITE_BRANCH", "REPORT")]


@cache
def python() -> str:
    """The running Python and its packages."""
    # in the environment's own folders: what is imported may have put others on the search path, as setuptools does
    own = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    return "\n".join([sys.version, *sorted(f"{one.name} {one.version}" for one in metadata.distributions(path=own))])


def digest(names: list[str]) -> str:
    """One hash over the names and contents of the files under `names`, and over the running Python."""
    total = hashlib.sha256(python().encode())
    for name in names:
        top = ROOT / name
        for path in [top] if top.is_file() else sorted(p for p in top.rglob("*") if p.is_file()):
            hidden = [part for part in path.relative_to(ROOT).parts if part in ("__pycache__", ".ipynb_checkpoints")]
            if not hidden:
                total.update(f"{path.relative_to(ROOT)}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def wanted() -> str:
    """What the next good build will be of: all files and settings."""
    return digest(CODE + PAGES) + "".join(f" {name}={os.environ[name]}" for name in SETTINGS if os.environ.get(name))


def executions_of(code: str) -> str:
    """The code of this digest, and what is kept of running notebooks with it."""
    return f"{code} {digest([f'{EXECUTIONS}/executed'])}"


def is_current() -> bool:
    """Whether _build/html is the good build of what now lies in the folder."""
    return STAMP.exists() and STAMP.read_text() == wanted()


def build() -> int:
    """Build unless the last build still stands; return the exit status."""
    if is_current():
        return 0
    STAMP.unlink(missing_ok=True)
    whole, code = wanted(), digest(CODE)
    if not EXECUTION_STAMP.exists() or EXECUTION_STAMP.read_text() != executions_of(code):
        shutil.rmtree(ROOT / EXECUTIONS, ignore_errors=True)
    for stale in ("html", ".doctrees"):
        shutil.rmtree(BUILD / stale, ignore_errors=True)
    print("==> building the book: notebooks that changed are run, which can take minutes", flush=True)
    try:
        status = subprocess.call([Path(sys.executable).with_name(COMMAND[0]), *COMMAND[1:]], cwd=ROOT)
    finally:
        EXECUTION_STAMP.write_text(executions_of(code))
    if status == 0:
        STAMP.write_text(whole)
    return status


def main() -> int:
    """Build under a lock, and say where the result is."""
    BUILD.mkdir(exist_ok=True)
    with (BUILD / "book.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        status = build()
    if status:
        print("==> the book did not build: the first warning or error above says why", file=sys.stderr)
        return 1
    print("==> the book is in _build/html/index.html: open that file, or type `make serve`", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
