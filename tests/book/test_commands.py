"""The three commands that stand first in the README, typed in a plain virtual environment in a copy of this folder.

The installation is whole. The book is cut to three pages and the chapters to their notebook, since `make test` builds
the whole one, and a build runs every chapter.
"""

import ast
import os
import re
import shutil
import subprocess
import tomllib
import venv
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory

import build_book
import nbformat
import pytest
from packaging.specifiers import SpecifierSet

INSTALL, BUILD, TEST = "pip install -r requirements.txt", "jupyter-book build .", "pytest chapters --nbval-lax"
TOC = """\
format: jb-book
root: chapters/index
chapters:
  - file: chapters/race
  - file: chapters/claims
"""
POSIX = {"_posixsubprocess", "fcntl", "grp", "posix", "pty", "pwd", "readline", "resource", "syslog", "termios", "tty"}


def write_notebook(path: Path, source: str) -> None:
    """A notebook of one cell, with the kernel that JupyterLab gives to a fresh one."""
    kernel = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
    cells = [nbformat.v4.new_code_cell(source)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)


@pytest.fixture(scope="module")
def clone(root: Path) -> Iterator[Path]:
    """What a clone of this folder would hold if everything in it were committed; removed at once, as it is large."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=root, check=True, capture_output=True, text=True).stdout.split("\0")
    with TemporaryDirectory() as folder:
        for name in filter(None, names):
            if (root / name).is_file():
                (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(root / name, Path(folder) / name)
        for notebook in (Path(folder) / "chapters").glob("*.ipynb"):
            if f"chapters/{notebook.stem}" not in TOC:
                notebook.unlink()
        (Path(folder) / "_toc.yml").write_text(TOC)
        yield Path(folder).resolve()


@pytest.fixture(scope="module")
def type_(clone: Path) -> Callable[[str], subprocess.CompletedProcess[str]]:
    """Type a command in the clone, in a plain virtual environment where the first command was typed."""
    venv.create(clone / "venv", with_pip=True)
    programs = clone / "venv" / ("Scripts" if os.name == "nt" else "bin")
    ours = re.compile(r"PYTHON|PYTEST|JUPYTER|IPYTHON|VIRTUAL_ENV$|COURSE_")
    environment = {name: value for name, value in os.environ.items() if not ours.match(name)}
    environment["PATH"] = os.pathsep.join((str(programs), environment["PATH"]))
    environment["PIP_NO_COMPILE"] = "1"  # what is imported is compiled then; most of these packages never are

    def typed(line: str) -> subprocess.CompletedProcess[str]:
        program, *arguments = line.split()
        command = [str(programs / program), *arguments]
        return subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True)

    installed = typed(INSTALL)
    assert installed.returncode == 0, installed.stdout[-2000:] + installed.stderr[-2000:]
    return typed


@pytest.mark.slow
def test_the_book_builds(type_: Callable, clone: Path) -> None:
    result = type_(BUILD)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    page = (clone / "_build" / "html" / "chapters" / "race.html").read_text()
    assert "cell_output" in page and "_static/mathjax/tex-chtml.js" in page
    assert (clone / "_build" / "html" / "slides").is_dir()
    assert not re.findall(r".*site-packages.*WARNING.*", result.stdout + result.stderr)


@pytest.mark.slow
def test_chapters_and_fresh_notebooks_run(type_: Callable, clone: Path) -> None:
    source = "import cnnlib\nfrom cnnbook.race import networks\ncnnlib.__file__"
    write_notebook(clone / "chapters" / "fresh.ipynb", source)
    result = type_(TEST)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    assert re.search(r"\d+ passed in", result.stdout)


@pytest.mark.slow
def test_notebooks_import_the_library_of_this_folder(type_: Callable, clone: Path) -> None:
    """So a change of the library is seen by the next notebook, and a notebook may lie anywhere."""
    (clone / "elsewhere").mkdir()
    source = f"import cnnlib\nassert cnnlib.__file__ == {str(clone / 'cnnlib' / '__init__.py')!r}, cnnlib.__file__"
    write_notebook(clone / "elsewhere" / "fresh.ipynb", source)
    result = type_("pytest elsewhere --nbval-lax")
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]


@pytest.mark.slow
def test_nbval_sees_what_does_not_hold(type_: Callable, clone: Path) -> None:
    (clone / "wrong").mkdir()
    write_notebook(clone / "wrong" / "wrong.ipynb", "assert 6 * 9 == 42, 'six by nine'")
    result = type_("pytest wrong --nbval-lax")
    assert result.returncode == 1 and "six by nine" in result.stdout


def test_they_stand_where_people_look_and_make_runs_the_same(root: Path) -> None:
    readme = (root / "README.md").read_text()
    for command in (INSTALL, BUILD, TEST):
        assert re.search(rf"^{re.escape(command)}( +#.*)?$", readme, flags=re.M), command
    assert build_book.COMMAND[:3] == BUILD.split()
    program, folder, option = TEST.split()
    (recipe,) = re.findall(rf"-m {program} .* {folder}/.*", (root / "Makefile").read_text())
    assert option in recipe.split() and "--nbval-current-env" not in recipe


# ---- on any system, on any Python from the oldest on ----


def test_every_pin_runs_on_the_oldest_python(root: Path) -> None:
    oldest = "3.11.0"
    assert oldest in SpecifierSet(re.search(r'requires-python = "(.*)"', (root / "pyproject.toml").read_text())[1])
    for file in ("requirements.txt", "constraints.txt"):
        for name in re.findall(r"^([\w.-]+)==", (root / file).read_text(), flags=re.M):
            asked = metadata.metadata(name).get("Requires-Python")
            assert not asked or oldest in SpecifierSet(asked), f"{name} asks for Python {asked}"


def imported(tree: ast.AST) -> set[str]:
    """The first names of all absolute imports, wherever they stand."""
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and not node.level}
    return {name.partition(".")[0] for name in names}


def parsed_notebook(path: Path) -> ast.AST:
    cells = nbformat.read(path, as_version=4).cells
    return ast.parse("\n".join(cell.source for cell in cells if cell.cell_type == "code"))


@pytest.fixture(scope="module")
def book_code(root: Path) -> dict[Path, ast.AST]:
    """All code that the second and the third command run: notebooks, extensions, and the packages they reach."""
    code = {path: parsed_notebook(path) for path in (root / "chapters").glob("*.ipynb")}
    new = set((root / "_ext").glob("*.py"))
    while new:
        code |= {path: ast.parse(path.read_text(encoding="utf-8")) for path in new}
        names = {name for tree in code.values() for name in imported(tree)}
        modules = {path for name in names - {"autograder"} for path in (root / name).rglob("*.py")}
        if "autograder" in names:  # by the releases, which reach the dry run: the wheel has that and no more
            wheel = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]
            parts = wheel["targets"]["wheel"]["only-include"]
            modules |= {root / part for part in parts if part.startswith("autograder/")}
        modules |= {path for name in names if (path := root / "tools" / f"{name}.py").exists()}
        new = modules - code.keys()
    return code


def test_the_book_runs_without_posix(book_code: dict[Path, ast.AST], root: Path) -> None:
    assert {root / "cnnbook" / "race" / "results.py", root / "_ext" / "course.py"} <= book_code.keys()
    found = {f"{path.relative_to(root)}: {name}" for path, tree in book_code.items() for name in imported(tree) & POSIX}
    # the grader's limits on processes, on Linux: a dry run asks for none
    assert found == {"autograder/runner.py: resource"}, "Windows has no such modules"


def test_the_book_reads_and_writes_utf8_everywhere(book_code: dict[Path, ast.AST], root: Path) -> None:
    """Python 3.14 and older take the system's encoding if none is named; on Windows that isn't UTF-8."""
    unnamed = [
        f"{path.relative_to(root)}: {ast.unparse(node)}"
        for path, tree in book_code.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("read_text", "write_text")
        if not any(word.arg == "encoding" for word in node.keywords)
    ]
    assert not unnamed
