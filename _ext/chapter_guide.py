"""The instructor's guide, chapter by chapter, read from the chapters themselves.

A comment in a page, `<!-- chapter guide -->`, is replaced by a section for each chapter: how long it takes to read, the
questions that it asks beforehand, and the misconceptions that it names, each with a link to its place.
"""

import ast
import re
from pathlib import Path

import course
import nbformat
from sphinx.application import Sphinx

MARK = "<!-- chapter guide -->"
LABEL = re.compile(r"^\(([\w-]+)\)=$")
MISCONCEPTION = re.compile(r"^:{3,}\{admonition\} Misconception: (.+)$")


def questions(path: Path) -> list[str]:
    """What a notebook's cells ask by `questions.predict`, as HTML."""
    found = []
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code" and "questions.predict(" in cell.source:
            for node in ast.walk(ast.parse(re.sub(r"^\s*[%!].*$", "", cell.source, flags=re.M))):
                if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("questions.predict"):
                    found.append(ast.literal_eval(node.args[1]))
    return found


def misconceptions(markdown: str) -> list[tuple[str, str]]:
    """The misconceptions that a chapter names, each with the label that stands before it."""
    label, found = "", []
    for line in markdown.splitlines():
        if match := LABEL.match(line):
            label = match[1]
        elif match := MISCONCEPTION.match(line):
            found.append((match[1], label))
    return found


def guide(name: str, path: Path) -> str:
    """One chapter's section."""
    markdown = course.text(path)
    minutes, _ = course.stated_times(markdown)
    exercises = len(re.findall(r"^`{3,}\{exercise(?:-start)?\}", markdown, flags=re.M))
    asked = "\n".join(f"<li>{question}</li>" for question in questions(path))
    title = re.search(r"^# (.+)$", markdown, flags=re.M)[1]
    lines = [f"### {title}", "", f"{{ref}}`{name}`: {minutes} minutes of reading, {exercises} exercises.", ""]
    if asked:
        lines += ["Ask before they read on:", "", f"<ol>\n{asked}\n</ol>", ""]
    if wrong := misconceptions(markdown):
        lines += ["What students believe:", ""]
        lines += [f"- {text[0].upper()}{text[1:]}. See {{ref}}`{label}`." for text, label in wrong]
    return "\n".join(lines)


def fill(app: Sphinx, page: str, source: list[str]) -> None:
    """Put the guide into the page that asks for it."""
    if MARK in source[0]:
        parts = [guide(name, path) for name, path in course.chapters().items()]
        source[0] = source[0].replace(MARK, "\n\n".join(parts))


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("source-read", fill)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
