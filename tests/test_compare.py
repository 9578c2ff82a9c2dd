"""compare: runs side by side from their own files."""

from __future__ import annotations

import csv
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from reports import elsewhere, estimate, measured, report

import lit_gen
from lit_gen.__main__ import main
from lit_gen.commands.compare import side_of
from lit_gen.fetch import sha256
from lit_gen.metrics.base import Metric
from lit_gen.metrics.runs import Run, differences, directions, flattened, logged, read_run, report_folder
from lit_gen.pictures import Made

Refused = Callable[..., str]


@pytest.fixture
def twins(trained: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Two runs of one experiment; the second has a setting of its own and a best.ckpt with images of its own."""
    folders = tmp_path / "gan" / "1", tmp_path / "gan" / "2"
    for folder in folders:
        shutil.copytree(trained, folder)
    config = folders[1] / "config.yaml"
    config.write_text(re.sub(r"(default_root_dir:).*", r"\1 elsewhere", config.read_text()).replace("5000.0", "7.0"))
    checkpoint = torch.load(folders[1] / "last.ckpt", weights_only=True)
    checkpoint["state_dict"]["generator_ema.head.weight"].mul_(10)
    torch.save(checkpoint, folders[1] / "best.ckpt")
    return folders


def judge(run: Path, *estimates, file: str = "last.ckpt", **changes) -> Path:
    """Gives a run's checkpoint a report."""
    folder = report_folder(run / file)
    folder.mkdir(exist_ok=True)
    return report(*estimates, **{"checkpoint_sha256": sha256(run / file), **changes}).write(folder)


def test_two_runs_side_by_side(twins: tuple[Path, Path], tmp_path: Path, capsys) -> None:
    first, second = twins
    common = [-3.0, 3.0] * 2
    judge(first, measured(3.0, [3 + c for c in common]), estimate(0.5, "recall", "higher"))
    judge(second, measured(1.0, [1.1 + c for c in common]), estimate(0.5, "recall", "higher"), file="best.ckpt")
    out = tmp_path / "page.html"
    main(["compare", str(first), "--n=3", "--seed", "5", str(second), f"--out={out}"])
    said = capsys.readouterr().out
    assert f"With images and curves: {out}" in said
    assert "gan_mnist5k/2, best.ckpt (GAN, 64 images seen)" in said
    assert "By kid_toy run 2 is better than run 1: -2" in said
    assert re.search(r"run 2 .*0\.50 .*inside the noise|run 2 .*best", said)
    assert [line.split() for line in said.splitlines() if "half_life" in line] == [
        ["trainer.callbacks.EMA.half_life", "5000.0", "7.0"]
    ]
    assert "image_size" not in said and "default_root_dir" not in said
    assert max(map(len, said.splitlines())) <= 110
    page = out.read_text()
    assert elsewhere(page) == []
    assert "By kid_toy run 2 is better than run 1" in page and "val/real_accuracy" in page
    assert page.count("data:image/png") == 2


def test_the_images_are_those_of_the_seed(twins: tuple[Path, Path]) -> None:
    run = read_run(str(twins[1]))
    model = lit_gen.load(run.checkpoint)
    grid = side_of(run, model, 3, seed=5).samples
    expected = (model.sample(3, seed=5) + 1) / 2
    for column in range(3):
        left = 2 + 30 * column
        torch.testing.assert_close(grid[:1, 2:30, left : left + 28], expected[column])


def test_which_checkpoint_a_folder_stands_for(twins: tuple[Path, Path]) -> None:
    first, second = twins
    assert read_run(str(first)).checkpoint.name == "last.ckpt"
    assert read_run(str(second)).checkpoint.name == "best.ckpt"
    assert read_run(str(second / "last.ckpt")).checkpoint.name == "last.ckpt"
    assert read_run(str(first.parent)).checkpoint.parent.name == "2"  # the newest run
    assert report_folder(first / "last.ckpt") == first / "test"
    assert report_folder(first / "best.ckpt", "val") == first / "val_best"


def test_a_report_of_an_earlier_file_is_stale(twins: tuple[Path, Path]) -> None:
    run = twins[0]
    assert "There is no report" in read_run(str(run)).notes[0]
    judge(run, estimate(1.0), checkpoint_sha256="0" * 64)
    found = read_run(str(run))
    assert found.report is None
    assert "is stale" in found.notes[0] and "python -m lit_gen test --config" in found.notes[0]
    judge(run, estimate(1.0), against="train images")
    found = read_run(str(run))
    assert list(found.numbers(0)) == ["kid_toy"]
    assert "not held out" in found.notes[0]


def write_metrics(run: Path, *rows: dict[str, float]) -> None:
    names = dict.fromkeys(name for row in rows for name in row)
    with (run / "metrics.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["images_seen", *names])
        writer.writeheader()
        writer.writerows(rows)


def row(images: int, value: float) -> dict[str, float]:
    name = "val/toy_share_net"
    return {"images_seen": images, name: value, f"{name}_low": value - 0.1, f"{name}_high": value + 0.1, "train/x": 1}


def test_without_a_report_the_curves_have_to_do(twins: tuple[Path, Path], tmp_path: Path, capsys, monkeypatch) -> None:
    # One of these names begins as the other does.
    monkeypatch.setattr("lit_gen.metrics.runs.directions", lambda: {"toy": "lower", "toy_share": "higher"})
    write_metrics(twins[0], row(32, 0.2), row(64, 0.3), {"images_seen": 64, "val/loss": 1.0}, row(96, 0.9))
    write_metrics(twins[1], row(64, 0.7))
    curves = read_run(str(twins[0])).curves
    assert set(curves) == {"val/toy_share_net", "val/loss"}
    (found,) = logged(curves, images_seen=64)  # the row after the checkpoint is not about it
    assert (found.name, found.extractor, found.value, found.better) == ("toy_share", "net", 0.3, "higher")
    main(["compare", *map(str, twins), "--n=1", f"--out={tmp_path}"])
    assert "By toy_share_net run 2 is better than run 1: 0.40 [0.26, 0.54]" in capsys.readouterr().out
    assert (tmp_path / "compare.html").is_file()


def test_the_metrics_know_which_way_is_better() -> None:
    found = directions()
    for metric in Metric.__subclasses__():
        assert metric.better.items() <= found.items()


class Translates:
    """As a CycleGAN shows itself: three panels for each image that it begins with."""

    modes = ("a_to_b",)

    def make(self, mode: str, n: int, seed: int, source: object) -> list[Made]:
        """Black sources, white translations, grey reconstructions."""
        panels = torch.tensor([-1.0, 1.0, 0.0]).view(1, 3, 1, 1, 1).expand(n, 3, 1, 4, 4)
        return [Made(panels[:, 1], panels)]


def test_other_families_show_what_they_have(trained: Path) -> None:
    run = Run("a run", trained / "last.ckpt")
    side = side_of(run, Translates(), 2, seed=0)
    assert side.samples[0, 4::6, 4].tolist() == [0.0, 1.0, 0.5]  # below each other
    assert torch.equal(side.samples[:, :, 2:6], side.samples[:, :, 8:12])
    assert "mode a_to_b, held-out images" in side.caption
    side = side_of(run, torch.nn.Identity(), 2, seed=0)
    assert side.samples is None and "makes no images" in side.caption


def test_settings_go_by_the_names_that_one_types() -> None:
    ema = {"class_path": "lit_gen.callbacks.ema.EMA", "init_args": {"half_life": 5}}
    model = {"class_path": "lit_gen.models.gan.GAN", "init_args": {"loss": {"class_path": "x.Hinge"}, "clip": None}}
    found = dict(flattened({"model": model, "trainer": {"callbacks": [ema]}, "seeds": [1, 2]}))
    assert found == {
        "model": "GAN", "model.loss": "Hinge", "trainer.callbacks.EMA": "yes", "trainer.callbacks.EMA.half_life": "5",
        "seeds": "[1, 2]",
    }  # fmt: skip
    assert differences([found, {**found, "model": "VAE"}, found]) == {"model": ["GAN", "VAE", "GAN"]}
    assert differences([found, {}])["seeds"] == ["[1, 2]", "-"]


def test_settings_of_another_class_are_not_differences() -> None:
    gan = {"model": "GAN", "model.beta1": "0.5", "model.width": "3", "model.depth": "1", "seed": "0"}
    vae = {"model": "VAE", "model.likelihood": "Bernoulli", "model.width": "4", "model.depth": "1", "seed": "0"}
    assert differences([gan, vae]) == {"model": ["GAN", "VAE"], "model.width": ["3", "4"]}
    assert differences([gan, vae, {}])["model.width"] == ["3", "4", "-"]
    assert "model.depth" not in differences([gan, vae, {}])
    assert differences([gan, {**gan, "model.depth": "2"}]) == {"model.depth": ["1", "2"]}


def test_what_cannot_be_compared_is_refused(twins: tuple[Path, Path], tmp_path: Path, refused: Refused) -> None:
    pair = [str(run) for run in twins]
    assert "expected two at least" in refused("compare", pair[0])
    assert "no checkpoint at" in refused("compare", pair[0], str(tmp_path / "nothing"))
    (tmp_path / "file").touch()
    assert "cannot be written" in refused("compare", *pair, f"--out={tmp_path / 'file' / 'page.html'}")
    assert "expected at least 1" in refused("compare", *pair, "--n=0")
    assert "they have no numbers" in refused("compare", *pair, "--metric=kid")
    for run, file in zip(twins, ("last.ckpt", "best.ckpt"), strict=True):
        judge(run, estimate(1.0), file=file)
    assert 'Did you mean "kid"' in refused("compare", *pair, "--metric=kidd")
    (twins[0] / "metrics.csv").write_text("images_seen,val/kid\nx,y\n")
    assert "metrics.csv is no table" in refused("compare", *pair)
    assert not (tmp_path / "compare.html").exists()
