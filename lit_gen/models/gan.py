"""Generative adversarial network: the alternating min-max game of two networks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import OptimizerCallable
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn

from lit_gen import checkpoint as checkpoints
from lit_gen.agreement import (
    check_discriminator,
    check_generator,
    check_no_labels,
    check_shape,
    refuse_labels,
    unknown_mode,
)
from lit_gen.augmentations.base import Augmentation, strength_of
from lit_gen.errors import UserError
from lit_gen.fronts import unchanged
from lit_gen.losses.adversarial import AdversarialLoss, NonSaturatingLoss, logits_of
from lit_gen.losses.penalties import Penalty
from lit_gen.optimizers import make_optimizer
from lit_gen.pictures import Made, rows_of
from lit_gen.progress import (
    check_clipping_precision,
    check_gradient_clip,
    check_max_images,
    count_images,
    gradient_norm,
    writes_now,
)
from lit_gen.sampling import averaged, draw_latents, evaluating


class GAN(LightningModule):
    """Generative adversarial network (Goodfellow et al. 2014, arXiv:1406.2661, algorithm 1).

    A batch is `(images,)`, float32 (B, C, H, W) in [-1, 1]; whatever follows the images in a batch is passed on to both
    networks. Time is counted in images seen, over all processes.

    Args:
        generator: `G(z) -> images` in [-1, 1]; exposes `latent_dim`.
        discriminator: `D(images) -> logits`. It may have a frozen front `features(images)`; then `D` takes what the
            front returns, the front sees each fake only once for both updates, and penalties act on what it returns.
        loss: Adversarial loss; the non-saturating one by default.
        generator_optimizer: Optimizer of the generator; Adam(2e-4, betas (0.5, 0.999)) by default.
        discriminator_optimizer: Optimizer of the discriminator; the same default.
        penalties: Added to the discriminator's loss, each at every `penalty.every`-th update (lazy regularisation).
        max_images: Stop after so many images seen; None leaves the end to `trainer.max_epochs` and `max_time`.
        discriminator_steps: Discriminator updates for each generator update, each on a batch of its own.
        gradient_clip: Greatest gradient norm of each network; None does not clip.
        accumulate_batches: Batches whose mean gradient makes one update.
        augment: What the discriminator sees all images through while it trains, reals and fakes, in both updates.
    """

    modes = ("sample",)
    evaluated = {"sample": None}  # what is measured, and the domain of the real images that it is held against
    image_shape: tuple[int, int, int] | None = None  # of the data that it was trained on
    class_names: list[str] = []
    batches_hold_features = False  # instead of images, where FeatureCache has computed what the front makes of them

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        loss: AdversarialLoss | None = None,
        generator_optimizer: OptimizerCallable | None = None,
        discriminator_optimizer: OptimizerCallable | None = None,
        penalties: list[Penalty] | None = None,
        max_images: int | None = None,
        discriminator_steps: int = 1,
        gradient_clip: float | None = None,
        accumulate_batches: int = 1,
        augment: Augmentation | None = None,
    ) -> None:
        super().__init__()
        for name, value in (("discriminator_steps", discriminator_steps), ("accumulate_batches", accumulate_batches)):
            if value < 1:
                raise UserError(f"GAN: {name} is {value}, expected at least 1. Type --model.{name} 1.")
        check_max_images(self, max_images)
        check_gradient_clip(self, gradient_clip)
        self.save_hyperparameters(logger=False)
        self.automatic_optimization = False
        self.generator = generator
        self.discriminator = discriminator
        self.loss = loss or NonSaturatingLoss()
        self.generator_optimizer = generator_optimizer
        self.discriminator_optimizer = discriminator_optimizer
        self.penalties = penalties or []
        self.max_images = max_images
        self.discriminator_steps = discriminator_steps
        self.gradient_clip = gradient_clip
        self.accumulate_batches = accumulate_batches
        self.augment = augment
        self.images_seen = 0
        self.regularisers: list[Any] = []  # callbacks towards a source, during fit; see SourceRegulariser
        self.progress: dict[str, Tensor] = {}  # the latest of what is logged; G has no turn in every step

    def setup(self, stage: str) -> None:
        self.check_labels()
        # Convolutions run faster so, on CPUs (oneDNN) and on tensor cores alike; only 4-d weights are touched.
        self.to(memory_format=torch.channels_last)

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        check_clipping_precision(self)
        make_g = self.generator_optimizer or default_optimizer
        make_d = self.discriminator_optimizer or default_optimizer
        return [
            make_optimizer("generator_optimizer", make_g, self.generator.parameters()),
            make_optimizer("discriminator_optimizer", make_d, self.discriminator.parameters()),
        ]

    def training_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> None:
        real, *cond = batch
        optimizer_g, optimizer_d = self.optimizers()
        number = self.trainer.fit_loop.total_batch_idx  # batch_idx starts again in every epoch
        steps = (number + 1) % self.accumulate_batches == 0
        update = number // self.accumulate_batches
        generators_turn = (update + 1) % self.discriminator_steps == 0
        augment, front = self.augment or unchanged, self.front or unchanged

        # One generator forward serves both updates; it keeps a graph only where the generator is going to learn.
        z = torch.randn(len(real), self.generator.latent_dim, device=self.device)
        with torch.set_grad_enabled(generators_turn):
            fake = self.generator(z, *cond)
            fake_features = front(augment(fake))

        # max_D: reals up, fakes down (algorithm 1, the inner step).
        with self.updating(optimizer_d, "discriminator", steps):
            real_features = real if self.batches_hold_features else front(augment(real))
            judged_real = self.discriminator(real_features, *cond)
            judged_fake = self.discriminator(fake_features.detach(), *cond)
            loss_d = self.loss.discriminator_loss(judged_real, judged_fake, *cond)
            for penalty in self.penalties:
                if update % penalty.every == 0:
                    penalized = penalty(self.discriminator, real_features, fake_features.detach(), *cond)
                    loss_d = loss_d + penalty.every * penalized
            for regulariser in self.regularisers:
                loss_d = loss_d + regulariser("discriminator")
            self.descend(loss_d)
        if self.augment is not None:
            self.augment.observe(logits_of(judged_real).detach() - self.loss.boundary)

        # min_G: through the discriminator that has just learnt, whose own weights take no gradient here.
        if generators_turn:
            with self.updating(optimizer_g, "generator", steps):
                loss_g = self.loss.generator_loss(self.discriminator(fake_features, *cond), *cond)
                for regulariser in self.regularisers:
                    loss_g = loss_g + regulariser("generator")
                self.descend(loss_g)
            self.progress["train/generator_loss"] = loss_g.detach()

        if writes_now(self.trainer):
            self.log_progress(loss_d, logits_of(judged_real), logits_of(judged_fake))
        count_images(self, len(real))

    def descend(self, loss: Tensor) -> None:
        """Adds a loss's gradient to those of this update; there is none where the whole network is frozen."""
        if loss.requires_grad:
            self.manual_backward(loss / self.accumulate_batches)

    @contextmanager
    def updating(self, optimizer: LightningOptimizer, name: str, steps: bool) -> Iterator[None]:
        """One network's share of the step: only its weights require gradients inside, and `steps` ends in an update."""
        network = getattr(self, name)
        with self.toggled_optimizer(optimizer):
            yield
            if steps and any(parameter.grad is not None for parameter in network.parameters()):
                if writes_now(self.trainer):
                    self.progress[f"train/{name}_gradient_norm"] = gradient_norm(network.parameters())
                if self.gradient_clip is not None:
                    nn.utils.clip_grad_norm_(network.parameters(), self.gradient_clip)
                optimizer.step()
                optimizer.zero_grad()

    def log_progress(self, loss_d: Tensor, real_logits: Tensor, fake_logits: Tensor) -> None:
        """Logs this batch, and what is known of the generator from its last turn."""
        self.progress |= {
            "train/discriminator_loss": loss_d.detach(),
            "train/real_logits": real_logits.detach().mean(),
            "train/fake_logits": fake_logits.detach().mean(),
            "train/real_accuracy": (real_logits > self.loss.boundary).float().mean(),
            "train/fake_accuracy": (fake_logits < self.loss.boundary).float().mean(),
            **{f"train/{regulariser.name}": regulariser.value for regulariser in self.regularisers},
            **{f"train/{name}": value for name, value in strength_of(self.augment).items()},
        }
        self.log_dict(self.progress)

    def on_validation_model_zero_grad(self) -> None:
        """Lightning would drop the gradients that wait for further batches of their update."""
        if self.accumulate_batches == 1:
            super().on_validation_model_zero_grad()

    def validation_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> None:
        self.judge(batch, "val")
        self.judge_train_reals(len(batch[0]))

    def test_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> None:
        self.judge(batch, "test")

    def judge(self, batch: tuple[Tensor, ...], split: str) -> None:
        """How the discriminator takes held-out reals and fresh fakes; reals that it never saw should still pass."""
        real, *cond = batch
        front = self.front or unchanged
        z = torch.randn(len(real), self.generator.latent_dim, device=self.device)
        judged_real = self.discriminator(real if self.batches_hold_features else front(real), *cond)
        judged_fake = self.discriminator(front(averaged(self, "generator")(z, *cond)), *cond)
        metrics = {
            f"{split}/discriminator_loss": self.loss.discriminator_loss(judged_real, judged_fake, *cond),
            f"{split}/real_accuracy": (logits_of(judged_real) > self.loss.boundary).float().mean(),
            f"{split}/fake_accuracy": (logits_of(judged_fake) < self.loss.boundary).float().mean(),
        }
        self.log_dict(metrics, batch_size=len(real), sync_dist=True)

    def judge_train_reals(self, n: int) -> None:
        """The same question about reals that it did see: what it passes beyond the held-out ones, it has memorised."""
        train_set = getattr(self.trainer.datamodule, "train_set", None)
        if not train_set:
            return
        rows = torch.randint(len(train_set), (n,)).tolist()
        real, *cond = (values.to(self.device) for values in rows_of(train_set, rows))
        logits = logits_of(self.discriminator((self.front or unchanged)(real), *cond))
        accuracy = (logits > self.loss.boundary).float().mean()
        self.log("val/train_real_accuracy", accuracy, batch_size=n, sync_dist=True)

    def own_losses(self, n: int) -> Iterator[Tensor]:
        """The generator's loss of each of n images of its own, by the discriminator as it is; z comes from the CPU."""
        front = self.front or unchanged
        given = (draw_latents(n, self.generator.latent_dim), *self.conditions(n))
        for z, *cond in zip(*(values.to(self.device).split(1) for values in given), strict=True):
            judged = self.discriminator(front(self.generator(z, *cond)), *cond)
            yield self.loss.generator_loss(judged, *cond)

    @property
    def front(self) -> nn.Module | None:
        """What images pass before the discriminator's trainable part, if there is such a thing."""
        return getattr(self.discriminator, "features", None)

    def conditions(self, n: int, labels: Any = None) -> tuple[Tensor, ...]:
        """What the networks get beside z and the images, n of each: nothing here."""
        refuse_labels(self, labels)
        return ()

    def sample(self, n: int, labels: Any = None, seed: int | None = None) -> Tensor:
        """Images (n, C, H, W) in [-1, 1] from the EMA weights where there are any; training modes stay as they were.

        Args:
            n: Number of images.
            labels: Class of each image, for a model that knows classes.
            seed: The same seed gives the same images; None continues torch's own random stream.
        """
        return torch.cat([made.images for made in self.make("sample", n, seed, labels=labels)])

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
        """The images of `sample`, `batch_size` at a time, for more of them than memory holds; `source` is not used.

        Only the batches of these `turns` are made: one process of several makes its own.
        """
        if mode not in self.modes:
            raise unknown_mode(self, mode)
        given = (draw_latents(n, self.latent_dim, seed), *self.conditions(n, labels))
        parts = zip(*(values.split(batch_size) for values in given), strict=True)
        for z, *cond in islice(parts, turns.start, turns.stop, turns.step):
            yield Made(self.decode(z, tuple(cond)))

    @property
    def latent_dim(self) -> int:
        """Numbers in a z."""
        return self.generator.latent_dim

    def decode(self, z: Tensor, cond: tuple[Tensor, ...] = ()) -> Tensor:
        """The images (B, C, H, W) in [-1, 1] of latents (B, Z), from the EMA weights where there are any."""
        with evaluating(averaged(self, "generator")) as generator:
            return generator(*(values.to(self.device) for values in (z, *cond)))

    def on_fit_start(self) -> None:
        """What the generator makes, what the discriminator takes and what the data holds have to agree."""
        checkpoints.remember_data(self)
        made = self.sample(2, seed=0)
        check_shape(self, made.shape[1:], "generator")
        check_discriminator(self, made)

    def check_labels(self) -> None:
        """Refuses labels, which the networks of this model would not take, and networks that need them."""
        check_generator(self)
        for name in ("generator", "discriminator"):
            if getattr(getattr(self, name), "n_classes", None) is not None:
                raise UserError(
                    f"{type(self).__name__}: the {name} takes labels, and this model has none for it.\nType --model "
                    "ConditionalGAN (and --data.labels true), or use networks without n_classes."
                )
        check_no_labels(self)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoints.record(self, checkpoint)
        # What not every step finds anew.
        checkpoint["progress"] = {name: v for name, v in self.progress.items() if name.endswith(("_loss", "_norm"))}
        if remembered := self.loss.state_dict():
            checkpoint["loss"] = remembered

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoints.restore(self, checkpoint)
        self.progress = dict(checkpoint.get("progress", {}))
        self.loss.load_state_dict(checkpoint.get("loss", {}))


def default_optimizer(parameters: Iterator[nn.Parameter]) -> torch.optim.Optimizer:
    """Adam as Radford et al. 2016 (section 4) tuned it for GANs."""
    return torch.optim.Adam(parameters, lr=2e-4, betas=(0.5, 0.999))
