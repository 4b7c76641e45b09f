"""One picture in every mode, depth and orientation that Pillow knows: seen alike, or refused by name."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from cnnlib import data
from cnnlib.data import DataFileError, ImageFolder, View

SIZE = 24
GREY = np.linspace(0, 1, SIZE)[None, :] * np.linspace(0.2, 1, SIZE)[:, None]  # no symmetry
COLOUR = np.stack([GREY, GREY[:, ::-1], GREY.T[::-1]], -1)


def eight(values):
    return np.rint(values * 255).astype(np.uint8)


def encoded(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def seen(tmp_path, content, name="picture.png"):
    """Return a picture as an ImageFolder shows it, (H, W, 3)."""
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_bytes(content)
    folder = ImageFolder(tmp_path, View(size=SIZE, resize=SIZE, augment="none"))
    (made,) = data.batches(folder, 2)
    return made.images[0].transpose(1, 2, 0)


def grey16(kind):
    return lambda: encoded(Image.fromarray(np.rint(GREY * 65535).astype(np.uint16)), kind)


def pgm(most):
    return lambda: b"P5\n%d %d\n%d\n" % (SIZE, SIZE, most) + np.rint(GREY * most).astype(">u2").tobytes()


def tiff12():
    """Pillow reads 12 bits but doesn't write them."""
    values = np.rint(GREY * 4095).astype(int).reshape(-1, 2)
    packed = np.stack([values[:, 0] >> 4, (values[:, 0] & 15) << 4 | values[:, 1] >> 8, values[:, 1] & 255], -1)
    content = packed.astype(np.uint8).tobytes()
    tags = {256: SIZE, 257: SIZE, 258: 12, 259: 1, 262: 1, 273: 8, 277: 1, 278: SIZE, 279: len(content)}
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    header = b"II*\0" + struct.pack("<I", 8 + len(content))
    return header + content + struct.pack("<H", len(tags)) + directory + bytes(4)


def deep_png(colour_type, channels):
    """Pillow reads 16 bits a channel but doesn't write them."""
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    pixels = np.rint(channels * 65535).astype(">u2").reshape(SIZE, -1)
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", SIZE, SIZE, 16, colour_type, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def opaque(values):
    return np.concatenate([values, np.ones((SIZE, SIZE, 1))], -1)


def lab():
    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    return encoded(ImageCms.applyTransform(Image.fromarray(eight(COLOUR)), to_lab), "TIFF")


def palette():
    return encoded(Image.fromarray(eight(COLOUR)).quantize(256), "PNG")


PICTURES = {  # content, what is to be seen, and how exactly
    "grey, 8 bits": (lambda: encoded(Image.fromarray(eight(GREY)), "PNG"), GREY, 0.003),
    "grey, 4 bits": (
        lambda: encoded(Image.fromarray(np.rint(GREY * 15).astype("u1") * 17).quantize(16), "PNG", bits=4),
        GREY,
        0.05,
    ),
    "grey, 16 bits, PNG": (grey16("PNG"), GREY, 0.003),
    "grey, 16 bits, TIFF": (grey16("TIFF"), GREY, 0.003),
    "grey, 16 bits, JPEG 2000": (grey16("JPEG2000"), GREY, 0.003),
    "grey, 12 bits, TIFF": (tiff12, GREY, 0.003),
    "grey, 16 bits, PGM": (pgm(65535), GREY, 0.003),
    "grey, 10 bits, PGM": (pgm(1023), GREY, 0.003),
    "grey and alpha": (lambda: encoded(Image.fromarray(eight(GREY)).convert("LA"), "PNG"), GREY, 0.003),
    "grey and alpha, 16 bits": (lambda: deep_png(4, opaque(GREY[..., None])), GREY, 0.005),
    "black and white": (lambda: encoded(Image.fromarray(GREY > 0.5), "PNG"), (GREY > 0.5) * 1.0, 0.003),
    "black and white, TIFF": (lambda: encoded(Image.fromarray(GREY > 0.5), "TIFF"), (GREY > 0.5) * 1.0, 0.003),
    "colour": (lambda: encoded(Image.fromarray(eight(COLOUR)), "PNG"), COLOUR, 0.003),
    "colour, 16 bits": (lambda: deep_png(2, COLOUR), COLOUR, 0.005),
    "colour and alpha": (lambda: encoded(Image.fromarray(eight(COLOUR)).convert("RGBA"), "PNG"), COLOUR, 0.003),
    "colour and alpha, 16 bits": (lambda: deep_png(6, opaque(COLOUR)), COLOUR, 0.005),
    "palette": (palette, COLOUR, 0.15),
    "GIF": (lambda: encoded(Image.fromarray(eight(GREY)), "GIF"), GREY, 0.005),
    "BMP": (lambda: encoded(Image.fromarray(eight(COLOUR)), "BMP"), COLOUR, 0.003),
    "WebP": (lambda: encoded(Image.fromarray(eight(COLOUR)), "WEBP", lossless=True), COLOUR, 0.003),
    "grey JPEG": (lambda: encoded(Image.fromarray(eight(GREY)), "JPEG", quality=100), GREY, 0.02),
    "CMYK JPEG": (lambda: encoded(Image.fromarray(eight(COLOUR)).convert("CMYK"), "JPEG", quality=100), COLOUR, 0.04),
    "CMYK TIFF": (lambda: encoded(Image.fromarray(eight(COLOUR)).convert("CMYK"), "TIFF"), COLOUR, 0.005),
    "YCbCr TIFF": (lambda: encoded(Image.fromarray(eight(COLOUR)).convert("YCbCr"), "TIFF"), COLOUR, 0.02),
    "Lab TIFF": (lab, COLOUR, 0.15),
}


@pytest.mark.parametrize("make, true, most", PICTURES.values(), ids=PICTURES)
def test_every_kind_of_picture_has_its_values(make, true, most, tmp_path):
    found = seen(tmp_path, make())
    assert found.dtype == np.float32
    wanted = true if true.ndim == 3 else true[..., None]
    assert np.abs(found - wanted).max() < most


@pytest.mark.parametrize(
    "image, kind, named",
    [
        (Image.fromarray(GREY.astype("f4")), "TIFF", "its pixels are floats, Pillow's mode F"),
        (Image.fromarray((GREY * 2e9).astype("i4")), "TIFF", "its pixels are 32-bit integers, Pillow's mode I"),
        (Image.fromarray((GREY * 200).astype("i4")), "TIFF", "which of them is white isn't known"),
    ],
)
def test_pictures_without_a_range_are_refused_by_name(image, kind, named, tmp_path):
    with pytest.raises(DataFileError, match=f"picture.png .*{named}"):
        seen(tmp_path, encoded(image, kind))


STORED = {  # how a picture is stored so that the orientation shows it upright: EXIF 2.32, tag Orientation
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.swapaxes(0, 1),
    6: lambda p: np.rot90(p),
    7: lambda p: p[::-1, ::-1].swapaxes(0, 1),
    8: lambda p: np.rot90(p, -1),
    0: lambda p: p,  # there is no such orientation
    9: lambda p: p,
}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", STORED)
def test_pictures_are_turned_upright(orientation, kind, tmp_path):
    exif = Image.Exif()
    exif[274] = orientation
    stored = np.ascontiguousarray(STORED[orientation](eight(COLOUR)))
    options = {"lossless": True} if kind == "WEBP" else {"quality": 100, "subsampling": 0} if kind == "JPEG" else {}
    content = encoded(Image.fromarray(stored), kind, exif=exif, **options)
    assert np.abs(seen(tmp_path, content) - COLOUR).max() < 0.03


def test_deep_pictures_are_turned_too(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    stored = np.rot90(np.rint(GREY * 65535).astype(np.uint16)).copy()
    found = seen(tmp_path, encoded(Image.fromarray(stored), "PNG", exif=exif))
    assert np.abs(found - GREY[..., None]).max() < 0.003


@pytest.mark.parametrize("seed", range(40))
def test_damaged_exif_leaves_the_picture_as_it_is(seed, tmp_path):
    exif = Image.Exif()
    exif[274], exif[271] = 3, "a camera"
    content = encoded(Image.fromarray(eight(COLOUR)), "JPEG", exif=exif, quality=100, subsampling=0)
    start = content.index(b"Exif\0\0") + 6
    rng = np.random.default_rng(seed)
    broken = bytearray(content)
    for place in rng.integers(start, start + len(exif.tobytes()) - 6, 4):
        broken[place] = rng.integers(256)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("warnings.warn", lambda *_, **__: None)  # Pillow's, of corrupt EXIF
        found = seen(tmp_path, bytes(broken))
    assert min(np.abs(np.ascontiguousarray(STORED[k](found)) - COLOUR).max() for k in range(1, 9)) < 0.03
