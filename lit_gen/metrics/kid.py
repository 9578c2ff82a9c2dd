"""Kernel inception distance: how far apart two sets of images are, by any network's features of them."""

from torch import Tensor

from lit_gen.errors import UserError


def kid(real: Tensor, fake: Tensor) -> float:
    """Unbiased MMD^2 with the kernel (x.y / F + 1)^3 (Binkowski et al. 2018, arXiv:1801.01401, section 4 and eq. 4).

    Its expectation does not depend on the number of images, so that small sets can be compared; for that it may fall
    below 0 where both sets come from the same distribution. All pairs are used, in float64, on the device of `real`.

    Args:
        real: Features of real images, (N, F), N >= 2.
        fake: Features of generated images, (M, F), M >= 2.

    Returns:
        The estimate: 0 in expectation for the same distribution, in units of the kernel.

    Raises:
        UserError: The features are not two matrices of the same width with two rows at least, or not all finite.
    """
    _check(real, fake)
    real, fake = real.double(), fake.to(real.device).double()
    return (_mean_of_pairs(real) + _mean_of_pairs(fake) - 2 * polynomial_kernel(real, fake).mean()).item()


def polynomial_kernel(x: Tensor, y: Tensor) -> Tensor:
    """k(x, y) = (x.y / F + 1)^3 of every pair (Binkowski et al. 2018, section 4): (N, F), (M, F) -> (N, M)."""
    return (x @ y.T / x.shape[1] + 1) ** 3


def _mean_of_pairs(x: Tensor) -> Tensor:
    """The kernel's mean over ordered pairs of different rows: the diagonal is what would bias the estimate."""
    kernel = polynomial_kernel(x, x)
    return (kernel.sum() - kernel.diagonal().sum()) / (len(x) * (len(x) - 1))


def _check(real: Tensor, fake: Tensor) -> None:
    for name, features in (("real", real), ("fake", fake)):
        if features.dim() != 2 or len(features) < 2:
            raise UserError(
                f"kid: {name} has the shape {tuple(features.shape)}, expected (N, F) with the features of at least two "
                "images.\nMake more samples, or call features.flatten(1)."
            )
        if not features.isfinite().all():
            raise UserError(f"kid: {name} has values that are not finite; look at the images first.")
    if real.shape[1] != fake.shape[1]:
        raise UserError(
            f"kid: real has {real.shape[1]} features an image and fake {fake.shape[1]}, expected the same network for "
            "both."
        )
