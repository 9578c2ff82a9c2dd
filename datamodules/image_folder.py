"""Any folder of images, decoded once into a memory map."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from datamodules import memory_map
from datamodules.base import ImageDataModule
from datamodules.checks import to_colour
from datamodules.decoding import decode
from datamodules.errors import UserError
from datamodules.folder_scan import EXTENSIONS, Listing, scan
from datamodules.image_files import explained, open_image
from datamodules.paths import find_input, places_searched
from datamodules.splits import TRAIN, hash_keys


class ImageFolder(ImageDataModule):
    """Your own images: a folder of any sizes and modes, class sub-folders and train/val/test folders optional."""

    def __init__(
        self,
        root: str,
        image_size: int = 64,
        channels: int = 3,
        horizontal_flip: bool = True,
        background: str = "white",
        **options: Any,
    ) -> None:
        """See ImageDataModule for the other options.

        Args:
            root: The folder. Sub-folders are classes (deeper ones belong to the first level); a `train` folder, and
                `val` and `test` beside it, are taken as the splits, and what is missing is carved out of train. Train
                images that are identical to held-out ones are refused.
            image_size: Height and width in pixels; images are cut to the central square and resized.
            channels: 1 for grey, 3 for RGB.
            horizontal_flip: Mirror train images at random.
            background: What transparent pixels are laid on: a name such as `grey`, or `#808080`.
            options: Those of ImageDataModule.
        """
        super().__init__(image_size=image_size, channels=channels, horizontal_flip=horizontal_flip, **options)
        self.root = find_input(root)
        self.background = background
        self._background = to_colour("ImageFolder", background)
        self._places = places_searched(root)
        self._doctor = f"python -m lit_gen doctor {shlex.quote(str(self.root))}"
        self.advice = f"Type {self._doctor} to see what is wrong with each and what to do."

    def fingerprint(self) -> dict[str, Any]:
        """Names, sizes and modification times of all images, and what their transparent pixels are laid on."""
        files = {"root": self.root.name, "files": self._scan().digest, "contents": True}
        return {**files, "background": self._background}

    def decode(self, folder: Path) -> None:
        """Decode every image that can be read, and note the others."""
        listing = self._scan()
        load = _Load(self.root, listing.names, listing.labels)
        title, shape = f"Decoding {self.root.name}", (self.channels, self.image_size)
        labels, failed = decode(folder, load, len(listing.names), shape, title, self._background, load.explain)
        broken = {listing.names[row]: reason for row, reason in failed.items()}
        if len(broken) == len(listing.names):
            name, reason = next(iter(broken.items()))
            raise UserError(
                f"ImageFolder: none of the {len(broken):,} images in {self.root} can be read ({name}: {reason}). "
                f"Expected JPEG, PNG or another format that Pillow reads; type {self._doctor}, which says what is "
                "wrong with each, or another --data.root."
            )
        contents = hash_keys(row.tobytes() for row in np.load(folder / "pixels.npy", mmap_mode="r"))
        memory_map.save(
            folder,
            labels=labels,
            names=listing.names,
            splits=listing.splits,
            class_names=listing.class_names,
            broken=broken,
            contents=contents,
        )

    def _scan(self) -> Listing:
        if not self.root.is_dir():
            found = "is a file" if self.root.exists() else "does not exist"
            raise UserError(
                f"ImageFolder: root {self._places} {found}. Expected a folder of images; "
                "type --data.root /path/to/your/images."
            )
        listing = scan(self.root)
        if not listing.names:
            shown = " ".join(EXTENSIONS)
            raise UserError(
                f"ImageFolder: there are no images in {self.root}. Expected files that end in {shown}, in it or in "
                "sub-folders; put some there, or type --data.root /path/to/your/images."
            )
        if not (listing.splits == TRAIN).any():
            raise UserError(
                f"ImageFolder: there are no images in {self.root / 'train'}. Expected train images in it; put some "
                "there, or point --data.root at the folder that has them."
            )
        return listing


@dataclass
class _Load:
    """Opens one image of a folder; a class, not a closure, so that a decoding process can be sent it."""

    root: Path
    names: list[str]
    labels: np.ndarray

    def __call__(self, row: int) -> tuple[Image.Image, int]:
        return open_image(self.root / self.names[row]), int(self.labels[row])

    def explain(self, row: int, error: Exception) -> str:
        """Why an image is left out, in words."""
        return explained(self.root / self.names[row], error)
