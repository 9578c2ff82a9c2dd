"""A benchmark: what its file asks for, what is kept, and what its tables and its page say."""

from __future__ import annotations

import csv
import json
import math
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from common import REPOSITORY
from torchvision.utils import save_image

from lit_gen.__main__ import main
from lit_gen.benchmark import children, page, plan, table
from lit_gen.benchmark.cell import curve_of, minutes_at, run_cell, with_source
from lit_gen.benchmark.code import digest_of
from lit_gen.benchmark.config import merged, with_callbacks
from lit_gen.benchmark.plan import Plan, Planned, key_of, read_plan
from lit_gen.benchmark.results import Arm, Cell, Group, Step, groups_of, last_crossing, read_cell
from lit_gen.commands import benchmark as command
from lit_gen.errors import UserError
from lit_gen.metrics.base import Estimate
from lit_gen.pages import webp

FILES = sorted((REPOSITORY / "experiments" / "benchmarks").glob("*.yaml"))
FILE = FILES[0].with_name("few_cats.yaml")


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)  # where a benchmark's sources are looked for


def changed(folder: Path, **changes: Any) -> str:
    """A copy of the file with some of its parts replaced."""
    told = yaml.safe_load(FILE.read_text().replace("../", f"{REPOSITORY}/experiments/"))
    (folder / "plan.yaml").write_text(yaml.safe_dump({**told, **changes}))
    return str(folder / "plan.yaml")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_file_in_the_project_can_be_read_and_says_how_to_run_it(file: Path) -> None:
    found = read_plan(str(file))
    assert f"python -m lit_gen benchmark experiments/benchmarks/{file.name}" in file.read_text()
    assert "shared/" not in file.read_text()
    assert len({cell.name for cell in found.cells}) == len(found.cells)
    for cell in found.cells:
        names = [callback["class_path"] for callback in cell.config["trainer"]["callbacks"]]
        assert names[-1] == "Evaluation" and names.count("Evaluation") == 1
        assert ("TrainingBudget" in names) == (cell.minutes > 0)
        assert cell.config["model"]["init_args"]["max_images"] is None


def test_a_cell_has_its_data_its_size_and_its_seed_and_all_arms_share_their_shots() -> None:
    cells = [c for c in read_plan(str(FILE)).cells if (c.data, c.shots) == ("faces64", 100)]
    cell = next(c for c in cells if (c.method, c.seed) == ("projected", 2))
    assert cell.config["seed_everything"] == 2
    shots = {name: cell.config["data"]["init_args"][name] for name in ("n_images", "seed")}
    assert shots == {"n_images": 100, "seed": 2}  # each seed draws its own
    assert cell.config["model"]["init_args"]["generator"]["init_args"]["image_size"] == 64
    assert all(c.config["data"]["init_args"].get("seed", 0) == c.seed for c in cells)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"runs": [{"methods": ["finetun"], "data": "faces32", "minutes": 1}]}, "no 'finetun'.*finetune"),
        ({"runs": [{"methods": "all", "data": "faces", "minutes": 1}]}, "no 'faces'"),
        ({"runs": [{"methods": "all", "data": "faces32", "minutes": 0}]}, "minutes: 0"),
        ({"runs": [{"methods": "all", "data": "faces32", "minutes": 1, "threads": 0}]}, "threads: 0"),
        ({"runs": [{"methods": "all", "data": "faces32"}]}, "lacks minutes"),
        ({"baselines": ["nothing"]}, "no 'nothing'"),
        ({"methods": {"a": {"experiment": "no.yaml"}}, "baselines": [], "untouched": None, "runs": [
            {"methods": "all", "data": "faces32", "minutes": 1}]}, "no such file"),
        ({"methods": {"a": {"experiment": "no.yaml", "source": "dog"}}}, "no 'dog'.*dogs"),
        ({"sources": {"dogs": {"path": "nowhere.ckpt"}, "projected_dogs": {"path": "x"}}}, "nowhere.ckpt"),
        ({"measure": {"evry": 2}}, "no 'evry'.*every"),
        ({"measure": {"extractor": {"class_path": "EfficentNetExtractor"}}}, "no 'EfficentNetExtractor'.*EfficientNet"),
        ({"clock": "sun"}, "no 'sun'"),
        ({"colour": "red"}, "no 'colour'"),
        ({"data": {}}, "found data"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_file_is_one_message(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        read_plan(changed(tmp_path, **changes))


def test_a_mistake_ends_with_status_2(refused: Any) -> None:
    assert "there is no file nowhere.yaml" in refused("benchmark", "nowhere.yaml")
    assert "none of the" in refused("benchmark", str(FILE), "--only=nothing*")
    assert "--jobs is 0" in refused("benchmark", str(FILE), "--jobs=0")


def test_settings_are_merged_and_callbacks_changed_by_name() -> None:
    assert merged({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}}) == {"a": {"b": 3, "c": 2}}
    one, other = {"class_path": "A", "init_args": {"x": 1}}, {"class_path": "B", "init_args": {"y": 2}}
    assert merged({"n": one}, {"n": other}) == {"n": other}
    found = with_callbacks([one, other], {"A": {"z": 3}, "B": None, "C": {}})
    assert found == [{"class_path": "A", "init_args": {"x": 1, "z": 3}}, {"class_path": "C", "init_args": {}}]


def test_a_source_is_loaded_by_what_is_trained_and_only_tested_by_what_is_not(tmp_path: Path) -> None:
    cell = next(cell for cell in read_plan(str(FILE)).cells if cell.method == "finetune")
    loaded = with_source(cell.config, tmp_path / "dogs.ckpt", trains=True)["trainer"]["callbacks"]
    assert [c["init_args"]["source"] for c in loaded if c["class_path"] == "LoadWeights"] == [f"{tmp_path}/dogs.ckpt"]
    idle = with_source(cell.config, tmp_path / "dogs.ckpt", trains=False)["trainer"]["callbacks"]
    assert [callback["class_path"] for callback in idle] == ["Evaluation"]


def test_a_source_as_it_is_has_its_numbers_in_its_own_cell(
    tmp_path: Path, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = yaml.safe_load((trained / "config.yaml").read_text())
    told = {key: told[key] for key in ("seed_everything", "model", "data", "trainer")}
    options = {"n": 16, "n_test": 16, "extractor": {"class_path": "tiny_extractor.TinyExtractor"}, "metrics": ["KID"]}
    told["trainer"]["callbacks"] = [{"class_path": "Evaluation", "init_args": options}]
    monkeypatch.setattr(
        children.Children, "run", lambda _, name, typed, folder, threads: main([name, "--allow=tiny_extractor", *typed])
    )
    before = sorted(trained.rglob("*"))
    asked = Planned("untouched", "digits", 64, 0, 0, told, "digits")
    run_cell(asked, tmp_path / "cell", trained / "last.ckpt", "few", [], children.Children(1))
    assert read_cell(tmp_path / "cell").number("kid").n_fake == 16
    assert sorted(trained.rglob("*")) == before


def test_the_key_follows_config_source_and_code(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = read_plan(str(FILE)).cells[:2]
    keys = {key_of(first, None), key_of(second, None), key_of(first, "another source")}
    monkeypatch.setattr(plan, "digest_of", lambda config: "another code")
    assert len(keys | {key_of(first, None)}) == 4


def test_only_code_that_a_configuration_runs_counts(tmp_path: Path) -> None:
    base = "import torch\n\ndef double(x):\n    return 2 * x\n"
    written = {
        "models/gan.py": "from lit_gen.base import double\nfrom lit_gen.pages import show\nclass GAN:\n    pass\n",
        "base.py": base,
        "pages.py": "def show(): pass\n",
        "losses/hinge.py": "class HingeLoss: pass\n",
        "models/vae.py": "class VAE: pass\n",
    }
    config = {"model": {"class_path": "GAN", "init_args": {"loss": "HingeLoss"}}}
    changes = {
        "": False,
        "base.py|" + base.replace("2", "3"): True,
        "base.py|" + base.replace("def", "# a comment\ndef").replace("return", '"""A docstring."""\n    return'): False,
        "losses/hinge.py|class HingeLoss: margin = 2\n": True,
        "pages.py|def show(): print()\n": False,
        "models/vae.py|class VAE: beta = 2\n": False,
    }
    digests = []
    for number, change in enumerate(changes):  # each a project of its own: files are read once
        project = tmp_path / str(number)
        told = {**written, **dict([change.split("|")] if change else [])}
        for name, text in told.items():
            file = project / "lit_gen" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        digests.append(digest_of(config, project))
    assert [digest != digests[0] for digest in digests] == list(changes.values())


def estimate(value: float, name: str = "kid", better: str = "lower") -> dict[str, Any]:
    space = "pixels" if name == "swd" else "efficientnet_lite1"
    ends = {"low": value - 0.1, "high": value + 0.1, "n_real": 100, "n_fake": 1000}
    return {"name": name, "value": value, **ends, "extractor": space, "better": better, "replicates": []}


def finish(folder: Path, method: str, kid: float, **more: Any) -> Path:
    """A finished cell's files, with a black grid for the method `scratch` and a white one for others."""
    folder.mkdir(parents=True)
    numbers = [estimate(kid), *(estimate(more.pop(name), name) for name in ("copy_share", "swd") if name in more)]
    result = {"method": method, "data": "faces32", "shots": 100, "seed": 0, "minutes": 1, "source": None,
              "numbers": numbers, "floor": [estimate(0.01)], "curve": curve(2.0, kid), "images": 4000,
              "best_images": 4000} | more  # fmt: skip
    for name in ("grid", "strip"):
        save_image(torch.full((3, 8, 8), float(method != "scratch")), folder / f"{name}.png")
    (folder / "result.json").write_text(json.dumps(result))
    return folder


def curve(*kids: float) -> list[Step]:
    return [Step(1000.0 * number, number / 10, kid) for number, kid in enumerate(kids)]


def test_finished_cells_are_kept_and_a_failed_one_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = []

    def run(cell: Any, folder: Path, *_: Any) -> None:
        ran.append(cell.method)
        if cell.method == "scratch" and ran.count("scratch") == 1:
            raise children.CellFailed("fit ended with status 1")
        finish(folder, cell.method, 0.5)

    monkeypatch.setattr(command, "run_cell", run)
    runs = [{"methods": ["scratch", "scratch_augmented"], "data": "faces32", "shots": 100, "minutes": 1}]
    arguments = ["benchmark", changed(tmp_path, runs=runs), f"--out={tmp_path / 'out'}"]
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    out, err = capsys.readouterr()
    assert ended.value.code == 1 and "scratch-faces32-100-seed0-1min: fit ended with status 1" in err
    assert "[2/2] scratch_augmented-faces32-100-seed0-1min: KID x1000 500" in out and ran[0] == "scratch"
    main([*arguments, "--only=*augmented*"])
    assert len(ran) == 2
    main(arguments)
    assert ran == ["scratch", "scratch_augmented", "scratch"]
    assert "| scratch |" in (tmp_path / "out" / "results.md").read_text()
    main([*arguments, "--dry_run"])
    assert capsys.readouterr().out.endswith(
        "finished  scratch-faces32-100-seed0-1min\nfinished  scratch_augmented-faces32-100-seed0-1min\n"
    )
    (old := tmp_path / "out" / "cells" / "scratch-faces32-100-seed0-1min-0123456789ab").mkdir()
    main([*arguments, "--dry_run"])
    assert capsys.readouterr().out.endswith(f"in no table: {old} (of other settings or code)\n")
    main(arguments)
    assert "1 folder is of other settings or code" in capsys.readouterr().out
    (cell,) = (tmp_path / "out" / "cells").glob("scratch_augmented-*")
    (cell / "strip.png").unlink()
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2 and f"Delete {cell}" in capsys.readouterr().err


def test_cells_of_a_source_that_failed_are_not_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = []

    def run(cell: Any, folder: Path, *_: Any) -> None:
        ran.append(cell.method)
        if cell.method == "source_dogs":
            raise children.CellFailed("fit ended with status 1")
        finish(folder, cell.method, 0.5)

    monkeypatch.setattr(command, "run_cell", run)
    runs = [{"methods": ["finetune", "scratch"], "data": "faces32", "shots": 100, "minutes": 1}]
    with pytest.raises(SystemExit):
        command.benchmark(changed(tmp_path, runs=runs), str(tmp_path / "out"), jobs=2)
    assert sorted(ran) == ["scratch", "source_dogs"]


def test_a_source_is_trained_again_only_where_a_cell_still_needs_its_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = []

    def run(cell: Any, folder: Path, source: Path | None, *_: Any) -> None:
        ran.append((cell.method, source))
        shutil.rmtree(folder, ignore_errors=True)  # as run_cell does
        finish(folder, cell.method, 0.5, last="run/last.ckpt")
        (folder / "run").mkdir()
        (folder / "run" / "last.ckpt").touch()

    monkeypatch.setattr(command, "run_cell", run)
    runs = [{"methods": ["finetune", "freezed"], "data": "faces32", "shots": 100, "minutes": 1}]
    arguments = [changed(tmp_path, runs=runs), str(tmp_path / "out")]
    command.benchmark(*arguments, only="finetune*")
    (checkpoint,) = (tmp_path / "out" / "sources").glob("*/run/last.ckpt")
    assert ran == [("source_dogs", None), ("finetune", checkpoint)]
    checkpoint.unlink()  # results were kept, as in the repository, and the large files were not
    capsys.readouterr()
    command.benchmark(*arguments, only="finetune*", dry_run=True)
    assert capsys.readouterr().out.count("finished") == 2
    command.benchmark(*arguments)
    assert [method for method, _ in ran[2:]] == ["source_dogs", "freezed"]
    assert "| dogs | faces32 |" in (tmp_path / "out" / "results.md").read_text()


def test_a_command_that_fails_is_told_with_its_log(tmp_path: Path) -> None:
    with pytest.raises(children.CellFailed, match="(?s)fitt ended with status 2: .*no command.*fitt.log"):
        children.Children(1).run("fitt", [], tmp_path)
    assert "fitt" in (tmp_path / "fitt.log").read_text()


def test_commands_end_with_the_benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sleeper = tmp_path / "sleeper"
    sleeper.write_text('#!/bin/sh\necho "$OMP_NUM_THREADS $OMP_WAIT_POLICY"\nexec sleep 60\n')
    sleeper.chmod(0o700)
    monkeypatch.setattr(children.sys, "executable", str(sleeper))
    these, failures = children.Children(3, jobs=2), []

    def run() -> None:
        try:
            these.run("fit", [], tmp_path)
        except children.CellFailed as failure:
            failures.append(failure)

    thread = threading.Thread(target=run)
    thread.start()
    while not (tmp_path / "fit.log").is_file() or "PASSIVE" not in (tmp_path / "fit.log").read_text():
        time.sleep(0.01)
    these.end()
    thread.join(5)
    assert not thread.is_alive() and len(failures) == 1 and not these.alive
    assert (tmp_path / "fit.log").read_text() == "3 PASSIVE\n"
    with pytest.raises(children.CellFailed, match="not begun"):
        these.run("fit", [], tmp_path)


def test_threads_that_have_the_machine_to_themselves_may_spin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    printer = tmp_path / "printer"
    printer.write_text('#!/bin/sh\necho "$OMP_NUM_THREADS ${OMP_WAIT_POLICY-as it comes}"\n')
    printer.chmod(0o700)
    monkeypatch.setattr(children.sys, "executable", str(printer))
    children.Children(1).run("fit", [], tmp_path, threads=2)
    assert (tmp_path / "fit.log").read_text() == "2 as it comes\n"


def test_ctrl_c_ends_what_runs_and_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: Any) -> Any:
        raise KeyboardInterrupt

    ended = []
    monkeypatch.setattr(command, "as_completed", interrupted)
    monkeypatch.setattr(command, "run_cell", lambda *_: None)
    monkeypatch.setattr(children.Children, "end", lambda self: ended.append(self))
    with pytest.raises(UserError, match="The same command goes on"):
        command.benchmark(changed(tmp_path), str(tmp_path / "out"), only="scratch*")
    assert len(ended) == 1


def test_the_last_crossing_counts_not_the_first() -> None:
    assert last_crossing(curve(9, 3, 5, 4, 3, 2), 4) == 3000
    assert last_crossing(curve(1, 1), 4) == 0
    assert last_crossing(curve(9, 3, 5), 4) == math.inf
    assert last_crossing(curve(9, 3, math.nan, 3), 4) == 3000


def cell(method: str, kid: float, *kids: float, **more: Any) -> Cell:
    names = [name for name in ("copy_share", "swd", "class_share", "class_share_of_real") if name in more]
    numbers = [Estimate(**estimate(kid)), *(Estimate(**estimate(more.pop(name), name)) for name in names)]
    more = {"seed": 0, "minutes": 1.0, "images": 6000, **more}
    return Cell(Path("nowhere"), method, "faces32", 100, numbers=numbers, curve=curve(*kids), **more)


def group(*cells: Cell, baselines: tuple[str, ...] = ("scratch", "augmented")) -> Group:
    (found,) = groups_of(cells, baselines, "untouched")
    return found


def test_medians_ratios_and_the_crossing_are_against_the_better_baseline_and_the_own_source() -> None:
    found = group(
        cell("scratch", 0.8, 9, 9, 9, 9, 0.7),
        *(cell("augmented", 0.6, 9, 8, 7, 0.5 + seed, 0.9, seed=seed) for seed in range(3)),
        cell("mine", 0.3, 9, 0.5, 0.6, 0.4, seed=0, source="dogs"),  # for good from 3,000 images on: all of 3,000
        cell("mine", 0.2, 9, 1.4, 1.2, 0.4, seed=1, source="dogs"),  # from 1,000: a third
        cell("mine", 0.9, 9, 9, 9, 9, seed=2, source="dogs"),  # never
        cell("untouched", 1.2, minutes=0.0, source="other"),
        cell("untouched_dogs", 1.5, minutes=0.0, source="dogs"),
    )
    assert [arm.method for arm in found.arms] == ["mine", "augmented", "scratch", "untouched", "untouched_dogs"]
    mine, baseline = found.arms[:2]
    assert found.baseline is baseline and found.best is mine and found.seeds == 3
    assert (mine.value("kid"), mine.number("kid").low) == (0.3, pytest.approx(0.2))
    assert found.ratio(mine, baseline) == pytest.approx(0.5)
    assert found.untouched_of(mine).method == "untouched_dogs"  # that of its own source
    assert found.untouched_of(baseline).method == "untouched"
    assert found.crossing(mine) == 1.0  # the median of 1, 1/3 and never
    assert math.isnan(found.crossing(baseline)) and math.isnan(found.crossing(found.arms[-1]))


def test_what_copies_is_not_called_best_and_its_share_of_classes_does_not_count() -> None:
    found = group(
        cell("scratch", 0.8, copy_share=0.5, swd=30, class_share=0.2),
        cell("copies", 0.1, copy_share=0.75, swd=20, class_share=0.9),
        cell("blurs", 0.3, copy_share=0.6, swd=31, class_share=0.8),
    )
    arms = {arm.method: arm for arm in found.arms}
    assert found.best is arms["blurs"]
    assert found.doubts(arms["copies"]) == ["copy share 0.75"]
    assert found.doubts(arms["blurs"]) == ["swd worse than scratch's"]
    assert found.doubts(arms["scratch"]) == []
    heads, rows = table.table_of(found)
    place = heads.index("share counts")
    assert [row[place] for row in rows] == ["no: copy share 0.75", "no: swd worse than scratch's", "yes"]


def test_real_train_images_are_medians_over_the_seeds_of_the_arm_that_has_most() -> None:
    floors = [[Estimate(**estimate(value)), Estimate(**estimate(5 * value, "swd"))] for value in (0.03, 0.01, 0.02)]
    found = group(
        cell("scratch", 0.8, swd=9, floor=floors[0]),
        *(cell("augmented", 0.9, swd=9, seed=seed, floor=floor) for seed, floor in enumerate(floors)),
    )
    heads, rows = table.table_of(found)
    floor = dict(zip(heads, rows[-1], strict=True))
    assert floor["seeds"] == "3" and floor["KID x1000 [95 %]"] == "20 [-80, 120]"
    assert float(floor["swd"]) == pytest.approx(0.1)


def test_a_source_is_found_in_the_projects_folder_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = read_plan(str(FILE.with_name("few_silhouettes.yaml"))).sources["nine"]
    assert found == REPOSITORY / "checkpoints" / "gan_nine_silhouettes.ckpt"


def test_groups_never_mix_threads() -> None:
    found = groups_of([cell("a", 0.5), cell("b", 0.4, threads=2), cell("untouched", 1.0, minutes=0.0)], ["a"], None)
    assert [[arm.method for arm in one.arms] for one in found] == [["a", "untouched"], ["b", "untouched"]]
    assert [one.title for one in found] == [
        "faces32, 100 images, 1 minutes",
        "faces32, 100 images, 1 minutes, 2 threads",
    ]


def test_groups_never_mix_data_shots_or_minutes() -> None:
    cells = [cell("a", 0.5, minutes=minutes) for minutes in (1.0, 2.0)] + [cell("untouched", 1.0, minutes=0.0)]
    found = groups_of(cells, ["a"], "untouched")
    assert [[arm.method for arm in one.arms] for one in found] == [["a", "untouched"], ["a", "untouched"]]
    assert [[cell.minutes for cell in one.arms[0].cells] for one in found] == [[1.0], [2.0]]
    assert [one.title for one in found] == ["faces32, 100 images, 1 minutes", "faces32, 100 images, 2 minutes"]


def test_markdown_says_n_the_baseline_and_the_source_s_cost() -> None:
    found = group(
        cell("scratch", 0.8, 9, 0.8, class_share_of_real=0.2),
        cell("mine", 0.2, 9, 0.2, source="dogs", class_share_of_real=0.9, copy_share=0.9),
    )
    text = table.markdown("few", [found], [cell("source_dogs", math.nan, minutes=10.0, images=123_456)])
    assert "N = 1,000 generated against 100 test images." in text
    assert "- The better arm from scratch is scratch: KID x1000 800 [700, 900]." in text
    assert (
        "- mine (seeds: 1): KID 0.25 of scratch's; - of the untouched source's; for good below scratch's best after "
        "1.00 of its images; class share 0.90 of real, which does not count: copy share 0.90." in text
    )
    assert "| dogs | faces32 | 10 | 123,456 |" in text
    assert "scratch is called best" in text  # mine copies
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in lines[:4]} == {lines[0].count("|")}


def test_results_as_csv_and_a_page_that_opens_with_two_grids(tmp_path: Path) -> None:
    places = [
        finish(tmp_path / "a", "scratch", 0.8, copy_share=0.5, swd=30.0),
        finish(tmp_path / "b", "good", 0.2, copy_share=0.5, swd=20.0),
        finish(tmp_path / "c", "good", 0.3, seed=1, copy_share=0.5, swd=20.0),
        finish(tmp_path / "d", "copies", 0.1, copy_share=0.9, swd=20.0),
    ]
    asked = Plan("few <things>", [], {}, ["scratch"], None)
    page.write_results(asked, [read_cell(place) for place in places], [], tmp_path)
    text = (tmp_path / "index.html").read_text()
    opening = text[: text.index("<h2>")]
    pictures = [part[: part.index('"')] for part in opening.split('src="')[1:]]
    assert pictures == [webp(places[1] / "grid.png"), webp(places[0] / "grid.png")]
    assert len(set(pictures)) == 2
    assert "called best: good, KID x1000 250" in opening
    assert text.count("<svg") == 2 and "few &lt;things&gt;" in text
    assert "http" not in text.replace("http://www.w3.org", "")  # carries everything with it
    with (tmp_path / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["method"], row["seed"], float(row["kid_efficientnet_lite1"])) for row in rows] == [
        ("scratch", "0", 0.8), ("good", "0", 0.2), ("good", "1", 0.3), ("copies", "0", 0.1),
    ]  # fmt: skip
    assert float(rows[0]["images_per_second"]) == pytest.approx(4000 / 60) and rows[0]["n_generated"] == "1000"
    with (tmp_path / "curves.csv").open() as file:
        steps = list(csv.DictReader(file))
    assert len(steps) == 8 and (steps[1]["budget"], steps[1]["images"], steps[1]["kid"]) == ("1", "1000.0", "0.8")


def test_numbers_that_are_not_finite_survive_a_result(tmp_path: Path) -> None:
    finish(tmp_path / "a", "scratch", 0.8)
    held = json.loads((tmp_path / "a" / "result.json").read_text())
    held["numbers"][0]["value"] = None
    (tmp_path / "a" / "result.json").write_text(json.dumps(held))
    found = read_cell(tmp_path / "a")
    assert math.isnan(found.number("kid").value) and found.curve == curve(2.0, 0.8)
    assert Arm("scratch", [found]).number("recall") is None


def test_minutes_of_a_measurement_lie_between_logged_ones(tmp_path: Path) -> None:
    times = [(0.0, 0.0), (1000.0, 1.0), (2000.0, 3.0)]
    assert [minutes_at(times, images) for images in (0, 500, 1500, 3000)] == [0.0, 0.5, 2.0, 5.0]
    assert minutes_at([(0.0, 0.0)], 500) == 0.0
    told = tmp_path / "metrics.csv"
    told.write_text("images_seen,train/minutes,val/kid_x,val/kid_x_low\n0,,0.9,0.8\n500,,0.5,0.4\n1000,1.0,,\n")
    assert curve_of(told) == [Step(0, 0.0, 0.9), Step(500, 0.5, 0.5)]
