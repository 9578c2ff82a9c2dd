"""Names that survive wrapping: what a weight is called in the plain network, whatever has been put around it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from lit_gen.errors import UserError

WRAPPED = "network"


def canonical_names(keys: Iterable[str]) -> dict[str, str]:
    """The names that the keys of a state dict have without wrappers and low-rank updates.

    `generator.network.blocks.0.0.parametrizations.weight.original` becomes `generator.blocks.0.0.weight`, so that plain
    and wrapped networks exchange weights. The weights of the adapters themselves keep their names. Only names count, so
    that it works on a live model and on a file alike; a plain network's names come back as they are.

    Args:
        keys: All keys of one state dict: a wrapper is told by what stands beside it.

    Returns:
        From each key to its plain name; no two have the same.

    Raises:
        UserError: Two keys would get the same name.
    """
    keys = list(keys)
    prefixes = {".".join(parts[:end]) for parts in (key.split(".") for key in keys) for end in range(1, len(parts))}
    lasts = _last_steps(keys)
    names = {key: _plain(key, prefixes, lasts) for key in keys}
    clashes = [name for name, count in Counter(names.values()).items() if count > 1]
    if clashes:
        both = [key for key in keys if names[key] == clashes[0]]
        raise UserError(
            f"Found {' and '.join(both)}, both of which are {clashes[0]} in a plain network.\nRename the module: a "
            f"part called `{WRAPPED}` with `blocks` inside is taken for a wrapped network."
        )
    return names


def _plain(key: str, prefixes: set[str], lasts: dict[str, int]) -> str:
    parts = key.split(".")
    steps = _steps_of(key)
    adapted = steps is not None and steps in lasts
    if adapted and parts[-2:] in (["0", "up"], ["0", "down"]):
        return key
    begin = 1
    while _is_wrapper(".".join(parts[:begin]), prefixes):
        if parts[begin] != WRAPPED:  # the wrapper's own
            return key
        begin += 1
    if adapted:
        end = steps.count(".") + 1
        parts = parts[:end] + _without_first(parts[end:], alone=lasts[steps] == 0)
        if lasts[steps] == 0:
            del parts[end - 2]  # `parametrizations`
    return ".".join([parts[0], *parts[begin:]])


def _is_wrapper(part: str, prefixes: set[str]) -> bool:
    """Whether a part holds another network and has none of the blocks that each network has itself."""
    inner = f"{part}.{WRAPPED}"
    return (f"{inner}.blocks" in prefixes or f"{inner}.{WRAPPED}" in prefixes) and f"{part}.blocks" not in prefixes


def _steps_of(key: str) -> str | None:
    """`a.parametrizations.weight` of `a.parametrizations.weight.0.up`: where a weight's parametrizations are."""
    parts = key.split(".")
    if "parametrizations" not in parts[:-2]:
        return None
    return ".".join(parts[: parts.index("parametrizations") + 2])


def _last_steps(keys: list[str]) -> dict[str, int]:
    """For each weight whose first parametrization is a low-rank update: the number of the last."""
    present = set(keys)
    lasts: dict[str, int] = {}
    for key in keys:
        steps = _steps_of(key)
        if steps is not None and {f"{steps}.0.up", f"{steps}.0.down"} <= present:
            number = key.removeprefix(f"{steps}.").split(".")[0]
            lasts[steps] = max(lasts.get(steps, 0), int(number) if number.isdecimal() else 0)
    return lasts


def _without_first(rest: list[str], alone: bool) -> list[str]:
    """What follows `parametrizations.weight`, as it is when the first parametrization, the low-rank one, is gone."""
    if rest == ["original"]:
        return [] if alone else rest
    return [str(int(rest[0]) - 1), *rest[1:]] if rest[0].isdecimal() else rest
