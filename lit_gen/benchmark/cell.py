"""One cell of a benchmark: trained and tested by the same commands that a user types, and kept once it is finished."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml
from torchvision.utils import save_image

from lit_gen import checkpoint as checkpoints
from lit_gen.benchmark.plan import Planned
from lit_gen.files import write_whole
from lit_gen.metrics.report import REPORT
from lit_gen.metrics.runs import BEST
from lit_gen.run_folder import CHECKPOINT, newest

RESULT = "result.json"
GRID, STRIP = 64, 10  # images in the pictures of a cell


class CellFailed(Exception):
    """A command of a cell ended with a status other than 0; says which log tells why."""


def finished(folder: Path) -> bool:
    """Whether a cell's result is there."""
    return (folder / RESULT).is_file()


def run_cell(
    cell: Planned, folder: Path, source: Path | None, group: str, options: Sequence[str], threads: int
) -> None:
    """Trains and tests a cell in its folder, and writes `result.json` last of all.

    Args:
        cell: What to run.
        folder: Emptied first: a cell that was cut off begins again.
        source: The checkpoint that it begins from.
        group: Name of the experiment, and of the group in W&B.
        options: Further options of `fit` and `test`: those of W&B.
        threads: Of the processor.

    Raises:
        CellFailed: Training or test did not end well.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(with_source(cell.config, source, cell.minutes > 0), sort_keys=False))
    place = [f"--config={config}", f"--experiment={group}", f"--trainer.default_root_dir={folder}", *options]
    best = source
    if cell.minutes:
        command("fit", [*place, "--trainer.enable_progress_bar=false"], folder, threads)
        run = newest(folder, group)
        best = run / BEST if (run / BEST).is_file() else run / CHECKPOINT
    if measures(cell.config):
        command("test", [*place, "--trainer.enable_progress_bar=false", f"--ckpt_path={best}"], folder, threads)
    conclude(cell, folder, best, newest(folder, group) if cell.minutes else None, threads)


def with_source(config: dict[str, Any], source: Path | None, trains: bool) -> dict[str, Any]:
    """The configuration with the source's place in its LoadWeights; what is only tested loads nothing else."""
    config = deepcopy(config)
    callbacks = config["trainer"]["callbacks"]
    for callback in callbacks:
        if callback["class_path"].rpartition(".")[2] == "LoadWeights" and source is not None:
            callback["init_args"]["source"] = str(source)
    if not trains:
        config["trainer"]["callbacks"] = [one for one in callbacks if one["class_path"] == "Evaluation"]
    return config


def measures(config: dict[str, Any]) -> bool:
    """Whether a cell is tested; a source is only trained."""
    return any(callback["class_path"] == "Evaluation" for callback in config["trainer"]["callbacks"])


def command(name: str, arguments: list[str], folder: Path, threads: int) -> None:
    """Runs a command of lit_gen, its output in `<name>.log`.

    Raises:
        CellFailed: Its status is not 0.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
    log = folder / f"{name}.log"
    with log.open("w") as out:
        # Closed with its parent's terminal by Ctrl-C: both are of one process group.
        done = subprocess.run(
            [sys.executable, "-m", "lit_gen", name, *arguments], env=environment, stdout=out, stderr=out
        )
    if done.returncode:
        last = log.read_text(errors="replace").strip().splitlines()[-3:]
        raise CellFailed(f"{name} ended with status {done.returncode}: {' | '.join(last)} ({log})")


def conclude(cell: Planned, folder: Path, best: Path, run: Path | None, threads: int) -> None:
    """Writes the pictures of a cell, and then its result."""
    model = checkpoints.load_model(best)
    for name, n, columns in (("grid", GRID, 8), ("strip", STRIP, STRIP)):
        images = model.sample(n, seed=0)
        save_image((images / 2 + 0.5).clamp(0, 1), folder / f"{name}.png", nrow=columns)
    curve = curve_of(run / "metrics.csv") if run is not None else []
    last = checkpoints.read(run / CHECKPOINT) if run is not None else {}
    result = {
        **{name: getattr(cell, name) for name in ("method", "data", "shots", "seed", "minutes", "source")},
        "numbers": numbers_of(folder),
        "curve": curve,
        "images": last.get("images_seen", 0),
        "seconds": 60 * cell.minutes,
        "best_images": model.images_seen if run is not None else 0,
        "checkpoint": str(best.relative_to(folder)) if best.is_relative_to(folder) else str(best),
        "threads": threads,
    }
    write_whole(folder / RESULT, json.dumps(result, indent=1) + "\n")


def numbers_of(folder: Path) -> dict[str, dict[str, Any]]:
    """What the test's report says, by key."""
    reports = sorted(folder.rglob(REPORT))
    if not reports:
        return {}
    told = json.loads(reports[-1].read_text())["estimates"]
    names = ("value", "low", "high", "n_real", "n_fake", "better")
    return {f"{one['name']}_{one['extractor']}": {name: one[name] for name in names} for one in told}


def curve_of(table: Path) -> list[dict[str, float]]:
    """The validation KID over images and minutes; minutes are interpolated between the logged ones."""
    times, kids = [(0.0, 0.0)], {}
    with table.open() as rows:
        for row in csv.DictReader(rows):
            images = float(row["images_seen"])
            if row.get("train/minutes"):
                times.append((images, float(row["train/minutes"])))
            for name, value in row.items():
                if value and name.startswith("val/kid_") and not name.endswith(("_low", "_high")):
                    kids[images] = float(value)
    return [{"images": images, "minutes": at(times, images), "kid": kid} for images, kid in sorted(kids.items())]


def at(times: list[tuple[float, float]], images: float) -> float:
    """Minutes at a count of images, on the line through the two nearest points."""
    before = max((point for point in times if point[0] <= images), default=times[0])
    after = min((point for point in times if point[0] > images), default=None)
    if after is None and len(times) > 1:
        first, before = sorted(times)[-2:]
        rate = (before[1] - first[1]) / max(before[0] - first[0], 1)
        return before[1] + rate * (images - before[0])
    if after is None:
        return before[1]
    return before[1] + (after[1] - before[1]) * (images - before[0]) / (after[0] - before[0])
