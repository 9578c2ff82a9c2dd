"""Every YAML in experiments/ runs: a few batches of its own model on a tiny set in its data's real format."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
import yaml
from common import REPOSITORY, newest_run
from makers import make_cifar10, make_photos, make_wheel, trust

import lit_gen
from datamodules import animal_silhouettes
from lit_gen.__main__ import main

EXPERIMENTS = sorted((REPOSITORY / "experiments").rglob("*.yaml"))


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


# What a data set needs so that no test downloads; a set that is not named here needs nothing.
STAND_INS = {
    "AnimalSilhouettes": tiny_silhouettes,
    "ImageFolder": tiny_folder,
    "TorchvisionImages": tiny_cifar10,
    "UnpairedFolders": tiny_folders,
}


@pytest.mark.parametrize("config", EXPERIMENTS, ids=lambda path: path.stem)
def test_experiment_trains_and_predicts(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = yaml.safe_load(config.read_text())["data"]["class_path"]
    monkeypatch.setenv("LIT_GEN_CACHE", str(tmp_path / "cache") if data in STAND_INS else _session_cache())
    stand_in = STAND_INS.get(data, lambda *_: [])(tmp_path, monkeypatch)
    options = [*stand_in, "--data.batch_size=4", "--model.max_images=8", "--trainer.limit_val_batches=1"]
    monkeypatch.chdir(tmp_path)  # a config works from anywhere
    for source in sources_of(config):
        main(["fit", f"--config={source}", *options])
    main(["fit", f"--config={config}", *options])
    folder = newest_run(tmp_path / "checkpoints")
    assert folder.parent.name == config.stem
    state = torch.load(folder / "last.ckpt", weights_only=True)
    assert state["images_seen"] == 8
    assert all(value.isfinite().all() for value in state["state_dict"].values() if value.is_floating_point())
    if not lit_gen.load(folder / "last.ckpt").modes:  # a classifier, say
        return
    main(["predict", f"--ckpt_path={folder}", "--n=2", "--out=made"])
    assert {path.name for path in Path("made").iterdir()} == {"000000.png", "000001.png", "grid.png"}


def sources_of(config: Path) -> list[Path]:
    """The experiments whose runs this one begins from: their YAML stands beside it, and their runs in checkpoints/."""
    named = re.findall(r"source: checkpoints/(\w+)\b(?!\.)", config.read_text())
    return [config.with_name(f"{name}.yaml") for name in dict.fromkeys(named)]


def _session_cache() -> str:
    import os

    return os.environ["LIT_GEN_CACHE"]


@pytest.mark.parametrize("config", EXPERIMENTS, ids=lambda path: path.stem)
def test_experiment_opens_with_the_command_that_runs_it(config: Path) -> None:
    head = [line for line in config.read_text().splitlines() if line.startswith("#")]
    assert any(f"python -m lit_gen fit --config experiments/{config.name}" in line for line in head)
    assert "shared/" not in config.read_text()
