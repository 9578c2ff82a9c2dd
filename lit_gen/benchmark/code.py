"""The code that a configuration runs: what its numbers hang on beside its settings."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

PROJECT = Path(__file__).parents[2]
ROOMS = ("models", "networks", "losses", "augmentations", "callbacks", "metrics")
# These show what was found, or say where things are; no number hangs on them, and a change of them costs no hours.
SHOWING = {
    *("errors", "files", "fetch", "pages", "paths", "pictures", "rooms", "run_folder", "loggers", "lineage"),
    *("report", "report_html", "charts", "comparison", "comparison_html", "numbers", "runs"),
    *("run_record", "sample_grid", "image_progress_bar", "throughput"),
}


class Source(NamedTuple):
    """A file as it counts here: comments, docstrings and layout do not."""

    digest: str
    imports: frozenset[Path]
    classes: frozenset[str]


def digest_of(config: Any, project: Path = PROJECT) -> str:
    """SHA-256 of the files with the classes that a configuration names, and of all that these import, less SHOWING."""
    index, found = classes(project), set()
    waiting = {index[name] for name in named(config) if name in index}
    while waiting:
        file = waiting.pop()
        if file.stem not in SHOWING:
            found.add(file)
            waiting |= read(file, project).imports - found
    digest = hashlib.sha256()
    for file in sorted(found):
        digest.update(f"{file.relative_to(project)} {read(file, project).digest}\n".encode())
    return digest.hexdigest()


def named(node: Any) -> Iterator[str]:
    """All strings of a configuration, those that are paths of classes by the name of the class."""
    if isinstance(node, dict):
        for value in node.values():
            yield from named(value)
    elif isinstance(node, list):
        for value in node:
            yield from named(value)
    elif isinstance(node, str):
        yield node.rpartition(".")[2]


@cache
def classes(project: Path = PROJECT) -> dict[str, Path]:
    """The file of each class that a configuration can name, by the class's name."""
    folders = [*(project / "lit_gen" / room for room in ROOMS), project / "datamodules"]
    files = [file for folder in folders for file in sorted(folder.glob("*.py"))]
    return {name: file for file in files for name in read(file, project).classes}


@cache
def read(file: Path, project: Path) -> Source:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    imports, names = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            modules = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            imports |= {project / f"{module.replace('.', '/')}.py" for module in modules}
        elif isinstance(node, ast.Import):
            imports |= {project / f"{alias.name.replace('.', '/')}.py" for alias in node.names}
        elif isinstance(node, ast.ClassDef):
            names.add(node.name)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    digest = hashlib.sha256(ast.dump(tree).encode()).hexdigest()
    return Source(digest, frozenset(path for path in imports if path.is_file()), frozenset(names))
