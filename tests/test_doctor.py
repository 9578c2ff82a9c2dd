"""doctor: what it says of a folder of images, what it shows, and its exit status."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from zoo import encoded, fill_sickbay, fill_zoo, scene

from datamodules import parallel
from datamodules.errors import UserError
from datamodules.image_folder import ImageFolder
from lit_gen.__main__ import main
from lit_gen.health import sheet as sheets
from lit_gen.health.examination import View, examine

ADVICE = "    what to do"


def save(path: Path, *seeds: int) -> None:
    """A scene for each seed, as PNG, into the folder."""
    path.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        scene(seed).save(path / f"{seed:03}.png")


@pytest.fixture
def consult(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """consult(folder, "--json") -> exit status and what was said."""

    def run(folder: Path, *options: str) -> tuple[int, str]:
        status = 0
        try:
            main(["doctor", str(folder), f"--picture={tmp_path / 'doctor.png'}", *options])
        except SystemExit as ended:
            status = ended.code
        return status, capsys.readouterr().out

    return run


def needs(said: str) -> dict[str, list[str]]:
    """Finding -> items, of the JSON."""
    return {finding["what"]: finding["items"] for finding in json.loads(said)["needs_a_hand"]}


def part_of(said: str, first: str, count: int) -> list[str]:
    """So many lines from the first one on, the advice that stands second left out of account."""
    lines = said.splitlines()
    found = lines[lines.index(first) : lines.index(first) + count]
    assert found[1].startswith("    ") and found[1].endswith(".")
    return [found[0], ADVICE, *found[2:]]


def test_all_is_well(tmp_path: Path, consult) -> None:
    save(tmp_path / "photos" / "cat", *range(8))
    save(tmp_path / "photos" / "dog", *range(8, 20))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "photos").rglob("*")}
    status, said = consult(tmp_path / "photos")
    assert status == 0
    for line in (
        f"{tmp_path / 'photos'}: 20 images, 20 of them can be used",
        "class  train  val  test  shorter side",
        "dog    12     0    0     64",
        "cat    8      0    0     64",
        "All is well: nothing needs a hand.",
        f"What training will see of 20 of them: {tmp_path / 'doctor.png'}",
    ):
        assert line in said.splitlines()
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "photos").rglob("*")} == before


def test_kinds_that_are_treated_right_need_no_hand(tmp_path: Path, consult) -> None:
    fill_zoo(tmp_path / "zoo")
    (tmp_path / "zoo" / "notes.txt").write_text("no image")
    status, said = consult(tmp_path / "zoo")
    assert status == 0
    for what, *names in (
        ("CMYK", "cmyk.jpg"),
        ("16-bit", "deep_colour.png", "deep_grey.png"),
        ("palette", "animated.gif", "palette.png"),
        ("alpha", "alpha.png"),
        ("animated", "animated.gif"),
        ("EXIF-rotated", "turned.jpg"),
    ):
        lines = [f"  {what}: {len(names)}", ADVICE, *(f"      {name}" for name in names)]
        assert part_of(said, lines[0], len(lines)) == lines
    assert part_of(said, "  other files: 1", 3)[2] == "      1 .txt"
    assert "--data.background" in said


def test_what_is_refused_needs_a_hand(tmp_path: Path, consult) -> None:
    save(tmp_path / "photos", *range(8))
    fill_sickbay(tmp_path / "photos")
    for index in range(5):
        (tmp_path / "photos" / f"x{index}.jpg").write_bytes(b"")
    (tmp_path / "photos" / "really_a.jpg").write_bytes(encoded(scene(20), "PNG"))
    (tmp_path / "photos" / "not_seen.dat").write_bytes(encoded(scene(21), "PNG"))
    (tmp_path / "photos" / "Private.txt").write_text("P5 is no picture, though pictures begin like this")
    status, said = consult(tmp_path / "photos")
    assert status == 1
    assert "18 images, 9 of them can be used" in said
    for what, *items in (
        ("zero bytes: 6", *(f"{name}.jpg: nothing in the file" for name in ("empty", "x0", "x1")), "and 3 more"),
        ("truncated or damaged: 1", "truncated.jpg: begins as JPEG, then: image file is truncated"),
        ("unreadable: 1", "page.jpg: no image of a known format, it begins with b'<html>40'"),
        ("decompression bomb: 1", "bomb.png: far more than the 89,478,485 pixels that are opened"),
        ("mis-named: 1", "really_a.jpg"),
        ("mis-named, not seen: 1", "not_seen.dat: PNG"),
        ("other files: 1", "1 .txt"),
    ):
        lines = part_of(said, f"  {what}", len(items) + 2)[2:]
        assert [line.startswith(f"      {item}") for line, item in zip(lines, items, strict=True)] == [True] * len(
            items
        )
    assert "  zero bytes: 6\n    ImageFolder refuses them. Fetch them again, or delete them.\n" in said
    assert len(needs(consult(tmp_path / "photos", "--json")[1])["zero bytes"]) == 6


def test_nothing_can_be_used(tmp_path: Path, consult) -> None:
    fill_sickbay(tmp_path / "photos")
    status, said = consult(tmp_path / "photos")
    assert status == 1
    assert said.endswith("No image can be used.\n")
    assert part_of(said, "  classes without train images: 1", 3)[2] == "      photos"
    assert not (tmp_path / "doctor.png").exists()


def test_leakage_and_duplicates(tmp_path: Path, consult) -> None:
    root = tmp_path / "split"
    save(root / "train" / "cat", *range(10))
    save(root / "train" / "dog", *range(10, 20))
    save(root / "valid" / "cat", 30, 31)
    save(root / "test" / "dog", 40, 41)
    assert consult(root)[0] == 0
    (root / "test" / "dog" / "000.png").write_bytes(b"")  # stands first, and is no picture
    scene(3).save(root / "test" / "dog" / "exact.bmp")  # in another format, so by its pixels
    scene(12).save(root / "valid" / "cat" / "near.jpg", quality=60)
    scene(31).save(root / "test" / "dog" / "both_held_out.png")
    scene(5).save(root / "train" / "cat" / "again.tif")
    scene(6).save(root / "train" / "dog" / "cat_after_all.png")
    scene(7).save(root / "train" / "cat" / "similar.jpg", quality=60)
    status, said = consult(root, "--json")
    assert status == 1
    assert needs(said) == {
        "zero bytes": ["test/dog/000.png: nothing in the file"],
        "leakage between splits, exact": [
            "valid/cat/031.png = test/dog/both_held_out.png", "train/cat/003.png = test/dog/exact.bmp",
        ],
        "leakage between splits, near duplicates": ["train/dog/012.png ~ valid/cat/near.jpg"],
        "the same picture in two classes": ["train/dog/cat_after_all.png = train/cat/006.png"],
        "exact duplicates": ["train/cat/again.tif = train/cat/005.png"],
        "near duplicates": ["train/cat/similar.jpg ~ train/cat/007.png"],
    }  # fmt: skip
    assert json.loads(said)["usable"]["test"] == {"cat": 0, "dog": 4}
    assert set(needs(consult(root, "--json", "--near=null")[1])) == {
        "zero bytes",
        "leakage between splits, exact", "the same picture in two classes", "exact duplicates",
    }  # fmt: skip


def test_where_it_finds_no_leakage_image_folder_trains(tmp_path: Path, consult) -> None:
    """Both go by the pixels at the training's size: a border that is cut off hides no copy."""
    root = tmp_path / "split"
    save(root / "train", *range(10))
    save(root / "test", 20)
    wide = Image.new("RGB", (90, 64))
    wide.paste(scene(4), (13, 0))
    for name, picture, leaks in (("other.png", scene(21), False), ("wide.png", wide, True)):
        picture.save(root / "test" / name)
        data = ImageFolder(str(root), image_size=64, batch_size=2)
        data.prepare_data()
        assert ("leakage between splits, exact" in needs(consult(root, "--json")[1])) is leaks
        if leaks:
            with pytest.raises(UserError, match="train image.* are held-out images as well"):
                data.setup()
        else:
            data.setup()


def test_classes_and_sizes_out_of_balance(tmp_path: Path, consult) -> None:
    root = tmp_path / "photos"
    save(root / "many", *range(30))
    save(root / "few", 30, 31, 32)
    save(root / "fewest", 33)
    save(root / "none")
    scene(40, 20).save(root / "many" / "small.png")
    status, said = consult(root)
    assert status == 1
    assert part_of(said, "  classes without train images: 1", 3)[2] == "      none"
    assert "  classes out of balance: 2\n    many has 31 train images" in said
    assert part_of(said, "  classes out of balance: 2", 4)[2:] == ["      fewest: 1", "      few: 3"]
    assert part_of(said, "  smaller than what training sees: 1", 3)[2] == "      many/small.png: 20 pixels"
    assert "many    31     0    0     20 to 64, median 64" in said
    assert "smaller than" not in consult(root, "--image_size=16")[1]


def test_the_reading_of_splits_is_questioned_once(tmp_path: Path, consult, recwarn: pytest.WarningsRecorder) -> None:
    save(tmp_path / "photos" / "train", *range(4))
    save(tmp_path / "photos" / "extra", 5)
    status, said = consult(tmp_path / "photos")
    assert status == 1
    assert said.count("these are left out: extra") == 1
    assert [str(one.message) for one in recwarn if "left out" in str(one.message)] == []


def test_many_classes_are_shown_by_the_largest_and_the_smallest(tmp_path: Path, consult) -> None:
    for number in range(23):
        save(tmp_path / "photos" / f"c{number:02}", *range(100 + number, 102 + number - (number > 20)))
    said = consult(tmp_path / "photos", "--near=null")[1].splitlines()
    start = next(index for index, line in enumerate(said) if line.startswith("class "))
    assert [line.split()[0] for line in said[start + 1 : start + 23]] == [
        *(f"c{number:02}" for number in range(10)), "(3", *(f"c{number:02}" for number in range(13, 23)), "all",
    ]  # fmt: skip


# ---- the picture


def test_the_picture_shows_what_image_folder_decodes(tmp_path: Path, consult) -> None:
    root = tmp_path / "zoo"
    fill_zoo(root)
    save(root, 50, 51)
    consult(root, "--image_size=48", "--background=#0a141e")
    data = ImageFolder(str(root), image_size=48, batch_size=1, background="#0a141e", val_fraction=0, test_fraction=0)
    data.prepare_data()
    data.setup()
    side, gap = 96, sheets.GAP
    with Image.open(tmp_path / "doctor.png") as picture:
        shown = np.asarray(picture)
    tiles = [
        shown[top : top + side : 2, left : left + side : 2].transpose(2, 0, 1)
        for top in range(gap, len(shown), side + sheets.CAPTION + gap)
        for left in range(gap, shown.shape[1], side + gap)
    ]
    expected = {data.train_set.pixels[row].tobytes() for row in data.train_set.rows}
    assert len(expected) == 9
    assert {tile.tobytes() for tile in tiles} == expected


def test_odd_kinds_come_first_then_images_evenly(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    save(root, *range(30))
    for index in range(20, 28):
        scene(index).quantize(32).save(root / f"{index:03}.png")
    (root / "005.png").write_bytes(b"")
    names = sorted(path.name for path in root.iterdir())
    view = View(1000, 3, (0, 0, 0))
    records = examine(root, names, View(8, 1, (0, 0, 0)), None)
    assert sheets.choose(records, view) == [*range(20, 25), 0, 2, 4, 7, 9, 11, 14, 16, 18, 25, 27]


# ---- many images, odd names, mistakes


def test_several_processes_see_the_same(tmp_path: Path, consult, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "photos"
    fill_zoo(root / "a")
    fill_sickbay(root / "b")
    save(root / "c", *range(10), 3)
    alone = consult(root, "--json")
    monkeypatch.setattr(parallel, "FEW", 0)
    monkeypatch.setattr(parallel, "CHUNK", 5)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    assert consult(root, "--json") == alone
    assert alone[0] == 1


def test_names_cannot_command_the_terminal(tmp_path: Path, consult) -> None:
    root = tmp_path / "photos"
    save(root, *range(3))
    (root / "\x1b[2J\n.png").write_bytes(b"")
    (root / os.fsdecode(b"\xff.png")).write_bytes(b"")
    save(root / os.fsdecode(b"\xfe"), 9)
    status, said = consult(root)
    assert status == 1
    assert "\x1b" not in said
    assert r"      \x1b[2J\n.png: nothing in the file" in said.splitlines()
    assert r"      \udcff.png: nothing in the file" in said.splitlines()
    assert "\x1b[2J\n.png: nothing in the file" in needs(consult(root, "--json")[1])["zero bytes"]


def test_names_in_the_picture_stand_on_one_line(tmp_path: Path, consult, monkeypatch: pytest.MonkeyPatch) -> None:
    root, drawn = tmp_path / "photos", []
    original = sheets.ImageDraw.ImageDraw.text
    monkeypatch.setattr(
        sheets.ImageDraw.ImageDraw, "text", lambda *some, **more: (drawn.append(some[2]), original(*some, **more))
    )
    root.mkdir()
    scene(0).save(root / "a\n\t\x1b.png")
    status, said = consult(root)
    assert status == 0
    assert r"a\n\t\x1b.png" in drawn
    assert str(tmp_path / "doctor.png") in said


def test_a_link_that_leads_nowhere_is_unreadable(tmp_path: Path, consult) -> None:
    save(tmp_path / "photos" / "train", *range(3))
    (tmp_path / "photos" / "train" / "dangling.jpg").symlink_to(tmp_path / "nope")
    (tmp_path / "photos" / "train" / "dangling.txt").symlink_to(tmp_path / "nope")
    (tmp_path / "photos" / "train" / "loop.txt").symlink_to("loop.txt")
    status, said = consult(tmp_path / "photos", "--json")
    assert status == 1
    assert needs(said) == {"unreadable": ["train/dangling.jpg: No such file or directory"]}


def test_mistakes(tmp_path: Path, refused, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "photos", 0)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    photos = str(tmp_path / "photos")
    for arguments, words in (
        ([], "folder"),
        ([tmp_path / "nowhere"], "does not exist. Expected a folder of images; type doctor FOLDER"),
        ([tmp_path / "file"], "is a file"),
        ([tmp_path / "empty"], "there are no images"),
        ([photos, "--image_size=0"], "--image_size is 0"),
        ([photos, "--channels=2"], "--channels is 2"),
        ([photos, "--background=whitee"], 'Did you mean "white"? Expected the name of a colour'),
        ([photos, "--near=64"], "--near is 64"),
        ([photos, "--near=-1"], "--near is -1"),
        ([photos, f"--picture={photos}/a.png"], "is inside of"),
        ([photos, "--picture=a.jpg"], "--picture is a.jpg, expected a PNG file"),
        ([photos, f"--picture={tmp_path / 'file' / 'a.png'}"], "cannot be written"),
    ):
        message = refused("doctor", *map(str, arguments))
        assert words in message
    monkeypatch.setitem(sys.modules, "imagehash", None)
    message = refused("doctor", photos)
    assert "doctor: finding near duplicates needs the package imagehash" in message
    assert "pip install imagehash, or --near null" in message
