"""Where a class label enters: normalisation in a generator, the last layer in a discriminator."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lit_gen.errors import UserError
from lit_gen.networks.layers import spectral_normed


class Judgement(NamedTuple):
    """What a discriminator with an auxiliary classifier says of a batch.

    Attributes:
        logits: Real or fake, (B,).
        class_logits: Which class, (B, K).
    """

    logits: Tensor
    class_logits: Tensor


class ConditionalBatchNorm2d(nn.Module):
    """BatchNorm whose gain and bias belong to the class (Dumoulin et al. 2017, eq. 5; Miyato & Koyama 2018, section 5).

    Args:
        channels: Channels of the feature map.
        n_classes: Number of classes.
    """

    normalizes = True  # what freezes all but the normalisations leaves its gain and bias free

    def __init__(self, channels: int, n_classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.gain = nn.Parameter(torch.empty(n_classes, channels))
        self.bias = nn.Parameter(torch.empty(n_classes, channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Gain 1 and bias 0 for every class, running statistics afresh: at first a plain BatchNorm."""
        self.norm.reset_running_stats()
        nn.init.ones_(self.gain)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """gain[labels] * normalised(x) + bias[labels] for x (B, C, H, W) and labels (B,)."""
        gain, bias = (F.embedding(labels, table)[:, :, None, None] for table in (self.gain, self.bias))
        return torch.addcmul(bias, self.norm(x), gain)


class ProjectionHead(nn.Module):
    """One logit that knows the class: w.h + c + <embedding(y), h> (Miyato & Koyama 2018, eq. 3).

    Args:
        features: Length of h.
        n_classes: Number of classes.
        spectral: Spectral norm on every weight, the embedding's too.
        auxiliary_classifier: Also tell the class from h, for AuxiliaryClassifierLoss.
    """

    def __init__(self, features: int, n_classes: int, spectral: bool, auxiliary_classifier: bool) -> None:
        super().__init__()
        normed = spectral_normed if spectral else (lambda layer: layer)
        self.linear = normed(nn.Linear(features, 1))
        self.embedding = normed(nn.Embedding(n_classes, features))
        self.classifier = normed(nn.Linear(features, n_classes)) if auxiliary_classifier else None

    def forward(self, h: Tensor, labels: Tensor) -> Tensor | Judgement:
        """Logits (B,) from features h (B, F) and labels (B,); with a classifier a Judgement."""
        logits = self.linear(h).squeeze(1) + (self.embedding(labels) * h).sum(1)
        return logits if self.classifier is None else Judgement(logits, self.classifier(h))


def check_condition(network: nn.Module, condition: str) -> None:
    """Refuse a way in for labels that is not known.

    Raises:
        UserError: `condition` is neither `batch_norm` nor `embedding`.
    """
    if condition not in ("batch_norm", "embedding"):
        raise UserError(
            f"{type(network).__name__}: found condition {condition!r}, expected batch_norm or embedding.\n"
            "Type condition: batch_norm, say."
        )


def make_norm(channels: int, n_classes: int, condition: Literal["batch_norm", "embedding"]) -> nn.Module:
    """The normalisation of a conditional generator: of each class where labels enter there, else of all together."""
    if condition == "batch_norm":
        return ConditionalBatchNorm2d(channels, n_classes)
    return nn.BatchNorm2d(channels)
