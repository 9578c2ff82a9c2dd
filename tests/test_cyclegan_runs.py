"""CycleGAN through the command line: what lands on the disk, what is refused."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from common import REPOSITORY, newest_run
from makers import make_photos
from PIL import Image
from torchvision.io import read_image

import lit_gen
from datamodules.transforms import to_float, to_uint8
from lit_gen.__main__ import main

DIGITS = REPOSITORY / "experiments" / "cyclegan_digits.yaml"
FOLDER = REPOSITORY / "experiments" / "cyclegan_folder.yaml"
NARROW = [
    *(f"--model.generator_{way}.width=2" for way in ("ab", "ba")),
    *(f"--model.generator_{way}.n_blocks=1" for way in ("ab", "ba")),
    *(f"--model.discriminator_{domain}.width=2" for domain in "ab"),
]
TINY = [
    *("--data.batch_size=4", "--data.n_images_a=24", "--data.n_images_b=24", "--model.max_images=48"),
    *("--trainer.log_every_n_steps=2", "--trainer.check_val_every_n_epoch=1", "--trainer.limit_val_batches=2"),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished tiny run."""
    root = tmp_path_factory.mktemp("cyclegan")
    main(["fit", f"--config={DIGITS}", f"--trainer.default_root_dir={root}", *NARROW, *TINY])
    return newest_run(root)


def test_a_run_has_its_grids_metrics_and_pools(run: Path) -> None:
    assert {path.name for path in (run / "samples").iterdir()} == {"images_000000048.png", "b_to_a_000000048.png"}
    with (run / "metrics.csv").open() as file:
        written = list(csv.DictReader(file))
    assert [row["images_seen"] for row in written if row["train/cycle_l1"]] == ["8", "16", "24", "32", "40", "48"]
    found = {name for row in written for name, value in row.items() if value}
    assert {
        *("val/cycle_l1", "val/cycle_l1_a", "val/cycle_l1_b", "val/identity_l1", "val/train_real_accuracy_a"),
        *("val/real_accuracy_b", "val/fake_accuracy_b", "train/generators_gradient_norm"),
    } <= found
    pools = torch.load(run / "last.ckpt", weights_only=True)["image_pools"]
    assert {name: tuple(pool.shape) for name, pool in pools.items()} == dict.fromkeys("ab", (1, 48, 3, 28, 28))
    model = lit_gen.load(run / "last.ckpt")
    assert model.image_shape == (3, 28, 28)
    assert model.translate(torch.zeros(2, 3, 28, 28), to="a").shape == (2, 3, 28, 28)


def test_predict_translates_both_ways_and_other_folders(run: Path, tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "photos", count=2)
    for out, options in (
        ("b", []),
        ("again", ["--seed=5"]),
        ("a", ["--mode=b_to_a"]),
        ("own", [f"--images={photos}"]),
    ):
        main(["predict", f"--ckpt_path={run}", "--n=2", f"--out={tmp_path / out}", *options])
        made = {path.name for path in (tmp_path / out).iterdir()}
        assert made == {"000000.png", "000001.png", "grid.png"}
    files = [(tmp_path / out / "000000.png").read_bytes() for out in ("b", "again", "a", "own")]
    assert files[0] == files[1]
    assert len(set(files)) == 3


def test_predict_takes_a_whole_folder_in_order(run: Path, tmp_path: Path) -> None:
    """All of it, however many; image k is the translation of the k-th file."""
    folder = tmp_path / "greys"
    folder.mkdir()
    for grey in range(70):
        Image.new("RGB", (28, 28), (3 * grey,) * 3).save(folder / f"{grey:02}.png")
    main(["predict", f"--ckpt_path={run}", f"--images={folder}", f"--out={tmp_path / 'out'}"])
    names = {f"{index:06d}.png" for index in range(70)} | {"grid.png"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    model = lit_gen.load(run / "last.ckpt")
    for index in (0, 33, 69):
        source = to_float(torch.full((1, 3, 28, 28), 3 * index, dtype=torch.uint8))
        expected = to_uint8(model.translate(source)[0]).int()
        assert (read_image(str(tmp_path / "out" / f"{index:06d}.png")).int() - expected).abs().max() <= 1


def test_what_does_not_fit_is_one_message(run: Path, refused, tmp_path: Path) -> None:
    assert "no mode 'c', this one can make a_to_b, b_to_a" in refused("predict", f"--ckpt_path={run}", "--mode=c")
    cats, empty = make_photos(tmp_path / "cats", count=30), tmp_path / "empty"
    empty.mkdir()
    folders = ["fit", f"--config={FOLDER}", f"--trainer.default_root_dir={tmp_path / 'runs'}", f"--data.root_a={cats}"]
    said = refused(*folders, *NARROW, f"--data.root_b={empty}")
    assert f"30 images in {cats} (domain A) and 0 images in {empty} (domain B)" in said
    said = refused(*folders, *NARROW, "--data.root_b=no/dogs")
    assert f"30 images in {cats} (domain A) and no folder" in said
    assert "no/dogs (domain B)" in said
    dogs = make_photos(tmp_path / "dogs", count=30)
    for name in ("generator_ba", "discriminator_b"):
        said = refused(*folders, *NARROW, f"--data.root_b={dogs}", f"--model.{name}.channels=1")
        assert f"{name} does not take the data's images, 3x64x64" in said
    said = refused(*folders, *NARROW, f"--data.root_b={dogs}", "--data.batch_size=25")
    assert "24 train images in domain A and 24 in domain B" in said
    assert not list((tmp_path / "runs").glob("*/*")), "a run that never began left its folder"
