"""A benchmark's results as tables: a row for each cell as CSV, a table for each group as Markdown, and what follows."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lit_gen.benchmark.results import LEADS, MOST_COPIES, Arm, Cell, Group
from lit_gen.files import write_whole
from lit_gen.metrics.base import Estimate
from lit_gen.metrics.evidence import FLOOR
from lit_gen.metrics.numbers import rounded, value_of, with_interval

ABOUT = ("method", "data", "shots", "seed", "threads")
COUNTS = ("minutes", "source", "images", "images_per_second", "best_images")
FIRST = ("class_share", "class_share_of_real", "copy_share", "swd", "precision", "recall")
Table = tuple[list[str], list[list[str]]]


def write_csv(cells: Sequence[Cell], folder: Path) -> None:
    """`results.csv` with a row for each cell, and `curves.csv` with one for each measurement in training."""
    rows = [{**about(cell), **numbers_of(cell)} for cell in cells]
    write_whole(folder / "results.csv", as_csv(rows))
    curves = []
    for cell in cells:
        told = {name: value for name, value in about(cell).items() if name in ABOUT}
        curves += [{**told, "budget": cell.minutes, **step._asdict()} for step in cell.curve]
    write_whole(folder / "curves.csv", as_csv(curves))


def about(cell: Cell) -> dict[str, Any]:
    told = {name: getattr(cell, name) for name in ABOUT + COUNTS}
    return {**told, "shots": "all" if cell.shots is None else cell.shots}


def numbers_of(cell: Cell) -> dict[str, Any]:
    """Each number with both ends of its interval and the images that it is of, as columns."""
    found: dict[str, Any] = {}
    for one in cell.numbers:
        found |= {one.key: one.value, f"{one.key}_low": one.low, f"{one.key}_high": one.high}
        found |= {"n_generated": one.n_fake, "n_real": one.n_real}
    return found


def as_csv(rows: Sequence[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def table_of(group: Group) -> Table:
    """Heads and rows of a group's table, sorted by KID: medians over seeds."""
    names = dict.fromkeys(one.name for arm in group.arms for cell in arm.cells for one in cell.numbers)
    others = [name for name in FIRST if name in names] + [n for n in names if n not in (*FIRST, LEADS)]
    heads = ["method", "seeds", "KID x1000 [95 %]", "of scratch's", "of untouched", *others]
    heads += [
        *(["share counts"] if "class_share" in others else []),
        "images of scratch's",
        "speed-up",
        "images",
        "images/s",
        "best at",
        "source",
    ]
    return heads, [row_of(group, arm, others) for arm in group.arms] + floor_of(group, others, len(heads))


def row_of(group: Group, arm: Arm, others: Sequence[str]) -> list[str]:
    crossing = group.crossing(arm)
    return [
        arm.method,
        str(len(arm.cells)),
        kid(arm.number(LEADS)),
        ratio(group.ratio(arm, group.baseline)),
        ratio(group.ratio(arm, group.untouched_of(arm))),
        *("-" if (found := arm.number(name)) is None else value_of(found) for name in others),
        *([counts(group.doubts(arm))] if "class_share" in others else []),
        "never" if crossing == math.inf else ratio(crossing),
        "-" if not math.isfinite(crossing) else f"{1 / crossing:.1f}" if crossing else "at once",
        f"{arm.middle(lambda cell: cell.images):,.0f}",
        rounded(arm.middle(lambda cell: cell.images_per_second), 5.0),
        f"{arm.middle(lambda cell: cell.best_images):,.0f}",
        arm.source or "-",
    ]


def floor_of(group: Group, others: Sequence[str], width: int) -> list[list[str]]:
    """The row of real train images in place of generated ones: as good as a model can get."""
    arm = max(group.arms, key=lambda arm: len(arm.cells))
    if not any(cell.floor for cell in arm.cells):
        return []
    told = ["-" if (found := arm.floor(name)) is None else value_of(found) for name in others]
    row = [f"({FLOOR})", str(len(arm.cells)), kid(arm.floor(LEADS)), "-", "-", *told]
    return [row + ["-"] * (width - len(row))]


def kid(found: Estimate | None) -> str:
    """KID times 1000, with its interval."""
    if found is None:
        return "-"
    return with_interval(replace(found, **{end: 1000 * getattr(found, end) for end in ("value", "low", "high")}))


def counts(doubts: Sequence[str]) -> str:
    return f"no: {', '.join(doubts)}" if doubts else "yes"


def ratio(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else "-"


def counts_of(group: Group) -> str:
    """`N = 1,000 generated against 100 test images`: numbers of other N are not to be compared."""
    found = {(one.n_fake, one.n_real) for arm in group.arms if (one := arm.number(LEADS)) is not None}
    return "; ".join(f"N = {fake:,} generated against {real:,} test images" for fake, real in sorted(found))


def claims_of(group: Group) -> Iterator[str]:
    """What holds, each against the better of the arms from scratch and beside the untouched source."""
    baseline, best = group.baseline, group.best
    if baseline is None:
        yield "There is no arm from scratch here, so nothing can be claimed."
        return
    yield f"The better arm from scratch is {baseline.method}: KID x1000 {kid(baseline.number(LEADS))}."
    if best is not None and best.value("copy_share") > MOST_COPIES:
        yield f"Every trained arm replays its shots (copy share above {MOST_COPIES}); {best.method} has the best KID."
    elif best is not None:
        yield f"{best.method} is called best: the lowest KID with a copy share of at most {MOST_COPIES:.2f}."
    for arm in group.arms:
        if arm.trained and arm.method not in group.baselines:
            yield claim(group, arm)


def claim(group: Group, arm: Arm) -> str:
    """One arm beside the better baseline and its own source as it is."""
    said = [f"{arm.method} (seeds: {len(arm.cells)}): KID {ratio(group.ratio(arm, group.baseline))} of scratch's"]
    if arm.source is not None:
        said.append(f"{ratio(group.ratio(arm, group.untouched_of(arm)))} of the untouched source's")
    crossing = group.crossing(arm)
    if crossing == math.inf:
        said.append("never for good below scratch's best")
    elif math.isfinite(crossing):
        said.append(f"for good below scratch's best after {ratio(crossing)} of its images")
    if math.isfinite(share := arm.value("class_share_of_real")):
        doubts = ", ".join(group.doubts(arm))
        said.append(f"class share {share:.2f} of real" + (f", which does not count: {doubts}" if doubts else ""))
    return "; ".join(said) + "."


def markdown(name: str, groups: Sequence[Group], sources: Sequence[Cell]) -> str:
    """`results.md`: a table and the claims of each group, and what the sources cost."""
    parts = [f"# {name}", HOW]
    for group in groups:
        parts += [f"## {group.title}", f"{counts_of(group)}.", grid(*table_of(group))]
        parts.append("\n".join(f"- {said}" for said in claims_of(group)))
    if sources:
        parts += ["## What the sources cost", grid(*costs_of(sources))]
    return "\n\n".join(part for part in parts if part) + "\n"


HOW = (
    "Each group has the same data, shots, minutes of training and threads; numbers are of the weights "
    "with the best KID on validation images, measured on test images, and medians over the seeds (so are both "
    "ends of the 95 % intervals). `of scratch's` is beside the better of the arms from scratch, `of untouched` "
    "beside the arm's own source as it is. `images of scratch's`: the better arm from scratch took so many images "
    "to its best validation KID; after this share of them an arm is below that for good. `speed-up` is its "
    "inverse, in target images, without the source's cost, which stands at the end. A share of classes counts "
    "only with a copy share of at most 0.60 (real images have 0.5) and a sliced Wasserstein distance no worse "
    "than scratch's. KID leads: FID of few images is biased."
)


def costs_of(sources: Sequence[Cell]) -> Table:
    """What each source was trained with."""
    heads = ["source", "data", "minutes", "images", "images/s"]
    return heads, [
        [cell.method.removeprefix("source_"), cell.data, f"{cell.minutes:g}", f"{cell.images:,}",
         rounded(cell.images_per_second, 5.0)]
        for cell in sources
    ]  # fmt: skip


def grid(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
