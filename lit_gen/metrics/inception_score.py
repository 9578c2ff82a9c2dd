"""Inception score: whether a classifier is sure of each generated image, and of all of them says many things."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from lit_gen.errors import UserError
from lit_gen.metrics.base import Better, Evidence, Metric
from lit_gen.metrics.jackknife import all_and_without, block_of
from lit_gen.metrics.rows import AT_A_TIME

SEED = 2020  # torch-fidelity's, so that its splits are ours


class InceptionScore(Metric):
    """Inception score (Salimans et al. 2016, arXiv:1606.03498, section 4), from 1 to the number of classes.

    It looks at generated images alone and knows the classes of ImageNet alone: a model that makes one good picture of
    each class is the best there is, and cats that vary count for nothing.

    Args:
        splits: Takes the mean of the scores of so many equal parts of the images, shuffled as torch-fidelity does it.
            The paper has 10 parts of 5,000 images. The score falls with the images of a part, and far where they are
            fewer than the classes, so that one part is the least biased; nor does it depend on the images' order.

    Raises:
        UserError: `splits` is less than 1.
    """

    better: ClassVar[dict[str, Better]] = {"inception_score": "higher"}
    needs = ("fake_logits",)
    within = (1.0, float("inf"))

    def __init__(self, splits: int = 1) -> None:
        if splits < 1:
            raise UserError(f"InceptionScore: found splits {splits}, expected at least 1. Type splits: 1.")
        self.splits = splits

    def __call__(self, evidence: Evidence) -> dict[str, float]:
        return self.measured(evidence, blocks=1)[0]

    def replicates(self, evidence: Evidence, blocks: int) -> dict[str, Sequence[float]]:
        return self.measured(evidence, blocks)[1]

    def check(self, n_real: int, n_fake: int) -> None:
        super().check(n_real, n_fake)
        if self.splits > 1 and n_fake < 10 * self.splits:
            raise UserError(
                f"InceptionScore: found {n_fake} generated images, expected at least {10 * self.splits} for splits "
                f"{self.splits}.\nType splits: 1, or make more of them."
            )

    def measured(self, evidence: Evidence, blocks: int) -> tuple[dict[str, float], dict[str, Sequence[float]]]:
        """Sums over the images of each block in each split give all of it; images stay in their splits."""
        if evidence.fake_logits is None:
            raise UserError(
                f"InceptionScore: {evidence.extractor} has no classifier, and the score is about what one says.\n"
                "Choose an extractor that has one, or leave InceptionScore out of the metrics."
            )
        block = block_of(len(evidence.fake_logits), blocks)
        value, *replicates = scores(evidence.fake_logits, self.splits, block, blocks)
        return {"inception_score": value}, {"inception_score": replicates}


def inception_score(logits: Tensor, splits: int = 1) -> float:
    """exp(mean over images of KL(p(y|x) || p(y))) (Salimans et al. 2016, section 4), in float64.

    Args:
        logits: What the classifier says of each generated image, (N, K), N >= `splits`.
        splits: Equal parts of the images, after a shuffle; the mean of their scores is taken.

    Returns:
        The score, in [1, K].
    """
    return scores(logits, splits, block_of(len(logits), 1), 1)[0]


def scores(logits: Tensor, splits: int, block: Tensor, blocks: int) -> list[float]:
    """The score of all images, then without each of the blocks that they are in, (N,).

    The mean divergence of a part is the entropy of p(y), less the mean one of p(y|x): two sums over its images.
    """
    counts, entropies, probabilities = sums_by(logits, split_of(len(logits), splits) * blocks + block, splits * blocks)
    found = []
    for share in all_and_without(blocks):
        images = counts.view(splits, blocks) @ share
        marginal = torch.einsum("sbk,b->sk", probabilities.view(splits, blocks, -1), share) / images[:, None]
        mean_entropy = entropies.view(splits, blocks) @ share / images
        found.append((torch.special.entr(marginal).sum(1) - mean_entropy).exp().mean().item())
    return found


def split_of(n: int, splits: int) -> Tensor:
    """The split of each of n images, (n,) int64."""
    shuffled = np.random.RandomState(SEED).permutation(n)  # noqa: NPY002 (the same draws need the same generator)
    split = torch.empty(n, dtype=torch.int64)
    for number in range(splits):
        split[shuffled[number * n // splits : (number + 1) * n // splits]] = number
    return split


def sums_by(logits: Tensor, group: Tensor, groups: int) -> tuple[Tensor, Tensor, Tensor]:
    """For each group of images, (N,), in float64: their number (G,), their entropies (G,) and probabilities (G, K)."""
    entropies = torch.zeros(groups, dtype=torch.float64)
    summed = torch.zeros(groups, logits.shape[1], dtype=torch.float64)
    for rows, theirs in zip(logits.split(AT_A_TIME), group.split(AT_A_TIME), strict=True):
        probabilities = rows.double().softmax(1).cpu()
        entropies.index_add_(0, theirs, torch.special.entr(probabilities).sum(1))
        summed.index_add_(0, theirs, probabilities)
    return group.bincount(minlength=groups).double(), entropies, summed
