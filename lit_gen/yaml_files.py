"""YAML from anywhere, read so that a few lines cannot become billions, nor deeper than one can look."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from jsonargparse import get_loader, set_loader

LARGEST = 2_000_000  # characters
DEEPEST = 60  # levels
LONGEST = 100  # objects in a list, each of which takes a while to check
LONGEST_OF_ALL = 1_000  # items of any kind
MOST = 100_000  # nodes, each counted as often as an alias repeats it
MODE = "bounded_yaml"


def load_yaml(text: str) -> Any:
    """What a YAML text holds: plain values alone.

    Raises:
        yaml.YAMLError: It is no YAML, or too large, too deep, or grown by its anchors.
    """
    root = check_yaml(text)
    try:
        return yaml.safe_load(text) if root is None else yaml.SafeLoader("").construct_document(root)
    except (ValueError, OverflowError) as error:  # a date or a number that there is not
        raise yaml.YAMLError(str(error)) from error


def read_yaml(path: Path) -> Any:
    """What a YAML file holds.

    Raises:
        yaml.YAMLError: As `load_yaml`, or it is no text.
        OSError: It cannot be read.
    """
    if path.stat().st_size > 4 * LARGEST:
        raise yaml.YAMLError(f"it has {path.stat().st_size:,} bytes, more than settings need")
    try:
        return load_yaml(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise yaml.YAMLError(str(error)) from error


def check_yaml(text: str) -> yaml.Node | None:
    """Looks at the tree that a text describes, before any value is made of it; returns the tree where there is one.

    Raises:
        yaml.YAMLError: See `load_yaml`.
    """
    if len(text) > LARGEST:
        raise yaml.YAMLError(f"it has {len(text):,} characters, more than settings need")
    if not any(mark in text for mark in "[{:\n"):
        return None  # a plain value, as most options of a command line are
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if _size(root, {}, 0) > MOST:
            raise yaml.YAMLError(f"its anchors make more than {MOST:,} settings of it")
    except RecursionError as error:
        raise yaml.YAMLError(f"it is nested more than {DEEPEST} levels deep") from error
    return root


def _size(node: yaml.Node | None, known: dict[int, int], depth: int) -> int:
    """Nodes below one, its aliases written out; 0 stands for a node that is still being counted."""
    if depth > DEEPEST:
        raise yaml.YAMLError(f"it is nested more than {DEEPEST} levels deep")
    if known.get(id(node), 1) == 0:
        raise yaml.YAMLError("it holds itself, by an anchor")
    if id(node) not in known:
        known[id(node)] = 0
        if isinstance(node, yaml.SequenceNode):
            objects = sum(isinstance(item, yaml.MappingNode) for item in node.value)
            if len(node.value) > LONGEST_OF_ALL:
                raise yaml.YAMLError(
                    f"it has a list of {len(node.value):,} items, expected {LONGEST_OF_ALL:,} at the most"
                )
            if objects > LONGEST:
                raise yaml.YAMLError(f"it has a list of {objects:,} objects, expected {LONGEST} at the most")
        if isinstance(node, yaml.MappingNode):
            _refuse_twice(node)
        inside = node.value if isinstance(node, yaml.CollectionNode) else []
        parts = [part for item in inside for part in (item if isinstance(item, tuple) else (item,))]
        known[id(node)] = 1 + sum(_size(part, known, depth + 1) for part in parts)
    return known[id(node)]


def _refuse_twice(node: yaml.MappingNode) -> None:
    """Refuses a key that stands twice: YAML forbids it (1.2.2, section 3.2.1.1), and PyYAML silently takes the last."""
    seen: set[str] = set()
    for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
        if key.value in seen:
            raise yaml.MarkedYAMLError(problem=f"{key.value} stands twice in one place", problem_mark=key.start_mark)
        seen.add(key.value)


def _bounded(text: str) -> Any:
    check_yaml(text)
    try:
        return get_loader("yaml")(text)
    except (ValueError, OverflowError) as error:
        raise yaml.YAMLError(str(error)) from error


set_loader(MODE, _bounded, (yaml.YAMLError,))  # a mode of our own: parsers of others keep theirs
