"""How good are generated digits? The Inception-style score by a small classifier, beside that of real held-out digits.

    python tests/benchmarks/digit_quality.py checkpoints/gan_mnist5k/<run id>/last.ckpt

It trains the classifier on Mnist5k's train split (under 30 s on two cores), draws EMA samples from the checkpoint alone
and prints what it found. Nothing is asserted: this is a measurement.
"""

import argparse
import math
import time
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

IMAGE_SIZE = 28
CLASSES = 10


@dataclass(frozen=True)
class Reals:
    """Real images as the classifier sees them, float32 (N, 1, 28, 28) in [-1, 1], and labels int64 (N,)."""

    train_images: Tensor
    train_labels: Tensor
    held_out_images: Tensor
    held_out_labels: Tensor


def load_digits() -> Reals:
    """Mnist5k's train split, and its val and test splits together as the held-out digits."""
    from datamodules.mnist5k import Mnist5k

    return load_reals(Mnist5k(image_size=IMAGE_SIZE, channels=1, labels=True))


def load_reals(data: Any) -> Reals:
    """A data module's train split (and its mirror images, where it mirrors), val and test together as held out."""
    data.prepare_data()
    data.setup()
    data.train_set.flip = False
    train, val, test = (part.__getitems__(range(len(part))) for part in (data.train_set, data.val_set, data.test_set))
    if data.horizontal_flip:
        train = torch.cat([train[0], train[0].flip(-1)]), train[1].repeat(2)
    return Reals(as_seen(train[0]), train[1], as_seen(torch.cat([val[0], test[0]])), torch.cat([val[1], test[1]]))


def as_seen(images: Tensor) -> Tensor:
    """(N, C, S, S) -> (N, 1, 28, 28): another size is resized, RGB becomes grey."""
    images = images.mean(1, keepdim=True)
    if images.shape[-1] != IMAGE_SIZE:
        images = F.interpolate(images, size=(IMAGE_SIZE, IMAGE_SIZE), mode="bilinear", antialias=True)
    return images


def make_classifier(classes: int = CLASSES) -> nn.Sequential:
    """A small convolutional network: images (B, 1, 28, 28) -> logits (B, K)."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(64, 64, 3, padding=1, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(64 * 7 * 7, classes),
    )


def jitter(images: Tensor, generator: torch.Generator) -> Tensor:
    """Rotate (within 12 degrees), scale (within 10 %) and shift (within 2 pixels) each image at random."""
    uniform = torch.rand(4, len(images), generator=generator) * 2 - 1
    angle, scale = uniform[0] * math.radians(12), 1 + 0.1 * uniform[1]
    shift = uniform[2:] * 2 / (IMAGE_SIZE / 2)
    cos, sin = scale * angle.cos(), scale * angle.sin()
    theta = torch.stack([torch.stack([cos, -sin, shift[0]], 1), torch.stack([sin, cos, shift[1]], 1)], 1)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    # The background is -1, while grid_sample pads with 0.
    return F.grid_sample(images + 1, grid, align_corners=False) - 1


def train_classifier(
    images: Tensor, labels: Tensor, seed: int = 0, epochs: int = 10, batch_size: int = 100
) -> nn.Module:
    """Train the classifier by cross-entropy; the same seed gives the same classifier on the same machine.

    Args:
        images: (N, 1, 28, 28) in [-1, 1].
        labels: (N,) in 0..K-1, each of them at least once.
        seed: Of the initial weights, the order and the jitter.
        epochs: Passes over the images.
        batch_size: Images per step.

    Returns:
        The classifier in eval mode.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # the weights and dropout take the global generator
        generator = torch.Generator().manual_seed(seed)
        classifier = make_classifier(int(labels.max()) + 1)
        optimizer = torch.optim.AdamW(classifier.parameters(), weight_decay=1e-2)
        steps = epochs * math.ceil(len(images) / batch_size)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=5e-3, total_steps=steps)
        for _ in range(epochs):
            for index in torch.randperm(len(images), generator=generator).split(batch_size):
                logits = classifier(jitter(images[index], generator))
                loss = F.cross_entropy(logits, labels[index])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
    return classifier.eval()


@torch.no_grad()
def log_probabilities(classifier: nn.Module, images: Tensor, batch_size: int = 500) -> Tensor:
    """log p(y|x), (N, K), of images (N, C, S, S) in [-1, 1]."""
    return torch.cat([classifier(batch).log_softmax(1) for batch in as_seen(images).split(batch_size)])


def inception_style_score(log_p: Tensor) -> float:
    """exp(E KL(p(y|x) || p(y))), between 1 and K (Salimans et al. 2016, section 4), from log p(y|x) (N, K)."""
    log_p = log_p.double()
    marginal = log_p.logsumexp(0) - math.log(len(log_p))
    return (log_p.exp() * (log_p - marginal)).sum(1).mean().exp().item()


def class_shares(log_p: Tensor) -> list[float]:
    """Share of the samples that the classifier gives to each class; they sum to 1."""
    counts = torch.bincount(log_p.argmax(1), minlength=log_p.shape[1])
    return (counts / len(log_p)).tolist()


def accuracy(log_p: Tensor, labels: Tensor) -> float:
    """Share of correct predictions."""
    return (log_p.argmax(1) == labels).double().mean().item()


def main() -> None:
    """Print the held-out accuracy, both scores, their ratio and the share of each class."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("checkpoint", help="path of a .ckpt that lit_gen wrote")
    parser.add_argument("--n", type=int, default=2000, help="number of samples")
    parser.add_argument("--seed", type=int, default=0, help="seed of the samples; the classifier's is always 0")
    arguments = parser.parse_args()

    import lit_gen

    samples = lit_gen.load(arguments.checkpoint).sample(arguments.n, seed=arguments.seed).cpu()
    digits = load_digits()
    begun = time.perf_counter()
    classifier = train_classifier(digits.train_images, digits.train_labels)
    seconds = time.perf_counter() - begun

    real = log_probabilities(classifier, digits.held_out_images)
    fake = log_probabilities(classifier, samples)
    real_score, fake_score = inception_style_score(real), inception_style_score(fake)
    shares = class_shares(fake)
    correct = accuracy(real, digits.held_out_labels)
    print(f"classifier       {correct:.1%} of {len(real)} held-out digits, trained in {seconds:.0f} s")
    print(f"held-out score   {real_score:.3f}")
    print(f"sample score     {fake_score:.3f}   ({len(fake)} samples, seed {arguments.seed})")
    print(f"ratio            {fake_score / real_score:.3f}")
    print("class shares     " + "  ".join(f"{digit}: {share:.1%}" for digit, share in enumerate(shares)))
    print(f"smallest share   {min(shares):.1%}")


if __name__ == "__main__":
    main()
