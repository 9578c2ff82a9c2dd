"""Decoded images on disk: one folder per set and size, written once, mapped by every later epoch and run.

pixels.npy (N, C, S, S) uint8 is mapped, never read whole; labels.npy, keys.npy and splits.npy are a few bytes an image;
index.json has what a person may want to look up: class names, the broken images, and names.json the images' names.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from datamodules.errors import UserError
from datamodules.paths import cache_folder
from datamodules.splits import BROKEN, TRAIN, hash_keys

FORMAT_VERSION = 1  # raise it when the meaning of the files or of the pixels in them changes


@dataclass
class Images:
    """What a data source is once it is decoded.

    Attributes:
        pixels: (N, C, S, S) uint8, mapped from disk.
        labels: (N,) int64, an index into class_names, or BROKEN (-1).
        keys: (N,) uint64, a hash of what identifies the image.
        splits: (N,) int8, TRAIN, VAL or TEST as the source has them.
        class_names: One name a class.
        broken: Name -> reason, for the images that could not be read.
        contents: (N,) uint64, alike for identical images; None where the source does not look for them.
    """

    pixels: np.ndarray
    labels: np.ndarray
    keys: np.ndarray
    splits: np.ndarray
    class_names: list[str]
    broken: dict[str, str]
    contents: np.ndarray | None = None


def entry_for(name: str, fingerprint: dict[str, Any]) -> Path:
    """The cache folder for a set; whatever would change its pixels belongs into the fingerprint."""
    text = json.dumps({"format": FORMAT_VERSION, **fingerprint}, sort_keys=True, default=str)
    digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
    return cache_folder() / "images" / f"{name}-{digest[:24]}"


@contextmanager
def new_entry(entry: Path) -> Iterator[Path]:
    """A temporary folder to write an entry into; it becomes the entry at once or, after an error, nothing at all."""
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{entry.name}-", dir=entry.parent))
    except OSError as error:
        raise UserError(
            f"Cannot write the cache of decoded images: {error}. Expected a folder that can be written; "
            "type `export LIT_GEN_CACHE=/a/folder/of/yours`."
        ) from error
    try:
        yield folder
        folder.chmod(0o755)  # mkdtemp is private, while a cache is often shared by a group
        try:
            folder.replace(entry)
        except OSError:
            if not entry.is_dir():  # otherwise another process has finished the same entry first, and ours is spare
                raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def create_pixels(folder: Path, shape: tuple[int, int, int, int]) -> np.ndarray:
    """An empty mapped pixels.npy of this shape (N, C, S, S), after a check that the disk has room for it."""
    needed, free = int(np.prod(shape, dtype=np.int64)), shutil.disk_usage(folder).free
    if needed > free:  # a full disk under a memory map ends the process with a bus error, not with a message
        raise UserError(
            f"The decoded images need {needed / 1e9:.1f} GB; found {free / 1e9:.1f} GB free at {folder.parent}. "
            "Make room there, type `export LIT_GEN_CACHE=/a/larger/disk`, or lower --data.image_size."
        )
    return np.lib.format.open_memmap(folder / "pixels.npy", mode="w+", dtype=np.uint8, shape=shape)


def save(
    folder: Path,
    *,
    labels: np.ndarray,
    class_names: list[str],
    names: Sequence[str],
    pixels: np.ndarray | None = None,
    keys: np.ndarray | None = None,
    splits: np.ndarray | None = None,
    broken: dict[str, str] | None = None,
    contents: np.ndarray | None = None,
) -> None:
    """Write what `load` reads.

    Args:
        folder: From `new_entry`.
        labels: (N,) int; BROKEN for images that could not be read.
        class_names: One name a class.
        names: One name an image.
        pixels: (N, C, S, S) uint8; left out where `create_pixels` has been filled already.
        keys: (N,) uint64; hashes of the names by default.
        splits: (N,) int8; all TRAIN by default, which lets the data module carve the others.
        broken: Name -> reason.
        contents: (N,) uint64, alike for identical images, where those matter.
    """
    if pixels is not None:
        create_pixels(folder, pixels.shape)[:] = pixels
    np.save(folder / "labels.npy", np.asarray(labels, dtype=np.int64))
    np.save(folder / "keys.npy", hash_keys(names) if keys is None else keys)
    np.save(folder / "splits.npy", np.full(len(labels), TRAIN, dtype=np.int8) if splits is None else splits)
    if contents is not None:
        np.save(folder / "contents.npy", contents)
    good = int((np.asarray(labels) != BROKEN).sum())
    index = {"class_names": class_names, "readable": good, "broken": broken or {}}
    (folder / "index.json").write_text(json.dumps(index, indent=1))
    (folder / "names.json").write_text(json.dumps(list(names)))


def load(entry: Path) -> Images:
    """Open an entry; the pixels stay on disk until they are asked for."""
    if not entry.is_dir():
        raise UserError(
            f"The images are not decoded yet: found no {entry}. Call prepare_data() before setup() (the Trainer does); "
            "where each machine has its own cache, leave prepare_data_per_node on."
        )
    index = json.loads((entry / "index.json").read_text())
    labels, keys, splits = (np.load(entry / f"{name}.npy") for name in ("labels", "keys", "splits"))
    pixels = np.load(entry / "pixels.npy", mmap_mode="r")
    contents = np.load(entry / "contents.npy") if (entry / "contents.npy").exists() else None
    return Images(pixels, labels, keys, splits, index["class_names"], index["broken"], contents)


def names(entry: Path) -> list[str]:
    """The images' names, for messages: (N,)."""
    return json.loads((entry / "names.json").read_text())
