"""The chapters as plain notebooks: nothing of MyST left, the code as it was, links and numbers those of the book."""

import re
from pathlib import Path
from urllib.parse import urlsplit

import course
import make_notebooks
import nbformat
import plain_notebooks
import pytest
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn
from launch_buttons import Publication

RAW = re.compile(
    r"\{[\w:-]+\}`"  # a role
    r"|^[ \t>]*(?:`{3,}|:{3,}|~{3,})[ \t]*\{"  # a directive
    r"|^[ \t>]*:{3,}"  # its end
    r"|^[ \t>]*\([\w-]+\)=[ \t]*$"  # a label
    r"|^[ \t>]*:[\w-]+:(?:[ \t]|$)"  # an option
    r"|^[ \t>]*:[ \t]+\S",  # a definition
    flags=re.M,
)
EXTENSIONS = {"amsmath", "colon_fence", "deflist", "dollarmath", "linkify", "substitution", "tasklist"}
LINK = re.compile(r"(?<!\\)\]\((\.\.[^)\s]*)\)")


class AnyPage(plain_notebooks.Page):
    """A page whose references all lead somewhere: no book has to be built."""

    def __init__(self) -> None:
        super().__init__(None, "chapters/any", "../chapters/")

    def resolved(self, role: str, content: str) -> str:
        assert role in plain_notebooks.ROLES
        return f"[{content.partition('<')[0].strip()}](../chapters/any.html)"

    def exercise(self, label: str) -> str:
        return "Exercise 3"

    def equation(self, label: str) -> str:
        return "7"


def written(markdown: str) -> str:
    return plain_notebooks.Writer(AnyPage(), EXTENSIONS).cell(markdown)


def pages() -> list[Path]:
    paths = [course.ROOT / f"{page}.ipynb" for page in course.toc_files() if plain_notebooks.is_plain(page)]
    return [path for path in paths if path.exists()]


def code(notebook: nbformat.NotebookNode) -> list[tuple[str, str]]:
    return [(cell.id, cell.source) for cell in notebook.cells if cell.cell_type == "code"]


def raw(notebook: nbformat.NotebookNode) -> list[str]:
    text = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    return [one[max(found.start() - 20, 0) : found.end() + 40] for one in text for found in RAW.finditer(one)]


@pytest.mark.parametrize(
    "myst, plain",
    [
        ("(here)=\n## Here", "## Here"),
        ("say {term}`a\nword <word>`, {eq}`one`", "say [a\nword](../chapters/any.html), [one](../chapters/any.html)"),
        ("`` {ref}`as it is` `` and `{x}`", "`` {ref}`as it is` `` and `{x}`"),
        ("[set](homework-one.ipynb)", "[set](../chapters/homework-one.html)"),
        ("```python\nf'{x}`'\n```", "```python\nf'{x}`'\n```"),
        (
            ":::{admonition} A {term}`t`\n:class: note\nText\n\n    code\n:::",
            "> **A [t](../chapters/any.html)**\n>\n> Text\n>\n>     code",
        ),
        (
            "```{admonition} Answers\n:class: dropdown\n1. One\n```",
            "<details>\n<summary>Answers</summary>\n\n1. One\n\n</details>",
        ),
        ("```{math}\n:label: one\na = b\n```", "$$\na = b \\tag{7}\n$$"),
        ("```{exercise} Try\n:label: e\n\n$$\na\n$$\n```", "> **Exercise 3** (Try)\n>\n> $$ a $$"),
        (
            "```{exercise} Try\n:label: e\n\n1. Show\n\n   $$\n   a\n   $$\n```",
            "> **Exercise 3** (Try)\n>\n> 1. Show\n>\n>    $$ a $$",
        ),
        ("A\n: one\n  more\n\nB\n: two", "- **A:** one\n  more\n\n- **B:** two"),
    ],
)
def test_each_construct(myst: str, plain: str) -> None:
    assert written(f"Before.\n\n{myst}\n\nAfter.") == f"Before.\n\n{plain}\n\nAfter."


def test_a_solution_is_folded_also_where_code_ends_it() -> None:
    writer = plain_notebooks.Writer(AnyPage(), EXTENSIONS)
    first = writer.cell("````{solution-start} e\n:class: dropdown\n````\n\nSo {eq}`one`.")
    second = writer.cell("And then.\n\n````{solution-end}\n````\n\nNext.")
    assert first.startswith("<details>\n<summary>Solution to Exercise 3</summary>\n\nSo [one]")
    assert second.startswith("<details>") and second.endswith("And then.\n\n</details>\n\nNext.")
    assert writer.cell("No more.") == "No more."


def test_nothing_of_myst_is_left_and_the_code_is_the_chapters() -> None:
    first = plain_notebooks.install_cell(None)
    assert len(pages()) >= len(course.chapters())
    for path in pages():
        source = nbformat.read(path, as_version=4)
        made = plain_notebooks.plain(source, plain_notebooks.Writer(AnyPage(), EXTENSIONS), first)
        nbformat.validate(made)
        assert not raw(made), f"{path.name}: {raw(made)}"
        assert code(made)[1:] == code(source) and made.cells[0] == first, path.name
        folded = {cell.id for cell in source.cells if cell.metadata.get("jupyter", {}).get("source_hidden")}
        assert {cell.id for cell in made.cells if cell.metadata.get("cellView") == "form"} == folded, path.name


def test_what_no_plain_notebook_can_say_stops_the_build() -> None:
    with pytest.raises(plain_notebooks.ExtensionError, match="can't say the directive {figure}"):
        written("```{figure} x.png\n```")


def test_the_first_cell_installs_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    where = Publication("https://github.com/someone/course", "autumn", "github", None, "gh-pages")
    said = plain_notebooks.install_cell(where).source
    assert "%pip install --quiet 'cnnlib[torch,cli,images,book] @ git+https://github.com/someone/course@autumn'" in said
    exec(plain_notebooks.install_cell(None).source, {})  # it is there
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="pip install -r requirements.txt"):
        exec(plain_notebooks.install_cell(None).source, {})


def test_the_book_holds_them_with_its_own_numbers_and_places(site: Path) -> None:
    made = {path.name: nbformat.read(path, as_version=4) for path in (site / plain_notebooks.FOLDER).iterdir()}
    assert made.keys() == {path.name for path in pages()}
    for name, notebook in made.items():
        assert not raw(notebook), name
        text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
        page = (site / "chapters" / name).with_suffix(".html").read_text()
        assert f'href="../{plain_notebooks.FOLDER}/{name}"' in page
        numbers = re.findall(r'class="eqno">\((\d+)\)', page)
        assert re.findall(r"\\tag\{(\d+)\}", text) == numbers, name
        exercises = re.findall(r'<span class="caption-number">(Exercise \d+)', page)
        assert re.findall(r"^> \*\*(Exercise \d+)\*\*", text, flags=re.M) == exercises, name
        assert "[](" not in text, name
        for link in LINK.findall(text):
            parts = urlsplit(link)
            target = (site / plain_notebooks.FOLDER / parts.path).read_text()
            assert not parts.fragment or f'id="{parts.fragment}"' in target, f"{name}: {link}"


def test_with_outputs_they_show_without_scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """GitHub runs no script: a figure that has a picture or words beside its page shows those."""
    (tmp_path / "chapters").mkdir()
    for folder in ("MADE", "CACHE", "FOLDER"):
        monkeypatch.setattr(make_notebooks, folder, tmp_path / folder)
        (tmp_path / folder).mkdir()
    monkeypatch.setattr(make_notebooks, "ROOT", tmp_path)
    link = nbformat.v4.new_markdown_cell("[Top](../chapters/one.html#top)")
    cell = nbformat.v4.new_code_cell("figure")
    notebook = nbformat.v4.new_notebook(cells=[link, cell])
    nbformat.write(notebook, tmp_path / "MADE" / "one.ipynb")
    nbformat.write(notebook, tmp_path / "chapters" / "one.ipynb")
    figure = {"text/html": "<script>live()</script>", "text/plain": "a figure"}
    cell.outputs = [
        nbformat.v4.new_output("display_data", figure),
        nbformat.v4.new_output("display_data", {"text/html": "<b>1</b>"}),
    ]
    cache = get_cache(tmp_path / "CACHE")
    cache.cache_notebook_bundle(CacheBundleIn(notebook, "one.ipynb"), check_validity=False)

    monkeypatch.setattr("sys.argv", ["make_notebooks.py"])
    make_notebooks.main()
    without = nbformat.read(tmp_path / "FOLDER" / "one.ipynb", as_version=4)
    assert without.cells[0].source == "[Top](../html/chapters/one.html#top)" and without.cells[1].outputs == []

    monkeypatch.setattr("sys.argv", ["make_notebooks.py", "--outputs"])
    make_notebooks.main()
    given = nbformat.read(tmp_path / "FOLDER" / "one.ipynb", as_version=4).cells[1].outputs
    assert [output.data for output in given] == [{"text/plain": "a figure"}, {"text/html": "<b>1</b>"}]
