"""Buttons that open a chapter where it can be run, once the book is published somewhere.

COURSE_REPOSITORY is the address of the repository that holds these sources, COURSE_BRANCH its branch (main), COURSE_HUB
the address of a JupyterHub with nbgitpuller. Without the first there are no buttons: they would lead nowhere.
"""

import os
import re

from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.errors import ExtensionError


def add_buttons(app: Sphinx, config: Config) -> None:
    repository = os.environ.get("COURSE_REPOSITORY", "").strip().rstrip("/").removesuffix(".git")
    hub = os.environ.get("COURSE_HUB", "").strip().rstrip("/")
    for name, address in (("COURSE_REPOSITORY", repository), ("COURSE_HUB", hub)):
        if address and not re.fullmatch(r"https?://[\w.-]+(:\d+)?(/[\w.~-]+)*", address):
            raise ExtensionError(f"{name} must be an address like https://github.com/OWNER/NAME; got {address!r}")
    if hub and not repository:
        raise ExtensionError("COURSE_HUB needs COURSE_REPOSITORY too: the hub fetches the chapters from there")
    if not repository:
        return
    host, *folders = repository.partition("://")[2].split("/")
    if len(folders) < 2 or not (provider := re.search(r"github|gitlab|bitbucket", host)):
        raise ExtensionError(
            f"COURSE_REPOSITORY must be a repository on GitHub, GitLab or Bitbucket, "
            f"as in https://github.com/OWNER/NAME; got {repository!r}"
        )
    buttons = {"binderhub_url": "https://mybinder.org", "notebook_interface": "jupyterlab"}
    if hub:
        buttons["jupyterhub_url"] = hub
    if provider[0] == "github":  # Colab reads from no other place
        buttons["colab_url"] = "https://colab.research.google.com"
    options = config.html_theme_options
    options["launch_buttons"] = options.get("launch_buttons", {}) | buttons
    options["repository_url"] = repository
    options["repository_branch"] = os.environ.get("COURSE_BRANCH", "").strip() or "main"
    options["use_repository_button"] = True


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("config-inited", add_buttons)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
