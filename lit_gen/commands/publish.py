"""Make a small source for others out of a run: publish --ckpt_path RUN --out checkpoints/gan_dogs.ckpt."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import torch

import datamodules.paths
from lit_gen.checkpoint import load_model, read
from lit_gen.checkpoint_content import as_written
from lit_gen.commands.inspect import settings
from lit_gen.errors import UserError
from lit_gen.fetch import sha256
from lit_gen.files import printable, unlinked
from lit_gen.run_folder import Record, existing_checkpoint
from lit_gen.transfer import lineage

# What rebuilds the model and says where it came from. Optimizers, loops and the states of callbacks stay behind.
KEPT = (
    *("epoch", "global_step", "pytorch-lightning_version", "state_dict", "images_seen", "data", "run", "metrics"),
    *("lineage", "hparams_name", "hyper_parameters", "datamodule_hparams_name", "datamodule_hyper_parameters"),
)


def publish(
    ckpt_path: str,
    out: str,
    metrics: dict[str, float] | None = None,
    note: str = "",
    command: str | None = None,
) -> None:
    """Make a small source for others out of a run: the weights and the recipe alone, with a model card beside.

    The file loads as any checkpoint does (`lit_gen.load`, `LoadWeights`, `predict`), but a run cannot go on from it:
    the optimizers' states are left out. Absolute paths are cut to what means something elsewhere.

    Args:
        ckpt_path: Checkpoint, or the folder of a run.
        out: The new file, ending in .ckpt; its card gets the same name with .md. Both are replaced where they exist.
        metrics: What was measured, for the card: '{"KID": 0.12}'.
        note: A sentence or more for the head of the card: what it is for, how it was measured.
        command: What trained it; by default `fit` with the experiment and the seed that the run recorded.
    """
    source, target = existing_checkpoint(datamodules.paths.find_input(ckpt_path)), Path(out)
    if target.suffix != ".ckpt":
        raise UserError(f"publish: --out {out} does not end in .ckpt. Type --out small.ckpt, say.")
    if target.exists() and target.samefile(source):
        raise UserError(f"publish: --out {out} is the checkpoint itself, which could not be gone on with any more.")
    held = read(source)
    if "base" in held:
        raise UserError(
            f"publish: {source} holds adapters alone.\nType python -m lit_gen merge {source} --out merged.ckpt, and "
            "publish that."
        )
    load_model(source)  # a source that cannot be loaded is refused here, not at a stranger's
    with as_written(source):
        checkpoint = stripped(held, source.parent)
    unfinished = unlinked(target.with_name(f".{target.name}.writing"))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        torch.save(checkpoint, unfinished)
        load_model(unfinished)
        with as_written(source):
            told = lines(target, unfinished, checkpoint, metrics or {}, note, command or command_of(checkpoint))
            card = "\n".join(told)
        unfinished.replace(target)
        unlinked(target.with_suffix(".md")).write_text(printable(card), encoding="utf-8")
    except OSError as error:
        raise UserError(f"publish: {out} cannot be written ({error.strerror}).") from error
    finally:
        with suppress(OSError):  # there is none, nor perhaps a folder for it
            unfinished.unlink()
    print(f"{target}: {target.stat().st_size:,} bytes, SHA-256 {sha256(target)}, card in {target.with_suffix('.md')}")


def stripped(checkpoint: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What is published of a checkpoint; tensors are copied, so that none brings the storage of a larger one along."""
    kept = {key: portable(checkpoint[key]) for key in KEPT if key in checkpoint}
    kept["state_dict"] = {name: tensor.clone() for name, tensor in checkpoint["state_dict"].items()}
    record = Record.read(folder)
    if "run" not in kept and record is not None:
        kept["run"] = {"id": folder.name, "experiment": record.experiment, "seed": record.seed}
    return kept


def portable(value: Any) -> Any:
    """Plain values with their absolute paths cut: below the current folder to the relative one, else to the name."""
    if isinstance(value, dict):
        return {key: portable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(portable(item) for item in value)
    if not isinstance(value, str) or "\n" in value:
        return value
    if PureWindowsPath(value).drive and PureWindowsPath(value).is_absolute():
        return PureWindowsPath(value).name
    if not (value.startswith("~") or PurePosixPath(value).is_absolute()):
        return value
    path = Path(value)
    return path.relative_to(Path.cwd()).as_posix() if path.is_relative_to(Path.cwd()) else path.name


def command_of(checkpoint: dict[str, Any]) -> str:
    """The command that trained it, as far as the run recorded it."""
    run = checkpoint.get("run", {})
    if not run.get("experiment"):
        return "not recorded"
    seed = f" --seed_everything {run['seed']}" if run.get("seed") else ""
    return f"python -m lit_gen fit --config experiments/{run['experiment']}.yaml{seed}"


def lines(
    target: Path, file: Path, checkpoint: dict[str, Any], metrics: dict[str, float], note: str, command: str
) -> Iterator[str]:
    """The model card of a file that is going to be the target, in Markdown."""
    recipe, data = checkpoint.get("hyper_parameters", {}), checkpoint.get("datamodule_hyper_parameters", {})
    family, source = (found.get("_class_path", "unknown").rpartition(".")[2] for found in (recipe, data))
    numbers = sum(tensor.numel() for tensor in checkpoint["state_dict"].values())
    yield from (f"# {target.stem}", "")
    yield from (note, "") if note else ()
    yield from ("| | |", "|---|---|")
    yield f"| file | {target.name}, {file.stat().st_size:,} bytes, {numbers:,} numbers, no optimizer states |"
    yield f"| SHA-256 | `{sha256(file)}` |"
    yield f"| model | {family}, {checkpoint.get('images_seen', 0):,} images seen |"
    yield f"| data | {source}: {', '.join(checkpoint.get('data', {}).get('class_names', [])) or 'no classes'} |"
    yield f"| command | `{command}` |"
    yield from (f"| {name} | {value:g} |" for name, value in {**checkpoint.get("metrics", {}), **metrics}.items())
    yield from ("", "```yaml", "# begin a new run from it", "- class_path: LoadWeights")
    yield from (f"  init_args: {{source: {portable(str(target))}}}", "```", "")
    yield from ("```", f"python -m lit_gen predict --ckpt_path {portable(str(target))} --n 64 --out samples", "```", "")
    yield from ("## Model", "", "```", *settings(recipe, ""), "```", "")
    yield from ("## Data", "", "```", *settings(data, ""), "```", "")
    if checkpoint.get("lineage"):
        yield from ("## Lineage", "", "```", *lineage.lines(checkpoint["lineage"], ""), "```", "")
