"""lit_gen trains GANs and VAEs on small image sets and moves what they learnt to another data set.

`import lit_gen` stays light: torch is imported by the first call of `load`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from os import PathLike

    from lightning.pytorch import LightningModule

__version__ = "0.1.0"
__all__ = ["__version__", "load"]


def load(path: str | PathLike[str], device: str = "cpu") -> LightningModule:
    """The model of a checkpoint, rebuilt from the checkpoint alone, in eval mode.

    Args:
        path: A checkpoint that lit_gen wrote, e.g. `checkpoints/gan_mnist5k/<run id>/last.ckpt`.
        device: Where the weights go, e.g. `cpu` or `cuda`.

    Returns:
        The LightningModule; `load(path).sample(64, seed=0)` gives images (64, C, H, W) in [-1, 1] from its EMA weights.

    Raises:
        UserError: The file is missing, is no checkpoint, or names a class that is not importable here.
    """
    from lit_gen.checkpoint import load_model

    return load_model(path, device)
