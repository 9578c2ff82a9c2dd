"""Terms of the bounds of log p(x) beside the likelihood: divergence from the prior, importance weights."""

import math

import torch
from torch import Tensor


def kl_to_standard_normal(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(mu, exp(logvar)) || N(0, 1)) in nats of each latent dimension (Kingma & Welling 2014, appendix B).

    Args:
        mu: Posterior mean, (B, Z).
        logvar: Log of the posterior variance, (B, Z).

    Returns:
        (B, Z), each >= 0; the divergence of the whole posterior is the sum over Z.
    """
    return 0.5 * (mu.square() + logvar.exp() - logvar - 1)


def with_free_bits(kl: Tensor, free_bits: float) -> Tensor:
    """What is charged for the latents: sum over Z of max(free_bits, mean over B) (Kingma et al. 2016, eq. 15).

    Args:
        kl: Divergence of each image and latent dimension in nats, (B, Z).
        free_bits: Nats of each latent dimension that cost the same whether they are used or not, >= 0.

    Returns:
        A scalar in nats, >= Z * free_bits.
    """
    mean = kl.mean(0)
    return (mean.clamp(min=free_bits) if free_bits else mean).sum()


def log_normal(z: Tensor, mu: Tensor | float = 0.0, logvar: Tensor | float = 0.0) -> Tensor:
    """log N(z; mu, exp(logvar)) in nats, summed over the last dimension; standard normal by default.

    Args:
        z: (..., Z).
        mu: Mean, a number or (..., Z).
        logvar: Log of the variance, a number or (..., Z).
    """
    logvar = torch.as_tensor(logvar, dtype=z.dtype, device=z.device)
    return -0.5 * ((z - mu).square() * (-logvar).exp() + logvar + math.log(2 * math.pi)).sum(-1)


def importance_weighted_bound(log_weights: Tensor) -> Tensor:
    """log of the mean importance weight, a bound of log p(x) (Burda et al. 2016, eq. 8).

    Args:
        log_weights: log p(x, z) - log q(z|x) in nats of each draw of z and each image, (K, B).

    Returns:
        (B,) nats; it rises with K on average, from the evidence lower bound at K = 1.
    """
    return log_weights.logsumexp(0) - math.log(len(log_weights))
