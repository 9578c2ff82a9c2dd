"""Say what a transfer will do to every tensor: plan --config experiments/gan_cat_silhouettes_freezed.yaml."""

from __future__ import annotations

import json
from typing import Any

import torch
from lightning.pytorch import Trainer

from lit_gen.callbacks.load_weights import LoadWeights, mark_reinitialised
from lit_gen.cli import LitGenCLI, run_lightning
from lit_gen.errors import UserError

HELP = """\
usage: python -m lit_gen plan --config YAML [options of fit] [--json]

Says what LoadWeights and ReinitModules in this configuration do to every tensor, with the shapes in the source and in
the model, and loads nothing. The model is built without memory for its weights, and no data is read.

  --json    the same as JSON, for programs
All other options are those of python -m lit_gen fit: the plan is of the run that they would make.
"""


class Preview(LitGenCLI):
    """Parses as `fit` does and builds the model on the meta device: shapes, and nothing to fill them."""

    def instantiate_trainer(self, **kwargs: Any) -> Trainer | None:
        """None: a plan trains nothing."""
        return None

    def instantiate_classes(self) -> None:
        with torch.device("meta"):
            super().instantiate_classes()

    def _run_subcommand(self, subcommand: str) -> None:
        """Nothing to run."""

    def plans(self) -> list[dict[str, Any]]:
        """The plan of each LoadWeights in the configuration, and each as text.

        Raises:
            UserError: There is none, or a transfer does not fit.
        """
        callbacks = self._get(self.config_init, "trainer")["callbacks"] or []
        callbacks = callbacks if isinstance(callbacks, list) else [callbacks]
        loaders = [callback for callback in callbacks if isinstance(callback, LoadWeights)]
        if not loaders:
            raise UserError(
                "plan: this configuration transfers nothing: there is no LoadWeights among trainer.callbacks.\nType "
                "--trainer.callbacks+=LoadWeights --trainer.callbacks.source CHECKPOINT"
            )
        found = []
        for loader in loaders:
            plan = loader.plan(self.model, loader.open(), self.class_names(loader))
            mark_reinitialised(plan, callbacks, self.model, loader)
            found.append(plan)
        return found

    def class_names(self, loader: LoadWeights) -> list[str]:
        """Those that the configuration names; where names decide, those of the data, which is read for them."""
        data = self.datamodule
        if "grow_nearest" in loader.on_mismatch.values():
            data.prepare_data()
            data.setup()
        return list(getattr(data, "class_names", None) or getattr(data, "classes", None) or [])


def plan(args: list[str]) -> None:
    """Say what a transfer will do to every tensor, with both shapes; nothing is loaded."""
    as_json = "--json" in args
    rest = [argument for argument in args if argument != "--json"]
    if not rest or rest[0] in ("-h", "--help"):
        print(HELP)
        return
    plans = run_lightning(["fit", *rest], Preview).plans()
    if as_json:
        print(json.dumps([found.as_dict() for found in plans], indent=2))
    else:
        for found in plans:
            print(f"{found.source['path']} ({found.source['model']}), sha256 {found.source['sha256']}\n")
            print(found.table(), end="\n\n")
