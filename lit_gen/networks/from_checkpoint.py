"""A network built as a checkpoint records it."""

from __future__ import annotations

from typing import Any

from torch import nn

from lit_gen.structure import build, recorded


class FromCheckpoint(nn.Module):
    """Structure transfer: the network that a checkpoint was trained with, built anew with fresh weights.

    It stands in YAML where a network stands, and the run's own configuration and recipe then name the network that was
    found: they do not need the source again. Weights come along with LoadWeights only. Called in Python it returns that
    network, not a wrapper. Classes are imported, and no pickled code is run.

    Args:
        source: Checkpoint: a path, the folder of a run, an fsspec URL, or wandb://entity/project/artifact:alias.
        module: Dotted name of the network there, such as `generator`.
        overrides: Constructor arguments that are to be different, such as {channels: 1}.
    """

    def __new__(cls, source: str, module: str, overrides: dict[str, Any] | None = None) -> nn.Module:
        return build(recorded(source, module, overrides), source)

    def __init__(self, source: str, module: str, overrides: dict[str, Any] | None = None) -> None:
        """Never reached: `__new__` returns a network of another class."""
