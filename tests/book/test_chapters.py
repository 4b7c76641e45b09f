"""What every chapter offers, read from the notebooks, and that what it costs its reader is what it says."""

import ast
import base64
import json
import re
import statistics
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import course
import nbformat
import pytest
import yaml
from jupyter_cache import get_cache
from jupyter_cache.cache.main import JupyterCacheBase


def without_magics(source: str) -> str:
    return re.sub(r"^\s*[%!].*$", "", source, flags=re.M)


def calls_of_questions(path: Path) -> list[tuple[ast.Call, dict]]:
    """A notebook's questions, each with the metadata of its cell."""
    found = []
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type != "code" or "questions.predict(" not in cell.source:
            continue
        for node in ast.walk(ast.parse(without_magics(cell.source))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("questions.predict"):
                found.append((node, cell.metadata))
    return found


def questions_of(path: Path) -> list[tuple[str, dict]]:
    """The ids of a notebook's questions, each with the metadata of its cell."""
    return [(ast.literal_eval(call.args[0]), metadata) for call, metadata in calls_of_questions(path)]


def section(markdown: str, title: str) -> str:
    found = re.search(rf"^## {re.escape(title)}\s*$(.*?)(?=^## |\Z)", markdown, flags=re.S | re.M)
    return found[1] if found else ""


def shortfalls(path: Path) -> list[str]:
    """What the chapter lacks of what every chapter has."""
    markdown = course.text(path)
    asked = questions_of(path)
    exercises = re.findall(r"^`{3,}\{exercise(?:-start)?\}.*\n:label: *(\S+)", markdown, flags=re.M)
    solved = set(re.findall(r"^`{3,}\{solution(?:-start)?\} *(\S+)", markdown, flags=re.M))
    retrieval = section(markdown, "Can you say it without looking?")
    questions, _, answers = retrieval.partition("{admonition} Answers")
    numbered = [len(re.findall(r"^\d\. ", part, flags=re.M)) for part in (questions, answers)]
    wrong = {
        f"{len(asked)} questions to predict, and three are the least": len(asked) < 3,
        f"{len(exercises)} exercises, and three are the least": len(exercises) < 3,
        f"no solution of {', '.join(sorted(set(exercises) - solved))}": not set(exercises) <= solved,
        "no '## Summary'": not section(markdown, "Summary").strip(),
        f"{numbered[0]} questions to say without looking and {numbered[1]} answers, not three of each": numbered
        != [3, 3],
        "no '## Where next'": not section(markdown, "Where next").strip(),
        "no question to carry along": "**A question to carry along.**" not in markdown,
    }
    return [words for words, is_so in wrong.items() if is_so]


def test_every_chapter_has_what_a_chapter_has() -> None:
    lacking = [f"{name}: {words}" for name, path in course.chapters().items() for words in shortfalls(path)]
    assert not lacking, "\n".join(lacking)


def test_question_ids_are_unique_in_the_book(root: Path) -> None:
    """The browser keeps a reader's answer under the id, whatever page the question is on."""
    places = [(id, path.name) for path in sorted((root / "chapters").glob("*.ipynb")) for id, _ in questions_of(path)]
    times = Counter(id for id, _ in places)
    assert not [f"{id}: {name}" for id, name in places if times[id] > 1]


def test_cells_of_questions_are_not_shown(root: Path) -> None:
    """Neither in the page nor, until it is unfolded, in a notebook: they hold the answers."""
    shown = [
        f"{path.name}: {id}"
        for path in sorted((root / "chapters").glob("*.ipynb"))
        for id, metadata in questions_of(path)
        if "remove-input" not in metadata.get("tags", []) or not metadata.get("jupyter", {}).get("source_hidden")
    ]
    assert not shown, "\n".join(shown)


HIDDEN_IN_THE_BOOK = {"hide-cell", "hide-input", "remove-cell", "remove-input"}
GATE = re.compile(r"\{solution-(start|end)\}")


def unfolded(path: Path) -> list[str]:
    """The code that the book hides and a notebook would show: by a cell's tag, or inside a folded solution."""
    found, solving = [], False
    for cell in nbformat.read(path, as_version=4).cells:
        hides = cell.metadata.get("jupyter", {})
        if cell.cell_type == "markdown":
            solving = ([solving] + [gate == "start" for gate in GATE.findall(cell.source)])[-1]
        elif solving and not (hides.get("source_hidden") and hides.get("outputs_hidden")):
            found.append(f"{path.name}: the solution {cell.id}")
        elif HIDDEN_IN_THE_BOOK & set(cell.metadata.get("tags", [])) and not hides.get("source_hidden"):
            found.append(f"{path.name}: {cell.id}")
    return found


def test_what_the_book_hides_is_folded_in_a_notebook(root: Path) -> None:
    """JupyterLab knows nothing of the book's tags; View, "Expand All Code" unfolds it for a class."""
    shown = [words for path in sorted((root / "chapters").glob("*.ipynb")) for words in unfolded(path)]
    assert not shown, "\n".join(shown)


CONFIRMS = re.compile(r"(yes|right|exactly|correct|indeed|true|so it is|just so)\b[,.:;! ]", re.I)


def said_after(call: ast.Call) -> dict[str, str]:
    """What a question may say to a reader who was wrong, by where it stands, as far as it is written out.

    A wrong choice's explanation follows "Not right."; the right one's and `because` follow every answer.
    """
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    texts = {"because": given.get("because", ast.Constant(""))}
    for name in ("choices", "wrong"):
        table = given.get(name, ast.Dict([], []))
        texts |= {ast.unparse(key): value for key, value in zip(table.keys, table.values, strict=True)}

    def beginning(node: ast.expr) -> str:
        match node:
            case ast.Constant(str(text)):
                return text
            case ast.JoinedStr([first, *_]):
                return beginning(first)
            case ast.FormattedValue():
                return "{}"
        raise AssertionError(f"{ast.unparse(call.args[0])}: write the text {ast.unparse(node)} out as a string")

    return {place: beginning(node) for place, node in texts.items()}


def test_what_is_said_after_a_wrong_answer_does_not_confirm_it(root: Path) -> None:
    """The explanation of the right choice is read by those who picked another: "Yes" would be said to their answer."""
    confirming = [
        f"{path.name}: {ast.literal_eval(call.args[0])}, {place}: {text[:60]!r}"
        for path in sorted((root / "chapters").glob("*.ipynb"))
        for call, _ in calls_of_questions(path)
        for place, text in said_after(call).items()
        if CONFIRMS.match(text)
    ]
    assert not confirming, "\n".join(confirming)


# ---- what is in view ----


def only_asserts(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assert) or (isinstance(node, ast.For | ast.With) and all(map(only_asserts, node.body)))


def checks_alone(source: str) -> bool:
    """Whether most statements are asserts, and the cell neither prints, draws nor defines a function."""
    body = ast.parse(source).body
    shows = any(isinstance(node, ast.Expr | ast.FunctionDef) or "print(" in ast.unparse(node) for node in body)
    return not shows and 2 * sum(map(only_asserts, body)) > len(body)


@pytest.mark.parametrize(
    ("source", "alone"),
    [
        ("assert a == 1", True),
        ("for k in b:\n    assert k\nassert b", True),
        ("first, second = b\nassert first\nassert second", True),
        ("y = layer(x)\nz = y + 1\nassert z.all()", False),
        ("assert a\nprint(a)", False),
        ("for k in b:\n    assert k\n    print(k)", False),
        ("assert a\nfigure", False),
        ("x = 1", False),
    ],
)
def test_cells_that_only_check_are_known(source: str, alone: bool) -> None:
    assert checks_alone(source) is alone


def test_cells_that_only_check_are_folded(root: Path) -> None:
    """By the tag, or as part of a solution, which is folded as a whole."""
    shown = []
    for path in sorted((root / "chapters").glob("*.ipynb")):
        solution = False
        for number, cell in enumerate(nbformat.read(path, as_version=4).cells):
            if cell.cell_type == "markdown":
                for mark in re.findall(r"\{solution-(start|end)\}", cell.source):
                    solution = mark == "start"
            elif cell.cell_type == "code" and not solution and checks_alone(without_magics(cell.source)):
                if not HIDDEN_IN_THE_BOOK & set(cell.metadata.get("tags", [])):
                    shown.append(f"{path.name}, cell {number}: {cell.source[:60]!r}")
    assert not shown, "\n".join(shown)


def written(path: Path) -> str:
    """All that a file says: a notebook's cells and the descriptions of its figures, or the text as it is."""
    if path.suffix != ".ipynb":
        return path.read_text()
    return "\n\n".join(
        f"{cell.source}\n{json.dumps(cell.metadata, ensure_ascii=False)}"
        for cell in nbformat.read(path, as_version=4).cells
    )


def test_large_numbers_are_powers_of_ten(root: Path) -> None:
    """10⁹ and 10¹² in prose, code, descriptions, figures and ledger: a "thousand million" has to be read twice."""
    patterns = ("chapters/*.ipynb", "chapters/*.md", "cnnbook/claims/*.yml", "cnnbook/figures/*.*s", "*.md")
    patterns += ("cnnbook/figures/*.py",)
    texts = {path.name: written(path) for pattern in patterns for path in sorted(root.glob(pattern))}
    spelled = re.compile(r"[^.\n]{,40}\b(?:thousand|million)[\s\"]+(?:mil\b|million|thousand)[^.\n]{,20}")
    found = [f"{name}: {words}" for name, text in texts.items() for words in spelled.findall(text)]
    assert not found, "\n".join(found)


def test_no_place_among_the_choices_is_the_right_one_too_often(site: Path) -> None:
    """In the built pages, so that computed answers count too."""
    places = {}
    for page in (site / "chapters").glob("*.html"):
        for payload in re.findall(r"&quot;payload&quot;: ?&quot;([\w+/=]+)&quot;", page.read_text()):
            content = json.loads(base64.b64decode(payload))
            if len(content.get("choices", [])) == 4:
                places[content["id"]] = content["answer"]
    counts = Counter(places.values())
    assert len(places) >= 25 and set(counts) == {0, 1, 2, 3}
    assert max(counts.values()) <= 0.45 * len(places), counts


# ---- that every cell runs ----


def run_by_nbval(root: Path) -> set[Path]:
    """The notebooks that `make test` gives to nbval."""
    (recipe,) = re.findall(r"-m pytest (.*) --nbval-lax", (root / "Makefile").read_text())
    return {path for pattern in recipe.split() for path in root.glob(pattern) if path.suffix == ".ipynb"}


def not_run(path: Path, kept: JupyterCacheBase) -> list[str]:
    """Which cells of a notebook the build has no faultless run of, in order and in a kernel of their own."""
    try:
        _, notebook = kept.merge_match_into_notebook(nbformat.read(path, as_version=4))
    except KeyError:
        return [f"{path.name}: no run of these cells is kept"]
    found, number = [], 0
    for cell in notebook.cells:
        if cell.cell_type != "code" or not cell.source.strip():
            continue
        number += 1
        failed = any(output.output_type == "error" for output in cell.outputs)
        if cell.execution_count != number or failed:
            found.append(f"{path.name}: {cell.source[:60]!r} was run as [{cell.execution_count}], an error: {failed}")
    return found


@pytest.mark.usefixtures("site")
def test_the_build_ran_every_chapter_as_it_is_now(root: Path) -> None:
    """What it runs is not run again by nbval: `site` is of the files as they are, and executions are of one library."""
    kept = get_cache(course.CACHE)
    notebooks = set((root / "chapters").glob("*.ipynb")) - run_by_nbval(root)
    assert len(notebooks) >= len(course.chapters())
    wrong = [fault for path in sorted(notebooks) for fault in not_run(path, kept)]
    assert not wrong, "\n".join(wrong)


def test_a_reader_may_run_all_cells(root: Path) -> None:
    """JupyterLab and Colab know no tag that leaves one out: what needs a network is text, to copy."""
    left_out = {"skip-execution", "nbval-skip"}
    found = [
        f"{path.name}: {cell.source[:40]!r}"
        for path in sorted((root / "chapters").glob("*.ipynb"))
        for cell in nbformat.read(path, as_version=4).cells
        if left_out & set(cell.metadata.get("tags", []))
    ]
    assert found == []


def test_no_cell_makes_an_output_widget(root: Path) -> None:
    """One that is cleared may stop its notebook for as long as a cell may run: see cnnbook/controls.py."""
    makes = re.compile(r"\b(Output|interact|interactive|interact_manual|interactive_output)\(")
    found = {
        path.name: made
        for path in (root / "chapters").glob("*.ipynb")
        for cell in nbformat.read(path, as_version=4).cells
        if cell.cell_type == "code" and (made := makes.findall(cell.source))
    }
    assert not found


def test_nbval_runs_what_the_build_does_not(root: Path) -> None:
    """The releases: they are for students to fill in, so the book shows them as they are handed out."""
    off = {
        path
        for path in (root / "chapters").glob("*.ipynb")
        if nbformat.read(path, as_version=4).metadata.get("mystnb", {}).get("execution_mode") == "off"
    }
    assert off == run_by_nbval(root) and off


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda cells: None, []),
        (lambda cells: cells.pop(), []),
        (lambda cells: cells.reverse(), ["'b' was run as [2], an error: False", "'a' was run as [1], an error: False"]),
        (lambda cells: cells[1].update(execution_count=3), ["'b' was run as [3], an error: False"]),
        (lambda cells: cells[0].update(execution_count=None), ["'a' was run as [None], an error: False"]),
        (
            lambda cells: cells[1].outputs.append(nbformat.v4.new_output("error", ename="E", evalue="", traceback=[])),
            ["'b' was run as [2], an error: True"],
        ),
    ],
)
def test_a_cell_that_was_not_run_is_found(tmp_path: Path, change: Callable[[list], object], words: list[str]) -> None:
    kept, path = get_cache(tmp_path / "kept"), tmp_path / "a.ipynb"
    cells = [nbformat.v4.new_code_cell(source, execution_count=count) for count, source in enumerate("ab", start=1)]
    change(cells)
    notebook = nbformat.v4.new_notebook(cells=cells)
    nbformat.write(notebook, path)
    assert not_run(path, kept) == ["a.ipynb: no run of these cells is kept"]
    kept.cache_notebook_file(str(path), check_validity=False)
    assert not_run(path, kept) == [f"a.ipynb: {text}" for text in words]


# ---- what a chapter costs ----


@pytest.fixture(scope="module")
def budgets() -> dict:
    return yaml.safe_load(course.BUDGETS.read_text())


def test_the_budget_file_has_every_chapter(budgets: dict) -> None:
    assert list(budgets["chapters"] or {}) == list(course.chapters()), "write it by: python _ext/course.py"


def test_a_chapter_that_was_never_run_gets_no_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "budgets.yml"
    file.write_text("limits: {}\n\nchapters:\n  lenet: {seconds: 9, reading_minutes: 40}\n")
    before = file.read_text()
    monkeypatch.setattr(course, "BUDGETS", file)
    monkeypatch.setattr(course, "measured_seconds", lambda: {"lenet": 8.8})
    with pytest.raises(SystemExit, match="learning-rate was never run: `make book` first"):
        course.main()
    assert file.read_text() == before
    monkeypatch.setattr(course, "measured_seconds", lambda: dict.fromkeys(course.chapters(), 7.3))
    course.main()
    written = yaml.safe_load(file.read_text())
    assert list(written["chapters"]) == list(course.chapters()) and written["chapters"]["lenet"]["seconds"] == 7


def test_the_time_line_agrees_with_the_budget(budgets: dict) -> None:
    """The same reading time; a running time that holds on a machine half as fast again as the measured one."""
    wrong = []
    for name, path in course.chapters().items():
        markdown, budget = course.text(path), (budgets["chapters"] or {}).get(name, {})
        minutes, seconds = course.stated_times(markdown)
        if minutes is None or seconds is None:
            wrong.append(
                f"{name}: its 'Time:' line states {minutes} minutes of reading and {seconds} seconds of running"
            )
        elif minutes != budget.get("reading_minutes"):
            wrong.append(f"{name}: says {minutes} minutes of reading, the budget {budget.get('reading_minutes')}")
        elif not budget.get("seconds", 0) <= 1.5 * seconds:
            wrong.append(f"{name}: says at most {seconds} seconds of running, measured were {budget['seconds']}")
        elif not 40 <= (pace := len(re.findall(r"[A-Za-z]{2,}", markdown)) / minutes) <= 150:
            wrong.append(f"{name}: {minutes} minutes of reading make {pace:.0f} words a minute")
    assert not wrong, "\n".join(wrong)


def test_chapters_run_within_their_limits(budgets: dict) -> None:
    """By the seconds in the budget, which one machine measured: how fast today's is decides nothing."""
    seconds = {name: one["seconds"] for name, one in budgets["chapters"].items()}
    limits = budgets["limits"]
    assert not {name: took for name, took in seconds.items() if took > limits["chapter_seconds"]}
    assert sum(seconds.values()) <= limits["all_seconds"], seconds


def out_of_date(measured: dict[str, float], budgeted: dict[str, float]) -> dict[str, tuple[float, float]]:
    """Chapters whose measured seconds are far from the budgeted, beside how the other chapters' are today."""
    slower = statistics.median(measured[name] / budgeted[name] for name in budgeted)
    return {
        name: (measured[name], budget)
        for name, budget in budgeted.items()
        if not measured[name] <= slower * (3 * budget + 10)
    }


def test_the_budget_is_what_the_build_measured(site: Path, budgets: dict) -> None:
    """By the build's own record of executions; nothing is run here."""
    measured = course.measured_seconds()
    assert set(course.chapters()) <= set(measured), "the build keeps no record of these"
    stale = out_of_date(measured, {name: one["seconds"] for name, one in budgets["chapters"].items()})
    assert not stale, "measured and budgeted seconds are far apart: python _ext/course.py"


@pytest.mark.parametrize("machine", [0.5, 1, 4])
def test_a_chapter_that_takes_longer_is_found_on_any_machine(machine: float) -> None:
    budgeted = {"a": 3, "b": 10, "c": 20, "d": 12}
    usual = {name: machine * seconds for name, seconds in budgeted.items()}
    assert not out_of_date(usual, budgeted)
    assert out_of_date(usual | {"c": machine * 80}, budgeted) == {"c": (machine * 80, 20)}


def test_notebooks_are_small(root: Path, budgets: dict) -> None:
    limit = budgets["limits"]["notebook_bytes"]
    large = {path.name: path.stat().st_size for path in (root / "chapters").glob("*.ipynb")}
    assert not {name: size for name, size in large.items() if size > limit}
