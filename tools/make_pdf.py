"""Write the book as one PDF, _build/pdf/book.pdf: built as a single page, and printed by Chromium, offline.

The formulas, drawings and code are the built book's; a live figure is printed as its still picture. The homework, which
is handed out as notebooks, is left out.
"""

import fcntl
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import Error, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "_build"
PAGE = BUILD / "singlehtml" / "book.html"
PDF = BUILD / "pdf" / "book.pdf"
FLAGS = ["--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND"]

PRINT = """
@page { size: A4; margin: 16mm 15mm; @bottom-center { content: counter(page); font: 9px sans-serif; } }
@page :first { @bottom-center { content: ""; } }
html { font-size: 12px; }
.bd-sidebar-primary, .bd-sidebar-secondary, .bd-header, .bd-header-article, .header-article, .prev-next-footer,
.bd-footer, .headerlink, .toggle-button, button, .pst-skip-link, #pst-back-to-top, .bd-footer-article {
  display: none !important;
}
.bd-main, .bd-content, .bd-article-container, .bd-article, .bd-container, .bd-container__inner {
  display: block !important; max-width: none !important; width: auto !important;
  margin: 0 !important; padding: 0 !important;
}
h1, h2, h3, h4 { break-after: avoid; }
#jb-print-docs-body h1 { break-before: auto; }
pre, tr, .math, .cell_input, .cnnlib-drawing, .cnnlib-demo { break-inside: avoid; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; }
/* what is folded in the book: solutions and answers are printed, the code that only draws is not */
.admonition.dropdown > *, .toggle-hidden { visibility: visible !important; height: auto !important; }
details.hide { display: none !important; }
div.cell_input:has(details) { display: none !important; }
"""


# Each chapter has a page style of its own, which begins on a new page and has the chapter's title at its head.
ARRANGE = """() => {
  for (const link of document.querySelectorAll('a[href^="chapters/index.html"]'))
    link.setAttribute("href", link.hash || "#");
  const chapters = [];
  for (const mark of document.querySelectorAll('span[id^="document-"]')) {
    const chapter = mark.nextElementSibling;
    if (mark.id.startsWith("document-chapters/homework-")) chapter.remove();
    else chapters.push(chapter);
    if (!chapter.isConnected) mark.remove();
  }
  for (const link of document.querySelectorAll('a[href^="#"]'))  // what led into the homework
    if (link.hash.length < 2 || !document.getElementById(decodeURIComponent(link.hash.slice(1))))
      link.replaceWith(...link.childNodes);
  const words = (heading) => {
    const copy = heading.cloneNode(true);
    for (const link of copy.querySelectorAll(".headerlink")) link.remove();
    return copy.textContent.trim();
  };
  const heads = document.createElement("style");
  chapters.forEach((chapter, number) => {
    const title = chapter.querySelector("h2");
    chapter.style.page = "chapter-" + number;
    const head = `@top-right { content: ${JSON.stringify(words(title))}; font: 9px sans-serif; }`;
    heads.textContent += `@page chapter-${number} { ${head} }\n`;
  });
  document.head.append(heads);
  return chapters.length;
}"""


def chromium() -> str | None:
    """Debian's Chromium where there is one, else the one that Playwright installed."""
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or ""
    return None if not path or os.path.realpath(path).startswith("/snap/") else path


def build_page() -> None:
    """Build the book as one page; the executions are those of `make book`."""
    shutil.rmtree(BUILD / "singlehtml", ignore_errors=True)
    shutil.rmtree(BUILD / ".doctrees", ignore_errors=True)  # of the book in pages: links differ
    print("==> building the book as one page", flush=True)
    command = [Path(sys.executable).with_name("jupyter-book"), "build", ".", "--builder", "singlehtml", "-W", "-n"]
    done = subprocess.run(command + ["--keep-going"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stdout[-3000:] + done.stderr[-3000:] + "\n==> the page did not build; it says why above")
    # Sphinx writes it into the first page's folder, and its links as if it lay here. Paper needs no script but MathJax:
    # what scripts fold or make live is printed as it stands in the page.
    page = (BUILD / "singlehtml" / "chapters" / "index.html").read_text()
    scripts = re.compile(r"<script\b.*?</script>", flags=re.S)
    PAGE.write_text(scripts.sub(lambda script: script[0] if "mathjax" in script[0][:300].lower() else "", page))


def print_page() -> None:
    """Print the page, once its formulas are set."""
    print("==> printing it", flush=True)
    PDF.parent.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        except Error as error:
            sys.exit(f"{error}\n==> a PDF needs Chromium; `make system` installs it, as for the tests")
        context = browser.new_context(color_scheme="light", offline=True, reduced_motion="reduce")
        page = context.new_page()
        page.set_default_timeout(300_000)
        page.goto(PAGE.as_uri(), wait_until="load")
        page.wait_for_function("window.MathJax?.startup?.promise")
        page.evaluate("() => MathJax.startup.promise")
        page.evaluate("document.documentElement.dataset.theme = 'light'")
        page.add_style_tag(content=PRINT)
        if not page.evaluate(ARRANGE):
            sys.exit("the page has no chapters: Sphinx marks each by an id that begins with document-")
        page.pdf(path=PDF, prefer_css_page_size=True, print_background=True, tagged=True, outline=True)
        browser.close()


def main() -> None:
    BUILD.mkdir(exist_ok=True)
    with (BUILD / "book.lock").open("w") as lock:  # one build at a time, of whatever kind
        fcntl.flock(lock, fcntl.LOCK_EX)
        build_page()
        print_page()
    print(f"==> the book is in {PDF.relative_to(ROOT)}, {PDF.stat().st_size / 1e6:.1f} MB", flush=True)


if __name__ == "__main__":
    main()
