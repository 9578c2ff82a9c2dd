"""Look at every image of a folder once, as training decodes it; a few numbers of each are all that is kept."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm

from datamodules.image_files import Kind, diagnose, kinds_of, open_image
from datamodules.parallel import in_chunks
from datamodules.splits import hash_keys
from datamodules.transforms import Colour, fit_image
from lit_gen.duplicates import PerceptualHash

REASONS = 10_000  # kept in words; of a million broken files nobody reads all


class View(NamedTuple):
    """What training brings images to: the options of ImageFolder.

    Attributes:
        image_size: Side in pixels.
        channels: 1 or 3.
        background: What transparent pixels are laid on.
    """

    image_size: int
    channels: int
    background: Colour

    def pixels(self, image: Image.Image) -> np.ndarray:
        """(channels, image_size, image_size) uint8, as ImageFolder decodes an opened image."""
        return fit_image(image, *self)


@dataclass
class Records:
    """What is known of N images.

    Attributes:
        kinds: (N,) uint16, the values of `Kind`.
        sides: (N,) int32, the shorter side in pixels; 0 for images that are not used, as in the two below.
        contents: (N,) uint64, equal where training sees the same pixels.
        hashes: (N,) uint64, perceptual hashes; all 0 where none are wanted.
        reasons: Row -> why it is not used, of the first REASONS of those.
    """

    kinds: np.ndarray
    sides: np.ndarray
    contents: np.ndarray
    hashes: np.ndarray
    reasons: dict[int, str] = field(default_factory=dict)

    @classmethod
    def of(cls, n_images: int) -> Records:
        """Records to be filled."""
        types = (np.uint16, np.int32, np.uint64, np.uint64)
        return cls(*(np.zeros(n_images, dtype=kind) for kind in types))

    def are(self, kinds: Kind) -> np.ndarray:
        """(N,) bool: which images are of one of the kinds."""
        return (self.kinds & kinds.value) != 0


def examine(root: Path, names: list[str], view: View, hashing: PerceptualHash | None) -> Records:
    """Decodes every image, in several processes when there are many.

    Args:
        root: The folder.
        names: (N,) paths relative to it.
        view: As training sees them.
        hashing: None leaves the perceptual hashes out.
    """
    records = Records.of(len(names))
    with tqdm(total=len(names), desc="doctor", unit="image", leave=False, disable=None) as bar:
        for rows, part in in_chunks(_Examination(root, names, view, hashing), len(names)):
            for whole, some in zip(_arrays(records), _arrays(part), strict=True):
                whole[rows.start : rows.stop] = some
            for row, reason in part.reasons.items():
                if len(records.reasons) < REASONS:
                    records.reasons[rows.start + row] = reason
            bar.update(len(rows))
    return records


def _arrays(records: Records) -> tuple[np.ndarray, ...]:
    return records.kinds, records.sides, records.contents, records.hashes


@dataclass
class _Examination:
    """Looks at the images of a chunk; a class, not a closure, so that a process can be sent it."""

    root: Path
    names: list[str]
    view: View
    hashing: PerceptualHash | None

    def __call__(self, rows: range) -> tuple[range, Records]:
        records = Records.of(len(rows))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PIL's remarks on odd metadata, as ImageFolder ignores them
            for index, row in enumerate(rows):
                self._look_at(self.root / self.names[row], records, index)
        return rows, records

    def _look_at(self, path: Path, records: Records, index: int) -> None:
        try:
            with open_image(path) as image:
                kinds, side = kinds_of(image, path), min(image.size)
                pixels = self.view.pixels(image)
        except MemoryError:
            raise
        except Exception as error:  # PIL's readers raise nearly anything on damaged bytes
            kind, records.reasons[index] = diagnose(path, error)
            records.kinds[index] = kind.value
            return
        records.kinds[index], records.sides[index] = kinds.value, side
        records.contents[index] = hash_keys([pixels.tobytes()])[0]
        if self.hashing is not None:
            records.hashes[index] = self.hashing(to_picture(pixels))


def to_picture(pixels: np.ndarray) -> Image.Image:
    """(1 or 3, H, W) uint8 -> a grey or RGB picture."""
    return Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))
