"""A deck of slides for each chapter, made by nbconvert's reveal.js exporter from the executed notebook.

The notebooks need no marks: `Slides` decides what stands on a slide. Headings start one, and so do figures, questions,
code, misconceptions and exercises; formulas, lists and tables stay with their heading while there is room; prose,
solutions and answers are the speaker's notes (press S). A cell's own `slideshow` metadata wins.

reveal.js comes from the pinned wheel `sphinx-revealjs`; `revealjs.sha256` lists its files with their checksums.
"""

import html
import os
import re
import shutil
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nbformat
from nbconvert.exporters import HTMLExporter, SlidesExporter
from nbconvert.filters import Highlight2HTML
from offline_mathjax import copy_verified, read_checksums
from sphinx.application import Sphinx
from traitlets.config import Config

HERE = Path(__file__).parent
REVEAL = Path(find_spec("sphinx_revealjs").origin).parent / "_static" / "revealjs"
CHECKSUMS = HERE / "revealjs.sha256"
ROOM = 12  # lines of text on a slide, above which the next formula or list starts another
LEAD = 240  # letters of a first sentence that still fits under its heading

FENCE = re.compile(r"^(`{3,}|:{3,})(?:\{([\w:-]+)\})?\s*(.*)$")
HIDDEN = {"remove-cell", "hide-cell", "remove-output", "hide-output"}
WITHOUT_INPUT = {"hide-input", "remove-input"}


class Text:
    """Turns MyST's roles into plain Markdown: what a deck can't resolve is written out."""

    def __init__(self, title_of: Callable[[str], str], authors_of: Callable[[str], tuple[str, str]]) -> None:
        self.title_of, self.authors_of = title_of, authors_of

    def __call__(self, text: str) -> str:
        text = re.sub(r"\{([\w:-]+)\}`([^`]*)`", lambda match: self.role(match[1], match[2]), text)
        text = re.sub(r"^\([\w-]+\)=\n", "", text, flags=re.M)
        text = re.sub(r"(?<!!)\[([^\]]+)\]\((?!\w+:)([^)\s]+)\)", lambda match: self.link(match[1], match[2]), text)
        return re.sub(r"\[\^[\w-]+\]", "", text)

    @staticmethod
    def link(shown: str, target: str) -> str:
        """Return a link to another page's source as one to the page; one to a place in this page as its text."""
        page = re.fullmatch(r"([\w-]+)\.(?:ipynb|md)(?:#.*)?", target)
        return f"[{shown}](../chapters/{page[1]}.html)" if page else shown

    def role(self, name: str, content: str) -> str:
        shown, target = re.fullmatch(r"(.*?)\s*(?:<([^<>]*)>)?", content, flags=re.S).groups()
        if name in ("ref", "numref"):
            return " ".join(shown.split()) if target else self.title_of(content)
        if name.startswith("cite"):
            found = [self.authors_of(key.strip()) for key in content.split(",")]
            if name == "cite:t":
                return ", ".join(f"{authors} ({year})" for authors, year in found)
            return "(" + "; ".join(f"{authors} {year}" for authors, year in found) + ")"
        if name == "eq":
            return "the formula"
        if name == "math":
            return f"${content}$"
        return " ".join((shown or content).split())


def blocks(markdown: str) -> Iterator[tuple[str, str, str]]:
    """Cut Markdown into (kind, title, text): heading, formula, list, table, code, text, or a directive's name."""
    lines = markdown.splitlines()
    at = 0
    while at < len(lines):
        line = lines[at]
        fence = FENCE.match(line)
        if not line.strip() or re.fullmatch(r"\([\w-]+\)=", line.strip()):
            at += 1
        elif fence:
            end, name, title = at + 1, fence[2], fence[3]
            close = re.compile(rf"^{fence[1][0]}{{{len(fence[1])},}}\s*$")
            while end < len(lines) and not close.match(lines[end]):
                end += 1
            body = lines[at + 1 : end]
            while name and body and re.match(r"^:[\w-]+:", body[0]):
                if "dropdown" in body.pop(0) and not name.startswith("solution"):
                    name = "dropdown"
            if name:
                yield name, title, "\n".join(body).strip()
            else:
                yield "code", "", "\n".join(lines[at : end + 1])
            at = end + 1
        else:
            end, kind = at + 1, "text"
            if re.match(r"^#{1,4} ", line):
                kind = "heading"
            elif line.startswith("$$"):
                kind = "formula"
                while end < len(lines) and not (line.count("$$") > 1 or "$$" in "".join(lines[at + 1 : end])):
                    end += 1
            else:
                kind = "list" if re.match(r"^([-*]|\d+\.) ", line) else "table" if line.startswith("|") else "text"
                while end < len(lines) and lines[end].strip() and not FENCE.match(lines[end]):
                    if lines[end].startswith("$$") or re.match(r"^#{1,4} ", lines[end]):
                        break
                    end += 1
                while kind == "list" and end + 1 < len(lines) and re.match(r"^([-*] |\d+\. |  )", lines[end + 1]):
                    end += 2
                    while end < len(lines) and lines[end].strip():
                        end += 1
            yield kind, "", "\n".join(lines[at:end])
            at = end


class Slides:
    """Rearranges a chapter's cells for nbconvert: each gets the kind of slide that it is."""

    def __init__(self, plain: Text) -> None:
        self.plain = plain
        self.cells: list[nbformat.NotebookNode] = []
        self.filled = 0  # lines on the current slide
        self.lead = False  # whether the current slide is a heading that waits for its first sentence
        self.section = ""
        self.solution = False

    def put(self, kind: str, text: str, lines: int = 0) -> None:
        if kind == "subslide" and self.section and not text.startswith("#"):
            text = f'<p class="section">{html.escape(self.section)}</p>\n\n{text}'  # what this still belongs to
        cell = nbformat.v4.new_markdown_cell(text, metadata={"slideshow": {"slide_type": kind}})
        self.cells.append(cell)
        self.filled = lines if kind in ("slide", "subslide") else self.filled + lines

    def room_for(self, text: str, own: int = 0) -> str:
        """Return the kind of slide for something that may stay with what is there."""
        lines = own or sum(1 + len(line) // 75 for line in text.splitlines())
        return "-" if self.filled + lines <= ROOM else "subslide"

    def markdown(self, source: str) -> None:
        for kind, title, raw in blocks(source):
            text, title = self.plain(raw), self.plain(title)
            if kind.startswith("solution"):
                self.solution = kind == "solution-start" or (self.solution and kind != "solution-end")
                if kind == "solution":
                    self.put("notes", text)
            elif self.solution or kind == "dropdown":
                self.put("notes", text)
            elif kind == "heading":
                self.heading(text)
            elif kind == "text":
                self.prose(text)
            elif kind in ("formula", "math", "list", "table", "code"):
                text = re.sub(r"\$\$\s*\([\w-]+\)\s*$", "$$", text) if kind == "formula" else text
                text = f"$$\n{text}\n$$" if kind == "math" else text
                lines = 3 if kind in ("formula", "math") else sum(1 + len(line) // 75 for line in text.splitlines())
                self.put(self.room_for(text, lines), text, lines)
                self.lead = False
            elif kind.startswith("exercise"):
                self.put("subslide", f"### Exercise: {title}\n\n{text}", 3)
                self.lead = False
            elif kind in ("admonition", "note", "warning", "tip", "important", "caution", "hint"):
                if title == "In this chapter":
                    self.put("notes", text)
                else:
                    self.put("subslide", f"### {title or kind.title()}\n\n{text}", ROOM)
                    self.lead = False
            # what else there is, as an index or a bibliography, is the page's

    def heading(self, text: str) -> None:
        level, _, title = text.partition(" ")
        self.section = title
        self.put("slide" if len(level) <= 2 else "subslide", f"{'#' * min(len(level), 3)} {title}", 2)
        self.lead = len(level) <= 3

    def prose(self, text: str) -> None:
        if text.startswith("**A question to carry along.**"):
            return self.put("-" if self.filled <= 3 else "subslide", text, 5)
        if self.lead:
            first = re.match(r".*?(?<!\bal)(?<!\.[a-z])[.?!:](?=\s|$)", " ".join(text.split()))
            if first and len(first[0]) <= LEAD and not first[0].endswith(":"):
                self.put("-", first[0], 1 + len(first[0]) // 75)
            self.lead = False
        self.put("notes", text)

    def code(self, cell: nbformat.NotebookNode) -> None:
        tags = set(cell.metadata.get("tags", []))
        if self.solution or tags & HIDDEN:
            return
        hidden = bool(tags & WITHOUT_INPUT)
        if hidden and not cell.outputs:
            return
        own = nbformat.from_dict(dict(cell))
        own.metadata = nbformat.from_dict({"slideshow": {"slide_type": "-"}, "tags": ["no-input"] if hidden else []})
        if self.filled > 4:  # more than a heading and a sentence
            self.put("subslide", "")
        self.lead, self.filled = False, ROOM
        self.cells.append(own)

    def of(self, notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
        """Return the notebook that nbconvert makes the deck of."""
        for cell in notebook.cells:
            wanted = cell.metadata.get("slideshow", {}).get("slide_type")
            if wanted and cell.cell_type == "markdown":
                self.put(wanted, self.plain(cell.source), ROOM)
            elif wanted:
                self.code(cell)
                if self.cells:
                    self.cells[-1].metadata.slideshow.slide_type = wanted
            elif cell.cell_type == "markdown":
                self.markdown(cell.source)
            elif cell.cell_type == "code":
                self.code(cell)
        return nbformat.v4.new_notebook(cells=self.cells, metadata=notebook.metadata)


# ---- the decks, beside the book's pages ----


def is_chapter(app: Sphinx, page: str) -> bool:
    """Whether the page gets a deck: a notebook with sections that is no problem set."""
    path = Path(app.env.doc2path(page))
    return path.suffix == ".ipynb" and not path.name.startswith("homework-")


def authors_by_key(app: Sphinx) -> Callable[[str], tuple[str, str]]:
    from pybtex.database import parse_file

    entries = {}
    for file in app.config.bibtex_bibfiles:
        entries.update(parse_file(str(Path(app.srcdir) / file)).entries)

    def authors(key: str) -> tuple[str, str]:
        entry = entries[key]
        names = [" ".join(person.prelast_names + person.last_names) for person in entry.persons.get("author", [])]
        names = [re.sub(r"[{}\\]", "", name) for name in names]
        shown = names[0] if len(names) == 1 else " and ".join(names) if len(names) == 2 else f"{names[0]} et al."
        return shown, entry.fields.get("year", "")

    return authors


def executed(app: Sphinx, page: str) -> nbformat.NotebookNode:
    """Return the page's notebook with the outputs that this build keeps of it."""
    from jupyter_cache import get_cache

    notebook = nbformat.read(app.env.doc2path(page), as_version=4)
    cache = get_cache(app.config.nb_execution_cache_path or Path(app.outdir).parent / ".jupyter_cache")
    try:
        return cache.merge_match_into_notebook(notebook)[1]
    except KeyError:  # there was nothing to run
        return notebook


class DeckExporter(SlidesExporter):
    """nbconvert's exporter without what takes it most of its time: the finished deck is not parsed once more, and the
    chapters' own HTML is not searched for foreign tags."""

    def __init__(self) -> None:
        config = Config()
        config.TagRemovePreprocessor.enabled = True
        config.TagRemovePreprocessor.remove_input_tags = {"no-input"}
        config.NbConvertBase.display_data_priority = ["text/html", "image/svg+xml", "image/png", "text/plain"]
        super().__init__(
            config=config,
            template_name="deck",
            extra_template_basedirs=[str(HERE)],
            exclude_input_prompt=True,
            exclude_output_prompt=True,
            exclude_anchor_links=True,
        )
        self.register_filter("highlight_code", Highlight2HTML(pygments_lexer="ipython3", parent=self))
        self.register_filter("clean_html", lambda text: text)

    def from_notebook_node(self, *arguments: Any, **options: Any) -> tuple[str, dict[str, Any]]:
        return super(HTMLExporter, self).from_notebook_node(*arguments, **options)


def write_deck(app: Sphinx, page: str, plain: Text, exporter: DeckExporter, folder: Path) -> None:
    """Write the deck of one executed chapter."""
    notebook = Slides(plain).of(executed(app, page))
    notebook.metadata.title, notebook.metadata.page = app.env.titles[page].astext(), page
    body, _ = exporter.from_notebook_node(notebook)
    (folder / f"{Path(page).name}.html").write_text(body, encoding="utf-8")


def write_decks(app: Sphinx, error: Exception | None) -> None:
    """Write all decks, reveal.js beside them."""
    if error is not None or app.builder.name != "html":
        return
    folder = Path(app.outdir) / "slides"
    copy_verified(REVEAL, folder / "reveal", read_checksums(CHECKSUMS), CHECKSUMS)
    shutil.copyfile(HERE / "deck" / "deck.css", folder / "deck.css")
    labels = {name: title for name, (_, _, title) in app.env.domains["std"].labels.items()}
    plain = Text(lambda label: labels.get(label) or label.replace("-", " "), authors_by_key(app))
    exporter = DeckExporter()
    for page in sorted(app.env.found_docs):
        if is_chapter(app, page):
            write_deck(app, page, plain, exporter, folder)


def add_button(app: Sphinx, page: str, template: str, context: dict, tree: object) -> None:
    """Put a button to the deck beside the page's other buttons."""
    if app.builder.name == "html" and tree is not None and is_chapter(app, page):
        context["header_buttons"].append(
            {
                "type": "link",
                "url": os.path.relpath(f"slides/{Path(page).name}.html", Path(page).parent),
                "tooltip": f"Slides of {html.escape(app.env.titles[page].astext())}",
                "icon": "fas fa-display",
                "label": "slides-button",
            }
        )


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("html-page-context", add_button, priority=502)
    app.connect("build-finished", write_decks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
