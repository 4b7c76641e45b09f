"""`engine` runs a test on every array library, `device` on every place where a model can be."""

import pytest

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
