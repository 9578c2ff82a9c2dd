"""A picture of exactly what training will see of a folder: the pixels that ImageFolder decodes, named below."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from datamodules.image_files import BAD, WORDS, Kind, open_image
from lit_gen.contact_sheet import THUMBNAIL, evenly
from lit_gen.files import printable
from lit_gen.health.examination import Records, View, to_picture

ROWS = 10  # at most, and as many columns
WIDEST = 4096  # pixels
OF_A_KIND = 5
CAPTION, GAP = 26, 4  # pixels


def choose(records: Records, view: View) -> list[int]:
    """Rows of images to show: the first few of each kind that is not plain, then images spread evenly over all."""
    columns = min(ROWS, max(1, WIDEST // (_side(view) + GAP)))
    used = ~records.are(BAD)
    odd = [row for kind in Kind for row in np.flatnonzero(used & records.are(kind))[:OF_A_KIND].tolist()]
    chosen = list(dict.fromkeys(odd))[: columns**2]
    plain = np.flatnonzero(used)
    plain = plain[~np.isin(plain, chosen)].tolist()
    return chosen + evenly(plain, columns**2 - len(chosen))


def sheet(root: Path, names: list[str], rows: list[int], records: Records, view: View) -> Image.Image:
    """The images of these rows side by side, each with what it is besides a plain image, and with its name."""
    columns = math.ceil(math.sqrt(len(rows)))
    width, height = _side(view) + GAP, _side(view) + CAPTION + GAP
    picture = Image.new("RGB", (columns * width + GAP, math.ceil(len(rows) / columns) * height + GAP), "grey")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # said of odd metadata, as while examining
        for place, row in enumerate(rows):
            kinds = ", ".join(WORDS[kind] for kind in Kind(int(records.kinds[row])))
            tile = _tile(root / names[row], view, [kinds, names[row]] if kinds else [names[row]])
            picture.paste(tile, (GAP + place % columns * width, GAP + place // columns * height))
    return picture


def _side(view: View) -> int:
    """A tile's: the image's own, or a whole multiple of it where that is too small to look at."""
    return view.image_size * math.ceil(THUMBNAIL / view.image_size)


def _tile(path: Path, view: View, lines: list[str]) -> Image.Image:
    with open_image(path) as image:
        shown = to_picture(view.pixels(image))
    side = _side(view)
    tile = Image.new("RGB", (side, side + CAPTION), "black")
    tile.paste(shown.resize((side, side), Image.Resampling.NEAREST), (0, 0))
    draw = ImageDraw.Draw(tile)
    for number, line in enumerate(lines):
        text = printable(line, kept="").encode("ascii", "replace").decode()  # the built-in font has no other letters
        while draw.textlength(text) > side:
            text = text[1:]  # of a long name, the end is telling
        draw.text((0, side + 1 + 12 * number), text, fill="white")
    return tile
