"""Re-initialises parts of a model at the start of a run, after weights were loaded."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Literal

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

from lit_gen.agreement import class_numbers
from lit_gen.checkpoint import remember_data
from lit_gen.errors import UserError
from lit_gen.freezing import is_norm
from lit_gen.sampling import is_average
from lit_gen.selection import names_of, select
from lit_gen.spectral import refresh_spectral_norm

Initializer = Literal[
    "normal", "trunc_normal", "uniform", "xavier_normal", "xavier_uniform", "kaiming_normal", "kaiming_uniform",
    "orthogonal",
]  # fmt: skip
# Where torch's own defaults, a scale of 1, suit no network.
SCALES = {"normal": {"std": 0.02}, "trunc_normal": {"std": 0.02}, "uniform": {"a": -0.05, "b": 0.05}}


class ReinitModules(Callback):
    """Begins named modules anew, as their network does it itself, before the first batch (Mo et al. 2020, section 3).

    Only what is named changes: weights, biases, batch statistics; the singular vectors of spectral-normed weights
    follow. A resumed run is left alone. All processes draw the same numbers, and the run's own random stream goes on as
    if nothing had been drawn.

    Args:
        modules: Globs of modules or parameters, e.g. `discriminator.head`.
        initializer: One of torch.nn.init for all weights, biases 0 and normalisations afresh; None leaves it to each
            network's `init_layer`. `normal` and `trunc_normal` are N(0, 0.02), `uniform` is U(-0.05, 0.05).
        classes: Numbers or names of classes: only their rows of the class tables (embeddings, and gains and biases of
            conditional normalisations) among `modules`.

    Raises:
        UserError: A glob matches nothing, or nothing that can be initialised; there is no such class.
    """

    def __init__(
        self,
        modules: list[str],
        initializer: Initializer | None = None,
        classes: list[int | str] | None = None,
    ) -> None:
        for name, value in (("modules", modules), ("classes", classes)):
            if value == []:
                raise UserError(f"ReinitModules: {name} is an empty list. Name at least one, or leave {name} out.")
        self.modules = modules
        self.initializer = initializer
        self.classes = classes

    def selected(self, model: nn.Module) -> set[str]:
        """Dotted names of the parameters and buffers that are initialised, of some only the rows of `classes`.

        Raises:
            UserError: See the class.
        """
        names = [name for name in names_of(model) if not is_average(name)]
        chosen = set(select(names, self.modules, "ReinitModules.modules"))
        if self.classes is not None:
            chosen &= set(_class_tables(model))
        parameters = {name for name, _ in model.named_parameters() if name in chosen}
        if not parameters:
            wanted = "a parameter" if self.classes is None else "a class table, such as an embedding"
            raise UserError(
                f"ReinitModules: found nothing to initialise in {', '.join(self.modules)}, expected {wanted}.\nName a "
                "module with weights, such as generator.head."
            )
        vectors = tuple(f"{_layer_of(name)}.parametrizations." for name in parameters if ".parametrizations." in name)
        return parameters | {name for name, _ in model.named_buffers() if name in chosen or name.startswith(vectors)}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit":  # a mistake is told before anything is loaded
            for layer in {_layer_of(name) for name in self.selected(pl_module)}:
                self.owner(pl_module, layer)
            self.rows(pl_module)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.ckpt_path is not None:
            return
        rows = self.rows(pl_module)
        # One seed for all processes, another for each callback: alike layers do not begin as twins.
        seed = trainer.strategy.broadcast(torch.initial_seed()) + zlib.crc32(" ".join(self.modules).encode())
        devices = [pl_module.device] if pl_module.device.type == "cuda" else []
        with torch.random.fork_rng(devices), torch.no_grad():
            torch.manual_seed(seed % 2**63)
            self.reinit(pl_module, rows)

    def rows(self, model: LightningModule) -> Tensor | None:
        """The numbers of `classes`; None for all.

        Raises:
            UserError: There is no such class.
        """
        if self.classes is None:
            return None
        remember_data(model)
        try:
            return class_numbers(model, self.classes, len(self.classes))
        except UserError as error:
            raise UserError(f"ReinitModules.classes: {error}") from error

    def reinit(self, model: nn.Module, rows: Tensor | None = None) -> None:
        """Initialises what is `selected`, of class tables the given rows or all; every other value is kept."""
        selected = self.selected(model)
        layers = list(dict.fromkeys(_layer_of(name) for name, _ in _tensors(model) if name in selected))
        before = {name: tensor.clone() for name, tensor in _tensors(model) if name.startswith(tuple(layers))}
        for layer in layers:
            if self.initializer is None:
                self.owner(model, layer).reset_parameters(model.get_submodule(layer))
            else:
                self.initialize(model.get_submodule(layer))
        tables = set() if rows is None else set(_class_tables(model)) & selected
        for name, tensor in _tensors(model):  # a network resets a layer as a whole
            if name in before and name not in selected:
                tensor.copy_(before[name])
            elif name in tables:
                kept = torch.ones(len(tensor), dtype=torch.bool).index_fill(0, rows, False)
                tensor[kept] = before[name][kept]
        for layer in layers:
            refresh_spectral_norm(model.get_submodule(layer))

    def initialize(self, layer: nn.Module) -> None:
        """The named initializer on one layer's own weights; biases 0."""
        if is_norm(layer):
            layer.reset_parameters()
            return
        fill = getattr(nn.init, f"{self.initializer}_")
        inner = getattr(layer, "parametrizations", {}).values() if hasattr(layer, "parametrizations") else ()
        for parameter in [*layer.parameters(recurse=False), *(p for weight in inner for p in weight.parameters())]:
            if parameter.dim() < 2:
                nn.init.zeros_(parameter)
            else:  # through a plain tensor: not every initializer takes channels-last memory
                fresh = torch.empty(parameter.shape, dtype=parameter.dtype, device=parameter.device)
                parameter.copy_(fill(fresh, **SCALES.get(self.initializer, {})))

    def owner(self, model: nn.Module, layer: str) -> nn.Module:
        """The network that knows how a layer begins: the nearest one around it with `init_layer`.

        Raises:
            UserError: There is none, and no initializer is named.
        """
        parts = layer.split(".")
        around = [model.get_submodule(".".join(parts[:end])) for end in range(len(parts), 0, -1)]
        found = next((module for module in around if hasattr(module, "init_layer")), None)
        if found is None and self.initializer is None:
            raise UserError(
                f"ReinitModules: {layer} lies in no network that knows how its layers begin (`init_layer`).\nType "
                "initializer: xavier_uniform, say."
            )
        return found


def _tensors(model: nn.Module) -> list[tuple[str, Tensor]]:
    return [*model.named_parameters(), *model.named_buffers()]


def _layer_of(name: str) -> str:
    """The layer that a parameter or buffer belongs to, also where it is parametrised."""
    return name.split(".parametrizations.")[0] if ".parametrizations." in name else name.rpartition(".")[0]


def _class_tables(model: nn.Module) -> Iterable[str]:
    """Names of the parameters with a row for each class: embeddings, gains and biases of conditional normalisations."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding):
            normed = hasattr(module, "parametrizations")
            yield f"{name}.parametrizations.weight.original" if normed else f"{name}.weight"
        elif getattr(module, "normalizes", False) is True:
            yield from (f"{name}.{parameter}" for parameter, _ in module.named_parameters(recurse=False))
