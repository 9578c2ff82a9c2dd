"""What a benchmark file asks for: every cell with its complete configuration, before anything runs."""

from __future__ import annotations

import hashlib
import json
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from lit_gen.errors import UserError, nearest
from lit_gen.paths import find_input

# What a cell's numbers hang on beside its configuration. Pages, commands and docs may change without costing hours.
TRAINING_ROOMS = ("models", "networks", "losses", "augmentations", "transfer", "callbacks", "metrics")
NOT_TRAINING = ("report", "chart", "compar", "numbers", "runs")  # file names in them that only show results
KEYS = {"name", "data", "sources", "methods", "measure", "baselines", "untouched", "clock", "runs"}
NEEDED = {"data", "methods", "measure", "baselines", "runs"}
METHOD_KEYS = {"experiment", "source", "trains", "with"}
SOURCE_KEYS = {"experiment", "data", "minutes", "seed", "path", "with"}
RUN_KEYS = {"methods", "data", "shots", "seeds", "minutes"}


@dataclass(frozen=True)
class Planned:
    """One cell: a training and its test, or the test of a source alone.

    Attributes:
        method: Its name in the file.
        data: Name of its data.
        shots: Train images; None takes all.
        seed: Of everything but the choice of the shots, which all cells of one data set share.
        minutes: Of training; 0 tests the source as it is.
        config: What `fit` and `test` get.
        source: Name of the source that it begins from.
    """

    method: str
    data: str
    shots: int | None
    seed: int
    minutes: float
    config: dict[str, Any] = field(repr=False)
    source: str | None = None

    @property
    def name(self) -> str:
        shots = "all" if self.shots is None else self.shots
        return f"{self.method}-{self.data}-{shots}-seed{self.seed}-{self.minutes:g}min"


@dataclass(frozen=True)
class Plan:
    """A benchmark file, read and checked."""

    name: str
    cells: list[Planned]
    sources: dict[str, Planned | Path]
    baselines: list[str]
    untouched: str | None


def read_plan(path: str) -> Plan:
    """Reads and checks a benchmark file.

    Raises:
        UserError: There is none, or it names what does not exist.
    """
    file = find_input(path)
    if not file.is_file():
        raise UserError(f"benchmark: there is no file {path}.\nType experiments/benchmarks/few_cats.yaml, say.")
    try:
        told = yaml.safe_load(file.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"benchmark: {path} is no YAML: {error}") from error
    if not isinstance(told, dict):
        raise UserError(f"benchmark: {path} holds no settings, expected {', '.join(sorted(KEYS))}.")
    check_keys(path, told, KEYS, NEEDED)
    for part in ("data", "methods"):
        if not isinstance(told[part], dict) or not told[part]:
            raise UserError(f"benchmark: {path}: `{part}` is empty, expected a name with its settings at least.")
    sources = {name: source_of(file, name, one, told) for name, one in (told.get("sources") or {}).items()}
    for name, method in told["methods"].items():
        check_keys(f"{path}: method {name}", method, METHOD_KEYS, {"experiment"})
        if method.get("source") is not None:
            known(f"{path}: method {name}: source", method["source"], sources)
    for name in (*told["baselines"], *([told["untouched"]] if told.get("untouched") else [])):
        known(f"{path}: baselines", name, told["methods"])
    # By name: a source that is only tested stands in several runs, and is one cell.
    cells = {cell.name: cell for run in told["runs"] for cell in cells_of(file, run, told)}
    return Plan(told.get("name") or file.stem, list(cells.values()), sources, told["baselines"], told.get("untouched"))


def source_of(file: Path, name: str, source: dict[str, Any], told: dict[str, Any]) -> Planned | Path:
    """A source that is there already, or the cell that trains it."""
    check_keys(f"{file}: source {name}", source, SOURCE_KEYS)
    if "path" in source:
        return find_input(source["path"])
    known(f"{file}: source {name}: data", source.get("data"), told["data"])
    seed, minutes = source.get("seed", 0), source["minutes"]
    config = config_of(file, source, told, source["data"], None, seed, minutes, measured=False)
    return Planned(f"source_{name}", source["data"], None, seed, minutes, config)


def cells_of(file: Path, run: dict[str, Any], told: dict[str, Any]) -> list[Planned]:
    """The cells of one entry of `runs`."""
    check_keys(f"{file}: runs", run, RUN_KEYS, RUN_KEYS - {"shots", "seeds"})
    known(f"{file}: runs: data", run["data"], told["data"])
    names = list(told["methods"]) if run["methods"] == "all" else run["methods"]
    for name in names:
        known(f"{file}: runs: methods", name, told["methods"])
    cells = []
    for seed, name in product(run.get("seeds", [0]), names):
        method = told["methods"][name]
        trains = method.get("trains", True)
        if not trains and seed != run.get("seeds", [0])[0]:
            continue  # a source as it is has no seed
        minutes = run["minutes"] if trains else 0
        config = config_of(file, method, told, run["data"], run.get("shots"), seed, minutes)
        cells.append(Planned(name, run["data"], run.get("shots"), seed, minutes, config, method.get("source")))
    return cells


def config_of(
    file: Path, method: dict[str, Any], told: dict[str, Any], data: str, shots: int | None, seed: int, minutes: float,
    measured: bool = True,
) -> dict[str, Any]:  # fmt: skip
    """An experiment as this cell runs it."""
    experiment = read_experiment(file, method["experiment"])
    changes = deepcopy(method.get("with") or {})
    changed = changes.pop("callbacks", {}) or {}
    config = merged(experiment, changes)
    config["seed_everything"] = seed
    config["data"] = deepcopy(told["data"][data])
    options = config["data"].setdefault("init_args", {})
    if shots is not None:
        options["n_images"] = shots
    fit_size(config["model"], {name: options[name] for name in ("image_size", "channels") if name in options})
    callbacks = with_callbacks(config["trainer"].get("callbacks") or [], {**changed, "Evaluation": None})
    if measured:  # after all that changes weights
        callbacks.append({"class_path": "Evaluation", "init_args": deepcopy(told["measure"])})
    if minutes:
        budget = {"minutes": minutes, "clock": told.get("clock", "wall")}
        callbacks.insert(0, {"class_path": "TrainingBudget", "init_args": budget})
    config["trainer"]["callbacks"] = callbacks
    config["model"]["init_args"]["max_images"] = None  # minutes end it
    config["trainer"]["max_epochs"] = -1
    return config


def read_experiment(file: Path, name: str) -> dict[str, Any]:
    """The settings of an experiment, which a benchmark file names by its path from the project or from itself."""
    for path in (file.parent / name, find_input(name)):
        if path.is_file():
            return yaml.safe_load(path.read_text())
    raise UserError(f"benchmark: {file} names the experiment {name}, and there is no such file.")


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
        node.update({name: value for name, value in sizes.items() if name in node})
        for value in node.values():
            fit_size(value, sizes)


def key_of(cell: Planned, source_digest: str | None) -> str:
    """Twelve digits of everything that the cell's numbers hang on."""
    said = json.dumps([cell.config, code_digest(), source_digest], sort_keys=True, default=str)
    return hashlib.sha256(said.encode()).hexdigest()[:12]


def code_digest() -> str:
    """SHA-256 of the files that training and measuring go by, TRAINING_ROOMS less NOT_TRAINING, and of the data's."""
    project = Path(__file__).parents[2]
    files = [file for room in TRAINING_ROOMS for file in (project / "lit_gen" / room).glob("*.py")]
    files += (project / "datamodules").glob("*.py")
    digest = hashlib.sha256()
    for file in sorted(files):
        if not any(word in file.stem for word in NOT_TRAINING):
            digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()


def check_keys(where: Any, given: Any, known_keys: set[str], needed: set[str] = frozenset()) -> None:
    """Refuses settings that no one would read, and missing ones."""
    if not isinstance(given, dict):
        raise UserError(f"benchmark: {where}: found {given!r}, expected settings: {', '.join(sorted(known_keys))}.")
    for key in given:
        known(str(where), key, known_keys)
    missing = sorted(needed - set(given))
    if missing:
        raise UserError(f"benchmark: {where} lacks {', '.join(missing)}.\nLook at few_cats.yaml.")


def known(where: str, name: Any, names: Any) -> None:
    """Refuses a name that is none of these."""
    if name not in names:
        raise UserError(
            f"benchmark: {where}: there is no {name!r}, only {', '.join(sorted(names)) or 'none'}."
            f"{nearest(str(name), sorted(names))}"
        )
