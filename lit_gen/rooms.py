"""The rooms of the house, imported by walking them, so that a bare class name is enough in YAML."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from types import ModuleType

ROOMS = {
    "models": "lit_gen.models",
    "networks": "lit_gen.networks",
    "losses": "lit_gen.losses",
    "augmentations": "lit_gen.augmentations",
    "data sets": "datamodules",
    "callbacks": "lit_gen.callbacks",
    "metrics": "lit_gen.metrics",
}


def import_rooms() -> dict[str, list[ModuleType]]:
    """Imports every module of every room and returns them by what the room holds."""
    return {holds: list(modules_of(room)) for holds, room in ROOMS.items()}


def classes_of(modules: list[ModuleType]) -> dict[str, type]:
    """The public classes that these modules define themselves, by name."""
    return {
        name: member
        for module in modules
        for name, member in inspect.getmembers(module, inspect.isclass)
        if member.__module__ == module.__name__ and not name.startswith("_")
    }


def modules_of(room: str) -> Iterator[ModuleType]:
    """Imports a package and every module in it, one after the other."""
    module = importlib.import_module(room)
    yield module
    for info in pkgutil.iter_modules(getattr(module, "__path__", [])):
        yield importlib.import_module(f"{room}.{info.name}")
