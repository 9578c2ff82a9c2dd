"""Which square of a photograph to keep: the central one, or one around the largest face that OpenCV finds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from lit_gen.errors import UserError

Box = tuple[int, int, int, int]
"""left, top, right, bottom in pixels."""
Crop = Callable[[Image.Image], Box | None]
"""Picture -> the square of it to keep, or None where there is nothing to keep."""

DETECTION_SIDE = 512  # longer side in pixels that faces are looked for at: as sure as any larger one, and fast
SMALL = 192  # below this longer side in pixels, a picture is enlarged to it: a cascade knows faces from about 24 pixels


def centre(image: Image.Image) -> Box:
    """The largest central square."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return left, top, left + side, top + side


class FaceCrop:
    """A square around the largest face that one of OpenCV's own cascades finds (Viola & Jones 2001).

    Args:
        cascade: File in OpenCV's folder, such as haarcascade_frontalface_default.xml.
        margin: What is added on each side, in sides of the face's box, >= 0.
        neighbours: How many overlapping findings make a face; more means fewer false ones.

    Raises:
        UserError: OpenCV is missing, or is one without cascades.
    """

    def __init__(self, cascade: str, margin: float = 0.2, neighbours: int = 4) -> None:
        self.cascade, self.margin, self.neighbours = cascade, margin, neighbours
        try:
            import cv2

            self._detector = cv2.CascadeClassifier(str(Path(cv2.data.haarcascades) / cascade))
        except (ImportError, AttributeError) as error:  # OpenCV 5 has neither the class nor the files
            raise UserError(
                f'prepare: cropping to faces needs OpenCV 4 ({error}).\nType pip install "opencv-python-headless<5"'
            ) from error

    def __call__(self, image: Image.Image) -> Box | None:
        faces = self.faces(image)
        if not faces:
            return None
        return square(max(faces, key=lambda box: (box[2] - box[0], box)), image.size, self.margin)

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
