"""Curves of validation KID: where one is best, from when on it stays below another's best, the median of several."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

import numpy as np

Curve = Sequence[dict[str, float]]  # points with images, minutes and kid
Points = list[tuple[float, float]]


def best_point(curve: Curve) -> tuple[float, float] | None:
    """Images and KID where a curve is lowest, the first time; None for one without a finite value."""
    points = [(point["kid"], point["images"]) for point in curve if point["kid"] is not None]
    kid, images = min(((kid, images) for kid, images in points if math.isfinite(kid)), default=(None, 0))
    return None if kid is None else (images, kid)


def last_crossing(curve: Curve, level: float) -> float | None:
    """The fewest measured images from which on a curve's KID stays at or below a level until its end; None for never.

    A value that is not finite lies above any level.
    """
    found = None
    for point in sorted(curve, key=lambda point: point["images"], reverse=True):
        if point["kid"] is None or not point["kid"] <= level:
            break
        found = point["images"]
    return found


def speed_up(curve: Curve, goal: tuple[float, float]) -> float | None:
    """Images in which the goal was reached, divided by those from which on this curve stays at or below its KID.

    Args:
        curve: Of the method.
        goal: Images and KID of the baseline where it was best.

    Returns:
        0 where the curve does not stay there, infinity where it begins there, before any image; None where the
        baseline was best before it had seen an image.
    """
    images, kid = goal
    if images <= 0:
        return None
    crossed = last_crossing(curve, kid)
    if crossed is None:
        return 0.0
    return images / crossed if crossed > 0 else math.inf


def points_of(curve: Curve, x: str) -> Points:
    """KID over `images` or `minutes`, in their order, where it is finite."""
    points = [(point[x], point["kid"]) for point in curve if point["kid"] is not None]
    return sorted(point for point in points if math.isfinite(point[1]))


def median_curve(curves: Sequence[Points]) -> Points:
    """The median of curves over the range that all of them have, on straight lines between their points."""
    curves = [points for points in curves if points]
    if not curves:
        return []
    first, last = max(points[0][0] for points in curves), min(points[-1][0] for points in curves)
    places = sorted({x for points in curves for x, _ in points if first <= x <= last})
    values = [np.interp(places, *zip(*points, strict=True)) for points in curves]
    return [(x, float(median(at))) for x, at in zip(places, zip(*values, strict=True), strict=True)]
