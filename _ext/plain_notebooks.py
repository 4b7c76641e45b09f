"""The chapters as plain notebooks, for what shows no MyST: Colab, VS Code, Kaggle, GitHub, nbviewer.

The build writes one a chapter into `notebooks/` of the book. What a construct refers to, and which number it has, is
Sphinx's own answer, so that a notebook says what its page says; the rest of the Markdown stays as it was written.
Links lead into the book at COURSE_SITE (of a repository on GitHub: its GitHub Pages), else to the pages beside
`notebooks/`. Code cells stay as they are, behind a first one that installs the library where it is missing. Homework
has no MyST, and is handed in as it was handed out.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import nbformat
from docutils import nodes
from launch_buttons import Publication, publication
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from myst_parser.config.main import MdParserConfig
from myst_parser.parsers.mdit import create_md_parser
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

FOLDER = "notebooks"
ROLES = {"ref": "std", "term": "std", "eq": "math", "cite:p": "cite", "cite:t": "cite"}
FOLDED = {"hide-cell", "hide-input", "remove-cell", "remove-input"}

ROLE_OR_CODE = re.compile(
    r"\{(?P<role>[\w:-]+)\}(?P<tick>`+)(?P<content>.+?)(?P=tick)|(?P<code>(?<!`)(`+)(?!`).+?\5)", re.S
)
FILE = re.compile(r"\]\((?P<page>[\w./-]+)\.(?:ipynb|md)(?P<place>#[^)\s]*)?\)")
DIRECTIVE = re.compile(r"\{(?P<name>[\w:-]+)\}\s*(?P<argument>.*)", re.S)
OPTION = re.compile(r":(?P<name>[\w-]+):[ \t]*(?P<value>.*)")
DISPLAYED = re.compile(r"^(?P<indent>[ \t]*)(?P<formula>\$\$.*?\$\$)", re.S | re.M)

INSTALL = """\
# The course's library, where it is missing.
import importlib.util

if importlib.util.find_spec("cnnlib") is None:
    {install}"""
FROM_REPOSITORY = "%pip install --quiet 'cnnlib[torch,cli,images,book] @ git+{repository}@{branch}'"
BY_HAND = (
    'raise ModuleNotFoundError("cnnlib is missing: in a copy of the course, type `pip install -r requirements.txt`")'
)


def is_plain(page: str) -> bool:
    """Whether a page of code has a plain notebook beside its source."""
    return not Path(page).name.startswith("homework-")


def install_cell(where: Publication | None) -> nbformat.NotebookNode:
    """Return the first cell of a plain notebook."""
    install = FROM_REPOSITORY.format(repository=where.repository, branch=where.branch) if where else BY_HAND
    return nbformat.v4.new_code_cell(INSTALL.format(install=install), id="install-cnnlib")


@dataclass
class Directive:
    """A directive in a Markdown cell: its lines there, and what it says."""

    first: int
    behind: int
    name: str
    argument: str
    options: dict[str, str]
    body: str


@dataclass
class Page:
    """A page of the book that is being built: what its roles, labels and numbers mean."""

    app: Sphinx
    name: str
    folder: str  # its pages' address, as its links have it

    def link(self, uri: str) -> str:
        """The address of what the page refers to by `uri`."""
        return self.folder + uri

    def found(self, role: str, content: str) -> nodes.Node:
        """Return what Sphinx puts in the place of a role."""
        if role not in ROLES:
            known = ", ".join(ROLES)
            raise ExtensionError(f"{self.name}: a plain notebook can't say {{{role}}}`{content}`; it knows {known}")
        explicit = re.fullmatch(r"(?P<text>.+?)\s*<(?P<target>[^<>]+)>", content, re.S)
        text, target = explicit.groups() if explicit else (content, content)
        kind = role.removeprefix("cite:")
        target = {"ref": target.lower(), "term": " ".join(target.split())}.get(role, target)
        shown = nodes.inline("", " ".join(text.split()))
        wanted = pending_xref(
            "",
            shown,
            refdomain=ROLES[role],
            reftype=kind,
            reftarget=target,
            refexplicit=bool(explicit),
            refdoc=self.name,
        )
        if kind == "ref" and not explicit and target in getattr(self.app.env, "sphinx_exercise_registry", {}):
            kind = "numref"  # sphinx-exercise does the same
            wanted["reftype"] = kind
        domain = self.app.env.get_domain(ROLES[role])
        found = domain.resolve_xref(self.app.env, self.name, self.app.builder, kind, target, wanted, shown)
        return found or shown  # what leads nowhere was warned of by Sphinx

    def resolved(self, role: str, content: str) -> str:
        """Return what stands in the page for a role, as Markdown."""
        return self.markdown(self.found(role, content))

    def markdown(self, node: nodes.Node) -> str:
        """Return a resolved reference as Markdown."""
        if isinstance(node, nodes.Text):
            return node.astext()
        if isinstance(node, nodes.reference):
            own = self.app.builder.get_target_uri(self.name).rpartition("/")[2]
            uri = node.get("refuri") or f"{own}#{node['refid']}"
            return f"[{node.astext()}]({self.link(uri)})"
        return "".join(self.markdown(child) for child in node.children)

    def exercise(self, label: str) -> str:
        """Return "Exercise 3", as the page counts."""
        number = self.app.env.toc_fignumbers[self.name]["exercise"][label]
        return f"Exercise {'.'.join(map(str, number))}"

    def equation(self, label: str) -> str:
        """Return the number of an equation."""
        return self.found("eq", label).astext().strip("()")


def directive(token: Token) -> Directive | None:
    """Return what a fence says if it is a directive."""
    found = DIRECTIVE.fullmatch(token.info.strip()) if token.type in ("fence", "colon_fence") else None
    if not found:
        return None
    lines, options = token.content.split("\n"), {}
    while lines and (option := OPTION.fullmatch(lines[0])):
        options[option["name"]] = option["value"].strip()
        lines.pop(0)
    return Directive(*token.map, found["name"], found["argument"], options, "\n".join(lines).strip("\n"))


def quoted(markdown: str) -> str:
    """A block in a quotation; formulas on a line of their own, since some readers take the marks into them."""
    flat = DISPLAYED.sub(lambda found: found["indent"] + " ".join(found["formula"].split()), markdown)
    return "\n".join(f"> {line}".rstrip() for line in flat.split("\n"))


def folded(title: str, markdown: str) -> str:
    """A block behind its title."""
    return f"<details>\n<summary>{title}</summary>\n\n{markdown.strip()}\n\n</details>"


class Writer:
    """Rewrites the Markdown of one page, cell by cell; a solution may go on from one cell to the next."""

    def __init__(self, page: Page, extensions: set[str]) -> None:
        self.page = page
        self.parser = create_md_parser(MdParserConfig(enable_extensions=extensions - {"linkify"}), RendererHTML)
        self.solving: str | None = None  # the open solution's exercise

    def cell(self, source: str) -> str:
        """Return a Markdown cell in plain Markdown."""
        opened, parts = self.solving, [""]
        for text in self.blocks(source):
            if isinstance(text, str):
                parts[-1] += text
            else:  # a gate, behind which another part begins
                opened = self.close(parts, opened)
                parts.append("")
                self.solving = opened = text.argument if text.name == "solution-start" else None
        self.close(parts, opened)
        return re.sub(r"\n{3,}", "\n\n", "\n\n".join(parts)).strip("\n")

    def close(self, parts: list[str], exercise: str | None) -> None:
        """Fold the last part if it is a solution's."""
        if exercise and parts[-1].strip():
            parts[-1] = folded(f"Solution to {self.page.exercise(exercise)}", parts[-1])

    def blocks(self, source: str) -> Iterator[str | Directive]:
        """Yield the source in pieces: rewritten text, and the gates of solutions."""
        lines = source.split("\n")
        tokens = self.parser.parse(source)
        done = 0
        for first, behind, new in sorted(self.replacements(tokens, lines), key=lambda one: one[0]):
            if first < done:
                continue  # inside of what is replaced already
            yield self.inline("\n".join(lines[done:first])) + "\n"
            yield new() if callable(new) else new
            yield "\n"
            done = behind
        yield self.inline("\n".join(lines[done:]))

    def replacements(
        self, tokens: list[Token], lines: list[str]
    ) -> Iterator[tuple[int, int, Directive | Callable[[], str]]]:
        """Yield what has to be written anew: first line, line behind, and what comes there."""
        for token in tokens:
            if not token.map:
                continue
            first, behind = token.map
            if found := directive(token):
                gate = found.name in ("solution-start", "solution-end")
                yield first, behind, found if gate else lambda found=found: self.directive(found)
            elif token.type in ("fence", "colon_fence", "code_block"):
                yield first, behind, lambda first=first, behind=behind: "\n".join(lines[first:behind]).rstrip("\n")
            elif token.type == "myst_target":
                yield first, behind, lambda: ""
            elif token.type == "dl_open":
                yield first, behind, lambda token=token: self.definitions(lines[slice(*token.map)])

    def definitions(self, lines: list[str]) -> str:
        """Return a definition list as a list of points."""
        points = []
        for line, following in pairwise([*lines, ""]):
            if following.startswith(": "):
                points.append(f"- **{line.strip()}:**")
            elif line.startswith(": "):
                points[-1] += f" {line[2:].strip()}"
            else:
                points.append(line)
        return self.inline("\n".join(points))

    def directive(self, found: Directive) -> str:
        """Return a directive in plain Markdown."""
        if found.name == "math":
            label = found.options.get("label")
            tag = rf" \tag{{{self.page.equation(label)}}}" if label else ""
            return f"$$\n{found.body}{tag}\n$$"
        inside = self.nested(found.body)
        if found.name == "solution":
            return folded(f"Solution to {self.page.exercise(found.argument)}", inside)
        if found.name == "exercise":
            title = f" ({self.inline(found.argument)})" if found.argument else ""
            return quoted(f"**{self.page.exercise(found.options['label'])}**{title}\n\n{inside}")
        if found.name == "admonition":
            title = self.inline(found.argument)
            if "dropdown" in found.options.get("class", "").split():
                return folded(title, inside)
            return quoted(f"**{title}**\n\n{inside}")
        raise ExtensionError(f"{self.page.name}: a plain notebook can't say the directive {{{found.name}}}")

    def nested(self, body: str) -> str:
        return "".join(piece for piece in self.blocks(body) if isinstance(piece, str)).strip("\n")

    def inline(self, text: str) -> str:
        """Return text with its roles and its links to pages resolved; code stays as it is."""

        def plain(found: re.Match) -> str:
            return found["code"] or self.page.resolved(found["role"], found["content"])

        pages = FILE.sub(lambda file: f"]({self.page.link(file['page'] + '.html' + (file['place'] or ''))})", text)
        return ROLE_OR_CODE.sub(plain, pages)


def plain(notebook: nbformat.NotebookNode, writer: Writer, first: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Return a chapter as a plain notebook."""
    cells = [first]
    for cell in notebook.cells:
        cell = nbformat.from_dict(cell)
        if cell.cell_type == "markdown":
            cell.source = writer.cell(cell.source)
            if not cell.source.strip():
                continue  # nothing but the end of a solution
        elif cell.metadata.get("jupyter", {}).get("source_hidden"):
            cell.metadata |= {"cellView": "form", "_kg_hide-input": True}  # Colab's and Kaggle's words for it
        cells.append(cell)
    return nbformat.v4.new_notebook(cells=cells, metadata=notebook.metadata)


def write_notebook(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Write the plain notebook of a page that is about to be written."""
    source = Path(app.env.doc2path(page))
    if app.builder.name != "html" or source.suffix != ".ipynb" or not is_plain(page):
        return
    where = publication()
    folder = Path(app.outdir) / FOLDER
    site = where.site if where and where.site else "../"
    writer = Writer(Page(app, page, f"{site}{page.rpartition('/')[0]}/"), set(app.config.myst_enable_extensions))
    folder.mkdir(parents=True, exist_ok=True)
    made = plain(nbformat.read(source, as_version=4), writer, install_cell(where))
    nbformat.write(made, folder / source.name)


def point_buttons(app: Sphinx, page: str, template: str, context: dict, doctree: nodes.document | None) -> None:
    """Let the download and Colab take the plain notebook; Binder and a hub, with JupyterLab, keep the source."""
    source = Path(app.env.doc2path(page)) if doctree else Path()
    if source.suffix != ".ipynb" or not is_plain(page):
        return
    where = publication()
    buttons = [button for one in context.get("header_buttons", []) for button in one.get("buttons", [one])]
    for button in buttons:
        if button.get("label") == "download-source-button":
            button["url"] = f"{context['pathto'](FOLDER, 1)}/{source.name}"
        elif where and button.get("text") == "Colab":
            before, _, path = button["url"].partition(f"/blob/{where.branch}/")
            button["url"] = f"{before}/blob/{where.site_branch}/{FOLDER}/{Path(path).name}"


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("doctree-resolved", write_notebook, priority=999)
    app.connect("html-page-context", point_buttons, priority=999)  # after the theme's
    return {"parallel_read_safe": True, "parallel_write_safe": True}
