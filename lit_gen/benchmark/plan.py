"""What a benchmark file asks for: every cell with its complete configuration, before anything runs."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from lit_gen.benchmark.checks import check_file, trains
from lit_gen.benchmark.code import digest_of
from lit_gen.benchmark.config import config_of
from lit_gen.errors import UserError
from lit_gen.fetch import sha256
from lit_gen.paths import find_input, search_beside
from lit_gen.yaml_files import read_yaml


@dataclass(frozen=True)
class Planned:
    """One cell: a training and its test, or the test of a source alone.

    Attributes:
        method: Its name in the file, `source_...` for a source.
        data: Name of its data.
        shots: Train images; None takes all.
        seed: Of everything but the choice of the shots, which all cells of one data set share: that is the data's own.
        minutes: Of training; 0 tests the source as it is.
        config: What `fit` and `test` get.
        source: Name of the source that it begins from.
        threads: Of the processor; None leaves them to the command.
    """

    method: str
    data: str
    shots: int | None
    seed: int
    minutes: float
    config: dict[str, Any] = field(repr=False)
    source: str | None = None
    threads: int | None = None

    @property
    def name(self) -> str:
        shots = "all" if self.shots is None else self.shots
        threads = "" if self.threads is None else f"-{self.threads}threads"
        return f"{self.method}-{self.data}-{shots}-seed{self.seed}-{self.minutes:g}min{threads}"


@dataclass(frozen=True)
class Plan:
    """A benchmark file, read and checked."""

    name: str
    cells: list[Planned]
    sources: dict[str, Planned | Path]
    baselines: list[str]
    untouched: str | None

    @property
    def trained(self) -> list[Planned]:
        """The sources that are trained here; others are files."""
        return [source for source in self.sources.values() if isinstance(source, Planned)]

    def place(self, cell: Planned, folder: Path) -> Path:
        """The folder of a cell; its name ends in a key of everything that the cell's numbers hang on."""
        source = self.sources.get(cell.source) if cell.source else None
        digest = sha256(source) if isinstance(source, Path) else None if source is None else key_of(source, None)
        kind = "sources" if cell in self.sources.values() else "cells"
        return folder / kind / f"{cell.name}-{key_of(cell, digest)}"


def read_plan(path: str) -> Plan:
    """Reads and checks a benchmark file.

    Raises:
        UserError: There is none, or it names what does not exist.
    """
    file = find_input(path)
    if not file.is_file():
        raise UserError(f"benchmark: there is no file {path}.\nType experiments/benchmarks/few_cats.yaml, say.")
    try:
        told = read_yaml(file)
    except (yaml.YAMLError, OSError) as error:
        raise UserError(f"benchmark: {path} is no YAML that can be read: {error}") from error
    check_file(path, told)
    search_beside(file)
    sources = {name: source_of(file, name, one, told) for name, one in (told.get("sources") or {}).items()}
    for method in told["methods"].values():  # those that no run names are to be right as well
        config_of(file, method, told, next(iter(told["data"])), None, 0, 0.0)
    cells = {cell.name: cell for run in told["runs"] for cell in cells_of(file, run, told)}
    return Plan(told.get("name") or file.stem, list(cells.values()), sources, told["baselines"], told.get("untouched"))


def source_of(file: Path, name: str, source: dict[str, Any], told: dict[str, Any]) -> Planned | Path:
    """A source that is there already, or the cell that trains it."""
    if "path" in source:
        found = find_input(source["path"])
        if not found.is_file():
            raise UserError(
                f"benchmark: {file}: the source {name} is to be at {found}, and there is no file.\nName a checkpoint, "
                "or give the source an experiment, data and minutes."
            )
        return found.resolve()
    seed, minutes = source.get("seed", 0), source["minutes"]
    config = config_of(file, source, told, source["data"], None, seed, minutes, measured=False)
    return Planned(f"source_{name}", source["data"], None, seed, minutes, config)


def cells_of(file: Path, run: dict[str, Any], told: dict[str, Any]) -> list[Planned]:
    """The cells of one entry of `runs`; a source as it is has no seed, so one is enough."""
    names = list(told["methods"]) if run["methods"] == "all" else run["methods"]
    data, shots, seeds = run["data"], run.get("shots"), run.get("seeds", [0])
    cells = []
    for seed, name in product(seeds, names):
        method = told["methods"][name]
        if trains(method) or seed == seeds[0]:
            minutes, threads = (run["minutes"], run.get("threads")) if trains(method) else (0, None)
            config = config_of(file, method, told, data, shots, seed, minutes)
            cells.append(Planned(name, data, shots, seed, minutes, config, method.get("source"), threads))
    return cells


def key_of(cell: Planned, source_digest: str | None) -> str:
    """Twelve digits of all that the cell's numbers hang on: settings, code, and the source that it begins from."""
    said = json.dumps([cell.config, digest_of(cell.config), source_digest], sort_keys=True, default=str)
    return hashlib.sha256(said.encode()).hexdigest()[:12]
