"""Classifier of images on features that may come from elsewhere: where a few labelled images have to do."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn

from lit_gen import checkpoint as checkpoints
from lit_gen.agreement import by, check_labels, example
from lit_gen.errors import UserError
from lit_gen.fronts import as_vectors, vector_length
from lit_gen.optimizers import make_optimizer
from lit_gen.progress import check_max_images, count_images
from lit_gen.sampling import averaged, evaluating


class Classifier(LightningModule):
    """Softmax regression, or a small network, on features (Donahue et al. 2014, arXiv:1310.1531, section 3).

    A batch is `(images, labels)`: float32 (B, C, H, W) in [-1, 1] and int64 (B,). Time is counted in images seen, over
    all processes.

    Args:
        features: What the head sees of an image: frozen (ImageNetFeatures, NetworkFeatures) or trained as well
            (NetworkBlocks). Of maps, the mean over height and width is used; `output: flat` keeps what stands where.
        n_classes: Number of classes; labels are 0 to n_classes - 1.
        hidden: Units of the head's hidden layers, each with a ReLU; none makes it linear.
        dropout: Share of the inputs of each layer of the head that are left out in training, in [0, 1).
        label_smoothing: Share of the target that is spread over all classes, in [0, 1) (Szegedy et al. 2016, sec. 7).
        optimizer: Of all that is not frozen; Adam(1e-3) by default.
        max_images: Stop after so many images seen; None leaves the end to `trainer.max_epochs` and `max_time`.
    """

    modes = ()  # it makes no images
    image_shape: tuple[int, int, int] | None = None  # of the data that it was trained on
    class_names: list[str] = []
    batches_hold_features = False  # instead of images, where FeatureCache has computed them

    def __init__(
        self,
        features: nn.Module,
        n_classes: int,
        hidden: list[int] | None = None,
        dropout: float = 0.0,
        label_smoothing: float = 0.0,
        optimizer: OptimizerCallable | None = None,
        max_images: int | None = None,
    ) -> None:
        super().__init__()
        for name, value in (("dropout", dropout), ("label_smoothing", label_smoothing)):
            if not 0 <= value < 1:
                raise UserError(f"Classifier: {name} is {value}, expected 0 or more, below 1. Type --model.{name} 0.1.")
        if n_classes < 2 or min(hidden or [1]) < 1:
            raise UserError(
                f"Classifier: n_classes is {n_classes} and hidden is {hidden}, expected 2 classes or more and 1 unit "
                'or more. Type --model.n_classes 10 --model.hidden "[128]", say.'
            )
        check_max_images(self, max_images)
        self.save_hyperparameters(logger=False)
        self.features = features
        self.n_classes = n_classes
        self.hidden = hidden
        self.dropout = dropout
        self.label_smoothing = label_smoothing
        self.optimizer = optimizer
        self.max_images = max_images
        self.head = make_head([vector_length(features, self), *(hidden or []), n_classes], dropout)
        self.images_seen = 0

    @property
    def front(self) -> nn.Module:
        """What images pass before the head."""
        return self.features

    def setup(self, stage: str) -> None:
        # Convolutions run faster so, on CPUs (oneDNN) and on tensor cores alike; only 4-d weights are touched.
        self.to(memory_format=torch.channels_last)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        parameters = list(self.parameters())  # what is frozen gets no gradient, and may be unfrozen later
        return make_optimizer("optimizer", self.optimizer or default_optimizer, parameters)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, labels = batch
        features = images if self.batches_hold_features else self.features(images)
        logits = self.head(as_vectors(features))
        self.log_quality("train", logits.detach(), labels)
        count_images(self, len(labels))
        return F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.judge(batch, "val")

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.judge(batch, "test")

    def judge(self, batch: tuple[Tensor, Tensor], split: str) -> None:
        """Accuracy and cross-entropy on held-out images, by the EMA weights where there are any."""
        images, labels = batch
        logits = self.logits_of_features(images) if self.batches_hold_features else self.logits(images)
        self.log_quality(split, logits, labels, sync_dist=True)

    def log_quality(self, split: str, logits: Tensor, labels: Tensor, **options: Any) -> None:
        """Share of images whose most likely class is theirs, and the mean of -log p(label) in nats."""
        found = {
            f"{split}/accuracy": (logits.argmax(1) == labels).float().mean(),
            f"{split}/cross_entropy": F.cross_entropy(logits, labels),
        }
        self.log_dict(found, batch_size=len(labels), **options)

    def logits(self, images: Tensor) -> Tensor:
        """Logits (B, K) of images (B, C, H, W) in [-1, 1], in eval mode, by the EMA weights where there are any."""
        with evaluating(averaged(self, "features")) as features:
            return self.logits_of_features(features(images.to(self.device)))

    def logits_of_features(self, features: Tensor) -> Tensor:
        """Logits (B, K) of what `features` makes of images."""
        with evaluating(averaged(self, "head")) as head:
            return head(as_vectors(features))

    def probabilities(self, images: Tensor) -> Tensor:
        """Probability of each class (B, K) of images (B, C, H, W) in [-1, 1]; `class_names` has the classes' names."""
        return self.logits(images).softmax(1)

    def on_fit_start(self) -> None:
        """What the features take and what the data holds have to agree."""
        checkpoints.remember_data(self)
        check_labels(self, [])
        batch = example(self)
        if batch is None:
            return
        try:
            self.logits(batch[0])
        except RuntimeError as error:
            raise UserError(
                f"Classifier: the features do not take the data's images, {by(batch[0].shape[1:])}: {error}\nGive "
                "--data.image_size and --data.channels the values of the network in --model.features."
            ) from error

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoints.record(self, checkpoint)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoints.restore(self, checkpoint)


def make_head(sizes: list[int], dropout: float) -> nn.Sequential:
    """Linear layers between these sizes with ReLU in between, and dropout before each where it is wanted."""
    layers: list[nn.Module] = []
    for inputs, outputs in zip(sizes, sizes[1:], strict=False):
        layers += [nn.ReLU()] if layers else []
        layers += [nn.Dropout(dropout)] if dropout else []
        layers += [nn.Linear(inputs, outputs)]
    return nn.Sequential(*layers)


def default_optimizer(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Adam with the rate of its own paper (Kingma & Ba 2015, section 2)."""
    return torch.optim.Adam(parameters, lr=1e-3)
