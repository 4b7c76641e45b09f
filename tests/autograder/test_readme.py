"""Every command that the instructors' pages show runs as it is typed there, in a folder of a made-up class."""

import csv
import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import nbformat
import pytest
from distributed import LocalCluster

from autograder import source
from autograder.__main__ import app
from tests.autograder.conftest import ANSWERS, IN_WORDS, typed_answers

ROOT = Path(__file__).resolve().parents[2]
SEED = 2027  # the class seed that homework/README.md types
STUDENTS = {f"s{n}": f"Doe{n} Jane_{100 + n}_assignsubmission_file" for n in range(3)}

pytestmark = pytest.mark.slow


def commands(page, heading=None):
    """Return the lines of a page's shell blocks, all or those below one heading, a continued line as one."""
    text = (ROOT / page).read_text(encoding="utf-8")
    if heading:
        text = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)[1]
    lines = "\n".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL)).replace("\\\n", " ").splitlines()
    return [line for line in lines if line.strip()]


@pytest.fixture(scope="module")
def cluster():
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as started:
        yield started.scheduler_address


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A clone of the repository, with what an instructor has beside it before grading."""
    folder = tmp_path_factory.mktemp("course")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    (folder / ".venv").symlink_to(sys.prefix)
    subprocess.run("git init -q && git add -A", shell=True, cwd=folder, check=True)
    (folder / "_build" / "html").mkdir(parents=True)
    (folder / "_build" / "html" / "index.html").write_text("<p>A book")
    answers = typed_answers(ANSWERS / "convolution" / "loops.txt")
    mine = source.release("convolution")
    for cell in mine.cells:
        cell.source = (answers | IN_WORDS).get(cell.id, cell.source)
    nbformat.write(mine, folder / "my-answers.ipynb")
    del answers["sizes"]  # another class has another table
    for student, name in STUDENTS.items():
        notebook = source.release("convolution", SEED)
        for cell in notebook.cells:
            cell.source = answers.get(cell.id, cell.source) if student != "s2" else cell.source
        (folder / "submissions" / name).mkdir(parents=True)
        nbformat.write(notebook, folder / "submissions" / name / "convolution.ipynb")
    lines = [f'Participant {100 + n},Jane Doe{n},s{n},"Monday, 1 March 2027, 1{n}:58 PM"\n' for n in range(3)]
    header = "Identifier,Full name,ID number,Last modified (submission)\n"
    (folder / "worksheet.csv").write_text(header + "".join(lines).replace("12:58 PM", "11:59 PM"))
    (folder / "extensions.csv").write_text("id,due\ns1,2027-03-08T23:59\n")
    return folder


def typed(line, folder, cluster):
    """Type a line in the folder; only the scheduler's name is another here, and `make` says what it would do."""
    line = line.replace("tcp://scheduler:8786", cluster)
    if line.startswith("make "):
        line = f"make -n {line.removeprefix('make ')}"
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"PATH": path}
    done = subprocess.run(["bash", "-c", line], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    return done.stdout


def rows(path):
    with path.open(encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def test_the_commands_of_the_homeworks_page(folder, cluster):
    lines = commands("homework/README.md")
    said = {line: typed(line, folder, cluster) for line in lines}
    assert {shlex.split(line, comments=True)[3] for line in lines} == {
        command.name or command.callback.__name__ for command in app.registered_commands
    }, "a command that no block shows"
    grades = {row["student"]: row for row in rows(folder / "results" / "grades.csv")}
    assert [grades[student]["score"] for student in STUDENTS][2] == "0" and float(grades["s0"]["score"]) > 0
    assert "3 submissions, 0 of them graded before" in "".join(said.values())
    assert "Regraded: who changes" in "".join(said.values())
    assert [row["ID number"] for row in rows(folder / "results" / "moodle.csv")] == list(STUDENTS)
    assert {row["student"] for row in rows(folder / "others" / "grades.csv")} >= {"Doe0 Jane_100"}
    with zipfile.ZipFile(folder / "results" / "feedback.zip") as file:
        assert {name.split("/")[0] for name in file.namelist()} == set(STUDENTS.values())
    assert (folder / "course" / "gradebook.db").is_file() and (folder / "similar.csv").is_file()


def test_the_commands_of_the_front_page(folder, cluster):
    shutil.rmtree(folder / "results", ignore_errors=True)
    for line in commands("README.md", "Grade"):
        typed(line, folder, cluster)
    assert {row["student"] for row in rows(folder / "results" / "grades.csv")} == {
        f"Doe{n} Jane_{100 + n}" for n in range(3)
    }
    assert len(rows(folder / "results" / "moodle.csv")) == 3
