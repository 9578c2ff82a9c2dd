"""The projected discriminator: what never learns, what comes out, and where gradients go."""

from __future__ import annotations

import copy

import pytest
import torch
from lightning.pytorch import Trainer
from torch.utils.data import DataLoader, TensorDataset

from lit_gen.errors import UserError
from lit_gen.losses.adversarial import HingeLoss
from lit_gen.models.cyclegan import CycleGAN
from lit_gen.networks.projected import ProjectedDiscriminator, ProjectedFeatures
from lit_gen.networks.translation import TranslationGenerator


@pytest.fixture(scope="module")
def discriminator() -> ProjectedDiscriminator:
    torch.manual_seed(0)
    return ProjectedDiscriminator(width=8)


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_four_logits_of_each_image_colour_or_grey(discriminator: ProjectedDiscriminator, images: torch.Tensor) -> None:
    features = discriminator.features(images)
    assert features.shape == (3, discriminator.features.out_features)
    assert [x.shape for x in discriminator.features.maps(features)] == [(3, 8, s, s) for s in (16, 8, 4, 2)]
    assert discriminator(features).shape == (3, 4)
    assert discriminator(discriminator.features(images[:, :1])).shape == (3, 4)


def test_a_fifth_head_judges_the_pixels_themselves(images: torch.Tensor) -> None:
    discriminator = ProjectedDiscriminator(width=8, image_size=32).eval()
    features = discriminator.features(images)
    assert torch.equal(discriminator.features.maps(features)[4], images)
    checkered = images + 0.1 * (-1.0) ** (torch.arange(32) + torch.arange(32)[:, None])
    other = discriminator.features(checkered)
    before, after = (discriminator(x) for x in (features, other))
    assert before.shape == (3, 5)
    moved = (before - after).abs().mean(0)
    assert moved[4] > 0
    mixed = torch.cat([features[:, : -images[0].numel()], other[:, -images[0].numel() :]], 1)
    assert torch.equal(discriminator(mixed)[:, :4], before[:, :4]), "it sees nothing else, and no other sees the pixels"
    assert torch.equal(discriminator(mixed)[:, 4], after[:, 4])


@pytest.mark.parametrize("channels", [1, 3])
def test_the_fifth_head_takes_any_size_grey_and_classes(channels: int) -> None:
    network = ProjectedDiscriminator(width=4, n_classes=2, image_size=28)
    images = torch.rand(2, channels, 40, 40)
    features = network.features(images)
    assert features.shape == (2, network.features.out_features)
    assert network(features, torch.tensor([0, 1])).shape == (2, 5)


@pytest.mark.parametrize("input_size", [32, 96, 160])
def test_any_multiple_of_32_gives_four_logits(input_size: int, images: torch.Tensor) -> None:
    discriminator = ProjectedDiscriminator(input_size=input_size, width=8)
    assert discriminator(discriminator.features(images)).shape == (3, 4)


def test_images_of_half_precision_are_looked_at(discriminator: ProjectedDiscriminator, images: torch.Tensor) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert discriminator.features(images.bfloat16()).isfinite().all()


def test_maps_come_at_about_mean_square_one(discriminator: ProjectedDiscriminator) -> None:
    smooth = torch.nn.functional.interpolate(torch.randn(8, 3, 8, 8), size=64, mode="bicubic").clamp(-1, 1)
    maps = discriminator.features.network.features_at(smooth)
    for scale, x in enumerate(maps):
        assert 0.3 < x.square().mean().sqrt() / discriminator.features.root_mean_square(scale) < 3


def test_the_finest_map_knows_of_the_coarsest_and_not_the_other_way(images: torch.Tensor) -> None:
    front = ProjectedFeatures(width=4)
    before = front.maps(front(images))
    with torch.no_grad():
        front.channel_mixing[0].weight.zero_()
    after = front.maps(front(images))
    assert not torch.equal(before[0], after[0]) and after[0].abs().sum() > 0  # what is left comes from above
    assert all(torch.equal(x, y) for x, y in zip(before[1:], after[1:], strict=True))


def test_only_the_heads_learn_and_the_image_gets_a_gradient(
    discriminator: ProjectedDiscriminator, images: torch.Tensor
) -> None:
    images.requires_grad_(True)
    discriminator.train()
    discriminator(discriminator.features(images)).sum().backward()
    assert images.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in discriminator.features.parameters())
    heads = [*discriminator.blocks.parameters(), *discriminator.head.parameters()]
    assert all(parameter.grad is not None for parameter in heads)
    assert not any(module.training for module in discriminator.features.modules())


def test_the_random_mixing_lies_in_the_state(images: torch.Tensor) -> None:
    first, second = ProjectedDiscriminator(width=4), ProjectedDiscriminator(width=4)
    assert not torch.equal(first.features(images), second.features(images))
    second.load_state_dict(first.state_dict())
    torch.testing.assert_close(first.features(images), second.features(images))


def test_a_reset_leaves_the_features_alone(images: torch.Tensor) -> None:
    network = ProjectedDiscriminator(width=4).eval()
    features = network.features(images)
    before = network(features)
    network.reset_parameters()
    assert torch.equal(features, network.features(images))
    assert not torch.allclose(before, network(features))


def test_logits_know_the_class(images: torch.Tensor) -> None:
    network = ProjectedDiscriminator(width=4, n_classes=3).eval()
    features = network.features(images)
    zero, one = (network(features, torch.full((3,), label)) for label in (0, 1))
    assert zero.shape == (3, 4) and not torch.allclose(zero, one)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"input_size": 48}, "found input_size 48, expected a multiple of 32"),
        ({"width": 0}, "found width 0"),
        ({"image_size": 4}, "found image_size 4"),
    ],
)
def test_bad_sizes_are_refused(options: dict[str, int], told: str) -> None:
    with pytest.raises(UserError, match=told):
        ProjectedDiscriminator(**options)


def test_a_cycle_gan_sees_through_the_front_in_both_updates(images: torch.Tensor) -> None:
    networks = [TranslationGenerator(width=4, n_blocks=1) for _ in "ab"]
    model = CycleGAN(*networks, *(ProjectedDiscriminator(width=4) for _ in "ab"), loss=HingeLoss())
    before = copy.deepcopy(model.state_dict())
    options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    Trainer(accelerator="cpu", max_epochs=1, **options).fit(model, DataLoader(TensorDataset(images, images), 3))
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert not [name for name in changed if ".features." in name]
    for part in ("generator_ab", "generator_ba", "discriminator_a.blocks", "discriminator_b.head"):
        assert any(name.startswith(part) for name in changed), part
