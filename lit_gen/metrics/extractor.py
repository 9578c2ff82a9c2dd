"""What every extractor has in common: a frozen network that says in a vector what an image shows."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from lit_gen.errors import UserError


class Extractor(nn.Module, ABC):
    """Base of the extractors: a class with one file of its own, which YAML names.

    Its weights never learn and never enter a checkpoint: it belongs to what measures, not to the model.

    Attributes:
        name: For the names of the numbers, `efficientnet_lite0`, say: two extractors that see differently never share
            one, so whatever changes the features (another input size, other weights) is part of it.
        n_features: F.
    """

    name: str
    n_features: int

    @abstractmethod
    def forward(self, images: Tensor) -> Tensor:
        """Features (B, F) float32 of images (B, 1 or 3, H, W) in [-1, 1]."""

    def classify(self, features: Tensor) -> Tensor | None:
        """Logits (B, K) of the extractor's own classifier from its features (B, F); None where it has no classifier."""
        return None

    def freeze(self) -> None:
        """To be called at the end of a constructor."""
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Extractor:
        """Stays in eval mode, whatever is asked for."""
        return super().train(False)


def check_input_size(extractor: nn.Module, input_size: int) -> None:
    """Refuses images of which a network for photographs would see a single dot.

    Raises:
        UserError: They are smaller than 32 pixels.
    """
    if input_size < 32:
        raise UserError(
            f"{type(extractor).__name__}: found input_size {input_size}, expected 32 pixels or more. Type input_size: "
            "128, say."
        )
