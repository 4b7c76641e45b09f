"""Grades as tables: everything in one CSV, and the columns that Moodle and Canvas read."""

import csv
import io
from collections.abc import Iterable

from autograder.grading import Result

FORMATS = ("csv", "moodle", "canvas")


def table(results: Iterable[Result], layout: str, title: str) -> str:
    """Return the grades as CSV text in one of FORMATS. A submission without a grade has an empty cell, never a 0."""
    results = sorted(results, key=lambda result: result.student)
    if layout == "moodle":
        header = ["ID number", title, "Feedback"]
        rows = [[r.student, _points(r.score), r.reason] for r in results]
    elif layout == "canvas":
        header = ["Student", "ID", "SIS Login ID", "Section", title]
        points = results[0].points if results else 0
        rows = [["    Points Possible", "", "", "", _points(points)]]
        rows += [[r.student, "", r.student, "", _points(r.score)] for r in results]
    elif layout == "csv":
        exercises = {e.grade_id: None for r in results for e in r.exercises}
        header = [
            "student",
            "state",
            "score",
            "points",
            *exercises,
            "seconds",
            "isolation",
            "notebook",
            "reason",
        ]
        rows = []
        for r in results:
            earned = {e.grade_id: e.earned for e in r.exercises}
            row = [
                r.student,
                r.state,
                _points(r.score),
                _points(r.points),
                *(_points(earned.get(e)) for e in exercises),
            ]
            rows.append([*row, r.seconds, r.isolation, r.digest[:12], r.reason])
    else:
        raise ValueError(f"no table layout {layout!r}: there are {', '.join(FORMATS)}")
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *([_harmless(cell) for cell in row] for row in rows)])
    return text.getvalue()


def _points(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def _harmless(cell: object) -> str:
    """Keep a spreadsheet from running what a student wrote: a leading = + - @ makes a formula."""
    text = str(cell)
    return "'" + text if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
