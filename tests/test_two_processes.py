"""`--trainer.devices 2` on the CPU: two gloo processes, one run, equal weights."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from common import GAN_MNIST, REPOSITORY, TINY

from lit_gen.callbacks.sync_ranks import SyncRanks

# A callback on the user's PYTHONPATH: every rank writes down what it holds at the end, and what it drew.
SPY = """
from pathlib import Path
import torch
from lightning.pytorch import Callback

class Spy(Callback):
    def __init__(self, folder: str):
        self.folder = folder
    def on_train_start(self, trainer, model):
        self.noise = torch.randn(4)
    def on_fit_end(self, trainer, model):
        found = {"state": model.state_dict(), "noise": self.noise, "root": trainer.default_root_dir}
        torch.save(found, Path(self.folder) / f"rank{trainer.global_rank}.pt")
"""


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict], str]:
    folder = tmp_path_factory.mktemp("two")
    (folder / "spy.py").write_text(SPY)
    command = [sys.executable, "-m", "lit_gen", "fit", f"--config={GAN_MNIST}", *TINY, "--trainer.devices=2"]
    command += [f"--trainer.default_root_dir={folder}", "--model.max_images=160", "--trainer.accelerator=cpu"]
    command += ["--trainer.callbacks+=spy.Spy", f"--trainer.callbacks.folder={folder}"]
    path = os.pathsep.join([str(folder), str(REPOSITORY)])
    env = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "WANDB_MODE": "disabled"}
    ran = subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, timeout=240)
    assert ran.returncode == 0, ran.stderr[-3000:]
    return folder, [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in (0, 1)], ran.stderr


def test_both_ranks_hold_equal_weights_and_buffers(both) -> None:
    _, (first, second), _ = both
    assert first["state"].keys() == second["state"].keys()
    for name, value in first["state"].items():
        assert torch.equal(value, second["state"][name]), name


def test_the_weights_have_moved(both) -> None:
    folder, (first, _), _ = both
    start = torch.load(next(folder.glob("*/*/last.ckpt")), weights_only=True)["state_dict"]
    assert torch.equal(start["generator.head.weight"], first["state"]["generator.head.weight"])
    assert not torch.equal(first["state"]["generator.head.weight"], first["state"]["generator_ema.head.weight"])


def test_the_ranks_draw_different_noise_for_one_run(both) -> None:
    folder, (first, second), _ = both
    assert not torch.equal(first["noise"], second["noise"])
    assert first["root"] == second["root"]
    assert len(list(folder.glob("gan_mnist5k/*"))) == 1


def test_images_are_counted_over_both(both) -> None:
    folder, _, _ = both
    assert torch.load(next(folder.glob("*/*/last.ckpt")), weights_only=True)["images_seen"] == 160


def test_one_line_says_what_batchnorm_does(both) -> None:
    assert both[2].count("torch has no SyncBatchNorm on the CPU") == 1


def test_one_process_is_left_alone() -> None:
    class Trainer:
        world_size = 1

    before = torch.get_rng_state()
    SyncRanks().on_fit_start(Trainer(), None)
    assert torch.equal(before, torch.get_rng_state())
