"""Write images from a checkpoint alone: predict --ckpt_path last.ckpt --n 64 --seed 0 --out DIR."""

from __future__ import annotations

from pathlib import Path

import torch
from torchvision.io import write_png
from torchvision.utils import save_image
from tqdm.auto import tqdm

import datamodules.paths
from datamodules.transforms import to_uint8
from lit_gen.callbacks.sample_grid import image_grid
from lit_gen.checkpoint import load_model
from lit_gen.errors import UserError
from lit_gen.run_folder import existing_checkpoint, newest

GRID = 64  # as many images as one looks at


def predict(
    ckpt_path: str,
    n: int = 64,
    seed: int = 0,
    out: str = "samples",
    batch_size: int = 256,
    device: str = "auto",
    config: str | None = None,
    default_root_dir: str = "checkpoints",
) -> None:
    """Write images from a checkpoint alone, one PNG each, and a grid of the first 64.

    The latents are drawn on the CPU, so that a seed means the same images on every device.

    Args:
        ckpt_path: Checkpoint, the folder of a run, or `last` for the newest run of the experiment that `config` names.
        n: Number of images.
        seed: Seed of the latents.
        out: Folder for the images; made where it is missing. Files of the same names are replaced.
        batch_size: Images made at once.
        device: `auto` takes a GPU where there is one; else `cpu`, `cuda`, `mps`.
        config: The experiment's YAML, for `ckpt_path` last alone: a checkpoint needs none.
        default_root_dir: Where the runs are, for `ckpt_path` last.
    """
    if n < 1 or batch_size < 1:
        raise UserError(f"predict: --n is {n} and --batch_size {batch_size}, but both need to be at least 1.")
    if ckpt_path == "last":
        ckpt_path = _last(config, default_root_dir)
    checkpoint = existing_checkpoint(datamodules.paths.find_input(ckpt_path))
    model = load_model(checkpoint, _device(device))
    if not hasattr(model, "sample_batches"):
        raise UserError(f"{checkpoint} holds a {type(model).__name__}, which makes no images.")
    folder = Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".writable").touch()
        (folder / ".writable").unlink()
    except OSError as error:
        raise UserError(
            f"--out {out} cannot be written ({error.strerror}). Name a folder that you may write."
        ) from error
    first: list[torch.Tensor] = []
    with tqdm(total=n, unit=" images", desc="predict", leave=False) as bar:
        for images in model.sample_batches(n, seed=seed, batch_size=batch_size):
            if len(first) * batch_size < GRID:
                first.append(images.cpu())
            for image in to_uint8(images.cpu()):
                write_png(image, str(folder / f"{bar.n:06d}.png"))
                bar.update()
    save_image(image_grid(torch.cat(first)[:GRID]), folder / "grid.png")
    print(f"{n:,} images of {_seen(model)} in {folder}/, the first {min(n, GRID)} in {folder / 'grid.png'}")


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
    weights = "EMA weights" if getattr(model, "generator_ema", None) is not None else "weights"
    return f"{type(model).__name__} ({weights}, {model.images_seen:,} images seen)"


def _device(device: str) -> str:
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"--device {device} is not to be had here ({reason}). Type --device cpu.") from error
    return device
