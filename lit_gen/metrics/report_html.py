"""A report as one HTML page that carries its pictures with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from lit_gen.files import write_whole
from lit_gen.metrics import charts
from lit_gen.metrics.base import Estimate
from lit_gen.metrics.numbers import counts, value_of, with_interval
from lit_gen.metrics.report import Report
from lit_gen.pages import render

PAGE = "report.html"
GENERATED = "generated images"


@dataclass
class Neighbour:
    """A generated image with the nearest real ones.

    Attributes:
        generated: (C, H, W) in [0, 1].
        train: The nearest train image, likewise.
        held_out: The nearest held-out image, likewise.
        to_train: Distance of the features to those of the nearest train image.
        to_held_out: To those of the nearest held-out one.
    """

    generated: Tensor
    train: Tensor
    held_out: Tensor
    to_train: float
    to_held_out: float


@dataclass
class Pictures:
    """What there is to look at; the page leaves out what is missing.

    Attributes:
        samples: A grid of generated images, (C, H, W) in [0, 1].
        side_by_side: Two grids of the same form, real images and generated ones.
        neighbours: The generated images that lie nearest to a train image.
        precision_recall: The SVG of `charts.manifolds`.
    """

    samples: Tensor | None = None
    side_by_side: tuple[Tensor, Tensor] | None = None
    neighbours: Sequence[Neighbour] = ()
    precision_recall: str | None = None


def write_html(report: Report, pictures: Mapping[str, Pictures], folder: Path) -> Path:
    """Writes `report.html` into a folder, whole or not at all, and returns its path.

    Args:
        report: The numbers.
        pictures: Those of each way in which the model makes images, by its name; "" where there is one alone.
        folder: Exists.

    Raises:
        UserError: It cannot be written.
    """
    path = folder / PAGE
    write_whole(path, html(report, pictures))
    return path


def html(report: Report, pictures: Mapping[str, Pictures]) -> str:
    """The page: numbers beside the floor and the ceilings, pictures, and how all of it was measured."""
    rows = [_row(report, estimate) for estimate in report.estimates]
    return render("metrics/report.html.jinja", report=report, pictures=pictures, rows=rows, settings=_settings(report))


def _row(report: Report, estimate: Estimate) -> dict[str, Any]:
    """One number: its cells, and its chart beside those of the reference sets."""
    references = {kind: report.reference(kind, estimate.name) for kind in report.references}
    shown = {GENERATED: estimate, **{kind: found for kind, found in references.items() if found is not None}}
    return {
        "estimate": estimate,
        "value": with_interval(estimate),
        "counts": counts(estimate),
        "references": ["" if found is None else value_of(found) for found in references.values()],
        "chart": charts.forest(shown, {GENERATED: charts.COLOURS[0]}),
    }


def _settings(report: Report) -> dict[str, str]:
    return {
        "checkpoint": report.checkpoint,
        "SHA-256 of the checkpoint": report.checkpoint_sha256,
        "images": report.data,
        "digest of the images": report.data_digest,
        "held against": report.opponents,
        "train images": f"{report.n_train:,}",
        "generated images": f"{report.n_fake:,}, seed {report.seed}",
        "extractor": report.extractor,
        "measured": f"{report.created}, by lit_gen {report.version}",
    }
