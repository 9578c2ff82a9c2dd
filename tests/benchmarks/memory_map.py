"""How much faster ImageFolder's memory map is than torchvision's ImageFolder, and what memory an epoch takes.

python tests/benchmarks/memory_map.py [--images 10000]
"""

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch
from PIL import Image

FILE_SIZE, IMAGE_SIZE, BATCH_SIZE = 96, 64, 64
BAR = 5.0


def main(n_images: int = 10_000, rounds: int = 3) -> float:
    """Print both figures; returns the ratio of images/s."""
    with tempfile.TemporaryDirectory() as temporary, _environment("LIT_GEN_CACHE", f"{temporary}/cache"):
        root = Path(temporary) / "images"
        make_images(root, n_images)
        ratio = compare_speed(root, rounds)
        few = Path(temporary) / "few"
        (few / "a").mkdir(parents=True)
        for path in sorted((root / "a").iterdir())[: n_images // 5]:
            (few / "a" / path.name).symlink_to(path)
        for folder in (few, root):
            count, opened, epoch = measure_memory(folder)
            _say(f"{count:,} images: RssAnon grows {opened:.1f} MB by opening them, {epoch:.1f} MB more in four epochs")
    return ratio


def make_images(root: Path, count: int) -> None:
    """Write JPEGs of blurred noise, which compress about as badly as photos do; two classes."""
    for name in ("a", "b"):
        (root / name).mkdir(parents=True)
    random = np.random.default_rng(0)
    for index in range(count):
        noise = Image.fromarray(random.integers(0, 256, (FILE_SIZE // 6, FILE_SIZE // 6, 3), dtype=np.uint8))
        image = noise.resize((FILE_SIZE, FILE_SIZE), Image.Resampling.BICUBIC)
        image.save(root / "ab"[index % 2] / f"{index:06}.jpg", quality=90)


def compare_speed(root: Path, rounds: int) -> float:
    """Second epochs of both in turns, images/s, medians."""
    from datamodules.image_folder import ImageFolder

    ours = ImageFolder(
        str(root), image_size=IMAGE_SIZE, batch_size=BATCH_SIZE, labels=True, val_fraction=0.0, test_fraction=0.0
    )
    began = time.perf_counter()
    ours.prepare_data()
    _say(f"decoding once: {time.perf_counter() - began:.1f} s")
    ours.setup()
    loaders = {"memory map": ours.train_dataloader(), "torchvision": _torchvision_loader(root)}
    speeds: dict[str, list[float]] = {name: [] for name in loaders}
    for turn in range(rounds + 1):
        for name, loader in loaders.items():
            began = time.perf_counter()
            seen = sum(len(images) for images, _ in loader)
            if turn:  # the first epoch warms the disk cache for both
                speeds[name].append(seen / (time.perf_counter() - began))
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    ratio = medians["memory map"] / medians["torchvision"]
    for name, speed in medians.items():
        _say(f"{name}: {speed:,.0f} images/s (median of {rounds} epochs after the first)")
    _say(f"ratio: {ratio:.1f} (bar: at least {BAR:.0f})")
    return ratio


def _torchvision_loader(root: Path) -> torch.utils.data.DataLoader:
    from torchvision import datasets, transforms

    steps = [
        transforms.CenterCrop(FILE_SIZE),
        transforms.Resize(IMAGE_SIZE),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
        transforms.Normalize((0.5,) * 3, (0.5,) * 3),
    ]
    dataset = datasets.ImageFolder(str(root), transform=transforms.Compose(steps))
    return torch.utils.data.DataLoader(dataset, batch_size=BATCH_SIZE, shuffle=True, drop_last=True, num_workers=0)


def measure_memory(root: Path) -> tuple[int, float, float]:
    """(images, MB that opening them takes, MB that four epochs take on top), measured in a process of its own."""
    command = [sys.executable, __file__, "--memory", str(root)]
    finished = subprocess.run(command, capture_output=True, text=True, check=True)
    count, opened, epoch = finished.stdout.split()[-3:]
    return int(count), float(opened), float(epoch)


def report_memory(root: str) -> None:
    """What `measure_memory` runs: prints its three numbers."""
    from datamodules.image_folder import ImageFolder

    options = {"image_size": IMAGE_SIZE, "batch_size": BATCH_SIZE, "val_fraction": 0.0, "test_fraction": 0.0}
    ImageFolder(root, **options).prepare_data()
    before = anonymous_megabytes()
    data = ImageFolder(root, **options)
    data.prepare_data()
    data.setup()
    opened = anonymous_megabytes()
    loader = data.train_dataloader()
    peak = max(anonymous_megabytes() for _ in range(4) for _ in loader)
    _say(f"{len(data.train_set)} {opened - before:.2f} {peak - opened:.2f}")


def anonymous_megabytes() -> float:
    """This process's RssAnon, which leaves out mapped files (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1024
    return float("nan")


@contextlib.contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--memory", help="internal: report the memory of one folder")
    arguments = parser.parse_args()
    if arguments.memory:
        report_memory(arguments.memory)
    else:
        main(arguments.images)
