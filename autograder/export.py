"""Grades as tables: everything in one CSV, and the columns that Moodle and Canvas read."""

import csv
import io
from collections.abc import Iterable

from autograder.late import LatePolicy, OfFile, Stated
from autograder.result import Result

FORMATS = ("csv", "moodle", "canvas")


def table(results: Iterable[Result], layout: str, title: str, late: LatePolicy | None = None) -> str:
    """Return the grades as CSV text in one of FORMATS. Where there is no grade the cell is empty, never 0."""
    results = sorted(results, key=lambda result: result.student)
    final = {r.student: late.score(r) if late else r.score for r in results}
    if layout == "moodle":
        header = ["ID number", title, "Feedback"]
        rows = [[r.student, _points(final[r.student]), r.reason] for r in results]
    elif layout == "canvas":
        header = ["Student", "ID", "SIS Login ID", "Section", title]
        rows = [["    Points Possible", "", "", "", _points(results[0].points if results else 0)]]
        rows += [[r.student, "", r.student, "", _points(final[r.student])] for r in results]
    elif layout == "csv":
        exercises = list(dict.fromkeys(e.grade_id for r in results for e in r.exercises))
        header = ["student", "state", "score", "points", *exercises]
        header += ["handed in", "says", "days late", "final", "seconds", "isolation", "notebook", "reason"]
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
            row += [*_when(r, late), late.days(r) if late else "", _points(final[r.student])]
            rows.append([*row, r.seconds, r.isolation, (r.digest or "")[:12], r.reason])
    else:
        raise ValueError(f"no table layout {layout!r}: there are {', '.join(FORMATS)}")
    return as_csv([header, *rows])


def _when(result: Result, late: LatePolicy | None) -> tuple[str, str]:
    """Return when a notebook was handed in, and who says so."""
    match late.handed_in(result) if late else None:
        case Stated(time):
            return time.astimezone(late.due.tzinfo).isoformat(), "list"
        case OfFile(time):
            return time.astimezone(late.due.tzinfo).isoformat(), "file"
        case _:
            return (result.file_time, "file") if result.file_time is not None else ("", "")


def as_csv(rows: Iterable[Iterable[object]]) -> str:
    """Write rows as CSV, harmless to a spreadsheet that opens it."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([_harmless(cell) for cell in row] for row in rows)
    return text.getvalue()


def _points(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def _harmless(cell: object) -> str:
    """Keep a spreadsheet from running what a student wrote: a leading = + - @ makes a formula."""
    text = str(cell)
    return "'" + text if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
