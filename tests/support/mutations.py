"""Seeded mutations of an experiment's settings: what tired fingers, other programs and ill will make of a YAML."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

Place = tuple[Any, Any]  # a dict or list, and the key or index in it

HUGE = (10**9, 2**31, 2**63, 10**18, 10**40, 1e30, 1e308, float("inf"))
TYPES = ("words", "", [1, 2], [], {"a": 1}, {}, 1.5, 7, True, "nan", {"class_path": "GAN"}, [[["x"]]])
STRANGE = (
    "größe",
    "猫",
    "\u202eback",
    "a\x00b",
    "e\u0301",
    "\ufeff",
    "😀" * 50,
    "a/../..",
    "%s{x}$HOME`id`",
    "\x1b[2J",
)


def places(node: Any) -> Iterator[Place]:
    """All places below a node that hold something."""
    keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
    for key in keys:
        yield node, key
        yield from places(node[key])


def dropped(draw: Random, config: Any) -> str:
    holder, key = draw.choice(list(places(config)))
    del holder[key]
    return f"without {key}"


def misspelt(draw: Random, config: Any) -> str:
    """Two letters of a key, or of a name, are swapped, or one is doubled."""
    holder, key = draw.choice(
        [one for one in places(config) if isinstance(one[1], str) or isinstance(one[0][one[1]], str)]
    )
    value = holder[key]
    if isinstance(value, str) and (isinstance(key, int) or draw.random() < 0.5):
        holder[key] = _misspelt(draw, value)
        return f"{key}: {holder[key]}"
    wrong = _misspelt(draw, key)
    items = [(wrong if name == key else name, held) for name, held in holder.items()]
    holder.clear()
    holder.update(items)
    return f"{wrong} for {key}"


def wrongly_typed(draw: Random, config: Any) -> str:
    holder, key = draw.choice(list(places(config)))
    holder[key] = copy.deepcopy(draw.choice([one for one in TYPES if type(one) is not type(holder[key])]))
    return f"{key}: {holder[key]!r}"


def huge(draw: Random, config: Any) -> str:
    holder, key = draw.choice([one for one in places(config) if not isinstance(one[0][one[1]], dict)])
    value = holder[key]
    if isinstance(value, list):
        holder[key] = value * 1100
    else:
        holder[key] = value * 10_000 if isinstance(value, str) and value else draw.choice(HUGE)
    return f"{key}: {str(holder[key])[:40]}"


def negative(draw: Random, config: Any) -> str:
    holder, key = draw.choice([one for one in places(config) if _is_number(one[0][one[1]])])
    value = holder[key]
    holder[key] = draw.choice([-1, -value, -(10**9), -0.5, float("-inf"), type(value)(0)])
    return f"{key}: {holder[key]}"


def unicode(draw: Random, config: Any) -> str:
    holder, key = draw.choice([one for one in places(config) if not isinstance(one[0][one[1]], dict)])
    strange = draw.choice(STRANGE)
    holder[key] = holder[key] + strange if isinstance(holder[key], str) and draw.random() < 0.5 else strange
    return f"{key}: {holder[key]!r}"


def null(draw: Random, config: Any) -> str:
    holder, key = draw.choice(list(places(config)))
    holder[key] = None
    return f"{key}: null"


KINDS: dict[str, Callable[[Random, Any], str]] = {
    kind.__name__: kind for kind in (dropped, misspelt, wrongly_typed, huge, negative, unicode, null)
}


def mutated(config: dict[str, Any], kind: str, seed: int) -> tuple[dict[str, Any], str]:
    """A copy with one mutation, and what it is."""
    config = copy.deepcopy(config)
    return config, KINDS[kind](Random(f"{kind} {seed}"), config)


def _misspelt(draw: Random, word: str) -> str:
    place = draw.randrange(len(word)) if word else 0
    if len(word) > place + 1 and word[place] != word[place + 1]:
        return word[:place] + word[place + 1] + word[place] + word[place + 2 :]
    return word[: place + 1] + word[place:] if word else "x"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
