"""The workflow for hosted runners, which can't be run here: two linters read it, and it types the README's commands."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

WORKFLOW = Path(".github") / "workflows" / "test.yml"


def complaints(path: Path) -> str:
    """What GitHub's schema for workflows, and zizmor's rules for safe ones, have against a workflow; "" if nothing."""
    schema = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows"]
    zizmor = [Path(sys.executable).with_name("zizmor"), "--offline", "--quiet", "--no-progress"]
    said = ""
    for linter in (schema, zizmor):
        result = subprocess.run([*linter, path], capture_output=True, text=True)
        said += result.stdout + result.stderr if result.returncode else ""
    return said


def test_the_linters_find_nothing(root: Path) -> None:
    assert not complaints(root / WORKFLOW)


@pytest.mark.parametrize(
    ("written", "instead", "words"),
    [
        (r"@[0-9a-f]{40}", "@v7", "unpinned-uses"),
        (r"contents: read", "contents: write", "excessive-permissions"),
        (r"permissions:\n.*\n", "", "excessive-permissions"),
        (r"        with:\n          persist-credentials: false\n", "", "artipacked"),
        (r"runs-on:", "run-on:", "Schema validation errors"),
    ],
)
def test_the_linters_would_find(root: Path, tmp_path: Path, written: str, instead: str, words: str) -> None:
    text, changes = re.subn(written, instead, (root / WORKFLOW).read_text())
    assert changes
    (tmp_path / "test.yml").write_text(text)
    assert words in complaints(tmp_path / "test.yml")


def test_it_runs_what_people_type(root: Path) -> None:
    workflow = yaml.safe_load((root / WORKFLOW).read_text())
    assert {"push", "pull_request"} <= workflow[True].keys()  # YAML 1.1 reads `on` as true
    lines = {name: [step["run"] for step in job["steps"] if "run" in step] for name, job in workflow["jobs"].items()}
    assert lines["make"][-1] == "make test"
    readme = (root / "README.md").read_text()
    (block,) = re.findall(r"```sh\n(pip install -r [^`]*)```", readme)
    assert lines["commands"] == [line.partition("#")[0].strip() for line in block.splitlines()]
