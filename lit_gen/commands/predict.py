"""Write images from a checkpoint alone: predict --ckpt_path last.ckpt --n 64 --seed 0 --out DIR."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.io import write_png
from torchvision.utils import save_image
from tqdm.auto import tqdm

import datamodules.paths
from datamodules.image_folder import ImageFolder
from datamodules.transforms import to_uint8
from lit_gen.checkpoint import load_data, load_model
from lit_gen.errors import UserError
from lit_gen.files import unlinked, writable_folder
from lit_gen.pictures import Made, held_out, image_grid, in_order, spread
from lit_gen.run_folder import existing_checkpoint, newest

GRID = 64  # as many images as one looks at


def predict(
    ckpt_path: str,
    n: int | None = None,
    seed: int = 0,
    out: str = "samples",
    mode: str | None = None,
    labels: list[int | str] | int | str | None = None,
    images: str | None = None,
    batch_size: int = 256,
    device: str = "auto",
    config: str | None = None,
    default_root_dir: str = "checkpoints",
) -> None:
    """Write images from a checkpoint alone, one PNG each, and a grid of the first.

    The latents are drawn on the CPU, so that a seed means the same images on every device.

    Args:
        ckpt_path: Checkpoint, the folder of a run, or `last` for the newest run of the experiment that `config` names.
        n: Number of images; by default 64, or all of those in the folder `images`.
        seed: Seed of the latents.
        out: Folder for the images; made where it is missing. Files of the same names are replaced.
        mode: What to make, by default the first that the model can: `sample` (GAN, VAE); `mixture`, `reconstruct`,
            `interpolate` (VAE); `a_to_b`, `b_to_a` (CycleGAN).
        labels: Class to make, its number or name, or a list of them in turns; all of them by default. For models that
            know classes.
        images: Folder of images to translate or reconstruct; by default held-out images of the data that the model
            was trained on.
        batch_size: Images made at once.
        device: `auto` takes a GPU where there is one; else `cpu`, `cuda`, `mps`.
        config: The experiment's YAML, for `ckpt_path` last alone: a checkpoint needs none.
        default_root_dir: Where the runs are, for `ckpt_path` last.
    """
    if (n is not None and n < 1) or batch_size < 1:
        raise UserError(f"predict: --n is {n} and --batch_size {batch_size}, but both need to be at least 1.")
    if ckpt_path == "last":
        ckpt_path = _last(config, default_root_dir)
    checkpoint = existing_checkpoint(datamodules.paths.find_input(ckpt_path))
    model = load_model(checkpoint, _device(device))
    mode = _mode(model, mode, checkpoint)
    labels = [labels] if isinstance(labels, int | str) else labels
    if images is None:
        n = n or GRID
        source = HeldOut(checkpoint, n, batch_size)
    else:
        given = _folder(images, model, checkpoint)
        n = min(n or len(given), len(given))
        source = in_order(given, list(range(n)), batch_size)
    made = model.make(mode, n, seed, batch_size, source, _in_turns(labels, n))
    first = next(made)  # what cannot be made is said before anything is written
    if images is not None and inspect.getgeneratorstate(source) == inspect.GEN_CREATED:
        others = [f"--mode {other}" for other in model.modes if other != mode]
        hint = f", or try {', '.join(others)}" if others else ""
        raise UserError(
            f"--images {images}: {type(model).__name__} begins with no images in mode {mode}. Leave --images out{hint}."
        )
    folder = writable_folder(out, "--out")
    shown: list[Made] = []
    with tqdm(total=n, unit=" images", desc="predict", leave=False) as bar:
        for part in _chain(first, made):
            if sum(len(earlier.images) for earlier in shown) < max(GRID, part.period):
                shown.append(part._replace(period=len(labels)) if labels else part)
            for image in to_uint8(part.images.cpu()):
                write_png(image, str(unlinked(folder / f"{bar.n:06d}.png")))
                bar.update()
        written = bar.n
    save_image(image_grid(shown, GRID), unlinked(folder / "grid.png"))
    print(f"{written:,} images of {_seen(model)}, mode {mode}, in {folder}/, the first in {folder / 'grid.png'}")


class HeldOut:
    """Held-out images of the data that the checkpoint was trained on; opened only by a model that asks for images."""

    def __init__(self, checkpoint: Path, n: int, batch_size: int) -> None:
        self.checkpoint, self.n, self.batch_size = checkpoint, n, batch_size

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        # A relative folder also counts from the project that the checkpoint lies in.
        datamodules.paths.search_folders.extend(self.checkpoint.resolve().parents)
        try:
            data = load_data(self.checkpoint)
            data.prepare_data()
            data.setup()
        except UserError as error:
            raise UserError(f"{error}\nOr name a folder of images: --images DIR.") from error
        found = held_out(data, "test_set", "val_set", "train_set")
        if found is None:
            raise UserError(f"{type(data).__name__} has no images to start from. Name a folder: --images DIR.")
        return spread(found, self.n, self.batch_size)


def _folder(images: str, model: torch.nn.Module, checkpoint: Path) -> Dataset:
    """All images of a folder, in the order of their names, at the size that the model was trained on."""
    if model.image_shape is None:
        raise UserError(f"{checkpoint} does not say which size its images have, so --images cannot be read.")
    channels, size, _ = model.image_shape
    labels = getattr(model, "n_classes", None) is not None
    whole = {"val_fraction": 0.0, "test_fraction": 0.0, "horizontal_flip": False, "batch_size": 1}
    data = ImageFolder(images, size, channels, labels=labels, **whole)
    try:
        data.prepare_data()
        data.setup()
    except UserError as error:
        raise UserError(str(error).replace("--data.root", "--images")) from error
    return data.train_set


def _mode(model: torch.nn.Module, mode: str | None, checkpoint: Path) -> str:
    modes = getattr(model, "modes", ())
    if not modes:
        raise UserError(f"{checkpoint} holds a {type(model).__name__}, which makes no images.")
    return mode or modes[0]


def _in_turns(labels: list[Any] | None, n: int) -> list[Any] | None:
    """The wanted classes over and over, one for each image."""
    if labels is None:
        return None
    if not labels:
        raise UserError('predict: --labels names no class. Type --labels "[0, 1]", say, or leave it out for all.')
    return [labels[index % len(labels)] for index in range(n)]


def _chain(first: Made, rest: Iterator[Made]) -> Iterator[Made]:
    yield first
    yield from rest


def _last(config: str | None, root: str) -> str:
    if config is None:
        raise UserError(
            "predict: `last` of which experiment? Type --config experiments/NAME.yaml, or name a checkpoint."
        )
    folder = newest(Path(root), Path(config).stem)
    if folder is None:
        raise UserError(f"No run of {Path(config).stem} with a checkpoint below {root}. Type --default_root_dir DIR.")
    return str(folder)


def _seen(model: torch.nn.Module) -> str:
    averaged = any(name.endswith("_ema") for name, _ in model.named_children())
    return f"{type(model).__name__} ({'EMA weights' if averaged else 'weights'}, {model.images_seen:,} images seen)"


def _device(device: str) -> str:
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"--device {device} is not to be had here ({reason}). Type --device cpu.") from error
    return device
