"""Every kind of image file: what it is taken for, and what ImageFolder makes of it."""

import io
import struct
import subprocess
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image, ImageFile
from zoo import (
    bomb,
    deep_colour,
    deep_grey,
    encoded,
    fill_sickbay,
    fill_zoo,
    frames,
    raw_png,
    scene,
    see_through,
    turned_exif,
)

from datamodules.errors import UserError
from datamodules.image_files import MAX_PIXELS, Kind, begins_as, diagnose, kinds_of, open_image
from datamodules.image_folder import ImageFolder
from datamodules.transforms import TURNS, fit_image

PLAIN = Kind(0)


def kinds(path: Path) -> Kind:
    with open_image(path) as image:
        return kinds_of(image, path)


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("a.jpg", encoded(scene(0), "JPEG"), PLAIN),
        ("a.JPEG", encoded(scene(0).convert("L"), "JPEG", progressive=True), PLAIN),
        ("a.jfif", encoded(scene(0), "JPEG", exif=turned_exif(1)), PLAIN),
        ("a.png", encoded(scene(0), "PNG"), PLAIN),
        ("a.webp", encoded(scene(0), "WEBP"), PLAIN),
        ("a.tif", encoded(scene(0), "TIFF"), PLAIN),
        ("a.pgm", encoded(scene(0).convert("L"), "PPM"), PLAIN),
        ("telephone.jpg", frames("MPO"), PLAIN),
        ("a.jpg", encoded(scene(0), "PNG"), Kind.MISNAMED),
        ("a.webp", encoded(scene(0), "JPEG"), Kind.MISNAMED),
        ("a.jpg", encoded(scene(0).convert("CMYK"), "JPEG"), Kind.CMYK),
        ("a.tif", encoded(scene(0).convert("CMYK"), "TIFF"), Kind.CMYK),
        ("a.png", encoded(deep_grey(0), "PNG"), Kind.DEEP),
        ("a.png", deep_colour(1), Kind.DEEP),
        ("a.tif", encoded(deep_grey(0), "TIFF"), Kind.DEEP),
        ("a.tiff", encoded(deep_grey(0), "TIFF", compression="tiff_lzw"), Kind.DEEP),
        ("a.pgm", encoded(deep_grey(0), "PPM"), Kind.DEEP),
        ("a.png", encoded(scene(0).quantize(8), "PNG"), Kind.PALETTE),
        ("a.png", encoded(scene(0).quantize(8), "PNG", transparency=0), Kind.PALETTE | Kind.ALPHA),
        ("a.png", encoded(see_through(0), "PNG"), Kind.ALPHA),
        ("a.png", encoded(see_through(0).convert("LA"), "PNG"), Kind.ALPHA),
        ("a.png", encoded(scene(0), "PNG", transparency=(0, 0, 0)), Kind.ALPHA),
        ("a.webp", encoded(see_through(0), "WEBP"), Kind.ALPHA),
        ("a.gif", frames("GIF"), Kind.PALETTE | Kind.ANIMATED),
        ("a.png", frames("PNG"), Kind.ANIMATED),
        ("a.webp", frames("WEBP"), Kind.ANIMATED),
        ("pages.tif", frames("TIFF"), Kind.ANIMATED),
        *((f"a.{name}", encoded(scene(0), format, exif=turned_exif()), Kind.TURNED)
          for name, format in (("jpg", "JPEG"), ("png", "PNG"), ("webp", "WEBP"), ("tif", "TIFF"))),
    ],
)  # fmt: skip
def test_what_a_file_is(tmp_path: Path, name: str, data: bytes, expected: Kind) -> None:
    (tmp_path / name).write_bytes(data)
    assert kinds(tmp_path / name) == expected


def trouble(path: Path) -> tuple[Kind, str]:
    with pytest.raises(Exception) as error, open_image(path) as image:  # noqa: PT011
        fit_image(image, 8, 3)
    return diagnose(path, error.value)


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.95])
@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM"])
def test_cut_short(tmp_path: Path, name: str, kept: float) -> None:
    data = encoded(Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)), name)
    (tmp_path / "a").write_bytes(data[: int(len(data) * kept)])
    kind, why = trouble(tmp_path / "a")
    assert kind is Kind.TRUNCATED
    assert why.startswith(f"begins as {name}, then: ")
    assert str(tmp_path) not in why


def test_what_else_is_wrong(tmp_path: Path) -> None:
    fill_sickbay(tmp_path)
    for name, kind in (
        ("bomb.png", Kind.BOMB), ("empty.jpg", Kind.EMPTY), ("page.jpg", Kind.UNREADABLE),
        ("truncated.jpg", Kind.TRUNCATED),
    ):  # fmt: skip
        assert trouble(tmp_path / name)[0] is kind
    (tmp_path / "signature.png").write_bytes(encoded(scene(0), "PNG")[:20])
    assert trouble(tmp_path / "signature.png")[0] is Kind.TRUNCATED
    (tmp_path / "header.png").write_bytes(encoded(scene(0), "PNG")[:40])
    assert trouble(tmp_path / "header.png") == (Kind.TRUNCATED, "begins as PNG, then: it ends too early")
    flipped = bytearray(encoded(scene(0), "PNG"))
    flipped[len(flipped) // 2] ^= 255
    (tmp_path / "flipped.png").write_bytes(flipped)
    assert trouble(tmp_path / "flipped.png")[0] is Kind.TRUNCATED
    assert trouble(tmp_path / "nowhere.png") == (Kind.UNREADABLE, "No such file or directory")
    assert begins_as(b"GIF89a" + bytes(10)) == "GIF"
    assert begins_as(b"plain text of no") is None


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bomb.png").write_bytes(bomb())
    side = int(MAX_PIXELS**0.5) + 1  # what Pillow itself only warns of
    (tmp_path / "small_bomb.png").write_bytes(raw_png(side, side, 8, 0, b"\0"))
    (tmp_path / "large.png").write_bytes(raw_png(side - 1, side - 1, 8, 0, b"\0"))
    open_image(tmp_path / "large.png").close()
    decoded_files = []
    monkeypatch.setattr(ImageFile.ImageFile, "load", decoded_files.append)
    decoded_files = []
    monkeypatch.setattr(ImageFile.ImageFile, "load", decoded_files.append)
    for limit in (Image.MAX_IMAGE_PIXELS, None):  # a program around this one may have lifted Pillow's own limit
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for name in ("bomb.png", "small_bomb.png"):
                assert trouble(tmp_path / name)[0] is Kind.BOMB
    assert decoded_files == []


def test_no_other_program_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow hands PostScript to Ghostscript, whatever the name of the file says."""
    started = []
    monkeypatch.setattr(subprocess, "Popen", lambda *arguments, **_: started.append(arguments))
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *arguments, **_: started.append(arguments))
    (tmp_path / "a.png").write_bytes(encoded(scene(0), "EPS"))
    assert trouble(tmp_path / "a.png")[0] is Kind.UNREADABLE
    assert started == []


# ---- what ImageFolder makes of them


def decoded(root: Path, **options) -> dict[str, np.ndarray]:
    """Name -> (C, S, S) as training sees it."""
    options = {"image_size": 64, "val_fraction": 0, "test_fraction": 0, "batch_size": 1, **options}
    data = ImageFolder(str(root), **options)
    data.prepare_data()
    data.setup()
    names = sorted(path.name for path in root.iterdir())
    return {names[row]: data.train_set.pixels[row] for row in data.train_set.rows}


def flat(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("RGB"), dtype=int).transpose(2, 0, 1)


def test_each_kind_is_treated_right(tmp_path: Path) -> None:
    fill_zoo(tmp_path / "zoo")
    seen = decoded(tmp_path / "zoo")
    assert len(seen) == 7
    assert np.abs(seen["cmyk.jpg"] - flat(scene(1))).mean() < 6
    assert np.array_equal(seen["deep_grey.png"], flat(scene(2).convert("L")))
    assert np.array_equal(seen["deep_colour.png"], flat(scene(6)))
    assert np.array_equal(seen["palette.png"], flat(scene(3).quantize(64)))
    assert (seen["alpha.png"][:, :, :32] == 255).all()
    assert np.array_equal(seen["alpha.png"][:, :, 32:], flat(scene(4))[:, :, 32:])
    assert (seen["animated.gif"] == 40).all()
    upright = scene(5).transpose(Image.Transpose.ROTATE_270)
    assert np.abs(seen["turned.jpg"] - flat(upright)).mean() < 6


def test_transparency_on_a_chosen_colour(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    root.mkdir()
    see_through(0).save(root / "a.png")
    deep = np.full((64, 64), 30_000, dtype=np.uint16)
    deep[:, :32] = 77
    Image.fromarray(deep).save(root / "deep.png", transparency=77)
    assert (decoded(root)["a.png"][:, :, :32] == 255).all()
    for background in ("#0a141e", "rgb(10, 20, 30)"):
        seen = decoded(root, background=background)
        for name in ("a.png", "deep.png"):
            assert np.unique(seen[name][:, :, :32].reshape(3, -1), axis=1).T.tolist() == [[10, 20, 30]]
        assert (seen["deep.png"][:, :, 32:] == 117).all()
    assert (decoded(root, background="black", channels=1)["a.png"][:, :, :32] == 0).all()
    with pytest.raises(UserError, match="background is 'whitee'.*Did you mean .white.*--data.background"):
        ImageFolder(str(root), background="whitee")


def test_what_is_refused_is_named_once_with_the_command_to_type(tmp_path: Path) -> None:
    root = tmp_path / "my photos"
    fill_zoo(root)
    fill_sickbay(root)
    with pytest.warns(UserWarning, match="refused 4") as said:
        assert len(decoded(root)) == 7
    [message] = [str(one.message) for one in said]
    for words in (
        "bomb.png (decompression bomb: ", "empty.jpg (zero bytes: ", "page.jpg (unreadable: ",
        "truncated.jpg (truncated or damaged: ", f"Type python -m lit_gen doctor '{root}' to see",
    ):  # fmt: skip
        assert words in message
    for path in root.iterdir():
        path.write_bytes(b"")
    with pytest.raises(UserError, match="type python -m lit_gen doctor"):
        decoded(root)


@pytest.mark.parametrize("orientation", range(2, 9))
def test_every_orientation_is_put_right(orientation: int) -> None:
    """What was turned the other way comes out as it was, also in TIFF, whose reader turns it already."""
    back = {6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}  # all others undo themselves
    stored = scene(0).transpose(back.get(orientation, TURNS[orientation]))
    for name in ("PNG", "TIFF"):
        data = encoded(stored, name, exif=turned_exif(orientation))
        assert np.array_equal(fit_image(Image.open(io.BytesIO(data)), 64, 3), flat(scene(0)))


def test_damaged_exif_costs_no_image() -> None:
    for exif in (b"Exif\0\0garbage", b"Exif\0\0II*\0\x08\0\0\0\xff\xff", b"Exif\0\0" + bytes(40)):
        for name in ("PNG", "WEBP"):
            data = encoded(scene(0), name, exif=exif, **({"lossless": True} if name == "WEBP" else {}))
            assert np.array_equal(fit_image(Image.open(io.BytesIO(data)), 64, 3), flat(scene(0)))


def test_sixteen_bits_are_scaled_over_the_whole_range() -> None:
    ramp = np.linspace(0, 65535, 64).round().astype(np.uint16)
    image = Image.fromarray(np.tile(ramp, (64, 1)))
    for name in ("PNG", "TIFF", "PPM"):
        seen = fit_image(Image.open(io.BytesIO(encoded(image, name))), 64, 1)[0]
        assert np.array_equal(seen, np.tile(np.rint(ramp / 257), (64, 1)))
    rows = b"".join(b"\0" + b"".join(struct.pack(">H", level) * 3 for level in ramp) for _ in range(64))
    seen = fit_image(Image.open(io.BytesIO(raw_png(64, 64, 16, 2, rows))), 64, 3)
    assert np.abs(seen - ramp / 257).max() <= 1


def test_a_scale_that_cannot_be_known_is_refused() -> None:
    for values in (np.full((8, 8), 70_000, dtype=np.int32), np.full((8, 8), 300, dtype=np.float32)):
        with pytest.raises(ValueError, match="its values go up to"):
            fit_image(Image.fromarray(values), 8, 1)


def test_lab_becomes_grey() -> None:
    data = encoded(Image.new("LAB", (8, 8), (128, 128, 128)), "TIFF")
    assert np.abs(fit_image(Image.open(io.BytesIO(data)), 8, 1).astype(int) - 119).max() <= 1


def test_the_first_frame_after_others_were_counted(tmp_path: Path) -> None:
    for name in ("GIF", "PNG", "WEBP", "TIFF"):
        path = tmp_path / f"a.{name.lower()}"
        path.write_bytes(frames(name))
        with open_image(path) as image:
            assert kinds_of(image, path) & Kind.ANIMATED
            assert (fit_image(image, 8, 3) == 40).all()
