"""What `--engine cuda` leaves for its owner to send in: the card, the software, the commit, and how the tests went."""

import platform
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch

OUTCOMES = {"passed": "passed", "failed": "failed", "error": "failed", "skipped": "skipped"}


def on_the_card(nodeid: str) -> bool:
    """Whether a test ran on the engine or the device `cuda`, as its parameters say."""
    return "cuda" in re.split(r"[\[\]-]", nodeid)[1:]


def counted(outcomes: Iterable[str]) -> str:
    found = Counter(outcomes)
    return ", ".join(f"{found[outcome]} {outcome}" for outcome in ("passed", "failed", "skipped"))


def said_by(*command: str) -> str | None:
    """What a program prints; None if it isn't there or fails."""
    if not shutil.which(command[0]):
        return None
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent)
    return done.stdout.strip() if done.returncode == 0 else None


def commit() -> str:
    head, changed = said_by("git", "rev-parse", "HEAD"), said_by("git", "status", "--porcelain", "--untracked-files=no")
    return f"{head}, with local changes" if changed else head or "unknown: git knows none"


def machine() -> dict[str, str]:
    """Return card, driver and versions."""
    card = torch.cuda.get_device_properties(0)
    drivers = said_by("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
    return {
        "card": f"{card.name}, {card.total_memory / 2**30:.0f} GiB, compute capability {card.major}.{card.minor}",
        "driver": drivers.splitlines()[0] if drivers else "unknown: nvidia-smi names none",
        "torch": f"{torch.__version__}, CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}",
        "system": f"Python {platform.python_version()}, {platform.platform()}",
        "commit": commit(),
    }


def report(about: dict[str, str], stats: dict[str, list[pytest.TestReport]]) -> str:
    """Return the report's text; a test whose set-up failed is one that failed."""
    results = [(one.nodeid, OUTCOMES[outcome]) for outcome in OUTCOMES for one in stats.get(outcome, [])]
    about = about | {
        "tests on the card": counted(outcome for name, outcome in results if on_the_card(name)),
        "other tests": counted(outcome for name, outcome in results if not on_the_card(name)),
    }
    lines = [f"{name}: {value}" for name, value in about.items()]
    return "\n".join(lines + [f"failed: {name}" for name, outcome in results if outcome == "failed"]) + "\n"
