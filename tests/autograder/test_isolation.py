"""Without bubblewrap nothing runs, unless --unsafe is typed, and then every report says so."""

import csv
import time

import pytest
from typer.testing import CliRunner

from autograder import channel, runner, sandbox, watch
from autograder.__main__ import app
from autograder.judge import received
from autograder.limits import Limits
from tests.autograder.conftest import ANSWERS, typed_answers


@pytest.fixture
def no_bubblewrap(monkeypatch):
    found = sandbox.shutil.which
    monkeypatch.setattr(sandbox.shutil, "which", lambda name: None if name == "bwrap" else found(name))
    monkeypatch.setattr("autograder.batch.ProcessPoolExecutor", InThisProcess)
    for opened in (sandbox.find_sandbox, sandbox.open_sandbox):
        opened.cache_clear()
    yield
    for opened in (sandbox.find_sandbox, sandbox.open_sandbox):
        opened.cache_clear()


class InThisProcess:
    """A pool whose workers see what this test has patched."""

    def __init__(self, *args, **kwargs):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def submit(self, work, *args):
        from concurrent.futures import Future

        future = Future()
        future.set_result(work(*args))
        return future


def test_refuses_without_bubblewrap(no_bubblewrap, hand_in, tmp_path):
    path = hand_in({})
    done = CliRunner().invoke(app, ["grade", "convolution", str(path.parent), "--results", str(tmp_path / "results")])
    said = " ".join(done.output.split())
    assert done.exit_code == 1
    assert "bwrap) is not installed" in said and "type --unsafe" in said
    assert not (tmp_path / "results").exists()


def test_unsafe_is_said_in_every_report(no_bubblewrap, hand_in, tmp_path):
    submissions, results = tmp_path / "submissions", tmp_path / "results"
    submissions.mkdir()
    hand_in({"sizes": typed_answers(ANSWERS / "convolution" / "loops.txt")["sizes"]}, folder=submissions)
    words = ["grade", "convolution", str(submissions), "--results", str(results), "--unsafe"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "NOT ISOLATED" in done.output
    assert "NOT ISOLATED" in (results / "feedback" / "student.html").read_text()
    with (results / "grades.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert row["score"] == "6" and row["isolation"].startswith("NOT ISOLATED")


def test_the_box_says_what_it_is(graded):
    assert graded({"sizes": "SIZES = {}"}).isolation.startswith("bubblewrap")


@pytest.mark.parametrize("box", list(sandbox._boxes()), ids=lambda box: box.isolation)
def test_every_kind_of_box_hides_the_machine(box):
    look = """
import os
seen = [os.path.exists(path) for path in ("/etc/passwd", "/repo", FILE)]
look = lambda: [os.getuid() > 0, os.access("/usr", os.W_OK), *seen]
""".replace("FILE", repr(__file__))
    cases = [{"arguments": [], "parts": False}]
    run = box.run([{"grade_id": "look", "source": look, "answer": "look", "cases": cases}], Limits())
    (value,) = [record.value for record in run.records if record.step == "value"]
    assert run.ended is None and received(value).tolist() == [1, 0, 0, 0, 0], run


def test_what_the_box_refuses_is_said(graded):
    code = "import os\nos.memfd_create('x')"
    assert "Operation not permitted (line 2 of the cell: os.memfd_create('x')). The sandbox refuses" in (
        graded({"sizes": code}).reason
    )


def test_what_was_said_before_a_limit_counts_however_late_it_is_read(box, monkeypatch):
    """A watcher that lags behind finds the limit exceeded and the answers unread."""
    hoard = "import time\ndef hoard(n):\n    kept = b'x' * n\n    time.sleep(60)"
    cases = [{"arguments": [runner.encode(300_000_000)], "parts": False}]
    cell = {"grade_id": "hoard", "source": hoard, "answer": "hoard", "cases": cases}
    monkeypatch.setattr(watch.selectors.DefaultSelector, "select", lambda self, timeout: time.sleep(timeout) or [])
    run = box.run([cell], Limits(memory=100 << 20))
    assert run.ended.why == "used more than 100 MB of memory"
    assert [type(record) for record in run.records] == [channel.Define, channel.Ask]
