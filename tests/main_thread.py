"""What a page costs, in another page's cost: seconds depend on the machine and on its neighbours, ratios hardly do."""

from playwright.sync_api import BrowserContext, Page

DRAWN, MOVED = 8000, 3000
"""Squares that a quiet machine draws in about 200 ms and moves in 2/60 s: twice what a figure may take there."""

SQUARES = """<!doctype html>
<svg width="800" height="800" xmlns="http://www.w3.org/2000/svg"></svg>
<script>
  const squares = Array.from({ length: COUNT }, (_, i) => {
    const square = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    for (const side of ["width", "height"]) square.setAttribute(side, 8);
    document.querySelector("svg").append(square);
    return square;
  });
  const move = (step) => squares.forEach((square, i) => {
    square.setAttribute("x", (10 * i + 3 * step) % 790);
    square.setAttribute("y", 10 * (Math.floor(i / 79) % 79));
    square.setAttribute("fill", `hsl(${(i + 20 * step) % 360} 60% 50%)`);
  });
  move(0);
  requestAnimationFrame(() => requestAnimationFrame(() => performance.mark("drawn")));
</script>"""


class MainThread:
    """The page's main thread by its own clock, which stands still while other processes have the processor."""

    def __init__(self, page: Page):
        self.session = page.context.new_cdp_session(page)
        self.session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def milliseconds(self) -> float:
        metrics = {one["name"]: one["value"] for one in self.session.send("Performance.getMetrics")["metrics"]}
        return 1000 * metrics["TaskDuration"]


def squares_drawn(context: BrowserContext) -> float:
    """Milliseconds of a page that draws DRAWN squares and does nothing else."""
    page, thread = _opened(context, DRAWN)
    spent = thread.milliseconds()
    page.close()
    return spent


def squares_moved(context: BrowserContext, frames: int = 20) -> float:
    """Milliseconds a frame of a page that moves MOVED squares."""
    page, thread = _opened(context, MOVED)
    before = thread.milliseconds()
    for step in range(1, frames + 1):
        page.evaluate("step => new Promise((done) => { move(step); requestAnimationFrame(done); })", step)
    spent = (thread.milliseconds() - before) / frames
    page.close()
    return spent


def _opened(context: BrowserContext, count: int) -> tuple[Page, MainThread]:
    page = context.new_page()
    thread = MainThread(page)
    page.set_content(SQUARES.replace("COUNT", str(count)))
    page.wait_for_function("performance.getEntriesByName('drawn').length === 1")
    return page, thread
