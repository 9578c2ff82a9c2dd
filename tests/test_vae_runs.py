"""The VAE through the command line: what lands on the disk, what is refused, two processes."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from common import MEASURED, REPOSITORY, newest_run

import lit_gen
from lit_gen.__main__ import main

PLAIN = REPOSITORY / "experiments" / "vae_mlp_mnist5k.yaml"
CONDITIONAL = REPOSITORY / "experiments" / "cvae_mnist5k.yaml"
TINY = [
    "--data.batch_size=16", "--data.n_images=160", "--model.max_images=64", "--model.mixture_components=2",
    "--model.iwae_samples=3", "--trainer.log_every_n_steps=2", "--trainer.check_val_every_n_epoch=1",
]  # fmt: skip
NARROW = ["--model.encoder.hidden=[8]", "--model.decoder.hidden=[8]"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished tiny run, whose last batch is also one at which a checkpoint and grids are due."""
    root = tmp_path_factory.mktemp("vae")
    due = ["--trainer.callbacks+=LastCheckpoint", "--trainer.callbacks.every=32"]
    main(["fit", f"--config={PLAIN}", f"--trainer.default_root_dir={root}", *TINY, *NARROW, *due])
    return newest_run(root)


def test_a_run_has_its_grids_metrics_and_mixture(run: Path) -> None:
    modes = ("images", "mixture", "reconstruct", "interpolate")
    assert {path.name for path in (run / "samples").iterdir()} == {f"{mode}_000000064.png" for mode in modes}
    with (run / "metrics.csv").open() as file:
        written = list(csv.DictReader(file))
    assert [row["images_seen"] for row in written] == ["32", "64"]
    bounds = {
        f"{split}/{key}" for split in ("train", "val") for key in ("elbo", "kl", "log_likelihood", "bits_per_dim")
    }
    assert bounds | {"train/beta", "train/gradient_norm", "val/active_units"} <= set(written[0])
    assert all(row["train/gradient_norm"] for row in written)
    model = lit_gen.load(run / "last.ckpt")
    assert model.mixture.fitted
    assert model.images_seen == 64
    assert model.elbo(torch.zeros(3, 1, 28, 28)).shape == (3,)


def test_predict_makes_each_mode(run: Path, tmp_path: Path) -> None:
    for mode in ("sample", "mixture", "reconstruct", "interpolate"):
        main(["predict", f"--ckpt_path={run}", f"--mode={mode}", "--n=3", f"--out={tmp_path / mode}"])
        assert {p.name for p in (tmp_path / mode).iterdir()} == {f"00000{k}.png" for k in range(3)} | {"grid.png"}


def test_test_writes_the_bounds(run: Path, without_pages: None) -> None:
    root = run.parents[1]
    options = [f"--config={PLAIN}", f"--trainer.default_root_dir={root}", *TINY, *NARROW, *MEASURED, "--ckpt_path=last"]
    main(["test", *options])
    with (run / "test" / "metrics.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert float(row["test/elbo"]) < float(row["test/iwae"]) < 0


def test_another_latent_size_does_not_fit_the_checkpoint(run: Path, refused) -> None:
    resume = ["fit", f"--config={PLAIN}", *TINY, *NARROW, f"--ckpt_path={run}", "--model.max_images=640"]
    said = refused(*resume, "--model.encoder.latent_dim=3", "--model.decoder.latent_dim=3")
    assert "does not fit the model of this configuration" in said
    assert "[2, 2]" in said or "[4, 8]" in said
    said = refused(*resume, "--model.encoder.latent_dim=3")
    assert "encoder's latent_dim is 3, the decoder's 2" in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--data.labels=false"], "found batches of images alone, expected images and labels"),
        (
            ["--model.encoder.n_classes=9", "--model.decoder.n_classes=9"],
            "the data has 10 classes, the networks have 9",
        ),
        (["--model.encoder.n_classes=9"], "encoder's n_classes is 9, the decoder's 10"),
        (
            ["--data.image_size=32", "--model.decoder.image_size=28"],
            "the data's images are 1x32x32, the decoder makes 1x28x28",
        ),
        (["--model.encoder.image_size=32"], "the encoder does not take the decoder's images"),
        (["--model.optimizer.lr=-1"], "model.optimizer: torch refuses its settings"),
        (["--model.beta=-1"], "beta is -1.0, expected at least 0"),
        (["--model.likelihood.threshold=2"], "found threshold 2.0"),
    ],
)
def test_what_does_not_fit_is_one_message(options: list[str], said: str, refused, tmp_path: Path) -> None:
    root = f"--trainer.default_root_dir={tmp_path}"
    assert said in refused("fit", f"--config={CONDITIONAL}", root, *TINY, *options)
