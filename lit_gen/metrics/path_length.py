"""How far an image moves for a short step in latent space: a smooth generator moves evenly, and little."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lit_gen.metrics.base import Better, Evidence, Metric
from lit_gen.metrics.distances import row_parts, unit_rows
from lit_gen.metrics.jackknife import kept

TRIMMED = 0.01  # of the pairs, at either end


class PathLength(Metric):
    """Perceptual path length: E d(G(z_t), G(z_t+step)) / step^2 (Karras et al. 2019, arXiv:1812.04948, eq. 2).

    d is the squared distance of features at length 1. As there, the smallest and the largest 1 % are left out.
    """

    better: dict[str, Better] = {"path_length": "lower"}
    needs = ("path",)
    within = (0.0, math.inf)

    def counts(self, evidence: Evidence) -> tuple[int, int]:
        """What it goes by are the pairs."""
        return len(evidence.real), len(evidence.fake if evidence.path is None else evidence.path)

    def __call__(self, evidence: Evidence) -> dict[str, float]:
        return {"path_length": path_lengths(evidence.path, evidence.path_step)[0]}

    def replicates(self, evidence: Evidence, blocks: int) -> dict[str, Sequence[float]]:
        """All of them from the lengths of the pairs, which are found once."""
        return {"path_length": path_lengths(evidence.path, evidence.path_step, blocks)}


def path_lengths(path: Tensor, step: float, blocks: int = 0) -> list[float]:
    """Mean of |u_a - u_b|^2 / step^2 without the smallest and largest 1 % (Karras et al. 2019, eq. 2).

    Args:
        path: Features at both ends of each step, (P, 2, F).
        step: Length of the step as a share of the way between two latents, > 0.
        blocks: Of the jackknife; 0 leaves nothing out.

    Returns:
        One value >= 0 for each replicate.
    """
    squared = torch.cat(
        [(unit_rows(path[rows, 0]) - unit_rows(path[rows, 1])).square().sum(1) for rows in row_parts(len(path))]
    )
    return [_trimmed_mean(squared[keep]) / step**2 for keep in kept(len(path), blocks)]


def _trimmed_mean(values: Tensor) -> float:
    cut = math.floor(TRIMMED * (len(values) - 1))
    return values.sort().values[cut : len(values) - cut].mean().item()


def latent_steps(n: int, latent_dim: int, seed: int, step: float = 1e-4) -> tuple[Tensor, Tensor]:
    """Both ends of n short steps on the arc between two latents (Karras et al. 2019, eq. 2; Shoemake 1985).

    Args:
        n: How many.
        latent_dim: Z.
        seed: Of the latents and of the places on the arcs; drawn on the CPU.
        step: Length of the step as a share of the arc.

    Returns:
        z at t and at t + step, each (n, Z) float32, with t uniform in [0, 1].
    """
    random = torch.Generator().manual_seed(seed)
    a, b = torch.randn(2, n, latent_dim, generator=random, dtype=torch.float64)
    t = torch.rand(n, 1, generator=random, dtype=torch.float64)
    return _on_arc(a, b, t).float(), _on_arc(a, b, t + step).float()


def _on_arc(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Spherical interpolation at t (n, 1) between the rows of a and b; straight where they lie on one line."""
    angle = torch.arccos((unit_rows(a) * unit_rows(b)).sum(1, keepdim=True).clamp(-1, 1))
    curved = (((1 - t) * angle).sin() * a + (t * angle).sin() * b) / angle.sin()
    return torch.where(angle.sin() > 1e-6, curved, (1 - t) * a + t * b)
