"""What a checkpoint may hold, whoever wrote it: looked at before anything else reads it."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from typing import Any

import torch
from torch import Tensor

from lit_gen.errors import UserError

DEEPEST = 100  # levels of dicts and lists in each other
MOST = 1_000_000  # entries, each counted as often as it is found
# The kinds of the entries that are read here; what a file does not have is nothing to complain about.
RECIPES = ("hyper_parameters", "datamodule_hyper_parameters")
KINDS: dict[str, type] = {
    **dict.fromkeys((*RECIPES, "state_dict", "data", "run"), dict),
    **dict.fromkeys(("metrics", "borrowed"), dict),
    **dict.fromkeys(("lineage", "base", "left_out"), list),
    "images_seen": int,
}


def check_zip(path: str | PathLike[str]) -> None:
    """Refuses an archive that unpacks to more than its own size: torch stores what it writes as it is.

    Raises:
        ValueError: It has packed or overlapping members, or one whose name leads out of it.
    """
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        size = archive.fp.seek(0, 2)
    for member in members:
        if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size:
            raise ValueError(f"its member {member.filename!r} is packed, which torch never does")
        if member.filename.startswith("/") or ".." in member.filename.split("/"):
            raise ValueError(f"the name of its member {member.filename!r} leads out of it")
    if (claimed := sum(member.file_size for member in members)) > size:
        raise ValueError(f"its members claim {claimed:,} bytes")


def check_content(held: Any, size: int) -> None:
    """Refuses what would never end or never fit once it is looked through: a few bytes can refer to each other.

    Args:
        held: What was read.
        size: Of the file, in bytes.

    Raises:
        ValueError: It is nested too deeply, holds itself, or has a tensor larger than the file.
    """
    seen, waiting = 0, [(held, 0)]
    while waiting:
        item, depth = waiting.pop()
        seen += 1
        if depth > DEEPEST or seen > MOST:
            raise ValueError(f"it is nested more than {DEEPEST} levels deep, or has more than {MOST:,} entries")
        if isinstance(item, Tensor) and item.layout == torch.strided and item.numel() * item.element_size() > size:
            raise ValueError(f"it has a tensor of {item.numel() * item.element_size():,} bytes, more than the file")
        if isinstance(item, Mapping):
            waiting += ((value, depth + 1) for value in item.values())
        elif isinstance(item, list | tuple | set | frozenset):
            waiting += ((value, depth + 1) for value in item)


def check_entries(checkpoint: dict[str, Any], path: str | PathLike[str]) -> None:
    """Refuses a checkpoint whose entries are not what they are called.

    Raises:
        UserError: Naming the entry.
    """
    wrong = [key for key, kind in KINDS.items() if not isinstance(checkpoint.get(key, kind()), kind)]
    if not wrong and not all(isinstance(key, str) for key in checkpoint["state_dict"]):
        wrong = ["state_dict"]
    if not wrong:
        data, recipes = checkpoint.get("data", {}), [checkpoint.get(key, {}) for key in RECIPES]
        shape, names = data.get("image_shape"), data.get("class_names", [])
        plain = {
            "data": (shape is None or _all_of(int, shape)) and _all_of(str, names),
            "hyper_parameters": all(isinstance(recipe.get("_class_path", ""), str) for recipe in recipes),
            "lineage": _all_of(dict, checkpoint.get("lineage", [])),
        }
        wrong = [key for key, right in plain.items() if not right]
    if wrong:
        raise _damaged(path, f"its `{wrong[0]}` is not what it should be")


def _all_of(kind: type, items: Any) -> bool:
    return isinstance(items, list | tuple) and all(isinstance(item, kind) for item in items)


@contextmanager
def as_written(path: str | PathLike[str]) -> Iterator[None]:
    """While it lasts, what is read of a checkpoint is taken to be as lit_gen writes it.

    Raises:
        UserError: It is not: something is missing in it, or of another kind.
    """
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from error


def _damaged(path: str | PathLike[str], reason: str) -> UserError:
    return UserError(
        f"{path} is damaged, or no checkpoint of lit_gen ({reason}).\nName a file that it wrote whole, e.g. last.ckpt."
    )
