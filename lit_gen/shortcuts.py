"""What one option on the command line says to several places of a configuration."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from jsonargparse import Namespace

from lit_gen.errors import UserError

DATA_SIZES = ("image_size", "channels")


def put_source(source: str | None, callbacks: Sequence[Any]) -> None:
    """`--source PATH`: where the run's LoadWeights finds its weights, instead of what its experiment names.

    Args:
        source: The option's value, None where it was not given.
        callbacks: Settings of the Trainer's callbacks, changed in place.

    Raises:
        UserError: No callback, or more than one, loads weights.
    """
    if source is None:
        return
    loading = _loading(callbacks)
    if len(loading) != 1:
        raise UserError(
            f"--source {source}: found {len(loading)} LoadWeights among the callbacks, expected one to tell.\nType "
            "--config experiments/gan_cats_finetune.yaml, say, or --trainer.callbacks+=LoadWeights "
            f"--trainer.callbacks.source {source}"
        )
    loading[0]["init_args"]["source"] = source


def put_trust(trust: bool, callbacks: Sequence[Any], line: Sequence[str]) -> None:
    """`--trust true`: LoadWeights may run what a pickle brings along. What a file says of it does not count.

    A configuration of somebody else's could otherwise bring a pickle, and its own leave to run it.

    Args:
        trust: The option's value.
        callbacks: Settings of the Trainer's callbacks, changed in place.
        line: What was typed.

    Raises:
        UserError: It was a file that said so.
    """
    loading = _loading(callbacks)
    if not trust and not any(one["init_args"].get("trust") for one in loading):
        return
    if not any(word.partition("=")[0].rpartition(".")[2].lstrip("-") == "trust" for word in line):
        raise UserError(
            "LoadWeights: found trust: true in a file, but a pickle can run any code with your rights, so that only "
            "you can say so.\nTake it out of the file. If you trust whoever made the source with your whole account, "
            "type --trust true."
        )
    for one in loading:
        one["init_args"]["trust"] = True


def _loading(callbacks: Sequence[Any]) -> list[Any]:
    """Settings of those callbacks that load weights."""
    return [one for one in callbacks if one["class_path"].rpartition(".")[2] == "LoadWeights"]


def follow_data(model: Any, data: Any, line: Sequence[str]) -> None:
    """`--data.image_size 64` and `--data.channels 1` go for the model's networks too, unless these are typed as well.

    Args:
        model: Settings of the model, changed in place.
        data: Settings of the data.
        line: What was typed.
    """
    options = [word.partition("=")[0] for word in line if word.startswith("--")]
    for name in DATA_SIZES:
        typed = [option.split(".") for option in options if option.endswith(f".{name}")]
        if any(parts[0] == "--data" for parts in typed) and all(parts[0] == "--data" for parts in typed):
            for settings in _with(model, name):
                settings[name] = data["init_args"][name]


def _with(node: Any, name: str) -> Iterator[dict[str, Any]]:
    """All settings below `node` that have this name, and a value: a null leaves something out."""
    if isinstance(node, list):
        for item in node:
            yield from _with(item, name)
    elif isinstance(node, dict | Namespace):
        own = node if isinstance(node, dict) else vars(node)
        if own.get(name) is not None and not isinstance(own[name], dict | Namespace):
            yield own
        for value in own.values():
            yield from _with(value, name)
