"""FID of generated against real images by lit_gen and by torch-fidelity, with the same extractor in one process.

    OMP_NUM_THREADS=2 python tests/benchmarks/fid_speed.py [--n 10000] [--rounds 2]

Images are smooth noise of 64 pixels in uint8, which lie in a memory map; EfficientNet-Lite0 sees them at 128 pixels.
torch-fidelity gets it through `register_feature_extractor`, and its default batches of 64. Both take turns, after each
has seen a few images for the allocator's sake. Growth is that of RssAnon (what a process cannot give back; mapped files
are not in it) from the start of a turn to its highest, looked at every 2 ms by a thread. Nothing is asserted.
"""

from __future__ import annotations

import gc
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from torch_fidelity.feature_extractor_base import FeatureExtractorBase

from datamodules.transforms import to_float
from lit_gen.networks.features import ImageNetFeatures

SIZE, SEEN_AT, FEATURES = 64, 128, 1280


class Images(Dataset):
    """uint8 (3, 64, 64), as torch-fidelity wants them."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels = pixels

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, row: int) -> Tensor:
        return torch.from_numpy(self.pixels[row].copy())


class Lite0(FeatureExtractorBase):
    """The same network for torch-fidelity: uint8 in, a tuple of features out."""

    network: ImageNetFeatures

    @staticmethod
    def get_provided_features_list() -> tuple[str, ...]:
        return ("1280",)

    @staticmethod
    def get_default_feature_layer_for_metric(metric: str) -> str:
        return "1280"

    @staticmethod
    def can_be_compiled() -> bool:
        return False

    def forward(self, images: Tensor) -> tuple[Tensor]:
        return (self.network_of(images),)

    @classmethod
    def network_of(cls, images: Tensor) -> Tensor:
        return cls.shared[0](to_float(images).contiguous(memory_format=torch.channels_last))

    shared: list[ImageNetFeatures] = []


class Watch:
    """Seconds, and the growth of RssAnon in MB, of what happens within."""

    def __enter__(self) -> Watch:
        gc.collect()
        self.start = self.most = rss_anon()
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.look, daemon=True)
        self.thread.start()
        self.began = time.perf_counter()
        return self

    def look(self) -> None:
        while not self.over.wait(0.002):
            self.most = max(self.most, rss_anon())

    def __exit__(self, *error: object) -> None:
        self.seconds = time.perf_counter() - self.began
        self.over.set()
        self.thread.join()
        self.growth = (max(self.most, rss_anon()) - self.start) / 1024


def rss_anon() -> int:
    """KiB."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon"))


@contextmanager
def timing(seconds: dict[str, float], name: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - began


def main() -> None:
    pass


if __name__ == "__main__":
    main()
