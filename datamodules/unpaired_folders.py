"""Two folders of images, one for each domain."""

from pathlib import Path
from typing import Any

from datamodules.errors import UserError
from datamodules.folder_scan import scan
from datamodules.image_folder import ImageFolder
from datamodules.paths import find_input, places_searched
from datamodules.unpaired import Side, UnpairedDataModule


class UnpairedFolders(UnpairedDataModule):
    """Your own images of two kinds, a folder for each: cats and dogs, summer and winter, sketches and photographs."""

    def __init__(
        self,
        root_a: str,
        root_b: str,
        image_size: int = 64,
        channels: int = 3,
        horizontal_flip: bool = True,
        background: str = "white",
        **options: Any,
    ) -> None:
        """See UnpairedDataModule for the other options.

        Args:
            root_a: The folder of domain A, as ImageFolder takes it: sub-folders and train, val, test are welcome.
            root_b: The folder of domain B.
            image_size: Height and width in pixels; images are cut to the central square and resized.
            channels: 1 for grey, 3 for RGB.
            horizontal_flip: Mirror train images at random.
            background: What transparent pixels are laid on: a name such as `grey`, or `#808080`.
            options: Those of UnpairedDataModule.
        """
        self.background = background
        self.root_a, self.root_b = find_input(root_a), find_input(root_b)
        self._places = places_searched(root_a), places_searched(root_b)
        super().__init__(image_size=image_size, channels=channels, horizontal_flip=horizontal_flip, **options)

    def domain(self, side: Side, **options: Any) -> ImageFolder:
        """The folder of one domain."""
        root = self.root_a if side == "a" else self.root_b
        return ImageFolder(str(root), background=self.background, **options)

    def prepare_data(self) -> None:
        """Decode both folders, unless an earlier run has.

        Raises:
            UserError: A folder is missing or empty, or the same images are in both domains.
        """
        a, b = self.root_a.resolve(), self.root_b.resolve()
        if a.is_relative_to(b) or b.is_relative_to(a):
            raise UserError(
                f"UnpairedFolders: root_a {self.root_a} and root_b {self.root_b} share images. Expected two separate "
                "folders, one for each domain; type --data.root_a /path/to/cats --data.root_b /path/to/dogs."
            )
        if not (_count(a) and _count(b)):
            raise UserError(
                f"UnpairedFolders: found {_found(a, self._places[0])} (domain A) and "
                f"{_found(b, self._places[1])} (domain B). Expected images in both; "
                "put some there, or type --data.root_a /path/to/cats --data.root_b /path/to/dogs."
            )
        super().prepare_data()


def _count(root: Path) -> int:
    return len(scan(root).names) if root.is_dir() else 0


def _found(root: Path, places: str) -> str:
    if not root.is_dir():
        return f"no folder {places}"
    return f"{_count(root):,} images in {root}"
