"""What a source of weights holds: named tensors, memory-mapped, and what its file says about itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from lit_gen.checkpoint import load_file
from lit_gen.errors import UserError
from lit_gen.fetch import local_copy, sha256


@dataclass
class Source:
    """Weights to begin from.

    Attributes:
        spec: What the user typed.
        path: The local file.
        tensors: By dotted name; on a memory map, so that only what is read takes memory.
        recipe: `hyper_parameters` of a checkpoint that lit_gen wrote, else empty.
        images_seen: Of that model; None where the file does not say.
        class_names: Of the data that it learned from.
        run: Its run's `id` and `experiment`.
        metrics: The last that were logged before it was written.
        lineage: What it came from itself, as its checkpoint has it.
        sha256: Checksum of the file.
        adapters_alone: It holds what an AdapterCheckpoint wrote, and the rest lies in another file.
    """

    spec: str
    path: Path
    tensors: dict[str, Tensor]
    recipe: dict[str, Any] = field(default_factory=dict)
    images_seen: int | None = None
    class_names: list[str] = field(default_factory=list)
    run: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    lineage: list[dict[str, Any]] = field(default_factory=list)
    sha256: str = ""
    adapters_alone: bool = False

    @property
    def family(self) -> str:
        """The class of the model, as far as the file says."""
        return str(self.recipe.get("_class_path", "a file of weights")).rpartition(".")[2]


def open_source(spec: str, asker: str, trust: bool = False) -> Source:
    """Opens a checkpoint of ours, a state dict (.pt, .pth, .ckpt) or .safetensors, wherever it lies.

    Args:
        spec: See `lit_gen.fetch.local_copy`.
        asker: Whose option it is, for messages.
        trust: Also run the code of a pickle that holds more than tensors.

    Raises:
        UserError: It cannot be had or read, or holds code and is not trusted, or holds no tensors.
    """
    path = local_copy(spec, asker)
    if path.suffix == ".safetensors":
        return Source(spec, path, _read_safetensors(path, asker), sha256=sha256(path))
    held = load_file(path, asker, trust)
    if isinstance(held, torch.nn.Module):
        held = held.state_dict()
    if not isinstance(held, dict):
        raise UserError(f"{asker}: {path} holds a {type(held).__name__}, expected a dict of tensors by name.")
    tensors = flatten(held["state_dict"] if isinstance(held.get("state_dict"), dict) else held)
    if not tensors:
        raise UserError(f"{asker}: {path} holds no tensors (found {', '.join(map(str, held)) or 'nothing'}).")
    if not isinstance(held.get("images_seen"), int):  # not ours: nothing else in it means what it means here
        return Source(spec, path, tensors, sha256=sha256(path))
    return Source(
        spec,
        path,
        tensors,
        recipe=_entry(held, "hyper_parameters", dict),
        images_seen=held["images_seen"],
        class_names=[str(name) for name in _entry(_entry(held, "data", dict), "class_names", list)],
        run=_entry(held, "run", dict),
        metrics=_entry(held, "metrics", dict),
        lineage=[step for step in _entry(held, "lineage", list) if isinstance(step, dict)],
        sha256=sha256(path),
        adapters_alone="base" in held,
    )


def _entry(held: dict[str, Any], key: str, kind: type) -> Any:
    """What a checkpoint says under a key; of another kind, as in a damaged or foreign file, it says nothing."""
    found = held.get(key)
    return found if isinstance(found, kind) else kind()


def flatten(nested: dict[Any, Any], prefix: str = "") -> dict[str, Tensor]:
    """All tensors of nested dicts by dotted names: `{"G": {"w": ...}}` has `G.w`."""
    found = {}
    for key, value in nested.items():
        if isinstance(value, Tensor):
            found[f"{prefix}{key}"] = value
        elif isinstance(value, dict):
            found |= flatten(value, f"{prefix}{key}.")
    return found


def _read_safetensors(path: Path, asker: str) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dict)
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(
            f"{asker}: {path} is no readable .safetensors file ({path.stat().st_size:,} bytes): {error}"
        ) from error
