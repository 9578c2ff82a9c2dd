"""A run that was interrupted and goes on is the run that would have been."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn

from lit_gen.errors import UserError
from lit_gen.random_streams import put_back, seed_all, streams
from lit_gen.ranks import Ranks

KEPT = ("random_streams", "gradients", "metrics")  # of a checkpoint, for when the training begins


class ExactResume(Callback):
    """Keeps in the checkpoint what a run needs to go on bit for bit beside weights, optimizers and callbacks.

    These are the random streams of every process, the place in the epoch, gradients of an update that takes further
    batches, and the latest metrics. Metrics are in their files up to each checkpoint. Validation draws from streams of
    its own, the same each time: how often there is one changes nothing. The order of images is the data module's own
    affair. It goes behind all callbacks that draw; the command line puts it there.
    """

    def __init__(self) -> None:
        self.kept: dict[str, Any] = {}
        self.outside: dict[str, Any] | None = None  # the training's streams, while there is a validation

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self.kept = {name: checkpoint[name] for name in KEPT if name in checkpoint}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Everything before this was a matter of starting, and no part of the run."""
        if trainer.ckpt_path is None:
            return
        kept, self.kept = self.kept, {}
        self._restore_streams(kept.get("random_streams"), trainer, pl_module)
        gradients = kept.get("gradients", {})
        for name, parameter in pl_module.named_parameters():
            if name in gradients:
                parameter.grad = gradients[name].to(parameter)
        trainer.callback_metrics.update(kept.get("metrics", {}))
        max_images = getattr(pl_module, "max_images", None)
        if max_images is not None and pl_module.images_seen >= max_images:
            trainer.should_stop = True  # it was interrupted after its last batch

    def _restore_streams(self, found: list[dict[str, Any]] | None, trainer: Trainer, model: LightningModule) -> None:
        if found is not None and len(found) == trainer.world_size:
            try:
                put_back(found[trainer.global_rank], model.device)
            except (KeyError, TypeError, ValueError, RuntimeError) as error:
                raise UserError(
                    f"{trainer.ckpt_path} holds random streams that are none ({error}). Go on from another checkpoint "
                    "that lit_gen wrote, or begin a new run from its weights with LoadWeights."
                ) from error
            return
        then = f"of {len(found)} processes" if found else "without random streams"
        rank_zero_warn(
            f"{trainer.ckpt_path} is a checkpoint {then}: this run of {trainer.world_size} draws other numbers than "
            "an uninterrupted one would."
        )
        seed_all((model.images_seen + trainer.global_rank) % 2**32)  # numbers that have not been drawn before

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.outside = streams(pl_module.device)
        seed_all(trainer.global_rank)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        put_back(self.outside, pl_module.device)
        self.outside = None

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        for logger in trainer.loggers:
            logger.save()
        accumulate = max(trainer.accumulate_grad_batches, getattr(pl_module, "accumulate_batches", 1))
        rewind(checkpoint["loops"]["fit_loop"], trainer.num_training_batches, trainer.accumulate_grad_batches)
        checkpoint["random_streams"] = Ranks.of(trainer).collect(self.outside or streams(pl_module.device))
        if accumulate > 1:
            checkpoint["gradients"] = {n: p.grad for n, p in pl_module.named_parameters() if p.grad is not None}


def rewind(loop: dict[str, Any], epoch_batches: float, accumulate: int) -> None:
    """Brings the counters that a checkpoint has of the Trainer's fit loop to what has been done, and no more.

    Between two batches they have the next one already, which was fetched; at the end of a run that stopped within an
    epoch they have the whole epoch. Lightning goes on within an epoch exactly where it stands at the end of a batch,
    before that is counted as completed: so they are set.

    Args:
        loop: State dict of the loop.
        epoch_batches: Batches of an epoch.
        accumulate: Batches that the Trainer makes one update of.
    """
    epochs, batches = loop["epoch_progress"], loop["epoch_loop.batch_progress"]
    now, epoch = batches["current"], epochs["current"]
    done, fetched = now["processed"], now["ready"] > now["processed"]
    if not fetched and (now["completed"] < done or epoch["processed"] < epoch["ready"]):
        return  # at the end of a batch, or in the validation that follows
    last_validation = loop["epoch_loop.val_loop.batch_progress"]  # nothing of it is to be done again
    last_validation["is_last_batch"] = False
    for count in (last_validation["total"], last_validation["current"]):
        count.update(dict.fromkeys(count, 0))
    if fetched:
        batches["is_last_batch"] = False
        for count in (batches["total"], now):
            count["ready"] = count["started"] = count["processed"]
        if done == 0:  # the epoch was begun with this batch
            for count in (epochs["total"], epoch):
                count["ready"] = count["started"] = count["processed"]
            return
    elif done == epoch_batches or epoch["ready"] == 0:
        return
    else:  # the epoch was broken off
        for count in (epochs["total"], epoch):
            count["processed"] = count["completed"] = count["ready"] - 1
    for count in (batches["total"], now):
        count["completed"] = count["processed"] - 1
    if done % accumulate == 0:
        loop["epoch_loop.state_dict"]["_batches_that_stepped"] -= 1
