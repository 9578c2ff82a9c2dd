"""Who may import whom: drawn downwards, nothing points up, rooms side by side do not import each other."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

from common import REPOSITORY
from lightning.pytorch import Callback, LightningDataModule
from torch import nn

from lit_gen.metrics.base import Metric
from lit_gen.rooms import import_rooms

# What a room may import of this project; the ground floor (errors, rooms of one file) stands under all of them.
GROUND = {
    *("errors", "sampling", "pictures", "progress", "agreement", "image_pool", "mixture"),
    *("selection", "checkpoint", "run_folder", "loggers", "rooms", "paths", "fetch", "spectral", "structure"),
    *("freezing", "param_groups", "fronts", "feature_store", "ranks", "transforms", "files", "pages", "shortcuts"),
    *("crops", "duplicates", "contact_sheet", "random_streams", "packages", "yaml_files"),
    *("checkpoint_file", "checkpoint_content", "interruption", "slurm", "console", "optimizers"),
    "resume_checks",
}
MAY_IMPORT = {
    "networks": {"networks"},
    "losses": {"losses"},
    "augmentations": {"augmentations"},
    "models": {"losses", "models", "augmentations"},
    "callbacks": {"callbacks", "transfer", "metrics"},
    "transfer": {"transfer"},
    "metrics": {"metrics", "networks"},
    "benchmark": {"benchmark", "metrics"},
    "health": {"health", "datamodules"},
    "commands": {"callbacks", "transfer", "metrics", "cli", "datamodules", "commands", "benchmark", "health"},
}


def imports(file: Path) -> set[str]:
    """The rooms of this project that a file imports: `models`, `errors`, `datamodules`, and of these `transforms`..."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = (
                [f"{node.module}.{alias.name}" for alias in node.names] if node.module == "lit_gen" else [node.module]
            )
        for name in names:
            parts = name.split(".")
            if parts[0] == "datamodules":
                found.add("transforms" if parts[1:2] == ["transforms"] else "datamodules")
            elif parts[0] == "lit_gen" and len(parts) > 1:
                found.add(parts[1])
    return found


def test_rooms_import_downwards_only() -> None:
    for room, allowed in MAY_IMPORT.items():
        place = REPOSITORY / "lit_gen" / room
        files = [place.with_suffix(".py")] if place.with_suffix(".py").exists() else place.glob("*.py")
        for file in files:
            assert imports(file) <= allowed | GROUND, f"{file.name} imports {imports(file) - allowed - GROUND}"


def test_datamodules_never_import_lit_gen() -> None:
    for file in (REPOSITORY / "datamodules").glob("*.py"):
        assert imports(file) <= {"datamodules", "transforms"}, file.name


def test_models_do_not_import_networks_and_only_one_imports_another() -> None:
    edges = set()
    for file in (REPOSITORY / "lit_gen" / "models").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("lit_gen.models."):
                edges.add((file.stem, node.module.rpartition(".")[2]))
    assert edges <= {("conditional_gan", "gan")}


def test_only_transforms_knows_the_range() -> None:
    """Scaling by 127.5 or 255 happens in one file."""
    for folder in ("lit_gen", "datamodules"):
        for file in (REPOSITORY / folder).rglob("*.py"):
            if file.name != "transforms.py":
                numbers = {n.value for n in ast.walk(ast.parse(file.read_text())) if isinstance(n, ast.Constant)}
                assert 127.5 not in numbers, file


def test_top_level_holds_what_it_should() -> None:
    import subprocess

    listed = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=False).stdout
    top = {name.split("/")[0] for name in listed.splitlines()}
    fixed = {"lit_gen", "datamodules", "experiments", "tests", "checkpoints", "pyproject.toml", "README.md", "LICENSE"}
    assert {name for name in top if not name.startswith(".")} <= fixed


def test_a_bare_class_name_is_enough_in_yaml() -> None:
    """jsonargparse looks a name up among all subclasses that are imported, those of torchvision and Lightning too."""
    import_rooms()
    for base in (nn.Module, Callback, LightningDataModule, Metric):
        names = Counter()
        for found in _subclasses(base):
            names[found.__name__] += 1
        ours = {
            found.__name__
            for found in _subclasses(base)
            if found.__module__.split(".")[0] in ("lit_gen", "datamodules")
        }
        assert [name for name in ours if not name.startswith("_") and names[name] > 1] == []


def _subclasses(base: type) -> set[type]:
    return {found for child in base.__subclasses__() for found in {child, *_subclasses(child)}}
