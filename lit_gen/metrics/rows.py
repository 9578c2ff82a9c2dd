"""Features in parts: a memory map is never turned into float64 whole."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from lit_gen.errors import UserError

AT_A_TIME = 256  # rows; of 1,280 features they take 3 MB in float64


def in_parts(features: Tensor, rows: Tensor | None = None) -> Iterator[Tensor]:
    """The rows of features (N, F) in float64, some at a time: all, or those with the numbers `rows`, (n,) int64."""
    if rows is None:
        yield from (part.double() for part in features.split(AT_A_TIME))
    else:
        yield from (features[part].double() for part in rows.split(AT_A_TIME))


def check_features(name: str, **sets: Tensor) -> None:
    """Refuses what are not features of two images at least, by one network.

    Args:
        name: Of who asks, for the message.
        **sets: Each set of features by its name.

    Raises:
        UserError: One is not a matrix with two rows at least, is not finite, or not as wide as the others.
    """
    widths = {}
    for kind, features in sets.items():
        if features.dim() != 2 or len(features) < 2:
            raise UserError(
                f"{name}: {kind} has the shape {tuple(features.shape)}, expected (N, F) with the features of at least "
                "two images.\nMake more samples, or call features.flatten(1)."
            )
        if not all(part.isfinite().all() for part in features.split(AT_A_TIME)):
            raise UserError(f"{name}: {kind} has values that are not finite; look at the images first.")
        widths[kind] = features.shape[1]
    if len(set(widths.values())) > 1:
        (first, width), *others = widths.items()
        found = " and ".join(f"{kind} {other}" for kind, other in others)
        raise UserError(
            f"{name}: {first} has {width} features an image and {found}, expected the same network for both."
        )
