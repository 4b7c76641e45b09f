"""The line under a page that reports a fault: page and version filled in, where the publisher says to whom."""

from urllib.parse import parse_qs, urlsplit

import pytest
import report_link
from sphinx.errors import ExtensionError

import cnnlib

BODY = f"Page: chapters/lenet\nVersion: {cnnlib.__version__}\n\nWhat is wrong:\n"
GITLAB = "https://gitlab.com/a/b/-/issues/new?"


@pytest.mark.parametrize(
    ("setting", "start", "subject", "body"),
    [
        ("https://github.com/a/b/issues/new", "https://github.com/a/b/issues/new?", "title", "body"),
        ("https://gitlab.com/a/b/-/issues/new/", GITLAB, "issue[title]", "issue[description]"),
        ("course@example.org", "mailto:course@example.org?", "subject", "body"),
    ],
)  # fmt: skip
def test_page_and_version_are_filled_in(
    monkeypatch: pytest.MonkeyPatch, setting: str, start: str, subject: str, body: str
) -> None:
    monkeypatch.setenv("COURSE_REPORT", setting)
    report_link.check(None, None)
    link = report_link.address("chapters/lenet", "LeNet & more")
    assert link.startswith(start)
    assert parse_qs(urlsplit(link).query) == {subject: ["LeNet & more: "], body: [BODY]}


@pytest.mark.parametrize("setting", ["someone", "github.com/a/b", "javascript:alert(1)", 'https://a.org/"onclick='])
def test_a_receiver_that_leads_nowhere_stops_the_build(monkeypatch: pytest.MonkeyPatch, setting: str) -> None:
    monkeypatch.setenv("COURSE_REPORT", setting)
    with pytest.raises(ExtensionError, match="COURSE_REPORT must be a mail address, or one like https://github.com/"):
        report_link.check(None, None)


class Built:
    """What the extension reads of Sphinx's application."""

    class builder:  # noqa: N801
        name = "html"

    class env:  # noqa: N801
        class Title:
            astext = staticmethod(lambda: "LeNet")

        titles = {"chapters/lenet": Title}


@pytest.mark.parametrize(("setting", "lines"), [("", 0), ("course@example.org", 1)])
def test_the_line_comes_only_with_a_receiver(monkeypatch: pytest.MonkeyPatch, setting: str, lines: int) -> None:
    monkeypatch.setenv("COURSE_REPORT", setting)
    context = {"body": ""}
    report_link.add_line(Built, "chapters/lenet", "page.html", context, object())
    assert context["body"].count("Something wrong here?") == lines
