"""The evidence lower bound, its schedule and what evaluates it; where images and latents come from."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from lightning.pytorch import LightningDataModule, Trainer
from torch import nn
from torch.utils.data import DataLoader

import lit_gen
from lit_gen.callbacks.ema import EMA
from lit_gen.callbacks.posterior_mixture import PosteriorMixture
from lit_gen.errors import UserError
from lit_gen.losses.likelihoods import Bernoulli, DiscretisedLogistic, Gaussian, Likelihood
from lit_gen.models.vae import VAE
from lit_gen.networks.vae import ConvDecoder, ConvEncoder
from lit_gen.networks.vae_mlp import MLPDecoder, MLPEncoder

SGD = partial(torch.optim.SGD, lr=0.01)


def make(latent_dim: int = 3, n_classes: int | None = None, likelihood: Likelihood | None = None, **options) -> VAE:
    torch.manual_seed(0)
    size = {"image_size": 4, "latent_dim": latent_dim, "hidden": [5], "n_classes": n_classes}
    return VAE(MLPEncoder(**size), MLPDecoder(**size), likelihood, **{"optimizer": SGD, **options})


def pictures(n: int) -> torch.Tensor:
    return torch.rand(n, 1, 4, 4, generator=torch.Generator().manual_seed(1)) * 2 - 1


class Data(LightningDataModule):
    """Random images, with labels where classes are asked for."""

    def __init__(self, n: int = 16, n_classes: int = 0, labels: bool = True, batch_size: int = 4) -> None:
        super().__init__()
        self.n, self.n_classes, self.labels, self.batch_size = n, n_classes, labels and n_classes > 0, batch_size
        self.image_shape, self.class_names = (1, 4, 4), [f"class {k}" for k in range(n_classes)]

    def rows(self, n: int) -> DataLoader:
        images = pictures(n)
        rows = (
            [(image, k % self.n_classes) for k, image in enumerate(images)] if self.labels else [(i,) for i in images]
        )
        return DataLoader(rows, batch_size=self.batch_size)

    def train_dataloader(self) -> DataLoader:
        return self.rows(self.n)

    def val_dataloader(self) -> DataLoader:
        return self.rows(self.n // 2)

    test_dataloader = val_dataloader


def train(model: VAE, data: Data | None = None, **options) -> Trainer:
    torch.manual_seed(1)
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = Trainer(accelerator="cpu", **{"max_epochs": 1, "log_every_n_steps": 1, **quiet, **options})
    trainer.fit(model, datamodule=data or Data())
    return trainer


class Linear(nn.Module):
    """x = W z + noise, and the posterior of it, which is normal with a covariance that W makes diagonal."""

    def __init__(self, sigma: float) -> None:
        super().__init__()
        self.latent_dim = 2
        self.weight = torch.linalg.qr(torch.randn(16, 2))[0] * torch.tensor([2.0, 0.5])
        self.precision = 1 + self.weight.square().sum(0) / sigma**2
        self.sigma = sigma

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return (z @ self.weight.T).view(-1, 1, 4, 4)

    def posterior(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mu = x.flatten(1) @ self.weight / self.sigma**2 / self.precision
        return mu, -self.precision.log().expand_as(mu)

    def log_p(self, x: torch.Tensor) -> torch.Tensor:
        covariance = self.weight @ self.weight.T + self.sigma**2 * torch.eye(16)
        return torch.distributions.MultivariateNormal(torch.zeros(16), covariance).log_prob(x.flatten(1))


class Posterior(nn.Module):
    """The exact posterior of a Linear decoder, or one that is wrong by `shift`."""

    def __init__(self, decoder: Linear, shift: float = 0.0) -> None:
        super().__init__()
        self.latent_dim = 2
        self.of, self.shift = decoder.posterior, shift

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mu, logvar = self.of(x)
        return mu + self.shift, logvar


@pytest.fixture
def linear() -> tuple[Linear, Gaussian, torch.Tensor]:
    torch.manual_seed(0)
    likelihood = Gaussian()
    likelihood.learned.data.fill_(-0.5)
    sigma = math.exp(-0.5) + 1 / 255
    decoder = Linear(sigma)
    x = decoder(torch.randn(8, 2)) + sigma * torch.randn(8, 1, 4, 4)
    return decoder, likelihood, x


def test_with_the_exact_posterior_both_bounds_are_log_p(linear) -> None:
    """log p(x) = log p(x|z) + log p(z) - log p(z|x) for every z; the average over z is the ELBO."""
    decoder, likelihood, x = linear
    model = VAE(Posterior(decoder), decoder, likelihood)
    torch.testing.assert_close(model.iwae(x, samples=3), decoder.log_p(x), rtol=1e-4, atol=1e-3)
    many = torch.stack([model.elbo(x, seed=seed) for seed in range(2000)])
    error = many.std(0) / 2000**0.5
    assert ((many.mean(0) - decoder.log_p(x)).abs() < 4.5 * error).all()


def test_with_a_wrong_posterior_the_bounds_are_ordered(linear) -> None:
    decoder, likelihood, x = linear
    model = VAE(Posterior(decoder, shift=0.5), decoder, likelihood)
    log_p = decoder.log_p(x).mean()
    elbo = torch.stack([model.elbo(x, seed=seed).mean() for seed in range(500)]).mean()
    # The gap is the divergence of two normals of one variance, shift^2 / (2 variance).
    assert (log_p - elbo).item() == pytest.approx(0.125 * decoder.precision.sum().item(), rel=0.1)
    few, many = (model.iwae(x, samples=k, seed=0).mean() for k in (5, 2000))
    assert elbo < few < many
    assert (log_p - many).abs() < 0.1


def test_iwae_is_the_same_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make()
    whole = model.iwae(pictures(4), samples=50, seed=3)
    assert whole.shape == (4,)
    monkeypatch.setattr("lit_gen.models.vae.AT_ONCE", 12)  # three draws for each of four images at a time
    torch.testing.assert_close(model.iwae(pictures(4), samples=50, seed=3), whole)
    assert not torch.equal(model.iwae(pictures(4), samples=50, seed=4), whole)
    assert model.elbo(pictures(200), seed=0).mean() < model.iwae(pictures(200), samples=50, seed=0).mean()


def test_a_step_descends_the_negative_bound() -> None:
    """One batch by hand: log p(x|z) - KL of binarised images, warm-up and free bits included."""
    model = make(beta=4.0, kl_warm_up=8, free_bits=0.01)
    model.images_seen = 4  # half of the warm-up
    twin = make()
    noise: list[torch.Tensor] = []
    model.decoder.register_forward_pre_hook(lambda _, inputs: noise.append(inputs[0].detach().clone()))
    train(model, Data(n=4), limit_val_batches=0)
    x = (pictures(4) > 0).float() * 2 - 1
    mu, logvar = twin.encoder(x)
    z = noise[-1]
    eps = ((z - mu) / (0.5 * logvar).exp()).detach()
    raw = twin.decoder(mu + (0.5 * logvar).exp() * eps)
    log_likelihood = -nn.functional.binary_cross_entropy_with_logits(raw, (x + 1) / 2, reduction="none").sum() / 4
    kl = 0.5 * (mu**2 + logvar.exp() - logvar - 1)
    loss = 4.0 * 0.5 * kl.mean(0).clamp(min=0.01).sum() - log_likelihood
    assert (kl.mean(0) < 0.01).any()
    assert (kl.mean(0) > 0.01).any()
    loss.backward()
    for found, expected in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(found, expected - 0.01 * expected.grad)


def test_the_weight_of_the_divergence_warms_up() -> None:
    model = make(beta=2.0, kl_warm_up=1000)
    assert [model.beta_at(n) for n in (0, 250, 1000, 5000)] == [0, 0.5, 2, 2]
    assert make(beta=0.5).beta_at(0) == 0.5


def test_training_stops_by_images() -> None:
    model = make(max_images=10)
    trainer = train(model, max_epochs=100)
    assert model.images_seen == 12  # the batch that passes the mark is the last
    assert trainer.global_step == 3


@pytest.mark.parametrize("likelihood", [Bernoulli, Gaussian, DiscretisedLogistic])
def test_what_is_logged(likelihood) -> None:
    model = make(likelihood=likelihood(), max_images=16)
    trainer = train(model)
    found = trainer.logged_metrics
    bounds = ("elbo", "log_likelihood", "kl", "bits_per_dim")
    assert {f"{split}/{key}" for split in ("train", "val") for key in bounds} <= set(found)
    assert {"train/beta", "train/gradient_norm", "val/active_units"} <= set(found)
    assert all(math.isfinite(value) for value in found.values())
    elbo = found["val/log_likelihood"] - found["val/kl"]
    assert found["val/elbo"].item() == pytest.approx(elbo.item(), abs=1e-4)
    step = 2 / 255 if likelihood is Gaussian else 1
    bits = -(elbo.item() / 16 + math.log(step)) / math.log(2)
    assert found["val/bits_per_dim"].item() == pytest.approx(bits, abs=1e-4)
    assert found["train/gradient_norm"] > 0
    (tested,) = trainer.test(model, datamodule=Data(), verbose=False)
    assert set(tested) == {"test/elbo", "test/iwae", "test/bits_per_dim"}
    assert tested["test/elbo"] < tested["test/iwae"]


def test_active_units_are_those_whose_mean_varies() -> None:
    model = make(latent_dim=4)
    head = model.encoder.head
    nn.init.zeros_(head.weight)
    head.weight.data[1] = 5.0  # mu of the second and the last dimension follow the image
    head.weight.data[3] = -5.0
    nn.init.constant_(head.bias, 3.0)
    trainer = train(model, max_epochs=0)
    assert trainer.validate(model, datamodule=Data(), verbose=False)[0]["val/active_units"] == 2


def test_log_steps_are_those_of_the_trainer() -> None:
    model = make()
    logged: list[int] = []
    model.log_bound = lambda split, *_, **__: logged.append(model.trainer.global_step)
    train(model, max_epochs=2, log_every_n_steps=3, accumulate_grad_batches=2, limit_val_batches=0)
    assert set(logged) == {2}  # the third of four optimizer steps


def test_clipping_and_accumulation_are_the_trainers() -> None:
    model, twin = make(), make()
    train(model, Data(n=8), gradient_clip_val=1e-3, accumulate_grad_batches=2, limit_val_batches=0)
    pairs = zip(model.parameters(), twin.parameters(), strict=True)
    step = torch.cat([(new - old).flatten() for new, old in pairs])
    assert step.norm().item() == pytest.approx(0.01 * 1e-3, rel=1e-2)


def test_the_average_is_what_is_judged_and_drawn() -> None:
    model = make()
    x = pictures(3)
    plain = model.elbo(x, seed=0), model.iwae(x, 5, seed=0), model.reconstruct(x), model.sample(3, seed=0)
    ema = EMA(modules=["encoder", "decoder"])
    ema.setup(None, model, "fit")
    for parameter in (*model.encoder.parameters(), *model.decoder.parameters()):
        parameter.data.normal_()
    after = model.elbo(x, seed=0), model.iwae(x, 5, seed=0), model.reconstruct(x), model.sample(3, seed=0)
    for found, expected in zip(after, plain, strict=True):
        torch.testing.assert_close(found, expected)
    shown = {}
    model.log_dict = lambda values, **_: shown.update(values)
    torch.manual_seed(0)
    model.validation_step((x,), 0)
    torch.testing.assert_close(shown["val/elbo"], model.elbo(x, seed=0).mean())


def test_modes_stay_and_seeds_decide() -> None:
    torch.manual_seed(0)
    size = {"image_size": 28, "channels": 1, "latent_dim": 3, "width": 2}
    model = VAE(ConvEncoder(**size), ConvDecoder(**size))
    model.train()
    model.encoder.blocks[0].eval()  # a frozen block stays as its user left it
    before = [module.training for module in model.modules()]
    images = model.sample(5, seed=3)
    assert images.shape == (5, 1, 28, 28)
    assert images.abs().max() <= 1
    for found in (images, model.reconstruct(images), model.elbo(images), model.iwae(images, 2)):
        assert not found.requires_grad
    assert [module.training for module in model.modules()] == before
    torch.testing.assert_close(model.sample(5, seed=3), images, rtol=0, atol=0)
    assert not torch.equal(model.sample(5, seed=4), images)
    parts = torch.cat([made.images for made in model.make("sample", 5, seed=3, batch_size=2)])
    torch.testing.assert_close(parts, images)


def test_an_interpolation_runs_from_one_reconstruction_to_the_other() -> None:
    model, x = make(likelihood=Gaussian()), pictures(6)
    path = model.interpolate(x[:3], x[3:], steps=5)
    assert path.shape == (3, 5, 1, 4, 4)
    torch.testing.assert_close(path[:, 0], model.reconstruct(x[:3]))
    torch.testing.assert_close(path[:, -1], model.reconstruct(x[3:]))
    middle = (model.encode(x[:3]) + model.encode(x[3:])) / 2
    torch.testing.assert_close(path[:, 2], model.decode(middle))


def test_panels_of_each_mode() -> None:
    model, x = make(), pictures(6)
    source = lambda: [(x[:4],), (x[4:],)]  # noqa: E731
    assert model.modes == ("sample", "reconstruct", "interpolate")
    made = list(model.make("reconstruct", 6, source=source()))
    panels = torch.cat([part.panels for part in made])
    assert panels.shape == (6, 2, 1, 4, 4)
    torch.testing.assert_close(panels[:, 0], x)
    torch.testing.assert_close(panels[:, 1], model.reconstruct(x))
    torch.testing.assert_close(torch.cat([part.images for part in made]), panels[:, 1])
    first, again = (torch.cat([p.panels for p in model.make("interpolate", 6, 0, source=source())]) for _ in range(2))
    assert first.shape[:2] == (6, 8)
    assert torch.equal(first, again)
    torch.testing.assert_close(first[:3, -1], first[1:4, 0])  # each ends where the next begins
    with pytest.raises(UserError, match="reconstruct begins with images"):
        next(model.make("reconstruct", 2))
    with pytest.raises(UserError, match='mode .intrpolate(.|\n)*Did you mean "interpolate"'):
        next(model.make("intrpolate", 2))


def test_the_mixture_is_fitted_at_the_end_and_lies_in_the_checkpoint(tmp_path) -> None:
    model = make(mixture_components=2, latent_dim=1)
    centres = torch.tensor([-3.0, 3.0])
    model.draw_posterior = lambda batch: centres[torch.arange(len(batch[0])) % 2, None] + 0.1 * batch[0][:, 0, :1, 0]
    with pytest.raises(UserError, match="no mixture was fitted(.|\n)*PosteriorMixture"):
        model.sample(2, source="mixture")
    torch.manual_seed(1)
    trainer = train(model, Data(n=64), callbacks=[PosteriorMixture()])
    assert model.modes == ("sample", "mixture", "reconstruct", "interpolate")
    torch.testing.assert_close(model.mixture.means.flatten().sort().values, centres, atol=0.1, rtol=0)
    torch.testing.assert_close(model.mixture.weights, torch.tensor([0.5, 0.5]))
    z = model.mixture.sample(1000, seed=0)
    assert z.abs().mean().item() == pytest.approx(3, abs=0.1)
    assert ((z > 0).float().mean() - 0.5).abs() < 0.05
    trainer.save_checkpoint(tmp_path / "mine.ckpt")
    again = lit_gen.load(tmp_path / "mine.ckpt")
    images = model.sample(5, seed=0, source="mixture")
    torch.testing.assert_close(again.sample(5, seed=0, source="mixture"), images)
    assert not torch.equal(model.sample(5, seed=0), images)


def test_draws_of_the_mixture_have_its_covariance() -> None:
    torch.manual_seed(0)
    mixing = torch.tensor([[2.0, 0.0], [1.5, 0.5]])
    model = make(latent_dim=2, mixture_components=1)
    model.mixture.fit(torch.randn(4000, 2) @ mixing.T + torch.tensor([1.0, -1.0]))
    z = model.mixture.sample(4000, seed=1)
    torch.testing.assert_close(z.mean(0), torch.tensor([1.0, -1.0]), atol=0.15, rtol=0)
    torch.testing.assert_close(z.T.cov(), mixing @ mixing.T, atol=0.3, rtol=0.1)


def test_fewer_images_than_components_and_a_broken_encoder() -> None:
    model = make(mixture_components=10)
    train(model, Data(n=4), callbacks=[PosteriorMixture()])
    assert model.sample(20, seed=0, source="mixture").isfinite().all()
    model.draw_posterior = lambda batch: torch.full((len(batch[0]), 3), math.nan)
    with pytest.warns(UserWarning, match="not finite"):
        train(model, Data(n=4), callbacks=[PosteriorMixture()])
    assert not model.mixture.fitted  # nor is the old one, of other weights


def test_drawing_for_the_mixture_leaves_the_random_stream_alone() -> None:
    model = make()
    trainer = train(model)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, second = (PosteriorMixture(n=10).draws(trainer, model) for _ in range(2))
    assert torch.equal(torch.rand(3), expected)
    assert first.shape == (10, 3)
    assert torch.equal(first, second)


def test_a_conditional_model_uses_its_labels() -> None:
    model = make(n_classes=3)
    trainer = train(model, Data(n_classes=3), callbacks=[PosteriorMixture()])
    assert trainer.logged_metrics["val/elbo"].isfinite()
    trainer.test(model, datamodule=Data(n_classes=3), verbose=False)
    turns = model.sample(6, seed=0)
    torch.testing.assert_close(model.sample(6, [0, 1, 2, 0, 1, 2], seed=0), turns)
    torch.testing.assert_close(model.sample(6, torch.arange(6) % 3, seed=0), turns)
    assert not torch.equal(model.sample(6, 1, seed=0), turns)
    torch.testing.assert_close(model.sample(6, "class 1", seed=0), model.sample(6, 1, seed=0))
    assert next(model.make("sample", 6)).period == 3
    x = pictures(4)
    assert not torch.equal(model.reconstruct(x, [0] * 4), model.reconstruct(x, [1] * 4))
    assert not torch.equal(model.elbo(x, torch.tensor([0] * 4), seed=0), model.elbo(x, torch.tensor([1] * 4), seed=0))
    batch = (x, torch.arange(4) % 3)
    (made,) = model.make("reconstruct", 4, source=[batch])
    torch.testing.assert_close(made.images, model.reconstruct(*batch))
    for labels, message in (
        ([3], "found label 3, but this model has 3 classes"),
        (["cow"], "found label 'cow'"),
        ([0, 1], "found 2 labels, expected 1"),
    ):
        with pytest.raises(UserError, match=message):
            model.sample(1, labels)
    with pytest.raises(UserError, match="these images are made without"):
        make().sample(2, labels=[0, 1])


def test_labels_that_the_networks_do_not_take_are_left_aside() -> None:
    assert train(make(), Data(n_classes=3)).logged_metrics["val/elbo"].isfinite()


@pytest.mark.parametrize(
    ("options", "data", "message"),
    [
        ({"n_classes": 3}, Data(n_classes=3, labels=False), "images alone(.|\n)*is 3(.|\n)*--data.labels true"),
        ({"n_classes": 3}, Data(n_classes=4), "data has 4 classes, the networks have 3(.|\n)*encoder.n_classes 4"),
        ({"likelihood": Gaussian(channels=3)}, Data(), "parameters for 3 channels, the images have 1"),
    ],
)
def test_what_does_not_fit_is_the_users_mistake(options, data, message) -> None:
    with pytest.raises(UserError, match=message):
        train(make(**options), data)


def test_networks_and_images_have_to_fit() -> None:
    size = {"image_size": 4, "hidden": [5]}
    with pytest.raises(UserError, match="encoder's latent_dim is 2, the decoder's 3"):
        VAE(MLPEncoder(latent_dim=2, **size), MLPDecoder(latent_dim=3, **size))
    with pytest.raises(UserError, match="encoder's n_classes is 2, the decoder's None"):
        VAE(MLPEncoder(n_classes=2, **size), MLPDecoder(**size))
    with pytest.raises(UserError, match="images are 1x4x4, the decoder makes 1x5x5"):
        train(VAE(MLPEncoder(image_size=5, hidden=[5]), MLPDecoder(image_size=5, hidden=[5])))
    with pytest.raises(UserError, match="encoder does not take the decoder's images, 1x4x4"):
        train(VAE(MLPEncoder(image_size=5, hidden=[5]), MLPDecoder(image_size=4, hidden=[5])))


@pytest.mark.parametrize(
    ("name", "value"),
    [("beta", -1.0), ("free_bits", math.nan), ("kl_warm_up", -1), ("iwae_samples", 0), ("mixture_components", 0),
     ("max_images", 0)],
)  # fmt: skip
def test_nonsense_settings_are_refused(name, value) -> None:
    with pytest.raises(UserError, match=f"{name} is {value}, expected at least"):
        make(**{name: value})


def test_a_model_built_in_python_comes_back_from_its_checkpoint_alone(tmp_path) -> None:
    model = make(likelihood=DiscretisedLogistic(), beta=0.5, n_classes=2, free_bits=0.1)
    trainer = train(model, Data(n_classes=2), callbacks=[EMA(modules=["encoder", "decoder", "likelihood"])])
    trainer.save_checkpoint(tmp_path / "mine.ckpt")
    again = lit_gen.load(tmp_path / "mine.ckpt")
    assert isinstance(again.likelihood, DiscretisedLogistic)
    assert (again.beta, again.free_bits, again.n_classes, again.images_seen) == (0.5, 0.1, 2, 16)
    assert (again.image_shape, again.class_names) == ((1, 4, 4), ["class 0", "class 1"])
    torch.testing.assert_close(again.sample(3, seed=0), model.sample(3, seed=0))
    x = pictures(4)
    torch.testing.assert_close(again.elbo(x, [0, 1, 0, 1], seed=0), model.elbo(x, [0, 1, 0, 1], seed=0))
