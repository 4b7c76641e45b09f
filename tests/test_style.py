"""The style of code and notebooks, as `make lint` checks it."""

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
