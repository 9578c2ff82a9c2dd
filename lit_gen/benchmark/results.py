"""What came out of a benchmark's finished cells, and what follows: medians over seeds, ratios, the last crossing."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from lit_gen.metrics.base import Estimate

RESULT = "result.json"
MOST_COPIES = 0.60  # copy share above which no other number speaks for an arm; real images have 0.5
LEADS = "kid"


class Step(NamedTuple):
    """One measurement on the validation images while a cell was trained."""

    images: float
    minutes: float
    kid: float


@dataclass(frozen=True)
class Cell:
    """A finished cell.

    Attributes:
        folder: Its pictures are in it: `grid.png` and `strip.png`.
        method: Name of the method, `source_...` for a source.
        data: Name of the data.
        shots: Train images; None for all.
        seed: Of the training.
        minutes: Of training that it had; 0 where a source was only tested.
        source: Name of the source that it began from.
        threads: Of the processor, where the benchmark file says how many.
        images: Seen in training.
        best_images: Seen when the weights that were tested had been found.
        numbers: Of the test images.
        floor: The same numbers of real train images in place of generated ones.
        curve: On the validation images.
    """

    folder: Path
    method: str
    data: str
    shots: int | None
    seed: int
    minutes: float
    source: str | None = None
    threads: int | None = None
    images: int = 0
    best_images: int = 0
    numbers: list[Estimate] = field(default_factory=list)
    floor: list[Estimate] = field(default_factory=list)
    curve: list[Step] = field(default_factory=list)

    @property
    def images_per_second(self) -> float:
        return self.images / (60 * self.minutes) if self.minutes else math.nan

    def number(self, name: str) -> Estimate | None:
        """The number of this name; of several ways to make images, of the first."""
        return next((one for one in self.numbers if one.name == name or one.name.endswith(f"_to_b_{name}")), None)


def read_cell(folder: Path) -> Cell:
    """The cell whose `result.json` lies in this folder."""
    held = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    told = {one.name: held[one.name] for one in fields(Cell) if one.name in held}
    for name in ("numbers", "floor"):
        told[name] = [estimate_of(entry) for entry in held.get(name, [])]
    told["curve"] = [Step(*step) for step in held.get("curve", [])]
    return Cell(folder=folder, **told)


def estimate_of(entry: dict[str, Any]) -> Estimate:
    """A number as a report has it, where null stands for one that is not finite; without its replicates."""
    ends = {name: math.nan if entry[name] is None else float(entry[name]) for name in ("value", "low", "high")}
    return Estimate(**{**entry, **ends, "replicates": ()})


def medians(found: Sequence[Estimate]) -> Estimate | None:
    """The estimate whose value and ends of the interval are these ones' medians; None of none."""
    if not found:
        return None
    return replace(found[0], **{end: median(getattr(one, end) for one in found) for end in ("value", "low", "high")})


@dataclass(frozen=True)
class Arm:
    """One method of a group, with a cell for each seed."""

    method: str
    cells: list[Cell]

    @property
    def trained(self) -> bool:
        return self.cells[0].minutes > 0

    @property
    def source(self) -> str | None:
        return self.cells[0].source

    def number(self, name: str) -> Estimate | None:
        """Medians over the seeds of a number and of both ends of its interval."""
        return medians([one for one in (cell.number(name) for cell in self.cells) if one is not None])

    def floor(self, name: str) -> Estimate | None:
        """The same of real train images, of which each seed may have drawn its own."""
        return medians([one for cell in self.cells for one in cell.floor if one.name == name])

    def value(self, name: str) -> float:
        """The median over the seeds, NaN where nobody measured it."""
        found = self.number(name)
        return math.nan if found is None else found.value

    def middle(self, of: Callable[[Cell], float]) -> float:
        """The median over the seeds of anything that a cell has."""
        return median(of(cell) for cell in self.cells)


@dataclass(frozen=True)
class Group:
    """All arms that may be compared: of the same data, shots, minutes and threads, and the sources as they are.

    Attributes:
        data: Name of the data.
        shots: Train images; None for all.
        minutes: Of training.
        threads: Of the processor, where the benchmark file says how many.
        arms: Sorted by KID, the best first.
        baselines: Names of the methods from scratch.
        untouched: The method that is a source as it is, where a method's own source has none.
    """

    data: str
    shots: int | None
    minutes: float
    threads: int | None
    arms: list[Arm]
    baselines: Sequence[str]
    untouched: str | None

    @property
    def title(self) -> str:
        shots = "all images" if self.shots is None else f"{self.shots} images"
        threads = "" if self.threads is None else f", {self.threads} threads"
        return f"{self.data}, {shots}, {self.minutes:g} minutes{threads}"

    @property
    def seeds(self) -> int:
        return max((len(arm.cells) for arm in self.arms), default=0)

    @property
    def baseline(self) -> Arm | None:
        """The better of the arms from scratch, by its median."""
        return next((arm for arm in self.arms if arm.method in self.baselines), None)

    @property
    def best(self) -> Arm | None:
        """The trained arm with the best KID among those that do not replay their shots; of all where each does."""
        trained = [arm for arm in self.arms if arm.trained]
        return next((arm for arm in trained if not arm.value("copy_share") > MOST_COPIES), next(iter(trained), None))

    def untouched_of(self, arm: Arm) -> Arm | None:
        """The source of this arm as it is, on the same data."""
        idle = [other for other in self.arms if not other.trained]
        own = [other for other in idle if arm.source is not None and other.source == arm.source]
        return next(iter(own + [other for other in idle if other.method == self.untouched]), None)

    def ratio(self, arm: Arm, other: Arm | None) -> float:
        """An arm's KID as a share of another's; NaN where that means nothing."""
        if other is None or other is arm or not other.value(LEADS) > 0:
            return math.nan
        return arm.value(LEADS) / other.value(LEADS)

    def crossing(self, arm: Arm) -> float:
        """Images until an arm is for good below the best KID of the better baseline, as a share of that one's images.

        The median over those seeds that both have; infinite where the arm is not below it at its end.
        """
        if self.baseline is None or arm is self.baseline or not arm.trained:
            return math.nan
        rivals = {cell.seed: cell.curve for cell in self.baseline.cells if cell.curve}
        shares = []
        for cell in arm.cells:
            if cell.curve and cell.seed in rivals:
                best = min(rivals[cell.seed], key=lambda step: step.kid)
                shares.append(last_crossing(cell.curve, best.kid) / max(best.images, 1.0))
        return median(shares) if shares else math.nan

    def doubts(self, arm: Arm) -> list[str]:
        """Why an arm's share of classes does not count: copies, or patches that are worse than scratch's."""
        found = []
        if arm.value("copy_share") > MOST_COPIES:
            found.append(f"copy share {arm.value('copy_share'):.2f}")
        if self.baseline is not None and arm.value("swd") > self.baseline.value("swd"):
            found.append("swd worse than scratch's")
        return found


def last_crossing(curve: Sequence[Step], level: float) -> float:
    """Images of the first measurement from which on a curve stays at or below a level; infinite where it ends above."""
    above = [place for place, step in enumerate(curve) if not step.kid <= level]
    after = above[-1] + 1 if above else 0
    return curve[after].images if after < len(curve) else math.inf


def groups_of(cells: Sequence[Cell], baselines: Sequence[str], untouched: str | None) -> list[Group]:
    """The cells by data, shots, minutes and threads, in their order; a source as it is stands beside all minutes."""
    keys = dict.fromkeys((cell.data, cell.shots, cell.minutes, cell.threads) for cell in cells if cell.minutes)
    return [Group(*key, arms_of(cells, *key), baselines, untouched) for key in keys]


def arms_of(cells: Sequence[Cell], data: str, shots: int | None, minutes: float, threads: int | None) -> list[Arm]:
    """The arms of one group, the best first; what has no KID comes last."""
    arms: dict[str, list[Cell]] = {}
    for cell in cells:
        alike = not cell.minutes or (cell.minutes, cell.threads) == (minutes, threads)
        if alike and (cell.data, cell.shots) == (data, shots):
            arms.setdefault(cell.method, []).append(cell)
    found = [Arm(method, sorted(of, key=lambda cell: cell.seed)) for method, of in arms.items()]
    return sorted(found, key=lambda arm: (math.isnan(arm.value(LEADS)), arm.value(LEADS)))
