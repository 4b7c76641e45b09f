"""A line under each page, "Something wrong here?", that opens an issue or a mail with the page and version filled in.

COURSE_REPORT says where reports go: the address at which the publisher's tracker opens a new issue, such as
https://github.com/OWNER/NAME/issues/new, or a mail address. Without it there is no such line: it would lead nowhere.
"""

import html
import os
import re
from urllib.parse import quote

from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.errors import ExtensionError

import cnnlib

MAIL = re.compile(r"[\w.+-]+@[\w-]+(\.[\w-]+)+")
ISSUES = re.compile(r"https?://[\w.-]+(:\d+)?(/[\w.~-]+)+")


def receiver() -> str:
    """Where reports go, or nothing if the publisher doesn't say."""
    return os.environ.get("COURSE_REPORT", "").strip().rstrip("/")


def address(page: str, title: str) -> str:
    """What the line under a page opens."""
    subject, body = f"{title}: ", f"Page: {page}\nVersion: {cnnlib.__version__}\n\nWhat is wrong:\n"
    if MAIL.fullmatch(receiver()):
        return f"mailto:{receiver()}?subject={quote(subject)}&body={quote(body)}"
    # GitHub's names for the fields, then GitLab's
    names = ("issue[title]", "issue[description]") if "gitlab" in receiver() else ("title", "body")
    return f"{receiver()}?{quote(names[0])}={quote(subject)}&{quote(names[1])}={quote(body)}"


def check(app: Sphinx, config: Config) -> None:
    if receiver() and not (MAIL.fullmatch(receiver()) or ISSUES.fullmatch(receiver())):
        raise ExtensionError(
            f"COURSE_REPORT must be a mail address, or one like https://github.com/OWNER/NAME/issues/new; "
            f"got {receiver()!r}"
        )


def add_line(app: Sphinx, page: str, template: str, context: dict, tree: object) -> None:
    if tree is not None and receiver() and app.builder.name == "html":
        link = html.escape(address(page, app.env.titles[page].astext()))
        context["body"] += f'<p class="report"><a href="{link}">Something wrong here?</a></p>'


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("config-inited", check)
    app.connect("html-page-context", add_line)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
