"""The progress bar of what callbacks do beside the training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from lightning.pytorch import Trainer
from tqdm.auto import tqdm


@contextmanager
def bar_of(trainer: Trainer, what: str, total: int | None = None) -> Iterator[Callable[[int], Any]]:
    """A progress bar in images, in the first process of a run that shows one."""
    shown = trainer.is_global_zero and trainer.progress_bar_callback is not None
    with tqdm(total=total, desc=what, unit=" images", leave=False, disable=not shown, dynamic_ncols=True) as bar:
        yield bar.update
