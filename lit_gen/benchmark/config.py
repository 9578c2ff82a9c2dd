"""An experiment's settings as a cell of a benchmark runs them."""

from __future__ import annotations

from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from lit_gen.benchmark.checks import check_classes
from lit_gen.errors import UserError
from lit_gen.paths import find_input
from lit_gen.yaml_files import load_yaml


def config_of(
    file: Path, method: dict[str, Any], told: dict[str, Any], data: str, shots: int | None, seed: int, minutes: float,
    measured: bool = True,
) -> dict[str, Any]:  # fmt: skip
    """An experiment as this cell runs it: minutes end it, and `measure` says how it is watched and tested.

    Args:
        file: The benchmark file, which experiments are looked for beside.
        method: Names the experiment, and what is changed `with` it.
        told: The whole benchmark file.
        data: Name of the data.
        shots: Train images; None takes all.
        seed: Of the training, and of the choice of shots.
        minutes: Of training; 0 where there is none.
        measured: A source is trained and not tested.

    Raises:
        UserError: There is no such experiment, or no such class.
    """
    experiment = read_experiment(file, method["experiment"])
    experiment["model"]["init_args"]["max_images"] = None
    changes = deepcopy(method.get("with") or {})
    changed = changes.pop("callbacks", {}) or {}
    experiment["data"] = deepcopy(told["data"][data])
    config = merged(experiment, changes)
    config["seed_everything"] = seed
    options = config["data"].setdefault("init_args", {})
    if shots is not None:  # each seed draws its own, so that no claim hangs on one lucky hundred
        options |= {"n_images": shots, "seed": seed}
    fit_size(config["model"], {name: options[name] for name in ("image_size", "channels") if name in options})
    listed = [{"class_path": one} if isinstance(one, str) else one for one in config["trainer"].get("callbacks") or []]
    callbacks = with_callbacks(listed, {**changed, "Evaluation": None})
    if measured:
        callbacks.append({"class_path": "Evaluation", "init_args": deepcopy(told["measure"])})
    if minutes:
        budget = {"minutes": minutes, "clock": told.get("clock", "wall")}
        callbacks.insert(0, {"class_path": "TrainingBudget", "init_args": budget})
    config["trainer"]["callbacks"] = callbacks
    config["trainer"]["max_epochs"] = -1
    check_classes(str(file), config)
    return config


def read_experiment(file: Path, name: str) -> dict[str, Any]:
    """The settings of an experiment, which a benchmark file names by its path from the project or from itself."""
    for path in (file.parent / name, find_input(name)):
        if path.is_file():
            try:
                return deepcopy(parsed(path.read_text(encoding="utf-8")))
            except (yaml.YAMLError, OSError, UnicodeDecodeError) as error:
                raise UserError(f"benchmark: {path} is no YAML of an experiment: {error}") from error
    raise UserError(
        f"benchmark: {file} names the experiment {name}, and there is no such file.\nName it as it lies beside the "
        "benchmark file, such as ../gan_cats_scratch.yaml."
    )


@cache
def parsed(text: str) -> dict[str, Any]:
    """The settings of an experiment; many cells share one.

    Raises:
        yaml.YAMLError: They are none.
    """
    found = load_yaml(text)
    if not all(isinstance(found, dict) and isinstance(found.get(key), dict) for key in ("model", "data", "trainer")):
        raise yaml.YAMLError("`model`, `data` and `trainer` were expected, with settings")
    found["model"].setdefault("init_args", {})
    return found


def with_callbacks(callbacks: list[dict[str, Any]], changes: dict[str, dict[str, Any] | None]) -> list[dict[str, Any]]:
    """Callbacks with settings changed by class name; None takes one out, a class that was not there comes last."""
    changes = dict(changes)
    found = []
    for callback in callbacks:
        name = callback["class_path"].rpartition(".")[2]
        change = changes.pop(name, {})
        if change is not None:
            found.append(merged(callback, {"init_args": change} if change else {}))
    return found + [{"class_path": name, "init_args": change} for name, change in changes.items() if change is not None]


def merged(settings: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`settings` with nested `changes`; another class_path replaces what was there."""
    found = deepcopy(settings)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(found.get(key), dict)
        same = both and value.get("class_path", found[key].get("class_path")) == found[key].get("class_path")
        found[key] = merged(found[key], value) if same else deepcopy(value)
    return found


def fit_size(node: Any, sizes: dict[str, int]) -> None:
    """Networks that were given the data's size and channels get those of this data."""
    if isinstance(node, list):
        for item in node:
            fit_size(item, sizes)
    elif isinstance(node, dict):
        node.update({name: value for name, value in sizes.items() if node.get(name) is not None})
        for value in node.values():
            fit_size(value, sizes)
