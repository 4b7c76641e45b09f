"""The commands behind `make`: what they say when something is missing, and that a second run does nothing again."""

import hashlib
import importlib.util
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import nbformat
import pytest

pytestmark = pytest.mark.slow

CONFIG = """\
title: Tiny
only_build_toc_files: true
execute: {execute_notebooks: cache, raise_on_error: true}
"""
TOC = """\
format: jb-book
root: chapters/index
"""
COUNTING_CELL = "open('runs', 'a').write('x')\nimport sys; sys.path.insert(0, '..')\nimport cnnlib; cnnlib.VALUE"


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"{path.stem}_under_test", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def setup(root: Path) -> ModuleType:
    return load(root / "tools" / "setup.py")


def test_second_setup_does_nothing(root: Path) -> None:
    stamps = {path: path.stat().st_mtime_ns for path in (root / ".venv").glob("*.stamp")}
    assert len(stamps) == 2
    python = sys._base_executable
    for part in ("python", "system"):
        result = subprocess.run([python, "tools/setup.py", part], cwd=root, capture_output=True, text=True)
        assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert stamps == {path: path.stat().st_mtime_ns for path in stamps}


def test_installed_packages_fit_together() -> None:
    result = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


def test_old_python_is_told_the_line_to_type(setup: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 9, 2))
    monkeypatch.setattr(setup, "works", lambda python: python == "python3.12")
    with pytest.raises(setup.SetupError, match=r"needed, and .* is 3\.9; type:\n +make PYTHON=python3\.12 book"):
        setup.check_python()
    monkeypatch.setattr(setup, "works", lambda python: False)
    with pytest.raises(setup.SetupError, match="apt-get install -y python3.11 python3.11-venv"):
        setup.check_python()


def test_missing_package_without_root_names_one_line(setup: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup.os, "getuid", lambda: 1000)
    monkeypatch.setattr(setup.shutil, "which", lambda name: "/usr/bin/apt-get" if name == "apt-get" else None)
    monkeypatch.setattr(setup.subprocess, "call", lambda *_: pytest.fail("nothing may be run"))
    with pytest.raises(setup.SetupError) as error:
        setup.apt_install(["bubblewrap", "chromium"])
    lines = str(error.value).splitlines()
    assert lines[1:] == [
        "    sudo apt-get update && sudo apt-get install -y --no-install-recommends bubblewrap chromium"
    ]


def test_a_missing_libseccomp_is_a_missing_package(setup: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(library: str) -> None:
        raise OSError(f"{library}: cannot open shared object file")

    assert "libseccomp2" not in setup.missing_packages()
    monkeypatch.setattr(setup.ctypes, "CDLL", missing)
    assert "libseccomp2" in setup.missing_packages()


@pytest.mark.parametrize("target", ["test", "release"])
def test_what_runs_the_sandbox_sets_up_its_packages(target: str, root: Path) -> None:
    plan = subprocess.run(["make", "--dry-run", target], cwd=root, capture_output=True, text=True, check=True).stdout
    assert "tools/setup.py system" in plan


def test_altered_mathjax_stops_the_build(root: Path, tmp_path: Path) -> None:
    mathjax = load(root / "_ext" / "offline_mathjax.py")
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "tex.js").write_text("original")
    checksums = {"tex.js": hashlib.sha256(b"original").hexdigest()}
    mathjax.copy_verified(tmp_path / "source", tmp_path / "target", checksums)
    assert (tmp_path / "target" / "tex.js").read_text() == "original"
    (tmp_path / "source" / "tex.js").write_text("altered")
    with pytest.raises(mathjax.ExtensionError, match="tex.js has checksum"):
        mathjax.copy_verified(tmp_path / "source", tmp_path / "target", checksums)
    with pytest.raises(mathjax.ExtensionError, match="other.js is missing"):
        mathjax.copy_verified(tmp_path / "source", tmp_path / "target", {"other.js": "0"})


class TinyBook:
    """A book of one notebook that counts how often it is run, built by the real script."""

    def __init__(self, folder: Path, script: Path) -> None:
        self.folder = folder
        for name in ("tools", "chapters", "cnnlib"):
            (folder / name).mkdir()
        shutil.copy(script, folder / "tools")
        (folder / "_config.yml").write_text(CONFIG)
        (folder / "_toc.yml").write_text(TOC)
        for name in ("requirements.txt", "constraints.txt", "references.bib"):
            (folder / name).write_text("")
        self.write_library(1)

    def write_library(self, value: int) -> None:
        (self.folder / "cnnlib" / "__init__.py").write_text(f"VALUE = {value}\n")

    def write_notebook(self, *cells: str, text: str = "# Tiny") -> None:
        notebook = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_markdown_cell(text), *map(nbformat.v4.new_code_cell, cells)],
            metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
        )
        nbformat.write(notebook, self.folder / "chapters" / "index.ipynb")

    def build(self) -> bool:
        return self.type(sys.executable, "tools/build_book.py")

    def build_plainly(self) -> bool:
        return self.type(Path(sys.executable).with_name("jupyter-book"), "build", ".")

    def type(self, *command: str | Path) -> bool:
        return subprocess.run(command, cwd=self.folder, capture_output=True).returncode == 0

    @property
    def runs(self) -> int:
        return len((self.folder / "chapters" / "runs").read_text())

    @property
    def page(self) -> Path:
        return self.folder / "_build" / "html" / "chapters" / "index.html"


@pytest.fixture
def book(root: Path, tmp_path: Path) -> TinyBook:
    return TinyBook(tmp_path, root / "tools" / "build_book.py")


def test_failed_build_fails_again(book: TinyBook) -> None:
    book.write_notebook("1 / 0")
    assert [book.build(), book.build()] == [False, False]
    book.write_notebook("1 / 1", text="# Tiny\n\n{ref}`nowhere`")
    assert [book.build(), book.build()] == [False, False]
    book.write_notebook("1 / 1")
    assert book.build()


def test_notebooks_are_run_again_only_when_they_or_the_code_change(book: TinyBook) -> None:
    book.write_notebook(COUNTING_CELL)
    assert book.build() and book.runs == 1
    built = book.page.stat().st_mtime_ns
    (book.folder / "chapters" / "runs").rename(book.folder / "runs")  # the count is no change of the book
    assert book.build() and book.page.stat().st_mtime_ns == built

    (book.folder / "runs").rename(book.folder / "chapters" / "runs")
    book.write_notebook(COUNTING_CELL, text="# Tiny, reworded")
    assert book.build() and book.runs == 1 and "reworded" in book.page.read_text()

    book.write_library(2222)
    assert book.build() and book.runs == 2 and "2222" in book.page.read_text()

    (book.folder / "chapters" / "matplotlibrc").write_text("figure.figsize: 6.4, 3.6\n")
    assert book.build() and book.runs == 3


def test_other_packages_make_another_build(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = load(root / "tools" / "build_book.py").wanted()
    import setuptools  # noqa: F401 - puts the packages that it brings along on the search path

    assert ours == load(root / "tools" / "build_book.py").wanted()
    monkeypatch.setattr("importlib.metadata.distributions", lambda path: [])
    assert ours != load(root / "tools" / "build_book.py").wanted()


def test_what_a_plain_build_ran_is_run_again(book: TinyBook) -> None:
    """It may have been run with another library, which was put back since."""
    book.write_notebook("1 / 1")
    assert book.build()
    book.write_library(2222)
    book.write_notebook(COUNTING_CELL)
    assert book.build_plainly() and book.runs == 1 and "2222" in book.page.read_text()
    book.write_library(1)
    assert book.build() and book.runs == 2 and "2222" not in book.page.read_text()


def test_taken_port_is_said(root: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = subprocess.run([sys.executable, "tools/serve.py", port], cwd=root, capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr == f"port {port} is taken; name a free one: make serve PORT=8080\n"
