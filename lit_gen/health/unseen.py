"""Files that ImageFolder passes by, as their names do not end like those of images."""

from __future__ import annotations

from collections import Counter
from pathlib import Path, PurePosixPath

from datamodules.folder_scan import passed_by
from datamodules.image_files import begins_as, open_image
from lit_gen.health.findings import Finding


def unseen(root: Path) -> tuple[list[Finding], list[Finding]]:
    """Those that are images all the same, which need a hand; and the others by their endings, to know of."""
    images: list[str] = []
    others: Counter[str] = Counter()
    for name in passed_by(root):
        found = _format(root / name)
        if found is None:
            others[PurePosixPath(name).suffix.lower() or "without an ending"] += 1
        else:
            images.append(f"{name}: {found}")
    advice = "ImageFolder passes them by, as their names do not end like those of images. Rename or delete them."
    hands = [Finding("mis-named, not seen", len(images), images, advice)] if images else []
    endings = [f"{count:,} {ending}" for ending, count in others.most_common()]
    advice = "ImageFolder passes them by. Convert photographs among them, such as .heic, to JPEG."
    notes = [Finding("other files", others.total(), endings, advice)] if others else []
    return hands, notes


def _format(path: Path) -> str | None:
    """The format of an image; None for a file that is none."""
    try:
        with path.open("rb") as file:
            found = begins_as(file.read(16))
        if found is not None:
            open_image(path).close()
    except Exception:  # whatever keeps it from being opened: it is no image that is missed
        return None
    return found
