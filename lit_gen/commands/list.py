"""Name the models, networks, losses, augmentations, data sets, callbacks and metrics that YAML can name."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

from lightning.pytorch import Callback, LightningDataModule, LightningModule
from torch import nn

from lit_gen.metrics.base import Metric
from lit_gen.metrics.extractor import Extractor
from lit_gen.rooms import classes_of, import_rooms

# What YAML can name is what a constructor argument can take: subclasses of these.
KINDS = {
    "models": LightningModule,
    "networks": nn.Module,
    "losses": object,
    "augmentations": nn.Module,
    "data sets": LightningDataModule,
    "callbacks": Callback,
    "metrics": (Metric, Extractor),
}


def list() -> None:
    """Name the models, networks, losses, augmentations, data sets, callbacks and metrics of YAML, each with a line."""
    print("\n".join(lines()))


def lines() -> Iterator[str]:
    """The printed list, line by line."""
    for kind, modules in import_rooms().items():
        base = KINDS[kind]
        yield f"{kind}:"
        for name, found in sorted(classes_of(modules).items()):
            if issubclass(found, base) and not inspect.isabstract(found):
                yield f"  {name:<30}{(inspect.getdoc(found) or '').splitlines()[0]}"
        yield ""
