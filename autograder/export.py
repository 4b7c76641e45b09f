"""Grades as tables: everything in one CSV, and the columns that Moodle and Canvas read."""

import csv
import io
import re
from collections.abc import Iterable
from dataclasses import dataclass

from autograder.downloads import plain
from autograder.late import LatePolicy, OfFile, Stated
from autograder.result import Result

FORMATS = ("csv", "excel", "moodle", "canvas")
# Programs split at other delimiters than the one that was written, and there quotes protect nothing.
FORMULA = re.compile(r"""((?:^|[;,|])[\s"']*)(?=[=+\-@＝＋－＠])""")


@dataclass(frozen=True)
class Dialect:
    """How a CSV is written: what stands between cells, in numbers and at the beginning."""

    delimiter: str = ","
    decimal: str = "."
    mark: str = ""


PLAIN = Dialect()
EXCEL = Dialect(";", ",", "\ufeff")  # where Excel's language has a decimal comma


def table(results: Iterable[Result], layout: str, title: str, late: LatePolicy | None = None) -> str:
    """Return the grades as CSV text in one of FORMATS. Where there is no grade the cell is empty, never 0."""
    results = sorted(results, key=lambda result: result.student)
    final = {r.student: late.score(r) if late else r.score for r in results}
    if layout == "moodle":
        header = ["ID number", title, "Feedback"]
        rows = [[r.student, final[r.student], r.reason] for r in results]
    elif layout == "canvas":
        header = ["Student", "ID", "SIS Login ID", "Section", title]
        rows = [["    Points Possible", "", "", "", results[0].points if results else 0.0]]
        rows += [[r.student, "", r.student, "", final[r.student]] for r in results]
    elif layout in ("csv", "excel"):
        exercises = list(dict.fromkeys(e.grade_id for r in results for e in r.exercises))
        header = ["student", "state", "score", "points", *exercises]
        header += ["due", "handed in", "says", "days late", "final", "seconds", "isolation", "notebook", "reason"]
        rows = []
        for r in results:
            earned = {e.grade_id: e.earned for e in r.exercises}
            row = [r.student, r.state, r.score, r.points, *(earned.get(e) for e in exercises)]
            row += [late.due_for(r.student).isoformat() if late else None, *_when(r, late)]
            row += [late.days(r) if late else None, final[r.student]]
            rows.append([*row, r.seconds, r.isolation, (r.digest or "")[:12], r.reason])
    else:
        raise ValueError(f"no table layout {layout!r}: there are {', '.join(FORMATS)}")
    return as_csv([header, *rows], EXCEL if layout == "excel" else PLAIN)


def _when(result: Result, late: LatePolicy | None) -> tuple[str, str]:
    """Return when a notebook was handed in, and who says so."""
    match late.handed_in(result) if late else None:
        case Stated(time):
            return time.astimezone(late.due.tzinfo).isoformat(), "list"
        case OfFile(time):
            return time.astimezone(late.due.tzinfo).isoformat(), "file"
        case _:
            return (result.file_time, "file") if result.file_time is not None else ("", "")


def as_csv(rows: Iterable[Iterable[str | float | None]], dialect: Dialect = PLAIN) -> str:
    """Write rows as CSV, harmless to a spreadsheet that opens it. None is an empty cell."""
    text = io.StringIO(dialect.mark)
    text.seek(0, io.SEEK_END)
    writer = csv.writer(text, delimiter=dialect.delimiter, lineterminator="\n")
    writer.writerows([_written(cell, dialect) for cell in row] for row in rows)
    return text.getvalue()


def _written(cell: str | float | None, dialect: Dialect) -> str:
    """Write a number as one, and keep a spreadsheet or a terminal from running what a student wrote.

    Wherever a cell may begin, a leading = + - @ makes a formula; an apostrophe before it makes text.
    """
    if cell is None:
        return ""
    if isinstance(cell, int | float):
        return f"{cell:g}".replace(".", dialect.decimal)
    return FORMULA.sub(r"\1'", plain(re.sub(r"[\t\r\n\v\f]+", " ", cell)))
