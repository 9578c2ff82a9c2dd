"""What finished cells say together: medians over seeds, ratios to the better baseline, speed-up."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from lit_gen.files import write_whole

RESULT = "result.json"
KEPT = ("method", "data", "shots", "seed", "minutes", "images", "source", "source_images", "best_images", "threads")
MOST_COPIES = 0.60  # copy share (fresh images: 0.5) of what may be called the best


@dataclass(frozen=True)
class Cell:
    """A finished cell, as its `result.json` has it.

    Attributes:
        numbers: Key (`kid_efficientnet_lite1`) -> value, low, high, n_real, n_fake, better; of the test images.
        curve: Validation KID: images, minutes, kid.
        images: Seen in training; 0 for a source that was only tested.
        best_images: Seen when the tested weights were kept.
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
    source: str | None = None
    source_images: int = 0
    best_images: int = 0
    threads: int = 1

    def value(self, name: str) -> float | None:
        """A number by its name without the extractor: `kid`."""
        found = [told["value"] for key, told in self.numbers.items() if bare(key) == name]
        return found[0] if found else None


@dataclass(frozen=True)
class Row:
    """A method in a group: medians over its cells.

    Attributes:
        method: Its name.
        cells: One for each seed.
        values: Name -> median.
        of_baseline: KID divided by that of the better baseline.
        of_untouched: KID divided by that of the untouched source.
        swd_of_baseline: Likewise of the sliced Wasserstein distance.
        speed_up: Images in which the baseline was best, divided by those of the last crossing; 0 for never.
    """

    method: str
    cells: list[Cell]
    values: dict[str, float]
    of_baseline: float | None
    of_untouched: float | None
    swd_of_baseline: float | None
    speed_up: float | None


@dataclass(frozen=True)
class Group:
    """Cells that may be held against each other: one data set, as many shots, as many minutes."""

    data: str
    shots: int | None
    minutes: float
    baseline: str | None
    rows: list[Row]

    @property
    def title(self) -> str:
        shots = "all images" if self.shots is None else f"{self.shots} images"
        return f"{self.data}, {shots}, {self.minutes:g} minutes"


def bare(key: str) -> str:
    """The name of a number without its extractor."""
    for end in ("_efficientnet", "_pixels", "_tiny", "_inception"):
        key = key.partition(end)[0]
    return key


def read_cells(folder: Path) -> list[Cell]:
    """All finished cells below a folder."""
    found = []
    for file in sorted(folder.glob(f"*/{RESULT}")):
        told = json.loads(file.read_text())
        kept = {name: told[name] for name in KEPT if name in told}
        found.append(Cell(folder=file.parent, numbers=told["numbers"], curve=told["curve"], **kept))
    return found


def groups_of(cells: Sequence[Cell], baselines: Sequence[str], untouched: str | None) -> list[Group]:
    """Cells by data, shots and minutes; a source that was only tested stands in every group of its data and shots."""
    keys = dict.fromkeys((cell.data, cell.shots, cell.minutes) for cell in cells if cell.minutes)
    groups = []
    for data, shots, minutes in sorted(keys, key=lambda key: (key[0], key[1] or 10**9, key[2])):
        inside = [c for c in cells if (c.data, c.shots) == (data, shots) and c.minutes in (minutes, 0)]
        methods: dict[str, list[Cell]] = {}
        for cell in inside:
            methods.setdefault(cell.method, []).append(cell)
        kids = {name: median_of(ones, "kid") for name, ones in methods.items()}
        there = [name for name in baselines if kids.get(name) is not None]
        baseline = min(there, key=kids.get, default=None)
        rows = [row_of(name, ones, methods.get(baseline, []), kids.get(untouched)) for name, ones in methods.items()]
        rows.sort(key=lambda row: row.values.get("kid", float("inf")))
        groups.append(Group(data, shots, minutes, baseline, rows))
    return groups


def row_of(name: str, cells: list[Cell], baseline: list[Cell], untouched: float | None) -> Row:
    """A method's medians beside the better baseline's cells and the untouched source's KID."""
    names = dict.fromkeys(bare(key) for cell in cells for key in cell.numbers)
    values = {number: median_of(cells, number) for number in names}
    kid, swd = values.get("kid"), values.get("swd")
    ratios = [
        speed
        for cell in cells
        if cell.curve and (speed := speed_up(cell.curve, matching(baseline, cell.seed))) is not None
    ]
    return Row(
        name, cells, values, ratio(kid, median_of(baseline, "kid")), ratio(kid, untouched),
        ratio(swd, median_of(baseline, "swd")), median(ratios) if ratios else None,
    )  # fmt: skip


def matching(cells: Sequence[Cell], seed: int) -> list[dict[str, float]]:
    """The curve of the cell with this seed, else of the first; empty where there is none."""
    same = [cell.curve for cell in cells if cell.seed == seed] or [cell.curve for cell in cells]
    return same[0] if same else []


def median_of(cells: Sequence[Cell], name: str) -> float | None:
    values = [value for cell in cells if (value := cell.value(name)) is not None]
    return median(values) if values else None


def ratio(value: float | None, other: float | None) -> float | None:
    return None if value is None or not other else value / other


def last_crossing(curve: Sequence[dict[str, float]], level: float) -> float | None:
    """The images from which on a curve's KID stays at or below a level until its end; None where it does not."""
    found = None
    for point in sorted(curve, key=lambda point: point["images"], reverse=True):
        if point["kid"] > level:
            break
        found = point["images"]
    return found


def speed_up(curve: Sequence[dict[str, float]], baseline: Sequence[dict[str, float]]) -> float | None:
    """How many times fewer target images than the baseline took to its best: by the LAST crossing of that; 0 for never.

    A curve that begins below it counts as one measurement's images, the shortest that could have been seen.
    """
    if not baseline or not curve:
        return None
    best = min(baseline, key=lambda point: point["kid"])
    crossed = last_crossing(curve, best["kid"])
    if crossed is None:
        return 0.0
    first = min((point["images"] for point in curve if point["images"] > 0), default=1)
    return best["images"] / max(crossed, first)


def best_of(group: Group) -> Row | None:
    """The row with the lowest KID among those that do not copy their shots."""
    fair = [row for row in group.rows if row.values.get("copy_share", 0) <= MOST_COPIES and row.values.get("kid")]
    return fair[0] if fair else None


HEADS = ("method", "seeds", "KID x1000", "of better scratch", "of untouched", "cats", "cats of real", "copy share",
         "SWD", "SWD of scratch", "images", "speed-up")  # fmt: skip


def line_of(row: Row) -> list[str]:
    """What a table says of a row."""

    def number(value: float | None, form: str = ".2f") -> str:
        return "" if value is None else f"{value:{form}}"

    values = row.values
    kid, cell = values.get("kid"), row.cells[0]
    speed = {None: "", 0.0: "never"}.get(row.speed_up) if row.speed_up in (None, 0.0) else f"{row.speed_up:.1f}"
    told = cell.numbers.get(next((key for key in cell.numbers if bare(key) == "kid"), ""), {})
    within = f" [{1000 * told['low']:.0f}, {1000 * told['high']:.0f}]" if told and len(row.cells) == 1 else ""
    return [
        row.method, str(len(row.cells)), "" if kid is None else f"{1000 * kid:.0f}{within}", number(row.of_baseline),
        number(row.of_untouched), number(values.get("class_share")), number(values.get("class_share_of_real")),
        number(values.get("copy_share")), number(values.get("swd"), ".1f"), number(row.swd_of_baseline),
        f"{int(median([c.images for c in row.cells])):,}", speed,
    ]  # fmt: skip


def markdown(title: str, groups: Sequence[Group], sources: Sequence[str]) -> str:
    """The tables as Markdown, with what it takes to read them."""
    parts = [f"# {title}\n", *(f"- {note}" for note in notes_of(groups, sources)), ""]
    for group in groups:
        parts += [f"## {group.title}", "", "| " + " | ".join(HEADS) + " |", "|" + " --- |" * len(HEADS)]
        parts += ["| " + " | ".join(line_of(row)) + " |" for row in group.rows] + [""]
    return "\n".join(parts)


def notes_of(groups: Sequence[Group], sources: Sequence[str]) -> list[str]:
    """How to read the tables: N, the judges, and what the sources cost."""
    keys = {key for group in groups for row in group.rows for cell in row.cells for key in cell.numbers}
    told = [t for g in groups for r in g.rows for c in r.cells for k, t in c.numbers.items() if bare(k) == "kid"]
    n = sorted({(one["n_fake"], one["n_real"]) for one in told})
    return [
        f"Test images, never seen in training or by the choice of weights. Generated and real images: "
        f"{', '.join(f'{fake:,} against {real:,}' for fake, real in n)}. FID is biased at such numbers, so KID leads.",
        f"Judged by {', '.join(sorted(key for key in keys if bare(key) in ('kid', 'class_share', 'swd')))}.",
        "Medians over seeds; with one seed the 95 % interval of its KID. A method that is not in a table has no "
        "finished cell.",
        "`of better scratch`: the KID divided by that of the from-scratch arm with the lower KID in the same table.",
        "`cats of real`: the share that an ImageNet classifier calls cats, divided by the same share of real images.",
        "`copy share`: of samples nearer to a training image than to as many other real images; fresh images: 0.50.",
        "`speed-up`: images in which that arm's validation KID was best, divided by those after which this one's "
        "stays below it. Images of the source come on top of it.",
        *sources,
    ]


def table_of(cells: Sequence[Cell]) -> str:
    """One line for each cell, all numbers with their intervals, as CSV."""
    keys = sorted({key for cell in cells for key in cell.numbers})
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*KEPT, *(f"{key}{end}" for key in keys for end in ("", "_low", "_high"))])
    for cell in cells:
        told = [cell.numbers.get(key, {}).get(end, "") for key in keys for end in ("value", "low", "high")]
        writer.writerow(
            [*("all" if v is None and k == "shots" else v for k in KEPT for v in [getattr(cell, k)]), *told]
        )
    return out.getvalue()


def curves_of(cells: Sequence[Cell]) -> str:
    """One line for each measurement in training, as CSV."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["method", "data", "shots", "seed", "budget", "images", "minutes", "kid"])
    for cell in cells:
        about = [cell.method, cell.data, cell.shots or "all", cell.seed, cell.minutes]
        writer.writerows([*about, point["images"], round(point["minutes"], 3), point["kid"]] for point in cell.curve)
    return out.getvalue()


def sources_told(folder: Path) -> list[str]:
    """What the sources cost, a sentence for each."""
    found = []
    for file in sorted(folder.glob(f"*/{RESULT}")):
        told = json.loads(file.read_text())
        found.append(f"The source {told['method']} cost {told['images']:,} images, {told['minutes']:g} minutes.")
    return found


def write_tables(cells: Sequence[Cell], out: Path, title: str, groups: Sequence[Group], sources: Sequence[str]) -> None:
    """`results.csv`, `curves.csv` and `results.md`."""
    write_whole(out / "results.csv", table_of(cells))
    write_whole(out / "curves.csv", curves_of(cells))
    write_whole(out / "results.md", markdown(title, groups, sources) + "\n")
