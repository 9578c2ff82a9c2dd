"""The tables of a benchmark as CSV and Markdown, with what it takes to read them."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from lit_gen.benchmark.results import MOST_COPIES, Cell, Group, Row
from lit_gen.files import write_whole

KEPT = (
    *("method", "data", "shots", "seed", "minutes", "images", "seconds", "source", "source_images", "best_images"),
    "threads",
)
HEADS = (
    *("method", "seeds", "KID x1000 [95 %]", "of better scratch", "of untouched", "class share", "class share of real"),
    *("copy share", "SWD", "SWD of better scratch", "precision", "recall", "images", "images/s", "speed-up", "source"),
)
MISSING = "-"


def title_of(group: Group) -> str:
    """What a group's cells have in common, with N: `faces32, 100 training images, 10 minutes: N = ...`."""
    shots = "all training images" if group.shots is None else f"{group.shots:,} training images"
    told = [found for row in group.rows for cell in row.cells if (found := cell.told("kid"))]
    counts = sorted({(found["n_fake"], found["n_real"]) for found in told})
    n = " or ".join(f"{fake:,} generated against {real:,} real test images" for fake, real in counts)
    return f"{group.data}, {shots}, {group.minutes:g} minutes: N = {n or 'not known'}"


def line_of(row: Row, group: Group) -> list[str]:
    """What a table says of a row, in the order of HEADS."""
    values = {name: f"{value:.2f}" for name, value in row.values.items()}
    doubt = "" if row.share_counts else " (*)"
    shares = [values[n] + doubt if n in values else MISSING for n in ("class_share", "class_share_of_real")]
    rates = [cell.images / cell.seconds for cell in row.cells if cell.seconds > 0 and cell.images]
    return [
        row.method,
        str(len(row.cells)),
        kid_of(row),
        *(MISSING if found is None else f"{found:.2f}" for found in (row.of_baseline, row.of_untouched)),
        *shares,
        values.get("copy_share", MISSING),
        f"{row.values['swd']:.1f}" if "swd" in row.values else MISSING,
        MISSING if row.swd_of_baseline is None else f"{row.swd_of_baseline:.2f}",
        *(values.get(name, MISSING) for name in ("precision", "recall")),
        f"{median([cell.images for cell in row.cells]):,.0f}",
        f"{median(rates):.0f}" if rates else MISSING,
        "the measure" if row.method == group.baseline else speed_of(row),
        source_of(row.middle),
    ]


def kid_of(row: Row) -> str:
    """`85 [80, 91]`: the median KID times 1000, with the interval of the cell in the middle."""
    found = row.middle.told("kid")
    if found is None:
        return MISSING
    ends = [f"{1000 * end:.0f}" for end in (found["low"], found["high"]) if end is not None]
    return f"{1000 * row.values['kid']:.0f}" + (f" [{', '.join(ends)}]" if len(ends) == 2 else "")


def speed_of(row: Row) -> str:
    """`4.0 (2.0, 4.0, never)`: the median, and each seed's where there are several."""
    if row.speed_up is None:
        return MISSING
    each = f" ({', '.join(map(_speed, row.speed_ups))})" if len(row.speed_ups) > 1 else ""
    return _speed(row.speed_up) + each


def _speed(value: float) -> str:
    return "never" if value == 0 else "from the start" if math.isinf(value) else f"{value:.1f}"


def source_of(cell: Cell) -> str:
    """Where a cell began, and what that cost."""
    if cell.source is None:
        return MISSING
    return f"{cell.source}, {cell.source_images:,} images" if cell.source_images else f"{cell.source}, cost not known"


def notes_of(group: Group) -> list[str]:
    """How to read a group's table."""
    names = ("kid", "class_share", "swd")
    keys = {key for row in group.rows for cell in row.cells for key, told in cell.numbers.items() for name in names
            if told is cell.told(name)}  # fmt: skip
    better = f"which is {group.baseline} here" if group.baseline else "and none is finished here"
    return [
        f"On test images, which neither training nor the choice of the weights saw: {', '.join(sorted(keys))}.",
        "KID leads: FID at so small an N is biased. Medians over seeds; the interval is that of the cell in the "
        "middle, and says nothing about other seeds.",
        f"`better scratch`: the arm from scratch with the lower median KID in this table, {better}. `untouched`: the "
        "source before any training on this data.",
        "`class share of real`: the share of samples in the wanted classes, divided by that of the real test images. "
        f"(*): it does not count, for the copy share is above {MOST_COPIES:.2f} or not known, or the sliced "
        "Wasserstein distance (SWD) is worse than that of the better scratch or has none to stand beside.",
        "`copy share`: samples nearer to a training image than to as many other real images; fresh real images have "
        "0.50.",
        "`speed-up`: images at which the better scratch had its best validation KID, divided by the fewest measured "
        "from which on this method stays at or below it until its end, seed by seed; `never` if it does not stay. "
        "The images of the source come on top, and are in the last column.",
        "A method without a row has no finished cell here: it was not asked for, has not run yet, or failed. Fewer "
        f"seeds than others have: the same. `{MISSING}` was not measured, or has nothing to be divided by.",
    ]


def markdown(title: str, groups: Sequence[Group]) -> str:
    """The tables as Markdown, each with its notes below."""
    parts = [f"# {title}", ""]
    for group in groups:
        parts += [f"## {title_of(group)}", "", "| " + " | ".join(HEADS) + " |", "|" + " --- |" * len(HEADS)]
        parts += ["| " + " | ".join(line_of(row, group)) + " |" for row in group.rows]
        parts += ["", *(f"- {note}" for note in notes_of(group)), ""]
    return "\n".join(parts)


def table_of(cells: Sequence[Cell]) -> str:
    """One line for each cell, all numbers with their intervals and N, as CSV."""
    keys = sorted({key for cell in cells for key in cell.numbers})
    ends = {"value": "", "low": "_low", "high": "_high", "n_fake": "_n_fake", "n_real": "_n_real"}
    lines = [[*KEPT, *(f"{key}{end}" for key in keys for end in ends.values())]]
    for cell in cells:
        about = {**{name: getattr(cell, name) for name in KEPT}, "shots": cell.shots or "all"}
        lines.append([*about.values(), *(cell.numbers.get(key, {}).get(end) for key in keys for end in ends)])
    return _csv(lines)


def curves_of(cells: Sequence[Cell]) -> str:
    """One line for each measurement in training, as CSV."""
    lines = [["method", "data", "shots", "seed", "budget", "images", "minutes", "kid"]]
    for cell in cells:
        about = [cell.method, cell.data, cell.shots or "all", cell.seed, cell.minutes]
        lines += [[*about, point["images"], round(point["minutes"], 3), point["kid"]] for point in cell.curve]
    return _csv(lines)


def _csv(lines: Sequence[Sequence[object]]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(lines)
    return out.getvalue()


def write_tables(cells: Sequence[Cell], groups: Sequence[Group], out: Path, title: str) -> None:
    """Writes `results.csv`, `curves.csv` and `results.md` into a folder."""
    write_whole(out / "results.csv", table_of(cells))
    write_whole(out / "curves.csv", curves_of(cells))
    write_whole(out / "results.md", markdown(title, groups))
