"""Learning rates that fall with the distance from a network's head."""

from __future__ import annotations

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn

from lit_gen.errors import UserError
from lit_gen.freezing import networks_of
from lit_gen.param_groups import set_rate, split
from lit_gen.selection import select


class LayerRates(Callback):
    """Each block learns `decay` times as fast as the one nearer the head (Howard & Ruder 2018, section 3.2).

    The head keeps the optimizer's rate, the last block gets `decay` times that, the block before it `decay` squared.
    What a network holds before its blocks, such as an embedding, learns as its first block, what it holds behind them
    as its head. It multiplies what Phases and the schedules say.

    Args:
        decay: Factor from one block to the one before it, in (0, 1]; the paper's is 1 / 2.6.
        networks: Globs of networks with blocks and a head; None takes every one that the model has.

    Raises:
        UserError: A glob matches nothing, or no network has blocks and a head.
    """

    def __init__(self, decay: float = 0.8, networks: list[str] | None = None) -> None:
        if not 0 < decay <= 1:
            raise UserError(f"LayerRates: decay is {decay}, expected more than 0 and at most 1. Type decay: 0.8.")
        self.decay = decay
        self.networks = networks

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit":
            self.factors(pl_module)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        factors = self.factors(pl_module)
        for optimizer in trainer.optimizers:
            split(optimizer, lambda parameter: factors.get(parameter, 1.0))
            for group in optimizer.param_groups:  # on resume, what is restored after this is the same
                group["rate_factor"] = factors.get(group["params"][0], 1.0)
                set_rate(group, group["lr"] * group["rate_factor"])

    def factors(self, model: nn.Module) -> dict[nn.Parameter, float]:
        """What the rate of each parameter is multiplied by; those that are not here keep theirs.

        Raises:
            UserError: See the class.
        """
        known = dict(networks_of(model))
        names = list(known) if self.networks is None else select(known, self.networks, "LayerRates.networks")
        found = [known[name] for name in names if isinstance(getattr(known[name], "blocks", None), nn.ModuleList)]
        if not found or (self.networks is not None and len(found) < len(names)):
            raise UserError(
                f"LayerRates: found no blocks in {', '.join(names)}, expected networks with `blocks` and a `head`.\n"
                f"{type(model).__name__} has {', '.join(known)}."
            )
        return {parameter: self.decay**depth for network in found for parameter, depth in depths_of(network).items()}


def depths_of(network: nn.Module) -> dict[nn.Parameter, int]:
    """How many blocks away from the head each parameter lies: 0 in the head, the number of blocks in the first."""
    depth, depths = len(network.blocks), {}
    for name, child in network.named_children():
        if name == "blocks":
            for block in child:
                depths |= dict.fromkeys(block.parameters(), depth)
                depth -= 1
        else:
            depths |= dict.fromkeys(child.parameters(), depth)
    return depths
