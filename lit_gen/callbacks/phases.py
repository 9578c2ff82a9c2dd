"""Gradual unfreezing: what learns, and how fast, in phases of a run."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from torch import nn

from lit_gen.callbacks.freezer import Freezer
from lit_gen.errors import UserError
from lit_gen.freezing import networks_of, parts_below
from lit_gen.param_groups import set_rate, split
from lit_gen.selection import names_of, select, select_parameters


@dataclass
class Phase:
    """What a phase adds to the one before it.

    Args:
        start: Images seen at which it begins; the first phase begins at 0.
        trainable: Globs of modules or parameters that learn from here on, beside those of the phases before.
        learning_rates: Globs and the learning rates that they get, until a later phase gives another; the others keep
            their optimizer's.
    """

    start: int = 0
    trainable: list[str] = field(default_factory=list)
    learning_rates: dict[str, float] | None = None


class Phases(Freezer):
    """Gradual unfreezing over images seen, for every optimizer of a model (Howard & Ruder 2018, section 3.3).

    What no phase has named yet is frozen: bit-identical, buffers included. What has begun to learn goes on learning.
    Rates are those of the optimizers' own unit; LayerRates and schedules such as CosineDecay multiply them.

    Args:
        phases: In the order of their `start`.

    Raises:
        UserError: The phases contradict each other or the model: see each message.
    """

    def __init__(self, phases: list[Phase]) -> None:
        self.phases = phases
        self.frozen_in: list[Set[str]] = []
        self.rates: dict[nn.Parameter, tuple[float | None, ...]] = {}
        starts = [phase.start for phase in phases]
        if starts[:1] != [0] or starts != sorted(set(starts)):
            raise UserError(
                f"Phases: found phases that start at {', '.join(map(str, starts)) or 'no images'}, expected 0 first "
                "and then more images each time.\nType start: 0 in the first phase and order the others by their start."
            )
        if not phases[0].trainable:
            raise UserError("Phases: nothing is trainable in the first phase. Type trainable: [generator.head], say.")
        for number, phase in enumerate(phases):
            if not phase.trainable and not phase.learning_rates:
                raise UserError(f"Phases: {_called(number, phase)} is empty. Give it trainable or learning_rates.")
            for pattern, rate in (phase.learning_rates or {}).items():
                if rate <= 0:
                    raise UserError(
                        f'Phases: the learning rate of "{pattern}" is {rate}, expected more than 0. What is not to '
                        "learn is what no phase names as trainable."
                    )

    def find(self, model: nn.Module) -> set[str]:
        names = names_of(model)
        networks = parts_below(model, [name for name, _ in networks_of(model)])
        frozen, self.frozen_in = set(networks), []
        for number, phase in enumerate(self.phases):
            chosen = set(select(names, phase.trainable, "Phases.trainable")) & frozen
            if phase.trainable and not chosen:
                raise UserError(
                    f"Phases: {_called(number, phase)} adds nothing: {', '.join(phase.trainable)} learns already, or "
                    "is an average, which never does.\nA phase lists what it adds; what has begun to learn goes on. "
                    "Leave that out."
                )
            frozen = frozen - chosen
            self.frozen_in.append(frozenset(frozen))
        self.rates = self.find_rates(model)
        return networks

    def find_rates(self, model: nn.Module) -> dict[nn.Parameter, tuple[float | None, ...]]:
        """The learning rate of each parameter in each phase; None where it has the optimizer's."""
        names = {parameter: name for name, parameter in model.named_parameters()}
        now: dict[nn.Parameter, float] = {}
        rates: dict[nn.Parameter, tuple[float | None, ...]] = dict.fromkeys(names, ())
        for number, phase in enumerate(self.phases):
            given: dict[nn.Parameter, str] = {}
            for pattern, rate in (phase.learning_rates or {}).items():
                found = select_parameters(model, [pattern], "Phases.learning_rates")
                if found.keys() <= self.frozen_in[number]:
                    raise UserError(
                        f'Phases: {_called(number, phase)} gives "{pattern}" a learning rate, but nothing of it learns '
                        "yet.\nName it under trainable of that phase or of one before."
                    )
                for name, parameter in found.items():
                    other = given.setdefault(parameter, pattern)
                    if other != pattern and now[parameter] != rate:
                        raise UserError(
                            f'Phases: {_called(number, phase)} gives {name} two learning rates, by "{other}" and by '
                            f'"{pattern}".\nUse patterns of which only one matches it.'
                        )
                    now[parameter] = rate
            rates = {parameter: (*before, now.get(parameter)) for parameter, before in rates.items()}
        return rates

    def number_at(self, images_seen: int) -> int:
        """Which phase it is, from 0."""
        return sum(phase.start <= images_seen for phase in self.phases) - 1

    def frozen(self, images_seen: int) -> Set[str]:
        return self.frozen_in[self.number_at(images_seen)]

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_fit_start(trainer, pl_module)
        for optimizer in trainer.optimizers:
            split(optimizer, self.rates.__getitem__)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        super().on_train_batch_start(trainer, pl_module, batch, batch_idx)
        number = self.number_at(pl_module.images_seen)
        for optimizer in trainer.optimizers:
            for group in optimizer.param_groups:
                rate = self.rates[group["params"][0]][number]
                if rate is not None:
                    set_rate(group, rate * group.get("rate_factor", 1.0))


def _called(number: int, phase: Phase) -> str:
    return f"phase {number + 1}, from {phase.start:,} images on,"
