"""What a problem set keeps from its students, and a search for it in everything that they can read.

A line is looked for without its white space, so that no indent, prompt or line number in front of it hides it, and in
whatever a file makes of it: HTML's tags and entities, the escapes of JSON, JavaScript and addresses, base64, archives,
PDF. What cannot be opened is named: nobody knows what it says.
"""

import ast
import base64
import binascii
import bz2
import gzip
import html
import io
import lzma
import re
import tarfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import unquote, unquote_plus

import numpy
import torch
from nbformat import NotebookNode
from pypdf import PdfReader

import cnnlib
from autograder import source

SECRET = re.compile(r"### BEGIN (SOLUTION|HIDDEN TESTS)\n.*?### END \1", re.DOTALL)
TELLING = 20  # letters and digits; a shorter line may well stand in a chapter too
IMPORT = re.compile(r"\s*(import|from)\s")  # says what the public API is called
NAME = re.compile(r"""["'](\w+)["'],?""")  # of a function, say, that all are asked for
API = (numpy, numpy.linalg, numpy.lib.stride_tricks, torch, torch.nn, torch.nn.functional, torch.Tensor)
BASE64 = re.compile(r"(?:[\w+/-]{60,}\s+)*[\w+/-]{24,}={0,2}", re.ASCII)
ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|(.))", re.DOTALL)
PERCENT = re.compile(r"%[0-9a-fA-F]{2}")
TAG = re.compile(r"<[^<>]*>")
INVISIBLE = re.compile("[\u00ad\u180e\u200b-\u200f\u2060-\u2064\ufeff]")  # soft hyphens, joiners, marks of order
COMPRESSED = {
    b"\x1f\x8b\x08": ("gzip", gzip.decompress),
    b"\xfd7zXZ\0": ("xz", lzma.decompress),
    **{b"BZh%d1AY&SY" % level: ("bzip2", bz2.decompress) for level in range(1, 10)},
}
CLOSED = {b"7z\xbc\xaf\x27\x1c": "7z", b"Rar!\x1a\x07": "rar", b"\x28\xb5\x2f\xfd": "zstd"}
ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "v": "\v"}


@dataclass(frozen=True)
class Secrets:
    """Lines that no student may see, and names that only such lines give to things."""

    lines: frozenset[str]
    names: frozenset[str]


def secrets(solution: NotebookNode, class_seed: int = 0) -> Secrets:
    """Return what a problem set keeps to itself.

    What the given text of any set says, or the library, is no secret, and neither is a word of NumPy's or torch's.
    """
    public = _public(class_seed) + _given(solution)
    hidden = [cell for cell in solution.cells if SECRET.search(cell.source)]
    lines = {
        line.strip() for cell in hidden for match in SECRET.finditer(cell.source) for line in match[0].splitlines()
    }
    lines = {line for line in lines if len(re.sub(r"\W", "", line)) >= TELLING and not IMPORT.match(line)}
    said, words = _squeezed(public), set(re.findall(r"\w+", public))
    lines = {line for line in lines if not (NAME.fullmatch(line) and NAME.fullmatch(line)[1] in words)}
    names = {name for cell in hidden if cell.cell_type == "code" for name in _bound(cell.source)}
    names = {name for name in names if re.fullmatch(r"[a-z]+_\w{6,}", name)}
    return Secrets(
        frozenset(line for line in lines if _squeezed(line) not in said),
        frozenset(names - words.union(*map(dir, API))),
    )


@cache
def _public(class_seed: int) -> str:
    """Return what every student has: the given text of all sets, and the library."""
    sources = [path.read_text(encoding="utf-8") for path in sorted(Path(cnnlib.__file__).parent.rglob("*.py"))]
    return "\n".join([*sources, *(_given(source.solution(name, class_seed)) for name in source.names())])


def _given(solution: NotebookNode) -> str:
    """Return what a set shows to all, cut from its source: a release that says too much does not make that public."""
    return "\n".join(SECRET.sub("", cell.source) for cell in solution.cells)


def _bound(code: str) -> Iterator[str]:
    """Yield the names that a cell gives to things; what it merely uses is somebody else's."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.arg):
            yield node.arg


def leaks(secrets: Mapping[str, Secrets], places: Iterable[Path]) -> Iterator[tuple[str, str]]:
    """Yield the set and a sentence for each secret that a file says. `places` are folders and files of any kind."""
    sets: dict[str, list[str]] = {}
    for name, kept in secrets.items():
        for line in kept.lines:
            sets.setdefault(line, []).append(name)
    search = Search(sets)
    for place in places:
        files = sorted(path for path in place.rglob("*") if path.is_file()) if place.is_dir() else [place]
        for path in files:
            for where, text in texts(str(path), path.read_bytes()):
                if isinstance(text, Unopened):
                    yield from ((name, f"{where} cannot be opened: {text.why}") for name in secrets)
                    continue
                yield from ((name, f"{where} holds {line!r}") for line in search.told(text) for name in sets[line])
                if where.endswith("searchindex.js"):  # it holds the stems of words
                    stems = text.lower()
                    for name, kept in secrets.items():
                        indexed = (word for word in sorted(kept.names) if word[:-3].lower() in stems)
                        yield from ((name, f"{where} indexes {word!r}") for word in indexed)


@dataclass(frozen=True)
class Unopened:
    """Why nobody knows what a file says."""

    why: str


def texts(where: str, content: bytes) -> Iterator[tuple[str, str | Unopened]]:
    """Yield the text of a file, or of the files inside it, each with where it stands."""
    if _is_packed(content):
        try:
            inside = list(_inside(content))
        except Exception as error:  # a damaged file fails in every way that there is; whatever it is, it is named
            yield where, Unopened(f"{type(error).__name__}: {error}")
            return
        for name, inner in inside:
            yield from texts(where + name, inner)
        return
    text = content.decode("utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8", "replace")
    yield where, re.sub(r"[\w+/]{400,}", "", text, flags=re.ASCII)  # pictures and fonts: no line of code is that long
    for run in BASE64.finditer(_unescaped(text)):
        packed = re.sub(r"\s", "", run[0]).rstrip("=").translate(str.maketrans("-_", "+/"))
        try:
            inner = base64.b64decode(packed + "=" * (-len(packed) % 4), validate=True)
            if not _is_packed(inner):
                inner.decode("utf-8")
        except (binascii.Error, UnicodeDecodeError):
            continue  # a picture, a hash, a long word
        yield from texts(f"{where} (base64)", inner)


def _is_packed(content: bytes) -> bool:
    known = (b"PK\x03\x04", b"%PDF-", *COMPRESSED, *CLOSED)
    return content.startswith(known) or content[257:262] == b"ustar" or zipfile.is_zipfile(io.BytesIO(content))


def _inside(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield what a packed file holds, each with what to add to the file's name. Raises whatever its reader raises."""
    file = io.BytesIO(content)
    for start, kind in CLOSED.items():
        if content.startswith(start):
            raise ValueError(f"a file of the kind {kind}, which is not read here")
    for start, (kind, decompress) in COMPRESSED.items():
        if content.startswith(start):
            yield f" ({kind})", decompress(content)
            return
    if content.startswith(b"%PDF-"):
        document = PdfReader(file)
        for number, page in enumerate(document.pages, 1):
            yield f" (page {number})", page.extract_text().encode(errors="replace")
        for name, attached in document.attachments.items():
            yield from ((f":{name}", inner) for inner in attached)
    elif content[257:262] == b"ustar":
        with tarfile.open(fileobj=file, mode="r:") as archive:
            for member in archive:
                if member.isfile():
                    yield f":{member.name}", archive.extractfile(member).read()
    else:
        with zipfile.ZipFile(file) as archive:
            begins = min((member.header_offset for member in archive.infolist()), default=len(content))
            if begins:
                yield " (before the zip)", content[:begins]
            for name in archive.namelist():
                yield f":{name}", archive.read(name)


class Search:
    """Lines to look for, each with what finds it quickly."""

    def __init__(self, lines: Iterable[str]) -> None:
        self.lines = [(line, frozenset(re.findall(r"\w+", line)), _squeezed(line)) for line in sorted(lines)]

    def told(self, text: str) -> list[str]:
        """Return the lines that a text says in one reading or another."""
        found = {}
        for reading in _readings(text):
            reading = INVISIBLE.sub("", reading)
            words = set(re.findall(r"\w+", reading))
            likely = [(line, squeezed) for line, parts, squeezed in self.lines if parts <= words]
            if likely:
                said = _squeezed(reading)
                found |= {line: None for line, squeezed in likely if squeezed in said}
        return sorted(found)


def _readings(text: str) -> Iterator[str]:
    """Undo what HTML's tags and entities and a string's escapes do to a line of code, each inside the other."""
    if "\0" in text:  # a picture, a font: nothing in it is written in another way
        yield text
        return
    plain = _unescaped(text)
    both = _unescaped(html.unescape(plain))
    readings = [text, plain, both, html.unescape(text), *(html.unescape(TAG.sub("", r)) for r in (text, plain, both))]
    if PERCENT.search(text):
        readings += [decode(reading) for reading in (text, plain, both) for decode in (unquote, unquote_plus)]
    yield from dict.fromkeys(readings)


def _unescaped(text: str) -> str:
    def character(match: re.Match) -> str:
        code, byte, plain = match.groups()
        return chr(int(code or byte, 16)) if code or byte else ESCAPED.get(plain, plain)

    return ESCAPE.sub(character, text)


def _squeezed(text: str) -> str:
    return "".join(text.split())
