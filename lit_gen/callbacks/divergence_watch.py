"""Sees within a few batches that a training has broken, and says what broke first."""

from __future__ import annotations

import math
from collections import defaultdict, deque
from statistics import median
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from lit_gen.callbacks.last_checkpoint import last_of
from lit_gen.checkpoint import read
from lit_gen.checkpoint_file import readable
from lit_gen.errors import UserError

IN_A_ROW = 20  # updates that have to look bad, where a single one may be chance
RECENT = 5  # updates whose median is the level of a loss
VANISHED = 1e-6  # of a generator's usual gradient
LAG = 10  # batches between two looks on a GPU, which would have to wait for each of them


class Diverged(UserError):
    """A training that broke: what first, and what may help."""


class DivergenceWatch(Callback):
    """Ends a run whose losses or gradients are not finite, whose losses explode, or whose discriminator has collapsed.

    Every update is looked at: the loss of each network, the gradient of each tensor. An explosion is a loss `explosion`
    times above its lowest level (and above 1) in 20 updates in a row; a collapsed discriminator says the same of every
    image, and the generator gets a millionth of its usual gradient in 20 updates in a row. No checkpoint is written
    of a model with numbers that are not finite.

    Args:
        roll_back: Instead of ending, take the weights and optimizers of the last checkpoint, and go on with lower
            learning rates. Images seen are counted on.
        lr_factor: What the learning rates are multiplied by at each time, in (0, 1).
        most: How many times; then the run ends all the same.
        explosion: See above; more than 1.

    Raises:
        UserError: An argument is outside these ranges.
        Diverged: The training has broken.
    """

    def __init__(
        self, roll_back: bool = False, lr_factor: float = 0.5, most: int = 3, explosion: float = 10_000.0
    ) -> None:
        if not 0 < lr_factor < 1:
            raise UserError(f"DivergenceWatch: lr_factor is {lr_factor}, expected in (0, 1). Type lr_factor: 0.5.")
        if most < 1:
            raise UserError(f"DivergenceWatch: most is {most}, expected at least 1. Type most: 3.")
        if not explosion > 1:
            raise UserError(f"DivergenceWatch: explosion is {explosion}, expected above 1. Type explosion: 10000.")
        self.roll_back = roll_back
        self.lr_factor = lr_factor
        self.most = most
        self.explosion = explosion
        self.rolled_back = 0
        self.lowered = 0  # times since the checkpoint that would be gone back to
        self.forget()

    def forget(self) -> None:
        """Begins to look anew."""
        self.waiting: list[tuple[int, str, list[str], Tensor]] = []  # images, network, what, the numbers, on the device
        self.unstepped: list[Tensor] = []  # losses whose network is not known yet
        self.levels: dict[str, float] = {}
        self.recent: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=RECENT))
        self.usual: dict[str, float] = {}  # largest median of the gradients' norm
        self.bad: dict[tuple[str, str], int] = defaultdict(int)  # updates in a row

    def state_dict(self) -> dict[str, Any]:
        recent = {name: list(values) for name, values in self.recent.items()}
        counts = {"rolled_back": self.rolled_back, "lowered": self.lowered, "bad": dict(self.bad)}
        return {**counts, "levels": dict(self.levels), "usual": dict(self.usual), "recent": recent}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rolled_back, self.lowered = state_dict["rolled_back"], state_dict["lowered"]
        self.levels, self.usual = dict(state_dict["levels"]), dict(state_dict["usual"])
        self.bad.update(state_dict["bad"])
        for name, values in state_dict["recent"].items():
            self.recent[name].extend(values)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.names = {parameter: name for name, parameter in pl_module.named_parameters()}

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        self.unstepped.append(loss.detach().float())

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        if not parameters:
            return
        parameters.reverse()  # the gradient of the last layer is computed first
        norms = [torch.linalg.vector_norm(parameter.grad) for parameter in parameters]
        names = [self.names[parameter] for parameter in parameters]
        called = " and ".join(dict.fromkeys(name.partition(".")[0] for name in reversed(names)))
        what = ["loss"] * len(self.unstepped) + names
        self.waiting.append((pl_module.images_seen, called, what, torch.stack([*self.unstepped, *norms])))
        self.unstepped = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        number = trainer.fit_loop.total_batch_idx + 1
        if pl_module.device.type != "cpu" and number % LAG:
            return
        found = self.look(trainer)
        if self.roll_back and not found:  # else the next checkpoint would find it, where there is no way back
            found = first_broken(pl_module.state_dict(), pl_module.images_seen)
        # Losses are of each process's own images: all of them have to come to the same end.
        if not trainer.strategy.reduce_boolean_decision(found is not None, all=False):
            return
        found = found or f"at {pl_module.images_seen:,} images another process's loss is not finite or has exploded"
        if not self.roll_back or self.rolled_back == self.most:
            raise Diverged(self.told(found, trainer))
        self.go_back(trainer, pl_module, found)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        found = self.look(trainer) or first_broken(checkpoint["state_dict"], pl_module.images_seen)
        if found:
            raise Diverged(self.told(found, trainer))
        self.lowered = 0

    def look(self, trainer: Trainer) -> str | None:
        """What broke first among the updates since the last look."""
        waiting, self.waiting = self.waiting, []
        for images, network, what, numbers in waiting:
            if found := self.judge(network, what, numbers.tolist(), scaled=trainer.precision == "16-mixed"):
                return f"at {images:,} images {found}"
        return None

    def judge(self, network: str, what: list[str], numbers: list[float], scaled: bool) -> str | None:
        """What is wrong with one update, if anything is."""
        broken = next((i for i, number in enumerate(numbers) if not math.isfinite(number)), None)
        of_loss = broken is not None and what[broken] == "loss"
        # A loss scaler skips an update of infinite gradients and lowers its scale: that is its way to find it.
        if self.in_a_row(network, "not finite", broken is not None) > (IN_A_ROW if scaled and not of_loss else 0):
            where = f"the loss of the {network}" if of_loss else f"the gradient of {what[broken]}"
            return f"{where} is {numbers[broken]}"
        if broken is not None:
            return None
        losses = [abs(number) for number, name in zip(numbers, what, strict=True) if name == "loss"]
        if losses and self.exploded(network, max(losses)):
            return f"the loss of the {network} has exploded to {max(losses):.3g}, from {self.levels[network]:.3g}"
        norm = math.hypot(*numbers[len(losses) :])
        if network.startswith("generator") and self.vanished(network, norm):
            return (
                f"the discriminator has collapsed: the {network} gets a gradient of {norm:.3g}, usual is "
                f"{self.usual[network]:.3g}"
            )
        return None

    def exploded(self, network: str, loss: float) -> bool:
        """Whether this loss is far above its lowest level, as those before it."""
        far = network in self.levels and loss > self.explosion * max(1.0, self.levels[network])
        if not far:
            self.recent[network].append(loss)
            level = median(self.recent[network])
            self.levels[network] = min(level, self.levels.get(network, level))
        return self.in_a_row(network, "explosion", far) >= IN_A_ROW

    def vanished(self, network: str, norm: float) -> bool:
        """Whether next to nothing is left of the gradient, as of those before it."""
        small = norm <= VANISHED * self.usual.get(network, 0.0)
        if not small:
            gradients = self.recent[f"gradient of {network}"]
            gradients.append(norm)
            self.usual[network] = max(self.usual.get(network, 0.0), median(gradients))
        return self.in_a_row(network, "gradient", small) >= IN_A_ROW

    def in_a_row(self, network: str, kind: str, bad: bool) -> int:
        self.bad[network, kind] = self.bad[network, kind] + 1 if bad else 0
        return self.bad[network, kind]

    def told(self, found: str, trainer: Trainer) -> str:
        last = last_of(trainer)
        kept = f"{last} is from before. " if last.is_file() else ""
        again = " It was gone back to a checkpoint already." if self.rolled_back else ""
        more = ""
        if not self.roll_back:
            more = (
                " Type --trainer.callbacks+=DivergenceWatch --trainer.callbacks.roll_back true to go back to the last "
                "checkpoint and on with half the learning rate."
            )
        elif not last.is_file():
            more = " There is no checkpoint yet that roll_back could go back to."
        return (
            f"The training has broken: {found}.{again}\n{kept}Try lower learning rates, gradient_clip, or a penalty "
            f"such as R1.{more}"
        )

    def go_back(self, trainer: Trainer, pl_module: LightningModule, found: str) -> None:
        """The weights and optimizers of the last checkpoint, with lower learning rates."""
        last = last_of(trainer)
        if not last.is_file():
            raise Diverged(self.told(found, trainer))
        self.rolled_back, self.lowered, images = self.rolled_back + 1, self.lowered + 1, pl_module.images_seen
        checkpoint = read(readable(last))
        pl_module.on_load_checkpoint(checkpoint)  # first, as Lightning does: it makes room for what the state holds
        pl_module.load_state_dict(checkpoint["state_dict"])
        pl_module.images_seen, factor = images, self.lr_factor**self.lowered
        for optimizer, state in zip(trainer.optimizers, checkpoint["optimizer_states"], strict=True):
            optimizer.load_state_dict(state)
            optimizer.zero_grad()
            for group in optimizer.param_groups:
                group |= {name: factor * group[name] for name in ("lr", "initial_lr") if name in group}
        self.forget()
        rank_zero_info(
            f"The training has broken: {found}. It goes on from the weights of {checkpoint['images_seen']:,} images "
            f"with {self.lr_factor**self.lowered:g} of their learning rates ({self.rolled_back} of {self.most} times)."
        )


def first_broken(state: dict[str, Any], images_seen: int) -> str | None:
    """The first tensor of a state that is not finite."""
    for name, value in state.items():
        if isinstance(value, Tensor) and value.is_floating_point() and not value.isfinite().all():
            return f"at {images_seen:,} images {name} is not finite"
    return None
