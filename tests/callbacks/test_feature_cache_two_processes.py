"""The cache of features on two gloo processes: computed once, and each rank trains on its own share of the rows."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from common import REPOSITORY, newest_run
from two_ranks import TwoRanks


def test_both_ranks_train_on_features_that_were_computed_once(tmp_path: Path, two_ranks: TwoRanks) -> None:
    config = REPOSITORY / "experiments" / "classifier_digits_5to9_features.yaml"
    options = [f"--config={config}", "--model.max_images=80", "--model.features.network.width=4"]
    options += ["--data.batch_size=20", f"--trainer.default_root_dir={tmp_path}", "--trainer.callbacks=FeatureCache"]
    options += ["--trainer.callbacks+=spies.BatchSpy", f"--trainer.callbacks.folder={tmp_path}"]
    cache = Path(os.environ["LIT_GEN_CACHE"]) / "features"
    before = set(cache.glob("*"))
    two_ranks(tmp_path, *options)
    first, second = (torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in (0, 1))
    for name, value in first["state"].items():
        assert torch.equal(value, second["state"][name]), name
    assert first["seen"].shape == second["seen"].shape == (40, 16 * 4 * 4)
    rows = {tuple(row.tolist()) for row in torch.cat([first["seen"], second["seen"]])}
    assert len(rows) == 80  # of an epoch of 100 each row is seen by one of them
    assert len(set(cache.glob("*")) - before) == 2  # train and validation
    assert torch.load(newest_run(tmp_path) / "last.ckpt", weights_only=True)["images_seen"] == 80
