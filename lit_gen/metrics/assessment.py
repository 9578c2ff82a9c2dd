"""A checkpoint's assessment: numbers beside their floor and their ceilings, and the pictures that explain them."""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from lit_gen.checkpoint import read
from lit_gen.errors import UserError
from lit_gen.fetch import sha256
from lit_gen.metrics import charts
from lit_gen.metrics.base import Estimate, Evidence, Metric
from lit_gen.metrics.evidence import FLOOR, ask, evidence_of, fits, needs_of, references, workplace
from lit_gen.metrics.extractor import Extractor
from lit_gen.metrics.kid import KID
from lit_gen.metrics.memorisation import closest_pairs, flagged
from lit_gen.metrics.precision_recall import manifold_masks
from lit_gen.metrics.report import HELD_OUT, Report
from lit_gen.metrics.report_html import Neighbour, Pictures
from lit_gen.metrics.subject import Against, Subject
from lit_gen.pictures import Made, image_grid, rows_of, spread
from lit_gen.ranks import Ranks
from lit_gen.rooms import classes_of, import_rooms

SAMPLES, SIDE, PAIRS = 64, 36, 12  # images in the grids of the page


@dataclass
class Assessment:
    """What was found of one way of making images.

    Attributes:
        estimates: Of the generated images.
        references: The same numbers of other images in their place.
        verdicts: What the numbers mean, in sentences.
        notes: What to bear in mind, likewise.
        digest: Of the content of the real images.
        pictures: For the page.
    """

    estimates: list[Estimate]
    references: dict[str, list[Estimate]]
    verdicts: list[str]
    notes: list[str]
    digest: str
    pictures: Pictures


def assess(
    subject: Subject,
    metrics: Sequence[Metric] | None,
    extractor: Extractor,
    ranks: Ranks,
    step: Callable[[int], Any],
) -> Assessment:
    """Everything about the images that a model makes in one way.

    Args:
        subject: What makes them, and the real ones.
        metrics: None takes all there are, as far as the model and the data allow.
        extractor: On the model's device.
        ranks: All processes take part.
        step: Is told the number of images after each batch.

    Raises:
        UserError: The model has diverged, or a metric cannot do with what there is.
    """
    wanted = every_metric() if metrics is None else metrics
    with tempfile.TemporaryDirectory(dir=workplace()) as folder:
        place = Path(folder), ranks, step
        evidence = evidence_of(subject, needs_of(wanted), extractor, *place)
        others = references(subject.reals, subject.n, needs_of(wanted), extractor, *place)
        return ranks.first(_assessment, subject, metrics, wanted, evidence, others)


def _assessment(
    subject: Subject,
    chosen: Sequence[Metric] | None,
    wanted: Sequence[Metric],
    evidence: Evidence,
    others: dict[str, Evidence],
) -> Assessment:
    if chosen is None:
        estimates, notes = ask_able(wanted, evidence)
    else:
        estimates, notes = ask(chosen, evidence), []
    found = {name: ask_able(wanted, other)[0] for name, other in others.items()}
    verdicts = [f"It replays training images: {reason}." for reason in flagged(estimates)]
    if any(estimate.name == "fid" for estimate in estimates):
        notes.append(
            f"FID depends on how many images it is from (here {len(evidence.fake):,} and {len(evidence.real):,}): "
            "compare it at the same numbers only. KID does not, and leads."
        )
    return Assessment(
        [replace(estimate, name=subject.prefix + estimate.name) for estimate in estimates],
        {name: [replace(e, name=subject.prefix + e.name) for e in numbers] for name, numbers in found.items()},
        [f"{subject.mode}: {verdict}" if subject.prefix else verdict for verdict in verdicts],
        notes,
        subject.reals.features.digest,
        pictures_of(subject, evidence),
    )


def every_metric() -> list[Metric]:
    """One of each metric that lit_gen has and that suits any images, with its default arguments; KID first."""
    found = classes_of(import_rooms()["metrics"]).values()
    kinds = [kind for kind in found if issubclass(kind, Metric) and not inspect.isabstract(kind) and kind.by_default]
    return [kind() for kind in sorted(kinds, key=lambda kind: (kind is not KID, kind.__name__))]


def ask_able(metrics: Sequence[Metric], evidence: Evidence) -> tuple[list[Estimate], list[str]]:
    """What the metrics find that can do with this evidence, and why others cannot, where it is for want of images."""
    estimates, notes = [], []
    for metric in metrics:
        if not fits(metric, evidence):
            continue
        try:
            estimates += ask([metric], evidence)
        except UserError as error:
            notes.append(str(error).splitlines()[0])
    return estimates, notes


def pictures_of(subject: Subject, evidence: Evidence) -> Pictures:
    """Samples, real and generated images side by side, suspected copies, and what precision and recall go by."""
    source = None if subject.source is None else spread(subject.source, SAMPLES)
    samples = image_grid(subject.model.make(subject.mode, SAMPLES, subject.seed, source=source), SAMPLES)
    n = min(SIDE, len(subject.reals.images), subject.n)
    real = next(spread(subject.reals.images, n))[0]
    generated = subject.rows([row * subject.n // n for row in range(n)])
    inside, covered = manifold_masks(evidence.real, evidence.fake)
    return Pictures(
        samples,
        (image_grid([Made(real)], n), image_grid([Made(generated)], n)),
        neighbours_of(subject, evidence),
        charts.manifolds(evidence.real, evidence.fake, inside, covered),
    )


def neighbours_of(subject: Subject, evidence: Evidence) -> list[Neighbour]:
    """The generated images that are most like copies, each with the nearest train and the nearest held-out image."""
    pairs = closest_pairs(evidence, PAIRS)
    made = subject.rows(pairs.fake_rows.tolist())
    train = rows_of(subject.reals.train, pairs.train_rows.tolist())[0]
    real = rows_of(subject.reals.images, pairs.real_rows.tolist())[0]
    shown = (as_shown(made), as_shown(train), as_shown(real), *pairs.distances.T.tolist())
    return [Neighbour(*parts) for parts in zip(*shown, strict=True)]


def as_shown(images: Tensor) -> Tensor:
    """Images in [0, 1] from those in [-1, 1]."""
    return (images.float() / 2 + 0.5).clamp(0, 1)


def report_of(
    found: Sequence[Assessment], subjects: Sequence[Subject], split: str, against: Against, extractor: str, data: Any,
    checkpoint: str | None, own: Mapping[str, Any],
) -> Report:  # fmt: skip
    """All that was found, with where it came from."""
    first, model = subjects[0], subjects[0].model
    run = {} if checkpoint is None else read(checkpoint).get("run", {})
    numbers = {kind: [e for part in found for e in part.references[kind]] for kind in found[0].references}
    if against == "train":
        numbers.pop(FLOOR, None)  # it would be the same images twice
    return Report(
        checkpoint or "", "" if checkpoint is None else sha256(Path(checkpoint)), type(model).__name__,
        run.get("experiment", ""), run.get("id", ""), model.images_seen, split,
        HELD_OUT if against == "held-out" else "train images",
        data.summary() if hasattr(data, "summary") else type(data).__name__, found[0].digest, extractor,
        len(first.reals.images), first.n, len(first.reals.train), first.seed,
        [estimate for part in found for estimate in part.estimates],
        {name.partition("/")[2]: float(value) for name, value in own.items()}, numbers,
        [verdict for part in found for verdict in part.verdicts],
        list(dict.fromkeys(note for part in found for note in part.notes)),
    )  # fmt: skip
