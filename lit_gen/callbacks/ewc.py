"""The distance of the weights from the source's, each by how much the source's own samples depend on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from lit_gen.callbacks.source_regulariser import SourceRegulariser, of_network
from lit_gen.errors import UserError
from lit_gen.sampling import evaluating

FISHER = "fisher/"


class EWC(SourceRegulariser):
    """Elastic weight consolidation: lambda/2 sum F_i (w_i - w0_i)^2 (Kirkpatrick et al. 2017, arXiv:1612.00796, eq. 3).

    F is the diagonal of the Fisher information, the mean squared gradient of the loss of one image; the images are the
    source's own, so that its data is not needed (Li et al. 2020, arXiv:2012.02780, for GANs). A model says by
    `own_losses(n)` what its images are and what loss they have. The networks are in eval mode meanwhile.

    F as it comes depends on the size of the network and on the scale of its loss: the useful lambda then lies anywhere
    from 1 to 1e9. Divided by its mean it only says which weights matter more than others, and lambda means what alpha
    means for L2SP, which is EWC with F = 1.

    Args:
        weight: The papers' lambda, >= 0.
        modules: Patterns of what is held; the generators by default. For a VAE name encoder and decoder.
        n_samples: Images that F is estimated from.
        seed: Of these images: every process estimates the same F. Torch's own random stream is left as it was.
        normalize: Divide F by its mean over all weights that are held; false is the papers' own scale.

    Raises:
        UserError: `weight` is negative or `n_samples` is less than 1.
    """

    default = ["generator*"]
    log_name = "ewc"

    def __init__(
        self,
        weight: float = 0.1,
        modules: list[str] | None = None,
        n_samples: int = 256,
        seed: int = 0,
        normalize: bool = True,
    ) -> None:
        super().__init__(weight, modules or self.default)
        if n_samples < 1:
            raise UserError(f"EWC: n_samples is {n_samples}, expected at least 1. Type n_samples: 256.")
        self.n_samples = n_samples
        self.seed = seed
        self.normalize = normalize
        self.parameters: dict[str, nn.Parameter] = {}

    def choose(self, model: LightningModule, trained: dict[str, nn.Parameter]) -> None:
        self.parameters = self.choose_parameters(model, trained)

    def remember(self, model: LightningModule) -> dict[str, Tensor]:
        """w0 by the names of the weights, F by the same names behind a prefix."""
        if not hasattr(model, "own_losses"):
            raise UserError(f"EWC: {type(model).__name__} makes no images to estimate from. Use L2SP in its place.")
        weights = {name: w.detach().clone() for name, w in self.parameters.items()}
        return weights | {FISHER + name: value for name, value in self.fisher(model).items()}

    def fisher(self, model: LightningModule) -> dict[str, Tensor]:
        """The diagonal of the Fisher information, of each weight, by its name.

        Raises:
            UserError: It is 0 everywhere, or not finite.
        """
        weights = list(self.parameters.values())
        squares = [torch.zeros_like(w, dtype=torch.float32) for w in weights]
        with torch.random.fork_rng(devices=[]), evaluating(model), torch.enable_grad(), learning(weights):
            torch.default_generator.manual_seed(self.seed)
            for loss in model.own_losses(self.n_samples):
                gradients = torch.autograd.grad(loss, weights, allow_unused=True)
                for square, gradient in zip(squares, gradients, strict=True):
                    if gradient is not None:
                        square += gradient.float().square() / self.n_samples
        mean = sum(square.sum() for square in squares) / sum(square.numel() for square in squares)
        if not (mean > 0 and mean.isfinite()):
            raise UserError(
                f"EWC: the Fisher information of {', '.join(self.modules)} is {mean.item():g} on average, expected a "
                "number above 0.\nName the networks that make the images (modules), and load a source that makes some."
            )
        scale = mean if self.normalize else torch.ones_like(mean)
        return {name: square / scale for name, square in zip(self.parameters, squares, strict=True)}

    def term(self, network: str) -> Tensor | None:
        """lambda/2 sum_i F_i (w_i - w0_i)^2 over the weights of one network."""
        terms = [
            (self.reference[FISHER + name] * (w - self.reference[name]).square()).sum()
            for name, w in of_network(self.parameters, network).items()
        ]
        return self.weight / 2 * sum(terms) if terms else None


@contextmanager
def learning(weights: list[nn.Parameter]) -> Iterator[None]:
    """Gradients for weights that are frozen at the moment as well: they may learn later."""
    before = [w.requires_grad for w in weights]
    try:
        for w in weights:
            w.requires_grad_(True)
        yield
    finally:
        for w, required in zip(weights, before, strict=True):
            w.requires_grad_(required)
