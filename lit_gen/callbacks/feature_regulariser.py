"""What regularisers share that compare features: a frozen copy of the source, run on what the model was given."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn

from lit_gen.callbacks.source_regulariser import SourceRegulariser
from lit_gen.errors import UserError
from lit_gen.selection import select_modules


class Pass(NamedTuple):
    """What one call of a network was given, and what its chosen blocks returned.

    Attributes:
        inputs: The network's arguments.
        features: What each chosen block returned, by the block's name within the network.
        number: How many calls of the network in train mode there had been, this one included.
    """

    inputs: tuple[Tensor, ...]
    features: dict[str, Any]
    number: int


class FeatureRegulariser(SourceRegulariser):
    """Base of the terms on features: of each batch, the first pass of a network in which its weights take gradients.

    That pass of the training step is listened to, so the model itself is run no more often than without; the source is
    run once on the same inputs. It is a copy of whole networks that this callback holds and no model contains. Layer by
    layer it is in the training mode of the model, so that at first both say exactly the same; its running statistics
    never move, and its spectral norms take as many power iterations as the model's.

    Args:
        weight: What the term is multiplied by, >= 0.
        modules: Patterns of the blocks whose output is compared; of a block and what lies in it, the block.

    Raises:
        UserError: `weight` is negative.
    """

    def __init__(self, weight: float, modules: list[str]) -> None:
        super().__init__(weight, modules)
        self.blocks: dict[str, list[str]] = {}  # chosen blocks of each network, by their names within it
        self.students: dict[str, nn.Module] = {}
        self.sources: dict[str, nn.Module] = {}
        self.calls: dict[str, int] = {}  # of each network of the model in train mode
        self.source_calls: dict[str, int] = {}
        self.ahead: dict[str, int] = {}  # of a run that goes on: calls since those of the source
        self.running: dict[str, Pass] = {}
        self.passes: dict[str, Pass] = {}  # of this batch
        self.hooks: list[torch.utils.hooks.RemovableHandle] = []

    @abstractmethod
    def compare(self, student: Sequence[Tensor], source: Sequence[Tensor]) -> Tensor:
        """How far the features of one block, tensors (B, ...), are from the source's: a scalar >= 0."""

    def choose(self, model: LightningModule, trained: dict[str, nn.Parameter]) -> None:
        chosen = select_modules(model, self.modules, type(self).__name__)
        learn = {name.split(".")[0] for name in trained}
        names = [
            name
            for top in chosen
            if not any(top.startswith(f"{other}.") for other in chosen)
            for name in callable_parts(top, chosen[top])
            if name.split(".")[0] in learn
        ]
        if not names:
            raise self.not_trained()
        self.blocks = {}
        for network, _, block in (name.partition(".") for name in names):
            self.blocks.setdefault(network, []).append(block)

    def remember(self, model: LightningModule) -> dict[str, Tensor]:
        return {
            f"{network}.{name}": value.detach().clone()
            for network in self.blocks
            for name, value in getattr(model, network).state_dict().items()
        }

    def state_dict(self) -> dict[str, dict[str, Any]]:
        ahead = {network: calls - self.source_calls[network] for network, calls in self.calls.items()}
        return {**super().state_dict(), "ahead": ahead}

    def load_state_dict(self, state_dict: dict[str, dict[str, Any]]) -> None:
        super().load_state_dict(state_dict)
        self.ahead = dict(state_dict["ahead"])

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_fit_start(trainer, pl_module)
        self.students = {network: getattr(pl_module, network) for network in self.blocks}
        self.sources = {network: frozen_copy(student) for network, student in self.students.items()}
        for network, source in self.sources.items():
            prefix = f"{network}."
            source.load_state_dict(
                {name.removeprefix(prefix): v for name, v in self.reference.items() if name.startswith(prefix)}
            )
        # What is saved is the copy as it is: its spectral norms go on from where they stood.
        self.reference = {
            f"{network}.{name}": value
            for network, source in self.sources.items()
            for name, value in source.state_dict().items()
        }
        self.calls = {network: self.ahead.get(network, 0) for network in self.blocks}
        self.ahead = {}
        self.source_calls = dict.fromkeys(self.blocks, 0)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Only now, when no callback copies networks any more: a copy would have these hooks too."""
        for network, student in self.students.items():
            self.hooks += [student.register_forward_pre_hook(self.beginning_of(network))]
            self.hooks += self.listen(student, network)
            self.hooks += [student.register_forward_hook(self.end_of(network))]

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.passes = {}  # lets the graphs go

    def leave(self, model: LightningModule) -> None:
        super().leave(model)
        for hook in self.hooks:
            hook.remove()
        self.hooks, self.running, self.passes = [], {}, {}

    def beginning_of(self, network: str) -> Callable[..., None]:
        """Opens the pass that counts, if this is it."""

        def begin(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            self.calls[network] += module.training
            first = torch.is_grad_enabled() and network not in self.passes
            if first and any(parameter.requires_grad for parameter in module.parameters()):
                self.running[network] = Pass(inputs, {}, self.calls[network])

        return begin

    def end_of(self, network: str) -> Callable[..., None]:
        """Closes it."""

        def end(module: nn.Module, inputs: tuple[Tensor, ...], output: Any) -> None:
            if network in self.running:
                self.passes[network] = self.running.pop(network)

        return end

    def listen(self, module: nn.Module, network: str) -> list[torch.utils.hooks.RemovableHandle]:
        """Notes what the chosen blocks of a network, or of the copy of it, return while a pass is open."""

        def listener(block: str) -> Callable[..., None]:
            def note(_: nn.Module, inputs: tuple[Tensor, ...], output: Any) -> None:
                if network in self.running:
                    self.running[network].features[block] = output

            return note

        return [module.get_submodule(block).register_forward_hook(listener(block)) for block in self.blocks[network]]

    def term(self, network: str) -> Tensor | None:
        """The weight times the mean over blocks of how far the features are from the source's."""
        if network not in self.passes:
            return None
        seen = self.passes[network]
        missing = [block for block in self.blocks[network] if block not in seen.features]
        if missing:
            raise UserError(
                f"{type(self).__name__}: {network} was run without {network}.{missing[0]}, so that there is nothing to "
                f"compare. Leave it out of `modules` ({', '.join(self.modules)})."
            )
        theirs = self.source_features(network, seen)
        distances = [self.compare(tensors(output), tensors(theirs[block])) for block, output in seen.features.items()]
        return self.weight * torch.stack(distances).mean()

    @torch.no_grad()
    def source_features(self, network: str, seen: Pass) -> dict[str, Any]:
        """What the same blocks of the source return of the same inputs."""
        source = self.sources[network]
        for mine, theirs in zip(source.modules(), self.students[network].modules(), strict=True):
            mine.training = theirs.training
        for _ in range(self.source_calls[network] + 1, seen.number):
            iterate_spectral_norms(source)
        self.source_calls[network] = seen.number
        found = self.running[network] = Pass(seen.inputs, {}, seen.number)
        hooks = self.listen(source, network)
        try:
            source(*seen.inputs)
        finally:
            self.running.pop(network)
            for hook in hooks:
                hook.remove()
        return found.features


def callable_parts(name: str, module: nn.Module) -> list[str]:
    """A module that is run, or the members of a list of modules, which is not."""
    if not isinstance(module, nn.ModuleList):
        return [name]
    return [part for key, child in module.named_children() for part in callable_parts(f"{name}.{key}", child)]


def frozen_copy(network: nn.Module) -> nn.Module:
    """A copy that takes no gradients and whose running statistics stay, in train mode too."""
    source = copy.deepcopy(network).requires_grad_(False)
    for module in source.modules():
        if getattr(module, "running_mean", None) is not None:
            module.momentum = 0.0
    return source


def iterate_spectral_norms(network: nn.Module) -> None:
    """One power iteration of each spectral norm that is in train mode: torch takes it where the weight is read."""
    for module in network.modules():
        for name in getattr(module, "parametrizations", {}):
            getattr(module, name)


def tensors(output: Any) -> list[Tensor]:
    """What a module returned, a tensor or several, as a list."""
    return [output] if isinstance(output, Tensor) else [part for part in output if isinstance(part, Tensor)]
