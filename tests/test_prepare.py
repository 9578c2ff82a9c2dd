"""prepare: what becomes of a folder of photographs, and everything that may be wrong with it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datamodules.image_folder import ImageFolder
from lit_gen import crops
from lit_gen.__main__ import main
from lit_gen.commands import prepare as command
from lit_gen.contact_sheet import contact_sheet
from lit_gen.crops import FaceCrop, centre, square
from lit_gen.duplicates import Duplicates


def noise(seed: int, width: int = 40, height: int = 30) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """20 cats as JPEG, 20 dogs as PNG."""
    for name, ending, first in (("cat", "jpg", 0), ("dog", "png", 20)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for index in range(20):
            noise(first + index).save(tmp_path / "photos" / name / f"{index:02}.{ending}")
    return tmp_path / "photos"


def run(folder: Path, out: Path, *options: str) -> dict:
    """Two pictures in val and test unless told otherwise: which bytes Pillow writes, and so their hash, is its own."""
    main(["prepare", str(folder), str(out), "--val=2", "--test=2", *options])
    return json.loads((out / "prepared.json").read_text())


def test_a_data_module_takes_the_result(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = run(photos, tmp_path / "new" / "out", "--size", "16", "--val=4", "--test=8")
    assert (record["train"], record["val"], record["test"]) == (28, 4, 8)
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"out"}
    out = tmp_path / "new" / "out"
    assert {path.name for path in out.iterdir()} == {"train", "val", "test", "prepared.json", "contact_sheet.png"}
    assert f"--data.root {out}" in capsys.readouterr().out
    data = ImageFolder(str(out), image_size=16, batch_size=4)
    data.prepare_data()
    data.setup()
    assert data.summary() == "ImageFolder: 28 train, 4 val, 8 test images, 3x16x16, 2 classes"
    with Image.open(out / record["images"]["cat/03.jpg"]) as image:
        assert (image.format, image.size) == ("JPEG", (16, 16))
    with Image.open(out / record["images"]["dog/03.png"]) as image:
        expected = noise(23).resize((16, 16), Image.Resampling.LANCZOS, box=(5, 0, 35, 30))
        assert np.array_equal(image, expected)


def test_small_pictures_are_not_enlarged_and_an_empty_folder_is_filled(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    record = run(photos / "dog", tmp_path / "out")
    with Image.open(tmp_path / "out" / record["images"]["03.png"]) as image:
        assert np.array_equal(image, noise(23).crop((5, 0, 35, 30)))


def sides(record: dict) -> dict[str, str]:
    return {name: place.split("/")[0] for name, place in record["images"].items()}


def test_who_is_held_out_stays_held_out(photos: Path, tmp_path: Path) -> None:
    """Whatever pictures come in addition, also copies that stand in their place, and at any size and crop."""
    for index in range(40, 80):
        noise(index).save(photos / "dog" / f"{index}.png")
    asked = ("--val=0.3", "--test=0.3")
    few = sides(run(photos / "dog", tmp_path / "few", *asked))
    assert set(few.values()) == {"train", "val", "test"}
    assert sides(run(photos / "dog", tmp_path / "small", "--size=9", *asked)) == few
    held_out = [name for name, side in few.items() if side != "train"]
    for name in held_out:  # a copy in another format comes first, by its name
        with Image.open(photos / "dog" / name) as image:
            image.save(photos / "dog" / f"+{Path(name).stem}.bmp")
    for name, side in few.items():  # and what was trained on still is, by another name
        if side == "train":
            (photos / "dog" / name).rename(photos / "dog" / f"={name}")
    for index in range(80, 120):
        noise(index).save(photos / "dog" / f"{index}.png")
    more = sides(run(photos / "dog", tmp_path / "more", *asked))
    assert len(more) == 100
    assert all(more[f"+{Path(name).stem}.bmp"] != "train" for name in held_out)
    assert all(more[f"={name}"] == "train" for name, side in few.items() if side == "train")


def test_counts_are_met_with_classes_in_proportion_and_classes_may_go(photos: Path, tmp_path: Path) -> None:
    for path in sorted((photos / "dog").iterdir())[10:]:
        path.unlink()
    record = run(photos, tmp_path / "a", "--val=3", "--test=6")
    assert (record["train"], record["val"], record["test"]) == (21, 3, 6)
    assert record["asked"]["test"] == 6
    assert len(list((tmp_path / "a" / "test" / "cat").iterdir())) == 4
    run(photos, tmp_path / "b", "--val=3", "--test=6", "--keep_classes=false")
    assert len(list((tmp_path / "b" / "test").glob("*.*g"))) == 6
    assert run(photos, tmp_path / "c", "--val=0", "--test=29", "--keep_classes=false")["train"] == 1


def test_small_squares_are_enlarged_where_asked(photos: Path, tmp_path: Path) -> None:
    record = run(photos / "dog", tmp_path / "out", "--size=64", "--enlarge", "--val=2", "--test=2")
    with Image.open(tmp_path / "out" / record["images"]["03.png"]) as image:
        assert image.size == (64, 64)


def test_the_sheet_has_numbers_and_each_reason_a_line(photos: Path, tmp_path: Path, capsys) -> None:
    for index in range(5):
        (photos / "dog" / f"broken{index}.png").write_text("no picture")
    (photos / "dog" / "again.png").write_bytes((photos / "dog" / "04.png").read_bytes())
    record = run(photos, tmp_path / "out", "--val=2", "--test=2")
    said = capsys.readouterr().out
    broken = ", ".join(f"dog/broken{index}.png" for index in range(3))
    assert f"left out, broken: 5 ({broken}, ...)\n" in said
    assert "left out, exact duplicate: 1 (dog/again.png = dog/04.png)\n" in said
    assert list(record["contact_sheet"].values()) == list(record["images"].values())
    assert (tmp_path / "out" / "contact_sheet.png").stat().st_size > 0
    contact_sheet([photos / "dog" / "04.png"] * 2, tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        first, second = (np.asarray(sheet.crop((x, 2, x + 96, 98))) for x in (2, 100))
    assert ((first == 0).all(axis=2)[:14, :12].sum() > 20) and not np.array_equal(first, second)
    assert np.array_equal(first[20:], second[20:])  # the numbers alone differ


def test_the_camera_was_turned(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    noise(0).save(folder / "turned.png", exif=exif)
    record = run(folder, tmp_path / "out", "--val=0", "--test=0")
    with Image.open(tmp_path / "out" / record["images"]["turned.png"]) as image:
        assert np.array_equal(image, noise(0).rotate(-90, expand=True).crop((0, 5, 30, 35)))


def test_duplicates_and_broken_files_are_left_out_and_named(photos: Path, tmp_path: Path) -> None:
    smooth = noise(50, 16, 16).resize((64, 64), Image.Resampling.BICUBIC)
    smooth.save(photos / "dog" / "m.png")
    smooth.save(photos / "dog" / "n.jpg", quality=60)
    Image.open(photos / "cat" / "05.jpg").save(photos / "cat" / "again.png")
    (photos / "cat" / "broken.jpg").write_bytes((photos / "cat" / "00.jpg").read_bytes()[:500])
    record = run(photos, tmp_path / "out")
    assert list(record["left_out"]["broken"]) == ["cat/broken.jpg"]
    del record["left_out"]["broken"]
    assert record["left_out"] == {
        "no face": {},
        "exact duplicate": {"cat/again.png": "cat/05.jpg"},
        "near duplicate": {"dog/n.jpg": "dog/m.png"},
    }
    exact_only = run(photos, tmp_path / "exact", "--near", "null")["left_out"]
    assert exact_only["near duplicate"] == {}
    assert exact_only["exact duplicate"] == {"cat/again.png": "cat/05.jpg"}


def test_names_cannot_command_the_terminal(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (photos / "dog" / "\x1b[2J\n.png").write_text("no picture")
    record = run(photos, tmp_path / "out")
    assert list(record["left_out"]["broken"]) == ["dog/\x1b[2J\n.png"]
    said = capsys.readouterr().out
    assert "\x1b" not in said
    assert r"left out, broken: 1 (dog/\x1b[2J\n.png)" in said.splitlines()


def test_split_folders_are_kept_and_the_held_out_copy_stays(photos: Path, tmp_path: Path) -> None:
    for name, first, count in (("train", 0, 20), ("test", 18, 5)):
        (tmp_path / "split" / name).mkdir(parents=True)
        for index in range(first, first + count):
            noise(index).save(tmp_path / "split" / name / f"{index:02}.png")
    record = run(tmp_path / "split", tmp_path / "out")
    assert (record["train"], record["val"], record["test"]) == (16, 2, 5)
    assert record["left_out"]["exact duplicate"] == {f"train/{k}.png": f"test/{k}.png" for k in (18, 19)}


def test_more_pictures_than_the_first_table_of_hashes_holds() -> None:
    duplicates = Duplicates(near=0)
    assert [duplicates.find(noise(seed, 16, 16), str(seed)) for seed in range(70)] == [None] * 70
    assert duplicates.find(noise(66, 16, 16), "again") == ("exact", "66")
    for seed in (3, 69):  # remembered before and after the table has grown
        assert duplicates.find(noise(seed, 16, 16).convert("L").convert("RGB"), "grey") == ("near", str(seed))


def test_squares_around_faces() -> None:
    assert square((40, 40, 60, 60), (100, 100), 0.25) == (35, 35, 65, 65)
    assert square((0, 80, 20, 100), (200, 100), 0.5) == (0, 60, 40, 100)  # moved inwards at the border
    assert square((10, 10, 90, 90), (100, 110), 0.5) == (0, 0, 100, 100)  # no larger than the picture
    assert centre(noise(0)) == [(5, 0, 35, 30)]


class Stub:
    """Stands for OpenCV's detector: two faces in everything that is not black."""

    def detectMultiScale(self, grey: np.ndarray, *_) -> list[tuple[int, int, int, int]]:  # noqa: N802
        assert max(grey.shape) == crops.SMALL
        return [(0, 0, 19, 19), (48, 48, 96, 96)] if grey.any() else []


def test_the_largest_face_is_kept_and_pictures_without_one_are_named(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = FaceCrop.__init__

    def stubbed(self: FaceCrop, *arguments) -> None:
        original(self, *arguments)
        self._detector = Stub()

    monkeypatch.setattr(FaceCrop, "__init__", stubbed)
    Image.new("RGB", (40, 30)).save(photos / "dog" / "black.png")
    record = run(photos / "dog", tmp_path / "out", "--crop", "cat-face", "--margin=0")
    assert record["left_out"]["no face"] == {"black.png": ""}
    with Image.open(tmp_path / "out" / record["images"]["03.png"]) as image:
        assert np.array_equal(image, noise(23).crop((10, 10, 30, 30)))
    every = run(photos / "dog", tmp_path / "every", "--crop", "cat-face", "--margin=0", "--all_faces")
    assert len(every["images"]) == 40
    side = sides(every)
    assert all(side[f"{name:02}.png"] == side[f"{name:02}.png, face 2"] for name in range(20))
    with Image.open(tmp_path / "every" / every["images"]["03.png, face 2"]) as image:
        assert np.array_equal(image, noise(23).crop((0, 0, 4, 4)))


@pytest.mark.parametrize("crop", ["face", "cat-face"])
def test_the_real_cascades_find_no_face_in_noise(crop: str, photos: Path, tmp_path: Path, refused) -> None:
    message = refused("prepare", str(photos / "cat"), str(tmp_path / "out"), "--crop", crop)
    assert "20 no face" in message
    assert "--crop centre" in message
    assert {path.name for path in tmp_path.iterdir()} == {"photos"}


def test_the_real_cascade_finds_a_drawn_face() -> None:
    """Dark eyes and mouth on a light oval, which is what the cascade's first features ask for."""
    y, x = np.mgrid[:200, :200].astype(float)

    def blob(cx: float, cy: float, rx: float, ry: float) -> np.ndarray:
        return 1 / (1 + np.exp(8 * (np.hypot((x - cx) / rx, (y - cy) / ry) - 1)))

    shade = 60 + 140 * blob(100, 100, 55, 72)
    for cx, cy, rx, ry, dark in [
        (78, 84, 14, 7, 110),
        (122, 84, 14, 7, 110),
        (78, 70, 18, 4, 70),
        (122, 70, 18, 4, 70),
        (100, 142, 24, 6, 90),
        (100, 117, 11, 5, 50),
    ]:
        shade -= dark * blob(cx, cy, rx, ry)
    image = Image.fromarray(shade.clip(0, 255).astype(np.uint8)).convert("RGB")
    [(left, top, right, bottom)] = FaceCrop(command.CASCADES["face"])(image)
    assert left < 70 and right > 130 and top < 65 and bottom > 145


# ---- bad input


def test_mistakes_leave_nothing_behind(photos: Path, tmp_path: Path, refused) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.png").write_text("no picture")
    (tmp_path / "few").mkdir()
    for index in range(3):
        noise(index).save(tmp_path / "few" / f"{index}.png")
    before = sorted(tmp_path.rglob("*"))
    new, source = tmp_path / "some" / "new", str(photos)
    for arguments, words in (
        ([], "folder"),
        ([source], "out"),
        ([tmp_path / "nowhere", new], "does not exist"),
        ([tmp_path / "full" / "mine.txt", new], "is a file"),
        ([tmp_path / "empty", new], "there are no images"),
        ([tmp_path / "broken", new], "none of the 1 images can be read (a.png: UnidentifiedImageError"),
        ([tmp_path / "few", new, "--test=3"], "3 images are too few for the splits: none fell to train and val"),
        ([source, photos / "out"], "is inside of"),
        ([source, photos], "is inside of"),
        ([source, tmp_path / "full"], "is there already"),
        ([source, tmp_path / "full" / "mine.txt"], "is there already"),
        ([source, tmp_path / "full" / "mine.txt" / "out"], "cannot be written"),
        ([source, new, "--crop=dog"], "dog"),
        ([source, new, "--size=0"], "--size is 0"),
        ([source, new, "--val=0.5", "--test=0.5"], "--val is 0.5"),
        ([source, new, "--val=-0.1"], "--val is -0.1"),
        ([source, new, "--test=2.5"], "--test is 2.5"),
        ([source, new, "--val=0", "--test=39"], "none fell to train in one of the classes"),
        ([source, new, "--near=64"], "--near is 64"),
        ([source, new, "--margin=-1"], "--margin is -1"),
    ):
        assert words in refused("prepare", *map(str, arguments))
        assert sorted(tmp_path.rglob("*")) == before


def test_missing_packages_are_named(photos: Path, tmp_path: Path, refused, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    monkeypatch.setitem(sys.modules, "imagehash", None)
    out = str(tmp_path / "out")
    assert 'pip install "opencv-python-headless<5"' in refused("prepare", str(photos), out, "--crop=face")
    assert "pip install imagehash" in refused("prepare", str(photos), out)
    run(photos, tmp_path / "out", "--near=null")


def test_an_interruption_leaves_nothing_behind(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "contact_sheet", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(photos, tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"photos"}
