"""What finished cells say together: medians over seeds, ratios to the better baseline, speed-up."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median, median_low
from typing import Any

from lit_gen.benchmark.curves import best_point, speed_up
from lit_gen.errors import UserError

RESULT = "result.json"
NEEDED = ("method", "data", "shots", "seed", "minutes", "numbers", "curve", "images")
OPTIONAL = ("seconds", "source", "source_images", "best_images", "threads")
NAMES = ("kid", "class_share", "class_share_of_real", "copy_share", "swd", "precision", "recall")
MOST_COPIES = 0.60  # copy share (fresh images: 0.5) of what may be called the best


@dataclass(frozen=True)
class Cell:
    """A finished cell, as its `result.json` has it.

    Attributes:
        method: Its name in the benchmark file.
        data: Name of the data.
        shots: Training images; None for all.
        seed: Of the training.
        minutes: Of training; 0 for a source that was only tested.
        folder: Of the cell, with `grid.png` and `strip.png`.
        numbers: Key (`kid_efficientnet_lite1`) -> value, low, high, n_real, n_fake, better; of the test images.
        curve: Validation KID: images, minutes, kid.
        images: Seen in training.
        seconds: That training took.
        source: Name of what it began from.
        source_images: That the source had seen; 0 where nobody wrote it down.
        best_images: Seen when the tested weights were kept.
        threads: Of the processor.
    """

    method: str
    data: str
    shots: int | None
    seed: int
    minutes: float
    folder: Path
    numbers: dict[str, dict[str, Any]]
    curve: list[dict[str, float]]
    images: int = 0
    seconds: float = 0.0
    source: str | None = None
    source_images: int = 0
    best_images: int = 0
    threads: int = 1

    def told(self, name: str) -> dict[str, Any] | None:
        """What was measured under a name without its extractor, such as `kid`; None where it has no finite value."""
        longer = tuple(f"{other}_" for other in NAMES if other.startswith(f"{name}_"))
        keys = (key for key in self.numbers if key.startswith(f"{name}_") and not key.startswith(longer or "\n"))
        found = self.numbers.get(next(keys, ""))
        return found if found and finite(found["value"]) else None

    def value(self, name: str) -> float | None:
        """The number of that name."""
        found = self.told(name)
        return None if found is None else found["value"]


@dataclass(frozen=True)
class Row:
    """A method in a group: medians over its cells.

    Attributes:
        method: Its name.
        cells: One for each seed.
        middle: The cell whose KID is the median (of two middle ones the lower): its interval and pictures are shown.
        values: Name -> median, of those of NAMES that were measured.
        of_baseline: KID divided by that of the better baseline.
        of_untouched: KID divided by that of the untouched source.
        swd_of_baseline: Sliced Wasserstein distance divided by that of the better baseline.
        speed_ups: Of each seed, in the order of the cells: see `curves.speed_up`.
    """

    method: str
    cells: list[Cell]
    middle: Cell
    values: dict[str, float]
    of_baseline: float | None
    of_untouched: float | None
    swd_of_baseline: float | None
    speed_ups: list[float]

    @property
    def speed_up(self) -> float | None:
        """The median over seeds; of two middle ones the lower, since there is no mean with `never`."""
        return median_low(self.speed_ups) if self.speed_ups else None

    @property
    def copies(self) -> bool:
        """Whether it copies its training images more than what is called the best may, or nobody looked."""
        return self.values.get("copy_share", math.inf) > MOST_COPIES

    @property
    def share_counts(self) -> bool:
        """Whether its class share counts: no copies, and patches at least as real as those from scratch."""
        return not self.copies and self.swd_of_baseline is not None and self.swd_of_baseline <= 1


@dataclass(frozen=True)
class Group:
    """Cells that may be held against each other: one data set, as many shots, as many minutes.

    Attributes:
        data: Its name.
        shots: Training images; None for all.
        minutes: Of training.
        baseline: The baseline with the lower median KID; None where no baseline is finished.
        rows: Lowest KID first.
    """

    data: str
    shots: int | None
    minutes: float
    baseline: str | None
    rows: list[Row]

    def row(self, method: str | None) -> Row | None:
        """The row of a method."""
        return next((row for row in self.rows if row.method == method), None)


def finite(value: float | None) -> bool:
    """Whether there is a number at all; reports have null for those that are not finite."""
    return value is not None and math.isfinite(value)


def read_cells(folder: Path) -> list[Cell]:
    """All finished cells in a folder; of the same cell under several keys, the one that was finished last.

    Args:
        folder: Of the cells; those of the sources, which say what these cost, lie beside it in `sources`.

    Raises:
        UserError: A result is damaged.
    """
    costs = {cell.method: cell.images for cell in _finished(folder.parent / "sources")}
    cells = {(c.method, c.data, c.shots, c.seed, c.minutes): c for c in _finished(folder)}
    return [
        Cell(**{**vars(cell), "source_images": cell.source_images or costs.get(f"source_{cell.source}", 0)})
        for cell in sorted(cells.values(), key=lambda cell: cell.folder.name)
    ]


def _finished(folder: Path) -> list[Cell]:
    """The cells of a folder in the order in which they were finished."""
    files = sorted(folder.glob(f"*/{RESULT}"), key=lambda file: (file.stat().st_mtime, file))
    return [_read(file) for file in files]


def _read(file: Path) -> Cell:
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
        kept = {name: told[name] for name in NEEDED} | {name: told[name] for name in OPTIONAL if name in told}
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"benchmark: {file} is damaged ({error}), expected {', '.join(NEEDED)}.\nDelete its folder and type the "
            "same command again."
        ) from error
    return Cell(folder=file.parent, **kept)


def groups_of(cells: Sequence[Cell], baselines: Sequence[str], untouched: str | None) -> list[Group]:
    """Cells by data, shots and minutes; a source that was only tested stands in every group of its data and shots."""
    trained = {(cell.data, cell.shots) for cell in cells if cell.minutes}
    keys = {(c.data, c.shots, c.minutes) for c in cells if c.minutes or (c.data, c.shots) not in trained}
    groups = []
    for data, shots, minutes in sorted(keys, key=lambda key: (key[0], key[1] or math.inf, key[2])):
        methods: dict[str, list[Cell]] = {}
        for cell in cells:
            if (cell.data, cell.shots) == (data, shots) and cell.minutes in (minutes, 0):
                methods.setdefault(cell.method, []).append(cell)
        kids = {name: median_of(ones, "kid") for name, ones in methods.items()}
        baseline = better_baseline(kids, baselines)
        rows = [row_of(name, ones, methods.get(baseline, []), kids.get(untouched)) for name, ones in methods.items()]
        rows.sort(key=lambda row: (row.values.get("kid", math.inf), row.method))
        groups.append(Group(data, shots, minutes, baseline, rows))
    return groups


def better_baseline(kids: Mapping[str, float | None], baselines: Sequence[str]) -> str | None:
    """The baseline with the lowest KID, of those that have one."""
    there = [name for name in baselines if kids.get(name) is not None]
    return min(there, key=lambda name: kids[name], default=None)


def row_of(name: str, cells: Sequence[Cell], baseline: Sequence[Cell], untouched: float | None) -> Row:
    """A method's medians beside the better baseline's cells and the untouched source's KID."""
    cells = sorted(cells, key=lambda cell: cell.seed)
    medians = {number: median_of(cells, number) for number in NAMES}
    values = {number: value for number, value in medians.items() if value is not None}
    kid = values.get("kid")
    goals = [goal_of(baseline, cell.seed) for cell in cells]
    speeds = [speed_up(cell.curve, goal) for cell, goal in zip(cells, goals, strict=True) if cell.curve and goal]
    by_kid = sorted(cells, key=lambda cell: math.inf if cell.value("kid") is None else cell.value("kid"))
    measured = sum(cell.value("kid") is not None for cell in cells)
    return Row(
        method=name,
        cells=cells,
        middle=by_kid[max(0, measured - 1) // 2],
        values=values,
        of_baseline=ratio(kid, median_of(baseline, "kid")),
        of_untouched=ratio(kid, untouched),
        swd_of_baseline=ratio(values.get("swd"), median_of(baseline, "swd")),
        speed_ups=[speed for speed in speeds if speed is not None],
    )


def median_of(cells: Sequence[Cell], name: str) -> float | None:
    """The median of a number over the cells that have it."""
    values = [value for cell in cells if (value := cell.value(name)) is not None]
    return median(values) if values else None


def ratio(value: float | None, other: float | None) -> float | None:
    """How many times the other; None where either is missing, or the other is no positive number, as KID can be."""
    return None if value is None or other is None or other <= 0 else value / other


def goal_of(baseline: Sequence[Cell], seed: int) -> tuple[float, float] | None:
    """Images and KID at the best validation of the baseline's cell with this seed, else their medians over all."""
    best = {cell.seed: found for cell in baseline if (found := best_point(cell.curve)) is not None}
    if seed in best or not best:
        return best.get(seed)
    images, kids = zip(*best.values(), strict=True)
    return median(images), median(kids)


def best_of(group: Group) -> Row | None:
    """The row with the lowest KID among those that do not copy their training images."""
    return next((row for row in group.rows if "kid" in row.values and not row.copies), None)
