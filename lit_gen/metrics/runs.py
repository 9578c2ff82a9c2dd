"""What a run's folder says about it: its checkpoint, its configuration, its curves and how good it is."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from lit_gen.errors import UserError
from lit_gen.fetch import local_copy, sha256
from lit_gen.metrics.base import Better, Estimate, Metric
from lit_gen.metrics.charts import Point
from lit_gen.metrics.report import HELD_OUT, REPORT, Report
from lit_gen.paths import find_input
from lit_gen.rooms import modules_of
from lit_gen.run_folder import CHECKPOINT, Record
from lit_gen.yaml_files import read_yaml

BEST = "best.ckpt"
# Says where a run is, not what it is.
PLACES = ("trainer.default_root_dir", "experiment", "ckpt_path", "config", "wandb", "wandb_project", "weights_only")


@dataclass
class Run:
    """What there is of one run on the disk.

    Attributes:
        name: `<experiment>/<run id>`, or the name of a checkpoint outside a run's folder.
        checkpoint: The file: `best.ckpt` of a folder that has one, else `last.ckpt`, or the one that was named.
        config: `config.yaml` as dotted names with their values.
        curves: The points of each `val/` metric.
        report: Of this very file; None where there is none.
        notes: What is missing, and what to type for it.
    """

    name: str
    checkpoint: Path
    config: dict[str, str] = field(default_factory=dict)
    curves: dict[str, list[Point]] = field(default_factory=dict)
    report: Report | None = None
    notes: list[str] = field(default_factory=list)

    def numbers(self, images_seen: int) -> dict[str, Estimate]:
        """The numbers of the report, else the latest that metrics.csv has of this count of images, by key."""
        if self.report is not None:
            return {estimate.key: estimate for estimate in self.report.estimates}
        return {found.key: found for found in logged(self.curves, images_seen)}


def report_folder(checkpoint: Path, split: str = "test") -> Path:
    """Where the report of a checkpoint is kept: `test/` beside last.ckpt, `test_best/` beside best.ckpt."""
    return checkpoint.parent / (split if checkpoint.name == CHECKPOINT else f"{split}_{checkpoint.stem}")


def read_run(source: str) -> Run:
    """Reads a run's folder, that of an experiment (its newest run), or a checkpoint and what lies beside it.

    Raises:
        UserError: There is no checkpoint, or a file beside it is damaged.
    """
    checkpoint = local_copy(source, "compare")
    if find_input(source).is_dir() and checkpoint.with_name(BEST).is_file():
        checkpoint = checkpoint.with_name(BEST)
    folder = checkpoint.resolve().parent
    record = Record.read(folder)
    if record is None:  # a checkpoint on its own; what lies beside it is not its run's
        return Run(checkpoint.name, checkpoint, report=None, notes=[f"{checkpoint} lies in no run's folder."])
    run = Run(f"{record.experiment}/{folder.name}", checkpoint)
    run.config = _config(folder / "config.yaml")
    run.curves = _curves(folder / "metrics.csv")
    run.report = _report(run)
    return run


def _report(run: Run) -> Report | None:
    """The report of this checkpoint, if it is not one of an earlier file of the same name."""
    path = report_folder(run.checkpoint) / REPORT
    measure = f"python -m lit_gen test --config {run.checkpoint.parent}/config.yaml --ckpt_path {run.checkpoint}"
    if not path.is_file():
        run.notes.append(f"There is no report, so its numbers are those of metrics.csv, if any. Type\n{measure}")
        return None
    report = Report.read(path)
    if report.checkpoint_sha256 != sha256(run.checkpoint):
        run.notes.append(f"{path} is stale: {run.checkpoint.name} has been written since. Type\n{measure}")
        return None
    if report.against != HELD_OUT:
        run.notes.append(f"Its numbers are against {report.opponents}.")
    return report


def _config(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    try:
        held = read_yaml(path)
        return {name: value for name, value in flattened(held) if name not in PLACES}
    except (yaml.YAMLError, OSError, AttributeError) as error:
        raise UserError(f"{path} is no configuration that can be read: {error}") from error


def flattened(held: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Dotted names as one types them, with their values: `model` GAN, `model.generator.width` 32; null is left out.

    Of a list of objects each goes by its class, so that one more or less does not move the others.
    """
    for key, value in held.items():
        if isinstance(value, dict) and "class_path" in value:
            yield f"{prefix}{key}", value["class_path"].rpartition(".")[2]
            yield from flattened(value.get("init_args") or {}, f"{prefix}{key}.")
        elif isinstance(value, dict):
            yield from flattened(value, f"{prefix}{key}.")
        elif isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
            for place, item in enumerate(value):
                name = item.get("class_path", str(place)).rpartition(".")[2]
                yield f"{prefix}{key}.{name}", "yes"
                yield from flattened(item.get("init_args") or {}, f"{prefix}{key}.{name}.")
        elif value is not None:
            yield f"{prefix}{key}", str(value)


def differences(configs: list[dict[str, str]]) -> dict[str, list[str]]:
    """The names whose values are not the same in all configurations, with the value of each, `-` where it has none.

    Where an object is of different classes that says it; of its settings only those are named that several have and
    that differ between them.
    """
    names = dict.fromkeys(name for config in configs for name in config)
    rows = {name: [config.get(name, "-") for config in configs] for name in names}
    differ = {name for name, values in rows.items() if len(set(values)) > 1}
    return {
        name: rows[name]
        for name in names
        if name in differ and (name.rpartition(".")[0] not in differ or len({*rows[name]} - {"-"}) > 1)
    }


def _curves(path: Path) -> dict[str, list[Point]]:
    """The points of each `val/` column; the ends of an interval belong to their number."""
    if not path.is_file():
        return {}
    found: dict[str, list[Point]] = {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                for name in _names(row):
                    ends = (float(row.get(f"{name}{end}") or "nan") for end in ("_low", "_high"))
                    found.setdefault(name, []).append(Point(int(row["images_seen"]), float(row[name]), *ends))
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise UserError(f"{path} is no table of metrics that can be read ({type(error).__name__}: {error}).") from error
    return found


def _names(row: dict[str, str]) -> list[str]:
    ends = {f"{name}{end}" for name in row if name for end in ("_low", "_high")}
    return [name for name, value in row.items() if name and name.startswith("val/") and value and name not in ends]


def logged(curves: dict[str, list[Point]], images_seen: int) -> Iterator[Estimate]:
    """The last point with an interval, up to this count of images, of each curve that a metric has drawn."""
    ways = directions()
    for column, points in curves.items():
        key = column.removeprefix("val/")
        names = [name for name in ways if key.startswith(f"{name}_")]
        points = [point for point in points if point.images <= images_seen and math.isfinite(point.low + point.high)]
        if names and points:
            name = max(names, key=len)  # fid_infinity is not fid of an extractor called infinity
            _, value, low, high = max(points)
            yield Estimate(name, value, low, high, 0, 0, key.removeprefix(f"{name}_"), ways[name])


def directions() -> dict[str, Better]:
    """The names of all numbers that the metrics find, and which way each is better."""
    for _ in modules_of("lit_gen.metrics"):  # a class is known once its file is imported
        pass
    found: dict[str, Better] = {}
    waiting = [Metric]
    while waiting:
        metric = waiting.pop()
        found |= vars(metric).get("better", {})
        waiting += metric.__subclasses__()
    return found
