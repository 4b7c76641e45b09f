"""What several test folders share: the engine option, a browser without a network, and patience with slow machines."""

import os
import shutil
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import settings
from playwright.sync_api import BrowserContext, Route, expect

settings.register_profile("course", deadline=None)  # a slow machine is no wrong result
settings.load_profile("course")
expect.set_options(timeout=60_000)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--engine",
        action="append",
        choices=["numpy", "torch", "array_api_strict", "cuda"],
        help="test cnnlib on this array library only (may be given again); default: all that this machine has",
    )


NEEDS = {"page": "browser", "browser": "browser", "context": "browser", "site": "book"}
"""Fixtures, and the marker of what they need."""


LONG = ["book", "slow", "sandbox", "browser"]
"""What makes a file long, in the order in which workers take such files."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test by what it needs, so that `make check` can leave out what takes long, and put long files first.

    Workers take the files in turn, and fill up with short ones at the end. Those that need nothing but a browser count
    the frames of figures: by then the book's pages are done, and hardly another browser is at work.
    """
    files: dict[Path, list[pytest.Item]] = defaultdict(list)
    for item in items:
        for fixture in NEEDS.keys() & set(getattr(item, "fixturenames", ())):
            item.add_marker(NEEDS[fixture])
        if "autograder" in item.path.parts:
            item.add_marker("sandbox")
        files[item.path].append(item)

    def place(path: Path) -> tuple[int, int, Path]:
        needs = {mark.name for test in files[path] for mark in test.iter_markers()}
        return next((at for at, need in enumerate(LONG) if need in needs), len(LONG)), -len(files[path]), path

    order = {path: number for number, path in enumerate(sorted(files, key=place))}
    items.sort(key=lambda item: order[item.path])


CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's folder."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def browser_type_launch_args() -> dict:
    """Debian's Chromium where there is one (a snap cannot be driven), else the one that Playwright installed."""
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or ""
    own_build = not path or os.path.realpath(path).startswith("/snap/")
    return {"args": CHROMIUM_FLAGS} | ({} if own_build else {"executable_path": path})


@pytest.fixture
def context(context: BrowserContext) -> Iterator[BrowserContext]:
    """A browser context whose pages may load local files only; one that asks for more, or has a script error, fails."""
    faults: list[str] = []

    def local_only(route: Route) -> None:
        url = urlsplit(route.request.url)
        if url.scheme in ("file", "data", "blob") or url.hostname == "127.0.0.1":
            route.continue_()
        else:
            faults.append(f"external request: {route.request.url}")
            route.abort()

    context.route("**/*", local_only)
    context.on("weberror", lambda error: faults.append(f"page error: {error.error}"))
    context.on(
        "console", lambda message: faults.append(f"console: {message.text}") if message.type == "error" else None
    )
    context.on("requestfailed", lambda request: faults.append(f"failed request: {request.url}"))
    context.on(
        "response",
        lambda answer: faults.append(f"{answer.status}: {answer.url}") if answer.status >= 400 else None,
    )
    yield context
    assert not faults, "\n".join(dict.fromkeys(faults))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Report what each page of the book weighs."""
    for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed"):
        measured = dict(report.user_properties)
        if report.when == "call" and "requests" in measured:
            terminalreporter.write_line("{page}: {megabytes:.2f} MB in {requests} requests".format(**measured))
