"""What a run says: Lightning's chatter left out, and where everything is at the end."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class _Chatter(logging.Filter):
    """Drops what Lightning says about products and about defaults that are set on purpose."""

    SAYS = ("💡", "`weights_only`", "TPU available", "GPU available", "Seed set")

    def filter(self, record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith(self.SAYS)


@contextmanager
def without_chatter() -> Iterator[None]:
    """Lightning's chatter is left out; warnings about what a user can change stay."""
    chatter = _Chatter()
    loggers = [logging.getLogger(f"lightning.{name}.utilities.{last}") for name, last in (
        ("pytorch", "rank_zero"), ("fabric", "rank_zero"), ("fabric", "seed"))]  # fmt: skip
    for logger in loggers:
        logger.addFilter(chatter)
    try:
        with warnings.catch_warnings():
            # Strides: a convolution from one channel has no definite memory format, and DDP minds (harmlessly). Eval
            # mode at the start of training is what frozen modules are in.
            abouts = ("LightningCLI's args", "LeafSpec", "many workers", "Grad strides do not match", "in eval mode")
            for about in (f".*{words}.*" for words in abouts):
                warnings.filterwarnings("ignore", message=about)
            yield
    finally:
        for logger in loggers:
            logger.removeFilter(chatter)


@contextmanager
def silent() -> Iterator[None]:
    """Neither Lightning's messages nor warnings."""
    logger = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def closing_lines(folder: Path, wandb_files: str | None, makes_images: bool = True) -> str:
    """Where the samples (of a model that makes images) and the checkpoint are and how to look at the run."""
    samples, checkpoint, metrics = (shortened(folder / name) for name in ("samples", "last.ckpt", "metrics.csv"))
    images = f"{samples}/" if samples.is_dir() else "none (no SampleGrid among the callbacks)"
    best = shortened(folder / "best.ckpt")
    weights = str(checkpoint) + (f", {best}" if best.is_file() else "")
    if makes_images:
        weights += f"  (more images: python -m lit_gen predict --ckpt_path {checkpoint})"
    look = f"metrics in {metrics}" if metrics.is_file() else f"{shortened(folder)}"
    if wandb_files:
        look = f"wandb leet {shortened(Path(wandb_files))}  (upload: wandb sync {shortened(Path(wandb_files))})"
    return (
        f"samples:    {images}\n" if makes_images else ""
    ) + f"checkpoint: {weights if checkpoint.is_file() else 'none was written'}\nthe run:    {look}"


def shortened(path: Path) -> Path:
    """Relative to the current directory where it lies below it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
