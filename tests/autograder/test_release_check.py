"""The check of a release passes on what we ship, and fails on each way in which a release can be bad."""

import base64
import gzip
import html
import io
import json
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote, quote_plus

import nbformat
import pytest
from matplotlib.figure import Figure
from pypdf import PdfWriter
from typer.testing import CliRunner

import cnnlib
from autograder import source
from autograder.__main__ import app
from autograder.leaks import SECRET, leaks, secrets
from autograder.release_check import problems

LEAK = 'dweight[:, :, u, v] = np.einsum("nohw,nchw->oc", dy, seen)'


def cell(notebook, grade_id):
    return next(cell for cell in notebook.cells if cell.id == grade_id)


@pytest.fixture
def check(convolution, box):
    def run(change_solution=None, change_release=None, problem_set=convolution):
        solution, release = source.solution("convolution"), source.release("convolution")
        for change, notebook in ((change_solution, solution), (change_release, release)):
            if change:
                change(notebook)
        return problems(problem_set, solution, release, box)

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
    assert any(f.startswith("check-forward fails on the solution: AssertionError: ") and "expected" in f for f in found)


def test_a_wrong_reference_is_found(check, convolution):
    right = convolution.exercises["lp-forward"]
    spoilt = replace(right, solution=right.solution.replace("** (1 / p)", "** p"))
    cells = tuple(spoilt if cell.grade_id == "lp-forward" else cell for cell in convolution.cells)
    found = check(problem_set=replace(convolution, cells=cells))
    assert any(f.startswith("the solution of lp-forward does not get full marks: ") for f in found)


def found_in(*places):
    return [sentence for _, sentence in leaks({"convolution": secrets(source.solution("convolution"))}, places)]


COLOURED = "".join(f"<span>{html.escape(c)}</span>" for c in LEAK)
QUOTED = json.dumps(LEAK)
CODE = f"def f():\n    {LEAK}\n"
NOTEBOOK = nbformat.writes(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CODE)]))
PACKED = base64.b64encode(CODE.encode()).decode()


def tarred(compression):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=f"w:{compression}") as archive:
        about = tarfile.TarInfo("inner/code.py")
        about.size = len(CODE)
        archive.addfile(about, io.BytesIO(CODE.encode()))
    return file.getvalue()


def printed(password=""):
    """A PDF of one page, on which stands the line."""
    figure, file, writer = Figure(figsize=(12, 2)), io.BytesIO(), PdfWriter()
    figure.text(0.05, 0.5, LEAK)
    figure.savefig(file, format="pdf")
    writer.append(file)
    if password:
        writer.encrypt(password, algorithm="RC4-128")
    written = io.BytesIO()
    writer.write(written)
    return written.getvalue()


def zipped(name, content):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, content)
    return file.getvalue()


@pytest.mark.parametrize(
    ("file", "content", "inside"),
    [
        ("page.html", f"<pre>def f():\n    {COLOURED}\n</pre>", ""),
        ("attribute.html", f'<button data-code="{html.escape(CODE)}">copy</button>', ""),
        ("script.html", f'<script type="application/json">{{"a": [{json.dumps(CODE)}]}}</script>', ""),
        ("state.html", f"<div data-state='{html.escape(json.dumps({'a': CODE}))}'></div>", ""),
        ("data-url.html", f'<a href="data:text/plain;base64,{PACKED}">', " (base64)"),
        ("_sources/page.ipynb", NOTEBOOK, ""),
        ("_sources/page.md", CODE, ""),
        ("data.json", json.dumps({"a": [{"b": f"x\n  {LEAK}"}]}), ""),
        ("broken.json", f'{{"a": [{json.dumps(CODE)}', ""),
        ("code.py", CODE, ""),
        ("lines.txt", f"11  def f():\n12      {LEAK}", ""),
        ("prompts.txt", f">>> {LEAK}", ""),
        ("spaces.py", LEAK.replace(", ", " ,  ").replace("=", "  =\t"), ""),
        ("code.js", f"const answer = {QUOTED};", ""),
        ("hexadecimal.js", "const answer = '" + "".join(f"\\x{ord(c):02x}" for c in LEAK) + "';", ""),
        ("unicode.js", "const answer = '" + "".join(f"\\u{ord(c):04x}" for c in LEAK) + "';", ""),
        ("packed.txt", base64.encodebytes(("#" * 90 + CODE).encode()).decode(), " (base64)"),
        ("files.zip", zipped("inner/code.py", CODE), ":inner/code.py"),
        ("cnnlib.whl", zipped("a.zip", zipped("code.ipynb", NOTEBOOK)), ":a.zip:code.ipynb"),
        ("code.exe", b"#!/usr/bin/env python\n" + zipped("code.py", CODE), ":code.py"),
        ("code.py.gz", gzip.compress(CODE.encode()), " (gzip)"),
        ("code.tar", tarred(""), ":inner/code.py"),
        ("code.tar.gz", tarred("gz"), " (gzip):inner/code.py"),
        ("code.tar.bz2", tarred("bz2"), " (bzip2):inner/code.py"),
        ("code.tar.xz", tarred("xz"), " (xz):inner/code.py"),
        ("packed.js", f"a = '{base64.b64encode(gzip.compress(CODE.encode())).decode()}'", " (base64) (gzip)"),
        ("print.pdf", printed(), " (page 1)"),
        ("percent.html", f'<a href="data:text/plain,{quote(CODE)}">code</a>', ""),
        ("form.txt", quote_plus(CODE), ""),
        ("hyphens.html", html.escape(CODE).replace("ei", "e&shy;i").replace("(", "(<wbr>"), ""),
        ("hyphens.txt", CODE.replace("ei", "e\u00adi"), ""),
        ("invisible.txt", CODE.replace("ei", "e\u200bi").replace("=", "\u2060=\ufeff"), ""),
        ("windows.txt", CODE.encode("utf-16"), ""),
        ("picture.png", b"\x89PNG\0" + CODE.encode(), ""),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 30 else "",
)
def test_a_leak_is_found_whatever_it_stands_in(file, content, inside, tmp_path):
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert f"{path}{inside} holds {LEAK!r}" in found_in(tmp_path) and found_in(tmp_path) == found_in(path)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("cut.zip", zipped("code.py", CODE)[:60] + zipped("code.py", CODE)[61:]),
        ("cut.tar.gz", tarred("gz")[:-20]),
        ("cut.tar.bz2", tarred("bz2")[:-20]),
        ("cut.tar.xz", tarred("xz")[:-20]),
        ("cut.pdf", printed()[:200]),
        ("locked.pdf", printed("secret")),
        ("code.7z", b"7z\xbc\xaf\x27\x1c" + bytes(40)),
        ("code.rar", b"Rar!\x1a\x07\x01\x00" + bytes(40)),
        ("code.zst", b"\x28\xb5\x2f\xfd" + bytes(40)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_opened_is_named(file, content, tmp_path):
    path = tmp_path / file
    path.write_bytes(content)
    (found,) = found_in(path)
    assert found.startswith(f"{path} cannot be opened: ")


def test_a_leak_in_the_search_index_is_found(tmp_path):
    (tmp_path / "searchindex.js").write_text('Search.setIndex({"terms":{"pooled_gradi":3,"convolut":1}})')
    (found,) = found_in(tmp_path)
    assert found.endswith("searchindex.js indexes 'pooled_gradient'")


def test_public_words_are_no_secrets(tmp_path):
    """What NumPy, the library and the given text of the sets say may stand in a chapter."""
    (tmp_path / "searchindex.js").write_text(
        'Search.setIndex({"terms":{"sliding_window_view":1,"stride_tricks":2,"constant_values":3}})'
    )
    (tmp_path / "chapter.py").write_text("from numpy.lib.stride_tricks import sliding_window_view\n")
    given = [SECRET.sub("", c.source) for name in source.names() for c in source.solution(name).cells]
    (tmp_path / "given.md").write_text("\n".join(given))
    for name in source.names():
        assert list(leaks({name: secrets(source.solution(name))}, [tmp_path, Path(cnnlib.__file__).parent])) == []


def test_what_the_release_says_by_mistake_stays_a_secret(monkeypatch, check):
    """A generator that forgets to cut makes nothing public."""
    monkeypatch.setattr(source, "release", source.solution)
    assert f"the release holds {LEAK!r}" in check()


def test_a_leak_in_the_wheel_is_found(tmp_path):
    wheel = tmp_path / "cnnlib.whl"
    wheel.write_bytes(zipped("homework/convolution.md", source.text("convolution")))
    assert f"{wheel}:homework/convolution.md holds {LEAK!r}" in found_in(wheel)


@pytest.mark.parametrize("name", source.names())
def test_there_are_secrets_to_keep(name):
    kept = secrets(source.solution(name))
    assert len(kept.lines) > 30
    assert all(word not in source.text("convolution").split("### BEGIN")[0] for word in kept.names)


def test_the_command_fails_on_a_leak(tmp_path):
    (tmp_path / "x.py").write_text(LEAK)
    done = CliRunner().invoke(app, ["check", "convolution", "--in", str(tmp_path)])
    assert done.exit_code == 1 and "convolution: 1 problems" in done.output
