"""No attack gains a point, hurts a neighbour or leaves anything behind."""

import csv
import hashlib
import io
import json
import os
import socket
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor

import nbformat
import psutil
import pytest

from autograder import batch, downloads, export, feedback, source
from autograder.result import State
from autograder.sandbox import FIRST_UID, _boxes, find_sandbox
from tests.autograder.attacks import CELLS, CHANGES, FILES
from tests.autograder.conftest import ANSWERS, SEED, typed_answers

RIGHT = typed_answers(ANSWERS / "convolution" / "loops.txt")
NEIGHBOURS = ["a neighbour before", "m neighbour between", "z neighbour behind"]


def listen(kind, address, calls):
    server = socket.socket(kind)
    server.bind(address)
    server.listen()

    def answer():
        while True:
            try:
                calls.append(server.accept()[0])
            except OSError:
                return

    threading.Thread(target=answer, daemon=True).start()
    return server


@pytest.fixture(scope="module", params=list(_boxes()), ids=lambda box: box.isolation)
def stormy(request, tmp_path_factory):
    """One class of attackers and neighbours, graded side by side in each kind of box that this machine has."""
    home = tmp_path_factory.mktemp("instructor")
    folder = home / "submitted"
    folder.mkdir()
    gradebook = home / "gradebook.db"
    with sqlite3.connect(gradebook) as db:
        db.execute("create table grade (x)")
        db.execute("insert into grade values (1)")
    db.close()
    before = hashlib.sha256(gradebook.read_bytes()).hexdigest()
    calls = []
    abstract = f"autograder-test-{os.getpid()}"
    servers = [listen(socket.AF_INET, ("127.0.0.1", 0), calls), listen(socket.AF_UNIX, f"\0{abstract}", calls)]
    insider = {
        "GRADEBOOK": str(gradebook),
        "NEIGHBOUR": str(folder / f"{NEIGHBOURS[0]}.ipynb"),
        "SOURCES": str(source.FOLDER),
        "PORT": str(servers[0].getsockname()[1]),
        "ABSTRACT": abstract,
    }
    release = source.release("convolution")

    def hand_in(student, cells, change=lambda notebook: None):
        notebook = json.loads(nbformat.writes(release))
        for cell in notebook["cells"]:
            cell["source"] = cells.get(cell["id"], cell["source"])
        change(notebook)
        (folder / f"{student}.ipynb").write_text(json.dumps(notebook))

    for name in NEIGHBOURS:
        hand_in(name, RIGHT)
    for name, code in CELLS.items():
        for word, value in insider.items():
            code = code.replace(word, value)
        hand_in(name, {"forward": code})
    for name, change in CHANGES.items():
        hand_in(name, {}, change)
    for name, content in FILES.items():
        (folder / f"{name}.ipynb").write_bytes(content)
    (folder / "a link to a neighbour.ipynb").symlink_to(folder / f"{NEIGHBOURS[0]}.ipynb")
    (folder / "a folder that is a link").symlink_to(folder)
    (folder / "a pipe.ipynb").unlink(missing_ok=True)
    os.mkfifo(folder / "a pipe.ipynb")
    problem_set = source.load("convolution")
    settings = batch.Settings.draw(problem_set, SEED, seconds=2.5, unsafe=False)
    found = downloads.find(folder, "convolution", home / "unpacked").students
    os.environ["SECRET"] = "SECRET-OF-THE-GRADER"
    with pytest.MonkeyPatch.context() as patch:
        if request.param != find_sandbox():  # processes of a pool would take the first box that works
            patch.setattr(batch, "find_sandbox", lambda unsafe: request.param)
            patch.setattr(batch, "_pool", ThreadPoolExecutor)
        results = {r.student: r for r in batch.grade_class(found, problem_set, settings, jobs=2)}
    assert {r.isolation for r in results.values()} <= {request.param.isolation, "not run"}
    del os.environ["SECRET"]
    for server in servers:
        server.shutdown(socket.SHUT_RDWR)  # ends the thread that waits, which would keep the address
        server.close()
    assert hashlib.sha256(gradebook.read_bytes()).hexdigest() == before
    assert not calls, "somebody called home"
    return results


@pytest.mark.parametrize("name", CELLS)
def test_attack_in_a_cell_gains_nothing(name, stormy):
    result = stormy[name]
    assert (result.state, result.score) == (State.ZERO, 0), result
    assert result.reason
    assert "SAW" not in json.dumps(result.to_json()) and "IMPORTED" not in json.dumps(result.to_json())


@pytest.mark.parametrize("name", CHANGES)
def test_attack_in_the_notebook_gains_nothing(name, stormy):
    assert (stormy[name].state, stormy[name].score) == (State.ZERO, 0)
    assert "not answered" in stormy[name].reason or "no code cell" in stormy[name].reason


@pytest.mark.parametrize("name", [*FILES, "a link to a neighbour", "a folder that is a link", "a pipe"])
def test_what_cannot_be_read_goes_to_a_human(name, stormy):
    assert (stormy[name].state, stormy[name].score) == (State.HUMAN, None)
    assert stormy[name].reason


@pytest.mark.parametrize("name", NEIGHBOURS)
def test_neighbours_keep_full_marks(name, stormy):
    assert (stormy[name].state, stormy[name].score) == (State.GRADED, 30), stormy[name]


def test_every_submission_has_one_result(stormy):
    assert len(stormy) == len(CELLS) + len(CHANGES) + len(FILES) + 3 + len(NEIGHBOURS)


def test_nothing_is_left_running(stormy):
    left = [process for process in psutil.Process().children(recursive=True) if process.name() == "bwrap"]
    for process in psutil.process_iter(["uids", "cmdline"]):
        if "time.sleep(98765)" in " ".join(process.info["cmdline"] or []):
            left.append(process)
        try:
            boxed = any(parent.name() == "bwrap" for parent in process.parents())
        except psutil.NoSuchProcess:
            continue  # ended while we looked
        # another test's sandbox may be at work right now; a process that lost its sandbox may not
        if process.info["uids"] and process.info["uids"].real >= FIRST_UID and not boxed:
            left.append(process)
    assert left == []


@pytest.mark.browser
def test_no_script_of_a_student_runs(stormy, tmp_path, browser):
    page_file = tmp_path / "feedback.html"
    page_file.write_text(feedback.render(stormy["markup in an error message"], "Set"))
    page = browser.new_page()
    dialogs = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    page.goto(page_file.as_uri())
    assert page.title() == "Set: markup in an error message"
    assert dialogs == [] and page.locator("script, img, iframe").count() == 0
    assert page.get_by_text("<script>").first.is_visible()
    page.close()


def test_what_students_wrote_stays_text(stormy):
    page = feedback.render(stormy["markup in an error message"], "Set")
    assert "<script" not in page and "<img" not in page and "&lt;script&gt;" in page
    rows = list(csv.reader(io.StringIO(export.table(stormy.values(), "csv", "Set"))))
    assert len(rows) == len(stormy) + 1
    assert [cell for row in rows for cell in row if cell.startswith(("=", "+", "@", "-"))] == []
