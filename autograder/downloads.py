"""Find what each student handed in: nbgrader's folders, and what Moodle and Canvas give to download."""

import errno
import hashlib
import lzma
import os
import re
import shutil
import unicodedata
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from autograder.roster import Contradiction, Roster
from autograder.submission import LARGEST_NOTEBOOK

MOODLE = re.compile(r"(?P<name>.+)_(?P<number>\d+)_assignsubmission_(?:file|onlinetext)(?:_(?P<file>.*))?", re.DOTALL)
MOODLE_FOLDER = re.compile(r".+?_\d+_assignsubmission_(?P<plugin>file|onlinetext)_?", re.DOTALL)
CANVAS = re.compile(r"(?P<name>[^_]+)(?:_LATE)?_(?P<number>\d+)_\d+_(?P<file>.+)", re.DOTALL)
NOTEBOOK = (".ipynb", ".ipynb.txt")
MOST_MEMBERS = 20  # notebooks of an archive that a student made
UNPACKING = (
    OSError,
    ValueError,
    RuntimeError,
    NotImplementedError,
    EOFError,
    MemoryError,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
)
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)  # which is no student's fault
LONGEST_NAME = 200  # bytes of a student's id, which names files with some letters more


@dataclass
class HandedIn:
    """What one student handed in: notebooks, what could not be read and may hold one, and the download's own names."""

    notebooks: list[Path] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)  # of files and folders, as they lie there


@dataclass
class Found:
    """What lies in a folder: every student's notebooks; and why somebody is unknown, or something was ignored."""

    students: dict[str, HandedIn] = field(default_factory=dict)
    strangers: dict[str, str] = field(default_factory=dict)
    ignored: list[tuple[str, str]] = field(default_factory=list)


def plain(name: str) -> str:
    """Return a stranger's name as text that can be stored and shown: no half characters, no terminal's commands."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in unicodedata.normalize("NFC", name))


@dataclass(frozen=True)
class _File:
    """A file as the download names it, folder by folder, and where its content lies or why that can't be had.

    A folder with nothing in it is one without content.
    """

    parts: tuple[str, ...]
    content: Path | None = None
    why: str | None = None

    @property
    def is_noise(self) -> bool:
        """Whether a system put it there; behind the LMS's prefix, whose student may be called as such a file."""
        first = self.parts[0]
        match = MOODLE.fullmatch(first) or CANVAS.fullmatch(first)
        return any(map(_is_noise, (match["file"] or "" if match else first, *self.parts[1:])))

    @property
    def may_hold_a_notebook(self) -> bool:
        return self.parts[-1].lower().endswith((*NOTEBOOK, ".zip"))

    def __str__(self) -> str:
        return plain("/".join(self.parts))


def find(folder: Path, set_name: str, unpacked: Path, roster: Roster | None = None) -> Found:
    """Return every student's notebooks for one problem set, with absolute paths.

    Takes folders (or a zip) of `STUDENT/SET/*.ipynb` (nbgrader's layout), `STUDENT/*.ipynb`, `STUDENT.ipynb`, and
    Moodle's and Canvas's own names, which the roster maps to ids. Archives are unpacked into `unpacked`, which is the
    run's own. Who has no notebook, or stands in the roster only, is there too, with none. Raises OSError if there is no
    such folder.
    """
    found = Found({student: HandedIn() for student in roster.ids} if roster else {})
    shutil.rmtree(unpacked, ignore_errors=True)  # of an earlier run
    places = (unpacked / str(number) for number in count())
    if folder.is_file() and folder.suffix.lower() == ".zip":
        try:
            files = list(_members(folder, places, (*NOTEBOOK, ".zip")))
        except UNPACKING as error:
            _stop_if_full(error)
            raise OSError(f"{folder} can't be unpacked: {error}. Download it from the LMS again") from error
    elif folder.is_dir():
        files = list(_walk(folder.resolve(), unpacked.resolve().parent))
    else:
        raise FileNotFoundError(f"there is no folder {folder}")
    entries: dict[tuple[str, bool], list[_File]] = defaultdict(list)  # by name, and whether it is a folder
    for file in sorted(files, key=lambda file: file.parts):
        entries[file.parts[0], len(file.parts) > 1].append(file)
    for (name, is_folder), files in entries.items():
        if _File((name,)).is_noise and not (MOODLE.fullmatch(name) or CANVAS.fullmatch(name)):
            found.ignored.append((plain(name), "hidden, or made by macOS"))
            continue
        first = files[0]
        match = MOODLE.fullmatch(name) or (None if is_folder else CANVAS.fullmatch(name))
        if not (is_folder or match or first.may_hold_a_notebook):
            found.ignored.append((str(first), first.why or "no notebook"))
            continue
        student = _student(name if is_folder else _stem(name), match, roster, found)
        handed_in = found.students.setdefault(student, HandedIn())
        handed_in.names.append(name)
        of_set = [file for file in files if len(file.parts) > 2 and file.parts[1] == set_name]
        for file in files:
            if of_set and file not in of_set:
                found.ignored.append((str(file), f"not in the folder {set_name}"))
            elif file.is_noise:
                found.ignored.append((str(file), "hidden, or made by macOS"))
            else:
                _collect(file, places, handed_in, found)
    return found


def _student(stem: str, match: re.Match[str] | None, roster: Roster | None, found: Found) -> str:
    """Name the student who handed in what is called `stem`; `match` holds the LMS's name and number for him."""
    stem = unicodedata.normalize("NFC", stem)
    why = "not in the roster"
    if roster and stem in roster.ids:
        return stem
    if roster:
        try:
            of_lms = (match["name"], match["number"], match.re is MOODLE) if match else (stem,)
            if known := roster.student(*of_lms):
                return known
        except Contradiction as error:
            why = str(error)
    student = plain(f"{match['name']}_{match['number']}" if match else stem)
    if len(student.encode()) > LONGEST_NAME:
        student = f"{student[: LONGEST_NAME // 4]}-{_short(student)}"
    if student.startswith("."):
        student = f"_{student}"  # it names files, which would be hidden
    if roster:
        found.strangers[student] = why
    return student


def _collect(file: _File, places: Iterator[Path], handed_in: HandedIn, found: Found) -> None:
    """Add what one file of a student's holds."""
    if file.why is not None:
        handed_in.unreadable.append(f"{plain(file.parts[-1] or file.parts[-2])} {file.why}")
    elif file.content is None or not file.may_hold_a_notebook:
        if file.content is not None:
            found.ignored.append((str(file), "no notebook"))
    elif not file.parts[-1].lower().endswith(".zip"):
        _add(file, file.content, handed_in)
    else:
        name = plain(file.parts[-1])
        try:
            for member in _members(file.content, places, NOTEBOOK, MOST_MEMBERS - len(handed_in.notebooks)):
                if member.is_noise or not member.may_hold_a_notebook or member.parts[-1].lower().endswith(".zip"):
                    if member.content is not None or member.why is not None or member.may_hold_a_notebook:
                        found.ignored.append((f"{name}: {member}", member.why or "no notebook"))
                elif member.why is not None:
                    handed_in.unreadable.append(f"{member} in {name} {member.why}")
                elif member.content is not None:
                    _add(member, member.content, handed_in)
        except UNPACKING as error:
            _stop_if_full(error)
            handed_in.unreadable.append(f"{name} can't be unpacked: {error}")


def _add(file: _File, content: Path, handed_in: HandedIn) -> None:
    if len(handed_in.notebooks) < MOST_MEMBERS:
        handed_in.notebooks.append(content)
    else:
        handed_in.unreadable.append(f"{file} is one too many")


def _walk(folder: Path, results: Path) -> Iterator[_File]:
    """Yield the files below a folder, however deep; links, and what can't be read, with the reason."""
    waiting: list[tuple[Path, tuple[str, ...]]] = [(folder, ())]
    while waiting:
        at, parts = waiting.pop()
        if parts and at == results:  # this run's own folder, in that which it grades
            continue
        try:
            inside = sorted(os.scandir(at), key=lambda entry: entry.name)
        except OSError as error:
            if not parts:
                raise
            yield _File((*parts, ""), at, f"can't be read: {error.strerror or error}")
            continue
        if parts and not inside:
            yield _File((*parts, ""))
        for entry in inside:
            name, path = (*parts, entry.name), Path(entry.path)
            if entry.is_symlink():
                to_folder = os.path.isdir(path)
                may_hold = to_folder or entry.name.lower().endswith((*NOTEBOOK, ".zip"))
                why = "is a link and not a notebook of its own" if may_hold else None
                yield _File((*name, "") if to_folder else name, path, why)
            elif entry.is_dir(follow_symlinks=False):
                waiting.append((path, name))
            elif entry.is_file(follow_symlinks=False):
                yield _File(name, path)
            else:
                yield _File(name, path, "is no ordinary file")


def _members(
    archive: Path, places: Iterator[Path], endings: tuple[str, ...], most: int | None = None
) -> Iterator[_File]:
    """Yield an archive's members, each one's content in a place of its own if its name has one of the endings.

    With `most`, no more than as many, none of them larger than a notebook may be. What can't be unpacked says why.
    Raises one of UNPACKING if that is so of the archive.
    """
    if not archive.is_file():
        raise zipfile.BadZipFile("it is no ordinary file")
    with zipfile.ZipFile(archive) as file:
        for member in file.infolist():
            parts = tuple(part for part in member.filename.replace("\\", "/").split("/") if part not in ("", ".", ".."))
            if not parts and not member.is_dir():
                yield _File((member.filename,), why="names no file")
            if not parts:
                continue
            if member.is_dir():
                yield _File((*parts, ""))
                continue
            one = _File(parts)
            if one.is_noise or not parts[-1].lower().endswith(endings):
                yield _File(parts, archive)
            elif most is not None and (most <= 0 or member.file_size > LARGEST_NOTEBOOK):
                yield _File(parts, why="is too large, or one too many")
            else:
                most = None if most is None else most - 1
                content = next(places) / _fitting(parts[-1])
                try:
                    content.parent.mkdir(parents=True)
                    with file.open(member) as packed, content.open("xb") as out:
                        shutil.copyfileobj(packed, out)
                    yield _File(parts, content)
                except UNPACKING as error:
                    _stop_if_full(error)
                    shutil.rmtree(content.parent, ignore_errors=True)  # half of it is no notebook
                    yield _File(parts, why=f"can't be unpacked: {error}")


def _stop_if_full(error: BaseException) -> None:
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        raise error


def _fitting(name: str) -> str:
    """Return a file's name as this system can write it: its beginning and its ending, if it is too long."""
    if len(os.fsencode(name)) <= LONGEST_NAME:
        return name
    return f"{name[: LONGEST_NAME // 4]}-{_short(name)}{name[len(_stem(name)) :]}"


def moodle_folder(names: Iterable[str]) -> str | None:
    """Return the folder in which Moodle looks for a student's feedback: the download's own; None if there is none.

    Moodle 4.1 and later call it `NAME_NUMBER_assignsubmission_file`, older ones put a `_` behind it, and where the
    download has files instead, their names begin with it. A text typed in Moodle has a folder of its own.
    """
    found = [match for match in map(MOODLE_FOLDER.match, names) if match]
    found.sort(key=lambda match: match["plugin"] != "file")
    return found[0][0] if found else None


def _is_noise(name: str) -> bool:
    return (name.startswith(".") and name not in (".", "..")) or name == "__MACOSX"


def _stem(name: str) -> str:
    for ending in (*NOTEBOOK[::-1], ".zip"):
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return name


def _short(name: str) -> str:
    return hashlib.sha256(os.fsencode(name)).hexdigest()[:12]
