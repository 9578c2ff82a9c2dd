"""Features of a frozen backbone, computed once for all epochs and all runs."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn
from torch.utils.data import Dataset
from tqdm.auto import tqdm

from lit_gen.errors import UserError
from lit_gen.feature_store import FeatureSet, backbone_digest, entry_for, read_through, write_features
from lit_gen.pictures import rows_of

SPLITS = ("train", "val")  # a test goes through its images once, where nothing can be saved


class FeatureCache(Callback):
    """Trains on features instead of images where the model's front is frozen and the images are always the same.

    The features of the train and the validation set are kept in the cache folder, under the SHA-256 of the images and
    of the backbone. The data module's sets keep their images for all else that reads them (grids, metrics): only its
    loaders give features. List it behind the callbacks that bring the weights.
    """

    def __init__(self) -> None:
        self.front_digest = ""
        self.sets: dict[str, FeatureSet] = {}

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        front = frozen_front(pl_module)
        check_images_stay(trainer)
        self.front_digest = backbone_digest(front)
        for split in SPLITS:
            images = getattr(trainer.datamodule, f"{split}_set", None)
            if images is not None and len(images):
                self.sets[split] = self.features_of(images, split, trainer, pl_module)
        for split, features in self.sets.items():
            serve(trainer.datamodule, split, features)
        pl_module.batches_hold_features = True

    def features_of(self, images: Dataset, split: str, trainer: Trainer, pl_module: LightningModule) -> FeatureSet:
        """From the cache, or computed by the first process of each machine while the others wait."""
        digest, cond = read_through(images)
        path = entry_for(digest, self.front_digest)
        if not path.is_file() and trainer.local_rank == 0:
            shown = trainer.is_global_zero and trainer.progress_bar_callback is not None
            about = {"total": len(images), "unit": " images", "desc": f"features of {split}", "leave": False}
            with tqdm(**about, disable=not shown) as bar:
                write_features(path, pl_module.front, images, pl_module.device, bar.update)
        trainer.strategy.barrier("features")
        return FeatureSet(path, cond)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if backbone_digest(pl_module.front) != self.front_digest:
            raise UserError(
                "FeatureCache: the weights of the backbone have changed since its features were computed.\nList "
                "FeatureCache behind LoadWeights and all other callbacks that change weights."
            )

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.withdraw(trainer, pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self.withdraw(trainer, pl_module)

    def withdraw(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The loaders give images again: whatever comes next may be a test, or another model."""
        pl_module.batches_hold_features = False
        for split in self.sets:
            vars(trainer.datamodule).pop(f"{split}_dataloader", None)
        self.sets = {}


def frozen_front(model: LightningModule) -> nn.Module:
    """The part of the model that images pass first.

    Raises:
        UserError: The model has no such part, needs the images beside the features, or is going to change the part.
    """
    front, name = getattr(model, "front", None), type(model).__name__
    if front is None or not hasattr(model, "batches_hold_features"):
        raise UserError(
            f"FeatureCache: {name} has no front whose features could stand in for the images. Leave the callback out, "
            "or use a Classifier, or a GAN with a FeatureDiscriminator."
        )
    if getattr(model, "augment", None) is not None:
        raise UserError(
            f"FeatureCache: {name} augments its images by {type(model.augment).__name__} before they pass the front, "
            "and features computed once would never see it.\nType --model.augment null, or leave FeatureCache out."
        )
    learns = any(parameter.requires_grad for parameter in front.parameters())
    moves = any(module.training for module in front.train().modules())  # what is frozen for good stays in eval mode
    if learns or moves:
        raise UserError(
            f"FeatureCache: the features of {name}, {type(front).__name__}, are not frozen for good: computed once, "
            "they would not follow.\nUse NetworkFeatures or ImageNetFeatures, or leave FeatureCache out."
        )
    return front


def check_images_stay(trainer: Trainer) -> None:
    """Refuses augmentation: features computed once would never see it.

    Raises:
        UserError: The data augments, or comes from elsewhere than a data module with a train set.
    """
    train_set: Any = getattr(trainer.datamodule, "train_set", None)
    if not train_set:
        raise UserError("FeatureCache: found no data module with a train_set. Give one to trainer.fit(datamodule=...).")
    rows = list(range(min(64, len(train_set))))
    with torch.random.fork_rng(devices=[]):  # a second look at the same images shows what is done at random
        first, second = (rows_of(train_set, rows)[0] for _ in range(2))
    if getattr(trainer.datamodule, "horizontal_flip", False) or not torch.equal(first, second):
        raise UserError(
            "FeatureCache: the train images are augmented at random, and features computed once would never see it.\n"
            "Type --data.horizontal_flip false, or leave FeatureCache out."
        )


def serve(data: Any, split: str, features: FeatureSet) -> None:
    """From now on the data module's loader of this split gives features; its set keeps the images."""
    make_loader = getattr(data, f"{split}_dataloader")

    def loader() -> Any:
        images = getattr(data, f"{split}_set")
        setattr(data, f"{split}_set", features)
        try:
            return make_loader()
        finally:
            setattr(data, f"{split}_set", images)

    setattr(data, f"{split}_dataloader", loader)
