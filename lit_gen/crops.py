"""Which squares of a photograph to keep: the central one, or those around faces that OpenCV finds."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from datamodules.image_files import open_image
from datamodules.transforms import upright
from lit_gen.errors import UserError

Box = tuple[int, int, int, int]
"""left, top, right, bottom in pixels."""
Crop = Callable[[Image.Image], list[Box]]
"""Picture -> the squares of it to keep, none where there is nothing to keep."""

DETECTION_SIDE = 512  # longer side in pixels that faces are looked for at: as sure as any larger one, and fast
SMALL = 192  # below this longer side in pixels, a picture is enlarged to it: a cascade knows faces from about 24 pixels


def centre(image: Image.Image) -> list[Box]:
    """The largest central square."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return [(left, top, left + side, top + side)]


class FaceCrop:
    """A square around the largest face, or around each, that one of OpenCV's own cascades finds (Viola & Jones 2001).

    Args:
        cascade: File in OpenCV's folder, such as haarcascade_frontalface_default.xml.
        margin: What is added on each side, in sides of the face's box, >= 0.
        all_faces: Keep every face, the largest first.
        neighbours: How many overlapping findings make a face; more means fewer false ones.

    Raises:
        UserError: OpenCV is missing, or is one without cascades.
    """

    def __init__(self, cascade: str, margin: float = 0.2, all_faces: bool = False, neighbours: int = 4) -> None:
        self.cascade, self.margin, self.all_faces, self.neighbours = cascade, margin, all_faces, neighbours
        try:
            import cv2

            self._detector = cv2.CascadeClassifier(str(Path(cv2.data.haarcascades) / cascade))
        except (ImportError, AttributeError) as error:  # OpenCV 5 has neither the class nor the files
            raise UserError(
                f'prepare: cropping to faces needs OpenCV 4 ({error}).\nType pip install "opencv-python-headless<5"'
            ) from error

    def __call__(self, image: Image.Image) -> list[Box]:
        faces = sorted(self.faces(image), key=lambda box: (box[2] - box[0], box), reverse=True)
        return [square(face, image.size, self.margin) for face in (faces if self.all_faces else faces[:1])]

    def faces(self, image: Image.Image) -> list[Box]:
        """Every face that is found, in the picture's own pixels."""
        longer = max(image.size)
        scale = min(DETECTION_SIDE, max(longer, SMALL)) / longer
        size = tuple(max(1, round(side * scale)) for side in image.size)
        grey = np.asarray(image.convert("L").resize(size, Image.Resampling.BICUBIC))
        found = self._detector.detectMultiScale(grey, 1.1, self.neighbours)
        return [tuple(round(float(edge) / scale) for edge in (x, y, x + w, y + h)) for x, y, w, h in found]


def square(face: Box, size: tuple[int, int], margin: float) -> Box:
    """The square with a margin around a face that lies within a picture of `size` (width, height)."""
    left, top, right, bottom = face
    side = min(round(max(right - left, bottom - top) * (1 + 2 * margin)), *size)
    # At the border the square is moved inwards: nothing is made up, and the face stays in it.
    corner = [
        min(max((low + high - side) // 2, 0), length - side)
        for low, high, length in ((left, right, size[0]), (top, bottom, size[1]))
    ]
    return corner[0], corner[1], corner[0] + side, corner[1] + side


def cut(path: Path, crop: Crop, size: int, enlarge: bool) -> tuple[list[Image.Image], bool]:
    """The squares of a picture, RGB, at most `size` pixels unless enlarged; and whether it came out of a JPEG."""
    with warnings.catch_warnings(), open_image(path) as file:
        warnings.simplefilter("ignore")  # PIL's remarks on odd metadata
        lossy = file.format in ("JPEG", "MPO")
        # A JPEG is decoded at 1/2, 1/4 or 1/8 for a fraction of the time; a face is rarely less than a quarter.
        file.draft(None, (size * (2 if crop is centre else 8),) * 2)
        image = upright(file).convert("RGB")
    squares = []
    for box in crop(image):
        side = size if enlarge else min(size, box[2] - box[0])
        if side == box[2] - box[0]:
            squares.append(image.crop(box))
        else:
            squares.append(image.resize((side, side), Image.Resampling.LANCZOS, box=box))
    return squares, lossy
