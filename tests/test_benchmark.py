"""A benchmark: what its file asks for, what is kept, and what the tables say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from common import REPOSITORY
from torchvision.utils import save_image

from lit_gen.__main__ import main
from lit_gen.benchmark import plan as plans
from lit_gen.benchmark.cell import at, curve_of
from lit_gen.benchmark.page import write_results
from lit_gen.benchmark.plan import key_of, merged, read_plan, with_callbacks
from lit_gen.benchmark.results import Cell, groups_of, read_cells
from lit_gen.commands import benchmark as command
from lit_gen.errors import UserError

FILE = REPOSITORY / "experiments" / "benchmarks" / "few_cats.yaml"


def changed(folder: Path, **changes: Any) -> str:
    """A copy of the file with some of its parts replaced."""
    told = yaml.safe_load(FILE.read_text().replace("../", f"{REPOSITORY}/experiments/"))
    (folder / "plan.yaml").write_text(yaml.safe_dump({**told, **changes}))
    return str(folder / "plan.yaml")


@pytest.mark.parametrize("file", sorted(FILE.parent.glob("*.yaml")), ids=lambda file: file.stem)
def test_every_file_in_the_project_can_be_read_and_says_how_to_run_it(file: Path) -> None:
    plan = read_plan(str(file))
    assert f"python -m lit_gen benchmark experiments/benchmarks/{file.name}" in file.read_text()
    assert len({cell.name for cell in plan.cells}) == len(plan.cells)
    for cell in plan.cells:
        names = [callback["class_path"] for callback in cell.config["trainer"]["callbacks"]]
        assert names[-1] == "Evaluation" and ("TrainingBudget" in names) == (cell.minutes > 0)


def test_a_cell_has_its_data_its_size_and_its_seed() -> None:
    cell = next(
        c for c in read_plan(str(FILE)).cells if (c.data, c.method, c.shots, c.seed) == ("faces64", "projected", 100, 2)
    )
    assert cell.config["seed_everything"] == 2 and cell.config["data"]["init_args"]["n_images"] == 100
    assert cell.config["model"]["init_args"]["generator"]["init_args"]["image_size"] == 64


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"runs": [{"methods": ["finetun"], "data": "faces32", "minutes": 1}]}, "no 'finetun'.*finetune"),
        ({"runs": [{"methods": "all", "data": "faces", "minutes": 1}]}, "no 'faces'"),
        ({"baselines": ["nothing"]}, "no 'nothing'"),
        ({"methods": {"a": {"experiment": "no.yaml"}}, "baselines": [], "untouched": None}, "runs|there is no such"),
        ({"colour": "red"}, "no 'colour'"),
        ({"data": {}}, "`data` is empty"),
    ],
)
def test_a_mistake_in_the_file_is_one_message(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        read_plan(changed(tmp_path, **changes))


def test_a_missing_file_ends_with_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["benchmark", "nowhere.yaml"])
    assert stop.value.code == 2 and "there is no file nowhere.yaml" in capsys.readouterr().err


def test_settings_are_merged_and_callbacks_changed_by_name() -> None:
    assert merged({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}}) == {"a": {"b": 3, "c": 2}}
    one, other = {"class_path": "A", "init_args": {"x": 1}}, {"class_path": "B", "init_args": {"y": 2}}
    assert merged({"n": one}, {"n": other}) == {"n": other}
    found = with_callbacks([one, other], {"A": {"z": 3}, "B": None, "C": {}})
    assert found == [{"class_path": "A", "init_args": {"x": 1, "z": 3}}, {"class_path": "C", "init_args": {}}]


def test_the_key_follows_config_source_and_training_code(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = read_plan(str(FILE)).cells[:2]
    keys = {key_of(first, None), key_of(second, None), key_of(first, "another source")}
    monkeypatch.setattr(plans, "code_digest", lambda: "another code")
    keys.add(key_of(first, None))
    assert len(keys) == 4


def test_finished_cells_are_kept_and_a_failed_one_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = []

    def run(cell: Any, folder: Path, *_: Any) -> None:
        ran.append(cell.method)
        if cell.method == "scratch" and ran.count("scratch") == 1:
            raise command.CellFailed("fit ended with status 1")
        finish(folder, cell.method, 0.5)

    monkeypatch.setattr(command, "run_cell", run)
    runs = [{"methods": ["scratch", "scratch_augmented"], "data": "faces32", "shots": 100, "minutes": 1}]
    file = changed(tmp_path, runs=runs)
    with pytest.raises(UserError, match="status 1"):
        command.benchmark(file, str(tmp_path / "out"))
    assert ran == ["scratch", "scratch_augmented"]
    command.benchmark(file, str(tmp_path / "out"))
    assert ran == ["scratch", "scratch_augmented", "scratch"]
    assert "| scratch |" in (tmp_path / "out" / "results.md").read_text()


def finish(folder: Path, method: str, kid: float, **more: Any) -> None:
    """A finished cell's files."""
    folder.mkdir(parents=True)
    told = {"value": kid, "low": kid - 0.1, "high": kid + 0.1, "n_real": 100, "n_fake": 1000, "better": "lower"}
    curve = [{"images": 0, "minutes": 0.0, "kid": 2.0}, {"images": 4000, "minutes": 1.0, "kid": kid}]
    result = {"method": method, "data": "faces32", "shots": 100, "seed": 0, "minutes": 1, "source": None,
              "numbers": {"kid_efficientnet_lite1": told, "swd_pixels": {**told, "value": 30.0},
                          "copy_share_efficientnet_lite1": {**told, "value": 0.5}},
              "curve": curve, "images": 4000, "best_images": 4000} | more  # fmt: skip
    for name in ("grid", "strip"):
        save_image(torch.rand(3, 8, 8), folder / f"{name}.png")
    (folder / "result.json").write_text(json.dumps(result))


def test_the_better_baseline_is_the_one_that_counts(tmp_path: Path) -> None:
    for name, kid, more in (
        ("scratch", 0.8, {}), ("augmented", 0.6, {}), ("mine", 0.3, {}), ("mine", 0.2, {"seed": 1}),
        ("mine", 0.9, {"seed": 2}), ("source", 1.2, {"minutes": 0, "curve": [], "images": 0}),
    ):  # fmt: skip
        finish(tmp_path / "cells" / f"{name}-{kid}", name, kid, **more)
    (group,) = groups_of(read_cells(tmp_path / "cells"), ["scratch", "augmented"], "source")
    assert group.baseline == "augmented" and [row.method for row in group.rows][0] == "mine"
    mine = group.rows[0]
    assert mine.values["kid"] == 0.3  # the median of three seeds
    assert mine.of_baseline == pytest.approx(0.5) and mine.of_untouched == pytest.approx(0.25)
    assert group.rows[-1].method == "source" and group.rows[-1].speed_up is None


def test_the_page_opens_with_the_best_and_the_scratch_grid(tmp_path: Path) -> None:
    finish(tmp_path / "cells" / "a", "scratch", 0.8)
    finish(tmp_path / "cells" / "b", "good", 0.2)
    cells = read_cells(tmp_path / "cells")
    told = {"low": 0, "high": 1, "n_real": 1, "n_fake": 1}
    numbers = {"kid_efficientnet_x": {**told, "value": 0.1}, "copy_share_efficientnet_x": {**told, "value": 0.9}}
    cells.append(Cell("copies", "faces32", 100, 0, 1, cells[0].folder, numbers, []))
    write_results(cells, tmp_path, "a title", ["scratch"], None)
    page = (tmp_path / "index.html").read_text()
    opening = page[: page.index("<h2>")]
    assert opening.count("<img") == 2 and opening.index('alt="best: good') < opening.index('alt="from scratch: scratch')
    assert page.count("<svg") == 2 and "http" not in page.replace("http://www.w3.org", "")
    rows = (tmp_path / "results.csv").read_text().splitlines()
    assert len(rows) == 4 and rows[0].startswith("method,data,shots,seed")
    assert "copies,faces32,100,0" in "\n".join(rows)


def test_minutes_of_a_measurement_lie_between_logged_ones(tmp_path: Path) -> None:
    times = [(0.0, 0.0), (1000.0, 1.0), (2000.0, 3.0)]
    assert [at(times, images) for images in (0, 500, 1500, 3000)] == [0.0, 0.5, 2.0, 5.0]
    table = tmp_path / "metrics.csv"
    table.write_text("images_seen,train/minutes,val/kid_x,val/kid_x_low\n0,,0.9,0.8\n1000,1.0,,\n500,,0.5,0.4\n")
    assert curve_of(table) == [
        {"images": 0, "minutes": 0.0, "kid": 0.9}, {"images": 500, "minutes": 0.5, "kid": 0.5},
    ]  # fmt: skip
