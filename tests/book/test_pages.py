"""The built pages, read without a browser."""

import base64
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import nbformat
import pytest

LOADING_ATTRIBUTES = {"img": "src", "script": "src", "link": "href", "iframe": "src", "source": "src", "video": "src"}


class Page(HTMLParser):
    """What the tests ask of a page: its anchors, links, images and whatever it loads."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.loads: list[str] = []
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        self.anchors.update(filter(None, (values.get("id"), values.get("name"))))
        if tag == "a" and values.get("href"):
            self.links.append(values["href"])
        if tag == "img":
            self.images.append(values)
        if values.get(LOADING_ATTRIBUTES.get(tag, "")):
            self.loads.append(values[LOADING_ATTRIBUTES[tag]])


@pytest.fixture(scope="session")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path) for path in site.rglob("*.html") if "_static" not in path.parts}


def test_page_exists(site: Path, page_name: str) -> None:
    assert (site / f"{page_name}.html").is_file()


def test_the_front_door_leads_to_the_first_page(site: Path) -> None:
    assert re.search(r'url=chapters/index\.html"', (site / "index.html").read_text())


def test_internal_links_arrive(site: Path, pages: dict[Path, Page]) -> None:
    broken = []
    for path, page in pages.items():
        for link in page.links + page.loads:
            parts = urlsplit(urljoin(path.as_uri(), link))
            if parts.scheme != "file":
                continue
            target = Path(unquote(parts.path))
            if not target.is_file() or site not in target.parents:
                broken.append(f"{path.relative_to(site)}: {link} names no file")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
                broken.append(f"{path.relative_to(site)}: {link} has no such anchor")
    assert not broken, "\n".join(broken)


def test_nothing_is_loaded_from_elsewhere(pages: dict[Path, Page]) -> None:
    external = {load for page in pages.values() for load in page.loads if urlsplit(load).scheme in ("http", "https")}
    assert not external


def test_a_page_loads_mathjax_if_it_has_a_formula(site: Path, pages: dict[Path, Page]) -> None:
    pages = {path: page for path, page in pages.items() if path.parent.name != "slides"}  # which all have their own
    loads = {path for path, page in pages.items() if any("mathjax/" in load for load in page.loads)}
    has = {path for path in pages if 'class="math ' in path.read_text()}
    assert {path.relative_to(site) for path in loads ^ has} == set() and has


def test_no_page_holds_a_widget(site: Path) -> None:
    """Without a kernel its controls are dead, and with its state each page would need a manager of several MB."""
    pages = [
        path.relative_to(site) for path in site.rglob("*.html") if "application/vnd.jupyter.widget" in path.read_text()
    ]
    assert not pages


def test_images_are_described(site: Path, pages: dict[Path, Page]) -> None:
    """An image has a text of its own, or an empty one because it decorates; a file name or a hash describes nothing."""
    undescribed = []
    for path, page in pages.items():
        for image in page.images:
            alt = image.get("alt")
            named_after_file = alt and (alt in image["src"] or re.search(r"[0-9a-f]{16}|\.(png|svg|jpe?g)$", alt))
            logo = "logo__image" in (image.get("class") or "")
            if alt is None or named_after_file or (not alt and not logo):
                undescribed.append(f"{path.relative_to(site)}: {image['src'][:80]} alt={alt!r}")
    assert not undescribed, "\n".join(undescribed)


def test_pages_name_no_path_of_the_machine(site: Path, root: Path) -> None:
    leaks = [path for path in site.rglob("*.html") if str(root) in path.read_text()]
    assert not leaks


def notebooks() -> list[Path]:
    return sorted((Path(__file__).resolve().parent.parent.parent / "chapters").glob("*.ipynb"))


@pytest.mark.parametrize("path", notebooks(), ids=lambda path: path.stem)
def test_notebook_is_stored_without_outputs(path: Path) -> None:
    """Outputs come from the build; stored ones would go stale, and make every change unreadable."""
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code)


def test_no_page_carries_a_bitmap_inline(pages: dict[Path, Page]) -> None:
    """Large images belong in files that the browser can keep; only small ones may be written into a page."""
    for page in pages.values():
        for load in page.loads:
            if load.startswith("data:image/png;base64,"):
                assert len(base64.b64decode(load.split(",", 1)[1])) < 20_000
