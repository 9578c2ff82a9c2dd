"""What a benchmark file may say; every mistake is found before anything runs."""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from typing import Any

import torch
from lightning.pytorch import callbacks

from lit_gen.benchmark.code import classes
from lit_gen.errors import UserError, nearest
from lit_gen.files import is_plain_name
from lit_gen.packages import check_allowed

KEYS = {"name", "data", "sources", "methods", "measure", "baselines", "untouched", "clock", "runs"}
METHOD_KEYS = {"experiment", "source", "trains", "with"}
SOURCE_KEYS = {"experiment", "data", "minutes", "seed", "path", "with"}
RUN_KEYS = {"methods", "data", "shots", "seeds", "minutes", "threads"}
MEASURE_KEYS = {"every", "n", "n_test", "metrics", "extractor", "seed"}
EXAMPLE = "Look at experiments/benchmarks/few_cats.yaml."
SHOWN = 20  # names in a message


def check_file(path: str, told: Any) -> None:
    """Refuses what no cell could be made of.

    Raises:
        UserError: A setting is missing, unknown, or names what does not exist.
    """
    check_keys(path, told, KEYS, {"data", "methods", "measure", "baselines", "runs"})
    check_keys(f"{path}: measure", told["measure"], MEASURE_KEYS)
    known(f"{path}: clock", told.get("clock", "wall"), ("wall", "processor"))
    if not is_plain_name(str(told.get("name", "plain"))):
        raise UserError(f"benchmark: {path}: found name: {told['name']!r}, expected a plain folder name.\n{EXAMPLE}")
    for part in ("data", "methods", "sources"):
        for name in told.get(part) if isinstance(told.get(part), dict) else ():
            if not is_plain_name(str(name)):
                raise UserError(f"benchmark: {path}: {part}: {name!r} is no plain folder name.\n{EXAMPLE}")
        if not isinstance(told.get(part) or {}, dict) or (part != "sources" and not told[part]):
            raise UserError(
                f"benchmark: {path}: found {part}: {told[part]!r}, expected names with settings.\n{EXAMPLE}"
            )
    if not isinstance(told["runs"], list) or not told["runs"]:
        raise UserError(f"benchmark: {path}: found runs: {told['runs']!r}, expected a list.\n{EXAMPLE}")
    sources = told.get("sources") or {}
    for name, source in sources.items():
        where = f"{path}: source {name}"
        check_keys(where, source, SOURCE_KEYS)
        if "path" not in source:
            check_keys(where, source, SOURCE_KEYS, {"experiment", "data", "minutes"})
            known(f"{where}: data", source["data"], told["data"])
            check_minutes(where, source["minutes"])
    for name, method in told["methods"].items():
        where = f"{path}: method {name}"
        check_keys(
            where, method, METHOD_KEYS, {"experiment"} | ({"source"} if method and not trains(method) else set())
        )
        if method.get("source") is not None:
            known(f"{where}: source", method["source"], sources)
    for run in told["runs"]:
        check_run(path, run, told)
    for part in (told["baselines"], [told.get("untouched")]):
        for name in part:
            if name is not None:
                known(f"{path}: baselines, untouched", name, told["methods"])


def check_run(path: str, run: Any, told: dict[str, Any]) -> None:
    """Refuses an entry of `runs` that names what there is not."""
    where = f"{path}: runs"
    check_keys(where, run, RUN_KEYS, {"methods", "data", "minutes"})
    known(f"{where}: data", run["data"], told["data"])
    for name in [] if run["methods"] == "all" else run["methods"]:
        known(f"{where}: methods", name, told["methods"])
    check_minutes(where, run["minutes"])
    threads = run.get("threads", 1)
    if not isinstance(threads, int) or threads < 1:
        raise UserError(f"benchmark: {where}: found threads: {threads!r}, expected at least 1. Write threads: 2.")


def trains(method: Any) -> bool:
    """Whether a method's cells are trained; else the source is tested as it is."""
    return not isinstance(method, dict) or method.get("trains", True)


def check_minutes(where: str, minutes: Any) -> None:
    if not isinstance(minutes, int | float) or not minutes > 0:
        raise UserError(f"benchmark: {where}: found minutes: {minutes!r}, expected more than 0. Write minutes: 5.")


def check_keys(where: str, given: Any, known_keys: set[str], needed: Collection[str] = ()) -> None:
    """Refuses settings that no one would read, and missing ones."""
    if not isinstance(given, dict):
        names = ", ".join(sorted(known_keys))
        raise UserError(f"benchmark: {where}: found {given!r}, expected settings: {names}.\n{EXAMPLE}")
    for key in given:
        known(where, key, known_keys)
    missing = sorted(set(needed) - set(given))
    if missing:
        raise UserError(f"benchmark: {where} lacks {', '.join(missing)}.\n{EXAMPLE}")


def check_classes(where: str, node: Any) -> None:
    """Refuses a class that there is not, or may not be imported: hours would go by before its cell fails."""
    if isinstance(node, list):
        for item in node:
            check_classes(where, item)
    elif isinstance(node, dict):
        name = node.get("class_path")
        if isinstance(name, str) and "." not in name:
            known(f"{where}: class_path", name, nameable())
        elif isinstance(name, str):
            check_allowed(name, where)
        for value in node.values():
            check_classes(where, value)


@cache
def nameable() -> set[str]:
    """The classes that YAML can name without saying where they are: lit_gen's, Lightning's callbacks, torch's."""
    return {*classes(), *dir(callbacks), *dir(torch.nn), *dir(torch.optim)}


def known(where: str, name: Any, names: Collection[str]) -> None:
    """Refuses a name that is none of these."""
    if name not in names:
        expected = f"expected one of {', '.join(sorted(names))}. " if 0 < len(names) <= SHOWN else ""
        hint = nearest(str(name), sorted(names)).strip()
        raise UserError(f"benchmark: {where}: there is no {name!r}, {expected}{hint}".rstrip(", ") + f"\n{EXAMPLE}")
