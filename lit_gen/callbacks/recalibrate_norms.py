"""BatchNorm statistics of a generator's moving average, from the maps that it computes itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from lit_gen.errors import UserError
from lit_gen.sampling import draw_latents


class RecalibrateNorms(Callback):
    """Gives the average of a generator its own BatchNorm statistics (Izmailov et al. 2018, arXiv:1803.05407, 3.2).

    EMA averages those of the generators that were. Maps of averaged weights vary less, and with the others' statistics
    images would too. Here the average makes a batch of its own now and then, in which BatchNorm normalises by that
    batch, and its statistics follow those of these batches.
    Name it behind EMA.

    Args:
        every: Images seen between two batches.
        n: Images of one such batch, 2 or more.
        momentum: Weight of the newest batch in the statistics, more than 0 and at most 1.
        seed: Of the latents; the stream that training draws from is left alone.

    Raises:
        UserError: An argument is outside these ranges, or no average of a generator with BatchNorm is there.
    """

    def __init__(self, every: int = 400, n: int = 128, momentum: float = 0.2, seed: int = 0) -> None:
        for name, value, least in (("every", every, 1), ("n", n, 2)):
            if value < least:
                raise UserError(f"RecalibrateNorms: {name} is {value}, expected at least {least}, e.g. {name}: 128.")
        if not 0 < momentum <= 1:
            raise UserError(
                f"RecalibrateNorms: momentum is {momentum}, expected more than 0 and at most 1, e.g. momentum: 0.2."
            )
        self.every = every
        self.n = n
        self.momentum = momentum
        self.seed = seed
        self.images_seen: int | None = None  # at the last batch
        self.statistics: list[Tensor] = []  # mean and variance of each layer, in turns

    def state_dict(self) -> dict[str, Any]:
        return {"images_seen": self.images_seen, "statistics": self.statistics}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.images_seen, self.statistics = state_dict["images_seen"], list(state_dict["statistics"])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not norms_of(pl_module):
            raise UserError(
                f"RecalibrateNorms: this {type(pl_module).__name__} has no moving average of a generator with "
                "BatchNorm.\nName it behind EMA, or leave it out."
            )
        if pl_module.images_seen == 0 or self.images_seen is None:  # not resumed, or from a run without it
            self.images_seen, self.statistics = pl_module.images_seen, []
        self.statistics = [values.to(pl_module.device) for values in self.statistics]

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if pl_module.images_seen - self.images_seen < self.every:
            return
        self.images_seen = pl_module.images_seen
        newest = self.measured(pl_module)
        held = self.statistics or newest
        self.statistics = [old.lerp(new, self.momentum) for old, new in zip(held, newest, strict=True)]
        # EMA goes on mixing the generator's own into these buffers, so they are written, and not moved on from.
        for layer, mean, variance in zip(norms_of(pl_module), self.statistics[::2], self.statistics[1::2], strict=True):
            layer.running_mean.copy_(mean)
            layer.running_var.copy_(variance)

    def measured(self, model: LightningModule) -> list[Tensor]:
        """Mean and variance of what comes into each layer, (C,) both, in turns; equal in all processes."""
        z = draw_latents(self.n, model.latent_dim, self.seed + model.images_seen)
        with by_batch(norms_of(model)) as found:
            model.decode(z, model.conditions(self.n))
        return found


def norms_of(model: LightningModule) -> list[_BatchNorm]:
    """The layers of the generator's average that have statistics."""
    modules = model.generator_ema.modules() if hasattr(model, "generator_ema") else ()
    return [module for module in modules if isinstance(module, _BatchNorm) and module.running_mean is not None]


@contextmanager
def by_batch(layers: list[_BatchNorm]) -> Iterator[list[Tensor]]:
    """Inside, these layers normalise by the batch, in eval mode too; collects mean and variance of each."""
    found: list[Tensor] = []

    def note(layer: _BatchNorm, inputs: tuple[Tensor, ...]) -> None:
        (x,) = inputs
        variance, mean = torch.var_mean(x, [0, *range(2, x.dim())])
        found.extend((mean, variance))

    held = [(layer.running_mean, layer.running_var) for layer in layers]
    hooks = [layer.register_forward_pre_hook(note) for layer in layers]
    for layer in layers:
        layer.running_mean = layer.running_var = None  # what makes torch take those of the batch
    try:
        yield found
    finally:
        for layer, hook, (mean, variance) in zip(layers, hooks, held, strict=True):
            layer.running_mean, layer.running_var = mean, variance
            hook.remove()
