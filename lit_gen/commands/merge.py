"""Fold low-rank adapters into plain weights: merge last.ckpt --out merged.ckpt."""

from __future__ import annotations

import copy
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import nn

import datamodules.paths
from lit_gen.checkpoint import load_model, read
from lit_gen.errors import UserError
from lit_gen.files import unlinked
from lit_gen.run_folder import existing_checkpoint
from lit_gen.transfer.adapters import without_training_state

# Of a checkpoint of adapters alone; the merged one stands by itself.
BORROWING = ("base", "borrowed", "left_out")


def merge(ckpt_path: str, out: str = "merged.ckpt") -> None:
    """Fold low-rank adapters into plain weights: a checkpoint that looks as if nothing had been wrapped.

    It makes the same images, and later runs, `predict` and `lit_gen.load` see plain networks. It has no optimizers: no
    run can go on from it.

    Args:
        ckpt_path: Checkpoint, the folder of a run, or an `adapters.ckpt`.
        out: File to write; one of the same name is replaced.
    """
    source = existing_checkpoint(datamodules.paths.find_input(ckpt_path))
    path = Path(out)
    if path.resolve() == source.resolve():
        raise UserError(f"merge: --out {out} is the checkpoint itself. Name another file, such as --out merged.ckpt.")
    model = load_model(source)
    checkpoint = {key: value for key, value in read(source).items() if key not in BORROWING}
    recipe = copy.deepcopy(checkpoint["hyper_parameters"])
    merged = [name for name, child in list(model.named_children()) if _merge(model, name, child, recipe)]
    if not merged:
        names = ", ".join(f"{name} is a {type(child).__name__}" for name, child in model.named_children())
        raise UserError(f"merge: nothing in {source} is wrapped: {names}.\nUse it as it is.")
    whole = {
        **without_training_state(checkpoint),
        "state_dict": model.state_dict(),
        "hyper_parameters": recipe,
    }
    _write(whole, path)
    print(f"{path}: {', '.join(merged)} without wrappers ({path.stat().st_size:,} bytes)")


def _merge(model: nn.Module, name: str, child: nn.Module, recipe: dict[str, Any]) -> bool:
    """Replaces a wrapped network of the model, and what the recipe says of it; whether it was wrapped."""
    if not hasattr(child, "wraps"):
        return False
    while hasattr(child, "wraps"):
        if name in recipe:  # the recipe has no moving averages
            recipe[name] = recipe[name]["init_args"][child.wraps]
        child = child.merge()
    setattr(model, name, child)
    return True


def _write(checkpoint: dict[str, Any], path: Path) -> None:
    unfinished = unlinked(path.with_name(f".{path.name}.writing"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(checkpoint, unfinished)
        unfinished.replace(path)
    except (OSError, RuntimeError) as error:
        raise UserError(f"--out {path} cannot be written ({error}). Name a file that you may write.") from error
    finally:
        with suppress(OSError):  # there is none, nor perhaps a folder for it
            unfinished.unlink()
