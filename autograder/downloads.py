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
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from autograder.roster import Roster
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
    """What lies in a folder: every student's notebooks, who of them is unknown, and what was ignored and why."""

    students: dict[str, HandedIn] = field(default_factory=dict)
    strangers: list[str] = field(default_factory=list)  # not in the roster, where there is one
    ignored: list[tuple[str, str]] = field(default_factory=list)


def plain(name: str) -> str:
    """Return a stranger's name as text that can be stored and shown: no half characters, no terminal's commands."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in unicodedata.normalize("NFC", name))


def find(folder: Path, set_name: str, unpacked: Path, roster: Roster | None = None) -> Found:
    """Return every student's notebooks for one problem set, with absolute paths.

    Takes folders (or a zip) of `STUDENT/SET/*.ipynb` (nbgrader's layout), `STUDENT/*.ipynb`, `STUDENT.ipynb`, and
    Moodle's and Canvas's own names, which the roster maps to ids. Archives are unpacked into `unpacked`. Who has no
    notebook, or stands in the roster only, is there too, with none. Raises OSError if there is no such folder.
    """
    found = Found({student: HandedIn() for student in roster.ids} if roster else {})
    asked, folder = folder, folder.resolve()
    broken: dict[str, list[str]] = {}  # by a student's name in the download
    if folder.is_file() and folder.suffix.lower() == ".zip":
        target = unpacked / "download"
        try:
            for name, why in _unpack(folder, target, found, students=True):
                broken.setdefault(name.split("/")[0], []).append(f"{plain(name)} can't be unpacked: {why}")
        except zipfile.BadZipFile as error:
            raise OSError(f"{asked} can't be unpacked: {error}. Download it from the LMS again") from error
        folder = target
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {asked}")
    for entry in sorted(folder.iterdir()):
        is_folder = entry.is_dir()
        if _is_noise(entry.name):
            found.ignored.append((plain(entry.name), "hidden, or made by macOS"))
        elif is_folder or _may_hold_a_notebook(entry.name):
            student = _student(entry.name if is_folder else _stem(entry.name), entry.name, roster, found)
            handed_in = found.students.setdefault(student, HandedIn())
            handed_in.names.append(entry.name)
            handed_in.unreadable += broken.pop(entry.name, [])
            own = unpacked / "students" / student
            match = CANVAS.fullmatch(entry.name) or MOODLE.fullmatch(entry.name)
            if match and _is_noise(match["file"] or ""):  # behind the LMS's prefix
                found.ignored.append((plain(entry.name), "hidden, or made by macOS"))
                continue
            _collect(entry, set_name, own, handed_in, found)
        else:
            if CANVAS.fullmatch(entry.name) or MOODLE.fullmatch(entry.name):  # who sent something else is there, too
                student = _student(entry.name, entry.name, roster, found)
                found.students.setdefault(student, HandedIn()).names.append(entry.name)
            found.ignored.append((plain(entry.name), "no notebook"))
    return found


def _student(stem: str, name: str, roster: Roster | None, found: Found) -> str:
    """Name the student who handed in the folder or file `name`."""
    stem = unicodedata.normalize("NFC", plain(stem))
    match = MOODLE.fullmatch(plain(name)) or CANVAS.fullmatch(plain(name))
    known = None
    if roster:
        known = roster.student(match["name"], match["number"]) if match else roster.student(stem)
    student = known or (f"{match['name']}_{match['number']}" if match else stem)
    if len(student.encode()) > LONGEST_NAME:
        student = f"{student[: LONGEST_NAME // 4]}-{_short(student)}"
    if roster and known is None and student not in found.strangers:
        found.strangers.append(student)
    return student


def _collect(entry: Path, set_name: str, unpacked: Path, handed_in: HandedIn, found: Found) -> None:
    """Add what one folder or file of a student's holds."""
    if entry.is_symlink():
        handed_in.unreadable.append(f"{plain(entry.name)} is a link and not a notebook of its own")
        return
    try:
        if entry.is_dir():
            inner = entry / set_name
            for path in sorted((inner if inner.is_dir() and not inner.is_symlink() else entry).iterdir()):
                if _is_noise(path.name):
                    found.ignored.append((plain(f"{entry.name}/{path.name}"), "hidden, or made by macOS"))
                elif path.is_dir() or _may_hold_a_notebook(path.name):
                    _collect(path, set_name, unpacked / _short(path.name), handed_in, found)
                else:
                    found.ignored.append((plain(f"{entry.name}/{path.name}"), "no notebook"))
        elif entry.suffix.lower() == ".zip":
            try:
                failed = _unpack(entry, unpacked, found)
            except zipfile.BadZipFile as error:
                failed = [("", str(error))]
            name = plain(entry.name)
            handed_in.unreadable += [
                f"{plain(member)} in {name}: {why}" if member else f"{name} can't be unpacked: {why}"
                for member, why in failed
            ]
            handed_in.notebooks += [path for path in sorted(unpacked.rglob("*")) if path.is_file()]
        else:
            handed_in.notebooks.append(entry)
    except OSError as error:
        if error.errno in DISK_FULL:
            raise
        handed_in.unreadable.append(f"{plain(entry.name)} can't be read: {error.strerror or error}")


def _unpack(archive: Path, target: Path, found: Found, students: bool = False) -> list[tuple[str, str]]:
    """Unpack what may be a notebook; what else there is, is ignored, and said to be. Return what failed, and why.

    With `students` it is the download of a class, each of whose folders and files is a student's; one that can't be
    unpacked keeps none of the others. Raises zipfile.BadZipFile where nothing can be.
    """
    shutil.rmtree(target, ignore_errors=True)  # of an earlier run
    target.mkdir(parents=True)
    name, failed, kept = plain(archive.name), [], 0
    endings = (*NOTEBOOK, ".zip") if students else NOTEBOOK
    with zipfile.ZipFile(archive) as file:
        for member in file.infolist():
            asked = member.filename
            parts = [_fitting(part) for part in asked.split("/") if part not in ("", ".", "..")]
            if not parts:
                continue
            inside = len(parts) > 1 or member.is_dir()
            wanted = not any(map(_is_noise, parts)) and parts[-1].lower().endswith(endings)
            try:
                if students and not _is_noise(parts[0]):  # a student's, whatever it holds
                    if inside:
                        (target / parts[0]).mkdir(exist_ok=True)
                    elif not wanted:
                        (target / parts[0]).touch()
                        continue  # ignored among the files of the folder
                if member.is_dir():
                    continue
                if not wanted:
                    found.ignored.append((f"{name}: {plain(asked)}", "no notebook"))
                elif not students and (kept >= MOST_MEMBERS or member.file_size > LARGEST_NOTEBOOK):
                    failed.append((asked, "is too large, or one too many"))
                else:
                    kept += 1
                    member.filename = "/".join(parts)
                    file.extract(member, target)
            except UNPACKING as error:
                if isinstance(error, OSError) and error.errno in DISK_FULL:
                    raise
                failed.append(("/".join(parts), str(error)))
                if wanted:
                    target.joinpath(*parts).unlink(missing_ok=True)  # half of it is no notebook
                    if students and not inside:
                        target.joinpath(*parts).mkdir()  # of a student who is there all the same
    return failed


def _fitting(part: str) -> str:
    """Return a part of a member's path as this system can name it: its beginning and its ending, if it is too long."""
    if len(os.fsencode(part)) <= LONGEST_NAME:
        return part
    return f"{part[: LONGEST_NAME // 4]}-{_short(part)}{part[len(_stem(part)) :]}"


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


def _may_hold_a_notebook(name: str) -> bool:
    return name.lower().endswith((*NOTEBOOK, ".zip"))


def _stem(name: str) -> str:
    for ending in (*NOTEBOOK[::-1], ".zip"):
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return name


def _short(name: str) -> str:
    return hashlib.sha256(os.fsencode(name)).hexdigest()[:12]
