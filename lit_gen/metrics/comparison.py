"""Whether one model is better than another, or whether their numbers lie inside the noise."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from lit_gen.errors import UserError
from lit_gen.metrics.base import Better, Estimate
from lit_gen.metrics.jackknife import interval
from lit_gen.metrics.numbers import rounded
from lit_gen.metrics.report import Report

Verdict = Literal["better", "worse", "inside the noise", "not known"]


@dataclass(frozen=True)
class Difference:
    """How far one estimate lies from another of the same number.

    Attributes:
        value: The first less the second.
        low: Lower end of its 95 % interval.
        high: Upper end.
        verdict: How the first is beside the second; `not known` where a number or its interval is not finite.
        paired: Whether both were measured on the same images, so that what these have in common cancels.
    """

    value: float
    low: float
    high: float
    verdict: Verdict
    paired: bool

    def __str__(self) -> str:
        value, low, high = (rounded(x, (self.high - self.low) / 2) for x in (self.value, self.low, self.high))
        return f"{value} [{low}, {high}]"


def difference(a: Estimate, b: Estimate, paired: bool) -> Difference:
    """How far a lies from b, with the 95 % interval of the delete-a-block jackknife.

    Args:
        a: A number of one model.
        b: The same number of another one, by the same extractor.
        paired: Both were measured on the same images (see `paired`): the replicates are subtracted one by one, and the
            jackknife is that of the difference. Otherwise the squares of the intervals add, as of independent values.
            So does in either case what an interval has beyond its jackknife, such as the luck of few images.

    Raises:
        UserError: They are different numbers, or of different extractors.
    """
    if a.key != b.key:
        raise UserError(
            f"{a.key} and {b.key} cannot be compared, expected the same number by the same extractor.\nMeasure both "
            "checkpoints alike: python -m lit_gen test --config RUN/config.yaml --ckpt_path RUN"
        )
    value = a.value - b.value
    paired = paired and len(a.replicates) == len(b.replicates) > 1
    if paired:
        own = _half([x - y for x, y in zip(a.replicates, b.replicates, strict=True)])
    else:
        own = math.hypot(_half(a.replicates), _half(b.replicates))
    half = math.hypot(own, _beyond(a), _beyond(b))
    low, high = value - half, value + half
    return Difference(value, low, high, _verdict(low, high, a.better), paired)


def _half(replicates: Sequence[float]) -> float:
    """Half the width of the jackknife's interval; 0 where there are no replicates and `_beyond` has all of it."""
    return interval(0.0, replicates)[1] if len(replicates) > 1 else 0.0


def _beyond(estimate: Estimate) -> float:
    """What squares to the rest of an interval, less its jackknife.

    It goes by the longer side, since the other may end where the number's values do.
    """
    whole, own = max(estimate.high - estimate.value, estimate.value - estimate.low), _half(estimate.replicates)
    return 0.0 if whole <= own * (1 + 1e-9) else math.sqrt(whole**2 - own**2)


def _verdict(low: float, high: float, better: Better) -> Verdict:
    if not (math.isfinite(low) and math.isfinite(high)):
        return "not known"
    if low <= 0 <= high:
        return "inside the noise"
    return "better" if (high < 0) == (better == "lower") else "worse"


def paired(a: Report | None, b: Report | None) -> bool:
    """Whether two reports hold numbers of the same real images, in the same blocks of both sets.

    The seed may differ: the latents of two models have nothing in common anyway.
    """
    if a is None or b is None:
        return False
    same = ("data_digest", "split", "against", "extractor", "n_real", "n_fake", "n_train")
    return all(getattr(a, name) == getattr(b, name) for name in same)


@dataclass(frozen=True)
class Ranking:
    """One number of several models.

    Attributes:
        key: Of the number, with its extractor.
        better: Which way is better.
        estimates: Of each model; None where it has none.
        best: Which model has the best value.
        behind: The best one's difference from each of the others; None for itself and where there is no number.
    """

    key: str
    better: Better
    estimates: tuple[Estimate | None, ...]
    best: int
    behind: tuple[Difference | None, ...]

    def sentences(self) -> list[str]:
        """What follows from it, for each of the other models, which are counted from 1."""
        return [f"By {self._said(place, found)}" for place, found in enumerate(self.behind) if found is not None]

    def objection(self, place: int) -> list[str]:
        """What speaks against the model at this place, which is the best by another number."""
        found = self.behind[place]
        return [] if found is None or found.verdict != "better" else [f"But by {self._said(place, found)}"]

    def _said(self, place: int, found: Difference) -> str:
        best, other = f"run {self.best + 1}", f"run {place + 1}"
        if found.verdict == "better":
            return f"{self.key} {best} is better than {other}: {found}."
        if found.verdict == "inside the noise":
            return f"{self.key} the difference of {best} and {other} is inside the noise: {found}."
        return f"{self.key} nothing is known of the difference of {best} and {other}: an interval is missing."


def rank(estimates: Sequence[Estimate | None], in_pairs: Callable[[int, int], bool]) -> Ranking | None:
    """Which of several models has the best value of a number, and whether the others are behind by more than noise.

    Args:
        estimates: The same number of each model, None where it has none.
        in_pairs: Whether the models at two places were measured on the same images.

    Returns:
        None where no model has a finite value.
    """
    have = [place for place, found in enumerate(estimates) if found is not None and math.isfinite(found.value)]
    if not have:
        return None
    best = have[0]
    for place in have[1:]:
        best = place if estimates[place].beats(estimates[best].value) else best
    behind = [
        None if place == best or found is None else difference(estimates[best], found, in_pairs(best, place))
        for place, found in enumerate(estimates)
    ]
    top = estimates[best]
    return Ranking(top.key, top.better, tuple(estimates), best, tuple(behind))
