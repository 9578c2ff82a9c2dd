"""Images of a batch stay as alike, or as different, as the source made them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from lit_gen.callbacks.feature_regulariser import FeatureRegulariser
from lit_gen.errors import UserError


class CrossDomainConsistency(FeatureRegulariser):
    """Cross-domain distance consistency: images keep their relations (Ojha et al. 2021, arXiv:2104.06820, eq. 1 to 3).

    Of each image the similarities to all others of its batch, cosines of a block's features, become a distribution by
    softmax; its divergence KL(source || adapted) is what is minimised, as a mean over images and blocks. A batch is
    that of one process.

    Args:
        weight: >= 0; the paper's lambda is 1000 for its batches of 4.
        modules: Patterns of the blocks whose features are compared; all blocks of the generators by default. For a VAE
            name decoder.blocks.

    Raises:
        UserError: `weight` is negative; while training, a batch of less than 3 images.
    """

    default = ["generator*.blocks"]
    log_name = "cross_domain_consistency"

    def __init__(self, weight: float = 1000.0, modules: list[str] | None = None) -> None:
        super().__init__(weight, modules or self.default)

    def compare(self, student: Sequence[Tensor], source: Sequence[Tensor]) -> Tensor:
        """KL in nats of each image's distribution over the others, mean over the batch."""
        if len(source[0]) < 3:
            raise UserError(
                f"CrossDomainConsistency: found a batch of {len(source[0])} images in this process, expected at least "
                "3: each is compared with two others or more.\nType --data.batch_size 4, say."
            )
        ours, theirs = log_similarities(student), log_similarities(source)
        return F.kl_div(ours, theirs, reduction="batchmean", log_target=True)


def log_similarities(features: Sequence[Tensor]) -> Tensor:
    """log softmax over j != i of the cosine between images i and j: (B, B - 1) from features (B, ...)."""
    with torch.autocast(features[0].device.type, enabled=False):
        rows = F.normalize(torch.cat([part.float().reshape(len(part), -1) for part in features], 1), dim=1)
        cosines = rows @ rows.T
    itself = torch.eye(len(rows), dtype=torch.bool, device=rows.device)
    return cosines[~itself].view(len(rows), -1).log_softmax(1)
