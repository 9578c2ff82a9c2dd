"""What a checkpoint holds beside Lightning's own state, and how a model comes back from it alone."""

from __future__ import annotations

import inspect
import io
import warnings
import zipfile
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.utilities import rank_zero_warn

from lit_gen.checkpoint_content import RECIPES, check_content, check_entries, check_zip
from lit_gen.checkpoint_file import refuse_damaged
from lit_gen.errors import UserError, nearest
from lit_gen.fronts import weights_follow
from lit_gen.packages import check_recipe, import_class, limited_imports
from lit_gen.sampling import add_average, averaged, is_augmentation

# The advice to leave networks out of the hyper-parameters would cost the recipe that rebuilds them.
warnings.filterwarnings("ignore", message=".*is already saved during checkpointing.*")
# Networks with parametrized layers: built in Python they get a recipe from their attributes, in `record`.
warnings.filterwarnings("ignore", message=".*removed from hparams because it cannot be pickled.*")
# Of a file that torch did not write, whose message says so.
warnings.filterwarnings("ignore", message="Detected pickle protocol.*")
INSTANTIATOR = "lightning.pytorch.cli.instantiate_module"


def remember_data(model: LightningModule) -> None:
    """Called by a model's `on_fit_start`: the shape of the images and the names of the classes that it learns from."""
    data = model.trainer.datamodule
    shape = getattr(data, "image_shape", None)
    model.image_shape = None if shape is None else tuple(shape)
    model.class_names = list(getattr(data, "class_names", None) or [])


def record(model: LightningModule, checkpoint: dict[str, Any]) -> None:
    """Called by a model's `on_save_checkpoint`: images seen, what they were, and a recipe that rebuilds the model."""
    checkpoint["images_seen"] = model.images_seen
    shape = getattr(model, "image_shape", None)
    checkpoint["data"] = {
        "image_shape": shape and list(shape),
        "class_names": list(getattr(model, "class_names", [])),
    }
    if model._trainer is not None:  # for a person who asks what a checkpoint is worth
        logged = {key: float(value) for key, value in model.trainer.callback_metrics.items()}
        checkpoint["metrics"] = {**logged, **checkpoint.get("metrics", {})}  # with what callbacks have measured
    if "_instantiator" not in checkpoint.get("hyper_parameters", {}):  # built in Python, not by the command line
        checkpoint["hyper_parameters"] = {
            "_class_path": _class_path(type(model)),
            "_instantiator": INSTANTIATOR,
            **_arguments(model),
        }


def restore(model: LightningModule, checkpoint: dict[str, Any]) -> None:
    """Called by a model's `on_load_checkpoint`: images seen, and room for the EMA weights that the checkpoint has."""
    _with_augmentation_of(model, checkpoint["state_dict"])
    parts = {key.split(".")[0].removesuffix("_ema") for key in checkpoint["state_dict"]}
    if not parts <= {key.split(".")[0] for key in model.state_dict()}:
        found = checkpoint.get("hyper_parameters", {}).get("_class_path", "another model").rpartition(".")[2]
        raise UserError(
            f"The checkpoint holds a {found} ({', '.join(sorted(parts))}), expected a {type(model).__name__}.\nGo on "
            "with the configuration of its own run: --config config.yaml, beside the checkpoint."
        )
    model.images_seen = checkpoint.get("images_seen", 0)
    data = checkpoint.get("data", {})
    model.image_shape = tuple(data["image_shape"]) if data.get("image_shape") else None
    model.class_names = data.get("class_names", [])
    for name in {key.split(".")[0] for key in checkpoint["state_dict"]}:
        if name.endswith("_ema"):
            add_average(model, name.removesuffix("_ema"))


def _with_augmentation_of(model: LightningModule, state: dict[str, Any]) -> None:
    """A run may go on with another augmentation than before: that one begins as it was built."""
    own = {key: value for key, value in model.state_dict().items() if is_augmentation(key)}
    if (theirs := set(filter(is_augmentation, state))) != own.keys():
        for key in theirs:
            del state[key]
        state |= own


def load_module(path: str | PathLike[str], name: str, device: str = "cpu") -> torch.nn.Module:
    """One sub-module of a checkpoint, by its dotted name, from the moving average where there is one."""
    model = load_model(path, device)
    child, _, rest = name.partition(".")
    children = [found for found, _ in model.named_children() if not found.endswith("_ema")]
    try:
        return averaged(model, child).get_submodule(rest)
    except AttributeError as error:
        raise UserError(
            f"{path} has no module {name!r}; {type(model).__name__} has {', '.join(children)}.{nearest(name, children)}"
        ) from error


def load_model(path: str | PathLike[str], device: str = "cpu") -> LightningModule:
    """See `lit_gen.load`."""
    from lit_gen.rooms import import_rooms

    checkpoint = read(path)
    recipe = checkpoint.get("hyper_parameters")
    recipe = recipe if isinstance(recipe, dict) else {}
    if "_class_path" not in recipe:
        raise UserError(
            f"{path} holds no recipe of its model (found hyper-parameters: {sorted(recipe) or 'none'}).\n"
            "Load it with the LightningModule that wrote it: YourModel.load_from_checkpoint(path)."
        )
    import_rooms()
    model_class = import_class(recipe["_class_path"], path, LightningModule)
    try:
        with weights_follow(), limited_imports():
            if "base" in checkpoint:
                model = _load_adapted(model_class, checkpoint, path, device)
            else:
                model = model_class.load_from_checkpoint(path, map_location=device, weights_only=True)
    except Exception as error:  # what a recipe asks of a constructor can fail in any way
        if isinstance(error, UserError) and str(path) in str(error):
            raise
        raise UserError(f"{path} could not be rebuilt as {recipe['_class_path']}:\n{error}") from error
    return model.eval()


def _load_adapted(
    model_class: type[LightningModule], checkpoint: dict[str, Any], path: str | PathLike[str], device: str
) -> LightningModule:
    """The model of a checkpoint of adapters alone, the rest of its weights read from where they came from."""
    from lit_gen.transfer.adapters import completed  # it reads checkpoints itself

    whole = completed(checkpoint, Path(path))
    file = io.BytesIO()
    torch.save(whole, file)
    file.seek(0)
    model = model_class.load_from_checkpoint(file, map_location=device, weights_only=True, strict=False)
    missing = set(model.state_dict()) ^ {*whole["state_dict"], *whole["left_out"]}
    if missing:
        raise UserError(f"{path} does not fit its own recipe: {', '.join(sorted(missing)[:3])} differ. Write it anew.")
    return model


def read(path: str | PathLike[str]) -> dict[str, Any]:
    """The raw checkpoint, memory-mapped and without running pickled code.

    Raises:
        UserError: No such file, not a checkpoint that loads with `weights_only=True`, or one whose recipes name classes
            of packages that are not allowed.
    """
    if not Path(path).is_file():
        raise UserError(f"No checkpoint at {path}.\nRuns keep theirs at checkpoints/<experiment>/<run id>/last.ckpt.")
    checkpoint = load_file(path)
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        raise UserError(f"{path} holds no Lightning checkpoint: a dict with `state_dict` was expected.")
    check_entries(checkpoint, path)
    for recipe in RECIPES:
        check_recipe(checkpoint.get(recipe), path)
    return checkpoint


def load_file(path: str | PathLike[str], asker: str | None = None, trust: bool = False) -> Any:
    """What a file that torch saved holds, memory-mapped where it can be.

    Args:
        path: An existing file.
        asker: Whose option `trust` is, for the message; None where there is no such option.
        trust: Run the code of a pickle that holds more than tensors and plain values.

    Raises:
        UserError: The file cannot be read, or holds code and is not trusted.
    """
    refuse_damaged(Path(path))
    zipped = zipfile.is_zipfile(path)
    try:
        if zipped and not trust:
            check_zip(path)
        held = torch.load(path, map_location="cpu", weights_only=not trust, mmap=zipped)
        if not trust:
            check_content(held, Path(path).stat().st_size)
        return held
    except Exception as error:  # a foreign or damaged pickle can fail in any way
        size = f"{Path(path).stat().st_size:,} bytes"
        if "weights_only" not in str(error) or not (zipped or _begins_as_pickle(path)):
            message = f"{path} is not a readable checkpoint ({size}): {_reason(error)}"
            raise UserError(f"{message}\nName a file that lit_gen or torch wrote whole, e.g. last.ckpt.") from error
        # torch's own words advise to switch the protection off.
        message = f"{path} is not a readable checkpoint ({size}): no PyTorch file, or one with pickled code"
        advice = (
            "Name a file that lit_gen wrote, e.g. last.ckpt."
            if asker is None
            else f"{asker} runs nothing that a file brings along. Only if you trust whoever made it with your "
            "whole account: type trust: true."
        )
        raise UserError(f"{message}\n{advice}") from error


def _reason(error: Exception) -> str:
    """An error in a person's words, where it has any; torch's would advise to switch the protection off."""
    said = str(error).strip()
    return said if " " in said and "weights_only" not in said else "it is no file that torch wrote"


def _begins_as_pickle(path: str | PathLike[str]) -> bool:
    """Whether a file begins as the pickles do that torch wrote before it wrote zips: with their protocol."""
    with Path(path).open("rb") as file:
        return file.read(1) == b"\x80"


def load_data(path: str | PathLike[str]) -> LightningDataModule:
    """The data module that the checkpoint's run was trained with, not yet prepared.

    Raises:
        UserError: The checkpoint has none, or its class cannot be imported.
    """
    from lit_gen.rooms import import_rooms

    recipe = read(path).get("datamodule_hyper_parameters", {})
    if "_class_path" not in recipe:
        raise UserError(f"{path} does not say which data it was trained on.")
    import_rooms()
    data_class = import_class(recipe["_class_path"], path, LightningDataModule)
    try:
        with limited_imports():
            return data_class.load_from_checkpoint(path, weights_only=True)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"The data of {path} could not be set up as {recipe['_class_path']}:\n{error}") from error


def _class_path(of: type) -> str:
    return f"{of.__module__}.{of.__qualname__}"


def _arguments(built: object) -> dict[str, Any]:
    """Constructor arguments, read from the attributes that carry their names (scikit-learn's convention)."""
    parameters = inspect.signature(type(built).__init__).parameters.values()
    named = [p for p in parameters if p.name != "self" and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    return {p.name: _recipe(getattr(built, p.name), p.name) for p in named if hasattr(built, p.name)}


def _recipe(value: Any, name: str) -> Any:
    """Plain values stay; an object becomes the `class_path` and `init_args` that YAML would hold."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple | torch.nn.ModuleList):
        return [_recipe(item, name) for item in value]
    if isinstance(value, dict):
        return {key: _recipe(item, name) for key, item in value.items()}
    if isinstance(value, partial):
        return {"class_path": _class_path(value.func), "init_args": _recipe(value.keywords, name)}
    if inspect.isfunction(value):
        rank_zero_warn(
            f"`{name}` is a function, which a checkpoint cannot record: a model loaded from it gets the default. "
            "Pass functools.partial(torch.optim.Adam, lr=2e-4) instead of a lambda."
        )
        return None
    return {"class_path": _class_path(type(value)), "init_args": _arguments(value)}
