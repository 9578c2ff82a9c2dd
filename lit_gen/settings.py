"""What is wrong with parsed settings although each has a type that fits, found before anything is built of them."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from types import FunctionType
from typing import Any

from lightning.pytorch.cli import LightningArgumentParser

from lit_gen.errors import UserError

BATCHES = [*(f"limit_{part}_batches" for part in ("train", "val", "test", "predict")), "overfit_batches"]
BATCHES += ["val_check_interval"]
PLAIN = ("int", "float", "bool", "str")  # annotations that leave no room for null


def whole_numbers_first(parser: LightningArgumentParser) -> None:
    """Lets the Trainer's numbers of batches be whole: `--trainer.limit_val_batches 1` is one batch, 1.0 all of them.

    Lightning writes Union[int, float], and typing gives back whichever of that and Union[float, int] the process wrote
    first, so that the parser may try float before int; `int | float` keeps its order.
    """
    for action in parser._actions:
        if action.dest.removeprefix("trainer.") in BATCHES:
            action._typehint = int | float | None


def check_settings(settings: Any) -> None:
    """Refuses settings that the parser lets through and that nothing could run with.

    Args:
        settings: Of one subcommand, as jsonargparse parsed them.

    Raises:
        UserError: A part is missing, a number out of its range, or null where a value is needed.
    """
    for part in ("trainer", "model", "data"):
        if not hasattr(settings.get(part), "keys"):
            raise UserError(
                f"{part}: found {settings.get(part)}, expected its settings. Leave the line out, or type --{part}.help."
            )
    seed = settings.seed_everything
    if not isinstance(seed, bool) and (seed is None or not 0 <= seed < 2**32):
        raise UserError(f"seed_everything is {seed}, expected 0 to {2**32 - 1}. Type --seed_everything 0.")
    project = settings.wandb_project
    if not 0 < len(project) <= 128 or set(project) & set("/\\#?%:"):
        raise UserError(
            f"--wandb_project {project}: expected 1 to 128 characters, and none of / \\ # ? % :\nType lit_gen, say."
        )
    precision = str(settings.trainer.precision)
    if precision == "64" or (precision.endswith("-true") and precision != "32-true"):
        raise UserError(
            f"trainer.precision is {precision}, but latents and losses are of 32 bits here.\nType "
            "--trainer.precision bf16-mixed, or 16-mixed on a GPU."
        )
    every = settings.trainer.check_val_every_n_epoch
    if every is not None and every < 1:
        raise UserError(
            f"trainer.check_val_every_n_epoch is {every}, expected 1 or more. For no validation type "
            "--trainer.limit_val_batches 0"
        )
    for part in ("model", "data", "trainer"):
        check_nulls(settings[part].as_dict(), part)


def check_nulls(node: Any, key: str) -> None:
    """Refuses null for an argument that is a plain number, word or switch: jsonargparse lets it pass.

    Raises:
        UserError: Naming the argument.
    """
    if isinstance(node, list):
        for item in node:
            check_nulls(item, key)
    elif isinstance(node, Mapping):
        kinds = _annotations(node.get("class_path"))
        for name, value in (node.get("init_args") or {}).items():
            if value is None and kinds.get(name) in PLAIN:
                raise UserError(
                    f"{key}: {node['class_path'].rpartition('.')[2]} needs a value for {name}: found null, expected "
                    f"{kinds[name]}.\nLeave the line out for the default, where it has one."
                )
        for name, value in node.items():
            check_nulls(value, key if name == "init_args" else f"{key}.{name}")


def _annotations(class_path: Any) -> dict[str, str]:
    """Constructor arguments with their types as they are written; the parser has imported the class already."""
    module, _, name = str(class_path).rpartition(".")
    found: dict[str, str] = {}
    for part in reversed(getattr(getattr(sys.modules.get(module), name, None), "__mro__", ())):
        if isinstance(vars(part).get("__init__"), FunctionType):
            for parameter in inspect.signature(part.__init__).parameters.values():
                kind = parameter.annotation
                written = kind if isinstance(kind, str) else getattr(kind, "__name__", str(kind))
                found[parameter.name] = "" if parameter.default is None else written
    return found
