"""What an evaluation found, with all that it takes to read it: as a file for later, as a table for now."""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import lit_gen
from lit_gen.errors import UserError
from lit_gen.files import write_whole
from lit_gen.metrics.base import Estimate
from lit_gen.metrics.numbers import counts, value_of, with_interval

REPORT = "report.json"
HELD_OUT = "held-out images"
WIDTH = 110  # columns of a table in a terminal


@dataclass
class Report:
    """One evaluation of one checkpoint.

    Attributes:
        checkpoint: Path of the file.
        checkpoint_sha256: Its checksum: a report of another file under the same path is a stale one.
        model: Class of the model.
        experiment: Name of the experiment.
        run: Id of the run.
        images_seen: That the model had been trained on.
        split: Which images it was held against, `test` or `val`.
        against: `held-out images`, or `train images` for numbers that say how well it knows what it has seen.
        data: The images in one line.
        data_digest: Of the content of the images; the same for the same images only.
        extractor: Name of the network whose features were compared.
        n_real: Images that it was held against.
        n_fake: Generated images.
        n_train: Images that it learnt from.
        seed: Of the latents.
        estimates: The numbers.
        own: What the model's own test says, such as its loss, by the name that it is logged under.
        references: The same numbers of other sets in place of the generated images: real train images (the floor),
            noise and blurred real images (ceilings).
        verdicts: What the numbers mean, in sentences.
        notes: What to bear in mind.
        created: When, in ISO 8601.
        version: Of lit_gen.
    """

    checkpoint: str
    checkpoint_sha256: str
    model: str
    experiment: str
    run: str
    images_seen: int
    split: str
    against: str
    data: str
    data_digest: str
    extractor: str
    n_real: int
    n_fake: int
    n_train: int
    seed: int
    estimates: list[Estimate]
    own: dict[str, float] = field(default_factory=dict)
    references: dict[str, list[Estimate]] = field(default_factory=dict)
    verdicts: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    version: str = lit_gen.__version__

    @property
    def title(self) -> str:
        """What was evaluated: `last.ckpt of gan_cats/<run id> (GAN, 200,000 images seen)`."""
        run = "/".join(part for part in (self.experiment, self.run) if part)
        of = f"{Path(self.checkpoint).name} of {run}" if run else self.checkpoint
        return f"{of} ({self.model}, {self.images_seen:,} images seen)"

    @property
    def opponents(self) -> str:
        """What it was held against: `200 held-out test images`."""
        if self.against == HELD_OUT:
            return f"{self.n_real:,} held-out {self.split} images"
        return f"{self.n_real:,} {self.against}, which are not held out"

    def reference(self, kind: str, name: str) -> Estimate | None:
        """The number of this name for one of the reference sets."""
        return next((found for found in self.references.get(kind, ()) if found.name == name), None)

    def write(self, folder: Path) -> Path:
        """Writes `report.json` into a folder and returns its path; numbers that are not finite become null.

        Raises:
            UserError: It cannot be written.
        """
        path = folder / REPORT
        write_whole(path, json.dumps(_plain(asdict(self)), indent=2, allow_nan=False) + "\n")
        return path

    @staticmethod
    def read(path: Path) -> Report:
        """The report of a file, or of the folder that it lies in; null becomes NaN.

        Raises:
            UserError: There is none, or it is damaged or of another kind.
        """
        path = path / REPORT if path.is_dir() else path
        try:
            held = json.loads(path.read_text(encoding="utf-8"))
            held["estimates"] = [_estimate(entry) for entry in held["estimates"]]
            held["references"] = {
                kind: [_estimate(entry) for entry in entries] for kind, entries in held["references"].items()
            }
            return Report(**held)
        except OSError as error:
            raise UserError(
                f"No report at {path} ({error.strerror}).\nType python -m lit_gen test --config RUN/config.yaml "
                "--ckpt_path RUN"
            ) from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UserError(
                f"{path} is no report that lit_gen {lit_gen.__version__} can read ({type(error).__name__}: {error}).\n"
                "Write it anew: python -m lit_gen test --config RUN/config.yaml --ckpt_path RUN"
            ) from error


def _plain(value: Any) -> Any:
    """As strict JSON can hold it, which knows neither NaN nor infinity."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _estimate(entry: dict[str, Any]) -> Estimate:
    numbers = {name: _number(entry[name]) for name in ("value", "low", "high")}
    return Estimate(**{**entry, **numbers, "replicates": tuple(map(_number, entry["replicates"]))})


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def table(report: Report) -> str:
    """The numbers beside those of the reference sets, a row each, below what they are of and above what they mean."""
    lines = [
        report.title,
        f"{report.n_fake:,} generated images (seed {report.seed}) against {report.opponents}, by {report.extractor}",
        f"data: {report.data}",
    ]
    rows = [
        [
            estimate.name,
            with_interval(estimate),
            estimate.better,
            *(_reference(report, kind, estimate.name) for kind in report.references),
            counts(estimate),
        ]
        for estimate in report.estimates
    ]
    own = [[name, f"{value:.4g}"] for name, value in report.own.items()]
    heads = ["", "value [95 % interval]", "better", *report.references, "generated/real"]
    said = [*report.verdicts, *(f"Note: {note}" for note in report.notes)]
    return "\n".join(
        [
            *(folded for line in lines for folded in textwrap.wrap(line, WIDTH, subsequent_indent="  ")),
            "",
            *grid(heads, rows),
            *(["", *grid(["the model's own", "value"], own)] if own else []),
            *([""] if said else []),
            *(folded for line in said for folded in textwrap.wrap(line, WIDTH, subsequent_indent="  ")),
        ]
    )


def _reference(report: Report, kind: str, name: str) -> str:
    found = report.reference(kind, name)
    return "" if found is None else value_of(found)


def grid(heads: list[str], rows: list[list[str]], fold: int = 10) -> Iterator[str]:
    """Lines of a table: the first column flush left, the others flush right; long heads take several lines.

    Args:
        heads: One for each column.
        rows: Cells, as many a row.
        fold: Columns of text after which a head goes on below.
    """
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(heads)
    widest = [max((len(cell) for cell in column), default=0) for column in columns]
    folded = [
        textwrap.wrap(head.replace("/", "/ "), max(fold, width)) for head, width in zip(heads, widest, strict=True)
    ]
    height = max(map(len, folded))
    above = [[""] * (height - len(head)) + head for head in folded]  # the last line of each stands next to the cells
    widths = [max([width, *map(len, head)]) for width, head in zip(widest, above, strict=True)]
    for cells in (*zip(*above, strict=True), *rows):
        first, *rest = (
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        yield "  ".join([first, *rest]).rstrip()
