"""The page of a benchmark: two pictures first, then tables, curves and the same latents in the same columns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from lit_gen.benchmark.curves import median_curve, points_of
from lit_gen.benchmark.results import MOST_COPIES, Cell, Group, Row, best_of, groups_of
from lit_gen.benchmark.tables import HEADS, line_of, notes_of, title_of, write_tables
from lit_gen.files import write_whole
from lit_gen.metrics.charts import lines
from lit_gen.pages import render

PAGE = "index.html"


class Picture(NamedTuple):
    """A picture of a row, (3, H, W) in [0, 1]; None where the cell has none."""

    caption: str
    image: Tensor | None


def write_results(
    cells: Sequence[Cell], out: Path, title: str, baselines: Sequence[str], untouched: str | None
) -> None:
    """Writes `results.csv`, `curves.csv`, `results.md` and `index.html` of the finished cells; nothing of none.

    Args:
        cells: What is finished.
        out: Folder that exists.
        title: Of the benchmark.
        baselines: The methods from scratch; claims are held against the better one.
        untouched: The method that is the source before any training.

    Raises:
        UserError: A file cannot be written.
    """
    if not cells:
        return
    groups = groups_of(cells, baselines, untouched)
    write_tables(cells, groups, out, title)
    write_whole(out / PAGE, html(title, groups))


def html(title: str, groups: Sequence[Group]) -> str:
    """The page of these groups."""
    sections = [section_of(group) for group in groups]
    return render("benchmark/page.html.jinja", title=title, heads=HEADS, sections=sections, opening=opening_of(groups))


def opening_of(groups: Sequence[Group]) -> dict[str, Any] | None:
    """The best method beside the better baseline: of the longest training, and there of the fewest shots.

    Only groups with a baseline have a claim to open with; None where there are none.
    """
    claims = [group for group in groups if group.row(group.baseline) is not None]
    if not claims:
        return None
    group = min(claims, key=lambda group: (-group.minutes, group.shots is None, group.shots or 0))
    best, scratch = best_of(group), group.row(group.baseline)
    if best is None:
        says = f"No method has a copy share of at most {MOST_COPIES:.2f}, so none is called the best."
    elif best is scratch:
        says = "From scratch is the best here: nothing has a lower KID without copying more."
    else:
        says = f"The best method (lowest KID at a copy share of at most {MOST_COPIES:.2f}) beside the better scratch."
    shown = [("best", best)] if best not in (None, scratch) else []
    pictures = [picture_of(row, "grid", f"{what}: ") for what, row in (*shown, ("from scratch", scratch))]
    return {"title": title_of(group), "says": says, "pictures": pictures}


def section_of(group: Group) -> dict[str, Any]:
    """What the page shows of a group."""
    return {
        "title": title_of(group),
        "table": [line_of(row, group) for row in group.rows],
        "notes": notes_of(group),
        "charts": charts_of(group),
        "strips": [picture_of(row, "strip") for row in group.rows],
        "grids": [picture_of(row, "grid") for row in group.rows],
    }


def charts_of(group: Group) -> list[str]:
    """Validation KID over images and over minutes, as SVG; none where nothing was measured in training."""
    found = []
    for x, says in (("images", "target images seen"), ("minutes", "minutes of training")):
        seeds = {row.method: [points_of(cell.curve, x) for cell in row.cells if cell.curve] for row in group.rows}
        drawn = {name: (median_curve(curves), curves) for name, curves in seeds.items() if any(curves)}
        found += [lines(drawn, says, "validation KID")] if drawn else []
    return found


def picture_of(row: Row, name: str, what: str = "") -> Picture:
    """A picture of the cell in the middle, with its method, KID and copy share."""
    from PIL import Image
    from torchvision.transforms.functional import to_tensor

    file = row.middle.folder / f"{name}.png"
    said = [f"KID x1000 {1000 * row.values['kid']:.0f}"] if "kid" in row.values else []
    said += [f"copy share {row.values['copy_share']:.2f}"] if "copy_share" in row.values else []
    image = to_tensor(Image.open(file).convert("RGB")) if file.is_file() else None
    return Picture(f"{what}{row.method} ({', '.join([*said, f'seed {row.middle.seed}'])})", image)
