"""What the networks share: size checks, spectral norm, and initialisation that also reaches spectral-normed weights."""

from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from lit_gen.errors import UserError
from lit_gen.spectral import refresh_spectral_norm
from lit_gen.spectral import weight_of as weight_of


def check_images(network: nn.Module, image_size: int, sizes: tuple[int, ...], channels: int) -> None:
    """Refuse an image shape that `network` cannot make.

    Raises:
        UserError: `image_size` is not among `sizes`, or `channels` is neither 1 nor 3.
    """
    name = type(network).__name__
    if image_size not in sizes:
        nearest = min(sizes, key=lambda size: abs(size - image_size))
        raise UserError(
            f"{name}: found image_size {image_size}, expected one of {', '.join(map(str, sizes))}.\n"
            f"Type image_size: {nearest} here and in the data."
        )
    check_channels(network, channels)


def check_channels(network: nn.Module, channels: int) -> None:
    """Refuse images that are neither grey nor RGB.

    Raises:
        UserError: `channels` is neither 1 nor 3.
    """
    if channels not in (1, 3):
        raise UserError(
            f"{type(network).__name__}: found channels {channels}, expected 1 (grey) or 3 (RGB).\n"
            f"Type channels: {1 if channels < 2 else 3} here and in the data."
        )


def check_positive(network: nn.Module, **arguments: int) -> None:
    """Refuse sizes below 1, and those that no memory has room for.

    Raises:
        UserError: One of `arguments` is smaller than 1, or more than a million; of layers, than a thousand.
    """
    for key, value in arguments.items():
        most = 1_000 if key in ("n_blocks", "n_layers") else 1_000_000
        if value > most:
            raise UserError(
                f"{type(network).__name__}: found {key} {value}, expected {most:,} at the most.\nType {key}: 4, say."
            )
        if value < 1:
            raise UserError(f"{type(network).__name__}: found {key} {value}, expected 1 or more.\nType {key}: 64, say.")


def check_normalization(network: nn.Module, normalization: str) -> None:
    """Refuse a normalisation that is not known.

    Raises:
        UserError: `normalization` is not `none`, `batch` or `spectral`.
    """
    if normalization not in ("none", "batch", "spectral"):
        raise UserError(
            f"{type(network).__name__}: found normalization {normalization!r}, expected none, batch or spectral.\n"
            "Type normalization: spectral, say."
        )


def spectral_normed(layer: nn.Module) -> nn.Module:
    """`layer` with its weight divided by its largest singular value (Miyato et al. 2018, eq. 8 and algorithm 1)."""
    return spectral_norm(layer)


def reset(network: nn.Module, part: nn.Module | None = None) -> None:
    """Initialise `part` of `network` (default: all) afresh by `network.init_layer`; parameters keep their identity.

    Args:
        network: Knows how its layers begin: `init_layer(layer)` initialises one in place and ignores other modules.
        part: `network` or one of its modules.
    """
    layers = list((network if part is None else part).modules())
    for layer in layers:
        network.init_layer(layer)
    for layer in layers:  # only now: what lies in a layer, such as an adapter, has a share in its weight
        refresh_spectral_norm(layer)
