"""What a run that goes on is to be told, or refused, once its checkpoint has been brought back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_warn

from lit_gen.errors import UserError
from lit_gen.yaml_files import read_yaml

MAY_DIFFER = ("config", "trainer.default_root_dir", "trainer.max_", "model.init_args.max_images", "wandb", "experiment")
SHOWN = 5  # settings in a warning


def check_optimizers(trainer: Trainer) -> None:
    """Refuses optimizers that a training step cannot use, and those that a checkpoint's states are not of.

    Raises:
        UserError: Naming the class.
    """
    for optimizer in trainer.optimizers:
        name = type(optimizer).__name__
        if isinstance(optimizer, torch.optim.LBFGS | torch.optim.SparseAdam):
            needs = "a loss that can be taken again" if isinstance(optimizer, torch.optim.LBFGS) else "sparse gradients"
            raise UserError(f"{name} needs {needs}, which no model here has.\nType torch.optim.Adam, say.")
        missing = sorted({key for group in optimizer.param_groups for key in optimizer.defaults if key not in group})
        if missing:
            raise UserError(
                f"{trainer.ckpt_path} holds the state of another optimizer: {name} expects {', '.join(missing)}.\n"
                "Resume with those that the run began with, or begin a new run from its weights with LoadWeights."
            )


def tell_differences(config: Path, now: str) -> None:
    """Warns of settings that differ from those that a run began with, which its config.yaml keeps.

    Args:
        config: The run's config.yaml.
        now: The present configuration, as YAML.
    """
    try:
        before = dict(leaves(read_yaml(config)))
    except (OSError, yaml.YAMLError):  # a user's own business: it is shown to people, and read by nobody
        return
    present = dict(leaves(yaml.safe_load(now)))
    other = [key for key in {**before, **present} if before.get(key) != present.get(key)]
    other = [key for key in other if not key.startswith(MAY_DIFFER)]
    if other:
        told = [f"{key}: {present.get(key)} (it was {before.get(key)})" for key in other[:SHOWN]]
        more = f", and {len(other) - SHOWN} more" if len(other) > SHOWN else ""
        rank_zero_warn(
            f"This run goes on with other settings than those that it began with, which {config} keeps: "
            f"{'; '.join(told)}{more}. Learning rates and other settings of optimizers come from the checkpoint, "
            "whatever is typed."
        )


def leaves(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Each plain setting with its place; what lies in a list is named by its class, where it has one."""
    if isinstance(node, dict):
        for name, value in node.items():
            yield from leaves(value, f"{key}.{name}" if key else str(name))
    elif isinstance(node, list) and any(isinstance(item, dict) for item in node):
        for place, item in enumerate(node):
            path = item.get("class_path") if isinstance(item, dict) else None
            yield from leaves(item, f"{key}.{place if path is None else path.rpartition('.')[2]}")
    else:
        yield key, node
