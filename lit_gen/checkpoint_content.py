"""What a checkpoint may hold, whoever wrote it: looked at before anything else reads it."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from os import PathLike
from typing import Any

import torch
from torch import Tensor

from lit_gen.errors import UserError

DEEPEST = 100  # levels of dicts and lists in each other
MOST = 1_000_000  # entries, each counted as often as it is found
# The kinds of the entries that are read here; what a file does not have is nothing to complain about.
KINDS: dict[str, type | tuple[type, ...]] = {
    "state_dict": Mapping,
    "hyper_parameters": Mapping,
    "datamodule_hyper_parameters": Mapping,
    "images_seen": int,
    "data": Mapping,
    "run": Mapping,
    "metrics": Mapping,
    "lineage": list,
    "base": list,
    "borrowed": Mapping,
    "left_out": list,
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
    wrong = {key: kind for key, kind in KINDS.items() if key in checkpoint and not isinstance(checkpoint[key], kind)}
    state = checkpoint["state_dict"]
    if not wrong and not all(isinstance(key, str) and isinstance(value, Tensor) for key, value in state.items()):
        wrong = {"state_dict": Tensor}
    for key in wrong:
        raise UserError(
            f"{path} is damaged or no checkpoint of ours: its `{key}` is a {type(checkpoint[key]).__name__}.\nName a "
            "file that lit_gen wrote whole, e.g. last.ckpt."
        )
