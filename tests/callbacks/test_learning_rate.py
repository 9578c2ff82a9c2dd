"""Learning rates are a function of the images seen, on every optimizer, after a resume as before."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lit_gen.callbacks.learning_rate import CosineDecay, LinearDecay
from lit_gen.errors import UserError


def test_linear_decay_by_hand() -> None:
    decay = LinearDecay(start=0.5)
    assert [decay.factor(seen, 1000) for seen in (0, 500, 750, 1000, 1016)] == [1, 1, 0.5, 0, 0]
    assert LinearDecay(start=0.0).factor(250, 1000) == 0.75


def test_cosine_decay_by_hand() -> None:
    decay = CosineDecay(start=0.2)
    assert decay.factor(200, 1000) == 1
    assert decay.factor(600, 1000) == pytest.approx(0.5)
    assert decay.factor(1000, 1000) == decay.factor(1010, 1000) == 0
    rising = CosineDecay(start=0.5, warm_up=100)
    assert rising.factor(49, 1000) == pytest.approx(0.5)
    assert rising.factor(100, 1000) == 1


def rates(folder: Path) -> list[float]:
    checkpoint = torch.load(folder / "last.ckpt", weights_only=True)
    return [state["param_groups"][0]["lr"] for state in checkpoint["optimizer_states"]]


def test_every_optimizer_follows_and_a_resumed_run_too(fit) -> None:
    decay = ["--trainer.callbacks+=LinearDecay", "--trainer.callbacks.start=0.0"]
    folder = fit(*decay)
    assert rates(folder) == pytest.approx([1e-3 / 4, 2e-3 / 4])  # set at 48 of 64 images
    folder = fit(*decay, "--model.max_images=96", f"--ckpt_path={folder}/last.ckpt")
    assert rates(folder) == pytest.approx([1e-3 / 6, 2e-3 / 6])  # at 80 of 96, from the first rates


def test_it_needs_an_end(refused, tmp_path: Path) -> None:
    found = refused(
        "fit", "--config=experiments/gan_mnist5k.yaml", "--model.max_images=null", "--trainer.callbacks+=CosineDecay",
        f"--trainer.default_root_dir={tmp_path}", "--trainer.max_epochs=1",
    )  # fmt: skip
    assert "CosineDecay needs to know when the run ends" in found


@pytest.mark.parametrize("make", [lambda: LinearDecay(1.0), lambda: CosineDecay(-0.1), lambda: CosineDecay(0, -1)])
def test_nonsense_is_refused(make) -> None:
    with pytest.raises(UserError, match="expected"):
        make()
