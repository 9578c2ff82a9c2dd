"""What a training does when it is told to stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from lit_gen.callbacks.last_checkpoint import last_of, save_whole
from lit_gen.console import shortened
from lit_gen.interruption import STOPS, Interrupted, put
from lit_gen.ranks import Ranks
from lit_gen.slurm import drop_older_requeues


class StopSignals(Callback):
    """SIGTERM and Ctrl-C end a training after the batch that they fall into, with a checkpoint; a second one at once.

    It suffices that one process of several gets the signal. One that falls into the last batch, or into what is done at
    the end of a run, changes nothing: the run goes on to its end.

    SLURM's requeue waits for the end of the batch as well: Lightning's own handler, which is called then, would save
    wherever the signal falls, also between the two updates of a GAN's step.
    """

    def __init__(self) -> None:
        self.before: dict[int, Any] = {}  # handlers as they were before Lightning set its own
        self.handlers: dict[int, Any] = {}  # Lightning's, of the signals other than those that stop
        self.received: list[int] = []
        self.answered: set[int] = set()
        self.running = False

    @property
    def stops(self) -> bool:
        """Whether the training is going to stop after this batch."""
        return any(signum in STOPS for signum in self.received)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self.before = {signum: signal.getsignal(signum) for signum in signal.valid_signals()}

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._take_over()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._take_over()
        self.running = True

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        signum = int(Ranks.of(trainer).gather(torch.tensor(self.received[:1] or [0])).max())
        if not signum:
            return
        self.received = [other for other in self.received if other != signum]
        if signum not in STOPS:
            self._answer(trainer, signum)
        else:
            save_whole(trainer, last_of(trainer))
            raise Interrupted(
                signum,
                f"stopped by {signal.Signals(signum).name} after {pl_module.images_seen:,} images, which "
                f"{shortened(last_of(trainer))} has.\nGo on by the same command with --ckpt_path last.",
                tidy=True,
            )

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self.running = False

    def _take_over(self) -> None:
        """Lightning's handlers are set by now; those that stop are replaced, the others are put off."""
        if threading.current_thread() is not threading.main_thread() or self.handlers:
            return
        for signum, before in self.before.items():
            now = signal.getsignal(signum)
            if signum in STOPS and before is not signal.SIG_IGN:
                put(signum, self._receive)
            elif signum not in STOPS and now is not before:
                self.handlers[signum] = now
                put(signum, self._receive)

    def _receive(self, signum: int, frame: FrameType | None) -> None:
        if signum in STOPS and (not self.running or self.stops):
            raise Interrupted(signum)
        if signum not in self.received and signum not in self.answered:
            self.received.append(signum)

    def _answer(self, trainer: Trainer, signum: int) -> None:
        """Once: in another process the same signal may have come first."""
        self.answered.add(signum)
        self.handlers[signum](signum, None)
        if trainer.is_global_zero:
            drop_older_requeues(Path(trainer.default_root_dir))


class PutOff(Exception):
    """What was being done is left to the run that goes on from here."""


def unless_stopped(trainer: Trainer, step: Callable[[int], Any]) -> Callable[[int], Any]:
    """The steps of what takes long between two batches, and is done anew by a run that goes on.

    Returns:
        What does a step, or raises PutOff once a signal waits. Of several processes none leaves the others alone.
    """

    def checked(images: int) -> None:
        if trainer.world_size == 1 and any(
            isinstance(found, StopSignals) and found.stops for found in trainer.callbacks
        ):
            raise PutOff
        step(images)

    return checked
