"""The cache of features on two gloo processes: computed once, and each rank trains on its own share of the rows."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch
from common import REPOSITORY, newest_run

SPY = """
from pathlib import Path
import torch
from lightning.pytorch import Callback

class Spy(Callback):
    def __init__(self, folder: str):
        self.folder, self.seen = folder, []
    def on_train_batch_start(self, trainer, model, batch, batch_idx):
        self.seen.append(batch[0])
    def on_fit_end(self, trainer, model):
        found = {"state": model.state_dict(), "seen": torch.cat(self.seen)}
        torch.save(found, Path(self.folder) / f"rank{trainer.global_rank}.pt")
"""


def test_both_ranks_train_on_features_that_were_computed_once(tmp_path: Path) -> None:
    (tmp_path / "spy.py").write_text(SPY)
    config = REPOSITORY / "experiments" / "classifier_digits_5to9_features.yaml"
    command = [sys.executable, "-m", "lit_gen", "fit", f"--config={config}", "--model.max_images=80"]
    command += ["--model.features.network.width=4", "--data.batch_size=20", f"--trainer.default_root_dir={tmp_path}"]
    command += ["--trainer.devices=2", "--trainer.accelerator=cpu", "--trainer.callbacks=FeatureCache"]
    command += ["--trainer.callbacks+=spy.Spy", f"--trainer.callbacks.folder={tmp_path}"]
    cache = Path(os.environ["LIT_GEN_CACHE"]) / "features"
    before = set(cache.glob("*"))
    path = os.pathsep.join([str(tmp_path), str(REPOSITORY)])
    env = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=240)
    assert ran.returncode == 0, ran.stderr[-3000:]
    first, second = (torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in (0, 1))
    for name, value in first["state"].items():
        assert torch.equal(value, second["state"][name]), name
    assert first["seen"].shape == second["seen"].shape == (40, 16 * 4 * 4)
    rows = {tuple(row.tolist()) for row in torch.cat([first["seen"], second["seen"]])}
    assert len(rows) == 80  # of an epoch of 100 each row is seen by one of them
    assert len(set(cache.glob("*")) - before) == 2  # train and validation
    assert torch.load(newest_run(tmp_path) / "last.ckpt", weights_only=True)["images_seen"] == 80
