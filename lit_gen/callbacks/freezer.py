"""What freezes has this in common: when it is set, how it is held, how several of them agree."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Set
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn

from lit_gen.errors import UserError
from lit_gen.freezing import hold, learning


class Freezer(Callback, ABC):
    """Base: what is frozen stays bit-identical: parameters, batch statistics, spectral-norm vectors.

    It is a function of the images seen alone, held anew at every batch, so that a resumed run goes on as it was. A part
    is frozen while any of the run's freezers says so. After the run everything learns again that learnt as built.
    """

    governed: Set[str] = frozenset()
    held_modules: dict[str, nn.Module] = {}
    held_parameters: dict[str, nn.Parameter] = {}

    @abstractmethod
    def find(self, model: nn.Module) -> set[str]:
        """Dotted names of all that is frozen at any time; the place to refuse what does not suit the model."""

    @abstractmethod
    def frozen(self, images_seen: int) -> Set[str]:
        """Dotted names of what is frozen after so many images; what is not among `find` is of no account."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit":  # before any freezer has begun: as built
            self.governed = learning(pl_module, self.find(pl_module))

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # No sooner: DDP forgets what is frozen when it wraps, and the ranks would drift apart once that is let loose;
        # and it is only now that SyncBatchNorm has replaced layers.
        self.held_modules = {name: m for name, m in pl_module.named_modules() if name in self.governed}
        self.held_parameters = {name: p for name, p in pl_module.named_parameters() if name in self.governed}
        self.hold(trainer, pl_module)
        trained = (p for optimizer in trainer.optimizers for group in optimizer.param_groups for p in group["params"])
        if not any(parameter.requires_grad for parameter in trained):
            raise UserError(
                f"{type(self).__name__}: everything that an optimizer trains is frozen, so that nothing would be "
                "learnt.\nSomething that an optimizer trains has to learn: freeze less, or name more as trainable. All "
                "callbacks that freeze count together."
            )

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self.hold(trainer, pl_module)

    def hold(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Freezes and lets loose as all freezers of the run together say."""
        freezers = (callback for callback in trainer.callbacks if isinstance(callback, Freezer))
        frozen = set().union(*(freezer.frozen(pl_module.images_seen) for freezer in freezers))
        hold(self.held_modules, self.held_parameters, frozen)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        hold(self.held_modules, self.held_parameters, ())
        self.held_modules, self.held_parameters = {}, {}
