"""The whole book as one page, for `make pdf`: what extensions taught Sphinx for HTML pages, also for that one."""

from sphinx.application import Sphinx


def share_with_single_page(app: Sphinx) -> None:
    handlers = app.registry.translation_handlers
    handlers["singlehtml"] = handlers.get("html", {}) | handlers.get("singlehtml", {})


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", share_with_single_page)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
