"""`--trainer.devices 2` on the CPU: two gloo processes, one run, equal weights."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from common import MEASURED, REPOSITORY
from two_ranks import TwoRanks, by_command_line

from lit_gen.__main__ import main
from lit_gen.callbacks.sync_ranks import SyncRanks

WIDTH = ["--model.generator.width=4", "--model.discriminator.width=4"]
FEW = ["--data.n_images=400", "--trainer.limit_val_batches=2"]
# Of each family its experiment, and what makes its networks and its data tiny.
FAMILIES = {
    "gan": ("gan_mnist5k.yaml", [*WIDTH, *FEW]),
    "conditional gan": ("cgan_mnist5k.yaml", [*WIDTH, *FEW]),
    "vae": (
        "vae_mnist5k.yaml",
        ["--model.encoder.width=4", "--model.decoder.width=4", "--model.mixture_components=2", *FEW],
    ),
    "cyclegan": (
        "cyclegan_digits.yaml",
        ["--model.pool_size=4", "--model.discriminator_a.width=4", "--model.discriminator_b.width=4"]
        + ["--model.generator_ab.width=4", "--model.generator_ba.width=4"]
        + ["--data.n_images_a=400", "--data.n_images_b=400", "--trainer.limit_val_batches=2"],
    ),
}
# Frozen for half of the run; the last of each family lies in a network with a moving average.
FROZEN = {
    "gan": ["discriminator", "generator.blocks"],
    "conditional gan": ["discriminator.blocks.[0-1]", "generator.blocks"],
    "vae": ["encoder"],
    "cyclegan": ["discriminator_a", "generator_ab.blocks"],
}


@dataclass
class Ran:
    """What a run on two processes left behind."""

    family: str
    folder: Path
    ranks: list[dict]
    said: str

    def checkpoint(self) -> dict:
        return torch.load(next(self.folder.glob("*/*/last.ckpt")), weights_only=True)


def run(family: str, folder: Path, launch: Callable[..., str], *options: str) -> Ran:
    """The family's experiment on tiny networks, 160 images on two processes."""
    experiment, tiny = FAMILIES[family]
    given = [f"--config={REPOSITORY / 'experiments' / experiment}", f"--trainer.default_root_dir={folder}", *tiny]
    given += ["--data.batch_size=16", "--model.max_images=160", "--trainer.log_every_n_steps=2"]
    given += ["--trainer.callbacks+=spies.Spy", f"--trainer.callbacks.folder={folder}", *options]
    said = launch(folder, *given)
    ranks = [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in (0, 1)]
    return Ran(family, folder, ranks, said)


@pytest.fixture(scope="module", params=FAMILIES)
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, two_ranks: TwoRanks) -> Ran:
    """The first family by the command line, which starts its second process; the others where torch is imported."""
    family, modules = request.param, FROZEN[request.param]
    freeze = ["--trainer.callbacks+=FreezeModules", f"--trainer.callbacks.modules={json.dumps(modules)}"]
    reinit = ["--trainer.callbacks+=ReinitModules", f'--trainer.callbacks.modules=["{modules[-1]}"]']
    options = [*freeze, "--trainer.callbacks.until=80", *reinit, *MEASURED, "--trainer.callbacks.every=80"]
    launch = by_command_line if family == "gan" else two_ranks
    return run(family, tmp_path_factory.mktemp("both"), launch, *options)


def test_both_ranks_hold_equal_weights_and_buffers(both: Ran) -> None:
    first, second = both.ranks
    assert first["state"].keys() == second["state"].keys()
    for name, value in first["state"].items():
        assert torch.equal(value, second["state"][name]), name


def test_the_weights_have_moved_and_are_in_the_checkpoint(both: Ran) -> None:
    state, saved = both.ranks[0]["state"], both.checkpoint()["state_dict"]
    assert all(torch.equal(value, saved[name]) for name, value in state.items())
    averages = [name for name in state if "_ema." in name and name.endswith("head.weight")]
    assert averages
    assert not any(torch.equal(state[name], state[name.replace("_ema.", ".")]) for name in averages)


def test_the_ranks_draw_different_noise_for_one_run(both: Ran) -> None:
    first, second = both.ranks
    assert not torch.equal(first["noise"], second["noise"])
    assert first["root"] == second["root"]
    assert len(list(both.folder.glob("*/*/run.json"))) == 1


def test_one_process_measures_what_both_have_measured(both: Ran, without_pages: None) -> None:
    """The last measurement of the run is of the weights that it ended with."""
    folder = next(both.folder.glob("*/*/last.ckpt")).parent
    experiment, tiny = FAMILIES[both.family]
    options = [*tiny, *MEASURED, f"--ckpt_path={folder}"]
    main(["validate", f"--config={REPOSITORY / 'experiments' / experiment}", *options])
    alone = read_numbers(folder / "val" / "metrics.csv")
    by_both = read_numbers(folder / "metrics.csv")
    compared = [name for name in by_both if name.endswith("_tiny")]
    assert len(compared) == 8 * (2 if both.family == "cyclegan" else 1)
    assert {name: alone[name] for name in compared} == pytest.approx({name: by_both[name] for name in compared}, 1e-6)


def read_numbers(path: Path) -> dict[str, float]:
    """The last row of a metrics.csv."""
    with path.open() as file:
        *_, last = csv.DictReader(file)
    return {name: float(value) for name, value in last.items() if value}


def test_images_are_counted_over_both(both: Ran) -> None:
    assert both.checkpoint()["images_seen"] == 160


def test_one_line_says_what_batchnorm_does(both: Ran) -> None:
    has_batchnorm = any(name.endswith("running_mean") for name in both.ranks[0]["state"])
    assert both.said.count("torch has no SyncBatchNorm on the CPU") == has_batchnorm


def test_each_family_keeps_what_is_its_own(both: Ran, two_ranks: TwoRanks) -> None:
    """The mixture that rank 0 fitted; the image pools of both ranks, from which a resumed run deals each its own."""
    checkpoint = both.checkpoint()
    if both.family == "vae":
        assert checkpoint["state_dict"]["mixture.weights"].sum() > 0
    if both.family == "cyclegan":
        first, second = (rank["pools"] for rank in both.ranks)
        for name, pools in checkpoint["image_pools"].items():
            assert not torch.equal(first[name], second[name])
            assert torch.equal(pools, torch.stack([first[name], second[name]]))
        last = next(both.folder.glob("*/*/last.ckpt"))
        again = run("cyclegan", both.folder, two_ranks, "--model.max_images=192", f"--ckpt_path={last}")
        assert again.checkpoint()["images_seen"] == 192
        for now, then in zip(again.ranks, both.ranks, strict=True):
            assert all(torch.equal(now["pools at first"][name], then["pools"][name]) for name in "ab")


def test_what_was_frozen_has_begun_to_learn(both: Ran) -> None:
    """DDP forgets what is frozen when it wraps: let loose later, the ranks would drift apart."""
    state, network = both.ranks[0]["state"], FROZEN[both.family][-1].split(".")[0]
    weights = [name for name in state if name.startswith(f"{FROZEN[both.family][-1]}.") and name.endswith("weight")]
    assert weights
    assert not any(torch.equal(state[name], state[name.replace(network, f"{network}_ema", 1)]) for name in weights)


@pytest.mark.parametrize("family", ["gan", pytest.param("cyclegan", marks=pytest.mark.slow)])
def test_regularisers_towards_the_source_keep_the_ranks_equal(family: str, tmp_path: Path, two_ranks: TwoRanks) -> None:
    """The source, the Fisher information and the batches that features are compared in: each rank has its own."""
    stack = ["L2SP", "EWC", "CrossDomainConsistency", "FeatureDistillation"]
    options = [f"--trainer.callbacks+={name}" for name in stack]
    options.insert(2, "--trainer.callbacks.n_samples=4")
    ran = run(family, tmp_path, two_ranks, *options)
    first, second = (rank["state"] for rank in ran.ranks)
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert {key.split(" of ")[0] for key in ran.checkpoint()["callbacks"]} >= set(stack)


def test_one_process_is_left_alone() -> None:
    class Trainer:
        world_size = 1

    before = torch.get_rng_state()
    SyncRanks().on_fit_start(Trainer(), None)
    assert torch.equal(before, torch.get_rng_state())
