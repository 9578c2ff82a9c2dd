"""Features stay near those that the source has of the same inputs."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from lit_gen.callbacks.feature_regulariser import FeatureRegulariser


class FeatureDistillation(FeatureRegulariser):
    """|features - source's|^2 / |source's|^2 on the same inputs, mean over blocks (hints: Romero et al. 2015, eq. 3).

    Romero et al.: arXiv:1412.6550. For a discriminator, whose inputs are the real images of the target, it is DELTA
    with equal attention to all channels (Li et al. 2019, arXiv:1901.09229). The division makes blocks of any size and
    scale weigh alike; the papers' own distances are not divided.

    Args:
        weight: >= 0.
        modules: Patterns of the blocks whose features are compared, of generators, discriminators, encoders or
            decoders; all blocks of the discriminators by default. A network's own name is its output.

    Raises:
        UserError: `weight` is negative.
    """

    default = ["discriminator*.blocks"]
    log_name = "feature_distillation"

    def __init__(self, weight: float = 1.0, modules: list[str] | None = None) -> None:
        super().__init__(weight, modules or self.default)

    def compare(self, student: Sequence[Tensor], source: Sequence[Tensor]) -> Tensor:
        """The squared distance of one block's features, in units of their own squared length."""
        distance = sum((ours - theirs).float().square().sum() for ours, theirs in zip(student, source, strict=True))
        length = sum(theirs.float().square().sum() for theirs in source)
        return distance / length.clamp(min=1e-12)
