"""What a benchmark says of its finished cells, worked out by hand."""

from __future__ import annotations

import csv
import json
import math
import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torchvision.utils import save_image

from lit_gen.benchmark.curves import best_point, last_crossing, median_curve, points_of, speed_up
from lit_gen.benchmark.page import html, opening_of, write_results
from lit_gen.benchmark.results import (
    Cell,
    Group,
    best_of,
    better_baseline,
    goal_of,
    groups_of,
    median_of,
    ratio,
    read_cells,
)
from lit_gen.benchmark.tables import HEADS, MISSING, line_of, markdown, title_of
from lit_gen.errors import UserError
from lit_gen.metrics.charts import lines

BASELINES = ["scratch", "scratch_augmented"]


def curve(*kids: float | None) -> list[dict[str, Any]]:
    """A measurement every 100 images, a minute for each."""
    return [{"images": 100 * step, "minutes": float(step), "kid": kid} for step, kid in enumerate(kids)]


def cell(method: str = "finetune", kid: float | None = 0.5, seed: int = 0, **changes: Any) -> Cell:
    """A cell of 10 minutes whose test found a KID and what `numbers` has beside it."""
    numbers = {"kid": kid, "copy_share": 0.5, "swd": 10.0, **changes.pop("numbers", {})}
    told = {f"{name}_pixels" if name == "swd" else f"{name}_net_of_mine": estimate(x) for name, x in numbers.items()}
    settings = {"data": "faces", "shots": 100, "minutes": 10, "folder": Path("nowhere"), "curve": []}
    settings |= {"images": 3000, "seconds": 600.0, **changes}
    return Cell(method=method, seed=seed, numbers=told, **settings)


def estimate(value: float | None) -> dict[str, Any]:
    ends = (None, None) if value is None else (value - 0.1, value + 0.1)
    return {"value": value, "low": ends[0], "high": ends[1], "n_real": 100, "n_fake": 1000, "better": "lower"}


def group(*cells: Cell, untouched: str | None = "untouched") -> Group:
    (found,) = groups_of(cells, BASELINES, untouched)
    return found


def said(found: Group, method: str) -> dict[str, str]:
    """A row of the table by its heads."""
    return dict(zip(HEADS, line_of(found.row(method), found), strict=True))


def test_last_crossing_is_the_one_after_which_a_curve_stays() -> None:
    crosses_back = curve(9, 3, 7, 5, 4)
    assert last_crossing(crosses_back, 5) == 300  # not 100, after which it rises again; at the level is enough
    assert last_crossing(crosses_back, 4.5) == 400
    assert last_crossing(crosses_back, 3.5) is None
    assert last_crossing(crosses_back, 9) == 0
    assert last_crossing(crosses_back[::-1], 5) == 300
    assert last_crossing([], 5) is None


@pytest.mark.parametrize("hole", [math.nan, None])
def test_what_is_no_number_lies_above_every_level_and_is_no_best(hole: float | None) -> None:
    assert last_crossing(curve(9, 3, hole), 5) is None
    assert last_crossing(curve(9, hole, 3), 5) == 200
    assert best_point(curve(hole, 4, 3, hole)) == (200, 3)
    assert best_point(curve(hole)) is None
    assert points_of(curve(9, hole, 3), "minutes") == [(0, 9), (2, 3)]


def test_speed_up_by_hand() -> None:
    assert speed_up(curve(9, 3, 7, 5, 4), (1200, 5)) == 4  # 1200 / 300
    assert speed_up(curve(9, 3, 7), (1200, 5)) == 0
    assert speed_up(curve(5, 4), (1200, 5)) == math.inf
    assert speed_up(curve(9, 3), (0, 5)) is None
    assert best_point(curve(9, 3, 4, 3)) == (100, 3)  # the first of two


def test_goal_is_that_of_the_same_seed_else_the_median() -> None:
    runs = [cell(seed=seed, curve=curve(9, *kids)) for seed, kids in enumerate([(8, 4), (2, 6), (7, 7, 3)])]
    assert goal_of(runs, 1) == (100, 2)
    assert goal_of(runs, 7) == (200, 3)  # medians of 200, 100, 300 and of 4, 2, 3
    assert goal_of([cell(curve=[])], 0) is None


def test_speed_ups_are_those_of_each_seed_and_never_counts_as_the_slowest() -> None:
    scratch = [cell("scratch", 0.9, seed, curve=curve(9, 8, 7, 6, 5)) for seed in (0, 1, 2)]
    curves = [curve(9, 5, 5, 5), curve(9, 9, 5, 5), curve(9, 5, 5, 6)]
    quick = [cell("finetune", 0.5, seed, curve=kids) for seed, kids in enumerate(curves)]
    found = group(*scratch, *quick)
    assert found.row("finetune").speed_ups == [4, 2, 0]
    assert said(found, "finetune")["speed-up"] == "2.0 (4.0, 2.0, never)"
    assert said(found, "scratch")["speed-up"] == "the measure"
    two = group(*scratch, quick[0], quick[2])
    assert two.row("finetune").speed_up == 0  # no mean of 4 and never
    early = group(*scratch, cell("finetune", curve=curve(4, 4)))
    assert said(early, "finetune")["speed-up"] == "from the start"


def test_medians_ratios_and_the_interval_of_the_cell_in_the_middle() -> None:
    kids = (0.2, 0.9, 0.4)
    cells = [cell("finetune", kid, seed, numbers={"swd": 6.0}) for seed, kid in enumerate(kids)]
    cells += [cell("scratch", 0.8, numbers={"swd": 12.0}), cell("scratch_augmented", 0.5, numbers={"swd": 8.0})]
    cells += [cell("untouched", 1.6, minutes=0, images=0, seconds=0)]
    found = group(*cells)
    row = found.row("finetune")
    assert found.baseline == "scratch_augmented"
    assert row.values["kid"] == 0.4 and row.middle.seed == 2
    assert row.of_baseline == pytest.approx(0.8)
    assert row.of_untouched == pytest.approx(0.25)
    assert row.swd_of_baseline == pytest.approx(0.75)
    assert [row.method for row in found.rows] == ["finetune", "scratch_augmented", "scratch", "untouched"]
    line = said(found, "finetune")
    assert line["KID x1000 [95 %]"] == "400 [300, 500]"
    assert (line["seeds"], line["images"], line["images/s"]) == ("3", "3,000", "5")
    assert said(found, "untouched")["images/s"] == MISSING
    assert said(group(cell(seconds=0)), "finetune")["images/s"] == MISSING  # nobody wrote it down
    assert title_of(found) == "faces, 100 training images, 10 minutes: N = 1,000 generated against 100 real test images"


def test_better_baseline_is_the_lower_median_of_those_that_are_there() -> None:
    assert better_baseline({"scratch": 0.8, "scratch_augmented": 0.9, "finetune": 0.1}, BASELINES) == "scratch"
    assert better_baseline({"scratch": None, "scratch_augmented": 0.9}, BASELINES) == "scratch_augmented"
    assert better_baseline({"finetune": 0.1}, BASELINES) is None
    by_median = [cell("scratch", kid, seed) for seed, kid in enumerate((0.1, 0.9, 0.9))]
    assert group(*by_median, cell("scratch_augmented", 0.8)).baseline == "scratch_augmented"


def test_a_ratio_needs_a_positive_number_below_it() -> None:
    assert ratio(1.0, 4.0) == 0.25
    assert ratio(-1.0, 4.0) == -0.25  # unbiased KID may be negative
    assert ratio(1.0, 0.0) is None and ratio(1.0, -0.1) is None
    assert ratio(None, 4.0) is None and ratio(1.0, None) is None


def test_values_that_are_missing_or_not_finite_are_left_out() -> None:
    cells = [cell(kid=0.2, seed=0), cell(kid=None, seed=1), cell(kid=math.nan, seed=2), cell(kid=0.6, seed=3)]
    assert median_of(cells, "kid") == pytest.approx(0.4)
    row = group(*cells).row("finetune")
    assert row.middle.seed == 0  # of the two middle ones the lower
    assert said(group(cell(kid=None)), "finetune")["KID x1000 [95 %]"] == MISSING


def test_a_name_finds_its_number_whatever_the_extractor_is_called() -> None:
    both = cell(numbers={"class_share_of_real": 0.9, "class_share": 0.7})
    assert (both.value("class_share"), both.value("class_share_of_real")) == (0.7, 0.9)
    assert cell(numbers={"class_share_of_real": 0.9}).value("class_share") is None
    assert both.value("swd") == 10.0


def test_groups_part_data_shots_and_minutes_and_all_of_them_see_the_untouched_source() -> None:
    cells = [cell(minutes=5), cell(minutes=10), cell(shots=None), cell(data="animals"), cell("untouched", 2, minutes=0)]
    cells += [cell("untouched", 3, minutes=0, shots=7)]
    found = {(g.data, g.shots, g.minutes): [row.method for row in g.rows] for g in groups_of(cells, [], "untouched")}
    assert found == {
        ("animals", 100, 10): ["finetune"],
        ("faces", 7, 0): ["untouched"],
        ("faces", 100, 5): ["finetune", "untouched"],
        ("faces", 100, 10): ["finetune", "untouched"],
        ("faces", None, 10): ["finetune"],
    }
    assert list(found)[-1] == ("faces", None, 10)


def test_the_best_does_not_copy() -> None:
    copied = cell("copied", 0.1, numbers={"copy_share": 0.61})
    unknown = cell("unknown", 0.2, numbers={"copy_share": None})
    fair = cell("fair", 0.3, numbers={"copy_share": 0.60})
    assert best_of(group(copied, unknown, fair, cell("behind", 0.4))).method == "fair"
    assert best_of(group(copied, unknown)) is None


def test_a_class_share_counts_without_copies_and_with_patches_as_real_as_from_scratch() -> None:
    shares = {"class_share": 0.7, "class_share_of_real": 0.9}
    found = group(
        cell("scratch", 0.9),
        cell("good", numbers=shares),
        cell("copied", numbers={**shares, "copy_share": 0.7}),
        cell("patchy", numbers={**shares, "swd": 10.1}),
    )
    words = {row.method: said(found, row.method)["class share of real"] for row in found.rows}
    assert words == {"good": "0.90", "copied": "0.90 (*)", "patchy": "0.90 (*)", "scratch": MISSING}
    alone = group(cell("good", numbers=shares))
    assert said(alone, "good")["class share"] == "0.70 (*)"  # nothing to stand beside


def test_the_median_of_curves_goes_over_what_all_of_them_have() -> None:
    found = median_curve([[(0, 4), (2, 8)], [(0, 0), (1, 3), (3, 3)], [(1, 10), (2, 1), (9, 0)]])
    assert found == [(1, 6), (2, 3)]  # of 6, 3, 10 and of 8, 3, 1
    assert median_curve([[], [(5, 2)]]) == [(5, 2)]
    assert median_curve([]) == []


def test_a_chart_has_one_name_for_each_method_and_thin_lines_for_several_seeds() -> None:
    one, two = [(0.0, 2.0), (1.0, 1.0)], [(0.0, 4.0), (1.0, -1.0)]
    svg = lines({"alone": (one, [one]), "both": (one, [one, two])}, "images", "KID")
    assert svg.count("stroke-opacity: 0.5") == 2  # of `both`
    assert svg.count("stroke-width: 1.8") == 4  # a bold line for each, and its sign in the legend
    assert svg.count(">alone<") == svg.count(">both<") == 1
    below = [*one, (2.0, -1.0)]  # unbiased KID may be, and a logarithm cannot
    assert lines({"alone": (below, [below])}, "images", "KID") == lines({"alone": (one, [one])}, "images", "KID")
    assert "<svg" in lines({"none": ([], [])}, "images", "KID")


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """A benchmark's folder with a source and three finished cells."""
    write(tmp_path / "sources" / "source_dogs-abc", method="source_dogs", images=12_000, numbers={})
    common = {"curve": curve(2, 1.5, 1)}
    write(tmp_path / "cells" / "scratch-1", method="scratch", **common)
    write(tmp_path / "cells" / "finetune-1", method="finetune", source="dogs", numbers=kid(0.25), **common)
    write(tmp_path / "cells" / "copied-1", method="copied<b>", numbers=kid(0.1, 0.9), **common)
    (tmp_path / "cells" / "unfinished").mkdir()
    return tmp_path


def kid(value: float, copies: float = 0.5) -> dict[str, Any]:
    return {"kid_net": estimate(value), "copy_share_net": estimate(copies), "swd_pixels": estimate(8.0)}


def write(folder: Path, **changes: Any) -> Path:
    told = {"data": "faces", "shots": 100, "seed": 0, "minutes": 10, "source": None, "numbers": kid(0.5), "curve": []}
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(json.dumps({**told, "images": 200, "seconds": 20, "threads": 2, **changes}))
    for name, width in (("grid", 16), ("strip", 20)):
        save_image(torch.rand(3, 16, width), folder / f"{name}.png")
    return folder


def test_cells_are_read_with_what_their_source_cost(finished: Path) -> None:
    cells = {one.method: one for one in read_cells(finished / "cells")}
    assert set(cells) == {"scratch", "finetune", "copied<b>"}
    assert (cells["finetune"].source_images, cells["scratch"].source_images) == (12_000, 0)
    found = groups_of(list(cells.values()), BASELINES, None)[0]
    assert said(found, "finetune")["source"] == "dogs, 12,000 images"
    assert said(group(cell(source="dogs")), "finetune")["source"] == "dogs, cost not known"


def test_of_one_cell_under_two_keys_the_last_one_counts(finished: Path) -> None:
    for key, age in (("finetune-0", 50), ("finetune-2", 100)):
        folder = write(finished / "cells" / key, method="finetune", numbers=kid(0.3))
        os.utime(folder / "result.json", (10**9 - age, 10**9 - age))
    cells = [one for one in read_cells(finished / "cells") if one.method == "finetune"]
    assert [one.folder.name for one in cells] == ["finetune-1"]


def test_a_damaged_result_is_named(finished: Path) -> None:
    for text in ("{", '{"method": "scratch"}', "[]"):
        (finished / "cells" / "scratch-1" / "result.json").write_text(text)
        with pytest.raises(UserError, match="scratch-1.*damaged"):
            read_cells(finished / "cells")


def test_results_are_written(finished: Path) -> None:
    write_results(read_cells(finished / "cells"), finished, "few <cats>", BASELINES, None)
    rows = list(csv.DictReader((finished / "results.csv").open()))
    assert [(row["method"], row["kid_net"]) for row in rows] == [
        ("copied<b>", "0.1"),
        ("finetune", "0.25"),
        ("scratch", "0.5"),
    ]
    assert (float(rows[1]["kid_net_low"]), float(rows[1]["kid_net_high"])) == pytest.approx((0.15, 0.35))
    assert (rows[1]["kid_net_n_fake"], rows[1]["shots"], rows[1]["source_images"]) == ("1000", "100", "12000")
    points = list(csv.DictReader((finished / "curves.csv").open()))
    assert len(points) == 9 and points[-1]["kid"] == "1"
    text = (finished / "results.md").read_text()
    assert "N = 1,000 generated against 100 real test images" in text
    assert "| finetune | 1 | 250 [150, 350] | 0.50 |" in text
    page = (finished / "index.html").read_text()
    assert "few &lt;cats&gt;" in page and "copied&lt;b&gt;" in page and "<b>" not in page
    assert page.count('src="data:image/png;base64,') == 2 + 3 + 3  # the pair, the strips, the grids
    assert page.count("<svg") == 2  # over images and over minutes
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
    alts = re.findall(r'alt="([^"]*)"', page)
    assert alts[0].startswith("best: finetune") and alts[1].startswith("from scratch: scratch")


def test_nothing_is_written_of_nothing(tmp_path: Path) -> None:
    write_results(read_cells(tmp_path / "cells"), tmp_path, "few cats", BASELINES, None)
    assert list(tmp_path.iterdir()) == []


def test_the_page_opens_with_the_longest_training_of_the_fewest_shots_and_is_honest_where_scratch_wins() -> None:
    cells = [cell(name, kid, shots=shots, minutes=minutes) for shots, minutes in ((None, 15), (100, 15), (50, 5))
             for name, kid in (("scratch", 0.5), ("finetune", 0.3))]  # fmt: skip
    opening = opening_of(groups_of(cells, BASELINES, None))
    assert opening["title"].startswith("faces, 100 training images, 15 minutes")
    assert [picture.image for picture in opening["pictures"]] == [None, None]
    lost = opening_of(groups_of([cell("scratch", 0.5), cell("finetune", 0.6)], BASELINES, None))
    assert "From scratch is the best" in lost["says"] and len(lost["pictures"]) == 1
    copied = {"copy_share": 0.9}
    none = opening_of([group(cell("scratch", 0.5, numbers=copied), cell("finetune", 0.3, numbers=copied))])
    assert "none is called the best" in none["says"] and len(none["pictures"]) == 1
    alone = [group(cell("finetune", 0.3))]
    assert opening_of(alone) is None
    page = html("few cats", alone)
    assert "There is no picture." in page and "No curve was measured." in page
    assert "none is finished here" in markdown("few cats", alone)
