"""What the theme and its extensions load or get wrong, and this book goes without."""

from sphinx.application import Sphinx


def drop_thebe(app: Sphinx) -> None:
    """Leave out sphinx-thebe: its code comes from a CDN, and Jupyter Book registers its scripts twice, a script error."""
    for listeners in app.events.listeners.values():
        listeners[:] = [each for each in listeners if each.handler.__module__ != "sphinx_thebe"]
    app.registry.css_files = [each for each in app.registry.css_files if each[0] != "sphinx-thebe.css"]


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("config-inited", lambda app, config: drop_thebe(app))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
