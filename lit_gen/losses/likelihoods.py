"""p(x|z): what a decoder's raw output (B, C, H, W) says of an image, in nats. The decoder does not know which."""

import math
from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lit_gen.errors import UserError

LEVELS = 256  # grey levels between -1 and 1
STEP = 2 / (LEVELS - 1)  # from one to the next


class Likelihood(nn.Module, ABC):
    """Base of the likelihoods p(x|z): independent pixels, given by the decoder's raw output.

    Attributes:
        log_cell: Log of the volume that one value of x takes in one dimension, in nats: 0 where p(x|z) is a
            probability already, log STEP where it is a density, which turns into the probability of a grey level.
        channels: Of learned parameters: 1 for all channels together, else one for each channel of the images.
    """

    log_cell = 0.0
    channels = 1

    def observe(self, images: Tensor) -> Tensor:
        """What this is a distribution over, from images (B, C, H, W) in [-1, 1]: by default the images themselves."""
        return images

    @abstractmethod
    def log_prob(self, x: Tensor, raw: Tensor) -> Tensor:
        """log p(x|z) in nats, summed over pixels and channels: (B,) from x and raw, both (B, C, H, W)."""

    @abstractmethod
    def mean(self, raw: Tensor) -> Tensor:
        """The image that is expected, in [-1, 1]: (B, C, H, W) from raw."""

    def bits_per_dimension(self, log_prob: Tensor, dimensions: int) -> Tensor:
        """-log2 of the probability that each of C x H x W values got, from log p(x) or a bound of it in nats."""
        return -(log_prob / dimensions + self.log_cell) / math.log(2)


class Bernoulli(Likelihood):
    """Pixels are black or white, their logits are `raw` (Kingma & Welling 2014, appendix C.1).

    Images are binarised by a fixed rule, and the encoder sees what is left of them: the bound is that of binary images.

    Args:
        threshold: Values above it are white, in [-1, 1]; 0 is half grey.

    Raises:
        UserError: All or no values would be above the threshold.
    """

    def __init__(self, threshold: float = 0.0) -> None:
        super().__init__()
        if not -1 <= threshold < 1:
            raise UserError(f"Bernoulli: found threshold {threshold}, expected -1 to below 1.\nType threshold: 0.")
        self.threshold = threshold

    def observe(self, images: Tensor) -> Tensor:
        """Black and white, -1 and 1."""
        return (images > self.threshold).to(images.dtype).mul_(2).sub_(1)

    def log_prob(self, x: Tensor, raw: Tensor) -> Tensor:
        """sum log sigmoid(x raw), x in {-1, 1}: white with probability sigmoid(raw)."""
        return F.logsigmoid(x * raw).flatten(1).sum(1)

    def mean(self, raw: Tensor) -> Tensor:
        """2 sigmoid(raw) - 1."""
        return (raw / 2).tanh()


class Gaussian(Likelihood):
    """Normal pixels around `raw` with a learned variance (Rybkin et al. 2021, arXiv:2006.13202, section 3).

    A density over [-1, 1]; times STEP, the distance of two grey levels, it is the probability of a grey level, by which
    bits per dimension are counted (a change of variables). Sigma never falls below a half step, where a density would
    have nothing more to say about 256 levels.

    Args:
        channels: 1 learns one sigma in all, the number of the images' channels one for each.
        log_sigma: What log sigma begins with; sigma is measured in units of [-1, 1].
    """

    log_cell = math.log(STEP)

    def __init__(self, channels: int = 1, log_sigma: float = -1.0) -> None:
        super().__init__()
        _check_channels(self, channels)
        self.channels = channels
        self.log_sigma = log_sigma
        self.learned = nn.Parameter(torch.full((channels, 1, 1), log_sigma))

    def log_prob(self, x: Tensor, raw: Tensor) -> Tensor:
        """sum log N(x; raw, sigma^2)."""
        log_sigma = torch.logaddexp(self.learned, self.learned.new_tensor(math.log(STEP / 2)))
        distance = (x - raw) * (-log_sigma).exp()
        return -(0.5 * distance.square() + log_sigma + 0.5 * math.log(2 * math.pi)).flatten(1).sum(1)

    def mean(self, raw: Tensor) -> Tensor:
        """raw, cut to [-1, 1]."""
        return raw.clamp(-1, 1)


class DiscretisedLogistic(Likelihood):
    """The mass that a logistic around `raw` has on a grey level (Salimans et al. 2017, eq. 2; Kingma et al. 2016).

    Each of the 256 levels gets what lies within half a step of it, the first and the last all that lies beyond.

    Args:
        channels: 1 learns one scale in all, the number of the images' channels one for each.
        log_scale: What the log of the scale begins with; the scale is measured in units of [-1, 1].
    """

    def __init__(self, channels: int = 1, log_scale: float = -2.0) -> None:
        super().__init__()
        _check_channels(self, channels)
        self.channels = channels
        self.log_scale = log_scale
        self.learned = nn.Parameter(torch.full((channels, 1, 1), log_scale))

    def log_prob(self, x: Tensor, raw: Tensor) -> Tensor:
        """sum log(F(x + STEP/2) - F(x - STEP/2)) with the logistic distribution function F."""
        sharpness = (-self.learned).exp()
        above, below = (x - raw + STEP / 2) * sharpness, (x - raw - STEP / 2) * sharpness
        upper, lower = F.logsigmoid(above), F.logsigmoid(-below)  # log F above, log(1 - F) below
        # s(a) - s(b) = s(a) s(-b) (1 - exp(b - a)), which keeps its digits far out in both tails.
        between = upper + lower + (-(-STEP * sharpness).expm1()).log()
        edge = STEP / 4
        inner_or_white = torch.where(x > 1 - edge, lower, between)
        return torch.where(x < edge - 1, upper, inner_or_white).flatten(1).sum(1)

    def mean(self, raw: Tensor) -> Tensor:
        """raw, cut to [-1, 1]: the logistic's own mean, before the levels."""
        return raw.clamp(-1, 1)


def _check_channels(likelihood: Likelihood, channels: int) -> None:
    if channels not in (1, 3):
        raise UserError(
            f"{type(likelihood).__name__}: found channels {channels}, expected 1 (one parameter in all) or 3 (one for "
            "each colour).\nType channels: 1."
        )
