"""Checkpoints of adapters alone: what training changed, and where the rest is to be found."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from pathlib import Path, PurePath
from typing import Any

import torch
from torch import Tensor

from lit_gen.checkpoint_content import as_written
from lit_gen.errors import UserError
from lit_gen.selection import matches_any
from lit_gen.transfer.naming import canonical_names
from lit_gen.transfer.source import Source, open_source

ASKER = "adapters"
# Where a checkpoint may send its reader; what a person types goes anywhere that fsspec knows.
PLACES = ("https://", "http://", "s3://", "gs://", "hf://", "wandb://")
# What a run goes on from; these checkpoints are for making images and for further transfer.
TRAINING_STATE = ("optimizer_states", "lr_schedulers", "callbacks", "loops", "MixedPrecision")


def slim(
    checkpoint: dict[str, Any], bases: Sequence[Source], adapters: Collection[str], exclude: Sequence[str]
) -> dict[str, Any]:
    """A checkpoint without what its sources hold already: every tensor that is equal, bit for bit, is borrowed there.

    Tensors are told by their content, so that it does not matter how names were changed on the way.

    Args:
        checkpoint: A whole one. Where it has the moving average of a network, that takes the network's place.
        bases: Where its weights came from.
        adapters: Keys of the adapters' weights, which are always kept.
        exclude: Globs of networks that are taken as the sources have them, whatever training made of them.

    Returns:
        The same without training state; `state_dict` has what is kept, `base` the files by path and checksum,
        `borrowed` the place of each other tensor there, and `left_out` what of `exclude` the sources do not have.
    """
    weights = averaged(checkpoint["state_dict"])
    by_content = {_digest(tensor): [i, key] for i, base in enumerate(bases) for key, tensor in base.tensors.items()}
    by_name = {name: [i, key] for i, base in enumerate(bases) for name, key in _plain(base.tensors).items()}
    names = canonical_names(weights)
    kept: dict[str, Tensor] = {}
    borrowed: dict[str, list[Any]] = {}
    left_out: list[str] = []
    for key, tensor in weights.items():
        if matches_any(key, exclude):
            place = by_name.get(names[key])
            if place is not None and bases[place[0]].tensors[place[1]].shape == tensor.shape:
                borrowed[key] = place
            else:
                left_out.append(key)
        elif key not in adapters and (digest := _digest(tensor)) in by_content:
            borrowed[key] = by_content[digest]
        else:
            kept[key] = tensor.clone()  # on its own: a view would bring all that it is a view of
    return {
        **without_training_state(checkpoint),
        "state_dict": kept,
        "base": [{"path": _place(base), "sha256": base.sha256} for base in bases],
        "borrowed": borrowed,
        "left_out": left_out,
    }


def completed(checkpoint: dict[str, Any], path: Path) -> dict[str, Any]:
    """The whole checkpoint again: what was borrowed is read from the sources, which have to be the same files.

    Args:
        checkpoint: As `slim` made it.
        path: Its file: sources are looked for where they were, then beside it.

    Raises:
        UserError: A source is missing or has another checksum.
    """
    with as_written(path):
        bases = [_open_base(base, path) for base in checkpoint["base"]]
        state = {key: bases[i].tensors[name] for key, (i, name) in checkpoint["borrowed"].items()}
    rest = {key: value for key, value in checkpoint.items() if key not in ("base", "borrowed")}
    return {**rest, "state_dict": state | checkpoint["state_dict"]}


def averaged(state: dict[str, Any]) -> dict[str, Any]:
    """A state dict in which the moving averages stand in for the networks that they average."""
    averages = {key.split(".")[0].removesuffix("_ema") for key in state if key.split(".")[0].endswith("_ema")}
    return {
        key.replace("_ema.", ".", 1) if key.split(".")[0].endswith("_ema") else key: tensor
        for key, tensor in state.items()
        if key.split(".")[0] not in averages
    }


def without_training_state(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint less what only a resumed run needs."""
    return {key: value for key, value in checkpoint.items() if key not in TRAINING_STATE}


def _plain(tensors: dict[str, Tensor]) -> dict[str, str]:
    """From the names that a model without wrappers has to those in a file, averages first."""
    return averaged({name: key for key, name in canonical_names(tensors).items()})


def _digest(tensor: Tensor) -> str:
    """Of a tensor's type, shape and values."""
    plain = tensor.detach().cpu().contiguous()
    found = hashlib.sha256(f"{plain.dtype} {tuple(plain.shape)} ".encode())
    found.update(plain.reshape(-1).view(torch.uint8).numpy())
    return found.hexdigest()


def _place(base: Source) -> str:
    return base.spec if "://" in base.spec else str(base.path.absolute())


def _open_base(base: dict[str, str], path: Path) -> Source:
    tried = []
    if "::" in base["path"] or ("://" in base["path"] and not base["path"].startswith(PLACES)):
        raise UserError(f"{path} names the address {base['path']}, expected one of {', '.join(PLACES)}.")
    for place in dict.fromkeys((base["path"], str(path.absolute().parent / PurePath(base["path"]).name))):
        try:
            source = open_source(place, ASKER)
        except UserError:
            tried.append(f"  {place}  missing or unreadable")
            continue
        if source.sha256 == base["sha256"]:
            return source
        tried.append(f"  {place}  another file, sha256 {source.sha256}")
    raise UserError(
        f"{path} holds adapters alone, and the weights that they adapt were not found, sha256 {base['sha256']}:\n"
        + "\n".join(tried)
        + f"\nPut the file {PurePath(base['path']).name} beside {path.name}, as it was when the adapters were trained."
    )
