"""The report of a run on CUDA, on a machine without: a card that is made up, its tensors on the CPU."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from .cuda_report import on_the_card, report

PRETENCE = """
import sys
from types import SimpleNamespace
import pytest, torch
card = SimpleNamespace(name="Made-up 1", total_memory=16 * 2**30, major=9, minor=0)
torch.cuda.is_available, torch.cuda.get_device_properties = (lambda: True), (lambda number: card)
from tests.cnnlib import engines
engines.Engine.device = "cpu"
sys.exit(pytest.main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_a_run_prints_its_report_and_leaves_it(root: Path, tmp_path: Path) -> None:
    tests = [str(root / "tests" / "cnnlib" / "test_conformance.py"), "-k", "softmax", "-q"]
    settings = ["-c", str(root / "pyproject.toml"), "--rootdir", str(tmp_path), "-p", "no:cacheprovider"]
    command = [sys.executable, "-c", PRETENCE, *tests, "--engine", "cuda", *settings]
    result = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    text = (tmp_path / "_build" / "cuda-report.txt").read_text()
    assert text in result.stdout
    said = dict(line.split(": ", 1) for line in text.splitlines())
    assert said["card"] == "Made-up 1, 16 GiB, compute capability 9.0"
    assert list(said) == ["card", "driver", "torch", "system", "commit", "tests on the card", "other tests"]
    assert said["tests on the card"] != "0 passed, 0 failed, 0 skipped"


def test_it_counts_what_ran_on_the_card_and_names_what_failed() -> None:
    stats = {
        outcome: [SimpleNamespace(nodeid=nodeid) for nodeid in nodeids]
        for outcome, nodeids in {
            "passed": ["a.py::one[cuda-float32]", "a.py::one[same-cuda]", "a.py::cuda", "a.py::cuda[numpy]"],
            "failed": ["a.py::two[cuda]"],
            "error": ["a.py::three[cuda]", "a.py::four"],
            "skipped": ["a.py::five[cuda]"],
            "": ["a.py::one[cuda-float32]"],  # set-ups and tear-downs
            "deselected": ["a.py::six[cuda]"],
        }.items()
    }
    assert report({"card": "C"}, stats).splitlines() == [
        "card: C",
        "tests on the card: 2 passed, 2 failed, 1 skipped",
        "other tests: 2 passed, 1 failed, 0 skipped",
        "failed: a.py::two[cuda]",
        "failed: a.py::three[cuda]",
        "failed: a.py::four",
    ]
    assert not on_the_card("tests/cnnlib/test_cuda.py::test_cuda")
