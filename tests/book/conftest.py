"""The built book, served on this machine, for the tests that read or open it."""

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import build_book
import course
import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent.parent


def toc_pages() -> list[str]:
    """The pages of _toc.yml, as paths without an ending, in reading order."""
    return [yaml.safe_load((ROOT / "_toc.yml").read_text())["root"], *course.toc_files()]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "page_name" in metafunc.fixturenames:
        metafunc.parametrize("page_name", toc_pages())


@pytest.fixture(scope="session")
def site() -> Path:
    """The folder of the built book, which has to be the build of the files as they are now."""
    if not build_book.is_current():
        pytest.fail("_build/html is not the book as it is now, or it did not build: run `make book`")
    return build_book.BUILD / "html"


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture(scope="session")
def address(site: Path) -> Iterator[str]:
    """The book's address while the tests run."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=site))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
