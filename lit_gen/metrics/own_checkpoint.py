"""A model that was trained here as the eye of the metrics."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from torch import Tensor, nn

from datamodules.transforms import GREY_WEIGHTS
from lit_gen.checkpoint import load_model, load_module
from lit_gen.errors import UserError
from lit_gen.feature_store import backbone_digest
from lit_gen.fetch import local_copy
from lit_gen.fronts import as_vectors, vector_length
from lit_gen.metrics.extractor import Extractor
from lit_gen.networks.features import NetworkFeatures, Output, resized
from lit_gen.networks.layers import check_positive
from lit_gen.run_folder import Record
from lit_gen.sampling import averaged

PARTS = ("discriminator", "encoder")  # what is looked through where no module is named


class CheckpointExtractor(Extractor):
    """Features of a checkpoint of ours: a classifier's, or the blocks of a discriminator or an encoder.

    By the moving average of the weights where there is one. A classifier's own head gives the logits.

    Args:
        source: Checkpoint: a path, the folder of a run, an fsspec URL, or wandb://entity/project/artifact:alias.
        module: Dotted name of a network with `blocks` in it; by default a classifier's features as they are, else
            `discriminator` or `encoder`.
        input_size: Images are brought to this height and width first; by default what the network was made for.
        n_blocks: Blocks to use, from the input; all by default, which leaves the head out. Not for a classifier.
        output: Of maps, their `mean` over height and width, or `flat`: all values in one vector.

    Raises:
        UserError: There is no such checkpoint, it has no such module, or the module makes no features.
    """

    def __init__(
        self,
        source: str,
        module: str | None = None,
        input_size: int | None = None,
        n_blocks: int | None = None,
        output: Output = "mean",
    ) -> None:
        super().__init__()
        if output not in ("mean", "flat"):
            raise UserError(
                f"CheckpointExtractor: found output {output!r}, expected mean or flat: metrics compare vectors.\nType "
                "output: mean"
            )
        if input_size is not None:
            check_positive(self, input_size=input_size)
        self.source = source
        self.module = module
        self.n_blocks = n_blocks
        self.output = output
        path = local_copy(source, "CheckpointExtractor")
        self.features, self.head, sizes = parts_of(path, module, n_blocks, output)
        self.channels, side = sizes
        self.input_size = input_size or side
        self.n_features = vector_length(self.features, self)
        self.name = name_of(path, self)
        self.freeze()

    def forward(self, images: Tensor) -> Tensor:
        """Features (B, F) of images (B, 1 or 3, H, W) in [-1, 1]."""
        return as_vectors(self.features(in_channels(resized(images, self.input_size), self.channels)))

    def classify(self, features: Tensor) -> Tensor | None:
        """Logits (B, K) of a classifier's own head; None where the checkpoint is of another family."""
        return None if self.head is None else self.head(features)

    def extra_repr(self) -> str:
        return f"input_size={self.input_size}, channels={self.channels}"


Sizes = tuple[int | None, int | None]


def parts_of(
    path: Path, module: str | None, n_blocks: int | None, output: Output
) -> tuple[nn.Module, nn.Module | None, Sizes]:
    """What makes features of images, the head that goes with it, and the channels and the side of its images.

    Raises:
        UserError: The checkpoint has no such module, or none that is known to make features.
    """
    if module is not None:
        return blocks_of(load_module(path, module), n_blocks, output)
    model = load_model(path)
    children = [name for name, _ in model.named_children() if not name.endswith("_ema")]
    if {"features", "head"} <= set(children):
        if n_blocks is not None:
            raise UserError(
                f"CheckpointExtractor: found n_blocks {n_blocks} for a {type(model).__name__}, whose features are "
                "taken whole.\nName the network that has the blocks, module: features.network, or leave n_blocks out."
            )
        channels, side, _ = model.image_shape or (None, None, None)
        return averaged(model, "features"), averaged(model, "head"), (channels, side)
    part = next((name for name in PARTS if name in children), None)
    if part is None:
        raise UserError(
            f"CheckpointExtractor: {path} is a {type(model).__name__}, expected a discriminator or an encoder in it, "
            f"or a module by name.\nType module: {children[-1]}, say; it has {', '.join(children)}."
        )
    return blocks_of(averaged(model, part), n_blocks, output)


def blocks_of(network: nn.Module, n_blocks: int | None, output: Output) -> tuple[nn.Module, None, Sizes]:
    """The blocks of a network, which has no head for their features."""
    sizes = getattr(network, "channels", None), getattr(network, "image_size", None)
    return NetworkFeatures(network, n_blocks, output), None, sizes


def in_channels(images: Tensor, channels: int | None) -> Tensor:
    """Grey images for a network of RGB and the other way about; None leaves them as they are."""
    if channels is None or images.shape[1] == channels:
        return images
    if images.shape[1] == 1:
        return images.expand(-1, channels, -1, -1)
    weights = torch.tensor(GREY_WEIGHTS, device=images.device).view(1, 3, 1, 1)
    return (images * weights).sum(1, keepdim=True)


def name_of(path: Path, extractor: CheckpointExtractor) -> str:
    """Experiment of the run, or the file, with the beginning of a checksum of the weights and of how they are used."""
    record = Record.read(path.parent)
    known = re.sub(r"\W+", "_", record.experiment if record else path.stem)
    return f"{known}_{backbone_digest(extractor)[:8]}"
