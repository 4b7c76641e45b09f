"""A search that finds sections: each section of each page, and each entry of the glossary, is one result.

Sphinx's own index knows pages alone. What is written here, `_static/search/sections.js`, holds the sections' texts as a
script, so that the page of results also works from the disk; `search/section-search.js` ranks them when someone asks.
Names that share an entry of the glossary are one another's synonyms.
"""

import json
import posixpath
import re
import shutil
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx

HERE = Path(__file__).parent / "search"
OWN_PAGES = {"genindex", "search"}

WORDS = {  # TeX's commands that a reader would say as a sign or a word
    "times": "×", "cdot": "·", "le": "≤", "leq": "≤", "ge": "≥", "geq": "≥", "approx": "≈", "ne": "≠", "pm": "±",
    "to": "→", "rightarrow": "→", "mapsto": "→", "in": "∈", "infty": "∞", "sum": "∑", "partial": "∂", "nabla": "∇",
    "sqrt": "√", "ldots": "…", "dots": "…", "cdots": "…", "odot": "⊙", "ast": "∗", "star": "∗", "ll": "≪", "gg": "≫",
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ε", "varepsilon": "ε", "eta": "η", "theta": "θ",
    "kappa": "κ", "lambda": "λ", "mu": "μ", "pi": "π", "rho": "ρ", "sigma": "σ", "tau": "τ", "phi": "φ", "varphi": "φ",
    "omega": "ω", "Delta": "Δ", "Gamma": "Γ", "Theta": "Θ", "Lambda": "Λ", "Sigma": "Σ", "Phi": "Φ", "Omega": "Ω",
    "top": "ᵀ", "lfloor": "⌊", "rfloor": "⌋", "lceil": "⌈", "rceil": "⌉", "quad": " ", "qquad": " ", "circ": "∘",
    "max": "max", "min": "min", "exp": "exp", "log": "log", "ln": "ln", "tanh": "tanh", "arg": "arg", "lim": "lim",
    "prod": "∏", "propto": "∝", "sim": "∼", "mid": "|", "lVert": "‖", "rVert": "‖", "Vert": "‖", "forall": "∀",
}  # fmt: skip


def spoken(tex: str) -> str:
    """A formula on one line without TeX: signs for the commands that have one, the others left out."""
    tex = re.sub(r"\\(?:tag|label|begin|end)\{[^{}]*\}(?:\{[lcr|]+\})?", " ", tex)
    tex = re.sub(r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}", r"\1/\2", tex)
    tex = re.sub(r"\\([A-Za-z]+)", lambda match: WORDS.get(match[1], "") + " ", tex)
    tex = re.sub(r"\\[,;:! \\]|[~&]", " ", tex)
    return " ".join(re.sub(r"[\\{}$]", "", tex).replace("^2", "²").replace("_", "").split())


class Parts(nodes.SparseNodeVisitor):
    """Collects a document's sections in the order in which they begin."""

    def __init__(self, document: nodes.document, page: str) -> None:
        super().__init__(document)
        self.page, self.open, self.found, self.ids = page, [], [], {}

    def begin(self, anchor: str, title: str, **more: Any) -> None:
        part = {"page": self.page, "anchor": anchor, "title": title, "text": [], "key": [], "code": []} | more
        self.open.append(part)
        self.found.append(part)

    def visit_section(self, node: nodes.section) -> None:
        if "solution-content" in node["ids"]:
            raise nodes.SkipNode  # what is folded in the page is no snippet either
        if node.children and isinstance(node.children[0], nodes.title):  # an exercise's body has none
            self.ids |= dict.fromkeys(node["ids"], node["ids"][0] if self.open else "")
            labels = " ".join(node["ids"] + node["names"]).replace("-", " ")  # authors name a section by its subject
            self.begin(node["ids"][0] if self.open else "", words(node.children[0]), labels=labels)

    def depart_section(self, node: nodes.section) -> None:
        if node.children and isinstance(node.children[0], nodes.title):
            self.open.pop()

    def visit_title(self, node: nodes.title) -> None:
        if not isinstance(node.parent, nodes.section) and self.open:
            self.open[-1]["text"].append(words(node))  # of an admonition, an exercise
        raise nodes.SkipNode

    def visit_definition_list_item(self, node: nodes.definition_list_item) -> None:
        terms = [term for term in node.children if isinstance(term, nodes.term) and term["ids"]]
        if isinstance(node.parent.parent, addnodes.glossary) and terms:
            names = [words(term) for term in terms]
            self.begin(terms[0]["ids"][0], ", ".join(names), labels="", names=names, places=[])

    def depart_definition_list_item(self, node: nodes.definition_list_item) -> None:
        if self.open and "names" in self.open[-1]:
            self.open.pop()

    def visit_container(self, node: nodes.container) -> None:
        if "cell_output" in node["classes"]:
            raise nodes.SkipNode

    def visit_literal_block(self, node: nodes.literal_block) -> None:
        if self.open:
            self.open[-1]["code"].append(node.astext())
        raise nodes.SkipNode

    def visit_paragraph(self, node: nodes.paragraph) -> None:
        if self.open:
            self.open[-1]["text"].append(words(node))
            self.open[-1]["key"] += [words(strong) for strong in node.findall(nodes.strong)]
            if "names" in self.open[-1]:
                links = [link.get("refuri", "") for link in node.findall(nodes.reference)]
                self.open[-1]["places"] += [link for link in links if "#" in link and "://" not in link]
        raise nodes.SkipNode

    def visit_term(self, node: nodes.term) -> None:
        if self.open and "names" not in self.open[-1]:
            self.open[-1]["text"].append(words(node))
        raise nodes.SkipNode

    def visit_math_block(self, node: nodes.math_block) -> None:
        if self.open:
            self.open[-1]["text"].append(spoken(node.astext()))
        raise nodes.SkipNode

    def visit_raw(self, node: nodes.raw) -> None:
        raise nodes.SkipNode

    visit_comment = visit_index = visit_raw


def words(node: nodes.Node) -> str:
    """A node's text, its formulas without TeX."""
    if isinstance(node, nodes.math):
        return spoken(node.astext())
    if isinstance(node, nodes.Text):
        return node.astext()
    if isinstance(node, nodes.raw | nodes.footnote_reference | addnodes.index):
        return ""
    text = "".join(map(words, node.children))
    return " ".join(text.split()) if isinstance(node, nodes.paragraph | nodes.title | nodes.term) else text


def collect(app: Sphinx, document: nodes.document, page: str) -> None:
    """Keep the sections of a page that is about to be written."""
    if app.builder.name == "html":
        parts = Parts(document, page)
        document.walkabout(parts)
        app.book_sections[page] = [
            part | {field: " ".join(part[field]) for field in ("text", "key", "code")} for part in parts.found
        ]
        app.book_ids[page] = parts.ids


def start(app: Sphinx) -> None:
    app.book_sections, app.book_ids = {}, {}


def place(app: Sphinx, page: str, link: str) -> str:
    """What a link of a page leads to, as page#section by the section's first name."""
    target, _, anchor = link.partition("#")
    other = posixpath.normpath(posixpath.join(posixpath.dirname(page), target.removesuffix(".html")))
    other = other if target else page
    return f"{other}#{app.book_ids.get(other, {}).get(anchor, anchor)}"


def write(app: Sphinx, error: Exception | None) -> None:
    """Write the index, with the program that searches it."""
    if error is not None or app.builder.name != "html":
        return
    folder = Path(app.outdir) / "_static" / "search"
    folder.mkdir(parents=True, exist_ok=True)
    index = folder / "sections.js"
    before = json.loads(index.read_text(encoding="utf-8").partition("=")[2]) if index.exists() else []
    pages = {page: [part for part in before if part["page"] == page] for page in app.env.found_docs}
    pages |= app.book_sections  # in a build that wrote some pages only, the others keep what they had
    parts = [part for page in sorted(pages) for part in pages[page]]
    for part in parts:
        if "places" in part and part["page"] in app.book_sections:
            part["places"] = [place(app, part["page"], link) for link in part["places"]]
    index.write_text("window.bookSections =" + json.dumps(parts, ensure_ascii=False), encoding="utf-8")
    shutil.copyfile(HERE / "section-search.js", folder / "section-search.js")


def use(app: Sphinx, page: str, template: str, context: dict, tree: object) -> str | None:
    """Give the page of results its own template."""
    return "section-search.html" if page == "search" else None


def setup(app: Sphinx) -> dict[str, bool]:
    app.config.templates_path.append(str(HERE))
    app.connect("builder-inited", start)
    app.connect("doctree-resolved", collect)
    app.connect("html-page-context", use)
    app.connect("build-finished", write)
    return {"parallel_read_safe": True, "parallel_write_safe": False}
