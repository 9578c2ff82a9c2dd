"""Say what is wrong with a folder of images and show what training will see: doctor FOLDER."""

from __future__ import annotations

import json as to_json
import sys
import warnings
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import datamodules.paths
from datamodules.checks import to_colour
from datamodules.folder_scan import Listing
from lit_gen.commands.prepare import listing_of
from lit_gen.duplicates import PerceptualHash
from lit_gen.errors import UserError
from lit_gen.files import printable, writable_folder
from lit_gen.health.balance import Balance
from lit_gen.health.examination import Records, View, examine
from lit_gen.health.findings import HANDS, NOTES, Finding, by_kind, repeats
from lit_gen.health.sheet import choose, sheet
from lit_gen.health.unseen import unseen
from lit_gen.transfer.plan import columns

SHOWN = 3  # files that are named for each finding


def doctor(
    folder: str,
    image_size: int = 64,
    channels: int = 3,
    background: str = "white",
    near: int | None = 6,
    picture: str = "doctor.png",
    json: bool = False,
) -> None:
    """Say what is wrong with a folder of images, what to do about it, and show what training will see of them.

    Files that cannot be used, duplicates, leakage between splits, sizes and classes out of balance. Nothing is changed.
    The exit status is 1 where something needs a hand, and 0 where all is well.

    Args:
        folder: The images, as `--data.root` of ImageFolder takes them: sub-folders are classes, and train, val and
            test are splits.
        image_size: What `--data.image_size` is going to be.
        channels: Likewise, 1 or 3.
        background: Likewise: what transparent pixels are laid on.
        near: Most bits of 64 that differ in the perceptual hashes of near duplicates; null looks for exact ones alone.
        picture: PNG file to write, outside of `folder`.
        json: The same as JSON with every file of each finding, for programs.
    """
    source, target = datamodules.paths.find_input(folder), Path(picture)
    view = _view(image_size, channels, background)
    hashing = None if near is None else PerceptualHash(near, "doctor")
    _check_target(source, target)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        listing = listing_of(source, "doctor FOLDER")
        missed, others = unseen(source)
    records = examine(source, listing.names, view, hashing)
    balance = Balance(listing, records)
    hands = [Finding("the folder itself", 1, [words], "") for words in dict.fromkeys(str(w.message) for w in said)]
    hands += [*by_kind(listing.names, records, HANDS), *missed, *repeats(listing, records, near)]
    hands += balance.findings(image_size)
    notes = [*by_kind(listing.names, records, NOTES), *others]
    n_shown = _draw(source, listing, records, view, target)
    if json:
        print(to_json.dumps(_as_dict(balance, records, hands, notes), indent=1))
    else:
        shown = f"What training will see of {n_shown:,} of them: {target}" if n_shown else "No image can be used."
        lines = [*_lines(source, balance, hands, notes), "", shown]
        print(*(printable(line, kept="") for line in lines), sep="\n")
    if hands:
        sys.exit(1)


def _lines(source: Path, balance: Balance, hands: list[Finding], notes: list[Finding]) -> Iterator[str]:
    """What is printed."""
    yield f"{source}: {len(balance.listing.names):,} images, {balance.counts.sum():,} of them can be used"
    yield ""
    yield from columns(balance.table()).splitlines()
    for title, findings in (("Needs a hand", hands), ("Good to know", notes)):
        if findings:
            yield from ("", title)
        for finding in findings:
            yield f"  {finding.what}: {finding.count:,}"
            if finding.advice:
                yield f"    {finding.advice}"
            yield from (f"      {item}" for item in islice(finding.items, SHOWN))
            if finding.count > SHOWN:
                yield f"      and {finding.count - SHOWN:,} more"
    if not hands:
        yield from ("", "All is well: nothing needs a hand.")


def _as_dict(balance: Balance, records: Records, hands: list[Finding], notes: list[Finding]) -> dict[str, Any]:
    """Everything, with every file of each finding."""
    found = [
        [{"what": what, "count": count, "items": list(items), "advice": advice} for what, count, items, advice in part]
        for part in (hands, notes)
    ]
    splits = zip(("train", "val", "test"), balance.counts.tolist(), strict=True)
    counts = {split: dict(zip(balance.class_names, row, strict=True)) for split, row in splits}
    return {"images": len(records.kinds), "usable": counts, "needs_a_hand": found[0], "good_to_know": found[1]}


def _view(image_size: int, channels: int, background: str) -> View:
    if image_size < 1:
        raise UserError(f"doctor: --image_size is {image_size}, expected at least 1 pixel. Type --image_size 64.")
    if channels not in (1, 3):
        raise UserError(f"doctor: --channels is {channels}, expected 1 (grey) or 3 (RGB). Type --channels 3.")
    return View(image_size, channels, to_colour("doctor", background, "--background"))


def _check_target(source: Path, target: Path) -> None:
    if target.resolve().is_relative_to(source.resolve()):
        raise UserError(
            f"doctor: --picture {target} is inside of {source}, whose images it would join. Name a place beside it: "
            "--picture ../doctor.png."
        )
    if target.suffix.lower() != ".png" or target.is_dir():
        raise UserError(f"doctor: --picture is {target}, expected a PNG file. Type --picture doctor.png.")
    writable_folder(target.parent, "--picture")


def _draw(source: Path, listing: Listing, records: Records, view: View, target: Path) -> int:
    """Writes the picture; how many images it shows."""
    rows = choose(records, view)
    if rows:
        shown = sheet(source, listing.names, rows, records, view)
        try:
            shown.save(target)
        except OSError as error:
            raise UserError(f"doctor: --picture {target} cannot be written ({error}). Name another file.") from error
    return len(rows)
