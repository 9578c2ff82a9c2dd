"""publish: a small file that loads like any checkpoint, nothing of the machine in it, and a card that is true."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch

import lit_gen
from lit_gen.__main__ import main
from lit_gen.checkpoint import load_data
from lit_gen.commands.publish import portable


@pytest.fixture
def published(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    main(["publish", f"--ckpt_path={trained}", "--out=out/small.ckpt", '--metrics={"KID": 0.125}', "--note=For tests."])
    return tmp_path / "out" / "small.ckpt"


def test_same_images_from_fewer_bytes(published: Path, trained: Path) -> None:
    assert torch.equal(lit_gen.load(published).sample(4, seed=0), lit_gen.load(trained / "last.ckpt").sample(4, seed=0))
    assert published.stat().st_size < 0.7 * (trained / "last.ckpt").stat().st_size
    assert type(load_data(published)).__name__ == "Mnist5k"


def test_no_training_state_and_no_leftovers(published: Path, trained: Path) -> None:
    small, whole = (torch.load(path, weights_only=True) for path in (published, trained / "last.ckpt"))
    assert not {"optimizer_states", "loops", "callbacks", "lr_schedulers"} & set(small)
    assert small["state_dict"].keys() == whole["state_dict"].keys()
    assert small["run"] == {"id": trained.name, "experiment": "gan_mnist5k", "seed": 0}
    assert sorted(path.name for path in published.parent.iterdir()) == ["small.ckpt", "small.md"]


def test_a_file_alone_keeps_its_run_and_loses_paths_and_spare_storage(trained: Path, tmp_path: Path) -> None:
    checkpoint = torch.load(trained / "last.ckpt", weights_only=True)
    checkpoint["datamodule_hyper_parameters"]["root"] = "/home/me/digits"
    weight = checkpoint["state_dict"]["generator.head.weight"]
    checkpoint["state_dict"]["generator.head.weight"] = torch.cat([weight] * 1000)[: len(weight)]
    torch.save(checkpoint, tmp_path / "alone.ckpt")
    main(["publish", f"--ckpt_path={tmp_path / 'alone.ckpt'}", f"--out={tmp_path / 'small.ckpt'}"])
    small = torch.load(tmp_path / "small.ckpt", weights_only=True)
    assert small["run"]["id"] == trained.name
    assert small["datamodule_hyper_parameters"]["root"] == "digits"
    assert (tmp_path / "small.ckpt").stat().st_size < (trained / "last.ckpt").stat().st_size


def test_card_tells_data_command_metrics_and_checksum(published: Path) -> None:
    card = published.with_suffix(".md").read_text()
    assert hashlib.sha256(published.read_bytes()).hexdigest() in card
    assert f"{published.stat().st_size:,} bytes" in card
    assert "For tests." in card
    assert "| KID | 0.125 |" in card
    assert "Mnist5k: 0, 1, 2" in card
    assert "`python -m lit_gen fit --config experiments/gan_mnist5k.yaml`" in card
    assert "source: out/small.ckpt" in card


def test_a_new_run_begins_from_it(published: Path, fit) -> None:
    load = "{class_path: LoadWeights, init_args: {source: out/small.ckpt}}"
    folder = fit(f"--trainer.callbacks+={load}")
    assert torch.load(folder / "last.ckpt", weights_only=True)["lineage"][0]["experiment"] == "gan_mnist5k"


def test_machine_paths_are_cut(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    given = {"root": "/home/me/cats", "own": f"{tmp_path}/data/cats", "list": ["~/x", "C:\\me\\dogs"], "n": 3}
    assert portable(given) == {"root": "cats", "own": "data/cats", "list": ["x", "dogs"], "n": 3}
    for kept in ("hf://a/b/c", "data/cats", "torch.optim.Adam", ["generator.*"], None):
        assert portable(kept) == kept


def test_the_files_that_it_takes_are_told(trained: Path, tmp_path: Path, refused, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "--out small.ckpt" in refused("publish", f"--ckpt_path={trained}", "--out=small.pt")
    assert "is the checkpoint itself" in refused("publish", f"--ckpt_path={trained}", f"--out={trained / 'last.ckpt'}")
    assert "No checkpoint at" in refused("publish", "--ckpt_path=nothing", "--out=small.ckpt")
    (tmp_path / "file").touch()
    assert "cannot be written" in refused("publish", f"--ckpt_path={trained}", "--out=file/small.ckpt")
