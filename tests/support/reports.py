"""Reports made by hand, and what a page that carries everything with it must not have."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from lit_gen.metrics.base import Better, Estimate
from lit_gen.metrics.jackknife import interval
from lit_gen.metrics.report import HELD_OUT, Report


def estimate(
    value: float, name: str = "kid", better: Better = "lower", spread: float = 0.1, extractor: str = "toy"
) -> Estimate:
    """An estimate whose four replicates lie at `value` plus and minus `spread`."""
    return measured(value, [value - spread, value + spread] * 2, name, better, extractor)


def measured(
    value: float, replicates: Sequence[float], name: str = "kid", better: Better = "lower", extractor: str = "toy"
) -> Estimate:
    """An estimate with these replicates."""
    return Estimate(name, value, *interval(value, replicates), 200, 1000, extractor, better, tuple(replicates))


def report(*estimates: Estimate, **changes: Any) -> Report:
    """A report of these numbers."""
    settings = {
        "checkpoint": "checkpoints/gan_cats/1/last.ckpt", "checkpoint_sha256": "0" * 64, "model": "GAN",
        "experiment": "gan_cats", "run": "1", "images_seen": 200_000, "split": "test", "against": HELD_OUT,
        "data": "ImageFolder cats/", "data_digest": "1" * 64, "extractor": "toy", "n_real": 200, "n_fake": 1000,
        "n_train": 100, "seed": 0, "estimates": list(estimates),
    }  # fmt: skip
    return Report(**{**settings, **changes})


def elsewhere(page: str) -> list[str]:
    """What in a page would be fetched from any other place."""
    return re.findall(r"https?:|<script|<link|@import|(?:src|href)=\"(?!data:|#)[^\"]*|url\((?!#)[^)]*", page)
