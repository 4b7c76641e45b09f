"""Make the JPEG files of cnnbook/pretrained/photographs from the packages that carry the pictures.

    pip download --no-deps scikit-image==0.26.0 scikit-learn==1.9.1 matplotlib==3.11.2 --dest FOLDER
    cd FOLDER && apt-get download gcompris-qt-data=3.1-2
    python tools/make_photographs.py FOLDER

photographs.json beside them says for each which package and file it is. The shorter side becomes SIDE pixels, textures
keep theirs; the quality is the highest of QUALITIES that stays below BYTES.
"""

import io
import json
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

TARGET = Path(__file__).parent.parent / "cnnbook" / "pretrained" / "photographs"
SIDE, BYTES, QUALITIES = 300, 60_000, range(92, 40, -2)
TEXTURES, TEXTURE_BYTES = ("brick", "grass", "gravel"), 80_000


def resources(rcc: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield names and contents of a Qt resource file: a tree of numbers, the names, and the data, big-endian."""
    version, tree, contents, names = struct.unpack(">4I", rcc[4:20])
    step = 14 if version < 2 else 22

    def walk(node: int) -> Iterator[tuple[str, bytes]]:
        at = tree + node * step
        name_at, flags = struct.unpack(">IH", rcc[at : at + 6])
        if flags & 2:  # a folder
            count, first = struct.unpack(">II", rcc[at + 6 : at + 14])
            for child in range(first, first + count):
                yield from walk(child)
            return
        (length,) = struct.unpack(">H", rcc[names + name_at : names + name_at + 2])
        name = rcc[names + name_at + 6 : names + name_at + 6 + 2 * length].decode("utf-16-be")
        start = contents + struct.unpack(">I", rcc[at + 10 : at + 14])[0]
        (size,) = struct.unpack(">I", rcc[start : start + 4])
        data = rcc[start + 4 : start + 4 + size]
        yield name, zlib.decompress(data[4:]) if flags & 1 else data

    yield from walk(0)


def read(folder: Path, package: str, file: str) -> bytes:
    """Return a file of a package in the folder; of a Debian package, "FILE.rcc:NAME" is a resource."""
    (archive,) = folder.glob(f"{package.replace('-', '?')}[-_]*")
    if archive.suffix == ".whl":
        return zipfile.ZipFile(archive).read(file)
    unpacked = subprocess.run(["dpkg-deb", "--fsys-tarfile", archive], capture_output=True, check=True).stdout
    path, name = file.split(":")
    packed = tarfile.open(fileobj=io.BytesIO(unpacked)).extractfile(f"./{path}")
    return dict(resources(packed.read()))[name]


def jpeg(picture: Image.Image, texture: bool) -> bytes:
    picture = picture.convert("L" if picture.mode in ("L", "I;16") else "RGB")
    if not texture:
        scale = min(1, SIDE / min(picture.size))
        picture = picture.resize([round(scale * side) for side in picture.size], Image.Resampling.LANCZOS)
    for quality in QUALITIES:
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=quality, optimize=True)
        if file.tell() <= (TEXTURE_BYTES if texture else BYTES):
            return file.getvalue()
    raise SystemExit("no quality is low enough")


def main(folder: Path) -> None:
    for entry in json.loads(TARGET.with_suffix(".json").read_text(encoding="utf-8")):
        name = entry["name"]
        picture = Image.open(io.BytesIO(read(folder, entry["package"], entry["file"])))
        (TARGET / f"{name}.jpg").write_bytes(jpeg(picture, name in TEXTURES))
        print(f"{name}.jpg: {(TARGET / f'{name}.jpg').stat().st_size:,} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
