"""How numbers with intervals are written: as many digits as the interval bears."""

from __future__ import annotations

import math

from lit_gen.metrics.base import Estimate


def rounded(value: float, half: float) -> str:
    """A value with the digits that its uncertainty bears: two of those of `half`, four where there is none.

    Args:
        value: Any number; one that is not finite is written as `-`.
        half: Half the width of its interval.
    """
    if not math.isfinite(value):
        return "-"
    if not math.isfinite(half) or half <= 0:
        return f"{value:.4g}"
    decimals = 1 - math.floor(math.log10(half))
    if -1 <= decimals <= 5 and abs(value) < 1e6:
        return f"{value:.{max(0, decimals)}f}"
    leading = math.floor(math.log10(max(abs(value), half)))
    return f"{value:.{min(max(0, leading + decimals), 5)}e}"


def half_width(estimate: Estimate) -> float:
    """Half the width of an estimate's interval."""
    return (estimate.high - estimate.low) / 2


def value_of(estimate: Estimate) -> str:
    """`0.0123`: the value alone."""
    return rounded(estimate.value, half_width(estimate))


def with_interval(estimate: Estimate) -> str:
    """`0.0123 [0.0101, 0.0145]`: the value and the ends of its 95 % interval."""
    if not math.isfinite(estimate.value):
        return rounded(estimate.value, 0.0)
    low, high = (rounded(end, half_width(estimate)) for end in (estimate.low, estimate.high))
    return f"{value_of(estimate)} [{low}, {high}]"


def counts(estimate: Estimate) -> str:
    """`1000/200`: how many generated images were held against how many real ones; `?` where nobody wrote it down."""
    return f"{estimate.n_fake}/{estimate.n_real}" if estimate.n_fake and estimate.n_real else "?"
