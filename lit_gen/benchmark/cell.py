"""One cell of a benchmark: trained and tested by the same commands that a user types, and kept once it is finished."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml
from torchvision.utils import save_image

from lit_gen.benchmark.children import Children
from lit_gen.benchmark.plan import Planned
from lit_gen.benchmark.results import RESULT, Step
from lit_gen.checkpoint import load_model, read
from lit_gen.files import write_whole
from lit_gen.metrics.evidence import FLOOR
from lit_gen.metrics.report import REPORT
from lit_gen.metrics.runs import BEST
from lit_gen.run_folder import CHECKPOINT, newest

PICTURES = {"grid": (64, 8), "strip": (12, 12)}  # images and columns of the pictures of a cell


def finished(folder: Path) -> bool:
    """Whether a cell's result is there."""
    return (folder / RESULT).is_file()


def run_cell(
    cell: Planned, folder: Path, source: Path | None, group: str, options: Sequence[str], children: Children
) -> None:
    """Trains and tests a cell in its folder, and writes `result.json` last of all.

    Args:
        cell: What to run.
        folder: Emptied first: a cell that was cut off begins again.
        source: The checkpoint that it begins from.
        group: Name of the experiment, and of the group in W&B.
        options: Further options of `fit` and `test`: those of W&B.
        children: Runs the commands.

    Raises:
        CellFailed: Training or test did not end well.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(with_source(cell.config, source, cell.minutes > 0), sort_keys=False))
    place = [f"--config={config}", f"--experiment={group}", f"--trainer.default_root_dir={folder}", *options]
    run = None
    if not cell.minutes:  # beside no run of its own, so that its test is written here and not into the source's
        best = Path(shutil.copyfile(source, folder / "source.ckpt"))
    else:
        children.run("fit", place, folder, cell.threads)
        run = newest(folder, group)
        best = next(file for file in (run / BEST, run / CHECKPOINT) if file.is_file())
    if any(callback["class_path"] == "Evaluation" for callback in cell.config["trainer"]["callbacks"]):
        children.run("test", [*place, f"--ckpt_path={best}"], folder, cell.threads)
    conclude(cell, folder, best, run)


def with_source(config: dict[str, Any], source: Path | None, trains: bool) -> dict[str, Any]:
    """The configuration with the source's place in its LoadWeights; what is only tested loads nothing else."""
    config = deepcopy(config)
    callbacks = config["trainer"]["callbacks"]
    for callback in callbacks:
        if callback["class_path"].rpartition(".")[2] == "LoadWeights" and source is not None:
            callback.setdefault("init_args", {})["source"] = str(source)
    if not trains:
        config["trainer"]["callbacks"] = [one for one in callbacks if one["class_path"] == "Evaluation"]
    return config


def checkpoint_in(folder: Path) -> Path:
    """What a source hands on: its last weights. There is no such file where only its result was kept."""
    last = json.loads((folder / RESULT).read_text(encoding="utf-8"))["last"] if finished(folder) else CHECKPOINT
    return (folder / last).resolve()


def conclude(cell: Planned, folder: Path, best: Path, run: Path | None) -> None:
    """Writes the pictures of a cell, and then its result."""
    model = load_model(best)
    for name, (n, columns) in PICTURES.items():
        image = (model.sample(n, seed=0) / 2 + 0.5).clamp(0, 1)
        save_image(image, folder / f"{name}.png", nrow=columns, pad_value=0.5)
    numbers, floor = numbers_of(folder)
    result = {
        **{name: getattr(cell, name) for name in ("method", "data", "shots", "seed", "minutes", "source", "threads")},
        "images": 0 if run is None else read(run / CHECKPOINT)["images_seen"],
        "best_images": 0 if run is None else model.images_seen,
        "numbers": numbers,
        "floor": floor,
        "curve": [] if run is None else curve_of(run / "metrics.csv"),
        # From the cell's own folder, which may be copied elsewhere with what is in it.
        "best": os.path.relpath(best, folder),
        "last": os.path.relpath(best if run is None else run / CHECKPOINT, folder),
    }
    write_whole(folder / RESULT, json.dumps(result, indent=1) + "\n")


def numbers_of(folder: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What the report of the cell's test says, of generated images and of real train images; nothing of a source."""
    reports = sorted(folder.rglob(REPORT))
    if not reports:
        return [], []
    told = json.loads(reports[-1].read_text(encoding="utf-8"))
    return tuple(
        [{name: value for name, value in one.items() if name != "replicates"} | {"replicates": []} for one in part]
        for part in (told["estimates"], told["references"].get(FLOOR, []))
    )


def curve_of(table: Path) -> list[Step]:
    """The validation KID over images and minutes; minutes are interpolated between the logged ones."""
    times, kids = [(0.0, 0.0)], {}
    with table.open(newline="", encoding="utf-8") as rows:
        for row in csv.DictReader(rows):
            images = float(row["images_seen"])
            if row.get("train/minutes"):
                times.append((images, float(row["train/minutes"])))
            for name, value in row.items():
                if value and name.startswith("val/kid_") and not name.endswith(("_low", "_high")):
                    kids[images] = float(value)
    return [Step(images, minutes_at(times, images), kid) for images, kid in sorted(kids.items())]


def minutes_at(times: Sequence[tuple[float, float]], images: float) -> float:
    """Minutes at a count of images, on the line through the nearest two of (images, minutes), both rising from 0."""
    before = [point for point in times if point[0] <= images]
    after = [point for point in times if point[0] > images]
    (start, begun), (end, done) = (before[-1], after[0]) if after else ([(0.0, 0.0), *times])[-2:]
    return begun + (done - begun) * (images - start) / max(end - start, 1.0)
