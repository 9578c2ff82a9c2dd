"""A run that is told to stop: whole batches in its checkpoint, the status that shells expect, the truth in run.json."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from common import GAN_MNIST, MEASURED, TINY
from interruptions import rows
from two_ranks import arguments, environment
from warm import Warm

from lit_gen.run_folder import Record, newest

ENDLESS = [
    "--model.max_images=1_000_000_000",
    "--trainer.log_every_n_steps=1",
    "--trainer.check_val_every_n_epoch=1000",
]
FIT = ["fit", f"--config={GAN_MNIST}", *TINY, *ENDLESS]
STATUS = {signal.SIGTERM: 143, signal.SIGINT: 130}


def run_of(root: Path) -> Path:
    (found,) = (root / "checkpoints" / "gan_mnist5k").iterdir()
    return found


def has_rows(root: Path) -> bool:
    return any(path.stat().st_size > 2_000 for path in root.glob("checkpoints/*/*/metrics.csv"))


def wait_for(condition: Callable[[], bool]) -> None:
    """Polls another process; a duration is not what is waited for."""
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def stopped(root: Path) -> tuple[Path, dict]:
    """The run and its checkpoint, which hold whole steps alone and every row up to the last."""
    folder = run_of(root)
    held = torch.load(folder / "last.ckpt", weights_only=True)
    images, record = held["images_seen"], Record.read(folder)
    batch = 16 * len(held["random_streams"])
    assert images % batch == 0
    assert (record.status, record.images_seen) == ("interrupted", images)
    steps = {int(state["step"]) for net in held["optimizer_states"] for state in net["state"].values()}
    assert steps == {images // batch}  # of both networks
    with (folder / "metrics.csv").open(newline="") as file:
        assert [int(row["images_seen"]) for row in csv.DictReader(file)] == list(range(batch, images + 1, batch))
    return folder, held


@pytest.mark.parametrize("signum", STATUS)
def test_a_signal_ends_a_run_after_its_batch(signum: signal.Signals, tmp_path: Path, warm: Warm) -> None:
    command = warm(tmp_path, *FIT)
    wait_for(lambda: has_rows(tmp_path))
    sent = time.time()
    command.send(signum)
    assert command.status() == STATUS[signum]
    folder, held = stopped(tmp_path)
    assert (folder / "last.ckpt").stat().st_mtime - sent < 10
    assert Record.read(folder).stopped.startswith(f"stopped by {signum.name} after {held['images_seen']:,} images")
    assert command.said.count("lit_gen: stopped by") == 1
    assert "Traceback" not in command.said


def test_before_training_a_signal_ends_it_at_once(tmp_path: Path, warm: Warm) -> None:
    command = warm(tmp_path, *FIT, before=("rehearsals:stop_in", "lightning.pytorch.trainer.call:_call_setup_hook"))
    assert command.status() == 143
    assert command.said.splitlines()[-1] == "lit_gen: stopped by SIGTERM."
    assert not list(tmp_path.glob("checkpoints/*/*"))


def test_a_second_signal_does_not_wait_for_the_batch(tmp_path: Path, warm: Warm) -> None:
    command = warm(tmp_path, *FIT, before=("rehearsals:stop_in", "lit_gen.models.gan:GAN.training_step", 2))
    assert command.status() == 143
    assert command.said.splitlines()[-1] == "lit_gen: stopped by SIGTERM."
    assert Record.read(run_of(tmp_path)).status == "interrupted"
    assert not (run_of(tmp_path) / "last.ckpt").exists()  # there was nothing but half a step


def test_two_processes_stop_together_when_one_is_told(tmp_path: Path) -> None:
    """By the command line, whose second process Lightning starts; only the first gets the signal."""
    command = [sys.executable, "-m", "lit_gen", *arguments(*FIT[1:])]
    process = subprocess.Popen(command, env=environment(), cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: has_rows(tmp_path) or process.poll() is not None)
    sent = time.time()
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 143, said[-3000:]
    folder, held = stopped(tmp_path)
    assert (folder / "last.ckpt").stat().st_mtime - sent < 10
    assert len(held["random_streams"]) == 2
    assert said.count("lit_gen: stopped by SIGTERM") == 1
    assert "Traceback" not in said
    assert newest(tmp_path / "checkpoints", "gan_mnist5k", seed=0, unfinished=True) == folder


def test_a_full_disk_ends_a_run_with_one_message(tmp_path: Path, warm: Warm) -> None:
    often = ["--trainer.callbacks+=LastCheckpoint", "--trainer.callbacks.every=16"]
    command = warm(tmp_path, *FIT, *often, before=("rehearsals:fill_the_disk", 2))
    assert command.status() == 2
    folder = run_of(tmp_path)
    said = command.said[command.said.index("lit_gen: ") :]
    assert said.startswith(f"lit_gen: {folder / 'last.ckpt'} cannot be written (File too large); the checkpoint before")
    assert "Traceback" not in command.said
    assert torch.load(folder / "last.ckpt", weights_only=True)["images_seen"] == 32
    assert (Record.read(folder).status, Record.read(folder).images_seen) == ("failed", 48)
    assert not list(folder.glob(".*.writing"))
    again = warm(tmp_path, *FIT, "--ckpt_path=last", "--model.max_images=64")
    assert again.status() == 0
    assert Record.read(folder) == Record("gan_mnist5k", 0, "finished", 64)


def test_a_run_that_is_being_trained_is_not_resumed_by_another(tmp_path: Path, warm: Warm, refused) -> None:
    often = ["--trainer.callbacks+=LastCheckpoint", "--trainer.callbacks.every=16"]
    command = warm(tmp_path, *FIT, *often)
    wait_for(lambda: bool(list(tmp_path.glob("checkpoints/*/*/last.ckpt"))))
    root = f"--trainer.default_root_dir={tmp_path / 'checkpoints'}"
    message = refused(*FIT, root, "--ckpt_path=last")
    assert f"{run_of(tmp_path)} is being trained already, by process {command.pid}" in message
    command.send(signal.SIGKILL)
    assert command.status() == -signal.SIGKILL
    again = warm(tmp_path, *FIT, "--ckpt_path=last", "--model.max_images=64")
    assert again.status() == 0


def test_last_goes_on_from_the_one_before_where_the_last_is_damaged(fit, tmp_path: Path, caplog) -> None:
    often = ["--trainer.callbacks+=LastCheckpoint", "--trainer.callbacks.every=32"]
    folder = fit(*often)
    record = Record.read(folder)
    record.status = "running"
    record.write(folder)
    with (folder / "last.ckpt").open("r+b") as file:
        file.seek(1000)
        file.write(b"\xff\x00\xff")
    with pytest.warns(UserWarning, match="its checksum does not fit what it holds. Taking the checkpoint before it"):
        assert fit(*often, "--ckpt_path=last", "--model.max_images=96") == folder
    assert torch.load(folder / "last.ckpt", weights_only=True)["images_seen"] == 96


SLURM = {
    "SLURM_JOB_NAME": "train", "SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0",
}  # fmt: skip


def job(folder: Path, number: int) -> dict[str, str]:
    """The environment of a SLURM job of one process; its `scontrol` writes down what it is asked for."""
    (folder / "bin").mkdir(exist_ok=True)
    control = folder / "bin" / "scontrol"
    control.write_text(f'#!/bin/sh\necho "$@" >> {folder}/asked.txt\n')
    control.chmod(0o755)
    return {**SLURM, "SLURM_JOB_ID": str(number), "PATH": f"{control.parent}:{os.environ['PATH']}"}


def test_slurm_requeues_a_job_and_no_other_job_goes_on_from_its_checkpoint(tmp_path: Path, warm: Warm) -> None:
    between = ("rehearsals:stop_in", "torch.optim.adam:Adam.step", 1, 6, signal.SIGUSR1)  # the two updates of batch 3
    command = warm(tmp_path, *FIT, before=between, env=job(tmp_path, 11))
    wait_for(lambda: (tmp_path / "asked.txt").exists())
    command.send(signal.SIGKILL)
    command.status()
    assert (tmp_path / "asked.txt").read_text() == "requeue 11\n"
    folder = run_of(tmp_path)
    assert Record.read(folder).job == "11"
    held = torch.load(folder / "hpc_ckpt_1.ckpt", weights_only=True)
    steps = {int(state["step"]) for net in held["optimizer_states"] for state in net["state"].values()}
    assert held["images_seen"] == 48
    assert steps == {3}
    other = warm(tmp_path, *FIT, "--model.max_images=32", env=job(tmp_path, 12))
    assert other.status() == 0
    assert "going on" not in other.said.lower()
    assert len(list(folder.parent.iterdir())) == 2
    end = held["images_seen"] + 32
    again = warm(tmp_path, *FIT, f"--model.max_images={end}", env=job(tmp_path, 11))
    assert again.status() == 0
    assert f"SLURM has requeued this job: going on from {folder / 'hpc_ckpt_1.ckpt'}" in again.said
    assert Record.read(folder) == Record("gan_mnist5k", 0, "finished", end, job="11")
    with (folder / "metrics.csv").open(newline="") as file:
        assert [int(row["images_seen"]) for row in csv.DictReader(file)] == list(range(16, end + 1, 16))


def test_a_signal_puts_a_measurement_off_to_the_run_that_goes_on(tmp_path: Path, warm: Warm) -> None:
    """As many rows and the same numbers as without a signal, which falls into the second measurement."""
    measured = [*MEASURED, "--trainer.callbacks.every=32", '--trainer.callbacks.metrics=["KID"]']
    options = [*FIT, "--allow=tiny_extractor", *measured, "--model.max_images=64", "--ckpt_path=last"]
    (tmp_path / "whole").mkdir()
    assert warm(tmp_path / "whole", *options).status() == 0
    stop = ("rehearsals:stop_in", "lit_gen.callbacks.evaluation:Evaluation.measure", 1, 2)
    assert warm(tmp_path, *options, before=stop).status() == 143
    folder = run_of(tmp_path)
    assert torch.load(folder / "last.ckpt", weights_only=True)["images_seen"] == 32
    assert not rows(folder)[-1]["val/kid_tiny"]
    assert warm(tmp_path, *options).status() == 0
    assert rows(folder) == rows(run_of(tmp_path / "whole"))
    assert sum(bool(row["val/kid_tiny"]) for row in rows(folder)) == 3
