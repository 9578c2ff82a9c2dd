"""Every YAML in experiments/ runs: a few batches of its own model on a tiny set in its data's real format."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from common import REPOSITORY, newest_run
from lightning.pytorch import LightningModule
from makers import make_cifar10, make_pets, make_photos, make_wheel, trust

import lit_gen
from datamodules import animal_silhouettes
from lit_gen.__main__ import main
from lit_gen.packages import import_class

EXPERIMENTS = sorted((REPOSITORY / "experiments").glob("*.yaml"))  # benchmarks/ below it name these


def tiny_silhouettes(folder: Path, patch: pytest.MonkeyPatch) -> list[str]:
    wheel = make_wheel(folder)
    trust(wheel, patch)
    patch.setattr(animal_silhouettes, "fetch_wheel", lambda _: wheel)
    return ["--data.n_images=null"]  # a few of many would be more than there are here


def tiny_folder(folder: Path, patch: pytest.MonkeyPatch) -> list[str]:
    return [f"--data.root={make_photos(folder / 'photos')}"]


def tiny_folders(folder: Path, patch: pytest.MonkeyPatch) -> list[str]:
    return [f"--data.root_a={make_photos(folder / 'cats')}", f"--data.root_b={make_photos(folder / 'dogs')}"]


def tiny_cifar10(folder: Path, patch: pytest.MonkeyPatch) -> list[str]:
    make_cifar10(folder / "sets", patch)
    return [f"--data.root={folder / 'sets'}"]


def tiny_pets(folder: Path, patch: pytest.MonkeyPatch) -> list[str]:
    return [f"--data.root={make_pets(folder / 'sets')}", "--data.n_images=null"]


# What a data set needs so that no test downloads; a set that is not named here needs nothing.
STAND_INS = {
    "AnimalSilhouettes": tiny_silhouettes,
    "ImageFolder": tiny_folder,
    "CIFAR10": tiny_cifar10,
    "torchvision.datasets.OxfordIIITPet": tiny_pets,
    "UnpairedFolders": tiny_folders,
}


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Path]:
    """train(config) is the folder of the experiment's run. Each runs once, be it asked for itself or as a source."""
    root = tmp_path_factory.mktemp("experiments")
    runs: dict[Path, Path] = {}

    def run(config: Path) -> Path:
        if config not in runs:
            for source in sources_of(config):
                run(source)
            with pytest.MonkeyPatch.context() as patch:
                patch.chdir(root)  # a config works from anywhere, and finds its source's run in checkpoints/
                main(["fit", f"--config={config}", *options(config, patch)])
            runs[config] = newest_run(root / "checkpoints")
        return runs[config]

    def options(config: Path, patch: pytest.MonkeyPatch) -> list[str]:
        data = yaml.safe_load(config.read_text())["data"]
        large = data["init_args"].get("image_size") or 0
        tiny = ["--data.batch_size=4", "--model.max_images=8", "--trainer.limit_val_batches=2"]
        if "Evaluation" in config.read_text():  # the last of its callbacks; there are few images here to hold out
            tiny += [f"--trainer.callbacks.{name}" for name in ("n=16", "extractor=tiny_extractor.TinyExtractor")]
            tiny += ["--data.val_fraction=0.5", "--data.test_fraction=0"]
        tiny += ["--data.image_size=32"] if large > 32 else []  # the networks follow
        source = data["init_args"].get("dataset", data["class_path"])
        if source in STAND_INS:
            folder = tmp_path_factory.mktemp("data")
            patch.setenv("LIT_GEN_CACHE", str(folder / "cache"))
            return [*STAND_INS[source](folder, patch), *tiny]
        if data["class_path"] == "Mnist5k" and data["init_args"].get("n_images") is None:
            tiny.append("--data.n_images=400")  # what goes through all of them once, as a mixture does, is soon through
        return tiny

    return run


@pytest.mark.parametrize("config", EXPERIMENTS, ids=lambda path: path.stem)
def test_experiment_trains_and_predicts(
    config: Path, train: Callable[[Path], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = train(config)
    assert folder.parent.name == config.stem
    state = torch.load(folder / "last.ckpt", weights_only=True)
    assert state["images_seen"] == 8
    assert all(value.isfinite().all() for value in state["state_dict"].values() if value.is_floating_point())
    if not import_class(state["hyper_parameters"]["_class_path"], folder, LightningModule).modes:  # a classifier, say
        lit_gen.load(folder / "last.ckpt")
        return
    monkeypatch.chdir(tmp_path)
    main(["predict", f"--ckpt_path={folder}", "--n=2", "--out=made"])
    assert {path.name for path in Path("made").iterdir()} == {"000000.png", "000001.png", "grid.png"}


def sources_of(config: Path) -> list[Path]:
    """The experiments whose runs this one begins from: their YAML stands beside it, and their runs in checkpoints/."""
    named = re.findall(r"source: checkpoints/(\w+)\b(?!\.)", config.read_text())
    return [config.with_name(f"{name}.yaml") for name in dict.fromkeys(named)]


@pytest.mark.parametrize("config", EXPERIMENTS, ids=lambda path: path.stem)
def test_experiment_opens_with_the_command_that_runs_it(config: Path) -> None:
    head = [line for line in config.read_text().splitlines() if line.startswith("#")]
    assert any(f"python -m lit_gen fit --config experiments/{config.name}" in line for line in head)
    assert "shared/" not in config.read_text()
