"""Pixels in and out of [-1, 1], and images of any size and mode into square uint8 arrays.

The only place that knows the range [-1, 1]: data modules, grids and metrics all come through here.
"""

from contextlib import suppress

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

GREY_WEIGHTS = (0.299, 0.587, 0.114)  # ITU-R 601 luma, as in PIL's convert("L")
Colour = tuple[int, int, int]
"""Red, green and blue in [0, 255]."""
WHITE: Colour = (255, 255, 255)
ORIENTATION = 0x0112  # the tag of EXIF data that says how the camera was held; 1 is upright
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes a photograph upright, by its ORIENTATION."""


def to_float(pixels: Tensor) -> Tensor:
    """uint8 pixels -> what networks see.

    Args:
        pixels: (..., C, H, W), uint8.

    Returns:
        The same shape, float32 in [-1, 1]; 0 becomes -1 and 255 becomes 1.
    """
    return pixels.to(torch.float32).div_(127.5).sub_(1.0)


def to_uint8(images: Tensor) -> Tensor:
    """What networks make -> uint8 pixels; the exact inverse of `to_float`.

    Args:
        images: (..., C, H, W), floating, meant to be in [-1, 1]; values outside are clamped.

    Returns:
        The same shape, uint8, rounded to the nearest.
    """
    return images.detach().to(torch.float32).add(1.0).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8)


def centre_crop(pixels: Tensor) -> Tensor:
    """Cut the largest central square: (N, C, H, W) -> (N, C, S, S) with S = min(H, W)."""
    height, width = pixels.shape[-2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return pixels[..., top : top + side, left : left + side]


def resize(pixels: Tensor, image_size: int) -> Tensor:
    """Antialiased bicubic resize: (N, C, H, W) uint8 -> (N, C, image_size, image_size) uint8."""
    if pixels.shape[-2:] == (image_size, image_size):
        return pixels
    size = (image_size, image_size)
    return functional.interpolate(pixels, size=size, mode="bicubic", antialias=True, align_corners=False)


def set_channels(pixels: Tensor, channels: int) -> Tensor:
    """Grey <-> colour: (N, 1 or 3, H, W) uint8 -> (N, channels, H, W) uint8."""
    if pixels.shape[1] == channels:
        return pixels
    if channels == 3:
        return pixels.expand(-1, 3, -1, -1)
    weights = torch.tensor(GREY_WEIGHTS).view(1, 3, 1, 1)
    return (pixels * weights).sum(1, keepdim=True).round_().clamp_(0, 255).to(torch.uint8)


def fit_array(pixels: np.ndarray, image_size: int, channels: int) -> np.ndarray:
    """A whole small set at once: (N, H, W) or (N, C, H, W) uint8 -> (N, channels, image_size, image_size) uint8."""
    if pixels.ndim == 3:
        pixels = pixels[:, None]
    fitted = set_channels(resize(centre_crop(torch.from_numpy(pixels)), image_size), channels)
    return fitted.contiguous().numpy()


def fit_image(image: Image.Image, image_size: int, channels: int, background: Colour = WHITE) -> np.ndarray:
    """Any PIL image -> a square uint8 array: EXIF rotation, alpha, centre crop, antialiased resize.

    Args:
        image: Any mode and size.
        image_size: Side of the result in pixels.
        channels: 1 (grey) or 3 (RGB).
        background: Shows through transparent pixels.

    Returns:
        (channels, image_size, image_size), uint8.

    Raises:
        OSError, ValueError: The image is damaged or empty.
    """
    # A JPEG can be decoded at 1/2, 1/4 or 1/8 for a fraction of the time; twice the target leaves room to antialias.
    image.draft(None, (2 * image_size, 2 * image_size))
    image = upright(image, background).convert("L" if channels == 1 else "RGB")
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    box = (left, top, left + side, top + side)
    image = image.resize((image_size, image_size), Image.Resampling.BICUBIC, box=box)
    pixels = np.asarray(image)
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def upright(image: Image.Image, background: Colour = WHITE) -> Image.Image:
    """Any PIL image as a viewer shows it: turned as its EXIF data says, 8 bits a channel, transparency on `background`.

    Of an animation it is the first frame.

    Raises:
        OSError, ValueError: The image is damaged or empty, or its scale cannot be known.
    """
    image.load()
    turn = None
    with suppress(Exception):  # nearly anything; damaged EXIF data behind sound pixels is no reason to lose them
        turn = TURNS.get(image.getexif().get(ORIENTATION))
    return _flatten(image if turn is None else image.transpose(turn), background)


def _flatten(image: Image.Image, background: Colour) -> Image.Image:
    """Whatever the mode, an image of 8 bits a channel without transparency."""
    if image.mode == "F":
        # Floating TIFFs come in [0, 1] or in [0, 255]; the file does not say which.
        values = np.nan_to_num(np.asarray(image))
        _check_scale(values, 255)
        return _grey(values * 255 if values.max() <= 1 else values)
    if image.mode.startswith("I"):  # I;16, I;16B and I: PIL reads 16-bit files into them, and leaves the scale alone
        values = np.asarray(image, dtype=np.float32)
        _check_scale(values, 65535)
        grey = _grey(values / 257)
        see_through = image.info.get("transparency")  # one grey level of 16 bits
        if see_through is None:
            return grey
        canvas, mask = Image.new("RGB", image.size, background), Image.fromarray(values == see_through)
        return Image.composite(canvas, grey.convert("RGB"), mask)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, (*background, 255)), image)
    return image.convert("RGB") if image.mode == "LAB" else image  # PIL has no way from LAB to grey


def _check_scale(values: np.ndarray, most: int) -> None:
    if values.max() > most:
        raise ValueError(f"its values go up to {values.max():g}, and what stands for white is not said; at most {most}")


def _grey(values: np.ndarray) -> Image.Image:
    return Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))
