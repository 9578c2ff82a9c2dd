"""One picture of many pictures, each with its number."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torchvision.utils import save_image

from datamodules.image_files import open_image
from datamodules.transforms import fit_image, to_float
from lit_gen.pictures import Made, image_grid

THUMBNAIL = 96  # pixels


def contact_sheet(files: list[Path], path: Path) -> None:
    """Writes the pictures side by side, in order, numbered from 1."""
    thumbnails = torch.stack([_numbered(file, number) for number, file in enumerate(files, start=1)])
    save_image(image_grid([Made(to_float(thumbnails))], len(files)), path)


def evenly(files: list[Path], most: int) -> list[Path]:
    """At most so many of the files, evenly spread over all of them."""
    count = min(len(files), most)
    return [files[index * len(files) // count] for index in range(count)]


def _numbered(file: Path, number: int) -> torch.Tensor:
    """(3, THUMBNAIL, THUMBNAIL) uint8."""
    with open_image(file) as image:
        thumbnail = Image.fromarray(np.ascontiguousarray(fit_image(image, THUMBNAIL, 3).transpose(1, 2, 0)))
    draw = ImageDraw.Draw(thumbnail)
    draw.rectangle(draw.textbbox((2, 1), str(number)), fill="black")
    draw.text((2, 1), str(number), fill="white")
    return torch.from_numpy(np.asarray(thumbnail).transpose(2, 0, 1).copy())
