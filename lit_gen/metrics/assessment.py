"""The assessment of one checkpoint: every number beside its floor and its ceilings, and the pictures that explain them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lit_gen.metrics.base import Estimate, Evidence, Metric
from lit_gen.metrics.evidence import ask, evidence_of, fits, needs_of, references
from lit_gen.metrics.extractor import Extractor
from lit_gen.metrics.subject import Subject
from lit_gen.ranks import Ranks


@dataclass
class Assessment:
    """What was found of one way of making images.

    Attributes:
        estimates: Of the generated images.
        references: The same numbers of other images in their place.
        left_out: Metrics that had too few images, in sentences.
        figures: For the page.
    """

    estimates: list[Estimate]
    references: dict[str, list[Estimate]]
    left_out: list[str]
    figures: Figures
