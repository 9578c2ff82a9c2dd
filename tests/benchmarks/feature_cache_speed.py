"""How much faster is the second evaluation of the same images, whose features are in the cache?

    OMP_NUM_THREADS=2 python tests/benchmarks/feature_cache_speed.py --n 10000

The images are noise of 64 pixels in the uint8 array that the data modules keep, mapped from a file as theirs is; each
evaluation stands for a run of its own: it makes its extractor and looks the images up by their content. `hash` is the
part of the second evaluation that reads them.
"""

import argparse
import os
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from datamodules.base import PixelDataset
from lit_gen.feature_store import read_through
from lit_gen.metrics.efficientnet import EfficientNetExtractor
from lit_gen.metrics.features import SetFeatures, features_of_set
from lit_gen.ranks import Ranks


def images(path: Path, n: int, size: int) -> PixelDataset:
    """n images of noise, shuffled, with labels."""
    random = np.random.default_rng(0)
    pixels = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(n, 3, size, size))
    for start in range(0, n, 1000):
        pixels[start : start + 1000] = random.integers(0, 256, pixels[start : start + 1000].shape, dtype=np.uint8)
    pixels.flush()
    labels = np.arange(n, dtype=np.int64) % 10
    return PixelDataset(np.load(path, mmap_mode="r"), random.permutation(n), labels, flip=False)


def evaluate(dataset: PixelDataset, input_size: int, device: str) -> tuple[SetFeatures, float]:
    """Features of the set, read to the last row, and the seconds that it took."""
    begun = time.perf_counter()
    found = features_of_set(dataset, EfficientNetExtractor(input_size=input_size).to(device), Ranks())
    for rows in found.features.split(1000):
        rows.sum()
    return found, time.perf_counter() - begun


def main() -> None:
    """Evaluate twice, print the times, their ratio and the images a second."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--n", type=int, default=10_000, help="images")
    parser.add_argument("--size", type=int, default=64, help="their height and width")
    parser.add_argument("--input_size", type=int, default=128, help="what the extractor brings them to")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LIT_GEN_CACHE"] = folder
        dataset = images(Path(folder) / "pixels.npy", arguments.n, arguments.size)
        evaluate(images(Path(folder) / "few.npy", 64, arguments.size), arguments.input_size, arguments.device)
        (first, slow), (second, fast) = (evaluate(dataset, arguments.input_size, arguments.device) for _ in range(2))
        begun = time.perf_counter()
        read_through(dataset)
        hashed = time.perf_counter() - begun
        assert torch.equal(first.features, second.features)
    print(
        f"{arguments.n:,} images of {arguments.size} pixels, {torch.get_num_threads()} threads, {arguments.device}: "
        f"first {slow:.2f} s ({arguments.n / slow:.0f} images/s), second {fast:.3f} s (hash {hashed:.3f} s), "
        f"{slow / fast:.0f} times faster; peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10:,} MiB"
    )


if __name__ == "__main__":
    main()
