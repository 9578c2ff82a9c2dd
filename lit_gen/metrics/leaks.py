"""Do samples show augmented looks? By features alone."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lit_gen.metrics.classification_accuracy import classifier_of

MARGIN = 2.0  # standard errors by which a share has to differ: about one false alarm in forty


def can_be_told(train: Tensor, train_changed: Tensor, held_out: Tensor, held_out_changed: Tensor) -> bool:
    """Whether logistic regression learns from train images to tell changed ones, better than by chance.

    Args:
        train: Features of train images, (M, F).
        train_changed: Of the same with one kind of augmentation.
        held_out: Of held-out images, (N, F).
        held_out_changed: Of the same with that kind.
    """
    changed = classifier_of(*_examples(train, train_changed))
    right = torch.cat([1 - changed(held_out), changed(held_out_changed)]).double()
    return right.mean().item() - MARGIN * 0.5 / math.sqrt(len(right)) > 0.5


def leak(
    train: Tensor, train_changed: Tensor, samples: Tensor, samples_changed: Tensor, held_out: Tensor
) -> tuple[float, float]:
    """How much larger a share of samples than of held-out images seems augmented, and that difference's standard error.

    What tells learns from train images and from half of the samples, with one kind of augmentation and without, and
    judges the other half, both ways. Learnt from real images alone it would take any poor sample for augmented: of a
    DCGAN's first cats it did so with 78 to 97 %, without any augmentation. Where every sample has leaked, samples count
    as plain and as augmented, and about half of them are found.

    Args:
        train: Features of train images, (M, F).
        train_changed: Of the same with one kind of augmentation.
        samples: Features of samples, (S, F), in no order.
        samples_changed: Of the same with that kind.
        held_out: Of held-out images, (N, F).
    """
    of_samples, of_held_out = [], []
    for half in (0, 1):
        learnt, judged = slice(half, None, 2), slice(1 - half, None, 2)
        plain, changed = torch.cat([train, samples[learnt]]), torch.cat([train_changed, samples_changed[learnt]])
        augmented = classifier_of(*_examples(plain, changed))
        of_samples.append(augmented(samples[judged]).double())
        of_held_out.append(augmented(held_out).double())
    found, usual = torch.cat(of_samples).mean().item(), torch.cat(of_held_out).mean().item()
    variance = found * (1 - found) / len(samples) + usual * (1 - usual) / len(held_out)
    return found - usual, math.sqrt(variance)


def _examples(plain: Tensor, changed: Tensor) -> tuple[Tensor, Tensor]:
    """Features of both, and 0 or 1 for each row."""
    return torch.cat([plain, changed]), torch.arange(2).repeat_interleave(len(plain))
