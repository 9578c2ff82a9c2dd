"""Exponential moving average of a generator's weights, measured in images."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from lit_gen.errors import UserError, nearest
from lit_gen.sampling import add_average


class EMA(Callback):
    """Moving average of named sub-modules, half-life in images with a ramp-up (Karras et al. 2020, appendix B).

    The average is a sub-module of the model, `generator_ema`, so that a checkpoint alone has it and `model.sample`
    uses it. It takes in the weights each time that a fiftieth of the half-life has passed: more often costs time and
    changes nothing that can be seen. Batch-norm statistics are averaged like weights; counters are copied. Lightning's
    own weight averaging would average the discriminator too.

    Args:
        half_life: Images after which a weight's share in the average has halved.
        ramp_up: The half-life is at most this share of the images seen so far, so that the start is forgotten; None
            turns it off.
        modules: Sub-modules of the model to average.
    """

    def __init__(
        self, half_life: float = 10_000, ramp_up: float | None = 0.05, modules: list[str] | None = None
    ) -> None:
        if not half_life > 0:
            raise UserError(f"EMA: half_life is {half_life}, but more than 0 images are needed, e.g. 10000.")
        if ramp_up is not None and not ramp_up > 0:
            raise UserError(f"EMA: ramp_up is {ramp_up}, but more than 0 is needed, e.g. 0.05, or null for none.")
        self.half_life = half_life
        self.ramp_up = ramp_up
        self.modules = modules or ["generator"]
        self.pairs: list[tuple[list[torch.Tensor], list[torch.Tensor], list[torch.Tensor], list[torch.Tensor]]] = []
        self.images_seen: int | None = None  # when the weights were last taken in

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        children = [name for name, _ in pl_module.named_children() if not name.endswith("_ema")]
        for name in self.modules:
            if name not in children:
                raise UserError(
                    f'EMA: {type(pl_module).__name__} has no sub-module "{name}", it has {", ".join(children)}.'
                    + nearest(name, children)
                )
            add_average(pl_module, name)

    @property
    def state_key(self) -> str:
        """Several averages may run side by side."""
        return f"EMA of {', '.join(self.modules)}"

    def state_dict(self) -> dict[str, int | None]:
        return {"images_seen": self.images_seen}

    def load_state_dict(self, state_dict: dict[str, int | None]) -> None:
        self.images_seen = state_dict["images_seen"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if pl_module.images_seen == 0 or self.images_seen is None:  # not resumed, or from a run without an average
            self.images_seen = pl_module.images_seen
        self.pairs = [
            _tensors(getattr(pl_module, f"{name}_ema")) + _tensors(getattr(pl_module, name)) for name in self.modules
        ]
        if pl_module.images_seen == 0:  # weights may have been loaded after `setup`
            self.average(keep=0.0)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        new_images = pl_module.images_seen - self.images_seen
        if new_images >= self.half_life_at(pl_module.images_seen) / 50:
            self.images_seen = pl_module.images_seen
            self.average(keep=self.decay(self.images_seen, new_images))

    def decay(self, images_seen: int, new_images: int) -> float:
        """Share of the old average that is kept after `new_images` more."""
        return 0.5 ** (new_images / max(self.half_life_at(images_seen), 1e-8))

    def half_life_at(self, images_seen: int) -> float:
        """The half-life in images, shorter during the ramp-up."""
        return self.half_life if self.ramp_up is None else min(self.half_life, self.ramp_up * images_seen)

    @torch.no_grad()
    def average(self, keep: float) -> None:
        mean = get_ema_multi_avg_fn(keep)
        for floats_ema, others_ema, floats, others in self.pairs:
            mean(floats_ema, floats, None)
            for to, value in zip(others_ema, others, strict=True):
                to.copy_(value)


def _tensors(network: nn.Module) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    tensors = [*network.parameters(), *network.buffers()]
    floating = [tensor for tensor in tensors if tensor.is_floating_point()]
    return floating, [tensor for tensor in tensors if not tensor.is_floating_point()]
