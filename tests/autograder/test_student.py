"""The repository for students: what it lacks, and that it works."""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from typer.testing import CliRunner

from autograder import source, student
from autograder.__main__ import app
from autograder.leaks import leaks, secrets
from tests.autograder.conftest import ANSWERS, typed_answers

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    folder = tmp_path_factory.mktemp("for") / "students"
    done = CliRunner().invoke(app, ["student", str(folder), "--class-seed", "2027"])
    assert done.exit_code == 0, done.output
    return folder


def names(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def python(folder, *words):
    """Run Python in the repository, with nothing of this one in reach."""
    environment = os.environ | {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, *map(str, words)], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_holds_no_solution_and_no_key(repository):
    found = names(repository)
    assert not [name for name in found if name.startswith(("homework/", "tests/", ".git/"))]
    ours = {student.MAIN.get(name, name) for name in student.shared()}
    assert {name for name in found if name.startswith("autograder/")} == ours
    kept = {name: secrets(source.solution(name, 2027), 2027) for name in source.names()}
    assert list(leaks(kept, [repository])) == []
    assert "## Grade" not in (repository / "README.md").read_text()


def test_it_has_the_releases_of_the_class(repository):
    for name in source.names():
        page = repository / source.page(name).relative_to(ROOT)
        assert page.read_text() == nbformat.writes(source.release(name, 2027)) + "\n"


def test_the_book_finds_all_that_it_needs(repository):
    """Every page of the table of contents is there, every chapter's imports are, and the wheel's files."""
    assert {name for name in student._tracked(ROOT) if name.split("/")[0] not in student.KEPT_BACK} <= names(repository)
    said = python(
        repository, "-c", "import cnnlib, cnnbook.claims, autograder.dry_run as d; print(cnnlib.__file__, d.__file__)"
    )
    assert said.count(str(repository)) == 2


@pytest.mark.slow
def test_a_chapter_and_the_dry_run_run_there(repository, tmp_path):
    python(
        repository,
        "-m",
        "nbconvert",
        "--to",
        "notebook",
        "--execute",
        "chapters/pooling.ipynb",
        "--output-dir",
        tmp_path,
    )
    answers = typed_answers(ANSWERS / "optimisation" / "vectors.txt")
    notebook = nbformat.read(repository / "chapters" / "homework-optimisation.ipynb", as_version=4)
    for cell in notebook.cells:
        cell.source = answers.get(cell.id, cell.source)
    nbformat.write(notebook, tmp_path / "mine.ipynb")
    said = subprocess.run([sys.executable, "-m", "autograder", "try", str(tmp_path / "mine.ipynb")], cwd=repository,
                          env=os.environ | {"PYTHONPATH": str(repository)}, capture_output=True, text=True)  # fmt: skip
    assert said.stdout.count("runs, and its check passes") >= 2 and not said.stderr


def test_a_leak_stops_it(tmp_path, monkeypatch):
    secret = max(secrets(source.solution("convolution")).lines, key=len)
    real = student._files

    def with_a_leak():
        return [*real(), "homework/convolution.md"]

    monkeypatch.setattr(student, "_files", with_a_leak)
    done = CliRunner().invoke(app, ["student", str(tmp_path / "out")])
    assert done.exit_code == 1 and "nothing is written, since it would tell" in " ".join(done.output.split())
    assert secret and not list(tmp_path.iterdir())


def git(folder, *words):
    subprocess.run(
        ["git", "-C", folder, "-c", "user.name=a", "-c", "user.email=a@b", *words], check=True, capture_output=True
    )


def test_nothing_of_the_instructors_is_lost(tmp_path, monkeypatch):
    monkeypatch.setattr(student, "leaks", lambda *a: [])  # tested above
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("")
    with pytest.raises(ValueError, match="take a new folder, or commit"):
        student.write(tmp_path / "out")
    git(tmp_path / "out", "init")
    with pytest.raises(ValueError, match="take a new folder, or commit"):
        student.write(tmp_path / "out")
    git(tmp_path / "out", "add", ".")
    git(tmp_path / "out", "commit", "-m", "mine")
    assert student.write(tmp_path / "out") > 100
    assert not (tmp_path / "out" / "mine.txt").exists() and (tmp_path / "out" / ".git").is_dir()
