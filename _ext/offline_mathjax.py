"""Math without a network: MathJax from the pinned wheel `sphinx-mathjax-offline`, copied into the site.

`mathjax.sha256` lists the files that a page can ask for, with the checksum of each, in the format of `sha256sum`.
A file that is missing or differs stops the build.
"""

import hashlib
import shutil
import sysconfig
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

WHEEL_FOLDER = Path(sysconfig.get_path("purelib")) / "sphinx-mathjax-offline" / "static" / "mathjax"
CHECKSUMS = Path(__file__).with_name("mathjax.sha256")


def read_checksums(path: Path = CHECKSUMS) -> dict[str, str]:
    """Map each file's name, relative to MathJax's folder, to its SHA-256."""
    pairs = (line.split() for line in path.read_text(encoding="utf-8").splitlines())
    return {name: checksum for checksum, name in pairs}


def copy_verified(source: Path, target: Path, checksums: dict[str, str], listed: Path = CHECKSUMS) -> None:
    """Copy the files that `listed` names, each only if it is the file that was listed."""
    for name, checksum in checksums.items():
        file = source / name
        if not file.is_file():
            raise ExtensionError(f"{file} is missing; `make distclean book` installs it again")
        found = hashlib.sha256(file.read_bytes()).hexdigest()
        if found != checksum:
            raise ExtensionError(f"{file} has checksum {found}, and {listed.name} lists {checksum}")
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target / name)


def vendor_mathjax(app: Sphinx) -> None:
    """Put MathJax beside the other static files, before any page is read."""
    if app.builder.format == "html":
        copy_verified(WHEEL_FOLDER, Path(app.outdir) / "_static" / "mathjax", read_checksums())


def drop_where_no_formula_is(app: Sphinx, page: str, template: str, context: dict, tree: object) -> None:
    """Load no MathJax into the first page for the formulas of those below it, as Sphinx does."""
    if app.builder.name == "html" and not app.env.domaindata["math"]["has_equations"].get(page, True):
        context["script_files"] = [one for one in context["script_files"] if "mathjax/" not in str(one.filename or "")]


def setup(app: Sphinx) -> dict[str, bool]:
    app.config.mathjax_path = "mathjax/tex-chtml.js"
    app.connect("builder-inited", vendor_mathjax)
    app.connect("html-page-context", drop_where_no_formula_is, priority=900)  # after Sphinx's own
    return {"parallel_read_safe": True, "parallel_write_safe": True}
