"""metrics.csv row by row, and Weights & Biases: offline by default, never in the way."""

from __future__ import annotations

import csv
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import wandb
import yaml
from common import REPOSITORY, newest_run

from lit_gen.loggers import MetricsCSV, WandbRun, wandb_mode


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def table(tmp_path: Path) -> MetricsCSV:
    logger = MetricsCSV(tmp_path)
    logger.seen = 0
    logger.images_seen = lambda: logger.seen
    return logger


def test_one_row_for_each_count_of_images(table: MetricsCSV, tmp_path: Path) -> None:
    table.seen = 10
    table.log_metrics({"a": 1.0}, step=0)
    table.save()
    table.log_metrics({"b": 2.0}, step=0)  # the same images, after the row went to the disk
    table.seen = 20
    table.log_metrics({"a": 3.0}, step=1)
    table.save()
    table.save()
    table.finalize("success")
    assert rows(tmp_path) == [
        {"images_seen": "10", "step": "0", "a": "1.0", "b": "2.0"},
        {"images_seen": "20", "step": "1", "a": "3.0", "b": ""},
    ]


def test_a_new_process_appends_and_keeps_the_columns(table: MetricsCSV, tmp_path: Path) -> None:
    for table.seen in (10, 20, 30):
        table.log_metrics({"a": table.seen}, step=table.seen)
    table.finalize("success")
    resumed = MetricsCSV(tmp_path)
    resumed.images_seen = lambda: 30
    resumed.cut(20)
    resumed.log_metrics({"z": 5.0}, step=30)
    resumed.finalize("success")
    found = rows(tmp_path)
    assert [row["images_seen"] for row in found] == ["10", "20", "30"]
    assert [row["a"] for row in found] == ["10.0", "20.0", ""]
    assert found[-1]["z"] == "5.0"


def test_half_a_row_is_no_row(table: MetricsCSV, tmp_path: Path) -> None:
    for table.seen in (100, 200):
        table.log_metrics({"a": table.seen}, step=table.seen)
    table.save()
    with (tmp_path / "metrics.csv").open("a") as file:
        file.write("12")  # of 128: the process was killed as it wrote
    resumed = MetricsCSV(tmp_path)
    resumed.cut(200)
    assert [row["images_seen"] for row in rows(tmp_path)] == ["100", "200"]


@pytest.mark.parametrize("damage", [
    lambda held: held.replace(b",", b";"),
    lambda held: held.replace(b"\n32,", b"\nsome,"),
    lambda held: held + b"64,1,2,3,4,5,6\n",
    lambda held: b"\xff\xfe" + held,
])  # fmt: skip
def test_a_table_that_cannot_be_read_is_put_aside(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    for name in ("metrics.unreadable.csv", "metrics.unreadable1.csv"):
        logger = MetricsCSV(tmp_path)
        logger.images_seen = lambda: 32
        logger.log_metrics({"loss": 1.0}, step=0)
        logger.save()
        damaged = damage((tmp_path / "metrics.csv").read_bytes())
        (tmp_path / "metrics.csv").write_bytes(damaged)
        resumed = MetricsCSV(tmp_path)
        resumed.images_seen = lambda: 64
        with pytest.warns(UserWarning, match=f"is no table that lit_gen wrote .*it is {name} now"):
            resumed.cut(32)
        assert (tmp_path / name).read_bytes() == damaged
        resumed.log_metrics({"loss": 2.0}, step=1)
        resumed.save()
        assert (tmp_path / "metrics.csv").read_text() == "images_seen,step,loss\n64,1,2.0\n"
        (tmp_path / "metrics.csv").unlink()


def test_a_new_process_adds_to_the_last_row(table: MetricsCSV, tmp_path: Path) -> None:
    for table.seen in (10, 20):
        table.log_metrics({"a": table.seen}, step=table.seen)
    table.save()
    resumed = MetricsCSV(tmp_path)
    resumed.images_seen = lambda: 20
    resumed.cut(20)
    resumed.log_metrics({"b": 5.0}, step=20)
    resumed.save()
    assert rows(tmp_path)[1:] == [{"images_seen": "20", "step": "20", "a": "20.0", "b": "5.0"}]


def test_rows_reach_the_disk_without_being_asked(tmp_path: Path) -> None:
    logger = MetricsCSV(tmp_path, flush_every=3)
    for count in range(7):
        logger.images_seen = lambda count=count: count
        logger.log_metrics({"a": count})
    assert len(rows(tmp_path)) == 6


@pytest.mark.parametrize(
    ("environment", "mode"),
    [({}, "offline"), ({"WANDB_API_KEY": "x" * 40}, "online"), ({"WANDB_MODE": "disabled"}, "disabled")],
)
def test_offline_unless_logged_in_or_asked_otherwise(environment, mode, monkeypatch, tmp_path) -> None:
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert wandb_mode() == mode
    assert wandb_mode("online") == "online"


def test_a_login_in_netrc_counts(monkeypatch, tmp_path) -> None:
    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    (tmp_path / "netrc").write_text("machine wandb.example login user password secret\n")
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example")
    assert wandb_mode() == "online"
    monkeypatch.setenv("WANDB_BASE_URL", "https://other.example")
    assert wandb_mode() == "offline"


def test_an_offline_run_has_its_files_in_the_runs_folder(fit, monkeypatch) -> None:
    monkeypatch.delenv("WANDB_MODE")
    folder = fit("--wandb=offline")
    (files,) = (folder / "wandb").glob("offline-run-*")
    assert files.name.endswith(folder.name)  # the W&B run has the run's id
    assert list(files.glob("*.wandb"))
    assert list(files.rglob("samples*.png"))
    assert wandb.run is None


def test_images_are_the_axis_and_validation_keeps_its_extremes(fit, monkeypatch) -> None:
    calls = []
    real = wandb.init

    def spied(**options):
        run = real(**{**options, "mode": "disabled"})
        monkeypatch.setattr(run, "define_metric", lambda *a, **k: calls.append((a, k)), raising=False)
        monkeypatch.setattr(run, "log", lambda metrics, *a, **k: calls.append(("log", metrics)), raising=False)
        return run

    monkeypatch.setattr(wandb, "init", spied)
    fit("--wandb=disabled")
    axes = {arguments[0]: options for arguments, options in calls if arguments != "log"}
    assert axes["*"]["step_metric"] == axes["val/*"]["step_metric"] == "images_seen"
    assert axes["val/*"]["summary"] == "min,max,last"
    assert list(axes).index("val/*") < list(axes).index("*")
    logged = [metrics for name, metrics in calls if name == "log"]
    assert all("images_seen" in metrics for metrics in logged)
    assert {"samples", "val/discriminator_loss", "train/generator_loss"} <= {key for one in logged for key in one}


@pytest.mark.parametrize(("broken", "ends"), [(["online"], "offline"), (["online", "offline"], "disabled")])
def test_training_goes_on_where_wandb_cannot_start(broken, ends, fit, monkeypatch) -> None:
    real, tried = wandb.init, []

    def unreachable(**options):
        tried.append(options["mode"])
        if options["mode"] in broken:
            raise wandb.errors.CommError("no route to host\nand many more lines")
        return real(**options)

    monkeypatch.setattr(wandb, "init", unreachable)
    monkeypatch.setattr("lit_gen.loggers._ask_server", lambda url: None)
    with pytest.warns(UserWarning, match="W&B could not start") as said:
        folder = fit("--wandb=online")
    assert rows(folder)[-1]["images_seen"] == "64"
    assert tried == [*broken, ends]
    told = [str(one.message) for one in said if "W&B" in str(one.message)]
    assert len(told) == len(broken) and "online (no route to host); training goes on" in told[0]


@pytest.mark.parametrize("asked_first", [True, False])
def test_an_unreachable_server_leaves_a_whole_offline_run(asked_first, monkeypatch, tmp_path: Path) -> None:
    """W&B's own service, which must not hold on to the id of the run that it could not begin."""
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # refuses at once
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    wandb.teardown()  # it keeps the environment that it began with
    logger = WandbRun(tmp_path, "project", "group", "run")
    if not asked_first:  # a server that answers at first, and then no more
        monkeypatch.setattr("lit_gen.loggers._ask_server", lambda url: None)
        logger._wandb_init["settings"].init_timeout = 0.5
    began = time.monotonic()
    with pytest.warns(UserWarning, match="W&B could not start online .*; training goes on") as said:
        logger.log_metrics({"a_loss": 12.625})
        logger.finish()
    wandb.teardown()
    assert time.monotonic() - began < 15
    assert len([one for one in said if "W&B" in str(one.message)]) == 1
    (data,) = tmp_path.glob("wandb/offline-run-*/run-run.wandb")
    assert data.parent == Path(logger.files())
    assert b"a_loss" in data.read_bytes() and b"12.625" in data.read_bytes()


LOGS_ON = """
import os, sys, time
from lit_gen.loggers import WandbRun
logger = WandbRun(sys.argv[1], "project", "group", "run", "offline")
logger.log_metrics({"a": 1.0})
os.system(f"pkill -9 -f -- --pid.{os.getpid()}")  # W&B's service process
time.sleep(0.5)
for i in range(200):
    logger.log_metrics({"a": float(i)})
logger.finish()
print("files:", logger.files())
"""


def test_the_death_of_wandbs_service_is_said_once(tmp_path: Path) -> None:
    alone = {name: value for name, value in os.environ.items() if "WANDB_SERVICE" not in name}  # not this process's
    ended = subprocess.run(
        [sys.executable, "-c", LOGS_ON, str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env=alone,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr and ended.stderr.count("UserWarning: W&B stopped answering") == 1
    assert ended.stdout.endswith("files: None\n")


def test_a_full_disk_is_said_once(tmp_path: Path, monkeypatch) -> None:
    logger = WandbRun(tmp_path, "project", "group", "run", "offline")
    logger.log_metrics({"a": 1.0})
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=0))
    with pytest.warns(UserWarning, match="W&B stopped answering") as said:
        handler = logging.getLogger("wandb").handlers[0]
        for _ in range(2):  # W&B's own log, whose handlers print tracebacks of what they cannot write
            try:
                raise OSError("full")
            except OSError:
                handler.handleError(None)
            logger.log_metrics({"a": 2.0})
    assert len(said) == 1 and logger.files() is None
    logger.finish()


def test_wandb_gets_the_whole_config(fit, monkeypatch, tmp_path: Path) -> None:
    seen = {}
    monkeypatch.setattr(WandbRun, "log_hyperparams", lambda self, params: seen.update(params))
    fit()
    assert seen["model"]["init_args"]["max_images"] == 64
    assert seen == {**seen, **yaml.safe_load((newest_run(tmp_path) / "config.yaml").read_text())}
