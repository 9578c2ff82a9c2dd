"""merge, and wrapped networks from the command line: YAML, fit, predict, merge, load."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from common import GAN_MNIST, REPOSITORY, newest_run

import lit_gen
from lit_gen.__main__ import main

OPTIONS = ["--data.batch_size=16", "--model.max_images=64", "--trainer.check_val_every_n_epoch=1"]
GENERATOR = {"image_size": 28, "channels": 1, "latent_dim": 8, "width": 4}


def wrapped(wrapper: str, network: str = "DCGANGenerator", arguments: str = "", **more: int) -> str:
    """What stands in YAML where the generator stands."""
    inner = ", ".join(f"{key}: {value}" for key, value in (GENERATOR | more).items())
    return (
        f"--model.generator={{class_path: {wrapper}, init_args: {{{arguments}network: {{class_path: {network}, "
        f"init_args: {{{inner}}}}}}}}}"
    )


def fit(root: Path, *options: str, config: Path = GAN_MNIST) -> Path:
    narrow = "--model.discriminator.width=4"
    main(["fit", f"--config={config}", f"--trainer.default_root_dir={root}", narrow, *OPTIONS, *options])
    return newest_run(root) / "last.ckpt"


@pytest.fixture(scope="module")
def low_rank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fit(tmp_path_factory.mktemp("low_rank"), wrapped("LowRank", arguments="rank: 2, "))


def test_a_merged_checkpoint_is_one_of_plain_networks(low_rank: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "new" / "merged.ckpt"
    main(["merge", f"--ckpt_path={low_rank.parent}", f"--out={out}"])
    assert "generator, generator_ema without wrappers" in capsys.readouterr().out
    before, after = lit_gen.load(low_rank), lit_gen.load(out)
    assert type(before.generator).__name__ == "LowRank"
    assert type(after.generator).__name__ == type(after.generator_ema).__name__ == "DCGANGenerator"
    assert not torch.equal(before.generator_ema(torch.ones(2, 8)), before.generator_ema.network(torch.zeros(2, 8)))
    assert torch.allclose(after.sample(8, seed=0), before.sample(8, seed=0), atol=1e-5)
    assert after.images_seen == 64
    held = torch.load(out, weights_only=True)
    assert not {"optimizer_states", "callbacks", "loops"} & set(held)
    assert not [key for key in held["state_dict"] if "parametrizations" in key or ".network." in key]
    assert held["hyper_parameters"]["generator"]["class_path"].endswith("DCGANGenerator")
    main(["predict", f"--ckpt_path={out}", "--n=1", f"--out={tmp_path / 'images'}"])
    assert (tmp_path / "images" / "000000.png").is_file()


def test_a_merged_checkpoint_is_a_source_like_any_other(low_rank: Path, tmp_path: Path) -> None:
    out = tmp_path / "merged.ckpt"
    main(["merge", f"--ckpt_path={low_rank}", f"--out={out}"])
    options = ["--trainer.callbacks+=LoadWeights", f"--trainer.callbacks.source={out}"]
    plain = fit(tmp_path / "plain", "--model.generator.width=4", "--model.generator.latent_dim=8", *options)
    assert lit_gen.load(plain).sample(2, seed=0).isfinite().all()
    again = fit(tmp_path / "again", wrapped("ScaleAndShift"), *options)
    assert lit_gen.load(again).sample(2, seed=0).isfinite().all()


def test_the_inner_network_is_loaded_on_its_own(low_rank: Path) -> None:
    state = torch.load(low_rank, weights_only=True)["state_dict"]
    generator = lit_gen.load(low_rank, module="generator.network")
    assert torch.equal(generator.head.bias, state["generator_ema.network.head.bias"])


def test_a_conditional_generator_is_mined(tmp_path: Path) -> None:
    config = REPOSITORY / "experiments" / "cgan_mnist5k.yaml"
    network = wrapped("Miner", "ConditionalDCGANGenerator", "hidden: [6], ", n_classes=10)
    checkpoint = fit(tmp_path, network, config=config)
    model = lit_gen.load(checkpoint)
    assert model.generator.hidden == [6]
    assert model.n_classes == 10
    assert model.sample(3, [0, 4, 9], seed=0).shape == (3, 1, 28, 28)


def test_what_cannot_be_merged_is_said(low_rank: Path, trained: Path, tmp_path: Path, refused) -> None:
    out = f"--out={tmp_path / 'merged.ckpt'}"
    assert "nothing in" in refused("merge", f"--ckpt_path={trained}", out)
    assert "is the checkpoint itself" in refused("merge", f"--ckpt_path={low_rank}", f"--out={low_rank}")
    assert "No checkpoint at" in refused("merge", "--ckpt_path=nowhere.ckpt", out)
    (tmp_path / "file").touch()
    assert "cannot be written" in refused("merge", f"--ckpt_path={low_rank}", f"--out={tmp_path / 'file' / 'x.ckpt'}")
    for wrapper in ("Miner", "ScaleAndShift"):
        checkpoint = fit(tmp_path / wrapper, wrapped(wrapper))
        assert f"{wrapper} cannot be merged" in refused("merge", f"--ckpt_path={checkpoint}", out)
    assert not (tmp_path / "merged.ckpt").exists()


def test_a_bad_rank_is_one_message(tmp_path: Path, refused) -> None:
    network = wrapped("LowRank", arguments="rank: 0, ")
    said = refused("fit", f"--config={GAN_MNIST}", f"--trainer.default_root_dir={tmp_path}", network)
    assert "LowRank: found rank 0, expected 1 or more" in said
