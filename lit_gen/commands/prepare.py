"""Make train, val and test folders out of any photographs: prepare FOLDER OUT --crop centre|face|cat-face."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torchvision.utils import save_image
from tqdm.auto import tqdm

import datamodules.paths
from datamodules.folder_scan import Listing, scan
from datamodules.splits import TEST, TRAIN, VAL, carve, hash_keys
from datamodules.transforms import fit_image, to_float, upright
from lit_gen.crops import Crop, FaceCrop, centre
from lit_gen.duplicates import Duplicates, content_of
from lit_gen.errors import UserError
from lit_gen.files import whole_folder
from lit_gen.pictures import Made, image_grid

SPLITS = {TRAIN: "train", VAL: "val", TEST: "test"}
CASCADES = {"face": "haarcascade_frontalface_default.xml", "cat-face": "haarcascade_frontalcatface_extended.xml"}
SHEET = 100  # pictures on the contact sheet
THUMBNAIL = 96  # pixels

Kept = dict[str, Path]
"""Name of the original -> where its square lies."""
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
) -> None:
    """Make train, val and test folders out of any photographs: squares, each picture once, a contact sheet to look at.

    `fit --data.root OUT` takes the result. OUT also gets contact_sheet.png and prepared.json, which says what was
    left out and why. Which split a picture falls into depends on its pixels alone, not on its name.

    Args:
        folder: The photographs; sub-folders are classes, and split folders (train, val, test) that it has are kept.
        out: New or empty folder for the result, outside of `folder`.
        crop: `centre` keeps the central square; `face` and `cat-face` a square around the largest face that OpenCV
            finds, and leave out pictures without one.
        size: Larger squares are brought to this side in pixels; smaller ones stay as they are.
        val: Part of each class held out for validation, in [0, 1), where `folder` has no such split.
        test: Part of each class held out for testing, in [0, 1), where `folder` has no such split.
        near: Leave out pictures whose perceptual hash differs in at most so many of 64 bits from that of an earlier
            one; null leaves out exact duplicates alone.
        margin: What is added around a face on each side, in sides of the face.
    """
    source, target = datamodules.paths.find_input(folder), Path(out)
    _check_numbers(size, val, test, margin)
    listing = _listing(source)
    _check_target(source, target)
    cropping = centre if crop == "centre" else FaceCrop(CASCADES[crop], margin)
    duplicates = Duplicates(near)
    with whole_folder(target, "prepare: OUT") as unfinished:
        kept, left_out = _squares(source, listing, unfinished, cropping, size, duplicates)
        if not kept:
            raise UserError(_nothing_kept(crop, left_out))
        placed = _into_splits(listing, kept, unfinished, val, test, flat=listing.class_names == [source.name])
        _contact_sheet([unfinished / place for place in placed.values()], unfinished / "contact_sheet.png")
        counts = {name: sum(place.startswith(f"{name}/") for place in placed.values()) for name in SPLITS.values()}
        asked = {"crop": crop, "size": size, "val": val, "test": test, "near": near, "margin": margin}
        record = {"folder": source.name, **asked, **counts, "left_out": left_out, "images": placed}
        (unfinished / "prepared.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(f"{target}: {', '.join(f'{count:,} {name}' for name, count in counts.items())} images{_reasons(left_out)}.")
    print(f"Look at {target / 'contact_sheet.png'}; what was left out stands in {target / 'prepared.json'}.")
    print(f"Train on them with --data.root {target}")


def _check_numbers(size: int, val: float, test: float, margin: float) -> None:
    if size < 8:
        raise UserError(f"prepare: --size is {size}, expected at least 8 pixels. Type --size 256.")
    if not (0 <= val < 1 and 0 <= test < 1 and val + test < 1):
        raise UserError(
            f"prepare: --val is {val} and --test is {test}, expected fractions in [0, 1) that leave train images. "
            "Type --val 0.1 --test 0.1."
        )
    if not 0 <= margin <= 10:
        raise UserError(f"prepare: --margin is {margin}, expected 0 to 10 sides of the face. Type --margin 0.2.")


def _listing(source: Path) -> Listing:
    """The images of the folder, those that it holds out first: of two alike, the train image is the one to go."""
    if not source.is_dir():
        found = "is a file" if source.exists() else "does not exist"
        raise UserError(f"prepare: {source} {found}. Expected a folder of images; type prepare FOLDER OUT.")
    listing = scan(source)
    if not listing.names:
        raise UserError(f"prepare: there are no images in {source}. Name a folder that has some: prepare FOLDER OUT.")
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
    source: Path, listing: Listing, folder: Path, crop: Crop, size: int, duplicates: Duplicates
) -> tuple[Kept, LeftOut]:
    """Writes the square of each image that is kept into `folder`."""
    kept: Kept = {}
    left_out: LeftOut = {"broken": {}, "no face": {}, "exact duplicate": {}, "near duplicate": {}}
    for name in tqdm(listing.names, desc="prepare", unit="image", leave=False, disable=None):
        try:
            square, lossy = _square(source / name, crop, size)
        except MemoryError:
            raise
        except Exception as error:  # PIL's readers raise nearly anything on damaged bytes; the reason is kept
            left_out["broken"][name] = f"{type(error).__name__}: {error}".replace(f"{source}/", "")
            continue
        if square is None:
            left_out["no face"][name] = ""
            continue
        repeats = duplicates.find(square, name)
        if repeats is not None:
            left_out[f"{repeats[0]} duplicate"][name] = repeats[1]
            continue
        # Named by the content: the same picture has the same name whatever else is in the folder.
        kept[name] = folder / f"{content_of(square).hex()}{'.jpg' if lossy else '.png'}"
        square.save(kept[name], quality=95, subsampling=0) if lossy else square.save(kept[name])
    return kept, left_out


def _square(path: Path, crop: Crop, size: int) -> tuple[Image.Image | None, bool]:
    """The cropped picture, RGB, at most `size` pixels; None without a face. And whether it came out of a JPEG."""
    with warnings.catch_warnings(), Image.open(path) as file:
        warnings.simplefilter("ignore")  # PIL's remarks on odd metadata
        lossy = file.format in ("JPEG", "MPO")
        # A JPEG is decoded at 1/2, 1/4 or 1/8 for a fraction of the time; a face is rarely less than a quarter.
        file.draft(None, (size * (2 if crop is centre else 8),) * 2)
        image = upright(file).convert("RGB")
    box = crop(image)
    if box is None:
        return None, lossy
    side = min(size, box[2] - box[0])
    if side < box[2] - box[0]:
        return image.resize((side, side), Image.Resampling.LANCZOS, box=box), lossy
    return image.crop(box), lossy


def _into_splits(listing: Listing, kept: Kept, folder: Path, val: float, test: float, flat: bool) -> dict[str, str]:
    """Moves the squares to train, val and test, and there into the folders of their classes unless `flat`.

    Returns:
        The place in `folder` by the name of the original, train first.

    Raises:
        UserError: A split would be empty.
    """
    rows = [row for row, name in enumerate(listing.names) if name in kept]
    names = [listing.names[row] for row in rows]
    keys, labels = hash_keys(kept[name].stem for name in names), listing.labels[rows]
    parts = carve(keys, labels, listing.splits[rows], val, test)
    counts = np.bincount(parts, minlength=3)
    empty = [SPLITS[part] for part, wanted in ((TRAIN, 1), (VAL, val), (TEST, test)) if wanted and not counts[part]]
    if empty:
        raise UserError(
            f"prepare: {len(rows):,} images are too few for the splits: none fell to {' and '.join(empty)}. "
            "Add images, or hold out more or nothing: --val 0.3 --test 0.3, --val 0 --test 0."
        )
    placed: dict[str, str] = {}
    for index in np.argsort(parts, kind="stable"):
        name, label = names[index], listing.class_names[labels[index]]
        place = Path(SPLITS[parts[index]], "" if flat else label, kept[name].name)
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        kept[name].replace(folder / place)
        placed[name] = place.as_posix()
    return placed


def _contact_sheet(files: list[Path], path: Path) -> None:
    """At most SHEET of the pictures side by side, evenly spread over all of them."""
    shown = [files[index * len(files) // min(len(files), SHEET)] for index in range(min(len(files), SHEET))]
    pictures = []
    for file in shown:
        with Image.open(file) as image:
            pictures.append(torch.from_numpy(fit_image(image, THUMBNAIL, 3).copy()))
    save_image(image_grid([Made(to_float(torch.stack(pictures)))], SHEET), path)


def _nothing_kept(crop: str, left_out: LeftOut) -> str:
    if left_out["no face"]:
        return (
            f"prepare: no image is left{_reasons(left_out)}. Expected pictures with a face that looks into the camera, "
            f"upright, larger than a tenth of the picture; type --crop centre, which needs none{_other(crop)}."
        )
    name, reason = next(iter(left_out["broken"].items()))
    return (
        f"prepare: none of the {len(left_out['broken']):,} images can be read ({name}: {reason}). Expected JPEG, PNG "
        "or another format that Pillow reads; check the files."
    )


def _other(crop: str) -> str:
    return f", or --crop {'face' if crop == 'cat-face' else 'cat-face'}"


def _reasons(left_out: LeftOut) -> str:
    counts = [f"{len(names):,} {why}" for why, names in left_out.items() if names]
    return f"; left out: {', '.join(counts)}" if counts else ""
