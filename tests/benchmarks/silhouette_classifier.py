"""The eye of the silhouette benchmarks: a small classifier of all ten animals, whose features the KID is taken of.

    python tests/benchmarks/silhouette_classifier.py

trains it on AnimalSilhouettes' train split alone (3 minutes of CPU time), prints its accuracy on the held-out
silhouettes, and writes checkpoints/silhouette_classifier.pt, which the repository keeps.
"""

import argparse
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from digit_quality import Reals, accuracy, jitter, load_reals, log_probabilities
from torch import Tensor, nn

WEIGHTS = Path(__file__).parents[2] / "checkpoints" / "silhouette_classifier.pt"
CLASSES = 10
FEATURES = 128


class SilhouetteClassifier(nn.Module):
    """Three convolutional blocks and two layers: images (B, 1, 28, 28) -> logits (B, 10), 186,000 weights."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([convolution(1, 32), convolution(32, 64), convolution(64, 96)])
        self.project = nn.Linear(96 * 3 * 3, FEATURES)
        self.dropout = nn.Dropout(0.3)
        self.head = nn.Linear(FEATURES, CLASSES)
        self.register_buffer("scale", torch.ones(()))

    def features(self, x: Tensor) -> Tensor:
        """The penultimate layer, (B, 128), all >= 0, of images (B, 1, 28, 28) in [-1, 1]."""
        for block in self.blocks:
            x = block(x)
        return self.project(x.flatten(1)).relu() / self.scale

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, 10)."""
        return self.head(self.dropout(self.features(x)))

    @torch.no_grad()
    def normalise(self, images: Tensor) -> None:
        """Features of mean square 1 over `images`, and the same logits.

        The kernel (x.y / F + 1)^3 was made for features of about this size; of larger ones it sees the cube alone.
        """
        scale = features_of(self, images).square().mean().sqrt()
        self.scale *= scale
        self.head.weight *= scale


def convolution(narrow: int, wide: int) -> nn.Sequential:
    """(B, narrow, H, W) -> (B, wide, H // 2, W // 2)."""
    conv = nn.Conv2d(narrow, wide, 3, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(wide), nn.ReLU(), nn.MaxPool2d(2))


def load_animals() -> Reals:
    """AnimalSilhouettes' train split with its mirror images; val and test together are held out."""
    from datamodules.animal_silhouettes import AnimalSilhouettes

    return load_reals(AnimalSilhouettes(labels=True))


def train(images: Tensor, labels: Tensor, seed: int = 0, epochs: int = 15, batch_size: int = 100) -> nn.Module:
    """Train by cross-entropy on jittered images; the same seed gives the same weights on the same machine.

    Args:
        images: (N, 1, 28, 28) in [-1, 1].
        labels: (N,) in 0..9.
        seed: Of the initial weights, the order and the jitter.
        epochs: Passes over the images.
        batch_size: Images per step.

    Returns:
        The classifier in eval mode.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    classifier = SilhouetteClassifier()
    optimizer = torch.optim.AdamW(classifier.parameters(), weight_decay=1e-2)
    steps = epochs * -(-len(images) // batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=steps)
    for _ in range(epochs):
        for index in torch.randperm(len(images), generator=generator).split(batch_size):
            loss = F.cross_entropy(classifier(jitter(images[index], generator)), labels[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    classifier.eval().normalise(images)
    return classifier


def load_classifier(path: Path = WEIGHTS) -> SilhouetteClassifier:
    """The classifier that the repository keeps, in eval mode."""
    classifier = SilhouetteClassifier()
    classifier.load_state_dict(torch.load(path, weights_only=True))
    return classifier.eval()


@torch.no_grad()
def features_of(classifier: SilhouetteClassifier, images: Tensor, batch_size: int = 500) -> Tensor:
    """Penultimate features (N, 128) of images (N, 1, 28, 28) in [-1, 1]."""
    return torch.cat([classifier.features(batch) for batch in images.split(batch_size)])


def main() -> None:
    """Train, print the accuracies, write the weights."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="where the weights go")
    arguments = parser.parse_args()
    animals = load_animals()
    begun = time.perf_counter()
    classifier = train(animals.train_images, animals.train_labels)
    seconds = time.perf_counter() - begun
    torch.save(classifier.state_dict(), arguments.out)
    for name, images, labels in (
        ("train", animals.train_images, animals.train_labels),
        ("held-out", animals.held_out_images, animals.held_out_labels),
    ):
        print(f"{name:<10}{accuracy(log_probabilities(classifier, images), labels):.1%} of {len(images):,} silhouettes")
    print(f"{arguments.out}: {arguments.out.stat().st_size:,} bytes, trained in {seconds:.0f} s")


if __name__ == "__main__":
    main()
