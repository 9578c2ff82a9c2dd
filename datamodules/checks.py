"""Refuse options that make no sense, or do not fit the data, with a message that says what to type."""

from pathlib import Path

import numpy as np
from PIL import ImageColor

from datamodules import memory_map
from datamodules.errors import UserError, nearest
from datamodules.splits import BROKEN, TRAIN
from datamodules.transforms import Colour

LARGEST = 16_384  # pixels a side


def check_arguments(
    name: str,
    image_size: int,
    channels: int,
    batch_size: int,
    classes: list[str | int] | None,
    n_images: int | None,
    val_fraction: float,
    test_fraction: float,
    num_workers: int,
) -> None:
    """Raise UserError for what is wrong whatever the data; `name` is the data module's."""
    _expect(name, "image_size", image_size, 1 <= image_size <= LARGEST, f"1 to {LARGEST:,} pixels", "64")
    _expect(name, "channels", channels, channels in (1, 3), "1 (grey) or 3 (RGB)", "3")
    _expect(name, "batch_size", batch_size, batch_size >= 1, "at least 1 image", "64")
    _expect(name, "num_workers", num_workers, num_workers >= 0, "0 or more processes", "0")
    if n_images is not None:
        _expect(name, "n_images", n_images, n_images >= 1, "at least 1 image", "100 (or leave it out for all images)")
    for option, fraction in (("val_fraction", val_fraction), ("test_fraction", test_fraction)):
        _expect(name, option, fraction, 0 <= fraction < 1, "a fraction in [0, 1)", "0.1")
    if val_fraction + test_fraction >= 1:
        raise UserError(
            f"{name}: val_fraction {val_fraction} and test_fraction {test_fraction} leave no train images. "
            "Expected a sum below 1; type --data.val_fraction 0.1 --data.test_fraction 0.1."
        )
    if classes is not None and (not classes or len(set(map(str, classes))) < len(classes)):
        raise UserError(
            f"{name}: classes is {classes}. Expected one or more different names; type for example "
            "--data.classes '[cat, dog]', or leave it out for all classes."
        )


def _expect(name: str, option: str, value: float, fine: bool, expected: str, example: str) -> None:
    if not fine:
        raise UserError(f"{name}: {option} is {value}. Expected {expected}; type --data.{option} {example}.")


def to_colour(name: str, background: str, option: str = "--data.background") -> Colour:
    """Red, green and blue of a colour's name or of its `#rrggbb`; `name` is whose option it is, for the message.

    Raises:
        UserError: There is no such colour.
    """
    try:
        return ImageColor.getrgb(background)[:3]
    except ValueError as error:
        raise UserError(
            f"{name}: background is {background!r}.{nearest(background, ImageColor.colormap)} Expected the name of a "
            f"colour or #rrggbb; type {option} white, or {option} '#808080'."
        ) from error


def select_classes(
    name: str, wanted: list[str] | None, known: list[str], labels: np.ndarray, parts: np.ndarray
) -> tuple[list[str], np.ndarray]:
    """Number the chosen classes from 0 in the order given.

    Args:
        name: The data module's, for messages.
        wanted: Class names, or None for all.
        known: The source's class names.
        labels: (N,) int64 indices into `known`, or BROKEN.
        parts: (N,) int8, the split of each image.

    Returns:
        The chosen names, and (N,) int64 labels with BROKEN for images of no chosen class.
    """
    for word in wanted or []:
        if word not in known:
            shown = ", ".join(known[:20]) + (f" and {len(known) - 20} more" if len(known) > 20 else "")
            raise UserError(
                f"{name}: there is no class {word!r}.{nearest(word, known)} Found the classes {shown}; "
                f"type --data.classes with some of them."
            )
    chosen = known if wanted is None else wanted
    sources = [known.index(word) for word in chosen]
    readable = labels != BROKEN
    totals = np.bincount(labels[readable], minlength=len(known))
    in_train = np.bincount(labels[readable & (parts == TRAIN)], minlength=len(known))
    for word, source in zip(chosen, sources, strict=True):
        if not in_train[source]:
            usable = [other for other, count in zip(known, in_train, strict=True) if count]
            _refuse_empty(name, word, int(totals[source]), usable)
    table = np.full(len(known) + 1, BROKEN, dtype=np.int64)  # the last place answers for BROKEN, which is -1
    table[sources] = np.arange(len(sources))
    return list(chosen), table[labels]


def refuse_overlap(name: str, entry: Path, contents: np.ndarray | None, parts: np.ndarray) -> None:
    """Raise UserError where a source's own train images are held-out images as well, which makes any score a lie.

    Args:
        name: The data module's, for the message.
        entry: The cache folder, which has the images' names.
        contents: (N,) uint64, alike for identical images; None where the source does not look for them.
        parts: (N,) int8, the splits that the source brings; BROKEN for images that are not used.
    """
    if contents is None:
        return
    train, held_out = np.flatnonzero(parts == TRAIN), np.flatnonzero(parts > TRAIN)
    twice = train[np.isin(contents[train], contents[held_out])]
    if not len(twice):
        return
    names = memory_map.names(entry)
    row_of = dict(zip(contents[held_out].tolist(), held_out.tolist(), strict=True))
    pairs = [f"{names[row]} = {names[row_of[int(contents[row])]]}" for row in twice[:3]]
    more = f" and {len(twice) - 3:,} more" if len(twice) > 3 else ""
    raise UserError(
        f"{name}: {len(twice):,} train image(s) are held-out images as well: {', '.join(pairs)}{more}. Expected train "
        "images that are in neither val nor test; delete those, or type python -m lit_gen prepare FOLDER OUT, which "
        "leaves one of each in OUT, and --data.root OUT."
    )


def _refuse_empty(name: str, word: str, total: int, usable: list[str]) -> None:
    found = f"has no train images ({total} are held out)" if total else "has no images that can be read"
    example = ", ".join(usable[:3]) + (", ..." if len(usable) > 3 else "")
    raise UserError(
        f"{name}: the class {word!r} {found}. Expected at least one; add images to it, or name the classes to use: "
        f"--data.classes '[{example}]'."
    )
