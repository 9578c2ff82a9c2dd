"""How many images of which size each class and split has, and where that is out of balance."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from datamodules.folder_scan import Listing
from datamodules.image_files import BAD
from datamodules.splits import TEST, TRAIN, VAL
from lit_gen.health.examination import Records
from lit_gen.health.findings import Finding

OUT_OF_BALANCE = 10  # times as many images as the smallest class has
SHOWN = 20  # classes in the table; of more, as many of the largest and of the smallest as make half of it


class Balance:
    """The images that can be used, counted.

    Args:
        listing: All images of a folder.
        records: Of the same images.

    Attributes:
        class_names: K names.
        counts: (3, K) images of TRAIN, VAL, TEST.
        sides: Shorter sides in pixels, of one array a class.
    """

    def __init__(self, listing: Listing, records: Records) -> None:
        self.listing, self.records = listing, records
        used = ~records.are(BAD)
        labels, splits, sides = listing.labels[used], listing.splits[used], records.sides[used]
        self.class_names = listing.class_names
        self.counts = np.zeros((3, len(self.class_names)), dtype=np.int64)
        np.add.at(self.counts, (splits, labels), 1)
        order = np.argsort(labels, kind="stable")
        self.sides = np.split(sides[order], np.cumsum(self.counts.sum(0))[:-1])

    def findings(self, image_size: int) -> Iterator[Finding]:
        """What is out of balance, or too small for a training at `image_size` pixels."""
        names, train = self.class_names, self.counts[TRAIN]
        empty = np.flatnonzero(train == 0)
        if len(empty):
            advice = "ImageFolder refuses to start. Add images, or name the other classes: --data.classes '[cat, dog]'."
            yield Finding("classes without train images", len(empty), (names[label] for label in empty), advice)
        few = np.flatnonzero((train > 0) & (train * OUT_OF_BALANCE <= train.max()))
        if len(few):
            items = (f"{names[label]}: {train[label]:,}" for label in few[np.argsort(train[few], kind="stable")])
            largest = f"{names[train.argmax()]} has {train.max():,} train images"
            advice = f"{largest}, {OUT_OF_BALANCE} times as many or more. Add images to these, or leave them out."
            yield Finding("classes out of balance", len(few), items, advice)
        sides = self.records.sides
        small = np.flatnonzero((sides > 0) & (sides < image_size))
        if len(small):
            items = (f"{self.listing.names[row]}: {sides[row]:,} pixels" for row in small)
            advice = f"They are enlarged to {image_size} pixels, so blurred. Lower --data.image_size, or delete them."
            yield Finding("smaller than what training sees", len(small), items, advice)

    def table(self) -> list[tuple[str, ...]]:
        """Rows of words: each class with its images by split and the median of their shorter sides."""
        order = np.argsort(-self.counts.sum(0), kind="stable")
        half = SHOWN // 2
        shown = order if len(order) <= SHOWN else np.concatenate([order[:half], order[-half:]])
        rows = [("class", "train", "val", "test", "shorter side")]
        for place, label in enumerate(shown):
            if place == half and len(shown) < len(order):
                rows.append((f"({len(order) - len(shown):,} more)", "", "", "", ""))
            counts = [f"{self.counts[part, label]:,}" for part in (TRAIN, VAL, TEST)]
            rows.append((self.class_names[label], *counts, _spread(self.sides[label])))
        if len(order) > 1:
            totals = [f"{self.counts[part].sum():,}" for part in (TRAIN, VAL, TEST)]
            rows.append(("all", *totals, _spread(np.concatenate(self.sides))))
        return rows


def _spread(sides: np.ndarray) -> str:
    """`64 to 512, median 320`."""
    if not len(sides):
        return ""
    low, high, middle = sides.min(), sides.max(), int(np.median(sides))
    return f"{low:,}" if low == high else f"{low:,} to {high:,}, median {middle:,}"
