"""The figures and the chapters' controls in a real JupyterLab: shown by a cell, moved by a reader, set by Python."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import lab_references
import nbformat
import pytest
from playwright.sync_api import Locator, Page, expect

from cnnbook import figures

pytestmark = [pytest.mark.browser, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
CHAPTERS = ROOT / "chapters"


def prose(path: Path) -> list[str]:
    """The Markdown cells of a notebook."""
    return [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown"]


def pages() -> list[Path]:
    """The notebooks that are written in MyST."""
    return [path for path in sorted(CHAPTERS.glob("*.ipynb")) if not path.name.startswith("homework-")]


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A JupyterLab server on loopback with a notebook of figures and copies of chapters: its address."""
    folder = tmp_path_factory.mktemp("lab")
    cells = [
        "from cnnbook import figures\nfigures.convolution()",
        "figure = figures.convolution().widget()\nfigure",
        "print('Python sees', figure.position)\nfigure.stride = 2",
        "from cnnlib import models\n"
        "for name in figures.__all__[1:]:\n"
        "    other = getattr(figures, name)(*[models.lenet().state_dict()] * (name == 'sketchpad'))\n"
        "    display(other, other.widget())",
        "from cnnbook import questions\n"
        "questions.predict('live', 'Two and two?', answer=4, wrong={22: 'Side by side.'})",
    ]
    kernel = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(cell) for cell in cells], metadata={"kernelspec": kernel}
    )
    nbformat.write(notebook, folder / "figures.ipynb")
    for name in ("how-to-use.ipynb", "convolutional-layers.ipynb", "pooling.ipynb", "lenet.ipynb", "matplotlibrc"):
        shutil.copy(CHAPTERS / name, folder)
    book = nbformat.v4.new_markdown_cell("\n\n".join(cell for path in pages() for cell in prose(path)))
    nbformat.write(nbformat.v4.new_notebook(cells=[book], metadata={"kernelspec": kernel}), folder / "book.ipynb")
    text = "See {ref}`two layers <exercise-two-layers>`, {ref}`exercise-two-layers` and {ref}`equivariance`."
    elsewhere = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text)], metadata=notebook.metadata)
    nbformat.write(elsewhere, folder / "elsewhere.ipynb")
    # as the installed library has it
    shutil.copytree(ROOT / "lab", folder / "jupyter_data_dir" / "labextensions" / "cnnbook-lab")
    # All cells of a notebook are in the page, so that a test can read those that are scrolled away.
    whole = {"@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"}}
    (folder / "jupyter_config_dir" / "labconfig").mkdir(parents=True)
    (folder / "jupyter_config_dir" / "labconfig" / "default_setting_overrides.json").write_text(json.dumps(whole))
    own = {
        name: str(folder / name.lower())
        for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    }
    environment = {**os.environ, **own, "PYTHONPATH": str(Path(figures.__file__).parents[2])}
    options = "--no-browser --allow-root --ip=127.0.0.1 --port=0 --ServerApp.base_url=/ --IdentityProvider.token=open"
    log = (folder / "log").open("w")
    server = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "jupyterlab",
            *options.split(),
            f"--ServerApp.root_dir={folder}",
        ],
        env=environment,
        stdout=log,
        stderr=log,
    )
    try:
        yield _address(server, folder)
    finally:
        server.terminate()
        server.wait()
        log.close()


def _address(server, folder):
    for _ in range(240):
        assert server.poll() is None, (folder / "log").read_text()
        for found in (folder / "jupyter_runtime_dir").glob("jpserver-*.json"):
            if not (written := found.read_text()).rstrip().endswith("}"):
                continue  # the server is writing it
            base = f"http://127.0.0.1:{json.loads(written)['port']}"
            try:
                with urllib.request.urlopen(f"{base}/api/status?token=open", timeout=10):
                    return base
            except urllib.error.URLError:
                pass  # written down, and not listening yet
        time.sleep(0.25)
    raise TimeoutError((folder / "log").read_text())


@pytest.fixture
def page(lab, browser):
    """A page whose scripts must not fail."""
    errors = []
    with browser.new_context(viewport={"width": 1280, "height": 1400}) as context:
        context.set_default_timeout(60_000)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.add_locator_handler(page.locator("dialog.jp-Dialog"), _answer)
        yield page
    # jupyterlab-myst asks the kernel for inline values, of which there are none, also before there is a kernel
    assert [error for error in errors if error != "Session has no kernel."] == []


def _answer(dialog: Locator) -> None:
    """Say yes: to the kernel that JupyterLab proposes before it knows which there are, and to a restart."""
    answers = {"Select Kernel": "Select", "Kernel Restarting": "Ok", "Restart Kernel?": "Confirm Kernel Restart"}
    asked = dialog.inner_text()
    (answer,) = [button for title, button in answers.items() if asked.startswith(title)] or [None]
    assert answer, f"JupyterLab asks: {asked}"
    dialog.get_by_role("button", name=answer).click()


def open_notebook(page: Page, address: str) -> None:
    """Open a notebook and wait for its kernel; its own indicator says "idle" before there is one."""
    page.goto(address)
    expect(page.locator("#jp-main-statusbar")).to_contain_text("(ipykernel) | Idle")


def until_it_runs(start: Callable[[], None], prompt: Locator) -> None:
    """Ask for a run until it is done; JupyterLab drops one that falls into the moment its session gets ready.

    A cell that waits says "[*]", one whose run was dropped "[ ]" again, at once or seconds later.
    """
    start()
    idle = 0
    for _ in range(300):
        prompt.page.wait_for_timeout(1_000)
        said = prompt.text_content()
        if re.fullmatch(r"\[\d+\]:?", said):
            return
        idle = idle + 1 if said == "[ ]:" else 0
        if idle == 3:
            start()
            idle = 0
    raise AssertionError("the cell was not done after five minutes")


def run(cell: Locator) -> None:
    """Run a cell as a reader does."""

    def press() -> None:
        cell.locator(".cm-content").click()
        cell.page.keyboard.press("Shift+Enter")

    until_it_runs(press, cell.locator(".jp-InputPrompt"))


def run_all(page: Page) -> None:
    """Run all cells, by the menu, until the last one whose code isn't folded has run."""

    def choose() -> None:
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Run All Cells", exact=True).click()

    until_it_runs(choose, page.locator(".jp-CodeCell .jp-InputArea-prompt").last)


def test_in_a_live_notebook(lab, page):
    open_notebook(page, f"{lab}/lab/tree/figures.ipynb?token=open")
    first, second, third, fourth, fifth = (page.locator(".jp-Notebook .jp-Cell").nth(number) for number in range(5))

    run(first)
    shown = first.locator(".cnnlib-demo[data-live]")
    shown.get_by_role("gridcell", name="output row 1 column 1:").press("ArrowDown")
    expect(shown.get_by_role("status")).to_contain_text("Output row 2, column 1 of 5 by 5")

    # "x" cuts a cell in JupyterLab's command mode; pressed in a figure it is the figure's.
    shown.get_by_role("gridcell", name="output row 2 column 1:").press("x")
    shown.get_by_role("textbox", name="input row 1 column 1").click()
    page.keyboard.press("2")
    expect(shown.get_by_role("textbox", name="input row 1 column 1")).to_have_value("2")
    expect(page.locator(".jp-Notebook .jp-CodeCell")).to_have_count(5)

    run(second)
    widget = second.locator(".jp-OutputArea-output")
    widget.get_by_role("gridcell", name="output row 1 column 1:").press("ArrowRight")
    expect(widget.get_by_role("status")).to_contain_text("Output row 1, column 2 of 5 by 5")

    run(third)
    expect(third).to_contain_text("Python sees [0, 1]")
    # Python set the stride to 2: three outputs a side.
    expect(widget.get_by_role("gridcell", name=re.compile("^output row"))).to_have_count(9)

    run(fourth)
    count = len(figures.__all__) - 1
    expect(fourth.locator(".cnnlib-demo[data-live]")).to_have_count(count)
    expect(fourth.locator(".frame")).to_have_count(2 * count)
    # What a figure fetches: the kernel hands it out to a widget, and a page that is no book's has it nowhere.
    plain, widget = fourth.get_by_role("region", name=re.compile("^Show it something")).all()
    plain.get_by_role("radio", name="an espresso").check(force=True)
    expect(plain.get_by_role("status")).to_contain_text("figures.classifier().widget()")
    widget.get_by_role("radio", name="an espresso").check(force=True)
    expect(widget.get_by_role("status")).to_have_text(re.compile("^First guess: espresso"))

    run(fifth)
    fifth.get_by_role("textbox", name="Two and two?").fill("22")
    fifth.get_by_role("textbox", name="Two and two?").press("Enter")
    expect(fifth.get_by_role("group", name="What your answer says")).to_contain_text("Side by side.")
    run(fifth)  # the browser has kept the answer
    expect(fifth.get_by_role("group", name="What your answer says")).to_contain_text("The answer: 4.")


def test_a_chapters_slider_runs_the_library_again(lab, page):
    open_notebook(page, f"{lab}/lab/tree/convolutional-layers.ipynb?token=open")
    run_all(page)
    panel = page.locator(".widget-interact")
    picture = panel.get_by_role("img", name=re.compile("^A handwritten five"))
    expect(picture).to_have_accessible_name(re.compile("32 by 32 values, with stride 1"))
    before = picture.inner_html()
    panel.locator(".widget-slider", has_text="stride").get_by_role("slider").press("ArrowRight")
    expect(picture).to_have_accessible_name(re.compile("16 by 16 values, with stride 2"))
    panel.get_by_role("combobox").select_option("blur")
    expect(picture).to_have_accessible_name(re.compile("the filter “blur”, and its map of 16 by 16"))
    assert picture.inner_html() != before
    expect(panel).not_to_contain_text("Traceback")


def test_a_slider_linked_to_a_figure(lab, page):
    open_notebook(page, f"{lab}/lab/tree/how-to-use.ipynb?token=open")
    run_all(page)
    pair = page.locator(".widget-vbox:not(.widget-interact)", has=page.locator(".widget-slider"))
    status = pair.get_by_role("status")
    # stride 2 and padding 1, as the cells before have set them
    expect(status).to_contain_text("Output 1 of 4")
    pair.locator(".widget-slider").get_by_role("slider").press("ArrowRight")
    expect(status).to_contain_text("Output 1 of 3")
    pair.get_by_role("button", name="increase Stride S").click()
    expect(pair.locator(".widget-readout")).to_have_text("4")


def choose(page: Page, menu: str, entry: str) -> None:
    """Choose an entry of a menu; its name may end with dots, and with the keys that do the same."""
    page.get_by_role("menuitem", name=menu, exact=True).click()
    page.locator(".lm-Menu-itemLabel").get_by_text(re.compile(f"^{entry}…?$")).click()


def test_a_kernel_that_died(lab, page):
    """A cell that needs earlier ones says what is missing, and one entry of a menu mends it."""
    open_notebook(page, f"{lab}/lab/tree/how-to-use.ipynb?token=open&reset")
    run_all(page)
    choose(page, "Kernel", "Restart Kernel and Clear Outputs of All Cells")
    cell = page.locator(".jp-CodeCell", has_text="figure.padding = 1")
    expect(cell.locator(".jp-InputPrompt")).to_have_text("[ ]:")
    run(cell)
    expect(cell).to_contain_text("NameError: name 'figure' is not defined")
    cell.locator(".cm-content").click()
    choose(page, "Run", "Run All Above Selected Cell")
    run(cell)
    expect(cell.locator(".jp-OutputArea")).to_contain_text("stride 2 and padding 0")


RAW = re.compile(r"\{[\w:-]+\}|:{3,}|`{3,}|^\([\w-]+\)=|^:[\w-]+:|\$\$|\\begin", flags=re.M)


OPEN = ".myst .text-yellow-600"
"""What jupyterlab-myst marks a reference by that it can't follow."""


def rendered(page: Page, count: int) -> Locator:
    """The notebook's Markdown cells, once they are all there."""
    cells = page.locator(".jp-MarkdownCell.jp-mod-rendered", has=page.locator(".myst"))
    expect(cells).to_have_count(count)
    expect(cells.last).to_contain_text("Where next")
    return cells


def assert_nothing_is_raw(cells: Locator) -> None:
    left = [found[0] for text in cells.all_inner_texts() for found in RAW.finditer(text)]
    assert left == []
    expect(cells.page.locator(OPEN)).to_have_text([])


def test_a_chapters_text_is_shown_as_in_the_book(lab, page):
    """JupyterLab renders MyST: admonitions are boxes, solutions and hidden code are folded, nothing is left open."""
    page.goto(f"{lab}/lab/tree/pooling.ipynb?token=open&reset")
    source = prose(CHAPTERS / "pooling.ipynb")
    cells = rendered(page, len(source))
    assert_nothing_is_raw(cells)
    expect(cells.locator(".myst-admonition")).to_have_count(sum(text.count("{admonition}") for text in source))
    headings = cells.locator(".myst-exercise-header")
    number = lab_references.exercises()["exercise-pooling-sizes"]["number"]  # the book's
    expect(headings.nth(0)).to_have_text(f"Exercise {number} (Down to the last map)")
    expect(headings.nth(1)).to_have_text(f"Solution to Exercise {number}")
    expect(headings).to_have_count(2 * sum(text.count("{exercise}") for text in source))
    expect(cells.locator(".myst-exercise-body").nth(1)).to_be_hidden()
    code = [cell for cell in nbformat.read(CHAPTERS / "pooling.ipynb", as_version=4).cells if cell.cell_type == "code"]
    folded = sum(cell.metadata.get("jupyter", {}).get("source_hidden", False) for cell in code)
    expect(page.locator(".jp-CodeCell .jp-InputPlaceholder")).to_have_count(folded)

    # papers, terms, equations and other chapters, which jupyterlab-myst alone can't find
    expect(cells.locator("cite").filter(has_text=re.compile(r"^LeCun et al., 1998$"))).not_to_have_count(0)
    expect(cells.locator("cite").filter(has_text=re.compile(r"^Lin et al. \(2014\)$"))).not_to_have_count(0)
    expect(cells.locator("abbr[aria-label^='Average pooling with a window']")).to_have_text("Global average pooling")
    expect(cells.locator("a[href*='convolutional-layers.ipynb']", has_text=re.compile(r"^\(12\)$"))).to_have_count(1)
    page.get_by_role("link", name="LeNet-5").click()
    expect(page.get_by_role("tab", name="lenet.ipynb")).to_be_visible()


def test_a_reference_leads_into_another_chapter(lab, page):
    """To a section and to an exercise, in the author's words and in the book's."""
    page.goto(f"{lab}/lab/tree/elsewhere.ipynb?token=open&reset")
    cell = page.locator(".jp-MarkdownCell")
    number = lab_references.exercises()["exercise-two-layers"]["number"]
    section = lab_references.places()["equivariance"]["title"]
    for shown in ("two layers", f"Exercise {number}", section):
        link = cell.get_by_role("link", name=shown)
        expect(link).to_have_attribute("href", re.compile(r"/convolutional-layers\.ipynb"))
    link.click()
    expect(page.get_by_role("tab", name="convolutional-layers.ipynb")).to_be_visible()


def test_nothing_of_any_chapters_text_is_left_as_it_was_written(lab, page):
    page.goto(f"{lab}/lab/tree/book.ipynb?token=open&reset")
    cells = rendered(page, 1)
    assert_nothing_is_raw(cells)
    source = "\n\n".join(cell for path in pages() for cell in prose(path))
    expect(cells.locator(".myst-admonition")).to_have_count(source.count("{admonition}"))
    cited = re.findall(r"\{cite:[pt]\}`([^`]+)`", source)
    expect(cells.locator("cite")).to_have_count(sum(len(papers.split(",")) for papers in cited))
    expect(cells.locator("table")).to_have_count(len(re.findall(r"^\| *---", source, flags=re.M)))
