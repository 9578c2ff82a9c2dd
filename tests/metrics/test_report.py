"""A report as a file, a table and a page."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from base64 import b64decode
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from reports import elsewhere, estimate, report
from torchvision.io import decode_png

from lit_gen.errors import UserError
from lit_gen.files import writable_folder
from lit_gen.metrics import charts
from lit_gen.metrics.numbers import rounded, with_interval
from lit_gen.metrics.report import HELD_OUT, Report, table
from lit_gen.metrics.report_html import Neighbour, Pictures, html, write_html

REFERENCES = {
    "real train images": [estimate(0.5), estimate(0.9, "precision", "higher")],
    "blurred real images": [estimate(4.0)],
    "noise": [estimate(9.0)],
}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    written = report(estimate(1.0), estimate(0.3, "recall", "higher"), references=REFERENCES, verdicts=["It copies."])
    assert written.write(tmp_path) == tmp_path / "report.json"
    assert Report.read(tmp_path) == written == Report.read(tmp_path / "report.json")
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


def test_numbers_that_are_not_finite_are_null(tmp_path: Path) -> None:
    lost = dataclasses.replace(estimate(1.0), value=math.nan, high=math.inf, replicates=(1.0, -math.inf))
    path = report(lost).write(tmp_path)
    held = json.loads(path.read_text(), parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert held["estimates"][0]["value"] is held["estimates"][0]["high"] is None
    found = Report.read(path).estimates[0]
    assert math.isnan(found.value) and math.isnan(found.high) and math.isnan(found.replicates[1])
    assert (found.low, found.replicates[0]) == (lost.low, 1.0)
    assert "nan" not in table(Report.read(path))


@pytest.mark.parametrize("damage", ['{"estimates": [', '{"estimates": []}', "[1]", '{"estimates": [{}]}', "null"])
def test_a_damaged_report_is_told_from_a_missing_one(tmp_path: Path, damage: str) -> None:
    with pytest.raises(UserError, match="No report at .*\n.*lit_gen test"):
        Report.read(tmp_path)
    (tmp_path / "report.json").write_text(damage)
    with pytest.raises(UserError, match="is no report that .*\n.*lit_gen test"):
        Report.read(tmp_path)


def test_a_folder_that_takes_no_file_is_refused_early(tmp_path: Path) -> None:
    assert writable_folder(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    assert list((tmp_path / "a" / "b").iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="--out .*file/a cannot be written"):
        writable_folder(tmp_path / "file" / "a", "--out")
    with pytest.raises(UserError, match="cannot be written"):
        report().write(tmp_path / "missing")


@pytest.mark.parametrize(
    ("value", "half", "expected"),
    [
        (0.012345, 0.00123, "0.0123"),
        (123.456, 12.3, "123"),
        (123.456, 0.5, "123.46"),
        (-0.5, 0.1, "-0.50"),
        (1.2345e-5, 2e-6, "1.23e-05"),
        (3.21e7, 1e5, "3.210e+07"),
        (0.25, 0.0, "0.25"),
        (0.25, math.nan, "0.25"),
        (math.inf, 1.0, "-"),
    ],
)
def test_as_many_digits_as_the_interval_bears(value: float, half: float, expected: str) -> None:
    assert rounded(value, half) == expected


def test_the_table_has_every_number_beside_its_floor_and_ceilings() -> None:
    shown = report(
        estimate(1.0), estimate(0.3, "classification_accuracy", "higher"), references=REFERENCES,
        verdicts=["The model memorises: " + "long " * 40], notes=["Few images."],
    )  # fmt: skip
    said = table(shown)
    assert max(map(len, said.splitlines())) <= 110
    assert "last.ckpt of gan_cats/1 (GAN, 200,000 images seen)" in said
    assert "1,000 generated images (seed 0) against 200 held-out test images, by toy" in said
    row = next(line for line in said.splitlines() if line.startswith("kid "))
    cells = ["kid", with_interval(estimate(1.0)), "lower", "0.50", "4.00", "9.00", "1000/200"]
    assert re.split(r"\s{2,}", row) == cells
    assert "The model memorises" in said and "Note: Few images." in said


def test_train_images_are_called_so() -> None:
    assert "held-out" in table(report(estimate(1.0), against=HELD_OUT))
    assert "against 200 train images, which are not held out" in table(report(estimate(1.0), against="train images"))


def pictures() -> Pictures:
    def image(side: int) -> torch.Tensor:
        return torch.rand(1, side, side)

    svg = charts.manifolds(torch.randn(30, 5), torch.randn(40, 5), torch.rand(40) < 0.5, torch.rand(30) < 0.5)
    pair = Neighbour(image(8), image(8), image(8), 0.125, 0.75)
    return Pictures(image(30), (image(20), image(20)), [pair], svg)


def test_the_page_carries_everything_with_it(tmp_path: Path) -> None:
    shown = report(estimate(1.0), references=REFERENCES, verdicts=["<b>It copies.</b>"], experiment="a & <i>")
    given = pictures()
    page = write_html(shown, {"": given}, tmp_path).read_text()
    assert elsewhere(page) == []
    assert with_interval(estimate(1.0)) in page
    assert "&lt;b&gt;It copies.&lt;/b&gt;" in page and "a &amp; &lt;i&gt;" in page
    images = re.findall(r"data:image/png;base64,([^\"]+)", page)
    assert len(images) == 6
    first = decode_png(torch.frombuffer(bytearray(b64decode(images[0])), dtype=torch.uint8))
    assert (first[:1] / 255 - given.samples).abs().max() <= 1 / 255
    assert "train: 0.125" in page and "held out: 0.75" in page
    for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        ElementTree.fromstring(svg)
    assert len(re.findall(r"<svg", page)) == 2


def test_the_page_does_without_pictures() -> None:
    page = html(report(estimate(1.0), dataclasses.replace(estimate(1.0, "fid"), value=math.nan)), {"": Pictures()})
    assert "<img" not in page and "None" not in page


def test_charts_are_the_same_each_time_and_take_any_label() -> None:
    rows = {"$a_1$ <&>": estimate(1.0), "_hidden": estimate(2.0)}
    first, again = (charts.forest(rows, {}) for _ in range(2))
    assert first == again
    assert ">$a_1$ &lt;&amp;&gt;</text>" in first and ">_hidden</text>" in first
    assert charts.INK not in first and "currentColor" in first


def test_curves_take_runs_of_any_length() -> None:
    points = [charts.Point(10, 1.0, 0.5, 1.5), charts.Point(20, 2.0), charts.Point(30, 0.5, 0.1, 0.7)]
    svg = charts.curves([points, [], points[:1]], "val/kid_toy")
    assert charts.colour(0) in svg and charts.colour(2) in svg and "val/kid_toy" in svg


@pytest.mark.parametrize("shape", [(50, 3), (5, 40)])
def test_the_plane_is_that_of_the_greatest_spread(shape: tuple[int, int]) -> None:
    """Distances within a set that spreads in two directions only survive; the coordinates are uncorrelated."""
    flat = torch.randn(shape[0], 2).double() * torch.tensor([3.0, 1.0])
    turned = torch.linalg.qr(torch.randn(shape[1], shape[1]).double()).Q[:2]
    plane = charts.principal_plane(flat @ turned + 7)
    torch.testing.assert_close(torch.cdist(plane, plane), torch.cdist(flat, flat), atol=1e-6, rtol=0)
    spread = plane.T.cov()
    assert spread[0, 0] > spread[1, 1] and abs(spread[0, 1]) < 1e-9
