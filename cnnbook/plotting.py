"""Drawings for the book: matplotlib figures that take the page's colours, light or dark, and are described in words.

matplotlib is imported when a function first needs it, so that `import cnnbook.plotting` costs nothing.
"""

import html
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "black"
"""What is drawn in black takes the colour of the page's text."""

BLUE, ORANGE, GREEN, PURPLE = "#2a7fc1", "#d1691a", "#1f9467", "#a55fb5"
"""Middle tones: each has a contrast of at least 3:1 to a white page and to a dark one."""

_CAPTION = "max-width:36rem;margin:.5rem auto 0;color:inherit;font-size:.9em;font-weight:400;text-align:start"


@dataclass(frozen=True)
class Drawing:
    """A figure as inline SVG, so that its text and lines follow the page from light to dark.

    As the last value of a notebook cell it shows itself. `description` stands for the picture where it can't be seen;
    `width` is in CSS pixels, and a narrower page shrinks the drawing.
    """

    svg: str
    description: str
    width: int
    caption: str = ""

    def __repr__(self) -> str:
        return f"Drawing: {self.description}"

    def _repr_html_(self) -> str:
        caption = f'<figcaption style="{_CAPTION}">{self.caption}</figcaption>' if self.caption else ""
        return (
            '<figure class="cnnlib-drawing" style="margin:1rem auto;text-align:center">'
            f'<svg role="img" aria-label="{html.escape(self.description)}" style="width:100%;max-width:{self.width}px;'
            f'height:auto;fill:currentColor" {self.svg}{caption}</figure>'
        )


def drawing(figure: "Figure", description: str, caption: str = "") -> Drawing:
    """Close a matplotlib figure and return it as a `Drawing`; `caption` may hold HTML."""
    import matplotlib
    from matplotlib import pyplot

    if not description.strip():
        raise ValueError("a drawing needs a description: what should someone know who can't see it?")
    file = io.StringIO()
    # text stays text, so that it can be searched and read aloud; the salt keeps the ids of two figures apart
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": description}):
        figure.savefig(
            file, format="svg", transparent=True, bbox_inches="tight", pad_inches=0.05, metadata={"Date": None}
        )
    pyplot.close(figure)
    svg = re.sub(r"<metadata>.*?</metadata>", "", file.getvalue(), flags=re.S)
    svg = re.sub(r'<(g|image|text) id="[^"]*"', r"<\1", svg)  # several figures on a page would share these
    svg = re.sub(r"(fill|stroke): #000000", r"\1: currentColor", svg)
    _, _, width, height = svg.partition('viewBox="')[2].partition('"')[0].split()  # in points
    body = svg[svg.index(">", svg.index("<svg")) + 1 :]
    return Drawing(f'viewBox="0 0 {width} {height}">{body}', description, round(float(width) * 96 / 72), caption)


def blank(ax: "Axes", title: str = "") -> "Axes":
    """Leave only what will be drawn: no axes, equal scales."""
    ax.set_axis_off()
    ax.set_aspect("equal")
    if title:
        ax.set_title(title)
    return ax


def number_grid(
    ax: "Axes",
    values: Any,
    color: str = BLUE,
    shade: Any = None,
    title: str = "",
) -> "Axes":
    """Draw a matrix as squares with their numbers; `shade`, of its shape and from 0 to 1, tints each that much."""
    from matplotlib.patches import Rectangle

    values = np.asarray(values, dtype=float)
    rows, columns = values.shape
    blank(ax, title).set(xlim=(-0.05, columns + 0.05), ylim=(rows + 0.05, -0.05))
    for (i, j), value in np.ndenumerate(values):
        tint = 0.0 if shade is None else 0.7 * float(shade[i][j])
        ax.add_patch(Rectangle((j, i), 1, 1, facecolor=(color, tint), edgecolor="0.55", linewidth=0.6))
        text = f"{value + 0.0:g}".replace("-", "\u2212")  # + 0.0 turns a negative zero into zero
        ax.text(j + 0.5, i + 0.53, text, ha="center", va="center", color=INK)
    return ax


def box(
    ax: "Axes",
    corner: tuple[float, float],
    size: tuple[float, float, float],
    color: str = BLUE,
    alpha: float = 0.25,
    depth: tuple[float, float] = (0.5, 0.3),
) -> None:
    """Draw a volume in parallel projection: `corner` is its front's lower left, `size` is (width, height, depth).

    `depth` says how far right and up one unit of depth goes.
    """
    from matplotlib.patches import Polygon

    (x, y), (w, h, d) = corner, size
    dx, dy = depth[0] * d, depth[1] * d
    faces: Sequence[tuple[list[tuple[float, float]], float]] = (
        ([(x, y), (x + w, y), (x + w, y + h), (x, y + h)], 1.0),
        ([(x, y + h), (x + w, y + h), (x + w + dx, y + h + dy), (x + dx, y + h + dy)], 0.6),
        ([(x + w, y), (x + w + dx, y + dy), (x + w + dx, y + h + dy), (x + w, y + h)], 1.5),
    )
    for points, strength in faces:
        tint = min(1.0, alpha * strength)
        ax.add_patch(Polygon(points, facecolor=(color, tint), edgecolor=color, linewidth=1.0, joinstyle="round"))


def pictures(
    axes: Any, images: Any, titles: Sequence[str] = (), limits: tuple[float, float] | None = None, cmap: str = "gray_r"
) -> None:
    """Show images (K, H, W) or (K, H, W, 3) one an axes, on one common scale unless they are in colour.

    `limits` are the values of the scale's ends; left out, the smallest and largest value of all images.
    """
    images, axes = np.asarray(images), np.ravel(axes)
    low, high = limits or (float(images.min()), float(images.max()))
    for k, ax in enumerate(axes):
        ax.set_axis_off()
        if k < len(images):
            ax.imshow(images[k], cmap=cmap, vmin=low, vmax=high, interpolation="nearest")
        if k < len(titles):
            ax.set_title(titles[k])


def signed(images: Any) -> dict[str, Any]:
    """Return what `pictures` needs to show values of both signs: zero white, negative orange, positive purple."""
    reach = float(np.abs(np.asarray(images)).max())
    return {"limits": (-reach, reach), "cmap": "PuOr"}


def guesses(ax: "Axes", names: Sequence[str], shares: Any, right: str | None = None) -> str:
    """Draw a network's guesses as bars from 0 to 1, the first on top, each under its name; return them in words.

    The bar of `right`, what the picture shows, is of another colour.
    """
    ax.set_axis_off()
    ax.set(xlim=(0, 1), ylim=(len(names) - 0.45, -0.55))
    for rank, (name, share) in enumerate(zip(names, shares, strict=True)):
        ax.barh(rank, float(share), 0.86, color=(ORANGE if name == right else BLUE, 0.5), linewidth=0)
        ax.text(0.02, rank + 0.03, name, va="center", color=INK, fontsize=8)
    return ", ".join(f"{name} {float(share):.0%}" for name, share in zip(names, shares, strict=True))
