"""What all regularisers towards the source share: a weight, what they apply to, and the source, saved with the run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn

from lit_gen.callbacks.load_weights import LoadWeights
from lit_gen.errors import UserError
from lit_gen.freezing import networks_of
from lit_gen.selection import matches_any, names_of, select_parameters


class SourceRegulariser(Callback, ABC):
    """Base of the terms that keep a model near the weights that it starts from; they may be stacked.

    The source is the model as it stands when this callback's turn comes: list it after LoadWeights and ReinitModules.
    It is saved with the run, so that a resumed one has the same source and does not need the file that it came from.
    During `fit` the callback stands in `model.regularisers`; each training step adds `regulariser(network, ...)` to the
    loss of the networks that learn from this loss, and logs `train/<name>`.

    Args:
        weight: What the term is multiplied by, >= 0.
        modules: Patterns of what it applies to; None is everything that an optimizer trains.

    Raises:
        UserError: `weight` is negative.
    """

    default: list[str] | None = None  # what `modules` is where nobody names any
    log_name: str  # the term is logged as train/<log_name>, a second one of a class as train/<log_name>_2

    def __init__(self, weight: float, modules: list[str] | None) -> None:
        if not weight >= 0:
            raise UserError(f"{type(self).__name__}: weight is {weight}, expected 0 or more. Type weight: 1.0, say.")
        self.weight = weight
        self.modules = modules
        self.name = self.log_name
        self.reference: dict[str, Tensor] = {}
        self.restored = False
        self.latest: dict[str, Tensor] = {}  # the term of each network; not every network learns in every step

    @abstractmethod
    def choose(self, model: LightningModule, trained: dict[str, nn.Parameter]) -> None:
        """Finds what the term compares, among the parameters that the optimizers train.

        Raises:
            UserError: A pattern matches nothing, or nothing that is trained.
        """

    @abstractmethod
    def remember(self, model: LightningModule) -> dict[str, Tensor]:
        """The source, from the model as it stands."""

    @abstractmethod
    def term(self, network: str) -> Tensor | None:
        """The weighted term of one sub-module of the model, a scalar; None where there is nothing to compare."""

    def __call__(self, *networks: str) -> Tensor:
        """The term of these sub-modules of the model, a scalar that joins their loss; it is 0 at the source."""
        terms = {network: term for network in networks if (term := self.term(network)) is not None}
        self.latest |= {network: term.detach() for network, term in terms.items()}
        return sum(terms.values(), torch.zeros(()))

    @property
    def value(self) -> Tensor:
        """The term of all networks, each as of its last turn."""
        return sum(self.latest.values(), torch.zeros(()))

    @property
    def state_key(self) -> str:
        """Several of one class may run side by side."""
        return f"{type(self).__name__} of {', '.join(self.modules or ['all'])}"

    def state_dict(self) -> dict[str, dict[str, Any]]:
        return {"reference": dict(self.reference), "latest": dict(self.latest)}

    def load_state_dict(self, state_dict: dict[str, dict[str, Any]]) -> None:
        self.reference, self.latest = dict(state_dict["reference"]), dict(state_dict["latest"])
        self.restored = True

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not hasattr(pl_module, "regularisers"):
            raise UserError(
                f"{type(self).__name__}: the training step of {type(pl_module).__name__} adds no regularisers. "
                "Leave it out of the callbacks."
            )
        self.check_order(trainer)
        ids = {id(p) for optimizer in trainer.optimizers for group in optimizer.param_groups for p in group["params"]}
        trained = {name: p for name, p in pl_module.named_parameters() if id(p) in ids}
        names = names_of(pl_module)
        if self.modules == self.default and not any(matches_any(name, self.default or ["*"]) for name in names):
            raise UserError(
                f"{type(self).__name__}: its default, modules: {self.default}, matches nothing of this "
                f"{type(pl_module).__name__}, which has {', '.join(name for name, _ in networks_of(pl_module))}.\nName "
                "networks or their blocks: modules: [decoder.blocks], say."
            )
        self.choose(pl_module, trained)
        if trainer.ckpt_path is not None and not self.restored:
            rank_zero_warn(
                f"{type(self).__name__}: {trainer.ckpt_path} was saved without it, so that the source is the model as "
                "this checkpoint has it."
            )
        if not self.restored:
            self.reference, self.latest = self.remember(pl_module), {}
        self.reference = {name: value.to(pl_module.device) for name, value in self.reference.items()}
        self.restored = False
        self.join(pl_module)

    def check_order(self, trainer: Trainer) -> None:
        """The source has to be there when its turn comes.

        Raises:
            UserError: It is loaded only later.
        """
        loaders = [index for index, callback in enumerate(trainer.callbacks) if isinstance(callback, LoadWeights)]
        name = type(self).__name__
        if loaders and loaders[-1] > trainer.callbacks.index(self):
            raise UserError(
                f"{name}: LoadWeights stands behind it, so that it would hold the model to weights that nothing has "
                f"learnt.\nPut {name} behind LoadWeights: the order of the list is the order in which they act."
            )
        if not loaders and trainer.ckpt_path is None:
            rank_zero_warn(
                f"{name}: nothing is loaded (there is no LoadWeights), so that it holds the model to the weights that "
                "it begins with."
            )

    def join(self, model: LightningModule) -> None:
        """Takes its place in the training step, under a name that no other regulariser has."""
        self.leave(model)
        others = sum(type(other) is type(self) for other in model.regularisers)
        self.name = self.log_name + (f"_{others + 1}" if others else "")
        model.regularisers.append(self)

    def leave(self, model: LightningModule) -> None:
        """Gives the place up again."""
        if self in getattr(model, "regularisers", []):
            model.regularisers.remove(self)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit":
            self.leave(pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self.leave(pl_module)

    def not_trained(self) -> UserError:
        """What a selection is answered with that no optimizer trains."""
        return UserError(
            f"{type(self).__name__}: no optimizer trains anything of what {', '.join(self.modules or ['all'])} "
            'matches, so that it would do nothing.\nName networks that learn, modules: ["generator"], say.'
        )

    def choose_parameters(self, model: LightningModule, trained: dict[str, nn.Parameter]) -> dict[str, nn.Parameter]:
        """The trained parameters that `modules` matches, by name.

        Raises:
            UserError: There are none.
        """
        found = trained
        if self.modules is not None:
            chosen = select_parameters(model, self.modules, type(self).__name__)
            found = {name: parameter for name, parameter in trained.items() if name in chosen}
        if not found:
            raise self.not_trained()
        return found


def of_network(tensors: dict[str, Any], network: str) -> dict[str, Any]:
    """Those of the dotted names that lie in one sub-module of the model."""
    return {name: tensor for name, tensor in tensors.items() if name.startswith(f"{network}.")}
