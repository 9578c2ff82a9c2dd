"""Make train, val and test folders out of any photographs: prepare FOLDER OUT --crop centre|face|cat-face."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from tqdm.auto import tqdm

import datamodules.paths
from datamodules.folder_scan import Listing, scan
from datamodules.splits import TEST, TRAIN, VAL, hash_keys, steady
from lit_gen.contact_sheet import contact_sheet, evenly
from lit_gen.crops import Crop, FaceCrop, centre, cut
from lit_gen.duplicates import Duplicates, content_of
from lit_gen.errors import UserError
from lit_gen.files import printable, whole_folder

SPLITS = {TRAIN: "train", VAL: "val", TEST: "test"}
CASCADES = {"face": "haarcascade_frontalface_default.xml", "cat-face": "haarcascade_frontalcatface_extended.xml"}
SHEET = 100  # pictures on the contact sheet


class Square(NamedTuple):
    """A square that is kept.

    Attributes:
        file: Where it lies.
        row: Of the original, in the listing.
        key: Hash of the original's bytes, the lowest of all that it stands for where it has duplicates.
    """

    file: Path
    row: int
    key: int


Kept = dict[str, Square]
"""Name of the original, and of which of its faces from the second on -> its square."""
LeftOut = dict[str, dict[str, str]]
"""Why -> name of the original -> what more there is to say, such as the picture that it repeats."""


def prepare(
    folder: str,
    out: str,
    crop: Literal["centre", "face", "cat-face"] = "centre",
    size: int = 256,
    val: float = 0.1,
    test: float = 0.1,
    near: int | None = 6,
    margin: float = 0.2,
    all_faces: bool = False,
    enlarge: bool = False,
    keep_classes: bool = True,
) -> None:
    """Make train, val and test folders out of any photographs: squares, each picture once, a contact sheet to look at.

    `fit --data.root OUT` takes the result. OUT also gets contact_sheet.png and prepared.json, which says what was
    left out and why. With fractions, the bytes of a picture's file alone decide who is held out: neither its name, nor
    the size and crop asked for, nor further pictures change that, and the splits have about the sizes asked for.

    Args:
        folder: The photographs; sub-folders are classes, and split folders (train, val, test) that it has are kept.
        out: New or empty folder for the result, outside of `folder`.
        crop: `centre` keeps the central square; `face` and `cat-face` a square around the largest face that OpenCV
            finds, and leave out pictures without one.
        size: Larger squares are brought to this side in pixels; smaller ones stay as they are.
        val: Held out for validation where `folder` has no such split: a fraction in [0, 1), or from 1 on exactly so
            many pictures, classes in proportion, of which some may change when pictures are added.
        test: Likewise for testing.
        near: Leave out pictures whose perceptual hash differs in at most so many of 64 bits from that of an earlier
            one; null leaves out exact duplicates alone.
        margin: What is added around a face on each side, in sides of the face.
        all_faces: Keep every face of a picture, not the largest alone; all of them fall into one split.
        enlarge: Bring smaller squares to `size` as well.
        keep_classes: Sub-folders of `folder` stay; otherwise all pictures are of one kind.
    """
    source, target = datamodules.paths.find_input(folder), Path(out).expanduser()
    _check_numbers(size, val, test, margin)
    listing = listing_of(source, "prepare FOLDER OUT")
    _check_target(source, target)
    cropping = centre if crop == "centre" else FaceCrop(CASCADES[crop], margin, all_faces)
    duplicates = Duplicates(near)
    flat = not keep_classes or listing.class_names == [source.name]
    with whole_folder(target, "prepare: OUT") as unfinished:
        kept, left_out = _squares(source, listing.names, unfinished, cropping, (size, enlarge), duplicates)
        if not kept:
            raise UserError(_nothing_kept(crop, left_out))
        placed = _into_splits(listing, kept, unfinished, val, test, flat)
        counts = {name: sum(place.startswith(f"{name}/") for place in placed.values()) for name in SPLITS.values()}
        asked = {"crop": crop, "size": size, "val": val, "test": test, "near": near, "margin": margin}
        asked |= {"all_faces": all_faces, "enlarge": enlarge, "keep_classes": keep_classes}
        _describe(unfinished, {"folder": source.name, "asked": asked, **counts, "left_out": left_out, "images": placed})
    print(*(printable(line, kept="") for line in _lines(target, counts, left_out)), sep="\n")


def _describe(folder: Path, record: dict[str, Any]) -> None:
    """Writes the contact sheet and the record, which says what its numbers stand for."""
    shown = evenly([folder / place for place in record["images"].values()], SHEET)
    contact_sheet(shown, folder / "contact_sheet.png")
    numbers = {number: file.relative_to(folder).as_posix() for number, file in enumerate(shown, start=1)}
    text = json.dumps({**record, "contact_sheet": numbers}, indent=1)
    (folder / "prepared.json").write_text(text + "\n", encoding="utf-8")


def _lines(target: Path, counts: dict[str, int], left_out: LeftOut) -> Iterator[str]:
    """What is printed: the sizes of the splits, a line for each reason why images were left out, what comes next."""
    yield f"{target}: {', '.join(f'{count:,} {name}' for name, count in counts.items())} images"
    for why, names in left_out.items():
        shown = [f"{name} = {more}" if "duplicate" in why else name for name, more in list(names.items())[:3]]
        if names:
            yield f"left out, {why}: {len(names):,} ({', '.join([*shown, *['...'] * (len(names) > 3)])})"
    yield f"Look at {target / 'contact_sheet.png'}; its numbers and all that was left out: {target / 'prepared.json'}"
    yield f"Train on them with --data.root {target}"


def _check_numbers(size: int, val: float, test: float, margin: float) -> None:
    if size < 8:
        raise UserError(f"prepare: --size is {size}, expected at least 8 pixels. Type --size 256.")
    fine = all(0 <= wanted < 1 or wanted == wanted // 1 >= 1 for wanted in (val, test))
    if not fine or (val < 1 and test < 1 and val + test >= 1):
        raise UserError(
            f"prepare: --val is {val:g} and --test is {test:g}, expected fractions in [0, 1) that leave train images, "
            "or whole numbers of images. Type --val 0.1 --test 0.1, or --val 100 --test 100."
        )
    if not 0 <= margin <= 10:
        raise UserError(f"prepare: --margin is {margin}, expected 0 to 10 sides of the face. Type --margin 0.2.")


def listing_of(source: Path, usage: str) -> Listing:
    """The images of the folder, those that it holds out first: of two alike, the train image is the one to go.

    Args:
        source: The folder.
        usage: The command and what follows it, for messages.

    Raises:
        UserError: It is no folder, or has no images.
    """
    command = usage.split()[0]
    if not source.is_dir():
        found = "is a file" if source.exists() else "does not exist"
        raise UserError(f"{command}: {source} {found}. Expected a folder of images; type {usage}.")
    listing = scan(source)
    if not listing.names:
        raise UserError(f"{command}: there are no images in {source}. Name a folder that has some: {usage}.")
    order = np.argsort(-listing.splits, kind="stable")
    names = [listing.names[row] for row in order]
    return Listing(names, listing.labels[order], listing.splits[order], listing.class_names, listing.digest)


def _check_target(source: Path, target: Path) -> None:
    if target.resolve().is_relative_to(source.resolve()):
        raise UserError(
            f"prepare: OUT {target} is inside of {source}, whose images it would join. Name a folder beside it."
        )
    if target.is_symlink() or (target.exists() and (not target.is_dir() or any(target.iterdir()))):
        raise UserError(
            f"prepare: OUT {target} is there already. Expected a new or empty folder; name another one, or move it "
            "away first."
        )


def _squares(
    source: Path, names: list[str], folder: Path, crop: Crop, size: tuple[int, bool], duplicates: Duplicates
) -> tuple[Kept, LeftOut]:
    """Writes the squares of each image that are kept into `folder`."""
    kept: Kept = {}
    left_out: LeftOut = {"broken": {}, "no face": {}, "exact duplicate": {}, "near duplicate": {}}
    for row, name in enumerate(tqdm(names, desc="prepare", unit="image", leave=False, disable=None)):
        try:
            squares, lossy = cut(source / name, crop, *size)
            key = int(hash_keys([(source / name).read_bytes()])[0])
        except MemoryError:
            raise
        except Exception as error:  # PIL's readers raise nearly anything on damaged bytes; the reason is kept
            left_out["broken"][name] = f"{type(error).__name__}: {error}".replace(f"{source}/", "")
            continue
        if not squares:
            left_out["no face"][name] = ""
        for number, square in enumerate(squares, start=1):
            called = name if number == 1 else f"{name}, face {number}"
            repeats = duplicates.find(square, called)
            if repeats is None:
                file = folder / f"{content_of(square).hex()}{'.jpg' if lossy else '.png'}"
                square.save(file, quality=95, subsampling=0) if lossy else square.save(file)
                kept[called] = Square(file, row, key)
                continue
            why, first = repeats
            left_out[f"{why} duplicate"][called] = first
            # A picture that was held out before still is when a copy of another name comes to stand for it.
            kept[first] = kept[first]._replace(key=min(key, kept[first].key))
    return kept, left_out


def _into_splits(listing: Listing, kept: Kept, folder: Path, val: float, test: float, flat: bool) -> dict[str, str]:
    """Moves the squares to train, val and test, and there into the folders of their classes unless `flat`.

    Returns:
        The place in `folder` by the name of the original, train first.

    Raises:
        UserError: A split would be empty.
    """
    names, squares = list(kept), list(kept.values())
    rows = [square.row for square in squares]
    labels = listing.labels[rows] * (not flat)
    parts = steady(
        np.array([square.key for square in squares], dtype=np.uint64), labels, listing.splits[rows], val, test
    )
    _check_splits(parts, labels, val, test)
    placed: dict[str, str] = {}
    for index in np.argsort(parts, kind="stable"):
        file, label = squares[index].file, listing.class_names[labels[index]]
        place = Path(SPLITS[parts[index]], "" if flat else label, file.name)
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        file.replace(folder / place)
        placed[names[index]] = place.as_posix()
    return placed


def _check_splits(parts: np.ndarray, labels: np.ndarray, val: float, test: float) -> None:
    counts = np.bincount(parts, minlength=3)
    empty = [SPLITS[part] for part, wanted in ((TRAIN, 1), (VAL, val), (TEST, test)) if wanted and not counts[part]]
    if not empty and set(labels[parts == TRAIN]) < set(labels):
        empty = ["train in one of the classes"]
    if empty:
        raise UserError(
            f"prepare: {len(parts):,} images are too few for the splits: none fell to {' and '.join(empty)}. Add "
            "images, or hold out a number of them, or nothing: --val 5 --test 5, --val 0 --test 0."
        )


def _nothing_kept(crop: str, left_out: LeftOut) -> str:
    if left_out["no face"]:
        return (
            f"prepare: no image is left{_reasons(left_out)}. Expected pictures with a face that looks into the camera, "
            f"upright, larger than a tenth of the picture; type --crop centre, which needs none{_other(crop)}."
        )
    name, reason = (printable(said, "") for said in next(iter(left_out["broken"].items())))
    return (
        f"prepare: none of the {len(left_out['broken']):,} images can be read ({name}: {reason}). Expected JPEG, PNG "
        "or another format that Pillow reads; check the files."
    )


def _other(crop: str) -> str:
    return f", or --crop {'face' if crop == 'cat-face' else 'cat-face'}"


def _reasons(left_out: LeftOut) -> str:
    counts = [f"{len(names):,} {why}" for why, names in left_out.items() if names]
    return f"; left out: {', '.join(counts)}" if counts else ""
