"""Makers of every kind of image file that lies about, good and bad, in the real formats."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

EXIF_TAG = 0x0112


def scene(seed: int, side: int = 64) -> Image.Image:
    """A smooth RGB picture that looks like no other seed's."""
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, name: str, **options) -> bytes:
    """The bytes of a file in the format (PNG, JPEG, ...)."""
    file = io.BytesIO()
    image.save(file, name, **options)
    return file.getvalue()


def turned_exif(orientation: int = 6) -> Image.Exif:
    """Says that the camera was held otherwise; 6 is turned by 90 degrees."""
    exif = Image.Exif()
    exif[EXIF_TAG] = orientation
    return exif


def raw_png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    """A PNG by hand, for what Pillow does not write (16-bit colour) or only with much memory (bombs)."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def deep_colour(seed: int) -> bytes:
    """A PNG of a scene in 16 bits a channel."""
    pixels = np.asarray(scene(seed), dtype=np.uint16) * 257
    return raw_png(64, 64, 16, 2, b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels))


def bomb() -> bytes:
    """A few bytes that claim 400 million pixels."""
    return raw_png(20_000, 20_000, 1, 0, b"\0" * 1000)


def frames(name: str, n: int = 3) -> bytes:
    """An animation of plain grey frames, the first of level 40, the others lighter."""
    first, *others = (Image.new("RGB", (64, 64), (40 + 60 * index,) * 3) for index in range(n))
    return encoded(first, name, save_all=True, append_images=others, **({"lossless": True} if name == "WEBP" else {}))


def deep_grey(seed: int) -> Image.Image:
    """A scene in one channel of 16 bits."""
    return Image.fromarray(np.asarray(scene(seed).convert("L"), dtype=np.uint16) * 257)


def see_through(seed: int) -> Image.Image:
    """A scene whose left half is transparent."""
    image = scene(seed).convert("RGBA")
    image.paste((0, 0, 0, 0), (0, 0, 32, 64))
    return image


def fill_zoo(folder: Path) -> None:
    """One file of each kind that is of use, none of which looks like another; the name says what it is."""
    folder.mkdir(parents=True)
    files = {
        "cmyk.jpg": encoded(scene(1).convert("CMYK"), "JPEG"),
        "deep_grey.png": encoded(deep_grey(2), "PNG"),
        "deep_colour.png": deep_colour(6),
        "palette.png": encoded(scene(3).quantize(64), "PNG"),
        "alpha.png": encoded(see_through(4), "PNG"),
        "animated.gif": frames("GIF"),
        "turned.jpg": encoded(scene(5), "JPEG", exif=turned_exif()),
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)


def fill_sickbay(folder: Path) -> None:
    """One file of each kind that is refused; the name says what is wrong with it."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = encoded(scene(9), "JPEG")
    files = {
        "bomb.png": bomb(),
        "empty.jpg": b"",
        "page.jpg": b"<html>404</html>",
        "truncated.jpg": whole[: len(whole) // 2],
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
