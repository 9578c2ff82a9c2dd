"""Image files as they lie about: which of them are opened, what kinds there are, why one cannot be used."""

from contextlib import suppress
from enum import Flag, auto
from pathlib import Path

from PIL import Image

from datamodules.folder_scan import EXTENSIONS
from datamodules.transforms import ORIENTATION, TURNS

MAX_PIXELS = 89_478_485
"""Width x height that is still opened; as many as Pillow takes for harmless (a quarter of a gigabyte of RGB)."""

_formats = Image.registered_extensions()
# Named one by one: Pillow otherwise hands a file to whatever reader its first bytes ask for, Ghostscript among them.
FORMATS = sorted({_formats[ending] for ending in EXTENSIONS if ending in _formats})
_MULTI_PICTURE = "MPO"  # what the JPEG reader calls one with a preview or a depth map behind it, as telephones write


class Kind(Flag):
    """What a file may be besides a plain image; those of BAD are not used, all others are treated as they need it."""

    EMPTY = auto()
    UNREADABLE = auto()
    TRUNCATED = auto()
    BOMB = auto()
    MISNAMED = auto()
    CMYK = auto()
    DEEP = auto()
    PALETTE = auto()
    ALPHA = auto()
    ANIMATED = auto()
    TURNED = auto()


BAD = Kind.EMPTY | Kind.UNREADABLE | Kind.TRUNCATED | Kind.BOMB
WORDS = {
    Kind.EMPTY: "zero bytes",
    Kind.UNREADABLE: "unreadable",
    Kind.TRUNCATED: "truncated or damaged",
    Kind.BOMB: "decompression bomb",
    Kind.MISNAMED: "mis-named",
    Kind.CMYK: "CMYK",
    Kind.DEEP: "16-bit",
    Kind.PALETTE: "palette",
    Kind.ALPHA: "alpha",
    Kind.ANIMATED: "animated",
    Kind.TURNED: "EXIF-rotated",
}


class Bomb(ValueError):
    """Few bytes on disk that would fill the memory."""


def open_image(path: Path) -> Image.Image:
    """Opens an image file without decoding it.

    Raises:
        Bomb: It claims more than MAX_PIXELS.
        Exception: Whatever Pillow raises about damaged bytes; `diagnose` says what it comes from.
    """
    image = Image.open(path, formats=FORMATS)
    if image.width * image.height > MAX_PIXELS:
        size = f"{image.width:,} x {image.height:,}"
        image.close()
        raise Bomb(f"{size} pixels, more than the {MAX_PIXELS:,} that are opened")
    return image


def diagnose(path: Path, error: Exception) -> tuple[Kind, str]:
    """One of BAD and the reason in words, for a file that raised an error while it was opened or decoded."""
    if isinstance(error, Bomb):
        return Kind.BOMB, str(error)
    if isinstance(error, Image.DecompressionBombError):  # Pillow's own, before the file was handed over
        return Kind.BOMB, f"far more than the {MAX_PIXELS:,} pixels that are opened"
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as cause:
        return Kind.UNREADABLE, cause.strerror or str(cause)
    if not head:
        return Kind.EMPTY, "nothing in the file"
    found = begins_as(head)
    if found is None:
        return Kind.UNREADABLE, f"no image of a known format, it begins with {head[:8]!r}"
    # Readers say "cannot identify" of a file that ends within its header, and name it by its whole path.
    why = "it ends too early" if isinstance(error, Image.UnidentifiedImageError) else str(error)
    return Kind.TRUNCATED, f"begins as {found}, then: {why or type(error).__name__}"


def explained(path: Path, error: Exception) -> str:
    """`diagnose` as one phrase, for a message."""
    kind, why = diagnose(path, error)
    return f"{WORDS[kind]}: {why}"


def begins_as(head: bytes) -> str | None:
    """The format of which these first 16 bytes are the signature, by Pillow's own readers; None for any other file."""
    for name in FORMATS:
        accept = Image.OPEN[name][1]
        if accept is not None and accept(head) is True:
            return name
    return None


def kinds_of(image: Image.Image, path: Path) -> Kind:
    """All that an opened image is besides a plain one, by its header alone; to be asked before it is decoded."""
    kinds = Kind(0)
    found = "JPEG" if image.format == _MULTI_PICTURE else image.format
    if _formats.get(path.suffix.lower()) != found:
        kinds |= Kind.MISNAMED
    if image.mode == "CMYK":
        kinds |= Kind.CMYK
    if image.mode in ("P", "PA"):
        kinds |= Kind.PALETTE
    # Colour of 16 bits has the mode of 8, as Pillow leaves the lower bits out; the reader's own word for it tells.
    if image.mode in ("F", "I") or any(";16" in word for word in (image.mode, str(getattr(image, "tile", "")))):
        kinds |= Kind.DEEP
    with suppress(Exception):  # whatever a damaged header raises: decoding says whether the image is of use
        if image.has_transparency_data:
            kinds |= Kind.ALPHA
    with suppress(Exception):
        if getattr(image, "is_animated", False) and image.format != _MULTI_PICTURE:
            kinds |= Kind.ANIMATED
    with suppress(Exception):
        # Not image.getexif(): that of PNG decodes the whole image to look for data behind the pixels.
        if Image.Image.getexif(image).get(ORIENTATION) in TURNS:
            kinds |= Kind.TURNED
    return kinds
