"""List the images of a folder with their classes and splits, without opening one."""

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from lightning.pytorch.utilities import rank_zero_warn

from datamodules.splits import TEST, TRAIN, VAL

EXTENSIONS = (
    *(".jpg", ".jpeg", ".jfif", ".png", ".webp", ".avif", ".gif", ".bmp"),
    *(".tif", ".tiff", ".ppm", ".pgm", ".pbm"),
)
SPLIT_FOLDERS = {"train": TRAIN, "val": VAL, "valid": VAL, "validation": VAL, "test": TEST}


@dataclass
class Listing:
    """The images of a folder in a fixed order.

    Attributes:
        names: Paths relative to the root, with "/".
        labels: (N,) int64 indices into class_names.
        splits: (N,) int8.
        class_names: Sorted; a class may be empty.
        digest: Hash over names, sizes and modification times.
    """

    names: list[str]
    labels: np.ndarray
    splits: np.ndarray
    class_names: list[str]
    digest: str


def scan(root: Path) -> Listing:
    """Classes are the first level of folders; images outside any class folder form one named after the root.

    A million images cost one string each, nothing else.
    """
    groups = [(split, *group) for split, folder in _split_folders(root) for group in _classes(root, folder)]
    class_names = sorted({name for _, name, _ in groups})
    names: list[str] = []
    counts, digest = [], hashlib.sha256()
    for _, class_name, images in groups:
        before = len(names)
        for name, size, modified in images:
            names.append(name)
            digest.update(f"{name}\0{size}\0{modified}\0".encode("utf-8", "surrogateescape"))
        digest.update(f"{class_name}\0\0".encode("utf-8", "surrogateescape"))  # an empty class counts as well
        counts.append(len(names) - before)
    labels = np.repeat(np.array([class_names.index(name) for _, name, _ in groups], dtype=np.int64), counts)
    splits = np.repeat(np.array([split for split, _, _ in groups], dtype=np.int8), counts)
    return Listing(names, labels, splits, class_names, digest.hexdigest())


def _split_folders(root: Path) -> list[tuple[int, str]]:
    """(split, folder relative to the root) for each split that the root brings; the root itself where it has none."""
    names = [entry.name for entry in _visible(root) if _leads_to(entry.is_dir)]
    if "train" not in names:
        return [(TRAIN, "")]
    others = [name for name in names if name not in SPLIT_FOLDERS]
    if others:
        rank_zero_warn(
            f"{root} has a folder `train`, so its folders are taken as splits, and these are left out: "
            f"{', '.join(others[:10])}. If `train` is a class, rename it."
        )
    return [(SPLIT_FOLDERS[name], name) for name in names if name in SPLIT_FOLDERS]


def _classes(root: Path, folder: str) -> Iterator[tuple[str, Iterator[tuple[str, int, int]]]]:
    """(class name, its images) for each class of a split folder."""
    entries = _visible(root / folder)
    classes = [entry.name for entry in entries if _leads_to(entry.is_dir)]
    loose = [_describe(entry, root) for entry in entries if _is_image(entry)]
    if loose and classes:
        rank_zero_warn(
            f"{root / folder} has {len(loose):,} images outside its class folders; they form the class {root.name!r}."
        )
    if loose:
        yield root.name, iter(loose)
    for name in classes:
        yield name, _files(root, root / folder / name, (), _is_image)


def passed_by(root: Path) -> Iterator[str]:
    """Paths relative to the root of the files that `scan` takes for no images, in the folders that it looks into."""
    for _, folder in _split_folders(root):
        yield from (name for name, _, _ in _files(root, root / folder, (), _is_other))


def _files(
    root: Path, folder: Path, parents: tuple[tuple[int, int], ...], wanted: Callable[[os.DirEntry], bool]
) -> Iterator[tuple[str, int, int]]:
    """(relative name, bytes, modification time in ns) of all wanted files below a folder, in a fixed order."""
    status = folder.stat()
    identity = (status.st_dev, status.st_ino)
    if identity in parents:  # a link that leads back into one of its own parents
        return
    for entry in _visible(folder):
        if _leads_to(entry.is_dir):
            yield from _files(root, Path(entry.path), (*parents, identity), wanted)
        elif wanted(entry):
            yield _describe(entry, root)


def _visible(folder: Path) -> list[os.DirEntry]:
    """A folder's entries by name, without hidden ones and what systems leave behind (.git, __MACOSX)."""
    with os.scandir(folder) as entries:
        return sorted((e for e in entries if not e.name.startswith((".", "__"))), key=lambda e: e.name)


def _leads_to(kind: Callable[[], bool]) -> bool:
    """Whether an entry is a folder, or a file; a link to itself is neither, which the system answers with an error."""
    try:
        return kind()
    except OSError:
        return False


def _is_image(entry: os.DirEntry) -> bool:
    """By its name; a link that leads nowhere as well, so that it is named among what cannot be read."""
    if not entry.name.lower().endswith(EXTENSIONS):
        return False
    return _leads_to(entry.is_file) or (entry.is_symlink() and not Path(entry.path).exists())


def _is_other(entry: os.DirEntry) -> bool:
    return not entry.name.lower().endswith(EXTENSIONS) and _leads_to(entry.is_file)


def _describe(entry: os.DirEntry, root: Path) -> tuple[str, int, int]:
    status = entry.stat(follow_symlinks=_leads_to(entry.is_file))  # of a link that leads nowhere, its own
    return os.path.relpath(entry.path, root).replace(os.sep, "/"), status.st_size, status.st_mtime_ns
