"""Structure transfer: a network as a checkpoint records it, with fresh weights and declared changes."""

from __future__ import annotations

import copy
import inspect
from typing import Any

from torch import nn

from lit_gen.checkpoint import read
from lit_gen.errors import UserError, nearest
from lit_gen.fetch import local_copy
from lit_gen.packages import import_class

ASKER = "FromCheckpoint"


def recorded(source: str, module: str, overrides: dict[str, Any] | None = None) -> dict[str, Any]:
    """The `class_path` and `init_args` of a network that a checkpoint was trained with.

    Args:
        source: See `lit_gen.fetch.local_copy`.
        module: Dotted name of a network in the recipe, such as `generator` or `encoder.features`.
        overrides: Constructor arguments that are to be different; dotted names reach into networks inside.

    Raises:
        UserError: The checkpoint has no recipe or no such network, or the network has no such argument.
    """
    path = local_copy(source, ASKER)
    recipe = read(path).get("hyper_parameters", {})
    found = _find(recipe, module, f"{source}")
    network = copy.deepcopy(found)
    for name, value in (overrides or {}).items():
        *inside, argument = name.split(".")
        owner = _find({"": network}, ".".join(["", *inside]), source) if inside else network
        known = _arguments(owner, source)
        if argument not in known:
            raise UserError(
                f"{ASKER}: overrides name {name}, but {owner['class_path'].rpartition('.')[2]} of {source} has "
                f"{', '.join(known)}.{nearest(argument, known)}"
            )
        owner.setdefault("init_args", {})[argument] = value
    return network


def build(recipe: dict[str, Any], source: str) -> nn.Module:
    """The network of a `class_path` and `init_args`, networks inside included; nothing but classes is imported."""
    made = {key: build(value, source) if _is_recipe(value) else value for key, value in _init_args(recipe).items()}
    try:
        return import_class(recipe["class_path"], source, nn.Module)(**made)
    except TypeError as error:
        raise UserError(f"{ASKER}: {recipe['class_path']} of {source} cannot be built: {error}") from error


def _find(recipe: dict[str, Any], module: str, source: str) -> dict[str, Any]:
    place: Any = recipe
    for part in module.split("."):
        options = _init_args(place) if _is_recipe(place) else place
        networks = [name for name, value in options.items() if _is_network(value, source)]
        if part not in networks:
            raise UserError(
                f"{ASKER}: {source} records no network {module!r}"
                + (f", but {', '.join(networks)}.{nearest(part, networks)}" if networks else ": it has no recipe.")
                + f"\nType python -m lit_gen inspect {source} for what it holds."
            )
        place = options[part]
    return place


def _is_recipe(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("class_path"), str)


def _is_network(value: Any, source: str) -> bool:
    try:
        return _is_recipe(value) and bool(import_class(value["class_path"], source, nn.Module))
    except UserError:  # a loss, an optimizer, or a class that is not to be had here
        return False


def _init_args(recipe: dict[str, Any]) -> dict[str, Any]:
    return recipe.get("init_args") or {}


def _arguments(recipe: dict[str, Any], source: str) -> list[str]:
    network = import_class(recipe["class_path"], source, nn.Module)
    return [name for name in inspect.signature(network.__init__).parameters if name != "self"]
