"""The commands beside Lightning's: what a user reads and what lands on the disk."""

from __future__ import annotations

import inspect
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch
from makers import make_photos
from torchvision.io import read_image

import lit_gen
from datamodules.transforms import to_uint8
from lit_gen.__main__ import main, own_commands
from lit_gen.checkpoint import load_data
from lit_gen.errors import UserError
from lit_gen.rooms import classes_of, import_rooms


def test_alone_it_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    main([])
    said = capsys.readouterr().out
    for command in ("fit", "validate", "test", "predict", "list"):
        assert f"\n  {command} " in said
    assert "python -m lit_gen fit --config experiments/gan_mnist5k.yaml" in said


@pytest.mark.parametrize("command", ["fit", "test", "predict"])
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert "--ckpt_path" in capsys.readouterr().out


def test_list_names_every_class_with_its_first_line(capsys: pytest.CaptureFixture[str]) -> None:
    main(["list"])
    said = capsys.readouterr().out
    shown = "GAN DCGANGenerator HingeLoss R1 Mnist5k ImageFolder EMA SampleGrid EfficientNetExtractor"
    for name in shown.split():
        assert f"\n  {name} " in said
    for name in ("AdversarialLoss", "Extractor", "Metric", "Evidence"):
        assert f"\n  {name} " not in said
    for line in said.splitlines():
        assert line == line.rstrip()
        if line.startswith("  "):
            assert len(line.split(maxsplit=1)[1]) > 15


@pytest.fixture
def vivid(trained: Path, tmp_path: Path) -> Path:
    """A checkpoint whose images differ by more than a grey level, as those of 64 training images do not."""
    checkpoint = torch.load(trained / "last.ckpt", weights_only=True)
    for name, value in checkpoint["state_dict"].items():
        if name.startswith("generator_ema") and name.endswith("weight"):
            value.mul_(10)
    torch.save(checkpoint, tmp_path / "vivid.ckpt")
    return tmp_path / "vivid.ckpt"


def test_predict_writes_the_samples_of_its_seed(vivid: Path, tmp_path: Path, capsys) -> None:
    for folder, seed in (("a", 0), ("b", 0), ("c", 1)):
        out = tmp_path / folder
        main(["predict", f"--ckpt_path={vivid}", "--n=5", f"--seed={seed}", f"--out={out}", "--batch_size=2"])
    names = {f"{index:06d}.png" for index in range(5)} | {"grid.png"}
    assert {path.name for path in (tmp_path / "a").iterdir()} == names
    expected = to_uint8(lit_gen.load(vivid).sample(5, seed=0))
    for index in range(5):
        found, again, other = (read_image(str(tmp_path / folder / f"{index:06d}.png")).int() for folder in "abc")
        assert (found - expected[index].int()).abs().max() <= 1
        assert torch.equal(found, again)
        assert not torch.equal(found, other)
    assert "5 images of GAN (EMA weights, 64 images seen)" in capsys.readouterr().out


def test_predict_finds_the_newest_run_of_an_experiment(trained: Path, tmp_path: Path, refused) -> None:
    last = ["predict", "--ckpt_path=last", "--n=1", f"--out={tmp_path}"]
    main([*last, "--config=experiments/gan_mnist5k.yaml", f"--default_root_dir={trained.parents[1]}"])
    assert (tmp_path / "000000.png").is_file()
    assert "`last` of which experiment?" in refused(*last)
    assert "No run of other" in refused(*last, "--config=other.yaml", f"--default_root_dir={trained.parents[1]}")


def test_predict_refuses_images_that_it_would_not_use(trained: Path, tmp_path: Path, refused) -> None:
    photos = make_photos(tmp_path / "photos", count=3)
    said = refused("predict", f"--ckpt_path={trained}", f"--images={photos}", f"--out={tmp_path / 'out'}")
    assert "GAN begins with no images in mode sample" in said
    assert "no mode 'recon', this one can make sample" in refused("predict", f"--ckpt_path={trained}", "--mode=recon")
    assert "these images are made without" in refused("predict", f"--ckpt_path={trained}", "--labels=3")
    assert "--labels names no class" in refused("predict", f"--ckpt_path={trained}", "--labels=[]")
    assert not (tmp_path / "out").exists()


def test_predict_leaves_other_files_alone(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "000009.png").write_text("mine")
    main(["predict", f"--ckpt_path={trained}", "--n=1", f"--out={tmp_path}"])
    assert (tmp_path / "000009.png").read_text() == "mine"


def test_load_gives_ema_images_from_the_checkpoint_alone(trained: Path) -> None:
    model = lit_gen.load(trained / "last.ckpt")
    images = model.sample(64, seed=0)
    assert images.shape == (64, 1, 28, 28)
    assert -1 <= images.min() < images.max() <= 1
    assert torch.equal(images, model.sample(64, seed=0))
    assert not model.training
    live = model.generator_ema
    model.generator_ema = None
    assert not torch.equal(images, model.sample(64, seed=0))
    model.generator_ema = live


def test_one_module_is_loaded_on_its_own(trained: Path) -> None:
    path = trained / "last.ckpt"
    state = torch.load(path, weights_only=True)["state_dict"]
    generator = lit_gen.load(path, module="generator")
    assert type(generator).__name__ == "DCGANGenerator"
    assert not generator.training
    assert torch.equal(generator.head.weight, state["generator_ema.head.weight"])
    blocks = lit_gen.load(path, module="discriminator.blocks")
    assert torch.equal(blocks[0][0].weight, state["discriminator.blocks.0.0.weight"])
    for name in ("generater", "discriminator.block"):
        with pytest.raises(UserError, match="has generator, discriminator"):
            lit_gen.load(path, module=name)


def test_a_checkpoint_says_what_it_was_trained_on(trained: Path) -> None:
    model = lit_gen.load(trained / "last.ckpt")
    assert model.image_shape == (1, 28, 28)
    assert model.class_names == [str(digit) for digit in range(10)]
    data = load_data(trained / "last.ckpt")
    assert type(data).__name__ == "Mnist5k"
    assert data.batch_size == 16


def test_import_stays_light() -> None:
    code = "import sys, lit_gen; lit_gen.load; sys.exit('torch' in sys.modules or 'lightning' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_overview_needs_no_torch() -> None:
    code = "import sys; from lit_gen.__main__ import main; main([]); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 0


def test_commands_have_the_names_of_their_files() -> None:
    assert {"list", "predict", "publish"} <= set(own_commands())
    for name in own_commands():
        assert callable(getattr(import_module(f"lit_gen.commands.{name}"), name, None)), name


def test_every_public_class_and_its_options_are_documented() -> None:
    for modules in import_rooms().values():
        for name, found in classes_of(modules).items():
            doc = inspect.getdoc(found) or ""
            assert doc, f"{name} has no docstring"
            if "__init__" in vars(found) and not doc.startswith("Base "):
                text = doc + (inspect.getdoc(found.__init__) or "")
                for option in inspect.signature(found.__init__).parameters:
                    if option not in ("self", "options"):
                        assert f"{option}:" in text, f"{name} does not document {option}"
