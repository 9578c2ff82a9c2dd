"""How near does a CycleGAN come to the truth? PSNR of translated held-out digits, and their cycle L1.

    python tests/benchmarks/cyclegan_quality.py checkpoints/cyclegan_digits/<run id>/last.ckpt

It takes DigitPair's test split: digits of A that neither network has seen, whose true B is known though no pair was
ever shown. The way back is measured from the true B to its A. Nothing is asserted: this is a measurement.
"""

import argparse

import torch
import torch.nn.functional as F
from torch import Tensor

from datamodules.digit_pair import DigitPair


def squared_error(found: Tensor, truth: Tensor) -> Tensor:
    """Mean squared error of each image, (N,)."""
    return (found - truth).square().flatten(1).mean(1).double()


def psnr(squared: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of images in [-1, 1], whose peak is 2."""
    return 10 * torch.log10(4 / squared)


def measure(name: str, found: Tensor, truth: Tensor) -> None:
    squared = squared_error(found, truth)
    each = psnr(squared)
    print(
        f"{name}   {each.mean():.2f} dB mean over images ({each.std():.2f} dB spread, {each.min():.2f} dB worst), "
        f"{psnr(squared.mean()):.2f} dB of the mean error, L1 {F.l1_loss(found, truth):.4f}"
    )


def main() -> None:
    """Print PSNR and L1 against the truth both ways, and the cycle L1 of both domains."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("checkpoint", help="path of a .ckpt that lit_gen wrote")
    arguments = parser.parse_args()

    import lit_gen

    model = lit_gen.load(arguments.checkpoint)
    data = DigitPair()
    data.prepare_data()
    data.setup()
    (images_a,) = data.a.test_set.__getitems__(range(len(data.a.test_set)))
    true_b = data.true_b(images_a)
    print(f"{len(images_a)} held-out digits, {model.images_seen:,} images seen")
    measure("a to b", model.translate(images_a, to="b"), true_b)
    measure("b to a", model.translate(true_b, to="a"), images_a)
    cycle_a = F.l1_loss(model.cycle(images_a, to="b"), images_a)
    cycle_b = F.l1_loss(model.cycle(true_b, to="a"), true_b)
    print(f"cycle L1 {cycle_a:.4f} of A, {cycle_b:.4f} of B, {(cycle_a + cycle_b) / 2:.4f} mean")


if __name__ == "__main__":
    main()
