"""Who is in the class: a CSV of one's own, Moodle's grading worksheet, or Canvas's gradebook."""

import csv
import io
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

IDS = ("id", "ID number", "SIS User ID", "SIS Login ID")
NUMBERS = ("number", "Identifier", "ID")
NAMES = (("name",), ("Full name",), ("Student",), ("First name", "Last name"), ("first_name", "last_name"))
NO_STUDENT = ("Points Possible", "Student, Test")  # lines of Canvas's own


class Contradiction(ValueError):
    """What the LMS calls a student fits two of them."""


@dataclass(frozen=True)
class Roster:
    """Students' ids, and the ids by the LMS's own number and by name; a name of two students is none.

    `names` has each name with gaps between its words and, as Canvas calls files, without.
    """

    ids: tuple[str, ...] = ()
    numbers: Mapping[str, str] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)

    def student(self, name: str, number: str | None = None, gaps: bool = True) -> str | None:
        """Return the id of who hands in under a name or a number of the LMS; None if nobody fits.

        Raises Contradiction if the number is one student's and the name another's.
        """
        named = self.names.get((" " if gaps else "").join(_words(name)))
        if number is None:
            return name if name in self.ids else named
        numbered = self.numbers.get(number)
        if numbered and named and numbered != named:
            raise Contradiction(f"its number is {numbered}'s and its name {named}'s")
        return numbered or named


def rows(path: Path) -> list[dict[str, str]]:
    """Read a CSV with commas or semicolons. Raises ValueError if it is none."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        first = text.partition("\n")[0]
        # strict: a quotation mark that is never closed would swallow all lines behind it
        read = csv.DictReader(
            io.StringIO(text), strict=True, delimiter=";" if first.count(";") > first.count(",") else ","
        )
        return [{key: (value or "").strip() for key, value in row.items() if key} for row in read]
    except (UnicodeDecodeError, csv.Error, AttributeError) as error:
        raise ValueError(f"{path} is no CSV in UTF-8: {error}") from None


def column(path: Path, found: Iterable[Mapping[str, str]], names: Iterable[str], what: str) -> str:
    """Return which of `names` a CSV has. Raises ValueError, with what it has instead."""
    header = list(next(iter(found), {}))
    for name in names:
        if name in header:
            return name
    raise ValueError(f"{path} has no column {what} ({', '.join(names)}); it has {', '.join(header) or 'no rows'}")


def read(path: Path) -> Roster:
    """Read a roster. Raises ValueError for a file without ids, and for an id that can name no file."""
    found = [row for row in rows(path) if not _is_of_canvas(row)]
    key = column(path, found, IDS, "id")
    numbers: dict[str, str] = {}
    names: dict[str, str | None] = {}
    for place, row in enumerate(found, 1):
        student = row[key] = unicodedata.normalize("NFC", row[key])
        if not student.isprintable() or not student or "/" in student or student.startswith("."):
            about = ", ".join(value for value in row.values() if value)
            raise ValueError(f"{path}, row {place} ({about}), has an {key} that can name no file: {student!r}")
        if len(student.encode()) > 200:
            raise ValueError(
                f"{path}, row {place}, has an {key} that can name no file, of more than 200 bytes: {student!r}"
            )
        for column_name in NUMBERS:
            if row.get(column_name) and column_name != key:
                number = row[column_name].removeprefix("Participant ")
                if numbers.setdefault(number, student) != student:
                    raise ValueError(f"{path} gives the number {number} to {numbers[number]!r} and to {student!r}")
        for parts in NAMES:
            words = _words(" ".join(row.get(part, "") for part in parts))
            for turn in range(len(words)):  # "Doe, Jane" and "Jane Doe" are one name
                for each in {gap.join(words[turn:] + words[:turn]) for gap in (" ", "")}:
                    names[each] = student if names.get(each, student) == student else None
    ids = tuple(dict.fromkeys(row[key] for row in found))
    return Roster(ids, numbers, {name: student for name, student in names.items() if student is not None})


def _is_of_canvas(row: Mapping[str, str]) -> bool:
    """Whether a row is no student's: blank, Canvas's test student, or one of the lines below Canvas's header."""
    student = row.get("Student")
    others = [value for name, value in row.items() if name in (*IDS, "Student", *NUMBERS) and value]
    return not any(row.values()) or student in NO_STUDENT or (student == "" and not others)


def _words(name: str) -> list[str]:
    return re.findall(r"[^\W_]+", unicodedata.normalize("NFKC", name).casefold())
