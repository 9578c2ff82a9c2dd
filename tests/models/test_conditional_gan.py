"""Labels on their way: into both networks, into samples and grids, into the loss; and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from common import REPOSITORY, TINY
from lightning.pytorch import Trainer
from torch.utils.data import DataLoader
from torchvision.io import read_image

import lit_gen
from lit_gen.__main__ import main
from lit_gen.errors import UserError
from lit_gen.losses.adversarial import HingeLoss, NonSaturatingLoss, logits_of
from lit_gen.losses.auxiliary_classifier import AuxiliaryClassifierLoss
from lit_gen.losses.penalties import R1, GradientPenalty
from lit_gen.models.conditional_gan import ConditionalGAN
from lit_gen.networks.conditional_dcgan import ConditionalDCGANGenerator, ProjectionDCGANDiscriminator
from lit_gen.networks.conditional_layers import Judgement
from lit_gen.pictures import image_grid

CGAN_MNIST = REPOSITORY / "experiments" / "cgan_mnist5k.yaml"
SGD = partial(torch.optim.SGD, lr=0.1)


def make(n_classes: int = 3, auxiliary_classifier: bool = False, **options) -> ConditionalGAN:
    """A tiny model whose generator already tells its classes apart."""
    torch.manual_seed(0)
    generator = ConditionalDCGANGenerator(28, 1, n_classes, latent_dim=3, width=2, condition="embedding")
    discriminator = ProjectionDCGANDiscriminator(28, 1, n_classes, 2, "none", auxiliary_classifier)
    with torch.no_grad():
        for parameter in [*generator.head.parameters(), *discriminator.parameters()]:
            parameter.mul_(10)
    defaults = {"generator_optimizer": SGD, "discriminator_optimizer": SGD}
    return ConditionalGAN(generator, discriminator, **{**defaults, **options})


def train(model: ConditionalGAN, real: torch.Tensor, labels: torch.Tensor) -> None:
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = Trainer(accelerator="cpu", max_epochs=1, **quiet)
    trainer.fit(model, DataLoader(list(zip(real, labels, strict=True)), batch_size=len(real)))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished tiny run through the command line: look, do not touch."""
    root = tmp_path_factory.mktemp("runs")
    main(["fit", f"--config={CGAN_MNIST}", f"--trainer.default_root_dir={root}", *TINY])
    return next(root.glob("*/*/last.ckpt")).parent


def test_a_run_learns_writes_its_grid_and_comes_back(run: Path) -> None:
    model = lit_gen.load(run / "last.ckpt")
    assert isinstance(model, ConditionalGAN)
    assert model.images_seen == 64
    assert model.class_names == [str(digit) for digit in range(10)]
    step = 28 + 2
    (grid,) = (run / "samples").glob("*.png")
    assert read_image(str(grid)).shape[-2:] == (10 * step + 2, 8 * step + 2)  # one row for each class


def test_predict_has_a_row_for_each_class_or_each_wanted_one(run: Path, tmp_path: Path) -> None:
    step = 28 + 2
    main(["predict", f"--ckpt_path={run}", "--n=30", f"--out={tmp_path / 'all'}"])
    assert read_image(str(tmp_path / "all" / "grid.png")).shape[-2:] == (10 * step + 2, 3 * step + 2)
    main(["predict", f"--ckpt_path={run}", "--n=6", "--labels=[3, 7]", f"--out={tmp_path / 'two'}"])
    assert read_image(str(tmp_path / "two" / "grid.png")).shape[-2:] == (2 * step + 2, 3 * step + 2)


def test_the_same_seed_and_label_give_the_same_image() -> None:
    model = make()
    in_turn = model.sample(6, seed=1)
    assert torch.equal(in_turn, model.sample(6, labels=[0, 1, 2, 0, 1, 2], seed=1))
    assert not torch.equal(in_turn, model.sample(6, seed=2))
    # z belongs to the place, the class to the label: only what is labelled otherwise changes
    other = model.sample(6, labels=torch.tensor([0, 1, 2, 0, 1, 1]), seed=1)
    torch.testing.assert_close(other[:5], in_turn[:5])
    assert not torch.allclose(other[5], in_turn[5])


@pytest.mark.parametrize("labels", [1, torch.tensor(1), "dog", [1, 1], ["dog", 1], torch.tensor([1, 1])])
def test_labels_may_be_numbers_or_names(labels: object) -> None:
    model = make()
    model.class_names = ["cat", "dog", "cow"]
    (found,) = model.conditions(2, labels)
    assert found.tolist() == [1, 1]
    assert found.dtype == torch.int64


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, 3], "found label 3, but this model has 3 classes: expected 0 to 2 or one of cat, dog, cow"),
        (-1, "found label -1"),
        (torch.tensor([0.5, 1, 1]), r"found label 0\.5"),
        ([0, 1], "found 2 labels, expected 3, one for each image"),
        (torch.zeros(4), "found 4 labels, expected 3"),
        ("dgo", 'found label .dgo., but this model has 3 classes.*Did you mean "dog"'),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels: object, message: str) -> None:
    model = make()
    model.class_names = ["cat", "dog", "cow"]
    with pytest.raises(UserError, match=message):
        model.sample(3, labels=labels)


def test_a_name_without_names_is_refused() -> None:
    with pytest.raises(UserError, match="found label .cat.*expected 0 to 2, as its data had no names"):
        make().sample(3, labels="cat")


def test_rows_of_the_grid_are_classes() -> None:
    """Image i is of class i % 3, and class k fills row k."""
    made = list(make().make("sample", 6, seed=0, batch_size=4))
    assert [part.period for part in made] == [3, 3]
    images = torch.cat([part.images for part in made])
    grid = image_grid(made)
    for index, image in enumerate(images):
        top, left = 2 + 30 * (index % 3), 2 + 30 * (index // 3)
        torch.testing.assert_close(grid[:1, top : top + 28, left : left + 28], image / 2 + 0.5)
    assert next(make().make("sample", 4, labels=1)).period == 1


def test_one_step_with_labels_is_the_two_updates_by_hand() -> None:
    real, labels = torch.rand(4, 1, 28, 28) * 2 - 1, torch.tensor([2, 0, 2, 1])
    model, twin = make(loss=HingeLoss(), penalties=[R1(gamma=2.0, every=1)]), make()
    drawn = []
    model.generator.register_forward_pre_hook(lambda _, inputs: drawn.append(inputs[0]))
    train(model, real, labels)
    fake = twin.generator(drawn[-1], labels)
    judged = twin.discriminator(real.requires_grad_(True), labels)
    slope = torch.autograd.grad(judged.sum(), real, create_graph=True)[0].square().flatten(1).sum(1)
    loss_d = (1 - judged).relu().mean() + (1 + twin.discriminator(fake.detach(), labels)).relu().mean() + slope.mean()
    descend(loss_d, twin.discriminator)
    descend(-twin.discriminator(fake, labels).mean(), twin.generator)
    for found, expected in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(found, expected)


def descend(loss: torch.Tensor, network: torch.nn.Module) -> None:
    parameters = list(network.parameters())
    for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters, retain_graph=True), strict=True):
        parameter.data.sub_(0.1 * gradient)


def test_auxiliary_classifier_loss_by_hand() -> None:
    torch.manual_seed(0)
    labels = torch.tensor([1, 0])
    real, fake = (Judgement(torch.randn(2), torch.randn(2, 3)) for _ in range(2))
    cross = {
        name: -sum(judged.class_logits.log_softmax(1)[i, y] for i, y in enumerate(labels)) / 2
        for name, judged in (("real", real), ("fake", fake))
    }
    plain = F.softplus(-real.logits).mean() + F.softplus(fake.logits).mean()
    loss = AuxiliaryClassifierLoss(NonSaturatingLoss(), weight=0.5)
    torch.testing.assert_close(loss.discriminator_loss(real, fake, labels), plain + 0.5 * cross["real"])
    torch.testing.assert_close(loss.generator_loss(fake, labels), F.softplus(-fake.logits).mean() + 0.5 * cross["fake"])
    both = AuxiliaryClassifierLoss(NonSaturatingLoss(), weight=0.5, classify_fakes=True)
    torch.testing.assert_close(
        both.discriminator_loss(real, fake, labels), plain + 0.5 * (cross["real"] + cross["fake"])
    )
    with pytest.raises(UserError, match="found weight -1"):
        AuxiliaryClassifierLoss(weight=-1)


def test_the_auxiliary_classifier_learns_beside_penalties(tmp_path: Path) -> None:
    model = make(
        auxiliary_classifier=True,
        loss=AuxiliaryClassifierLoss(HingeLoss(), weight=0.3),
        penalties=[R1(every=1), GradientPenalty()],
    )
    before = model.discriminator.head.classifier.weight.clone()
    real = torch.rand(4, 1, 28, 28)
    train(model, real, torch.tensor([2, 0, 2, 1]))
    assert not torch.equal(model.discriminator.head.classifier.weight, before)
    assert all(value.isfinite().all() for value in model.parameters())
    model.trainer.save_checkpoint(tmp_path / "mine.ckpt")
    again = lit_gen.load(tmp_path / "mine.ckpt")
    assert isinstance(again.loss.adversarial, HingeLoss)
    assert again.loss.weight == 0.3
    torch.testing.assert_close(again.sample(3, seed=0), model.sample(3, seed=0))


def test_penalties_see_the_logits_alone() -> None:
    model = make(auxiliary_classifier=True)
    real, labels = torch.rand(2, 1, 28, 28), torch.tensor([0, 1])

    def logits_alone(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return logits_of(model.discriminator(images, labels))

    for penalty in (R1(), GradientPenalty()):
        torch.manual_seed(0)
        expected = penalty(logits_alone, real, -real, labels)
        torch.manual_seed(0)
        torch.testing.assert_close(penalty(model.discriminator, real, -real, labels), expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"auxiliary_classifier": True, "loss": HingeLoss()},
            r"HingeLoss: the discriminator returns Judgement \(logits, class_logits\), expected logits alone",
        ),
        ({"loss": AuxiliaryClassifierLoss()}, "the discriminator returns logits alone, expected class_logits"),
    ],
)
def test_a_loss_that_does_not_fit_the_discriminator(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        train(make(**options), torch.rand(4, 1, 28, 28), torch.tensor([2, 0, 2, 1]))


MISTAKES = {
    "labels missing": (["--data.labels=false"], ["images alone, expected images and labels", "--data.labels true"]),
    "more classes in the data": (
        ["--model.generator.n_classes=7", "--model.discriminator.n_classes=7"],
        ["the data has 10 classes", "have 7", "--model.generator.n_classes 10 --model.discriminator.n_classes 10"],
    ),
    "networks that disagree": (
        ["--model.generator.n_classes=12"],
        ["the generator has n_classes 12, the discriminator has 10", "--model.discriminator.n_classes"],
    ),
    "generator without classes": (
        ["--model.generator={class_path: DCGANGenerator, init_args: {image_size: 28, channels: 1, width: 4}}"],
        ["DCGANGenerator, has no n_classes", "--model GAN"],
    ),
    "loss without its classifier": (["--model.loss=AuxiliaryClassifierLoss"], ["auxiliary_classifier true"]),
    "classifier without its loss": (
        ["--model.discriminator.auxiliary_classifier=true"],
        ["NonSaturatingLoss", "--model.loss AuxiliaryClassifierLoss"],
    ),
    "conditional networks in a plain GAN": (["--model.class_path=GAN"], ["takes labels", "--model ConditionalGAN"]),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_end_in_one_message(name: str, refused: Callable[..., str], tmp_path: Path) -> None:
    options, expected = MISTAKES[name]
    message = refused("fit", f"--config={CGAN_MNIST}", f"--trainer.default_root_dir={tmp_path}", *TINY, *options)
    for words in expected:
        assert words in message
    assert not list(tmp_path.rglob("*.ckpt"))


def test_predict_refuses_a_class_that_the_model_lacks(run: Path, refused: Callable[..., str], tmp_path: Path) -> None:
    message = refused("predict", f"--ckpt_path={run}", "--labels=[10]", f"--out={tmp_path / 'out'}")
    assert "found label 10, but this model has 10 classes" in message
    assert not (tmp_path / "out").exists()


def test_labels_missing_in_a_test(run: Path, refused: Callable[..., str]) -> None:
    message = refused(
        "test", f"--config={CGAN_MNIST}", f"--ckpt_path={run / 'last.ckpt'}", *TINY, "--data.labels=false"
    )
    assert "Type --data.labels true" in message


def test_fewer_classes_in_the_data_are_worth_a_warning() -> None:
    model = make()
    model._trainer = SimpleNamespace(datamodule=SimpleNamespace(n_classes=2), barebones=False)
    with pytest.warns(UserWarning, match="have 3 classes, the data only 2"):
        model.check_labels()
