"""FID of generated against real images by lit_gen and by torch-fidelity, with the same extractor in one process.

    OMP_NUM_THREADS=2 python tests/benchmarks/fid_speed.py [--n 10000] [--rounds 2]

Images are smooth noise of 64 pixels in uint8, which lie in a memory map; EfficientNet-Lite0 sees them at 128 pixels.
torch-fidelity gets it through `register_feature_extractor` and reads with its own settings (batches of 64); ours writes
features into a memory map as they come. Both take turns, after each has seen a few images. Memory is RssAnon of this
process, without the workers that torch-fidelity reads images with: what cannot be given back, which mapped files can.
Growth is that from the start of a turn to its highest, looked at every 2 ms by a thread. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch
import torch.nn.functional as F
import torch_fidelity
from torch import Tensor
from torch.utils.data import Dataset
from torch_fidelity.feature_extractor_base import FeatureExtractorBase

from datamodules.transforms import to_float
from lit_gen.metrics.base import Evidence, Metric
from lit_gen.metrics.efficientnet import EfficientNetExtractor
from lit_gen.metrics.features import BATCH, features_of_batches
from lit_gen.metrics.fid import FID, fid
from lit_gen.metrics.fid_infinity import FIDInfinity
from lit_gen.metrics.kid import KID
from lit_gen.ranks import Ranks

SIZE = 64


class Images(Dataset):
    """uint8 (3, 64, 64), as torch-fidelity wants them."""

    def __init__(self, path: Path) -> None:
        self.pixels = np.load(path, mmap_mode="r")

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, row: int) -> Tensor:
        return torch.from_numpy(self.pixels[row].copy())


class Seconds:
    """Of the calls of a function, and what it returns."""

    def __init__(self, function: Callable) -> None:
        self.function, self.sum = function, 0.0

    def __call__(self, *args: object, **kwargs: object) -> object:
        began = time.perf_counter()
        found = self.function(*args, **kwargs)
        self.sum += time.perf_counter() - began
        return found


class Growth:
    """Of RssAnon within, in MB."""

    def __enter__(self) -> Growth:
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # or what the turn before has freed would be there for this one
        self.start = self.most = rss_anon()
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.look, daemon=True)
        self.thread.start()
        return self

    def look(self) -> None:
        while not self.over.wait(0.002):
            self.most = max(self.most, rss_anon())

    def __exit__(self, *error: object) -> None:
        self.over.set()
        self.thread.join()
        self.megabytes = (max(self.most, rss_anon()) - self.start) / 1024


def rss_anon() -> int:
    """KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


def write_images(path: Path, n: int, seed: int, contrast: float) -> None:
    """Smooth noise: 8 x 8 values stretched to 64 x 64; the two sets differ in contrast."""
    random = torch.Generator().manual_seed(seed)
    images = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(n, 3, SIZE, SIZE))
    for start in range(0, n, 500):
        noise = torch.randn(min(500, n - start), 3, 8, 8, generator=random)
        smooth = F.interpolate(noise, size=(SIZE, SIZE), mode="bicubic")
        images[start : start + 500] = (127 + 60 * contrast * smooth).clamp(0, 255).to(torch.uint8)


def write_features(network: EfficientNetExtractor, images: Images, folder: Path) -> Tensor:
    """(N, F) float32 in a memory map, written as they come, the way that an evaluation does it."""

    def batches(turns: slice) -> Iterator[Tensor]:
        for start in range(0, len(images), BATCH)[turns]:
            yield to_float(torch.from_numpy(images.pixels[start : start + BATCH].copy()))

    return features_of_batches(batches, len(images), network, folder, Ranks())


def ours(network: EfficientNetExtractor, sets: tuple[Images, Images], folder: Path) -> tuple[float, float]:
    """FID, and the seconds that features took."""
    extract = Seconds(write_features)
    real, fake = (extract(network, images, folder) for images in sets)
    return fid(real, fake), extract.sum


def theirs(sets: tuple[Images, Images]) -> tuple[float, float]:
    """The same by torch-fidelity."""
    before = torch_fidelity.utils.get_featuresdict_from_dataset
    extract = torch_fidelity.utils.get_featuresdict_from_dataset = Seconds(before)
    try:
        options = {"feature_extractor": "lite0", "fid": True, "cuda": False, "verbose": False}
        found = torch_fidelity.calculate_metrics(input1=sets[0], input2=sets[1], **options)
    finally:
        torch_fidelity.utils.get_featuresdict_from_dataset = before
    return found[torch_fidelity.KEY_METRIC_FID], extract.sum


def register(network: EfficientNetExtractor) -> None:
    """The same network for torch-fidelity."""

    class Lite0(FeatureExtractorBase):
        @staticmethod
        def get_provided_features_list() -> tuple[str, ...]:
            return ("1280",)

        @staticmethod
        def get_default_feature_layer_for_metric(metric: str) -> str:
            return "1280"

        @staticmethod
        def can_be_compiled() -> bool:
            return False

        def __init__(self, name: str, features_list: list[str], **options: object) -> None:
            super().__init__(name, features_list)

        def forward(self, images: Tensor) -> tuple[Tensor]:
            return (network(to_float(images)),)

    torch_fidelity.register_feature_extractor("lite0", Lite0)


def report(name: str, turn: Callable[[], tuple[float, float]], n: int) -> tuple[float, float]:
    """Seconds and MB of a turn."""
    with Growth() as growth:
        began = time.perf_counter()
        value, extraction = turn()
        seconds = time.perf_counter() - began
    print(
        f"{name:<15} FID {value:.6f}   {2 * n / seconds:5.0f} images/s   {seconds:6.2f} s: features {extraction:6.2f}, "
        f"distance {seconds - extraction:5.2f} s   memory +{growth.megabytes:.0f} MB",
        flush=True,
    )
    return seconds, growth.megabytes


def estimates(real: Tensor, fake: Tensor) -> None:
    """What a number with its interval costs, for all images and for 100 reals."""
    n = len(real)
    metrics: tuple[Metric, ...] = (FID(), FIDInfinity(), KID())
    for reals, fakes in sorted({(min(n, most), min(n, m)) for most, m in ((100, 1000), (1000, 1000), (n, n))}):
        for metric in metrics:
            with Growth() as growth:
                began = time.perf_counter()
                (found,) = metric.estimate(Evidence("lite0", real[:reals], fake[:fakes]))
                seconds = time.perf_counter() - began
            print(
                f"{type(metric).__name__:<12} {reals} real, {fakes} generated: {found.value:.5f} [{found.low:.5f}, "
                f"{found.high:.5f}]   {seconds:.2f} s   memory +{growth.megabytes:.0f} MB",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--n", type=int, default=10_000, help="images of each set")
    parser.add_argument("--rounds", type=int, default=2)
    given = parser.parse_args()
    network = EfficientNetExtractor()
    register(network)
    print(f"{torch.get_num_threads()} threads, {given.n} real and {given.n} generated images")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for seed, name in enumerate(("real", "fake", "few")):
            write_images(folder / f"{name}.npy", 128 if name == "few" else given.n, seed, 1 + 0.2 * seed)
        real, fake, few = (Images(folder / f"{name}.npy") for name in ("real", "fake", "few"))
        turns = {
            "lit_gen": lambda sets=(real, fake): ours(network, sets, folder),
            "torch-fidelity": lambda sets=(real, fake): theirs(sets),
        }
        for turn in turns.values():
            turn((few, few))
        costs: dict[str, list[tuple[float, float]]] = {name: [] for name in turns}
        for number in range(given.rounds):
            for name in list(turns)[:: -1 if number % 2 else 1]:
                costs[name].append(report(name, turns[name], given.n))
        (seconds, memory), (their_seconds, their_memory) = (
            (statistics.median(cost) for cost in zip(*found, strict=True)) for found in costs.values()
        )
        print(f"ours / theirs, medians: seconds {seconds / their_seconds:.2f} (bar: at most 1), ", end="")
        print(f"memory growth {memory / their_memory:.2f} (bar: under 0.25)")
        estimates(*(write_features(network, images, folder) for images in (real, fake)))


if __name__ == "__main__":
    main()
