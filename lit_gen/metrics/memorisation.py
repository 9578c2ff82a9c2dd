"""Did the generator learn, or does it replay its training images? Held-out images say what a fresh one looks like."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from lit_gen.metrics.base import Better, Estimate, Evidence, Metric
from lit_gen.metrics.distances import row_parts, squared_distances
from lit_gen.metrics.jackknife import kept

RARE = 0.01  # of the held-out images are as near to a training image as a near copy is
SUSPECT = {
    "copy_share": (0.55, "of the generated images are nearer to a training image than to any held-out one", 0.5),
    "near_copies": (0.05, "of the generated images are nearly copies of a training image", RARE),
}


class Memorisation(Metric):
    """How often a generated image is nearer to the training set than a fresh image would be.

    Train and held-out images come from one distribution, so a model that learnt the distribution and not the images
    is as near to the one as to the other (the comparison of Meehan et al. 2020, arXiv:2004.05675, section 3). Then
    `copy_share` is 0.5 and `near_copies` 0.01 in expectation, whatever the numbers of images and however bad the model;
    replays take `near_copies` to 1, and `copy_share` to (1 + H / T) / 2 of T training images where the H held-out ones
    are fewer. Distances are between features at length 1, as in Diversity: of two sets out of three they tell altered
    copies from fresh images far better than features as they are, of aligned faces a little worse
    (tests/benchmarks/memorisation.py).
    """

    better: dict[str, Better] = {"copy_share": "lower", "near_copies": "lower"}
    least = 10
    needs = ("train",)
    within = (0.0, 1.0)

    def __call__(self, evidence: Evidence) -> dict[str, float]:
        return {name: values[0] for name, values in memorisation(evidence.real, evidence.fake, evidence.train).items()}

    def replicates(self, evidence: Evidence, blocks: int) -> dict[str, Sequence[float]]:
        """All of them from one pass over the distances: leaving images out only takes rows and columns away."""
        return memorisation(evidence.real, evidence.fake, evidence.train, blocks)

    def estimate(self, evidence: Evidence) -> list[Estimate]:
        """Widens the interval of `copy_share` where luck says more: one picture over and over has one neighbour."""
        share, near = super().estimate(evidence)
        half = 1.96 * chance_error(evidence.real, evidence.fake, evidence.train)
        low, high = min(share.low, share.value - half), max(share.high, share.value + half)
        return [replace(share, low=max(low, 0.0), high=min(high, 1.0)), near]


class ClosestPairs(NamedTuple):
    """Generated images with their nearest neighbours, the most suspect first; rows are int64.

    Attributes:
        fake_rows: (n,), of the generated images.
        train_rows: (n,), of the training image nearest to each; every one at most once.
        real_rows: (n,), of the held-out image nearest to each.
        distances: (n, 2) float64, to either, in [0, 2].
    """

    fake_rows: Tensor
    train_rows: Tensor
    real_rows: Tensor
    distances: Tensor


def memorisation(real: Tensor, fake: Tensor, train: Tensor, blocks: int = 0) -> dict[str, list[float]]:
    """`copy_share` and `near_copies`, see Memorisation.

    A replicate leaves a block of every set out for `copy_share`. For `near_copies` the training images all stay: it is
    about copies of these, and a model that replays three of them does it without doubt.

    Args:
        real: Features of held-out images, (H, F).
        fake: Features of generated images, (M, F).
        train: Features of training images, (T, F).
        blocks: Of the jackknife; 0 leaves nothing out.

    Returns:
        Each name with one value in [0, 1] for each replicate.

    Raises:
        UserError: A feature is not finite.
    """
    keep_real, keep_fake, keep_train = (kept(len(rows), blocks) for rows in (real, fake, train))
    copied = torch.zeros(keep_fake.shape, dtype=torch.float64)
    nearest = torch.zeros(len(fake), dtype=torch.float64)
    for rows in row_parts(len(fake), len(train) + len(real)):
        to_train, to_real = (squared_distances(fake[rows], y, unit=True) for y in (train, real))
        for one, (in_train, in_real) in enumerate(zip(keep_train, keep_real, strict=True)):
            copied[one, rows] = copied_probability(to_train[:, in_train], to_real[:, in_real])
        nearest[rows] = to_train.amin(1)
    usual = torch.cat(
        [squared_distances(real[rows], train, unit=True).amin(1) for rows in row_parts(len(real), len(train))]
    )
    rare = torch.tensor([rare_distance(usual[keep].sqrt()) for keep in keep_real], dtype=torch.float64)
    near = nearest.sqrt() < rare[:, None]
    n_fake = keep_fake.sum(1).double()
    return {
        "copy_share": ((copied * keep_fake).sum(1) / n_fake).tolist(),
        "near_copies": ((near & keep_fake).sum(1) / n_fake).tolist(),
    }


def chance_error(real: Tensor, fake: Tensor, train: Tensor) -> float:
    """Standard error of `copy_share` for a model that knows neither set: sqrt(sum w^2) / 2, at most 0.5.

    w is the share of the generated images that have the same nearest image among all; which set this one is in is then
    the toss of a coin.
    """
    among = torch.zeros(len(train) + len(real))
    for rows in row_parts(len(fake), len(among)):
        found = [squared_distances(fake[rows], y, unit=True) for y in (train, real)]
        among += torch.cat(found, 1).argmin(1).bincount(minlength=len(among))
    return (among / len(fake)).norm().item() / 2


def copied_probability(to_train: Tensor, to_real: Tensor) -> Tensor:
    """How probably the nearest training image is nearer than the nearest held-out one, among equally many of both.

    The larger set is taken down to the size of the smaller, in expectation over all its subsets; a tie counts half.

    Args:
        to_train: Distances of M images to T training images, (M, T).
        to_real: Distances of the same to H held-out images, (M, H).

    Returns:
        (M,) float64 in [0, 1], with the mean 0.5 where the two sets could be exchanged.
    """
    if to_train.shape[1] < to_real.shape[1]:
        return 1 - copied_probability(to_real, to_train)
    bound, size = to_real.amin(1, keepdim=True), to_real.shape[1]
    nearer, as_near = (to_train < bound).sum(1), (to_train <= bound).sum(1)
    return (_drawn(nearer, to_train.shape[1], size) + _drawn(as_near, to_train.shape[1], size)) / 2


def _drawn(wanted: Tensor, n: int, size: int) -> Tensor:
    """How probably a random subset of this size has one of the wanted (M,) among n: 1 - C(n-w, size) / C(n, size)."""
    others = n - wanted.double()
    enough = others.clamp_min(size)  # fewer others than the subset has places: one of the wanted is in it for certain
    log_none = (enough + 1).lgamma() - (enough - size + 1).lgamma() + math.lgamma(n - size + 1) - math.lgamma(n + 1)
    return torch.where(others < size, 1.0, -torch.expm1(log_none)).clamp(0, 1)


def rare_distance(distances: Tensor) -> float:
    """The distance below which a fresh image lies as rarely as RARE, from H held-out ones (H,), H >= 3.

    A fresh image is below the k-th smallest of them with the probability k / (H + 1): between two of these it is
    interpolated. With 50 images none of them is as rare as 1 %: below the smallest the probability goes on as d^a, a by
    Hill 1975 from the nearest sqrt(H), as in Weissman 1978.
    """
    ordered = distances.sort().values
    rank = RARE * (len(ordered) + 1)
    if rank >= 1:
        below = int(rank)
        return torch.lerp(ordered[below - 1], ordered[below], rank - below).item()
    if ordered[0] == 0:  # held-out copies of training images: nothing is nearer than fresh ones are
        return 0.0
    tail = min(max(2, math.ceil(len(ordered) ** 0.5)), len(ordered) - 1)
    inverse_power = (ordered[tail] / ordered[:tail]).log().mean().item()
    return ordered[0].item() * rank**inverse_power


def flagged(estimates: Iterable[Estimate]) -> list[str]:
    """Why a model is suspected of replaying its training images, in words; empty where it is not.

    A number counts where its whole interval is above what fresh images give and a margin.
    """
    reasons = []
    for estimate in estimates:
        limit, what, fresh = SUSPECT.get(estimate.name, (math.inf, "", 0.0))
        if estimate.low > limit:
            reasons.append(
                f"{estimate.value:.0%} {what} ({estimate.low:.0%} to {estimate.high:.0%}; fresh images: {fresh:.0%})"
            )
    return reasons


def closest_pairs(evidence: Evidence, n: int) -> ClosestPairs:
    """The generated images that are nearest to a training image in relation to their nearest held-out one.

    Args:
        evidence: With training images.
        n: How many, fewer where fewer training images are anybody's nearest: each is shown once.
    """
    found: list[tuple[Tensor, ...]] = []
    for rows in row_parts(len(evidence.fake), len(evidence.train) + len(evidence.real)):
        sets = evidence.train, evidence.real
        nearest = [squared_distances(evidence.fake[rows], y, unit=True).min(1) for y in sets]
        found.append((*(each.indices for each in nearest), torch.stack([each.values for each in nearest], 1).sqrt()))
    train_rows, real_rows, distances = (torch.cat(parts) for parts in zip(*found, strict=True))
    share = distances[:, 0] / distances.sum(1).clamp_min(torch.finfo(torch.float64).tiny)
    seen: dict[int, int] = {}  # training image -> the first generated image that has it
    for row in share.argsort(stable=True).tolist():
        seen.setdefault(train_rows[row].item(), row)
    first = torch.tensor(list(seen.values())[:n], dtype=torch.long)
    return ClosestPairs(first, train_rows[first], real_rows[first], distances[first])
