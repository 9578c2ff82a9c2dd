"""Ranges, and images of every mode."""

import numpy as np
import pytest
import torch
from PIL import Image

from datamodules import transforms


def test_every_byte_survives_the_way_to_float_and_back() -> None:
    pixels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    images = transforms.to_float(pixels)
    assert images.dtype == torch.float32
    assert images.min() == -1
    assert images.max() == 1
    assert torch.equal(transforms.to_uint8(images), pixels)


def test_to_uint8_clamps_and_rounds() -> None:
    images = torch.tensor([-3.0, -1.0, 0.0, 0.999, 7.0])
    assert transforms.to_uint8(images).tolist() == [0, 0, 128, 255, 255]
    assert torch.equal(images, torch.tensor([-3.0, -1.0, 0.0, 0.999, 7.0]))  # the caller's tensor is left alone


def test_centre_crop_takes_the_middle() -> None:
    pixels = torch.arange(10, dtype=torch.uint8).expand(1, 1, 4, 10)
    assert transforms.centre_crop(pixels)[0, 0, 0].tolist() == [3, 4, 5, 6]


def test_resize_is_antialiased() -> None:
    stripes = ((torch.arange(64) + 2) % 8 // 4 * 255).to(torch.uint8).expand(1, 1, 64, 64)
    small = transforms.resize(stripes, 8).float()
    assert (small - 127.5).abs().max() < 20  # plain bicubic looks at the middle of each 8 pixels only, which is white
    assert transforms.resize(stripes, 64) is stripes


@pytest.mark.parametrize("shape", [(5, 9, 12), (5, 1, 9, 12), (5, 3, 12, 9)])
@pytest.mark.parametrize("channels", [1, 3])
def test_fit_array(shape: tuple[int, ...], channels: int) -> None:
    fitted = transforms.fit_array(np.full(shape, 77, dtype=np.uint8), 6, channels)
    assert fitted.shape == (5, channels, 6, 6)
    assert fitted.dtype == np.uint8
    assert (fitted == 77).all()


def test_grey_agrees_with_pil() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(pixels).convert("L")).astype(int)
    grey = transforms.set_channels(torch.from_numpy(pixels.transpose(2, 0, 1))[None], 1)[0, 0].numpy()
    assert np.abs(grey - expected).max() <= 1


def _image(mode: str) -> Image.Image:
    """A 20 x 12 image of middle grey (128 of 255, or what stands for it) in the mode."""
    if mode == "I;16":
        return Image.fromarray(np.full((12, 20), 128 * 257, dtype=np.uint16))
    if mode == "I":
        return Image.fromarray(np.full((12, 20), 128 * 257, dtype=np.int32))
    if mode == "F":
        return Image.fromarray(np.full((12, 20), 128 / 255, dtype=np.float32))
    image = Image.new("RGB", (20, 12), (128, 128, 128))
    return image.quantize(4) if mode == "P" else image.convert(mode)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "I;16", "I", "F"])
@pytest.mark.parametrize("channels", [1, 3])
def test_fit_image_in_any_mode(mode: str, channels: int) -> None:
    image = _image(mode)
    assert image.mode == mode
    pixels = transforms.fit_image(image, 6, channels)
    assert pixels.shape == (channels, 6, 6)
    assert pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - 128).max() <= 3


def test_fit_image_of_one_bit() -> None:
    assert (transforms.fit_image(Image.new("1", (8, 8), 1), 4, 3) == 255).all()


def test_floats_up_to_255_are_taken_as_they_are() -> None:
    assert (transforms.fit_image(Image.fromarray(np.full((8, 8), 200.0, dtype=np.float32)), 4, 1) == 200).all()


@pytest.mark.parametrize("background", [0, 255])
@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_pixels_show_the_background(mode: str, background: int) -> None:
    if mode == "P":
        image = Image.new("P", (8, 8), 0)
        image.putpalette([10, 200, 30] * 256)
        image.info["transparency"] = 0
    else:
        image = Image.new(mode, (8, 8), 0)  # black, and fully transparent
    assert (transforms.fit_image(image, 4, 3, (background,) * 3) == background).all()


def test_half_transparent_is_composed() -> None:
    image = Image.new("RGBA", (8, 8), (0, 0, 0, 128))
    assert np.abs(transforms.fit_image(image, 4, 3).astype(int) - 127).max() <= 1


def test_exif_rotation_is_applied(tmp_path) -> None:
    pixels = np.zeros((16, 16, 3), dtype=np.uint8)
    pixels[:8] = 255  # white above
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn by 90 degrees clockwise to see it upright"
    Image.fromarray(pixels).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    grey = transforms.fit_image(Image.open(tmp_path / "turned.jpg"), 16, 1)[0]
    assert grey[:, 12:].mean() > 240
    assert grey[:, :4].mean() < 15


@pytest.mark.parametrize("size", [(30, 10), (10, 30)])
def test_fit_image_cuts_the_central_square(size: tuple[int, int]) -> None:
    image = Image.new("L", size, 0)
    left, top = (size[0] - 10) // 2, (size[1] - 10) // 2
    image.paste(255, (left, top, left + 10, top + 10))
    assert (transforms.fit_image(image, 10, 1) == 255).all()


def test_large_jpeg_keeps_its_content(tmp_path) -> None:
    ramp = np.linspace(0, 255, 512).astype(np.uint8)
    Image.fromarray(np.tile(ramp, (512, 1))).save(tmp_path / "ramp.jpg", quality=95)
    row = transforms.fit_image(Image.open(tmp_path / "ramp.jpg"), 16, 1)[0].mean(0)
    assert np.abs(row - ramp.reshape(16, 32).mean(1)).max() < 3
