"""Two sets of images without pairs: what translation between them learns from."""

import re
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from datamodules.base import ImageDataModule, PixelDataset
from datamodules.checks import check_arguments
from datamodules.errors import UserError
from datamodules.loading import RunDataModule

Side = Literal["a", "b"]


class UnpairedDataset(Dataset):
    """Batches (real_a, real_b) out of two sets; as long as the longer one, and empty where one is empty."""

    def __init__(self, a: PixelDataset, b: PixelDataset, random_partner: bool) -> None:
        """Join two sets.

        Args:
            a: Images of domain A.
            b: Images of domain B.
            random_partner: The index counts the longer set, and the partner is drawn by torch's generator; otherwise
                both are read in order, and the shorter one starts again at its end.
        """
        self.a, self.b, self.random_partner = a, b, random_partner

    def __len__(self) -> int:
        return max(len(self.a), len(self.b)) if len(self.a) and len(self.b) else 0

    def __getitems__(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """(real_a, real_b), each (B, C, H, W) float32 in [-1, 1]."""
        return self._read(self.a, indices), self._read(self.b, indices)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        real_a, real_b = self.__getitems__([index])
        return real_a[0], real_b[0]

    def _read(self, part: PixelDataset, indices: Sequence[int]) -> Tensor:
        # Of two equally long sets A is counted: partners in step would be the same in every epoch.
        counted = len(part) == len(self) and (part is self.a or len(self.a) < len(self))
        if self.random_partner and not counted:
            indices = torch.randint(len(part), (len(indices),)).tolist()
        return part.__getitems__([index % len(part) for index in indices])[0]


class UnpairedDataModule(RunDataModule):
    """Batches (real_a, real_b) of images that do not belong together; a data source adds `domain`.

    Attributes:
        a: The images of domain A.
        b: The images of domain B.
        train_set: Filled by `setup`, as are the two others; an epoch is the longer of both domains.
        val_set: The held-out images of both domains, in order.
        test_set: Likewise.
    """

    def __init__(
        self,
        image_size: int,
        channels: int,
        batch_size: int = 16,
        n_images_a: int | None = None,
        n_images_b: int | None = None,
        val_fraction: float = 0.1,
        test_fraction: float = 0.1,
        seed: int = 0,
        horizontal_flip: bool = False,
        num_workers: int = 0,
    ) -> None:
        """Check and keep the options; nothing is read yet.

        Args:
            image_size: Height and width in pixels that images of both domains are brought to.
            channels: 1 for grey, 3 for RGB.
            batch_size: Images of each domain in a batch, per process.
            n_images_a: Train on this many images of domain A only (few-shot); all by default.
            n_images_b: Likewise for domain B.
            val_fraction: Part of each domain held out for validation, in [0, 1), if the source has no such split.
            test_fraction: Part of each domain held out for testing, in [0, 1), if the source has no such split.
            seed: Chooses the n_images; splits do not depend on it.
            horizontal_flip: Mirror train images at random.
            num_workers: Processes that read batches; 0 is fastest for most sets, since nothing is left to decode.

        Raises:
            UserError: An option makes no sense.
        """
        super().__init__()
        self.save_hyperparameters()
        fractions = (val_fraction, test_fraction)
        check_arguments(type(self).__name__, image_size, channels, batch_size, None, None, *fractions, num_workers)
        self.image_size, self.channels, self.batch_size = image_size, channels, batch_size
        self.n_images_a, self.n_images_b, self.seed = n_images_a, n_images_b, seed
        self.val_fraction, self.test_fraction = fractions
        self.horizontal_flip, self.num_workers = horizontal_flip, num_workers
        shared = {"image_size": image_size, "channels": channels, "seed": seed, "horizontal_flip": horizontal_flip}
        shared |= {"val_fraction": val_fraction, "test_fraction": test_fraction}
        shared |= {"batch_size": 1}  # the shorter domain may well be smaller than a batch: `setup` checks the longer
        with self._speaking_of("a"):
            self.a = self.domain("a", n_images=n_images_a, **shared)
        with self._speaking_of("b"):
            self.b = self.domain("b", n_images=n_images_b, **shared)
        self.train_set: UnpairedDataset | None = None
        self.val_set: UnpairedDataset | None = None
        self.test_set: UnpairedDataset | None = None

    @abstractmethod
    def domain(self, side: Side, **options: Any) -> ImageDataModule:
        """The images of one domain, with these options of ImageDataModule."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W), the same in both domains."""
        return (self.channels, self.image_size, self.image_size)

    def prepare_data(self) -> None:
        """Decode both domains, unless an earlier run has; on one process of each machine."""
        with self._speaking_of("a"):
            self.a.prepare_data()
        with self._speaking_of("b"):
            self.b.prepare_data()

    def setup(self, stage: str | None = None) -> None:
        """Open both domains and join them; further calls do nothing.

        Raises:
            UserError: The options do not fit the data.
        """
        super().setup(stage)
        if self.train_set is not None:
            return
        with self._speaking_of("a"):
            self.a.setup(stage)
        with self._speaking_of("b"):
            self.b.setup(stage)
        self.val_set = UnpairedDataset(self.a.val_set, self.b.val_set, random_partner=False)
        self.test_set = UnpairedDataset(self.a.test_set, self.b.test_set, random_partner=False)
        train_set = UnpairedDataset(self.a.train_set, self.b.train_set, random_partner=True)
        self._check_batch(train_set)
        self.train_set = train_set

    def train_dataloader(self) -> DataLoader:
        """Shuffled batches, all of batch_size."""
        return self.shuffled_loader(self.train_set)

    def val_dataloader(self) -> DataLoader | list:
        """Every validation image, in order; an empty list where a domain has none."""
        return self.loader(self.val_set) if self.val_set is None or len(self.val_set) else []

    def test_dataloader(self) -> DataLoader | list:
        """Every test image, in order; an empty list where a domain has none."""
        return self.loader(self.test_set) if self.test_set is None or len(self.test_set) else []

    def _check_batch(self, train_set: UnpairedDataset) -> None:
        processes = self.trainer.world_size if self.trainer is not None else 1
        if self.batch_size * processes > len(train_set):
            times = f" on each of {processes} processes" if processes > 1 else ""
            raise UserError(
                f"{type(self).__name__}: batch_size is {self.batch_size:,}{times}, but there are "
                f"{len(train_set.a):,} train images in domain A and {len(train_set.b):,} in domain B. Expected at "
                "least one full batch of the larger; type "
                f"--data.batch_size {max(1, len(train_set) // processes)} or less."
            )

    @contextmanager
    def _speaking_of(self, side: Side) -> Iterator[None]:
        """A domain's own message names its options as they are called here."""
        try:
            yield
        except UserError as error:
            told = re.sub(r"--data\.(root|n_images)\b", rf"--data.\1_{side}", str(error))
            raise UserError(f"{type(self).__name__}, domain {side.upper()}: {told}") from error
