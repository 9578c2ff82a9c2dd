"""N + M images at once, or N, a kill, and M more: the same run, bit for bit."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import wandb
from common import MEASURED, REPOSITORY, newest_run
from interruptions import differences, rows
from two_ranks import TwoRanks

from lit_gen.__main__ import main
from lit_gen.run_folder import Record

WIDTH = ["--model.generator.width=2", "--model.discriminator.width=2"]
# Of each family its experiment on tiny networks, with everything that has a memory of its own.
FAMILIES = {
    "gan": (
        "gan_mnist5k.yaml",
        [
            *WIDTH,
            "--model.discriminator.normalization=spectral",
            "--model.augment=ADA",
            "--model.augment.every=2",
            "--model.augment.speed=200",
        ]
        + ["--model.loss=LeCamLoss", "--model.discriminator_steps=3"]
        + ["--trainer.callbacks+=FreezeModules", "--trainer.callbacks.modules=[discriminator.blocks.0]"]
        + ["--trainer.callbacks.until=200", "--trainer.callbacks+=LinearDecay"]
        + ["--trainer.callbacks+=FeatureDistillation", "--trainer.callbacks.modules=[discriminator.blocks]"]
        + [*MEASURED, "--trainer.callbacks.every=48"],
    ),
    "conditional gan": (
        "cgan_mnist5k.yaml",
        [*WIDTH, "--model.loss=TopKLoss", "--model.loss.anneal_images=400", "--model.accumulate_batches=2"]
        + ["--model.discriminator.normalization=spectral"],
    ),
    "cyclegan": (
        "cyclegan_digits.yaml",
        ["--model.pool_size=12", "--model.discriminator_a.width=2", "--model.discriminator_b.width=2"]
        + ["--model.generator_ab.width=2", "--model.generator_ba.width=2", "--model.generator_ab.n_blocks=1"]
        + ["--model.generator_ba.n_blocks=1", "--model.loss=LeCamLoss"],
    ),
    "vae": (
        "vae_mnist5k.yaml",
        ["--model.encoder.width=2", "--model.decoder.width=2", "--model.mixture_components=2"]
        + ["--trainer.accumulate_grad_batches=2"],
    ),
    "classifier": (
        "classifier_digits_5to9_scratch.yaml",
        ["--model.features.network.width=2", "--model.dropout=0.5", "--trainer.check_val_every_n_epoch=3"],
    ),
}


def alone(*options: str) -> None:
    """`fit` in this process."""
    main(["fit", *options])


@dataclass
class Experiment:
    """A family's experiment: 80 train images, 16 in a batch, a checkpoint after every third batch of one process.

    Args:
        family: One of FAMILIES.
        root: Where everything is written.
        options: Further ones of the command line.
        launch: Runs `fit` with the options that it is given.
    """

    family: str
    root: Path
    options: tuple[str, ...] = ()
    launch: Callable[..., Any] = alone

    def fit(self, root: Path, *more: str) -> Path:
        """Trains below `root`; the folder of the run."""
        experiment, own = FAMILIES[self.family]
        images = (
            ["--data.n_images_a=80", "--data.n_images_b=64"] if self.family == "cyclegan" else ["--data.n_images=80"]
        )
        given = [f"--config={REPOSITORY / 'experiments' / experiment}", f"--trainer.default_root_dir={root}"]
        given += [*images, "--data.batch_size=16", "--data.horizontal_flip=true", "--model.max_images=320"]
        given += ["--trainer.check_val_every_n_epoch=1", "--trainer.limit_val_batches=2"]
        given += ["--trainer.log_every_n_steps=2", *own, "--trainer.callbacks+=LastCheckpoint"]
        self.launch(*given, "--trainer.callbacks.every=48", *self.options, *more)
        return newest_run(root)

    def uninterrupted(self, *at: int) -> Path:
        """The whole run, with what kills would have left behind in `runs_<images>`."""
        snapshots = [
            "--allow=interruptions",
            "--trainer.callbacks+=interruptions.Snapshots",
            f"--trainer.callbacks.root={self.root / 'runs'}",
        ]
        return self.fit(self.root / "runs", *snapshots, f"--trainer.callbacks.at={json.dumps(at)}")

    def resumed(self, images: int, *more: str) -> Path:
        """The run that was killed after so many images, gone on with by the same command."""
        return self.fit(self.root / f"runs_{images}", "--ckpt_path=last", *more)


def last(folder: Path) -> dict[str, Any]:
    return torch.load(folder / "last.ckpt", weights_only=True)


def compare(whole: Path, resumed: Path) -> None:
    """That two runs are one and the same: everything in their last checkpoints, every row of metrics.csv."""
    assert whole.name == resumed.name
    assert whole.parents[1] != resumed.parents[1]
    assert list(differences(last(whole), last(resumed))) == []
    assert rows(whole) == rows(resumed)
    assert [int(row["images_seen"]) for row in rows(whole)] == sorted({int(row["images_seen"]) for row in rows(whole)})
    for name in ("config.yaml", "run.json"):
        assert (whole / name).read_text() == (resumed / name).read_text()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_killed_run_goes_on_as_if_it_had_never_stopped(family: str, tmp_path: Path, monkeypatch) -> None:
    begun, begin = [], wandb.init
    monkeypatch.setattr(wandb, "init", lambda **options: begun.append(options) or begin(**options))
    experiment = Experiment(family, tmp_path)
    # The checkpoint of 144 images lies within an epoch, and none of its rows may wait to be written; that of 240 lies
    # between two epochs, and a later row is written already.
    kills = (160, 272) if family in ("gan", "classifier") else (160,)
    whole = experiment.uninterrupted(*kills)
    for images in kills:
        compare(whole, experiment.resumed(images))
    assert {(options["id"], options["resume"]) for options in begun} == {(whole.name, "allow")}
    assert len(begun) == 1 + len(kills)


def test_worker_processes_change_nothing(tmp_path: Path) -> None:
    whole = Experiment("classifier", tmp_path).uninterrupted(160)
    resumed = Experiment("classifier", tmp_path, ("--data.num_workers=2",)).resumed(160)
    assert rows(whole) == rows(resumed)
    assert [place for place in differences(last(whole), last(resumed)) if "num_workers" not in place] == []


def test_two_processes_go_on_as_if_they_had_never_stopped(tmp_path: Path, two_ranks: TwoRanks) -> None:
    experiment = Experiment("gan", tmp_path, launch=partial(two_ranks, tmp_path))
    whole = experiment.uninterrupted(160)  # after the checkpoint of 96 images: an epoch has 64
    compare(whole, experiment.resumed(160))
    first, second = last(whole)["random_streams"]
    assert not torch.equal(first["torch"], second["torch"])


@pytest.mark.parametrize("family", ["conditional gan", "vae"])
def test_a_finished_run_may_be_made_longer(family: str, tmp_path: Path) -> None:
    """It has been validated where it ended, and has a row for it; all that it learns is as it would have been."""
    experiment = Experiment(family, tmp_path, ("--trainer.callbacks=LastCheckpoint",))  # schedules know the end
    whole = experiment.fit(tmp_path / "whole")
    short = experiment.fit(tmp_path / "short", "--model.max_images=112")
    longer = experiment.fit(tmp_path / "short", f"--ckpt_path={short}")
    assert short == longer
    names = ("state_dict", "optimizer_states", "random_streams", "loops", "images_seen", "gradients")
    one, other = ({name: checkpoint[name] for name in names} for checkpoint in map(last, (whole, longer)))
    assert list(differences(one, other)) == []
    extra = [row for row in rows(longer) if row["images_seen"] == "112"]
    assert len(extra) == 1
    seen = [row["images_seen"] for row in rows(longer)]
    assert seen == sorted({*seen}, key=int)
    assert {*seen} == {row["images_seen"] for row in rows(whole)} | {"112"}


def test_a_run_that_was_killed_after_its_last_checkpoint_learns_nothing_more(tmp_path: Path) -> None:
    experiment = Experiment("classifier", tmp_path)
    whole = experiment.fit(tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "runs_0")
    (killed,) = (tmp_path / "runs_0").glob("*/*")
    Record(whole.parent.name, 0, "running", 320).write(killed)
    compare(whole, experiment.resumed(0))
