"""Drawing the still pictures: the few SVG shapes that the figures share, in the theme's colours."""

from collections.abc import Sequence
from html import escape

MINUS = "\u2212"


def number(value: float) -> str:
    """Return the value as the figures print it: integers plainly, at most two decimals, a true minus sign."""
    text = f"{abs(value):.2f}".rstrip("0").rstrip(".")
    return text if text == "0" or value >= 0 else MINUS + text


def svg(width: float, height: float, label: str, *parts: str) -> str:
    """Return a whole picture with its text alternative."""
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(label, quote=True)}" '
        f'font-family="system-ui, sans-serif" font-size="14">{"".join(parts)}</svg>'
    )


def text(x: float, y: float, content: str, *, color: str = "ink", anchor: str = "start", size: float = 14) -> str:
    """Return one line of text; (x, y) is its baseline's start, middle or end."""
    return (
        f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" font-size="{size:g}" fill="var(--{color})">'
        f"{escape(content)}</text>"
    )


def box(
    x: float, y: float, width: float, height: float, *, fill: str = "none", stroke: str = "", line: float = 1
) -> str:
    """Return a rectangle; fill and stroke name colours of the theme."""
    paint = fill if fill == "none" else f"var(--{fill})"
    edge = f' stroke="var(--{stroke})" stroke-width="{line:g}"' if stroke else ""
    return f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" fill="{paint}"{edge}/>'


def numbers(x: float, y: float, cell: float, values: Sequence[Sequence[float]], marked: set[tuple[int, int]]) -> str:
    """Return a grid of numbers with its top left corner at (x, y); marked (row, column) cells get a strong outline."""
    rows, cols = len(values), len(values[0])
    largest = max(abs(value) for row in values for value in row) or 1
    squares: dict[float, str] = {}
    words = []
    for r, row in enumerate(values):
        for c, value in enumerate(row):
            squares[value] = squares.get(value, "") + f"M{c} {r}h1v1h-1z"
            words.append(f'<text x="{c + 0.5}" y="{r + 0.65}">{number(value)}</text>')
    shades = [
        f'<path d="{path}" fill="var(--{"plus" if value > 0 else "minus"})" opacity="{abs(value) / largest:.2f}"/>'
        for value, path in squares.items()
        if value
    ]
    lines = "".join(f"M0 {r}h{cols}" for r in range(rows + 1)) + "".join(f"M{c} 0v{rows}" for c in range(cols + 1))
    strong = "".join(f"M{c} {r}h1v1h-1z" for r, c in sorted(marked))
    # Drawn with a cell as the unit: short numbers, and every page carries them.
    return (
        f'<g transform="translate({x:g} {y:g}) scale({cell:g})" fill="none" stroke-width="{1 / cell:.3f}">'
        f'{"".join(shades)}<path d="{lines}" stroke="var(--line)"/>'
        f'<path d="{strong}" stroke="var(--mark)" stroke-width="{2.5 / cell:.3f}"/>'
        f'<g font-size=".4" text-anchor="middle" fill="var(--ink)">{"".join(words)}</g></g>'
    )
