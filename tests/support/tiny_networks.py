"""Every network that plays a part in a model and needs no argument, found by walking the rooms, with tiny widths."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

from torch import nn

import lit_gen.networks

TINY = {"width": 2, "latent_dim": 5, "hidden": [6, 7], "image_size": 28, "n_blocks": 2, "n_classes": 3}
ROLES = ("Generator", "Discriminator", "Encoder", "Decoder")


def find_networks() -> list[type[nn.Module]]:
    """Public networks of lit_gen.networks that play a part in a model and need no argument."""
    found = []
    for info in pkgutil.iter_modules(lit_gen.networks.__path__, "lit_gen.networks."):
        for name, item in vars(importlib.import_module(info.name)).items():
            ours = inspect.isclass(item) and issubclass(item, nn.Module) and item.__module__ == info.name
            if ours and name.endswith(ROLES):
                parameters = inspect.signature(item).parameters.values()
                if all(parameter.default is not parameter.empty for parameter in parameters):
                    found.append(item)
    return found


NETWORKS = find_networks()


def made(network: type[nn.Module]) -> tuple[str, nn.Module]:
    """A tiny one under the name that it has in a model, and the model."""
    names = inspect.signature(network).parameters
    role = next(role for role in ROLES if network.__name__.endswith(role)).lower()
    options = {key: value for key, value in TINY.items() if key in names}
    return role, nn.ModuleDict({role: network(**options)})
