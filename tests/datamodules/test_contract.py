"""What holds for every data module, found by walking the room."""

import ast
import importlib
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest
from jsonargparse import ArgumentParser

import datamodules
from datamodules import paths
from datamodules.base import ImageDataModule

FOLDER = Path(datamodules.__file__).parent


def _sources() -> list[type[ImageDataModule]]:
    modules = [importlib.import_module(f"datamodules.{info.name}") for info in pkgutil.iter_modules([str(FOLDER)])]
    found = {value for module in modules for value in vars(module).values() if inspect.isclass(value)}
    return sorted((c for c in found if issubclass(c, ImageDataModule) and not inspect.isabstract(c)), key=str)


@pytest.mark.parametrize("source", _sources())
def test_every_shared_option_can_be_typed(source: type[ImageDataModule]) -> None:
    parser = ArgumentParser()
    parser.add_class_arguments(source, "data")
    text = " ".join(parser.format_help().split())
    for option in inspect.signature(ImageDataModule).parameters:
        assert f"--data.{option}" in text
    assert "ANY" not in text  # every option has a type
    assert "Chooses the n_images" in text  # and its explanation


def test_there_are_sources() -> None:
    names = {source.__name__ for source in _sources()}
    assert {"Mnist5k", "AnimalSilhouettes", "ImageFolder", "TorchvisionImages"} <= names


def test_light_files_need_no_torch() -> None:
    code = "import sys, datamodules, datamodules.errors, datamodules.paths; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=FOLDER.parent)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.name)
def test_nothing_prints_or_imports_lit_gen(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        assert not (isinstance(node, ast.Name) and node.id == "print")
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert not any(name.split(".")[0] == "lit_gen" for name in names)


def test_find_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
    (there / "only").mkdir()
    monkeypatch.chdir(here)
    paths.search_folders.append(there)
    assert paths.find_input("only") == there / "only"
    (here / "only").mkdir()
    assert paths.find_input("only") == here / "only"
    assert paths.find_input("none") == here / "none"
    assert paths.find_input(tmp_path / "none") == tmp_path / "none"
    monkeypatch.setenv("HOME", str(there))
    assert paths.find_input("~/only") == there / "only"


def test_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert paths.cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("LIT_GEN_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert paths.cache_folder() == tmp_path / ".cache" / "lit_gen"
