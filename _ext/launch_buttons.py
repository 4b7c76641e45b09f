"""Buttons that open a chapter where it can be run, once the book is published somewhere.

COURSE_REPOSITORY is the address of the repository that holds these sources, COURSE_BRANCH its branch (main), COURSE_HUB
the address of a JupyterHub with nbgitpuller. Without the first there are no buttons: they would lead nowhere.
COURSE_SITE is where the built book is read, and COURSE_SITE_BRANCH the branch that it lies on (gh-pages): Colab opens
the plain notebooks from there. For a repository on GitHub, COURSE_SITE is its GitHub Pages unless it is said.
"""

import os
import re
from dataclasses import dataclass

from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.errors import ExtensionError


@dataclass
class Publication:
    """Where the sources and the built book lie."""

    repository: str
    branch: str
    provider: str
    site: str | None
    site_branch: str


def setting(name: str) -> str:
    return os.environ.get(name, "").strip()


def address(name: str) -> str:
    """Return the address that a setting holds, or nothing."""
    value = setting(name).rstrip("/").removesuffix(".git")
    if value and not re.fullmatch(r"https?://[\w.-]+(:\d+)?(/[\w.~-]+)*", value):
        raise ExtensionError(f"{name} must be an address like https://github.com/OWNER/NAME; got {value!r}")
    return value


def publication() -> Publication | None:
    """Return where the publisher says that sources and book lie; None if nothing is said."""
    repository, site = address("COURSE_REPOSITORY"), address("COURSE_SITE")
    if not repository:
        for name in ("COURSE_HUB", "COURSE_SITE"):
            if address(name):
                raise ExtensionError(f"{name} needs COURSE_REPOSITORY too: the chapters are fetched from there")
        return None
    host, *folders = repository.partition("://")[2].split("/")
    if len(folders) < 2 or not (provider := re.search(r"github|gitlab|bitbucket", host)):
        raise ExtensionError(
            f"COURSE_REPOSITORY must be a repository on GitHub, GitLab or Bitbucket, "
            f"as in https://github.com/OWNER/NAME; got {repository!r}"
        )
    if not site and host == "github.com":
        site = f"https://{folders[0].lower()}.github.io/{folders[1]}"
    return Publication(
        repository=repository,
        branch=setting("COURSE_BRANCH") or "main",
        provider=provider[0],
        site=f"{site}/" if site else None,
        site_branch=setting("COURSE_SITE_BRANCH") or "gh-pages",
    )


def add_buttons(app: Sphinx, config: Config) -> None:
    where, hub = publication(), address("COURSE_HUB")
    if where is None:
        return
    buttons = {"binderhub_url": "https://mybinder.org", "notebook_interface": "jupyterlab"}
    if hub:
        buttons["jupyterhub_url"] = hub
    if where.provider == "github":  # Colab reads from no other place
        buttons["colab_url"] = "https://colab.research.google.com"
    options = config.html_theme_options
    options["launch_buttons"] = options.get("launch_buttons", {}) | buttons
    options["repository_url"] = where.repository
    options["repository_branch"] = where.branch
    options["use_repository_button"] = True


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("config-inited", add_buttons)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
