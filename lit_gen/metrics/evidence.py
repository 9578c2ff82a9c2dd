"""From images to evidence, and from evidence to numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Subset
from torchvision.transforms.functional import gaussian_blur

from lit_gen.files import writable_folder
from lit_gen.metrics.base import Estimate, Evidence, Metric
from lit_gen.metrics.extractor import Extractor
from lit_gen.metrics.features import BATCH, features_of_batches
from lit_gen.metrics.images import gathered, images_of_set, noted
from lit_gen.metrics.subject import Reals, Subject, classes_of
from lit_gen.paths import cache_folder
from lit_gen.pictures import in_order
from lit_gen.ranks import Ranks

STEPS = 500  # in latent space, for the perceptual path length; two images each
FLOOR = "real train images"


def evidence_of(
    subject: Subject, needs: set[str], extractor: Extractor, folder: Path, ranks: Ranks, step: Callable[[int], Any]
) -> Evidence | None:
    """Features of generated images beside those of real ones.

    Args:
        subject: What makes the images.
        needs: Parts of the evidence that are wanted beside `real` and `fake`; what cannot be had stays None.
        extractor: On the model's device.
        folder: Where features of generated images lie as long as the evidence is used.
        ranks: All processes take part; the first alone gets the evidence, the others None.
        step: Is told the number of images after each batch.
    """
    fake, fake_images = _generated(subject.batches, subject.n, needs, extractor, folder, ranks, step)
    ends = []
    if "path" in needs and hasattr(subject.model, "decode"):
        for end in (0, 1):

            def make(turns: slice, end: int = end) -> Iterator[Tensor]:
                return subject.ends_of_steps(end, STEPS, turns)

            ends.append(features_of_batches(make, STEPS, extractor, folder, ranks, step, rounded=False))
    if ranks.rank:
        return None
    reals = subject.reals
    evidence = Evidence(
        extractor.name, reals.features.features, fake, reals.train_features.features,
        classes_of(reals.images), subject.labels, classes_of(reals.train), path=torch.stack(ends, 1) if ends else None,
        real_images=images_of_set(reals.images) if "real_images" in needs else None, fake_images=fake_images,
    )  # fmt: skip
    return with_logits(evidence, needs, extractor)


def references(
    reals: Reals,
    n: int,
    needs: set[str],
    extractor: Extractor,
    folder: Path,
    ranks: Ranks,
    step: Callable[[int], Any],
) -> dict[str, Evidence]:
    """Evidence with other images in the place of generated ones, in the first process: the floor, and two ceilings.

    Real train images say what a perfect model would get, blurred real images and noise what a bad one gets.
    """
    images, found = reals.images, {}
    for name, change in (("blurred real images", blurred), ("noise", noise_like)):

        def make(turns: slice, change: Callable[[Tensor, int], Tensor] = change) -> Iterator[Tensor]:
            batches = enumerate(in_order(images, list(range(len(images))), BATCH))
            for number, (real, *_) in islice(batches, turns.start, turns.stop, turns.step):
                yield change(real, number)

        found[name] = _generated(make, len(images), needs, extractor, folder, ranks, step)
    if ranks.rank:
        return {}
    real, train, labels = reals.features.features, reals.train_features.features, classes_of(reals.train)
    n = min(n, len(train))
    rows = torch.arange(n) * len(train) // n
    pixels = images_of_set(images) if "real_images" in needs else None
    floor = Evidence(
        extractor.name, real, train[rows], real_images=pixels,
        fake_images=images_of_set(Subset(reals.train, rows.tolist())) if "fake_images" in needs else None,
        real_labels=classes_of(images), fake_labels=None if labels is None else labels[rows],
    )  # fmt: skip
    ceilings = {
        name: Evidence(extractor.name, real, fake, real_images=pixels, fake_images=fake_images)
        for name, (fake, fake_images) in found.items()
    }
    return {name: with_logits(evidence, needs, extractor) for name, evidence in {FLOOR: floor, **ceilings}.items()}


def _generated(
    make: Callable[[slice], Iterable[Tensor]],
    n: int,
    needs: set[str],
    extractor: Extractor,
    folder: Path,
    ranks: Ranks,
    step: Callable[[int], Any],
) -> tuple[Tensor | None, Tensor | None]:
    """Features and, where they are wanted, the images themselves, in the first process; each is made once for both."""
    if "fake_images" not in needs:
        return features_of_batches(make, n, extractor, folder, ranks, step), None
    seen: list[Tensor] = []
    features = features_of_batches(lambda turns: noted(make(turns), seen), n, extractor, folder, ranks, step)
    return features, gathered(seen, n, ranks)


def blurred(images: Tensor, number: int) -> Tensor:
    """Images (B, C, H, W) as a model without detail would make them."""
    sigma = max(min(images.shape[-2:]) / 32, 0.5)
    return gaussian_blur(images, 2 * round(3 * sigma) + 1, sigma)


def noise_like(images: Tensor, number: int) -> Tensor:
    """As many images of the same shape that show nothing, other ones in every batch."""
    return torch.rand(images.shape, generator=torch.Generator().manual_seed(number)) * 2 - 1


def workplace() -> Path:
    """Where features of generated images lie for a while: the cache folder, which a full disk's message speaks of."""
    return writable_folder(cache_folder() / "features", "The cache of features")


def ask(metrics: Sequence[Metric], evidence: Evidence, prefix: str = "") -> list[Estimate]:
    """What these metrics find.

    Raises:
        UserError: One of them needs more than the evidence has.
    """
    found = [estimate for metric in metrics for estimate in metric.estimate(evidence)]
    return [replace(estimate, name=prefix + estimate.name) for estimate in found]


def fits(metric: Metric, evidence: Evidence) -> bool:
    """Whether the evidence has all that a metric needs."""
    return all(getattr(evidence, need) is not None for need in metric.needs)


def needs_of(metrics: Sequence[Metric]) -> set[str]:
    """The parts of the evidence that one of the metrics at least goes by."""
    return {need for metric in metrics for need in metric.needs}


def with_logits(evidence: Evidence, needs: set[str], extractor: Extractor) -> Evidence:
    """With what the extractor's classifier, where it has one, says of those images whose logits are wanted."""
    device, found = next(extractor.parameters()).device, {}
    for name, features in (("fake_logits", evidence.fake), ("real_logits", evidence.real)):
        if name in needs:
            parts = [extractor.classify(part.to(device)) for part in features.split(1024)]
            found[name] = None if parts[0] is None else torch.cat([part.cpu() for part in parts])
    return replace(evidence, **found)
