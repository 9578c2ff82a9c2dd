"""Kernel inception distance: how far apart two sets of images are, by any network's features of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from lit_gen.errors import UserError
from lit_gen.metrics.base import Better, Evidence, Metric
from lit_gen.metrics.jackknife import all_and_without, block_of
from lit_gen.metrics.rows import AT_A_TIME, check_features

SEED = 2020  # torch-fidelity's, so that its subsets are ours


class KID(Metric):
    """Unbiased kernel inception distance (Binkowski et al. 2018, arXiv:1801.01401, section 4 and eq. 4).

    Args:
        subsets: Takes the mean over so many random subsets of both sets, each drawn without replacement, as the paper
            does where all pairs are too many. None takes all pairs, which says the same with less noise, and whatever
            the order of the images. The draws are those of torch-fidelity.
        subset_size: Images in a subset, at least 10.

    Raises:
        UserError: An argument is below these.
    """

    better: ClassVar[dict[str, Better]] = {"kid": "lower"}

    def __init__(self, subsets: int | None = None, subset_size: int = 1000) -> None:
        if subsets is not None and subsets < 1:
            raise UserError(f"KID: found subsets {subsets}, expected at least 1, or null for all pairs.")
        if subset_size < 10:
            raise UserError(f"KID: found subset_size {subset_size}, expected at least 10. Type subset_size: 100, say.")
        self.subsets = subsets
        self.subset_size = subset_size

    def __call__(self, evidence: Evidence) -> dict[str, float]:
        return self.measured(evidence, blocks=1)[0]

    def replicates(self, evidence: Evidence, blocks: int) -> dict[str, Sequence[float]]:
        return self.measured(evidence, blocks)[1]

    def measured(self, evidence: Evidence, blocks: int) -> tuple[dict[str, float], dict[str, Sequence[float]]]:
        """Every pair of images is looked at once: sums over the pairs of each two blocks give all of it.

        A block leaves the subsets as they were drawn, less its images: new draws would add their own chance.
        """
        check_features("KID", real=evidence.real, fake=evidence.fake)
        found = [sums.mmd_and_without_blocks() for sums in self._sums(evidence, blocks)]
        value, *replicates = np.mean(found, 0).tolist()
        return {"kid": value}, {"kid": replicates}

    def check(self, n_real: int, n_fake: int) -> None:
        super().check(n_real, n_fake)
        if self.subsets is not None and min(n_real, n_fake) < self.subset_size:
            raise UserError(
                f"KID: found {n_real} real and {n_fake} generated images, expected at least subset_size "
                f"{self.subset_size}.\nType subset_size: {min(n_real, n_fake)}, or subsets: null for all pairs."
            )

    def _sums(self, evidence: Evidence, blocks: int) -> Iterator[KernelSums]:
        real, fake = evidence.real, evidence.fake
        real_block, fake_block = block_of(len(real), blocks), block_of(len(fake), blocks)
        if self.subsets is None:
            yield kernel_sums(real, fake, real_block, fake_block, blocks)
            return
        random = np.random.RandomState(SEED)  # noqa: NPY002 (the same draws need the same generator)
        for _ in range(self.subsets):
            a, b = (torch.from_numpy(random.choice(len(x), self.subset_size, replace=False)) for x in (real, fake))
            yield kernel_sums(real[a], fake[b], real_block[a], fake_block[b], blocks)


@dataclass(frozen=True)
class KernelSums:
    """The kernel summed over the pairs of images of every two blocks, of G; no image is paired with itself.

    Attributes:
        real: (G, G), both images real.
        fake: (G, G), both generated.
        across: (G, G), the first one real and the second one generated.
        n_real: Images of each block, (G,).
        n_fake: (G,).
    """

    real: Tensor
    fake: Tensor
    across: Tensor
    n_real: Tensor
    n_fake: Tensor

    def mmd(self, share: Tensor) -> float:
        """Unbiased MMD^2 (Binkowski et al. 2018, eq. 4) of the blocks whose `share`, (G,), is 1 and not 0."""
        n, m = share @ self.n_real, share @ self.n_fake
        within = share @ self.real @ share / (n * (n - 1)) + share @ self.fake @ share / (m * (m - 1))
        return (within - 2 * (share @ self.across @ share) / (n * m)).item()

    def mmd_and_without_blocks(self) -> list[float]:
        """Of all images, then without each of the blocks."""
        return [self.mmd(share) for share in all_and_without(len(self.n_real))]


def kid(real: Tensor, fake: Tensor) -> float:
    """Unbiased MMD^2 with the kernel (x.y / F + 1)^3 (Binkowski et al. 2018, arXiv:1801.01401, section 4 and eq. 4).

    Its expectation does not depend on the number of images, so that small sets can be compared; for that it may fall
    below 0 where both sets come from the same distribution. All pairs are used, in float64, on the device of `real`.

    Args:
        real: Features of real images, (N, F), N >= 2.
        fake: Features of generated images, (M, F), M >= 2.

    Returns:
        The estimate: 0 in expectation for the same distribution, in units of the kernel.

    Raises:
        UserError: The features are not two matrices of the same width with two rows at least, or not all finite.
    """
    check_features("kid", real=real, fake=fake)
    return kernel_sums(real, fake, block_of(len(real), 1), block_of(len(fake), 1), 1).mmd_and_without_blocks()[0]


def polynomial_kernel(x: Tensor, y: Tensor) -> Tensor:
    """k(x, y) = (x.y / F + 1)^3 of every pair (Binkowski et al. 2018, section 4): (N, F), (M, F) -> (N, M)."""
    return (x @ y.T / x.shape[1] + 1) ** 3


def kernel_sums(real: Tensor, fake: Tensor, real_block: Tensor, fake_block: Tensor, blocks: int) -> KernelSums:
    """Sums of the kernel by the blocks of both images, from features (N, F) and (M, F); some of its rows at a time."""
    real_member, fake_member = (one_hot(block, blocks).double() for block in (real_block, fake_block))
    return KernelSums(
        sums_within(real, real_member),
        sums_within(fake, fake_member),
        sums_across(real, fake.to(real.device), real_member, fake_member),
        real_member.sum(0),
        fake_member.sum(0),
    )


def sums_within(x: Tensor, member: Tensor) -> Tensor:
    """Sums (G, G) of k over pairs of different rows of x (N, F), by their blocks; half the pairs say it of all."""
    total = member.new_zeros(2 * member.shape[1:])
    for start in range(0, len(x), AT_A_TIME):
        rows, theirs = x[start : start + AT_A_TIME].double(), member[start : start + AT_A_TIME]
        total += by_blocks(polynomial_kernel(rows, rows).fill_diagonal_(0), theirs, theirs)
        later = sums_across(rows, x[start + AT_A_TIME :], theirs, member[start + AT_A_TIME :])
        total += later + later.T
    return total


def sums_across(x: Tensor, y: Tensor, x_member: Tensor, y_member: Tensor) -> Tensor:
    """Sums (G, G) of k(x, y) over the rows of x (N, F) and y (M, F), by their blocks."""
    total = x_member.new_zeros(x_member.shape[1], y_member.shape[1])
    for rows, theirs in zip(x.split(AT_A_TIME), x_member.split(AT_A_TIME), strict=True):
        rows = rows.double()
        for others, others_member in zip(y.split(AT_A_TIME), y_member.split(AT_A_TIME), strict=True):
            total += by_blocks(polynomial_kernel(rows, others.double()), theirs, others_member)
    return total


def by_blocks(kernel: Tensor, row_member: Tensor, column_member: Tensor) -> Tensor:
    """Sums (G, G) of a kernel (N, M) whose rows and columns are in the blocks that these, (N, G) and (M, G), say."""
    return row_member.T @ (kernel @ column_member.to(kernel.device)).cpu()
