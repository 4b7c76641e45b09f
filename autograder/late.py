"""When a notebook was handed in, and what being late costs."""

import math
import os
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

from autograder import roster
from autograder.result import Result

DUE = ("due",)
TIMES = ("handed in", "Last modified (submission)", "submitted_at", "time")
MOODLE = ("%A, %d %B %Y, %I:%M %p", "%A, %d %B %Y, %H:%M", "%A, %B %d, %Y, %I:%M %p")


def file_time(notebook: Path) -> str | None:
    """Return the time of a notebook's file, in ISO format: all that there is where the LMS says nothing.

    None where the file system has a time that is in no calendar.
    """
    try:
        return datetime.fromtimestamp(notebook.stat().st_mtime, UTC).isoformat(timespec="seconds")
    except (ValueError, OverflowError):
        return None


def zone(name: str | None) -> tzinfo:
    """Return the zone with this IANA name; None: this machine's. Raises ValueError if there is none."""
    try:
        return ZoneInfo(name) if name is not None else _here()
    except (OSError, ValueError, LookupError):
        raise ValueError(f"no time zone {name!r}: write one like Europe/Zurich or UTC") from None


def _here() -> tzinfo:
    """Return this machine's zone with its clock changes, where it says which it is."""
    named = os.environ.get("TZ") or os.path.realpath("/etc/localtime").partition("/zoneinfo/")[2]
    return ZoneInfo(named) if named else datetime.now().astimezone().tzinfo or UTC


def read_times(path: Path, where: tzinfo, columns: Iterable[str] = TIMES) -> dict[str, datetime]:
    """Read one time a student: when it was handed in, from a CSV or Moodle's grading worksheet, or (DUE) is due.

    Of several times the last counts. Times without a zone are those of `where`. Raises ValueError for a row that is no
    time, and for a day without one.
    """
    rows = roster.rows(path)
    key, when = roster.column(path, rows, roster.IDS, "id"), roster.column(path, rows, columns, next(iter(columns)))
    times: dict[str, datetime] = {}
    for row in rows:
        if row[when] in ("", "-"):  # nothing was handed in, nothing was extended
            continue
        time = _time(row[when], where)
        if time is None:
            raise ValueError(f"{path}: {row[when]!r} of {row[key]!r} is no time; write one like 2027-03-01T23:59")
        student = unicodedata.normalize("NFC", row[key])
        times[student] = max(time, times.get(student, time))
    return times


def _time(text: str, where: tzinfo) -> datetime | None:
    if re.fullmatch(r"[\dW-]+", text):
        return None  # a day: whether its beginning or its end is meant, nobody says
    for read in (datetime.fromisoformat, *(lambda text, form=form: datetime.strptime(text, form) for form in MOODLE)):
        try:
            time = read(text)
        except ValueError:
            continue
        time = time if time.tzinfo else time.replace(tzinfo=where)
        try:
            time.astimezone(UTC), time.astimezone(where)
        except OverflowError:  # at an end of the calendar, and beyond it elsewhere
            return None
        return time
    return None


@dataclass(frozen=True)
class Stated:
    """A time that the LMS or the instructor states."""

    time: datetime


@dataclass(frozen=True)
class OfFile:
    """The time of a file: copying and unpacking change it."""

    time: datetime


@dataclass(frozen=True)
class LatePolicy:
    """Each day begun after `due` costs `percent` of the score, after `free` days that cost nothing.

    Days are those of the clock on the wall in the zone of `due`: the day of a clock change is one day. `extensions`
    hold a later time for single students.
    """

    due: datetime
    free: int = 0
    percent: float = 10.0
    times: Mapping[str, datetime] = field(default_factory=dict)
    extensions: Mapping[str, datetime] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a due time without a zone: it says no time. An extension that ends earlier extends nothing."""
        if self.due.tzinfo is None:
            raise ValueError(f"{self.due} has no time zone")
        for student, due in self.extensions.items():
            if due <= self.due:
                raise ValueError(f"the extension of {student!r} to {due} ends before the time of all, {self.due}")

    def due_for(self, student: str) -> datetime:
        """When one student's notebook is due."""
        return self.extensions.get(student, self.due).astimezone(self.due.tzinfo)

    def handed_in(self, result: Result) -> Stated | OfFile | None:
        """When a notebook was handed in, and who says so; None for who handed nothing in."""
        if result.student in self.times:
            return Stated(self.times[result.student])
        return None if result.file_time is None else OfFile(datetime.fromisoformat(result.file_time))

    def days(self, result: Result) -> int:
        """Days begun after the student's due time; 0 for who was in time or handed nothing in."""
        when, due = self.handed_in(result), self.due_for(result.student)
        if when is None or when.time <= due:
            return 0
        wall = when.time.astimezone(due.tzinfo).replace(tzinfo=None) - due.replace(tzinfo=None)
        return max(1, math.ceil(wall / timedelta(days=1)))

    def score(self, result: Result) -> float | None:
        """Return the score after the deduction; None stays None."""
        if result.score is None:
            return None
        share = max(0.0, 1 - self.percent / 100 * max(0, self.days(result) - self.free))
        return round(result.score * share, 4)
