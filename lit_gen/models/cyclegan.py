"""CycleGAN: translation between two domains from images that do not come in pairs."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import OptimizerCallable
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn

from lit_gen import checkpoint as checkpoints
from lit_gen.agreement import by, check_pairs, refuse_labels, unknown_mode
from lit_gen.augmentations.base import Augmentation, strength_of
from lit_gen.errors import UserError
from lit_gen.fronts import judged_by, unchanged
from lit_gen.image_pool import ImagePool, deal
from lit_gen.losses.adversarial import AdversarialLoss, LeastSquaresLoss
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
from lit_gen.sampling import averaged, evaluating


class CycleGAN(LightningModule):
    """Cycle-consistent translation between domains A and B (Zhu et al. 2017, arXiv:1703.10593, eq. 1-3 and section 4).

    A batch is `(real_a, real_b)`, each float32 (B, C, H, W) in [-1, 1]. Time is counted in images of one domain, over
    all processes: a batch counts B, not 2 B.

    Args:
        generator_ab: Makes images of B from images of A, the paper's G.
        generator_ba: Makes images of A from images of B, the paper's F.
        discriminator_a: Logits of any shape for images of A, real or made.
        discriminator_b: Likewise for B.
        loss: Adversarial loss of both games; least squares by default.
        cycle_weight: The paper's lambda, weight of the L1 between an image and itself there and back again. The paper's
            10 stands beside a generator loss without the 1/2 of LeastSquaresLoss; 5 is the same balance here.
        identity_weight: Weight, in units of cycle_weight, of the L1 by which a generator changes images that are of its
            target domain already (section 5.2); 0 saves the work.
        generator_optimizer: One optimizer for both generators; Adam(2e-4, betas (0.5, 0.999)) by default.
        discriminator_optimizer: One optimizer for both discriminators; the same default.
        pool_size: Fakes of each domain kept for the discriminators; 0 shows them the newest only.
        max_images: Stop after so many images of one domain; None leaves the end to `trainer.max_epochs` and `max_time`.
        gradient_clip: Greatest gradient norm of the two generators together, and of the two discriminators; None does
            not clip.
        augment: What the discriminators see all images through while they train, reals and fakes, in both updates.
    """

    modes = ("a_to_b", "b_to_a")
    evaluated = {"a_to_b": "b", "b_to_a": "a"}  # what is measured, and the domain that it is held against
    image_shape: tuple[int, ...] | None = None
    class_names: list[str] = []

    def __init__(
        self,
        generator_ab: nn.Module,
        generator_ba: nn.Module,
        discriminator_a: nn.Module,
        discriminator_b: nn.Module,
        loss: AdversarialLoss | None = None,
        cycle_weight: float = 10.0,
        identity_weight: float = 0.5,
        generator_optimizer: OptimizerCallable | None = None,
        discriminator_optimizer: OptimizerCallable | None = None,
        pool_size: int = 50,
        max_images: int | None = None,
        gradient_clip: float | None = None,
        augment: Augmentation | None = None,
    ) -> None:
        super().__init__()
        for name, value in (("cycle_weight", cycle_weight), ("identity_weight", identity_weight)):
            if value < 0:
                raise UserError(f"CycleGAN: {name} is {value}, expected 0 or more. Type --model.{name} 0.5, say.")
        if pool_size < 0:
            raise UserError(f"CycleGAN: pool_size is {pool_size}, expected 0 or more. Type --model.pool_size 50.")
        check_max_images(self, max_images)
        check_gradient_clip(self, gradient_clip)
        self.save_hyperparameters(logger=False)
        self.automatic_optimization = False
        self.generator_ab = generator_ab
        self.generator_ba = generator_ba
        self.discriminator_a = discriminator_a
        self.discriminator_b = discriminator_b
        self.loss = loss or LeastSquaresLoss()
        # What a loss remembers is of one discriminator.
        self.losses = {"a": self.loss, "b": copy.deepcopy(self.loss)}
        self.cycle_weight = cycle_weight
        self.identity_weight = identity_weight
        self.generator_optimizer = generator_optimizer
        self.discriminator_optimizer = discriminator_optimizer
        self.pool_size = pool_size
        self.max_images = max_images
        self.gradient_clip = gradient_clip
        self.augment = augment
        self.pools = {"a": ImagePool(pool_size), "b": ImagePool(pool_size)}
        self.images_seen = 0
        self.regularisers: list[Any] = []  # callbacks towards a source, during fit; see SourceRegulariser

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        check_clipping_precision(self)
        make_g = self.generator_optimizer or default_optimizer
        make_d = self.discriminator_optimizer or default_optimizer
        generators = [*self.generator_ab.parameters(), *self.generator_ba.parameters()]
        discriminators = [*self.discriminator_a.parameters(), *self.discriminator_b.parameters()]
        return [
            make_optimizer("generator_optimizer", make_g, generators),
            make_optimizer("discriminator_optimizer", make_d, discriminators),
        ]

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        real_a, real_b = batch
        optimizer_g, optimizer_d = self.optimizers()
        augment = self.augment or unchanged
        metrics: dict[str, Tensor] = {}

        # min over both generators of eq. 3; the discriminators' own weights take no gradient here.
        with self.toggled_optimizer(optimizer_g):
            fake_b, fake_a = self.generator_ab(real_a), self.generator_ba(real_b)
            rec_a, rec_b = self.generator_ba(fake_b), self.generator_ab(fake_a)
            game_a = self.losses["a"].generator_loss(judged_by(self.discriminator_a, augment(fake_a)))
            game_b = self.losses["b"].generator_loss(judged_by(self.discriminator_b, augment(fake_b)))
            cycle_l1 = F.l1_loss(rec_a, real_a) + F.l1_loss(rec_b, real_b)  # eq. 2
            loss_g = game_a + game_b + self.cycle_weight * cycle_l1
            if self.identity_weight:  # section 5.2
                idt_a, idt_b = self.generator_ba(real_a), self.generator_ab(real_b)
                identity_l1 = F.l1_loss(idt_a, real_a) + F.l1_loss(idt_b, real_b)
                loss_g = loss_g + self.cycle_weight * self.identity_weight * identity_l1
                metrics["identity_l1"] = identity_l1 / 2
            for regulariser in self.regularisers:
                loss_g = loss_g + regulariser("generator_ab", "generator_ba")
            metrics |= self.update("generators", optimizer_g, loss_g)

        # max over both discriminators of eq. 1: reals up, fakes of now and then down; the pools keep these as made.
        with self.toggled_optimizer(optimizer_d):
            real_logits_a = judged_by(self.discriminator_a, augment(real_a))
            real_logits_b = judged_by(self.discriminator_b, augment(real_b))
            fake_logits_a = judged_by(self.discriminator_a, augment(self.pools["a"].exchange(fake_a)))
            fake_logits_b = judged_by(self.discriminator_b, augment(self.pools["b"].exchange(fake_b)))
            loss_d_a = self.losses["a"].discriminator_loss(real_logits_a, fake_logits_a)
            loss_d_b = self.losses["b"].discriminator_loss(real_logits_b, fake_logits_b)
            loss_d = loss_d_a + loss_d_b
            for regulariser in self.regularisers:
                loss_d = loss_d + regulariser("discriminator_a", "discriminator_b")
            metrics |= self.update("discriminators", optimizer_d, loss_d)
        if self.augment is not None:
            both = torch.cat([logits.detach().reshape(len(real_a), -1) for logits in (real_logits_a, real_logits_b)], 1)
            self.augment.observe(both - self.loss.boundary)

        if writes_now(self.trainer):
            metrics |= {"generator_loss": loss_g, "cycle_l1": cycle_l1 / 2}
            metrics |= {"discriminator_a_loss": loss_d_a, "discriminator_b_loss": loss_d_b}
            metrics |= self.accuracies("a", real_logits_a, fake_logits_a)
            metrics |= self.accuracies("b", real_logits_b, fake_logits_b)
            metrics |= {regulariser.name: regulariser.value for regulariser in self.regularisers}
            metrics |= strength_of(self.augment)
            self.log_dict({f"train/{name}": value.detach() for name, value in metrics.items()})
        count_images(self, len(real_a))

    def update(self, name: str, optimizer: LightningOptimizer, loss: Tensor) -> dict[str, Tensor]:
        """One step down the gradient of `loss`; the gradient's norm where it is going to be logged."""
        optimizer.zero_grad()
        if not loss.requires_grad:  # all that it would teach is frozen
            return {}
        self.manual_backward(loss)
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        norm = {f"{name}_gradient_norm": gradient_norm(parameters)} if writes_now(self.trainer) else {}
        if self.gradient_clip is not None:
            nn.utils.clip_grad_norm_(parameters, self.gradient_clip)
        optimizer.step()
        return norm

    def accuracies(self, domain: str, real_logits: Tensor, fake_logits: Tensor) -> dict[str, Tensor]:
        """Shares of real and of made patches that a discriminator takes for what they are."""
        return {
            f"real_accuracy_{domain}": (real_logits > self.loss.boundary).float().mean(),
            f"fake_accuracy_{domain}": (fake_logits < self.loss.boundary).float().mean(),
        }

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.judge(batch, "val")
        self.judge_train_reals(len(batch[0]))

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.judge(batch, "test")

    def judge(self, batch: tuple[Tensor, Tensor], split: str) -> None:
        """Cycle and identity on held-out images, by the averaged generators; what the discriminators say of both."""
        real_a, real_b = batch
        to_b, to_a = averaged(self, "generator_ab"), averaged(self, "generator_ba")
        fake_b, fake_a = to_b(real_a), to_a(real_b)
        cycle_l1_a, cycle_l1_b = F.l1_loss(to_a(fake_b), real_a), F.l1_loss(to_b(fake_a), real_b)
        metrics = {
            "cycle_l1_a": cycle_l1_a,
            "cycle_l1_b": cycle_l1_b,
            "cycle_l1": (cycle_l1_a + cycle_l1_b) / 2,
            "identity_l1": (F.l1_loss(to_a(real_a), real_a) + F.l1_loss(to_b(real_b), real_b)) / 2,
            **self.accuracies("a", judged_by(self.discriminator_a, real_a), judged_by(self.discriminator_a, fake_a)),
            **self.accuracies("b", judged_by(self.discriminator_b, real_b), judged_by(self.discriminator_b, fake_b)),
        }
        named = {f"{split}/{name}": value for name, value in metrics.items()}
        self.log_dict(named, batch_size=len(real_a), sync_dist=True)

    def judge_train_reals(self, n: int) -> None:
        """The same question about reals that they did see: what they pass beyond the held-out ones is memorised."""
        train_set = getattr(self.trainer.datamodule, "train_set", None)
        if not train_set:
            return
        rows = torch.randint(len(train_set), (n,)).tolist()
        for domain, real in zip("ab", rows_of(train_set, rows), strict=True):
            logits = judged_by(getattr(self, f"discriminator_{domain}"), real.to(self.device))
            accuracy = (logits > self.loss.boundary).float().mean()
            self.log(f"val/train_real_accuracy_{domain}", accuracy, batch_size=n, sync_dist=True)

    def own_losses(self, n: int) -> Iterator[Tensor]:
        """Both generators' adversarial loss of each of n pairs of train images, chosen by the CPU's random stream.

        Raises:
            UserError: The data shows no train images before training.
        """
        train_set = getattr(self.trainer.datamodule, "train_set", None)
        if not train_set:
            raise UserError(
                "CycleGAN: its own images are translations of train images, and there is no data module with a "
                "`train_set` to take them from. Train with one, --data UnpairedFolders, say."
            )
        for row in torch.randint(len(train_set), (n,)).tolist():
            real_a, real_b = (images.to(self.device) for images in rows_of(train_set, [row]))
            game_a = self.losses["a"].generator_loss(judged_by(self.discriminator_a, self.generator_ba(real_b)))
            game_b = self.losses["b"].generator_loss(judged_by(self.discriminator_b, self.generator_ab(real_a)))
            yield game_a + game_b

    def translate(self, x: Tensor, to: str = "b") -> Tensor:
        """Images of one domain as the other would have them: EMA weights, eval mode, and both put back.

        Args:
            x: (B, C, H, W) in [-1, 1].
            to: `b` for images of A, `a` for images of B.

        Returns:
            The same shape in [-1, 1].

        Raises:
            UserError: `to` is neither.
        """
        if to not in ("a", "b"):
            raise UserError(
                f'CycleGAN: there is no domain {to!r} to translate to. Type to="b", or to="a" for the way back.'
            )
        with evaluating(averaged(self, "generator_ab" if to == "b" else "generator_ba")) as generator:
            return generator(x.to(self.device))

    def cycle(self, x: Tensor, to: str = "b") -> Tensor:
        """Images `x` of one domain translated to the other and back again: a perfect cycle returns `x`."""
        return self.translate(self.translate(x, to), "a" if to == "b" else "b")

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
        """Translations of the first n images of `source`, each shown as source | translation | reconstruction.

        Args:
            mode: `a_to_b` or `b_to_a`.
            n: Number of images; fewer where `source` ends before.
            seed: Not used: nothing is drawn.
            batch_size: Images translated at once, at most.
            source: Batches (real_a, real_b), or (images,) of the one domain.
            labels: None, as there are no classes.
            turns: Only these batches are translated: one process of several takes its own.

        Raises:
            UserError: No such mode, or no images to translate.
        """
        if mode not in self.modes:
            raise unknown_mode(self, mode)
        refuse_labels(self, labels)
        if source is None:
            raise UserError("CycleGAN: translation needs images to translate, and found none: there is no `source`.")
        to = mode[-1]
        for batch in islice(source, turns.start, turns.stop, turns.step):
            images = batch[0 if to == "b" or len(batch) == 1 else 1][:n]
            n -= len(images)
            for part in images.split(batch_size):
                made = self.translate(part, to)
                back = self.translate(made, mode[0])
                yield Made(made, torch.stack([part.to(made.device), made, back], dim=1))
            if not n:
                return

    def on_fit_start(self) -> None:
        """What the data holds and what the networks take and make have to agree."""
        checkpoints.remember_data(self)
        check_pairs(self)
        if self.image_shape is None:
            return
        images = torch.zeros(1, *self.image_shape, device=self.device)
        for name in ("generator_ab", "generator_ba", "discriminator_a", "discriminator_b"):
            try:
                with evaluating(getattr(self, name)) as network:
                    made = judged_by(network, images) if name.startswith("discriminator") else network(images)
            except RuntimeError as error:
                raise UserError(
                    f"CycleGAN: {name} does not take the data's images, {by(self.image_shape)} (channels x height x "
                    f"width): {error}\nGive --data.channels the value of --model.{name}.channels."
                ) from error
            if name.startswith("discriminator"):
                self.loss.check(made)
            elif made.shape != images.shape:
                raise UserError(
                    f"CycleGAN: {name} makes {by(made.shape[1:])} of the data's images, {by(self.image_shape)} "
                    "(channels x height x width); both domains have to be of one shape."
                )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoints.record(self, checkpoint)
        if self.loss.state_dict():
            checkpoint["loss"] = {domain: loss.state_dict() for domain, loss in self.losses.items()}
        pools = {name: pool.images for name, pool in self.pools.items() if pool.images is not None}
        # Every process has taken in as many images as the others, so that their pools are of one shape.
        checkpoint["image_pools"] = {
            name: self.all_gather(images).reshape(-1, *images.shape).cpu() for name, images in pools.items()
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoints.restore(self, checkpoint)
        for domain, remembered in checkpoint.get("loss", {}).items():
            self.losses[domain].load_state_dict(remembered)
        processes = self.trainer.world_size if self._trainer is not None else 1
        for name, stored in checkpoint.get("image_pools", {}).items():
            mine = deal(stored, self.global_rank, processes)[: self.pool_size]
            self.pools[name].images = mine.to(self.device)


def default_optimizer(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Adam as the paper has it (section 7.1, and the authors' code for the betas)."""
    return torch.optim.Adam(parameters, lr=2e-4, betas=(0.5, 0.999))
