"""What the theme and its extensions load or get wrong, and this book goes without."""

from pathlib import Path

from jupyter_client.manager import KernelManager
from myst_nb.core import render, utils
from nbclient import NotebookClient
from nbformat import NotebookNode
from pybtex.plugin import find_plugin, register_plugin
from sphinx.application import Sphinx


def drop_thebe(app: Sphinx) -> None:
    """Leave out sphinx-thebe: its code comes from a CDN, and its scripts, written twice into a page, are an error."""
    for listeners in app.events.listeners.values():
        listeners[:] = [each for each in listeners if each.handler.__module__ != "sphinx_thebe"]
    app.registry.css_files = [each for each in app.registry.css_files if each[0] != "sphinx-thebe.css"]


def keep_citation_backends() -> None:
    """Register what pybtex would look for anew, in all installed packages, at each citation."""
    for name in ("docutils", "plaintext"):
        register_plugin("pybtex.backends", name, find_plugin("pybtex.backends", name), force=True)


def coalesce_streams(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Join what a cell printed: MyST-NB by itself ends a line wherever the kernel happened to pause."""
    joined, streams = [], {}
    for output in outputs:
        name = output.get("name") if output["output_type"] == "stream" else None
        if name in streams:
            streams[name]["text"] += output["text"]
        else:
            joined.append(NotebookNode(output))
            if name:
                streams[name] = joined[-1]
    return utils.coalesce_streams(joined)


def keep_no_widget_state(client: NotebookClient) -> None:
    """Don't store what widgets a notebook made: no page shows one, and MyST-NB would write them all into it."""


def encrypt_what_kernels_send() -> None:
    """Let kernels and the build talk in cipher where a kernel can: otherwise each warns that it doesn't."""
    KernelManager.transport_encryption.default_value = "auto"


def mark_references_as_list_items(context: dict) -> None:
    """Give the bibliography's entries the role that items of a list have; docutils' own was withdrawn from ARIA."""
    context["body"] = context.get("body", "").replace('role="doc-biblioentry"', 'role="listitem"')


def drop_icon_script(app: Sphinx, error: Exception | None) -> None:
    """Empty the theme's fontawesome.js, 1.5 MB: its style sheet and web font show the same icons without it."""
    script = Path(app.outdir) / "_static" / "scripts" / "fontawesome.js"
    if error is None and script.exists():
        script.write_text("/* The icons come from pydata-sphinx-theme.css and its web font. */\n", encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    keep_citation_backends()
    encrypt_what_kernels_send()
    render.coalesce_streams = coalesce_streams
    NotebookClient.set_widgets_metadata = keep_no_widget_state
    app.connect("config-inited", lambda app, config: drop_thebe(app))
    app.connect("html-page-context", lambda app, page, template, context, tree: mark_references_as_list_items(context))
    app.connect("build-finished", drop_icon_script)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
