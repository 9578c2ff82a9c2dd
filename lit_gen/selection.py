"""Glob patterns over dotted names: the one way in which everything here addresses modules, parameters and buffers.

A pattern is matched against whole dotted names, with `*` for any characters (dots too), `?` for one and `[0-2]` for one
of a range; what matches brings everything below it: `discriminator.blocks.[0-2]` is the first three blocks with all
their layers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from torch import nn

from lit_gen.errors import UserError, nearest


def matches(name: str, pattern: str) -> bool:
    """Whether a pattern matches a dotted name or one of its parents."""
    parts = name.split(".")
    return any(fnmatchcase(".".join(parts[:end]), pattern) for end in range(1, len(parts) + 1))


def matches_any(name: str, patterns: Iterable[str]) -> bool:
    """Whether one of the patterns does."""
    return any(matches(name, pattern) for pattern in patterns)


def select(names: Iterable[str], patterns: Sequence[str], asker: str) -> list[str]:
    """Those of the names that a pattern matches, in their order.

    Args:
        names: Dotted names, parents included where a pattern may name them.
        patterns: Each has to match something.
        asker: Whose option it is, for the message.

    Raises:
        UserError: A pattern matches nothing; the nearest names are offered.
    """
    names = list(names)
    for pattern in patterns:
        if not any(matches(name, pattern) for name in names):
            raise UserError(unmatched(pattern, names, asker))
    return [name for name in names if matches_any(name, patterns)]


def unmatched(pattern: str, names: Iterable[str], asker: str) -> str:
    """The message for a pattern that matches nothing."""
    known = sorted({".".join(name.split(".")[:end]) for name in names for end in range(1, name.count(".") + 2)})
    tops = sorted({name.split(".")[0] for name in known})
    hint = nearest(pattern, known) or f" There are {', '.join(tops)}."
    return (
        f'{asker}: nothing matches "{pattern}".{hint}\nType python -m lit_gen inspect CHECKPOINT for the names of a '
        "checkpoint, or python -m lit_gen plan --config YAML for those of a model."
    )


def names_of(model: nn.Module) -> list[str]:
    """Every dotted name of a model: modules, parameters and buffers, parents before children."""
    modules = [name for name, _ in model.named_modules() if name]
    return [*modules, *dict(model.named_parameters()), *dict(model.named_buffers())]


def select_modules(model: nn.Module, patterns: Sequence[str], asker: str) -> dict[str, nn.Module]:
    """Every module that a pattern matches, by its dotted name, with all modules below it.

    Raises:
        UserError: A pattern matches no module, parameter or buffer.
    """
    chosen = set(select(names_of(model), patterns, asker))
    return {name: module for name, module in model.named_modules() if name in chosen}


def select_parameters(model: nn.Module, patterns: Sequence[str], asker: str) -> dict[str, nn.Parameter]:
    """Every parameter that a pattern matches, or that lies in a module that it matches, by its dotted name.

    Raises:
        UserError: A pattern matches no module, parameter or buffer.
    """
    chosen = set(select(names_of(model), patterns, asker))
    return {name: parameter for name, parameter in model.named_parameters() if name in chosen}
