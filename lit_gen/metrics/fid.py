"""Fréchet inception distance: how far apart two sets of images are, each taken for a normal distribution."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from scipy.linalg import lapack
from torch import Tensor

from lit_gen.metrics.base import Better, Evidence, Metric
from lit_gen.metrics.jackknife import block_of
from lit_gen.metrics.rows import check_features, in_parts


@dataclass(frozen=True)
class Moments:
    """What a set's distance goes by, in float64; its size does not depend on the number of images.

    Attributes:
        n: Number of images.
        mean: (F,).
        covariance: (F, F), unbiased: divided by n - 1.
    """

    n: int
    mean: Tensor
    covariance: Tensor

    def without(self, part: Moments) -> Moments:
        """Those of the rest, once a part has left: the pairwise update of Chan et al. 1983 run backwards."""
        n = self.n - part.n
        away = part.mean - self.mean
        scatter = (self.n - 1) * self.covariance - (part.n - 1) * part.covariance
        scatter -= part.n * self.n / n * torch.outer(away, away)
        return Moments(n, self.mean - part.n / n * away, scatter / max(n - 1, 1))


@dataclass(frozen=True)
class Normal:
    """A normal distribution of features.

    Attributes:
        mean: (F,).
        root: (R, F), of which `root.T @ root` is the covariance; R may be far below F, where there are few images.
    """

    mean: Tensor
    root: Tensor


class FID(Metric):
    """Fréchet inception distance (Heusel et al. 2017, arXiv:1706.08500, eq. 6), in squared units of the features.

    It is biased: of the same distribution it says more than 0, the more so the fewer images there are. Numbers of
    different N do not compare; `FIDInfinity` and `KID` are for that.
    """

    better: ClassVar[dict[str, Better]] = {"fid": "lower"}
    within = (0.0, float("inf"))

    def __call__(self, evidence: Evidence) -> dict[str, float]:
        return {"fid": fid(evidence.real, evidence.fake)}

    def replicates(self, evidence: Evidence, blocks: int) -> dict[str, Sequence[float]]:
        """What a block adds to the moments is taken off those of all images: two passes, however many blocks."""
        check_features("FID", real=evidence.real, fake=evidence.fake)
        return {"fid": fid_without_blocks(evidence.real, evidence.fake, blocks)}


def fid(real: Tensor, fake: Tensor) -> float:
    """Fréchet distance of the normal distributions with the means and covariances of two sets of features.

    Where there are fewer images than features the covariances have no full rank; it then is as exact, and faster.

    Args:
        real: Features of real images, (N, F), N >= 2; a memory map is read in parts.
        fake: Features of generated images, (M, F), M >= 2.

    Returns:
        The distance, >= 0.

    Raises:
        UserError: The features are not two matrices of the same width with two rows at least, or not all finite.
    """
    check_features("FID", real=real, fake=fake)
    return distance(normal(real), normal(fake))


def frechet_distance(a: Moments, b: Moments) -> float:
    """|m - m'|^2 + Tr(S + S' - 2 (S S')^(1/2)) of two normal distributions (Dowson & Landau 1982)."""
    a, b = (replace(moments, covariance=moments.covariance.clone()) for moments in (a, b))
    return distance(normal_with(a), normal_with(b))


def fid_without_blocks(
    real: Tensor,
    fake: Tensor,
    blocks: int,
    real_rows: Tensor | None = None,
    fake_rows: Tensor | None = None,
) -> list[float]:
    """FID without each of the blocks of the jackknife, of all rows or of those with the given numbers, (n,) int64."""
    pairs = zip(normals_without(real, blocks, real_rows), normals_without(fake, blocks, fake_rows), strict=True)
    return [distance(a, b, quick=True) for a, b in pairs]


def moments(features: Tensor, rows: Tensor | None = None) -> Moments:
    """Mean and unbiased covariance in float64, summed in parts: memory for the sums does not grow with N.

    Args:
        features: (N, F), often a memory map.
        rows: Numbers of the rows to take, (n,) int64; None takes all of them.
    """
    n = len(features) if rows is None else len(rows)
    if n == 0:
        zero = torch.zeros(features.shape[1], dtype=torch.float64)
        return Moments(0, zero, torch.outer(zero, zero))
    # Sums of squares far from 0 would cancel each other's digits: everything is counted from the first row.
    origin = features[0 if rows is None else rows[0]].double()
    total, scatter = torch.zeros_like(origin), origin.new_zeros(len(origin), len(origin))
    for part in in_parts(features, rows):
        moved = part - origin  # never in place: float64 features are handed on as they lie
        total += moved.sum(0)
        scatter.addmm_(moved.T, moved)
    mean = total / n
    scatter.addr_(mean, mean, alpha=-n).div_(max(n - 1, 1))
    return Moments(n, (origin + mean).cpu(), scatter.cpu())


def normal(features: Tensor, rows: Tensor | None = None) -> Normal:
    """The normal distribution with the moments of features (N, F), by their rows themselves where N is at most F."""
    n = len(features) if rows is None else len(rows)
    if n > features.shape[1]:
        return normal_with(moments(features, rows))
    return normal_through(torch.cat(list(in_parts(features, rows))).cpu())


def normals_without(features: Tensor, blocks: int, rows: Tensor | None = None) -> Iterator[Normal]:
    """The normal distributions without each of the blocks, one after the other, so that one of them lies in memory."""
    rows = torch.arange(len(features)) if rows is None else rows
    block = block_of(len(features), blocks)[rows]
    if len(rows) <= features.shape[1]:
        few = torch.cat(list(in_parts(features, rows))).cpu()
        yield from (normal_through(few[block != left_out]) for left_out in range(blocks))
    else:
        total = moments(features, rows)
        for left_out in range(blocks):
            yield normal_with(total.without(moments(features, rows[block == left_out])))


def normal_through(rows: Tensor) -> Normal:
    """The normal distribution with the moments of these few rows (n, F), n >= 2, float64.

    Centred rows have one direction less than there are of them. A Householder reflection turns that direction into the
    first row, which is left out, so that the root of (n - 1, F) has full rank.
    """
    n = len(rows)
    mean = rows.mean(0)
    root = rows[1:] - mean - (rows[0] - mean) / (n**0.5 + 1)
    return Normal(mean, root / (n - 1) ** 0.5)


def normal_with(moments: Moments) -> Normal:
    """The normal distribution with these moments, by the Cholesky decomposition with pivots (Higham 1990, section 3).

    It stops where nothing but rounding is left: features that never fire, or always together, are why a covariance
    often lacks full rank. Plain Cholesky would fail on those, and eigenvalues would take four times as long. The
    covariance's memory becomes the root's: it is not to be read again.
    """
    upper, pivots, rank, _ = lapack.dpstrf(moments.covariance.numpy().T, overwrite_a=True)
    root = torch.zeros(int(rank), len(pivots), dtype=torch.float64)
    root[:, torch.from_numpy(pivots).long() - 1] = torch.from_numpy(upper[:rank]).triu_()
    return Normal(moments.mean, root)


def distance(a: Normal, b: Normal, quick: bool = False) -> float:
    """Squared 2-Wasserstein distance of two normal distributions (Dowson & Landau 1982).

    Tr (S S')^(1/2) is the sum of the singular values of `root @ root'.T`, whatever roots are taken.

    Args:
        a: One of them.
        b: The other.
        quick: Finds them as roots of the eigenvalues of the product's square, in a quarter of the time. A root of what
            was rounded loses digits: those below 1e-8 of the greatest come out as anything below that. Intervals do
            not need more.
    """
    product = a.root @ b.root.T
    if quick:
        square = product @ product.T if len(product) <= product.shape[1] else product.T @ product
        common = torch.linalg.eigvalsh(square).clamp(min=0).sqrt().sum()
    else:
        common = torch.linalg.svdvals(product).sum()
    spread = a.root.square().sum() + b.root.square().sum() - 2 * common
    return max(((a.mean - b.mean).square().sum() + spread).item(), 0.0)
