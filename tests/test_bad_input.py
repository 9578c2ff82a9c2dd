"""Every mistake of a user: one message that names what was found and what to type, status 2, nothing left behind."""

from __future__ import annotations

from pathlib import Path

import pytest
from common import GAN_MNIST, REPOSITORY, TINY

from lit_gen.__main__ import main
from lit_gen.run_folder import Record

# Options of `fit` on the digit GAN, and what the message must contain.
MISTAKES = {
    "unknown class": (["--model.generator=DCGANGenertor"], ["model.generator", 'Did you mean "DCGANGenerator"?']),
    "class for another key": (["--data=GAN"], ["data", "GAN exists, but not for this key"]),
    "class path that is no model": (["--model=torch.nn.Linear"], ["torch.nn.Linear is no LightningModule"]),
    "module that does not exist": (
        ["--model=lit_gen.nomodule.GAN"],
        ["lit_gen.nomodule.GAN cannot be imported", '"GAN"?'],
    ),
    "class of another package": (["--model=foreign.GAN"], ["found foreign.GAN", "--allow foreign", "A GAN of our own"]),
    "labels for a model without": (
        ["--data.labels=true"],
        ["hold labels", "--data.labels", "ConditionalGAN"],
    ),
    "unknown option of the model": (["--model.genrator.width=3"], ["GAN has no option", 'Did you mean "generator"?']),
    "unknown option of the data": (["--data.batchsize=3"], ["Mnist5k has no option", 'Did you mean "batch_size"?']),
    "unknown option of an optimizer": (["--model.generator_optimizer.lrr=3"], ["Adam has no option lrr", '"lr"?']),
    "unknown option of the line": (["--modell.x=3"], ["no option --modell.x", 'Did you mean "model"?']),
    "callback option of another type": (
        ["--trainer.callbacks+=FreezeModules", "--trainer.callbacks.until=soon"],
        ["trainer.callbacks.until: found soon, expected int"],
    ),
    "unknown callback": (["--trainer.callbacks+=EMAA"], ["trainer.callbacks", 'Did you mean "EMA"?']),
    "wrong type": (["--model.max_images=many"], ["model.max_images: found many, expected int"]),
    "wrong choice": (["--wandb=maybe"], ["found maybe, expected auto or online or offline or disabled"]),
    "size that the network cannot make": (["--model.generator.image_size=33"], ["33", "28, 32, 64, 128"]),
    "sizes that differ": (
        ["--data.image_size=32", "--model.generator.image_size=28"],
        ["1x32x32", "1x28x28", "--data.image_size"],
    ),
    "discriminator of another size": (["--model.discriminator.image_size=32"], ["discriminator", "1x28x28"]),
    "discriminator of other channels": (["--model.discriminator.channels=3"], ["discriminator", "1x28x28"]),
    "clipping to nothing": (["--model.gradient_clip=0"], ["gradient_clip is 0", "more than 0"]),
    "negative seed": (["--seed_everything=-1"], ["seed_everything is -1"]),
    "steps of two optimizers": (["--trainer.max_steps=5"], ["max_steps is 5", "--model.max_images"]),
    "experiment that climbs": (["--experiment=../evil"], ["../evil", "plain folder name"]),
    "checkpoint without a name": (["--ckpt_path="], ["No checkpoint at"]),
    "missing checkpoint": (["--ckpt_path=nowhere.ckpt"], ["nowhere.ckpt", "--ckpt_path last"]),
    "too few images": (["--data.n_images=30000"], ["30,000", "4,000", "--data.n_images"]),
    "batch larger than the set": (["--data.batch_size=5000"], ["5,000", "4,000", "--data.batch_size"]),
    "class that does not exist": (["--data.classes=[eleven]"], ["eleven", "--data.classes"]),
    "no generator step": (["--model.discriminator_steps=0"], ["discriminator_steps is 0", "at least 1"]),
    "negative learning rate": (["--model.generator_optimizer.lr=-1"], ["optimizer", "-1"]),
    "rate that is no number": (["--model.generator_optimizer.lr=x"], ["optimizer.lr: found x, expected float"]),
    "rate of null": (["--model.generator_optimizer.lr=null"], ["generator_optimizer.lr: found null, expected float"]),
    "clipping by Lightning": (["--trainer.gradient_clip_val=1"], ["--model.gradient_clip 1"]),
    "accumulation by Lightning": (["--trainer.accumulate_grad_batches=2"], ["--model.accumulate_batches 2"]),
    "devices that are no number": (["--trainer.devices=many"], ["many"]),
    "name longer than a file's can be": (["--ckpt_path=" + "long" * 1000], ["longlong", "cannot be looked at"]),
    "no seed": (["--seed_everything=null"], ["seed_everything: found None"]),
    "validation after no epoch": (["--trainer.check_val_every_n_epoch=0"], ["check_val_every_n_epoch is 0"]),
    "trainer that is a switch": (["--trainer=true"], ["trainer"]),
    "null for a number": (["--model.penalties=[{class_path: R1, init_args: {gamma: null}}]"], ["R1 needs a value for"]),
    "character that no name has": (["--ckpt_path=a\0b"], ["a\\x00b", "cannot be looked at"]),
    "image of a light year": (
        ["--data.image_size=9223372036854775808", "--model.generator.image_size=28"],
        ["Expected 1 to 16,384 pixels"],
    ),
    "null for a part of a pair": (["--model.generator_optimizer.betas=[0.5, {}]"], ["betas"]),
    "precision of too few bits": (["--trainer.precision=16-true"], ["precision is 16-true", "bf16-mixed"]),
    "precision of too many bits": (["--trainer.precision=64"], ["precision is 64", "bf16-mixed"]),
    "project that climbs": (["--wandb_project=../x"], ["--wandb_project ../x", "none of /"]),
    "folder with too long a name": (["--trainer.default_root_dir=" + "long/" + "long" * 99], ["too long"]),
    "tuner of one optimizer": (
        ["--trainer.callbacks+=lightning.pytorch.callbacks.BatchSizeFinder"],
        ["BatchSizeFinder works with one optimizer", "GAN has several"],
    ),
    "grid of too many": (["--trainer.callbacks+=SampleGrid", "--trainer.callbacks.n=100000000"], ["n of 1 to 10,000"]),
    "missing folder": (["--data=ImageFolder", "--data.root=no/such"], ["no/such"]),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake_in_an_option(mistake: str, refused, tmp_path: Path) -> None:
    options, expected = MISTAKES[mistake]
    root = tmp_path / "runs"
    message = refused("fit", f"--config={GAN_MNIST}", f"--trainer.default_root_dir={root}", *TINY, *options)
    for words in expected:
        assert words in message
    assert not list(root.glob("*/*")), "a run that never began left its folder"


@pytest.mark.parametrize("name,lacks", [("LBFGS", "a loss that can be taken"), ("SparseAdam", "sparse gradients")])
def test_an_optimizer_that_no_step_can_use(name: str, lacks: str, refused, tmp_path: Path) -> None:
    root = f"--trainer.default_root_dir={tmp_path}"
    message = refused("fit", f"--config={GAN_MNIST}", root, *TINY, f"--model.generator_optimizer=torch.optim.{name}")
    assert f"{name} needs {lacks}" in message
    assert not list(tmp_path.glob("*/*/*.ckpt"))


FILES = {
    "does not parse": ("model: [1,\n a: b", ["line 2"]),
    "holds no settings": ("just words", ["no settings"]),
    "lacks networks": ("model: {class_path: GAN}", ["model: GAN needs generator, discriminator"]),
    "says one thing twice": ("model: GAN\nmodel: VAE", ["line 2", "model stands twice"]),
    "has a word that means nothing": ("foo: 1", ["There is no option foo"]),
    "calls a function": (
        "model: {class_path: GAN, init_args: {loss: {class_path: torch.hub.load, init_args: {repo_or_dir: a}}}}",
        ["model.loss: {'class_path': 'torch.hub.load'", "is no AdversarialLoss"],
    ),
    "lacks everything": ("seed_everything: 1", ["Missing: data, model"]),
}


@pytest.mark.parametrize("what", FILES)
def test_mistake_in_a_config_file(what: str, refused, tmp_path: Path) -> None:
    text, expected = FILES[what]
    config = tmp_path / "broken.yaml"
    config.write_text(text)
    message = refused("fit", f"--config={config}")
    for words in expected:
        assert words in message


def test_unknown_option_in_a_config_file_names_the_class_and_its_options(refused, tmp_path: Path) -> None:
    config = tmp_path / "typo.yaml"
    config.write_text(GAN_MNIST.read_text().replace("latent_dim:", "latent_dims:"))
    message = refused("fit", f"--config={config}")
    assert "DCGANGenerator has no option latent_dims; it has image_size, channels, latent_dim, width." in message
    assert 'Did you mean "latent_dim"?' in message


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("{calss_path: GAN}", ["model: a class has class_path and init_args", 'Did you mean "class_path"?']),
        ("{calss_path: GAN, init_args: {}}",
         ["model: found {'calss_path': 'GAN'", "kind LightningModule", 'Did you mean "class_path"?']),
        ("{class_path: GAN, init_args: {generator: {class_path: DCGANGenerator, ini_targs: {}}}}",
         ["model.generator: a class has class_path and init_args", 'Did you mean "init_args"?']),
        ("7", ["model: found 7, expected a class of the kind LightningModule", "Type the name of a class"]),
    ],
)  # fmt: skip
def test_a_class_that_is_not_named_is_asked_for(written: str, told: list[str], refused, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(f"model: {written}\ndata: {{class_path: Mnist5k}}\n")
    message = refused("fit", f"--config={config}")
    assert all(words in message for words in told), message
    assert len(message) < 400, "jsonargparse's own answer has all that was tried"


def test_missing_config_file(refused) -> None:
    assert "No config file at nowhere.yaml" in refused("fit", "--config", "nowhere.yaml")


def test_unknown_command(refused) -> None:
    message = refused("predcit")
    assert 'Did you mean "predict"?' in message


def test_test_needs_a_checkpoint(refused, tmp_path: Path) -> None:
    args = ("test", f"--config={GAN_MNIST}", f"--trainer.default_root_dir={tmp_path}")
    assert "--ckpt_path last" in refused(*args)
    assert "No run of gan_mnist5k" in refused(*args, "--ckpt_path=last")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "Missing: ckpt_path"),
        (["--ckpt_path=no.ckpt"], "No checkpoint at"),
        (["--ckpt_path=no.ckpt", "--number=3"], "There is no option --number"),
        (["--ckpt_path=no.ckpt", "--n=0"], "--n is 0"),
        (["--ckpt_path=no.ckpt", "--n=few"], "n: found few, expected int"),
    ],
)
def test_mistakes_of_predict(options: list[str], words: str, refused) -> None:
    assert words in refused("predict", *options)


def test_a_file_that_is_no_checkpoint(refused, tmp_path: Path) -> None:
    (tmp_path / "words.ckpt").write_text("no checkpoint at all")
    assert "is not a readable checkpoint (20 bytes)" in refused("predict", f"--ckpt_path={tmp_path / 'words.ckpt'}")


def test_a_picture_is_no_file_to_trust(refused, tmp_path: Path) -> None:
    (tmp_path / "cats.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    message = refused("inspect", str(tmp_path / "cats.png"))
    assert "it is no file that torch wrote" in message
    assert "trust" not in message


@pytest.mark.parametrize(("typed", "meant"), [("1", "1"), ("1.0", "1.0"), ("0.5", "0.5")])
def test_one_batch_is_not_all_of_them(typed: str, meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["fit", f"--config={GAN_MNIST}", f"--trainer.limit_val_batches={typed}", "--print_config"])
    assert f"  limit_val_batches: {meant}\n" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["fit", "test", "predict"])
def test_a_truncated_checkpoint(command: str, refused, trained: Path, tmp_path: Path) -> None:
    broken = tmp_path / "last.ckpt"
    broken.write_bytes((trained / "last.ckpt").read_bytes()[:20_000])
    options = [f"--config={GAN_MNIST}", f"--trainer.default_root_dir={tmp_path / 'runs'}", *TINY]
    message = refused(command, *([] if command == "predict" else options), f"--ckpt_path={broken}")
    assert "is not a readable checkpoint (20,000 bytes)" in message
    assert not (tmp_path / "runs").exists()


def test_a_place_that_cannot_be_written(refused, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    inside = tmp_path / "file" / "runs"
    assert "cannot be made" in refused("fit", f"--config={GAN_MNIST}", f"--trainer.default_root_dir={inside}", *TINY)
    assert "cannot be written" in refused("predict", f"--ckpt_path={trained}", f"--out={inside}")


def test_resuming_with_another_architecture(refused, trained: Path, tmp_path: Path) -> None:
    options = [*TINY, "--model.generator.width=8", "--model.max_images=128", f"--ckpt_path={trained / 'last.ckpt'}"]
    message = refused("fit", f"--config={GAN_MNIST}", f"--trainer.default_root_dir={tmp_path}", *options)
    assert "does not fit the model of this configuration" in message
    assert Record.read(trained).status == "finished"


@pytest.mark.parametrize("command", ["fit", "test"])
def test_a_checkpoint_of_another_family(command: str, refused, trained: Path, tmp_path: Path) -> None:
    config = REPOSITORY / "experiments" / "vae_mlp_mnist5k.yaml"
    options = [f"--config={config}", f"--trainer.default_root_dir={tmp_path}", "--model.max_images=400"]
    said = refused(command, *options, f"--ckpt_path={trained / 'last.ckpt'}")
    assert "holds a GAN (discriminator, generator), expected a VAE" in said
    assert not list(tmp_path.glob("*/*")), "a run that never began left its folder"


@pytest.mark.parametrize("experiment", ["cgan_mnist5k", "vae_mlp_mnist5k", "cvae_mnist5k"])
def test_two_domains_for_a_model_of_one(experiment: str, refused, tmp_path: Path) -> None:
    options = ["--data=DigitPair", "--data.batch_size=8", f"--trainer.default_root_dir={tmp_path}"]
    said = refused("fit", f"--config={REPOSITORY / 'experiments' / experiment}.yaml", *options)
    assert "found batches of images of two domains" in said


def test_images_that_predict_cannot_read(refused, trained: Path, tmp_path: Path) -> None:
    said = refused("predict", f"--ckpt_path={trained}", f"--images={tmp_path / 'nothere'}")
    assert "does not exist" in said
    assert "--images" in said
    assert "--data.root" not in said
