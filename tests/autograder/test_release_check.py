"""The check of a release passes on what we ship, and fails on each way in which a release can be bad."""

import html
import json
import zipfile
from dataclasses import replace

import nbformat
import pytest
from typer.testing import CliRunner

from autograder import source
from autograder.__main__ import app
from autograder.release_check import problems, secrets

LEAK = 'dweight[:, :, u, v] = np.einsum("nohw,nchw->oc", dy, seen)'


def cell(notebook, grade_id):
    return next(cell for cell in notebook.cells if cell.id == grade_id)


@pytest.fixture
def check(convolution, box):
    def run(change_solution=None, change_release=None, places=(), problem_set=convolution):
        solution, release = source.solution("convolution"), source.release("convolution")
        for change, notebook in ((change_solution, solution), (change_release, release)):
            if change:
                change(notebook)
        return problems(problem_set, solution, release, box, places)

    return run


def test_what_we_ship_may_go_out():
    done = CliRunner().invoke(app, ["check", "--in", str(source.page("convolution").parent)])
    assert done.exit_code == 0, done.output
    assert done.output.count("may go out") == len(source.names())


def test_a_leaked_line_in_the_release_is_found(check):
    def leak(release):
        cell(release, "weight-gradient").source += f"\n    # {LEAK}\n    {LEAK}"

    assert f"the release holds {LEAK!r}" in check(change_release=leak)


def test_a_stub_that_earns_points_is_found(check, convolution):
    def solve(release):
        cell(release, "lp-forward").source = convolution.exercises["lp-forward"].solution

    found = check(change_release=solve)
    assert "the untouched release earns 3.0 points in lp-forward" in found
    assert "check-lp-forward passes on the untouched stub" in found


def test_a_visible_check_that_accepts_anything_is_found(check):
    def soften(release):
        cell(release, "check-sizes").source = "print('fine')"

    assert check(change_release=soften) == ["check-sizes passes on the untouched stub"]


def test_a_wrong_solution_is_found(check):
    def spoil(solution):
        answer = cell(solution, "forward")
        answer.source = answer.source.replace("+ bias[:, None, None]", "")

    found = check(change_solution=spoil)
    assert any(f.startswith("the solution of forward does not get full marks: ") and "bias" in f for f in found)
    assert any(f.startswith("check-forward fails on the solution: AssertionError: what the bias adds") for f in found)


def test_a_wrong_reference_is_found(check, convolution):
    right = convolution.exercises["lp-forward"]
    spoilt = replace(right, solution=right.solution.replace("** (1 / p)", "** p"))
    cells = tuple(spoilt if cell.grade_id == "lp-forward" else cell for cell in convolution.cells)
    found = check(problem_set=replace(convolution, cells=cells))
    assert any(f.startswith("the solution of lp-forward does not get full marks: ") for f in found)


@pytest.mark.parametrize("file", ["page.html", "_sources/page.ipynb", "_sources/page.md", "data.json", "code.py"])
def test_a_leak_in_the_built_book_is_found(file, check, tmp_path):
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(f"def f():\n    {LEAK}\n")])
    coloured = "".join(f"<span>{html.escape(c)}</span>" for c in LEAK)
    text = {
        "html": f"<pre>def f():\n    {coloured}\n</pre>",
        "ipynb": nbformat.writes(notebook),
        "json": json.dumps({"a": [{"b": f"x\n  {LEAK}"}]}),
    }
    path.write_text(text.get(path.suffix[1:], f"def f():\n    {LEAK}\n"))
    assert check(places=[tmp_path]) == [f"{path} holds {LEAK!r}"]


def test_a_leak_in_the_search_index_is_found(check, tmp_path):
    (tmp_path / "searchindex.js").write_text('Search.setIndex({"terms":{"pooled_gradi":3,"convolut":1}})')
    (found,) = check(places=[tmp_path])
    assert found.endswith("searchindex.js indexes 'pooled_gradient'")


def test_a_leak_in_the_wheel_is_found(check, tmp_path):
    wheel = tmp_path / "cnnlib.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr("homework/convolution.md", source.text("convolution"))
    assert f"{wheel}:homework/convolution.md holds {LEAK!r}" in check(places=[wheel])


@pytest.mark.parametrize("name", source.names())
def test_there_are_secrets_to_keep(name):
    lines, names = secrets(source.solution(name))
    assert len(lines) > 30
    assert all(name not in source.text("convolution").split("### BEGIN")[0] for name in names)


def test_the_command_fails_on_a_leak(tmp_path):
    (tmp_path / "x.py").write_text(LEAK)
    done = CliRunner().invoke(app, ["check", "convolution", "--in", str(tmp_path)])
    assert done.exit_code == 1 and "convolution: 1 problems" in done.output
