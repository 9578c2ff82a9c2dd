"""A checkpoint of the adapters alone."""

from __future__ import annotations

from pathlib import Path

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn

from lit_gen.callbacks.load_weights import LoadWeights
from lit_gen.checkpoint import read
from lit_gen.errors import UserError
from lit_gen.transfer.adapters import slim
from lit_gen.transfer.source import Source


class AdapterCheckpoint(Callback):
    """Writes `adapters.ckpt`: what the run changed in its source's weights, at the end of training.

    A few percent of a checkpoint where all but the adapters is frozen, statistics included (Hu et al. 2021, section
    4.2), and as good to load: `lit_gen.load` and `predict` read the rest from the source, which has to be the same
    file, at its place or beside `adapters.ckpt`. It holds the averaged weights where there are any, and no optimizers:
    a run goes on from `last.ckpt`. What was trained besides the adapters is stored too, so that images are the same in
    any case.

    Args:
        exclude: Globs of networks that no image needs: they come back as the source has them, or untrained where it
            has none. The discriminators by default.
    """

    def __init__(self, exclude: list[str] | None = None) -> None:
        self.exclude = ["discriminator*"] if exclude is None else exclude
        self.bases: list[Source] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Opened now: a source that is gone at the end would cost the run."""
        self.bases = [callback.open() for callback in trainer.callbacks if isinstance(callback, LoadWeights)]
        if not self.bases:
            raise UserError(
                "AdapterCheckpoint: no LoadWeights is among the callbacks, so there is no source that the adapters "
                "belong to.\nAdd {class_path: LoadWeights, init_args: {source: PATH}} before it, or leave it out."
            )
        if not adapter_keys(pl_module):
            raise UserError(
                f"AdapterCheckpoint: no network of this {type(pl_module).__name__} has adapters.\nWrap one, such as "
                "--model.generator LowRank --model.generator.network DCGANGenerator, or leave the callback out."
            )

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.fast_dev_run:
            return
        path = Path(trainer.default_root_dir) / "adapters.ckpt"
        whole, unfinished = path.with_name(".adapters.ckpt.whole"), path.with_name(".adapters.ckpt.writing")
        trainer.save_checkpoint(whole, weights_only=True)  # every process takes part
        if not trainer.is_global_zero:
            return
        adapters = adapter_keys(pl_module)
        found = slim(read(whole), self.bases, adapters, self.exclude)
        entries = [callback.entry for callback in trainer.callbacks if isinstance(callback, LoadWeights)]
        torch.save({**found, "lineage": [entry for entry in entries if entry]}, unfinished)
        unfinished.replace(path)
        whole.unlink()
        parameters = {name for name, _ in pl_module.named_parameters()}
        others = [name for name in found["state_dict"] if name in parameters and name not in adapters]
        if others:
            rank_zero_warn(
                f"AdapterCheckpoint: {len(others)} weights beside the adapters are not the source's, such as "
                f"{others[0]}; {path} holds them too ({path.stat().st_size:,} bytes). To train adapters alone add "
                "{class_path: FreezeModules, init_args: {preset: all-but-adapters}}."
            )


def adapter_keys(model: LightningModule) -> set[str]:
    """The keys of the weights that adapters hold, in the model's state dict."""
    return {
        f"{name}.{key}"
        for name, module in model.named_modules()
        if getattr(module, "adapter", False) and not name.split(".")[0].endswith("_ema")
        for key in module.state_dict()
    }
