"""Any classification set that torchvision knows, by name."""

import importlib
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch.utils.data import Dataset

from datamodules import memory_map
from datamodules.base import ImageDataModule
from datamodules.decoding import decode
from datamodules.errors import UserError, nearest
from datamodules.packages import check_allowed
from datamodules.paths import cache_folder, find_input
from datamodules.splits import TEST, TRAIN


class TorchvisionImages(ImageDataModule):
    """A torchvision classification set, such as CIFAR10 or OxfordIIITPet, downloaded if need be."""

    def __init__(
        self,
        dataset: str,
        root: str | None = None,
        train_arguments: dict[str, Any] | None = None,
        test_arguments: dict[str, Any] | None = None,
        image_size: int = 32,
        channels: int = 3,
        **options: Any,
    ) -> None:
        """See ImageDataModule for the other options.

        Args:
            dataset: A name in torchvision.datasets (`CIFAR10`) or the full path of a Dataset that is used alike.
            root: Where the set is, or is downloaded to; a folder `torchvision` in the cache by default.
            train_arguments: Constructor arguments besides `train: true` or `split: train`, such as {split: letters}.
            test_arguments: What differs for the test set besides `train: false` or `split: test`; where torchvision has
                no test set, it is carved out of train.
            image_size: Height and width in pixels; images are cut to the central square and resized.
            channels: 1 for grey, 3 for RGB.
            options: Those of ImageDataModule.
        """
        super().__init__(image_size=image_size, channels=channels, **options)
        self.dataset = dataset
        self.dataset_class = find_dataset(dataset)
        self.root = find_input(root) if root is not None else cache_folder() / "torchvision"
        self.train_arguments, self.test_arguments = train_arguments or {}, test_arguments or {}

    def fingerprint(self) -> dict[str, Any]:
        """The set and its arguments; its files are trusted not to change, as torchvision checks them."""
        path = f"{self.dataset_class.__module__}.{self.dataset_class.__qualname__}"
        return {"dataset": path, "root": str(self.root), "arguments": [self.train_arguments, self.test_arguments]}

    def decode(self, folder: Path) -> None:
        """Download the set and decode its splits one after the other."""
        load = _Load([part for part in (self._open_train(), self._open_test()) if part is not None])
        sizes = [len(part) for part in load.parts]
        shape = (self.channels, self.image_size)
        labels, failed = decode(folder, load, sum(sizes), shape, f"Decoding {self.dataset}")
        names = [f"{part}/{row}" for part, size in zip(("train", "test"), sizes, strict=False) for row in range(size)]
        broken = {names[row]: reason for row, reason in failed.items()}
        if len(broken) == len(names):
            reason = next(iter(broken.values()), "it is empty")
            raise UserError(
                f"TorchvisionImages: no image of {self.dataset} can be used ({reason}). Expected a set whose items are "
                "(image, class number); type --data.dataset CIFAR10 or the name of another classification set."
            )
        splits = np.repeat(np.array([TRAIN, TEST][: len(sizes)], dtype=np.int8), sizes)
        class_names = _class_names(load.parts[0], int(labels.max()) + 1, self.train_arguments)
        memory_map.save(folder, labels=labels, names=names, splits=splits, class_names=class_names, broken=broken)

    def _open_train(self) -> Any:
        return self._construct({**train_split(self.dataset_class), **self.train_arguments}, "train_arguments")

    def _open_test(self) -> Any | None:
        """The test set, or None where the class has none."""
        # What the train set was told beyond its split (EMNIST's `split: letters`) holds for the test set as well.
        train = {**train_split(self.dataset_class), **self.train_arguments}
        for guess in held_out_splits(self.dataset_class):
            arguments = {**train, **guess, **self.test_arguments}
            if arguments == train:
                continue
            found = self._construct(arguments, "test_arguments", may_lack=not self.test_arguments)
            if found is not None:
                return found
        return None

    def _construct(self, arguments: dict[str, Any], option: str, may_lack: bool = False) -> Any | None:
        """One torchvision set, downloaded if it can be; None where it `may_lack` the split that was asked for."""
        download = {"download": True} if "download" in _parameters(self.dataset_class) else {}
        self.root.mkdir(parents=True, exist_ok=True)
        try:
            return self.dataset_class(str(self.root), **{**download, **arguments})
        except (ValueError, TypeError, OSError, RuntimeError) as error:
            # ValueError: no such split. TypeError: an argument is missing. The others: no network, absent or damaged.
            if may_lack and isinstance(error, ValueError):
                return None
            raise UserError(
                f"TorchvisionImages: torchvision has no {self.dataset} with {arguments} at {self.root}: {error}. "
                "Expected a set that it finds there or can download; check the network and --data.root, or set "
                f"the arguments of its constructor, such as --data.{option} '{{split: train}}'."
            ) from error


@dataclass
class _Load:
    """Row -> (image, label) over several sets in a row."""

    parts: list[Any]

    def __call__(self, row: int) -> tuple[Image.Image, int]:
        for part in self.parts:
            if row < len(part):
                image, label = part[row]
                return image, int(label)
            row -= len(part)
        raise IndexError(row)


def find_dataset(dataset: str) -> type:
    """The class behind a bare torchvision name or a full class path.

    Raises:
        UserError: There is none.
    """
    import torchvision

    module_name, _, name = dataset.rpartition(".")
    if module_name:
        check_allowed(dataset, "--data.dataset")
    try:
        module = importlib.import_module(module_name or "torchvision.datasets")
    except ImportError as error:
        raise UserError(
            f"TorchvisionImages: cannot import {module_name!r} ({error}). Expected a name such as CIFAR10 or a class "
            "path such as torchvision.datasets.CIFAR10; correct --data.dataset."
        ) from error
    found = getattr(module, name, None)
    if not (inspect.isclass(found) and issubclass(found, Dataset)):
        known = [word for word in torchvision.datasets.__all__ if word not in ("VisionDataset", "DatasetFolder")]
        raise UserError(
            f"TorchvisionImages: there is no data set {dataset!r}.{nearest(name, known)} Expected a name in "
            "torchvision.datasets or a full class path; type --data.dataset CIFAR10."
        )
    return found


def train_split(dataset_class: type) -> dict[str, Any]:
    """The constructor argument that most likely means the train split; nothing where the class has no such argument."""
    parameters = _parameters(dataset_class)
    if "train" in parameters:
        return {"train": True}
    if "split" in parameters:
        default = parameters["split"].default  # "train", "trainval", "train-standard"
        return {"split": default if isinstance(default, str) else "train"}
    return {}


def held_out_splits(dataset_class: type) -> list[dict[str, Any]]:
    """Constructor arguments that may mean the test split, the best guess first."""
    parameters = _parameters(dataset_class)
    if "train" in parameters:
        return [{"train": False}]
    return [{"split": "test"}, {"split": "val"}] if "split" in parameters else [{}]


def _parameters(dataset_class: type) -> dict[str, inspect.Parameter]:
    """Constructor parameters, with those of the parents as long as **kwargs hands them on."""
    found: dict[str, inspect.Parameter] = {}
    for parent in dataset_class.__mro__:
        if "__init__" in vars(parent):
            parameters = inspect.signature(parent.__init__).parameters
            found = {**parameters, **found}
            if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
                break
    return found


def _class_names(dataset: Any, n_classes: int, arguments: dict[str, Any]) -> list[str]:
    """The set's own class names, where it has one for each number; the numbers otherwise.

    A set with several kinds of labels has several lists of names: with `target_types: binary-category` OxfordIIITPet's
    are in `bin_classes`, whose first part the argument begins with.
    """
    asked = [value for given in arguments.values() for value in (given if isinstance(given, list) else [given])]
    kinds = [name.removesuffix("_classes") for name in vars(dataset) if name.endswith("_classes")]
    fitting = [f"{kind}_classes" for kind in kinds if kind and any(str(value).startswith(kind) for value in asked)]
    names: Sequence = getattr(dataset, fitting[0] if fitting else "classes", None) or []
    if len(names) < n_classes:
        return [str(number) for number in range(n_classes)]
    # ImageNet has a tuple of synonyms for each class
    return [name if isinstance(name, str) else str(name[0]) for name in names]
