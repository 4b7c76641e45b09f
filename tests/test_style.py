"""The style of code and notebooks, as `make lint` checks it, and the library's types."""

import subprocess
import sys
from pathlib import Path

import pytest


def test_ruff(root: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--output-format", "concise", "."],
        cwd=root,
        capture_output=True,
        text=True,
    )
    if result.returncode:
        pytest.fail(result.stdout + result.stderr, pytrace=False)


@pytest.mark.slow
def test_mypy(root: Path) -> None:
    result = subprocess.run([sys.executable, "-m", "mypy"], cwd=root, capture_output=True, text=True)
    if result.returncode:
        pytest.fail(result.stdout + result.stderr, pytrace=False)


def test_both_packages_say_that_they_are_typed(root: Path) -> None:
    assert all((root / package / "py.typed").exists() for package in ("cnnlib", "cnnbook"))
