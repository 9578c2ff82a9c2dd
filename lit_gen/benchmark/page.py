"""The page of a benchmark: two pictures first, then tables, curves and the same latents in the same columns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor
from torchvision.io import ImageReadMode, read_image

from lit_gen.benchmark.results import (
    HEADS,
    Cell,
    Group,
    Row,
    best_of,
    groups_of,
    line_of,
    notes_of,
    sources_told,
    write_tables,
)
from lit_gen.files import write_whole
from lit_gen.metrics.charts import lines
from lit_gen.pages import render

PAGE = "index.html"


def write_results(
    cells: Sequence[Cell], out: Path, title: str, baselines: Sequence[str], untouched: str | None
) -> None:
    """All tables and the page of the finished cells; nothing where none is finished."""
    if not cells:
        return
    groups, sources = groups_of(cells, baselines, untouched), sources_told(out / "sources")
    write_tables(cells, out, title, groups, sources)
    sections = [section_of(group) for group in groups]
    opening = next((section for section in sections if len(section["pair"]) == 2), None)
    notes = notes_of(groups, sources)
    write_whole(
        out / PAGE,
        render("benchmark/page.html.jinja", title=title, heads=HEADS, sections=sections, opening=opening, notes=notes),
    )


def section_of(group: Group) -> dict[str, Any]:
    """What the page shows of a group."""
    best = best_of(group)
    scratch = next((row for row in group.rows if row.method == group.baseline), None)
    pair = [row for row in (best, scratch) if row is not None]
    curves = {row.method: [cell.curve for cell in row.cells if cell.curve] for row in group.rows}
    curves = {name: ones for name, ones in curves.items() if ones}
    charts = [
        lines({name: [points(one, x) for one in ones] for name, ones in curves.items()}, what, "validation KID")
        for x, what in (("images", "target images seen"), ("minutes", "minutes of training"))
    ]
    return {
        "title": group.title,
        "pair": [] if best is scratch else [(f"{row.method}", picture(row, "grid")) for row in pair],
        "table": [line_of(row) for row in group.rows],
        "charts": charts if curves else [],
        "strips": [(row.method, picture(row, "strip")) for row in group.rows],
        "grids": [(row.method, picture(row, "grid")) for row in group.rows],
    }


def points(curve: Sequence[dict[str, float]], x: str) -> list[tuple[float, float]]:
    return [(point[x], point["kid"]) for point in curve]


def picture(row: Row, name: str) -> Tensor:
    """(3, H, W) in [0, 1]: a picture of the row's first cell."""
    return read_image(str(row.cells[0].folder / f"{name}.png"), ImageReadMode.RGB) / 255
