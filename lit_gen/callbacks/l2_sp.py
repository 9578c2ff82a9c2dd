"""The squared distance of the weights from those that they start from."""

from __future__ import annotations

from lightning.pytorch import LightningModule
from torch import Tensor, nn

from lit_gen.callbacks.source_regulariser import SourceRegulariser, of_network
from lit_gen.errors import UserError
from lit_gen.selection import select_parameters


class L2SP(SourceRegulariser):
    """L2-SP: alpha/2 |w - w0|^2 + beta/2 |w'|^2 (Li, Grandvalet & Davoine 2018, arXiv:1802.01483, eq. 2).

    w are weights that came from the source and w0 what they were, w' those that begin anew. With an optimizer's
    weight_decay beside it the weights are drawn to 0 as well: leave that out.

    Args:
        weight: The paper's alpha, >= 0.
        modules: Patterns of w; None is everything that an optimizer trains, but for `fresh`.
        fresh: Patterns of w', such as a head that ReinitModules made anew: never drawn to where they start.
        beta: Weight of |w'|^2, >= 0; 0 leaves them free.

    Raises:
        UserError: A weight is negative, or `beta` has no `fresh` to apply to.
    """

    log_name = "l2_sp"

    def __init__(
        self,
        weight: float = 0.01,
        modules: list[str] | None = None,
        fresh: list[str] | None = None,
        beta: float = 0.0,
    ) -> None:
        super().__init__(weight, modules)
        if not beta >= 0:
            raise UserError(f"L2SP: beta is {beta}, expected 0 or more. Type beta: 0.01, say.")
        if beta and not fresh:
            raise UserError(
                f"L2SP: beta is {beta}, but `fresh` names nothing that begins anew. Type fresh: [discriminator.head], "
                "say, or leave beta out."
            )
        self.fresh = fresh or []
        self.beta = beta
        self.parameters: dict[str, nn.Parameter] = {}
        self.fresh_parameters: dict[str, nn.Parameter] = {}

    def choose(self, model: LightningModule, trained: dict[str, nn.Parameter]) -> None:
        fresh = select_parameters(model, self.fresh, "L2SP")
        self.fresh_parameters = {name: parameter for name, parameter in trained.items() if name in fresh}
        found = self.choose_parameters(model, trained)
        self.parameters = {name: parameter for name, parameter in found.items() if name not in fresh}
        if not self.parameters:
            raise self.not_trained()

    def remember(self, model: LightningModule) -> dict[str, Tensor]:
        return {name: parameter.detach().clone() for name, parameter in self.parameters.items()}

    def term(self, network: str) -> Tensor | None:
        """alpha/2 |w - w0|^2 + beta/2 |w'|^2 over the weights of one network."""
        parameters = of_network(self.parameters, network)
        distances = [(w - self.reference[name]).float().square().sum() for name, w in parameters.items()]
        sizes = [w.float().square().sum() for w in of_network(self.fresh_parameters, network).values()]
        if not distances and not (sizes and self.beta):
            return None
        return self.weight / 2 * sum(distances) + (self.beta / 2 * sum(sizes) if self.beta else 0)
