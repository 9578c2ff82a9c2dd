"""lit_gen trains GANs and VAEs on small image sets and moves what they learnt to another data set.

`import lit_gen` stays light: torch is imported by the first call of `load`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from os import PathLike

    from torch import nn

__version__ = "0.1.0"
__all__ = ["__version__", "allow", "load"]


def load(path: str | PathLike[str], device: str = "cpu", module: str | None = None) -> nn.Module:
    """The model of a checkpoint, or one part of it, rebuilt from the checkpoint alone, in eval mode.

    Args:
        path: A checkpoint that lit_gen wrote, e.g. `checkpoints/gan_mnist5k/<run id>/last.ckpt`.
        device: Where the weights go, e.g. `cpu` or `cuda`.
        module: Dotted name of the one sub-module that is wanted, such as `generator` or `discriminator.blocks`, with
            the averaged weights where the checkpoint has them; None for the whole LightningModule.

    Returns:
        The LightningModule; `load(path).sample(64, seed=0)` gives images (64, C, H, W) in [-1, 1] from its EMA weights.

    Raises:
        UserError: The file is missing, is no checkpoint, names a class that is not importable here or of a package
            that is not allowed, or has no such module.
    """
    from lit_gen.checkpoint import load_model, load_module

    return load_model(path, device) if module is None else load_module(path, module, device)


def allow(*packages: str) -> None:
    """Lets checkpoints name classes of your own packages, as `--allow` does on the command line.

    Args:
        packages: Names such as `my_package`; `__main__` is a notebook's own.

    Raises:
        UserError: It is no such name.
    """
    from datamodules.packages import allow

    allow(*packages)
