"""The page of a benchmark: two pictures first, then tables, curves and the same latents in the same columns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lit_gen.benchmark import table
from lit_gen.benchmark.plan import Plan
from lit_gen.benchmark.results import Arm, Cell, Group, groups_of
from lit_gen.errors import UserError
from lit_gen.files import write_whole
from lit_gen.metrics.charts import bundles
from lit_gen.pages import render, webp

PAGE = "index.html"


def write_results(plan: Plan, cells: Sequence[Cell], sources: Sequence[Cell], out: Path) -> None:
    """`results.csv`, `curves.csv`, `results.md` and `index.html` of the finished cells; nothing where none is."""
    if not cells:
        return
    groups = groups_of(cells, plan.baselines, plan.untouched)
    table.write_csv(cells, out)
    write_whole(out / "results.md", table.markdown(plan.name, groups, sources))
    write_whole(out / PAGE, html(plan.name, groups, sources))


def html(name: str, groups: Sequence[Group], sources: Sequence[Cell]) -> str:
    """The page; it opens with the group that has the most seeds, and of these the most arms."""
    first = max(groups, key=lambda group: (group.seeds, len(group.arms)), default=None)
    costs = table.costs_of(sources) if sources else None
    opening = None if first is None else opening_of(first)
    sections = [section_of(group) for group in groups]
    return render(
        "benchmark/page.html.jinja", name=name, how=table.HOW, opening=opening, sections=sections, costs=costs
    )


def opening_of(group: Group) -> dict[str, Any] | None:
    """The grids of the best arm and of the better one from scratch, side by side."""
    best, baseline = group.best, group.baseline
    if best is None or baseline is None:
        return None
    pair = [("called best", best), ("from scratch", baseline)]
    shown = [
        {"caption": f"{what}: {arm.method}, KID x1000 {table.kid(arm.number('kid'))}", "grid": picture(arm, "grid")}
        for what, arm in pair
    ]
    return {"title": group.title, "pair": shown}


def section_of(group: Group) -> dict[str, Any]:
    """What the page shows of a group."""
    heads, rows = table.table_of(group)
    curves = {arm.method: [cell.curve for cell in arm.cells if cell.curve] for arm in group.arms}
    curves = {name: found for name, found in curves.items() if found}
    charts = [
        bundles(
            {name: [[(step[x], step.kid) for step in one] for one in found] for name, found in curves.items()}, what
        )
        for x, what in ((0, "target images seen"), (1, "minutes of training"))
    ]
    pictures = [(arm.method, picture(arm, "strip"), picture(arm, "grid")) for arm in group.arms]
    return {
        "title": group.title,
        "counts": table.counts_of(group),
        "heads": heads,
        "rows": rows,
        "claims": list(table.claims_of(group)),
        "charts": charts if curves else [],
        "pictures": pictures,
    }


def picture(arm: Arm, name: str) -> str:
    """A picture of the arm's first seed that has one, as the address that carries it."""
    places = [cell.folder / f"{name}.png" for cell in arm.cells]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise UserError(
            f"benchmark: the picture {places[0]} is missing.\nDelete {places[0].parent}, and the cell is trained again."
        )
    return webp(found)
