"""Only classes of known packages are imported by name, here and where jsonargparse does it."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from typing import Any

from jsonargparse import set_parsing_settings
from jsonargparse._common import parsing_settings  # to put back what a user's own parsers had

from datamodules.packages import allow, allowed, check_allowed, extended, refusal
from lit_gen.errors import UserError

__all__ = ["allow", "check_allowed", "check_recipe", "extended", "import_class", "limited_imports", "refusal"]


@contextmanager
def limited_imports() -> Iterator[None]:
    """While it lasts jsonargparse refuses a class of any other package before it imports it.

    It also looks where an object is defined, so that `torch.os.system` is refused as well, and builds only what has a
    type: a `class_path` below an argument of type Any stays a dict.
    """
    before = dict(parsing_settings)
    set_parsing_settings(
        import_path_denylist=["*"], import_path_allowlist=allowed(), instantiate_subclass_spec_in_any=False
    )
    try:
        yield
    finally:
        parsing_settings.update(before)


def import_class(class_path: str, path: str | PathLike[str], kind: type) -> type:
    """The class that a checkpoint names, if it is of the kind that is wanted.

    Raises:
        UserError: Its package is not allowed, it cannot be imported, or it is of another kind.
    """
    if not isinstance(class_path, str):
        raise UserError(f"{path} names a {type(class_path).__name__} as its class, expected the path of one.")
    check_allowed(class_path, str(path))
    module, _, name = class_path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except Exception as error:  # a module that nobody is meant to import may fail in any way
        raise UserError(
            f"{path} was written by {class_path}, which cannot be imported here ({error}).\n"
            "Run from the folder that holds this module, or put that folder on PYTHONPATH."
        ) from error
    if not (isinstance(found, type) and issubclass(found, kind)):
        raise UserError(f"{path} names {class_path}, which is no {kind.__name__}.")
    return found


def check_recipe(recipe: Any, path: str | PathLike[str]) -> None:
    """Holds every class that a recipe names against the allowed packages.

    Raises:
        UserError: One is of another package.
    """
    for item in recipe.values() if isinstance(recipe, dict) else recipe if isinstance(recipe, list | tuple) else ():
        check_recipe(item, path)
    for key in ("class_path", "_class_path", "_instantiator") if isinstance(recipe, dict) else ():
        if isinstance(named := recipe.get(key), str) and "." in named:
            check_allowed(named, str(path))
