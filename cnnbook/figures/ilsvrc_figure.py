"""Results on ILSVRC, to be filtered."""

from typing import Any

from cnnbook.figures import picture
from cnnbook.figures.live_figure import LiveFigure
from cnnbook.ilsvrc_results import GOOGLENET, ROWS, VGG

CHOICES = {
    "measure": ("top5test", "top5val", "top1val"),
    "nets": ("any", "one", "many"),
    "views": ("any", *dict.fromkeys(row["views"] for row in ROWS)),
    "source": ("any", VGG, GOOGLENET),
}


def _check(state: dict[str, Any]) -> None:
    for name, choices in CHOICES.items():
        if state[name] not in choices:
            raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}; got {state[name]!r}")


def ilsvrc(measure: str = "top5test", *, nets: str = "any", views: str = "any", source: str = "any") -> LiveFigure:
    """Return the figure that sorts and filters published errors of 2012 to 2014 on ILSVRC.

    Parameters
    ----------
    measure
        "top5test", "top5val" or "top1val".
    nets
        "any", "one" network, or "many" averaged.
    views
        "any", or how a test image was looked at: "1 crop", "10 crops", "144 crops", "dense", "multi-crop & dense",
        "not stated".
    source
        "any", or one of the two papers' tables.
    """
    state = {"rows": ROWS, "measure": measure, "nets": nets, "views": views, "source": source}
    _check(state)
    rows = sorted(
        (
            row
            for row in ROWS
            if row[measure] is not None
            and nets in ("any", "one" if row["nets"] == 1 else "many")
            and views in ("any", row["views"])
            and source in ("any", row["source"])
        ),
        key=lambda row: (row[measure], row["method"]),
    )
    best = f"; the least is {rows[0][measure]}%, {rows[0]['method']}" if rows else ""
    description = f"Published errors on ILSVRC 2012 to 2014, {len(rows)} of {len(ROWS)} rows shown{best}."
    parts = []
    for line, row in enumerate(rows):
        count = f"{row['nets']} nets" if row["nets"] > 1 else "1 net" if row["nets"] else "several nets"
        y = 12 + 22 * line
        parts += [
            picture.text(20, y + 12, f"{row['method']}, {count}", size=12),
            picture.box(230, y, row[measure] * 10, 14, fill=f"hue-{row['year'] - 2011}"),
            picture.text(238 + row[measure] * 10, y + 12, f"{row[measure]}%", size=12),
        ]
    return LiveFigure("ilsvrc", state, description, picture.svg(720, 20 + 22 * len(rows), description, *parts), _check)
