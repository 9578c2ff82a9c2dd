"""Runs side by side as one HTML page that carries its pictures with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from lit_gen.metrics import charts
from lit_gen.metrics.comparison import Ranking
from lit_gen.metrics.numbers import counts, with_interval
from lit_gen.metrics.runs import Run, differences
from lit_gen.pages import render


@dataclass
class Side:
    """One run as it stands beside the others.

    Attributes:
        run: Its files.
        model: Class of its model.
        images_seen: By the checkpoint.
        samples: Its images in one row, (C, H, W) in [0, 1]; None where it makes none.
        caption: What the images are of.
    """

    run: Run
    model: str
    images_seen: int
    samples: Tensor | None = None
    caption: str = ""

    @property
    def title(self) -> str:
        """`gan_cats/<run id>, best.ckpt (GAN, 200,000 images seen)`."""
        file = "" if self.run.checkpoint.name == self.run.name else f", {self.run.checkpoint.name}"
        return f"{self.run.name}{file} ({self.model}, {self.images_seen:,} images seen)"


@dataclass
class Comparison:
    """Everything that the page and the terminal show.

    Attributes:
        sides: The runs in the order in which they were named.
        rankings: Each number that at least two have, the one that decides first.
        verdicts: What follows, in sentences.
        notes: What to bear in mind.
    """

    sides: Sequence[Side]
    rankings: Sequence[Ranking]
    verdicts: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def config(self) -> dict[str, list[str]]:
        """What was set differently, with the value of each run."""
        return differences([side.run.config for side in self.sides])


def beside_best(ranking: Ranking, place: int) -> str:
    """How one run stands to the best by this number: `best`, `worse by ...`, `inside the noise`."""
    if place == ranking.best:
        return "best"
    found = ranking.behind[place]
    words = {"better": "worse", "worse": "better"}  # the difference is the best one's from this one
    return "" if found is None else f"{words.get(found.verdict, found.verdict)} (best less this: {found})"


def html(comparison: Comparison) -> str:
    """The page: verdicts, numbers with intervals, the same latents below each other, curves, settings."""
    return render(
        "metrics/comparison.html.jinja",
        comparison=comparison,
        colours=[charts.colour(place) for place in range(len(comparison.sides))],
        numbers=[_number(ranking) for ranking in comparison.rankings],
        curves=[charts.curves(*arguments) for arguments in _curves(comparison.sides)],
    )


def _number(ranking: Ranking) -> dict[str, Any]:
    have = {f"run {place + 1}": found for place, found in enumerate(ranking.estimates) if found is not None}
    rows = [
        {"place": place, "value": with_interval(found), "counts": counts(found), "beside": beside_best(ranking, place)}
        for place, found in enumerate(ranking.estimates)
        if found is not None
    ]
    colours = {f"run {place + 1}": charts.colour(place) for place in range(len(ranking.estimates))}
    return {"ranking": ranking, "rows": rows, "chart": charts.forest(have, colours)}


def _curves(sides: Sequence[Side]) -> list[tuple[list[list[charts.Point]], str]]:
    """The points of all runs for each metric that at least one has logged."""
    names = dict.fromkeys(name for side in sides for name in side.run.curves)
    return [([side.run.curves.get(name, []) for side in sides], name) for name in sorted(names)]
