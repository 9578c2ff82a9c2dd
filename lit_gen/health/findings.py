"""What the records of a folder's images amount to: findings, each with the files, and with what to do about them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from datamodules.folder_scan import Listing
from datamodules.image_files import BAD, MAX_PIXELS, WORDS, Kind
from lit_gen.duplicates import first_equal, first_near
from lit_gen.health.examination import Records

REFUSED = "ImageFolder refuses them."
HANDS: dict[Kind, str] = {
    Kind.EMPTY: f"{REFUSED} Fetch them again, or delete them.",
    Kind.TRUNCATED: f"{REFUSED} Fetch them again, or delete them.",
    Kind.UNREADABLE: f"{REFUSED} Convert them to JPEG or PNG if they are images, or delete them.",
    Kind.BOMB: f"{REFUSED} Make those that you trust smaller ({MAX_PIXELS:,} pixels at most), and delete the others.",
    Kind.MISNAMED: "ImageFolder goes by what is in a file, other programs may not. Rename them.",
}
NOTES: dict[Kind, str] = {
    Kind.CMYK: "ImageFolder converts them to RGB, without their printer's profile: have a look at their colours.",
    Kind.DEEP: "ImageFolder scales them to 8 bits.",
    Kind.PALETTE: "ImageFolder looks their colours up.",
    Kind.ALPHA: "ImageFolder lays them on --data.background: white, unless another is named, such as '#808080'.",
    Kind.ANIMATED: "ImageFolder takes the first frame or page.",
    Kind.TURNED: "ImageFolder turns them upright.",
}
_PREPARE = "Delete the first of each pair, or type python -m lit_gen prepare FOLDER OUT, which leaves it out of OUT."
_LEAK = f"What is held out is trained on, and scores are too good. {_PREPARE}"
_DOUBLE = "They count double, and where val and test are carved out of train they may stand on both sides."
_LOOK = "Pictures that only look alike to it: --near 0 is stricter, --near null leaves them out."


class Finding(NamedTuple):
    """Something about some of the images.

    Attributes:
        what: In a word or two.
        count: How many there are.
        items: What they are called, one after the other; to be read once.
        advice: What becomes of them, and what to do.
    """

    what: str
    count: int
    items: Iterable[str]
    advice: str


def by_kind(names: list[str], records: Records, advice: dict[Kind, str]) -> Iterator[Finding]:
    """The files of each kind that there is advice for, with the reason where one is known."""
    for kind, words in advice.items():
        rows = np.flatnonzero(records.are(kind))
        if len(rows):
            items = (names[row] + (f": {records.reasons[row]}" if row in records.reasons else "") for row in rows)
            yield Finding(WORDS[kind], len(rows), items, words)


def repeats(listing: Listing, records: Records, near: int | None) -> Iterator[Finding]:
    """Leakage between splits, and duplicates within them.

    Args:
        listing: The images, those held out first: what is found for a picture is the first before it.
        records: Of the same images.
        near: Most bits in which the hashes of near duplicates differ; None looks for exact ones alone.
    """
    used = np.flatnonzero(~records.are(BAD))
    splits, labels = listing.splits[used], listing.labels[used]
    exact = first_equal(records.contents[used])
    alike = exact if near is None else first_near(records.hashes[used], near)
    leaks, near_leaks = (((of >= 0) & (splits[of] != splits)) for of in (exact, alike))
    confused = (exact >= 0) & ~leaks & (labels[exact] != labels)
    cases = (
        ("leakage between splits, exact", leaks, exact, "=", _LEAK),
        ("leakage between splits, near duplicates", near_leaks & ~leaks, alike, "~", f"{_LEAK} {_LOOK}"),
        ("the same picture in two classes", confused, exact, "=", "Leave it in the class where it belongs."),
        ("exact duplicates", (exact >= 0) & ~leaks & ~confused, exact, "=", f"They count double. {_PREPARE}"),
        ("near duplicates", (exact < 0) & (alike >= 0) & ~near_leaks, alike, "~", f"{_DOUBLE} {_PREPARE} {_LOOK}"),
    )
    for what, which, of, sign, advice in cases:
        rows = np.flatnonzero(which)
        if len(rows):
            items = _pairs(listing.names, used[rows], used[of[rows]], sign)
            yield Finding(what, len(rows), items, advice)


def _pairs(names: list[str], rows: np.ndarray, others: np.ndarray, sign: str) -> Iterator[str]:
    return (f"{names[row]} {sign} {names[other]}" for row, other in zip(rows, others, strict=True))
