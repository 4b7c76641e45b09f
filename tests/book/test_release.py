"""`make release` as it is typed: on the book as it was built and the wheel as it is installed, no answer leaks."""

import re
import shlex
import subprocess
import sys
from pathlib import Path


def test_the_built_book_and_the_wheel_may_go_out(site: Path, root: Path, tmp_path: Path) -> None:
    recipe = re.search(r"^release:.*\n((?:\t.*\n)+)", (root / "Makefile").read_text(), re.MULTILINE)[1]
    commands = [
        line.strip().removeprefix("@").replace(".venv/bin/python", sys.executable) for line in recipe.splitlines()
    ]
    assert any("autograder check --in _build/html" in command for command in commands)
    commands = [command.replace("_build/wheel", str(tmp_path)) for command in commands]
    commands = [command.replace("_build/html", shlex.quote(str(site))) for command in commands]
    commands = [command.replace("autograder release", f"autograder release --to {tmp_path}") for command in commands]
    said = ""
    for command in commands:
        done = subprocess.run(command, shell=True, cwd=root, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        said += done.stdout
    sets = sorted((root / "homework").glob("*.md"))
    assert said.count("may go out") == len(sets) - 1  # its README is none


def test_a_page_of_the_built_book_that_leaks_is_found(site: Path, root: Path, tmp_path: Path) -> None:
    source = (root / "homework" / "convolution.md").read_text()
    secret = re.search(r"### BEGIN SOLUTION\n(.*?)### END", source, re.DOTALL)[1]
    page = (site / "chapters" / "homework-convolution.html").read_text()
    (tmp_path / "page.html").write_text(page.replace("</body>", f"<pre>{secret}</pre></body>"))
    words = [sys.executable, "-m", "autograder", "check", "convolution", "--in", str(tmp_path)]
    done = subprocess.run(words, cwd=root, capture_output=True, text=True)
    assert done.returncode == 1 and "page.html holds" in done.stdout, done.stdout + done.stderr
