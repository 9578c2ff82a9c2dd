"""MineGAN (Wang et al. 2020, arXiv:1912.05270): find what is wanted in the latent space of a trained generator."""

from __future__ import annotations

from torch import Tensor, nn

from lit_gen.errors import UserError
from lit_gen.networks.layers import check_positive
from lit_gen.networks.wrapper import Wrapper


class Miner(Wrapper):
    """G(M(u)): a small network M moves latents u to where G makes the wanted images (Wang et al. 2020, section 3.1).

    M(u) = u + MLP(u) with a last layer of zeros, so that training starts from the source's own samples, bit for bit; in
    the paper M is the MLP alone. The latents of M and G are therefore of one length. Freeze the generator at first, as
    the paper does; letting it go later is its second stage.

    Args:
        network: Generator or decoder, from z (B, Z) and labels where it takes them.
        hidden: Widths of the hidden layers of M.

    Raises:
        UserError: The network begins with no latents, or a width is smaller than 1.
    """

    def __init__(
        self,
        network: nn.Module,
        hidden: list[int] = [128, 128],  # noqa: B006 (copied, never changed; None would hide the widths)
    ) -> None:
        super().__init__(network)
        check_positive(self, **({f"hidden[{i}]": width for i, width in enumerate(hidden)} or {"len(hidden)": 0}))
        if not hasattr(network, "latent_dim"):
            raise UserError(
                f"Miner: {type(network).__name__} has no latent_dim, so there are no latents to mine.\nWrap a "
                "generator that begins with z, such as DCGANGenerator."
            )
        self.hidden = list(hidden)
        layers: list[nn.Module] = []
        for before, after in zip([network.latent_dim, *hidden], hidden, strict=False):
            layers += [_MinerLayer(before, after), nn.LeakyReLU(0.2, inplace=True)]
        self.miner = nn.Sequential(*layers, _LastMinerLayer(hidden[-1], network.latent_dim))

    def forward(self, z: Tensor, *labels: Tensor) -> Tensor:
        """What the generator makes of mined latents, from z (B, Z) and labels (B,) where it takes them."""
        if z.dim() != 2 or z.shape[1] != self.network.latent_dim:
            raise UserError(
                f"Miner: found inputs of shape {tuple(z.shape)}, expected latents (B, {self.network.latent_dim}).\n"
                "Wrap a generator or a decoder; what takes images has nothing to mine."
            )
        return self.network(z + self.miner(z), *labels)

    def merge(self) -> nn.Module:
        """Refused: no weight of the generator can take in a nonlinear function of z.

        Raises:
            UserError: Always.
        """
        raise UserError(
            "Miner cannot be merged: it is a nonlinear function before the generator, which no weight of the generator "
            "can take in.\nUse the checkpoint as it is: it loads and samples like any other."
        )


class _MinerLayer(nn.Linear):
    """A hidden layer of the miner, with torch's own initialisation."""

    adapter = True


class _LastMinerLayer(_MinerLayer):
    """The step from u to the mined latents."""

    def reset_parameters(self) -> None:
        """Zeros: at first no latent is moved."""
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)
