"""A repository for students: the book and the library, without solutions and without what grades them."""

import os
import re
import shutil
import subprocess
import tempfile
import tomllib
from pathlib import Path

import nbformat

from autograder import source
from autograder.leaks import leaks, secrets

ROOT = source.FOLDER.parent
KEPT_BACK = ("homework", "autograder", "tests", ".github", ".ci", "CONTRIBUTING.md", "CHANGELOG.md")
MAIN = {"autograder/for_students.py": "autograder/__main__.py"}


def write(folder: Path, class_seed: int = 0) -> int:
    """Write the repository, with one class's releases; return the number of files.

    An earlier one is written anew where all of it is committed. Raises ValueError for a folder that holds anything
    else, and for a secret that would go out: then nothing is written.
    """
    if folder.exists() and any(folder.iterdir()) and not _is_committed(folder):
        raise ValueError(f"{folder} holds files that no git repository of its own keeps: take a new folder, or commit")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.absolute().parent, prefix=".student-") as made:
        draft = Path(made, "draft")
        for name in _files():
            to = draft / MAIN.get(name, name)
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, to)
        for name in source.names():
            page = nbformat.writes(source.release(name, class_seed)) + "\n"
            (draft / source.page(name).relative_to(ROOT)).write_text(page, encoding="utf-8")
        readme = draft / "README.md"
        readme.write_text(re.sub(r"^## Grade\n.*?(?=^## )", "", readme.read_text(encoding="utf-8"),
                                 flags=re.MULTILINE | re.DOTALL), encoding="utf-8")  # fmt: skip
        kept = {name: secrets(source.solution(name, class_seed), class_seed) for name in source.names()}
        told = [sentence for _, sentence in leaks(kept, [draft])]
        if told:
            raise ValueError(f"nothing is written, since it would tell: {'; '.join(told[:10])}")
        files = sum(path.is_file() for path in draft.rglob("*"))
        _replace(folder, draft)
        return files


def shared() -> list[str]:
    """Return the files of the autograder that students have: the wheel's, and what `python -m autograder` runs."""
    build = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]
    return [*MAIN, *(name for name in build["targets"]["wheel"]["only-include"] if name.startswith("autograder/"))]


def _files() -> list[str]:
    """Return what is handed out: the tracked files but those kept back, and the dry run's."""
    tracked = [name for name in _tracked(ROOT) if name.split("/")[0] not in KEPT_BACK and (ROOT / name).is_file()]
    return sorted({*tracked, *shared()})


def _tracked(folder: Path) -> list[str]:
    listed = subprocess.run(["git", "-C", folder, "ls-files", "-z"], capture_output=True, text=True)
    if listed.returncode:
        raise ValueError(f"{folder} is no git repository, which says what belongs to it: {listed.stderr.strip()}")
    return [name for name in listed.stdout.split("\0") if name]


def _is_committed(folder: Path) -> bool:
    """Whether a folder is a git repository of its own in which nothing would be lost."""
    if not (folder / ".git").exists():
        return False
    left = ["git", "-C", folder, "status", "--porcelain", "--ignored"]
    return subprocess.run(left, capture_output=True, text=True, check=True).stdout == ""


def _replace(folder: Path, draft: Path) -> None:
    """Put what was made where the last one stands; its history stays."""
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        if old.name != ".git":
            shutil.rmtree(old) if old.is_dir() and not old.is_symlink() else old.unlink()
    for new in draft.iterdir():
        os.replace(new, folder / new.name)
