"""`engine` runs a test on every array library, `device` on every place where a model can be."""

import pytest

from . import cuda_report
from .engines import ALL, GPU, Engine


def pytest_generate_tests(metafunc):
    chosen = metafunc.config.getoption("engine")
    if chosen and "cuda" in chosen and not GPU:
        raise pytest.UsageError("--engine cuda: torch sees no GPU here")
    engines = [Engine(name) for name in chosen or ALL if name != "cuda" or GPU]
    if "engine" in metafunc.fixturenames:
        metafunc.parametrize("engine", engines, ids=str)
    if "device" in metafunc.fixturenames:
        devices = [engine.device for engine in engines if engine.name != "array_api_strict"]
        metafunc.parametrize("device", devices)


def pytest_terminal_summary(terminalreporter, config):
    """Print what an owner of a GPU sends in after `--engine cuda`, and leave it in a file."""
    if not (GPU and "cuda" in (config.getoption("engine") or ())):
        return
    text = cuda_report.report(cuda_report.machine(), terminalreporter.stats)
    path = config.rootpath / "_build" / "cuda-report.txt"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    terminalreporter.section("CUDA report")
    terminalreporter.write(text)
    terminalreporter.write_line(f"This is in {path}: please send it in.")
