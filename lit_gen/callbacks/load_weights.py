"""Parameter transfer: a new run begins from old knowledge."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import nn

from lit_gen.callbacks.reinit_modules import ReinitModules
from lit_gen.errors import UserError
from lit_gen.paths import find_input
from lit_gen.transfer import lineage
from lit_gen.transfer.load import apply_plan, make_plan
from lit_gen.transfer.matching import Request
from lit_gen.transfer.plan import Plan, by
from lit_gen.transfer.source import Source, open_source


class LoadWeights(Callback):
    """Copies a source's weights into the model before training: transfer, not resuming (Pan & Yang 2010, section 3.3).

    Every tensor is copied, adapted by a named policy, or reported: what is neither matched nor declared is one error
    that lists them all, and nothing is loaded. Of optimizers, counters and schedules nothing comes along. A resumed run
    (`--ckpt_path`) keeps its own weights. The plan is in `transfer.json`, where the weights came from in
    `lineage.json`, and both in the checkpoint and in W&B.

    Args:
        source: Checkpoint of any run, .pt or .pth state dict, or .safetensors: a path, the folder of a run or of an
            experiment (its newest run), an fsspec URL (https://, s3://, gs://, hf://), or
            wandb://entity/project/artifact:alias.
        include: Globs of what to load, such as [generator, "discriminator.blocks.[0-2]"]; all by default.
        exclude: Globs of what not to load; what of the source is to be left unused may be named here too.
        rename: Regular expressions over the source's names and what replaces them, in order: {"^module.": ""}.
        on_mismatch: Policies for tensors of another shape, by glob: error (default), slice, pad, repeat, mean,
            interpolate, grow, grow_nearest or reinit; one name alone counts for all.
        as_built: Globs of what the source does not have and the model keeps as it was built.
        prefer_ema: Take the source's moving average of a network in place of its last weights.
        trust: Also read pickles that hold more than tensors. They can run any code with your rights.
    """

    def __init__(
        self,
        source: str,
        include: list[str] | None = None,
        exclude: list[str] | None = None,
        rename: dict[str, str] | None = None,
        on_mismatch: dict[str, str] | str | None = None,
        as_built: list[str] | None = None,
        prefer_ema: bool = True,
        trust: bool = False,
    ) -> None:
        self.source = source
        self.include = include
        self.exclude = exclude or []
        self.rename = rename or {}
        self.on_mismatch = {"*": on_mismatch} if isinstance(on_mismatch, str) else on_mismatch or {}
        self.as_built = as_built or []
        self.prefer_ema = prefer_ema
        self.trust = trust
        self.entry: dict[str, Any] = {}
        self.table: dict[str, Any] = {}

    @property
    def state_key(self) -> str:
        """Several sources may be loaded one after the other."""
        return f"LoadWeights from {self.source} of {self.include or 'all'}"

    def state_dict(self) -> dict[str, Any]:
        return {"entry": self.entry, "table": self.table}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.entry, self.table = state_dict["entry"], state_dict["table"]

    def open(self) -> Source:
        """The source, with its tensors on a memory map."""
        return open_source(self.source, "LoadWeights", self.trust)

    def plan(self, model: nn.Module, source: Source, class_names: Sequence[str] = ()) -> Plan:
        """What loading would do to each tensor of `model`, which may be on the meta device."""
        request = Request(
            self.include, self.exclude, self.rename, self.on_mismatch, self.as_built, self.prefer_ema, class_names
        )
        return make_plan(model, source, request)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Only here are modules on their device and wrapped, and is it known whether the run is a resumed one."""
        self._refuse_own_output(trainer)
        if trainer.ckpt_path is not None:
            if not self.entry:
                rank_zero_warn(
                    f"LoadWeights: {trainer.ckpt_path} is a run that did not begin from {self.source}; going on with "
                    "its own weights. To begin a new run from these weights leave --ckpt_path out."
                )
            return
        source = self.open()
        class_names = list(getattr(trainer.datamodule, "class_names", None) or [])
        plan = self.plan(pl_module, source, class_names)
        mark_reinitialised(plan, trainer.callbacks, pl_module, self)
        into = f"LoadWeights: {source.spec} ({source.family}) into {type(pl_module).__name__}"
        rank_zero_info(f"{into}\n{plan.table(all_rows=False)}\n(every tensor: transfer.json in the run's folder)")
        apply_plan(plan, pl_module)
        self.entry, self.table = lineage.entry(source, plan.summary()), plan.as_dict()
        self._write_down(plan, trainer)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if self.entry:
            checkpoint.setdefault("lineage", []).append(self.entry)
            checkpoint.setdefault("transfer", []).append(self.table)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The last checkpoint is written at the end of training, after this callback's turn there."""
        checkpoint = Path(trainer.default_root_dir) / "last.ckpt"
        if self.entry and checkpoint.is_file():
            for logger in trainer.loggers:
                if hasattr(logger, "log_checkpoint"):
                    logger.log_checkpoint(checkpoint, [self.entry])

    def _refuse_own_output(self, trainer: Trainer) -> None:
        if "://" in self.source or trainer.fast_dev_run:
            return
        place, folder = find_input(self.source).resolve(), Path(trainer.default_root_dir).resolve()
        if place == folder or folder in place.parents:
            raise UserError(
                f"LoadWeights: the source {self.source} is this run's own output. To go on with the run take "
                "LoadWeights out, or leave --ckpt_path out to begin a new run from it."
            )

    def _write_down(self, plan: Plan, trainer: Trainer) -> None:
        rows = [[row.name, by(row.source_shape), by(row.shape), row.says] for row in plan.rows]
        for logger in trainer.loggers:
            if hasattr(logger, "log_transfer"):
                logger.log_transfer(self.entry, rows)
        if trainer.is_global_zero and not trainer.fast_dev_run:
            folder = Path(trainer.default_root_dir)
            _add(folder / "lineage.json", self.entry)
            _add(folder / "transfer.json", self.table)


def mark_reinitialised(plan: Plan, callbacks: Sequence[Callback], model: nn.Module, loader: LoadWeights) -> None:
    """The table says what training begins with: what a later callback initialises afresh was not transferred.

    Raises:
        UserError: An earlier one initialises what is then loaded.
    """
    place = list(callbacks).index(loader)
    for index, callback in enumerate(callbacks):
        if not isinstance(callback, ReinitModules):
            continue
        selected = callback.selected(model)
        if index > place:
            plan.mark_reinitialised(selected, callback.classes)
        elif lost := sorted(selected & plan.values.keys()):
            raise UserError(
                f"LoadWeights: it stands behind ReinitModules, and would overwrite {lost[0]}, which that initialises.\n"
                "Put ReinitModules behind LoadWeights: the order of the list is the order in which they act."
            )


def _add(file: Path, found: dict[str, Any]) -> None:
    """One more transfer in a JSON list."""
    file.parent.mkdir(parents=True, exist_ok=True)
    earlier = json.loads(file.read_text()) if file.is_file() else []
    file.write_text(json.dumps([*earlier, found], indent=2) + "\n")
