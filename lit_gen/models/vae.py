"""Variational autoencoder: a latent variable model and the posterior that makes its likelihood tractable."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn

from lit_gen import checkpoint as checkpoints
from lit_gen.agreement import by, check_labels, check_shape, class_numbers, labels_missing, refuse_labels, unknown_mode
from lit_gen.errors import UserError
from lit_gen.losses.elbo import importance_weighted_bound, kl_to_standard_normal, log_normal, with_free_bits
from lit_gen.losses.likelihoods import Bernoulli, Likelihood
from lit_gen.mixture import Mixture
from lit_gen.optimizers import make_optimizer
from lit_gen.pictures import Made
from lit_gen.progress import check_max_images, count_images, gradient_norm
from lit_gen.sampling import averaged, draw_latents, evaluating

AT_ONCE = 2048  # images that the decoder makes at a time for the importance-weighted bound
STEPS = 8  # of an interpolation in a grid
PARTS = ("encoder", "decoder", "likelihood")


class VAE(LightningModule):
    """Variational autoencoder (Kingma & Welling 2014, arXiv:1312.6114, algorithm 1).

    A batch is `(images,)`, float32 (B, C, H, W) in [-1, 1], or `(images, labels)`; the labels are used where the
    networks have `n_classes`, and condition both. Time is counted in images seen, over all processes.

    Args:
        encoder: `q(z|x)`: `E(x) -> (mu, logvar)`, (B, Z) each; exposes `latent_dim`.
        decoder: `D(z) -> raw`, (B, C, H, W), what the likelihood makes images of; exposes `latent_dim`.
        likelihood: `p(x|z)`; Bernoulli by default, which binarises the images.
        optimizer: Of the two networks and the likelihood; Adam(1e-3) by default.
        beta: Weight of the divergence from the prior; 1 maximises the lower bound (Higgins et al. 2017, eq. 4).
        kl_warm_up: Images over which this weight rises from 0 (Sonderby et al. 2016, section 2.3); 0 turns it off.
        free_bits: Nats that each latent dimension may hold for free (Kingma et al. 2016, eq. 15).
        iwae_samples: Draws of z for each image, for the importance-weighted bound in `test`.
        mixture_components: Gaussians of the mixture that the callback PosteriorMixture fits.
        max_images: Stop after so many images seen; None leaves the end to `trainer.max_epochs` and `max_time`.
    """

    evaluated = {"sample": None}  # what is measured, and the domain of the real images that it is held against
    image_shape: tuple[int, int, int] | None = None  # of the data that it was trained on
    class_names: list[str] = []

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        likelihood: Likelihood | None = None,
        optimizer: OptimizerCallable | None = None,
        beta: float = 1.0,
        kl_warm_up: int = 0,
        free_bits: float = 0.0,
        iwae_samples: int = 500,
        mixture_components: int = 10,
        max_images: int | None = None,
    ) -> None:
        super().__init__()
        for name, value, least in (
            ("beta", beta, 0), ("kl_warm_up", kl_warm_up, 0), ("free_bits", free_bits, 0),
            ("iwae_samples", iwae_samples, 1), ("mixture_components", mixture_components, 1),
        ):  # fmt: skip
            if not value >= least:
                raise UserError(f"VAE: {name} is {value}, expected at least {least}. Type --model.{name} {least}.")
        check_max_images(self, max_images)
        for name in ("latent_dim", "n_classes"):
            found = [getattr(network, name, None) for network in (encoder, decoder)]
            if found[0] != found[1]:
                raise UserError(
                    f"VAE: the encoder's {name} is {found[0]}, the decoder's {found[1]}. Give --model.encoder.{name} "
                    f"and --model.decoder.{name} the same value."
                )
        self.save_hyperparameters(logger=False)
        self.encoder = encoder
        self.decoder = decoder
        self.likelihood = likelihood or Bernoulli()
        self.optimizer = optimizer
        self.beta = beta
        self.kl_warm_up = kl_warm_up
        self.free_bits = free_bits
        self.iwae_samples = iwae_samples
        self.mixture_components = mixture_components
        self.max_images = max_images
        self.n_classes: int | None = getattr(encoder, "n_classes", None)
        self.mixture = Mixture(mixture_components, decoder.latent_dim)
        self.images_seen = 0
        self.regularisers: list[Any] = []  # callbacks towards a source, during fit; see SourceRegulariser
        self.mu_sums: list[Tensor] = []  # of the split that is being judged: count, sum, sum of squares

    def setup(self, stage: str) -> None:
        # Convolutions run faster so, on CPUs (oneDNN) and on tensor cores alike; only 4-d weights are touched.
        self.to(memory_format=torch.channels_last)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        parameters = [p for name in PARTS for p in getattr(self, name).parameters()]
        return make_optimizer("optimizer", self.optimizer or default_optimizer, parameters)

    def training_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> Tensor:
        log_likelihood, kl, _ = self.terms((self.encoder, self.decoder, self.likelihood), *self.given(batch))
        log_likelihood, beta = log_likelihood.mean(), self.beta_at(self.images_seen)
        loss = beta * with_free_bits(kl, self.free_bits) - log_likelihood
        for regulariser in self.regularisers:
            loss = loss + regulariser(*PARTS)
        if self.writes_now():
            kl_of_image = kl.detach().sum(1).mean()
            self.log_bound("train", batch[0], log_likelihood.detach(), kl_of_image)
            self.log("train/beta", beta)
            self.log_dict({f"train/{regulariser.name}": regulariser.value for regulariser in self.regularisers})
        count_images(self, len(batch[0]))
        return loss

    def terms(
        self, parts: tuple[nn.Module, ...], images: Tensor, *labels: Tensor, noise: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The two terms of the evidence lower bound in nats (Kingma & Welling 2014, eq. 10, one draw of z), and mu.

        Returns:
            log p(x|z) (B,), KL of each latent dimension (B, Z), mean of the posterior (B, Z).
        """
        encoder, decoder, likelihood = parts
        x = likelihood.observe(images)
        mu, logvar = (values.float() for values in encoder(x, *labels))
        z = mu + (0.5 * logvar).exp() * (torch.randn_like(mu) if noise is None else noise.to(mu))
        raw = decoder(z, *labels).float()
        return likelihood.log_prob(x, raw), kl_to_standard_normal(mu, logvar), mu

    def beta_at(self, images_seen: int) -> float:
        """Weight of the divergence, after its warm-up `beta`."""
        return self.beta * min(1.0, images_seen / self.kl_warm_up) if self.kl_warm_up else self.beta

    def writes_now(self) -> bool:
        """Whether the Trainer is going to write this batch's metrics: with one optimizer it goes by its steps."""
        every = self.trainer.log_every_n_steps
        return bool(every) and (self.trainer.global_step + 1) % every == 0

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        if self.writes_now():
            self.log("train/gradient_norm", gradient_norm(self.parameters()))

    def log_bound(self, split: str, images: Tensor, log_likelihood: Tensor, kl: Tensor, **options: Any) -> None:
        elbo = log_likelihood - kl
        bits = self.likelihood.bits_per_dimension(elbo, images[0].numel())
        found = {"elbo": elbo, "log_likelihood": log_likelihood, "kl": kl, "bits_per_dim": bits}
        self.log_dict({f"{split}/{key}": value for key, value in found.items()}, batch_size=len(images), **options)

    def on_validation_epoch_start(self) -> None:
        self.mu_sums = []

    def validation_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> None:
        """The bound on held-out images at beta = 1, and what `active_units` needs, by the EMA weights."""
        images, *labels = self.given(batch)
        with self.averages() as parts:
            log_likelihood, kl, mu = self.terms(parts, images, *labels)
        new = [mu.new_tensor(len(mu)), mu.sum(0), mu.square().sum(0)]
        self.mu_sums = [old + more for old, more in zip(self.mu_sums or [0, 0, 0], new, strict=True)]
        self.log_bound("val", images, log_likelihood.mean(), kl.sum(1).mean(), sync_dist=True)

    def on_validation_epoch_end(self) -> None:
        self.log("val/active_units", self.active_units(), sync_dist=True)

    def test_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> None:
        images, *labels = self.given(batch)
        elbo = self.elbo(images, *labels).mean()
        iwae = self.iwae(images, self.iwae_samples, None, *labels).mean()
        bits = self.likelihood.bits_per_dimension(iwae, images[0].numel())
        found = {"test/elbo": elbo, "test/iwae": iwae, "test/bits_per_dim": bits}
        self.log_dict(found, batch_size=len(images), sync_dist=True)

    def active_units(self) -> Tensor:
        """Latent dimensions whose mean varies over the data by more than 0.01 (Burda et al. 2016, section 5.2)."""
        if not self.mu_sums:
            return torch.tensor(0.0)
        count, total, squares = (self.trainer.strategy.reduce(value, reduce_op="sum") for value in self.mu_sums)
        return (squares / count - (total / count).square() > 0.01).sum().float()

    @contextmanager
    def averages(self) -> Iterator[tuple[nn.Module, ...]]:
        """Encoder, decoder and likelihood with the EMA weights where there are any, in eval mode, without gradients."""
        with ExitStack() as stack:
            yield tuple(stack.enter_context(evaluating(averaged(self, name))) for name in PARTS)

    def elbo(self, images: Tensor, labels: Tensor | None = None, seed: int | None = None) -> Tensor:
        """Evidence lower bound of each image in nats, (B,), from one draw of z at beta = 1, by the EMA weights.

        Args:
            images: (B, C, H, W) in [-1, 1]; the likelihood binarises them where it is of binary images.
            labels: (B,), for a conditional model.
            seed: Of the draw; None continues torch's own random stream.
        """
        cond = self.conditions(len(images), labels)
        noise = draw_latents(len(images), self.decoder.latent_dim, seed)
        with self.averages() as parts:
            log_likelihood, kl, _ = self.terms(parts, images.to(self.device), *cond, noise=noise)
        return log_likelihood - kl.sum(1)

    def iwae(self, images: Tensor, samples: int = 500, seed: int | None = None, labels: Tensor | None = None) -> Tensor:
        """The importance-weighted bound of each image in nats, (B,), by the EMA weights (Burda et al. 2016, eq. 8).

        Args:
            images: (B, C, H, W) in [-1, 1], as for `elbo`.
            samples: Draws of z for each image; the bound rises with them towards log p(x).
            seed: Of the draws.
            labels: (B,), for a conditional model.
        """
        random = None if seed is None else torch.Generator().manual_seed(seed)
        cond = self.conditions(len(images), labels)
        log_weights = []
        with self.averages() as (encoder, decoder, likelihood):
            x = likelihood.observe(images.to(self.device))
            mu, logvar = (values.float() for values in encoder(x, *cond))
            for draws in torch.arange(samples).split(max(1, AT_ONCE // len(images))):
                several = len(draws)
                # One draw after the other: the numbers do not depend on how many there are at a time.
                noise = torch.stack([torch.randn(mu.shape, generator=random) for _ in draws]).to(mu)
                z = mu + (0.5 * logvar).exp() * noise
                raw = decoder(z.flatten(0, 1), *(values.repeat(several) for values in cond)).float()
                log_p_x = likelihood.log_prob(x.repeat(several, 1, 1, 1), raw).view(several, -1)
                log_weights.append(log_p_x + log_normal(z) - log_normal(z, mu, logvar))
        return importance_weighted_bound(torch.cat(log_weights))

    def own_losses(self, n: int) -> Iterator[Tensor]:
        """-ELBO in nats of each of n images of the decoder's own, at beta = 1; z and noise come from the CPU."""
        latents, noise = (draw_latents(n, self.decoder.latent_dim).to(self.device).split(1) for _ in range(2))
        for z, draw, *cond in zip(latents, noise, *(values.split(1) for values in self.conditions(n)), strict=True):
            with torch.no_grad():
                images = self.likelihood.mean(self.decoder(z, *cond))
            log_likelihood, kl, _ = self.terms((self.encoder, self.decoder, self.likelihood), images, *cond, noise=draw)
            yield kl.sum() - log_likelihood.sum()

    @property
    def latent_dim(self) -> int:
        """Numbers in a z."""
        return self.decoder.latent_dim

    def draw_posterior(self, batch: tuple[Tensor, ...]) -> Tensor:
        """z ~ q(z|x) of each image of a batch, (B, Z), by the EMA encoder."""
        images, *labels = self.given(batch)
        with self.averages() as (encoder, _, likelihood):
            mu, logvar = encoder(likelihood.observe(images), *labels)
        return mu + (0.5 * logvar).exp() * torch.randn(mu.shape).to(mu)

    def reconstruct(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """The expected images at the posterior's mean, (B, C, H, W) in [-1, 1]."""
        cond = self.conditions(len(images), labels)
        return self.decode(self.encode(images, cond), cond)

    def interpolate(self, x_from: Tensor, x_to: Tensor, steps: int = STEPS, labels: Tensor | None = None) -> Tensor:
        """Along the straight line between two posterior means, both ends included: (B, steps, C, H, W) in [-1, 1]."""
        cond = self.conditions(len(x_from), labels)
        share = torch.linspace(0, 1, steps, device=self.device).view(1, -1, 1)
        z = torch.lerp(self.encode(x_from, cond)[:, None], self.encode(x_to, cond)[:, None], share)
        images = self.decode(z.flatten(0, 1), tuple(values.repeat_interleave(steps) for values in cond))
        return images.unflatten(0, (len(x_from), steps))

    def encode(self, images: Tensor, cond: tuple[Tensor, ...] = ()) -> Tensor:
        """The posterior's mean (B, Z)."""
        with self.averages() as (encoder, _, likelihood):
            return encoder(likelihood.observe(images.to(self.device)), *cond)[0]

    def decode(self, z: Tensor, cond: tuple[Tensor, ...] = ()) -> Tensor:
        """The expected images (B, C, H, W) in [-1, 1] of latents (B, Z)."""
        with self.averages() as (_, decoder, likelihood):
            return likelihood.mean(decoder(z.to(self.device), *cond))

    def sample(self, n: int, labels: Any = None, seed: int | None = None, source: str = "prior") -> Tensor:
        """Expected images (n, C, H, W) in [-1, 1] from the EMA weights; training modes stay as they were.

        Args:
            n: Number of images.
            labels: Class of each image, numbers or names, for a conditional model; the classes in turns by default.
            seed: The same seed gives the same images; None continues torch's own random stream.
            source: Where z comes from: `prior`, or `mixture`, the one that PosteriorMixture fitted.
        """
        if source not in ("prior", "mixture"):
            raise UserError(f"VAE.sample: source is {source!r}, expected prior or mixture.")
        mode = "sample" if source == "prior" else "mixture"
        return torch.cat([made.images for made in self.make(mode, n, seed, labels=labels)])

    @property
    def modes(self) -> tuple[str, ...]:
        """What `make` can make; the mixture only where one was fitted."""
        return ("sample", *(["mixture"] if self.mixture.fitted else []), "reconstruct", "interpolate")

    def make(
        self,
        mode: str,
        n: int,
        seed: int | None = None,
        batch_size: int = 256,
        source: Iterable[tuple[Tensor, ...]] | None = None,
        labels: Any = None,
        turns: slice = slice(None),
    ) -> Iterator[Made]:
        """Images of one kind, `batch_size` at a time; held-out images come from `source`.

        Only the batches of these `turns` are made: one process of several makes its own.
        """
        if mode in ("sample", "mixture"):
            given = (self.latents(mode, n, seed), *self.conditions(n, labels))
            parts = zip(*(values.split(batch_size) for values in given), strict=True)
            for part in islice(parts, turns.start, turns.stop, turns.step):
                yield Made(self.decode(part[0], part[1:]), period=self.n_classes or 1)
        elif mode in ("reconstruct", "interpolate"):
            refuse_labels(self, labels)  # the images bring theirs
            if source is None:
                raise UserError(f"VAE: {mode} begins with images; none were given (`source`).")
            for batch in islice(source, turns.start, turns.stop, turns.step):
                images, *given = self.given(tuple(values.to(self.device) for values in batch))
                if mode == "reconstruct":
                    found = self.reconstruct(images, *given)
                    yield Made(found, torch.stack([images, found], 1))
                else:  # each image on its way to the next
                    panels = self.interpolate(images, images.roll(-1, 0), STEPS, *given)
                    yield Made(torch.cat(panels.unbind(1), dim=-1), panels)  # a file shows the whole way
        else:
            raise unknown_mode(self, mode)

    def latents(self, mode: str, n: int, seed: int | None) -> Tensor:
        """z (n, Z) on the CPU, from the prior or from the mixture."""
        if mode == "sample":
            return draw_latents(n, self.latent_dim, seed)
        if not self.mixture.fitted:
            raise UserError(
                "VAE: no mixture was fitted to the posteriors of this model. Add PosteriorMixture to the callbacks "
                "(--trainer.callbacks+=PosteriorMixture) and let the training end, or sample from the prior."
            )
        return self.mixture.sample(n, seed)

    def given(self, batch: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Images, and the labels where the networks take any."""
        if self.n_classes is None:
            return tuple(batch[:1])
        if len(batch) < 2:
            raise labels_missing(self, PARTS[:2])
        return tuple(batch[:2])

    def conditions(self, n: int, labels: Any = None) -> tuple[Tensor, ...]:
        """What the networks get beside images or z: for a conditional model n labels, in turns where none are given."""
        if self.n_classes is None:
            refuse_labels(self, labels)
            return ()
        return (class_numbers(self, labels, n).to(self.device),)

    def on_fit_start(self) -> None:
        """What the decoder makes, what the encoder takes and what the data holds have to agree."""
        checkpoints.remember_data(self)
        check_labels(self, PARTS[:2])
        made = self.sample(2, seed=0)
        shape = tuple(made.shape[1:])
        check_shape(self, shape, "decoder")
        if self.likelihood.channels not in (1, shape[0]):
            raise UserError(
                f"VAE: the likelihood has parameters for {self.likelihood.channels} channels, the images have "
                f"{shape[0]}. Type --model.likelihood.channels {shape[0]} (or 1, for one in all)."
            )
        try:
            self.reconstruct(made)
        except RuntimeError as error:
            raise UserError(
                f"VAE: the encoder does not take the decoder's images, {by(shape)}: {error}\nGive "
                "--model.encoder.image_size and .channels the values of the decoder's."
            ) from error

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoints.record(self, checkpoint)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoints.restore(self, checkpoint)


def default_optimizer(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Adam with the rate of its own paper (Kingma & Ba 2015, section 2)."""
    return torch.optim.Adam(parameters, lr=1e-3)
