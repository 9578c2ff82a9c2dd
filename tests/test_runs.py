"""One folder per run: what is in it, how a run goes on, and where `last` leads."""

from __future__ import annotations

import csv
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from common import GAN_MNIST, MEASURED, REPOSITORY, TINY, newest_run
from lightning.pytorch import Callback

from lit_gen.__main__ import main
from lit_gen.metrics.report import Report
from lit_gen.run_folder import Record, newest


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def checkpoint(folder: Path) -> dict:
    return torch.load(folder / "last.ckpt", weights_only=True)


def unfinish(folder: Path) -> None:
    """As if the run had been killed after its last checkpoint."""
    record = Record.read(folder)
    record.status = "running"
    record.write(folder)


def test_a_run_has_everything_in_its_folder(trained: Path) -> None:
    assert trained.parent.name == "gan_mnist5k"
    names = {path.name for path in trained.iterdir()}
    assert names >= {"config.yaml", "last.ckpt", "metrics.csv", "run.json", "samples"}
    assert [path.name for path in (trained / "samples").iterdir()] == ["images_000000064.png"]
    assert Record.read(trained) == Record("gan_mnist5k", 0, "finished", 64)
    written = rows(trained)
    assert [row["images_seen"] for row in written] == ["32", "64"]
    assert {"train/discriminator_loss", "train/generator_loss", "train/images_per_second", "val/real_accuracy"} <= set(
        written[0]
    )
    assert float(written[-1]["val/discriminator_loss"]) > 0


def test_the_written_config_repeats_the_run(trained: Path, tmp_path: Path) -> None:
    config = yaml.safe_load((trained / "config.yaml").read_text())
    assert config["model"]["class_path"] == "lit_gen.models.gan.GAN"
    assert config["model"]["init_args"]["max_images"] == 64
    assert "ckpt_path" not in config
    main(["fit", f"--config={trained / 'config.yaml'}", f"--trainer.default_root_dir={tmp_path}"])
    again, first = checkpoint(newest_run(tmp_path)), checkpoint(trained)
    for name, value in first["state_dict"].items():
        torch.testing.assert_close(again["state_dict"][name], value, rtol=0, atol=0)


def test_training_ends_by_saying_where_everything_is(fit, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        folder = fit()
    lines = caplog.records[-1].getMessage().splitlines()
    assert len(lines) == 3
    assert lines[0].split()[:2] == ["samples:", f"{folder}/samples/"]
    assert lines[1].split()[:2] == ["checkpoint:", f"{folder}/last.ckpt"]
    assert str(folder) in lines[2]


def test_last_goes_on_with_the_unfinished_run(fit, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = fit()
    unfinish(folder)
    before, config = rows(folder), (folder / "config.yaml").read_text()
    with caplog.at_level(logging.INFO):
        assert fit("--ckpt_path=last", "--model.max_images=128") == folder
    assert f"Going on from {folder / 'last.ckpt'}." in caplog.text
    assert checkpoint(folder)["images_seen"] == 128
    assert (folder / "config.yaml").read_text() == config
    after = rows(folder)
    assert [row["images_seen"] for row in after] == ["32", "64", "96", "128"]
    assert [row["train/generator_loss"] for row in after[:2]] == [row["train/generator_loss"] for row in before]
    assert Record.read(folder).status == "finished"
    assert len(list(tmp_path.glob("gan_mnist5k/*"))) == 1


def test_a_resumed_run_drops_the_rows_after_its_checkpoint(fit) -> None:
    folder = fit()
    unfinish(folder)
    with (folder / "metrics.csv").open("a") as file:
        file.write("96,5\n")  # written after the last checkpoint, before the kill
    fit("--ckpt_path=last", "--model.max_images=160")
    assert [row["images_seen"] for row in rows(folder)] == ["32", "64", "96", "128", "160"]
    assert all(row["train/generator_loss"] for row in rows(folder))


def test_a_resumed_run_keeps_its_seed_and_says_what_is_other_than_it_was(fit) -> None:
    folder = fit()
    written = (folder / "config.yaml").read_text()
    other = ["--seed_everything=7", "--model.generator_optimizer.lr=0.5"]
    with pytest.warns(UserWarning, match="other settings.*seed_everything: 7 .it was 0.; .*lr: 0.5 .it was 0.001."):
        fit(f"--ckpt_path={folder}", "--model.max_images=96", *other)
    assert Record.read(folder).seed == 0 and checkpoint(folder)["run"]["seed"] == 0
    assert checkpoint(folder)["optimizer_states"][0]["param_groups"][0]["lr"] == 0.001
    assert (folder / "config.yaml").read_text() == written


def test_a_run_that_goes_on_as_it_was_is_not_warned(fit, recwarn: pytest.WarningsRecorder) -> None:
    folder = fit()
    fit(f"--ckpt_path={folder}", "--model.max_images=96")
    assert not [one for one in recwarn if "other settings" in str(one.message)]


def test_another_optimizer_than_the_checkpoints_is_refused(refused, fit) -> None:
    folder = fit()
    options = [f"--ckpt_path={folder}", "--model.max_images=96", "--model.generator_optimizer=torch.optim.SGD"]
    before = (folder / "metrics.csv").read_bytes(), (folder / "last.ckpt").read_bytes()
    message = refused("fit", f"--config={GAN_MNIST}", *TINY, *options, "--model.generator_optimizer.lr=0.1")
    assert "holds the state of another optimizer: SGD expects dampening, momentum" in message
    assert ((folder / "metrics.csv").read_bytes(), (folder / "last.ckpt").read_bytes()) == before


def test_lightnings_own_checkpoints_come_beside_that_of_the_run(fit) -> None:
    folder = fit("--trainer.callbacks+=lightning.pytorch.callbacks.ModelCheckpoint")
    assert checkpoint(folder)["images_seen"] == 64


def test_last_starts_afresh_where_nothing_is_unfinished(fit, tmp_path: Path, caplog) -> None:
    finished = fit()
    with caplog.at_level(logging.INFO):
        assert fit("--ckpt_path=last") != finished
    assert "starting afresh" in caplog.text
    unfinish(finished)
    other_seed = fit("--ckpt_path=last", "--seed_everything=1")
    assert other_seed != finished
    assert Record.read(other_seed).seed == 1
    assert newest(tmp_path, "gan_mnist5k", seed=0, unfinished=True) == finished


def test_a_named_checkpoint_goes_on_in_its_own_folder(fit) -> None:
    folder = fit()
    assert fit(f"--ckpt_path={folder}", "--model.max_images=96") == folder
    assert checkpoint(folder)["images_seen"] == 96


def test_a_finished_run_that_is_not_made_longer_is_left_alone(refused, trained: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in trained.iterdir() if path.is_file()}
    message = refused("fit", f"--config={GAN_MNIST}", *TINY, f"--ckpt_path={trained}")
    assert "has seen 64 images, model.max_images is 64: there is nothing left to do" in message
    assert "--model.max_images 128" in message
    assert {path: path.read_bytes() for path in trained.iterdir() if path.is_file()} == before


def test_a_foreign_file_in_the_place_of_the_last_checkpoint_is_passed_over(fit, tmp_path: Path) -> None:
    folder = fit()
    unfinish(folder)
    (folder / "last.ckpt").replace(folder / "last.previous.ckpt")
    torch.save([1, 2], folder / "last.ckpt")
    with pytest.warns(UserWarning, match="holds no Lightning checkpoint.* Taking the checkpoint before it"):
        assert fit("--ckpt_path=last", "--model.max_images=96") == folder
    assert checkpoint(folder)["images_seen"] == 96


def test_the_experiment_can_be_named(fit) -> None:
    assert fit("--experiment=thin_digits").parent.name == "thin_digits"


def test_test_writes_below_the_run(fit, capsys) -> None:
    folder = fit()
    root = folder.parents[1]
    options = [*TINY, *MEASURED, "--ckpt_path=last"]
    main(["test", f"--config={GAN_MNIST}", f"--trainer.default_root_dir={root}", *options])
    (row,) = rows(folder / "test")
    assert row["images_seen"] == "64"
    assert 0 <= float(row["test/real_accuracy"]) <= 1
    assert [line["images_seen"] for line in rows(folder)] == ["32", "64"]
    report, said = Report.read(folder / "test"), capsys.readouterr().out
    assert (report.n_fake, report.n_real, report.images_seen, report.split) == (70, 500, 64, "test")
    assert set(report.references) == {"real train images", "blurred real images", "noise"}
    assert "discriminator_loss" in report.own
    for estimate in report.estimates:
        assert float(row[f"test/{estimate.key}"]) == estimate.value
        assert estimate.name in said
    assert "70 generated images (seed 0) against 500 held-out test images, by tiny" in said
    page = (folder / "test" / "report.html").read_text()
    assert all(part in page for part in ("Nearest neighbours", "Real and generated", "Precision and recall", "Samples"))


def test_best_is_a_checkpoint_too(fit, refused, without_pages: None) -> None:
    folder = fit(*MEASURED, "--trainer.callbacks.every=32")
    options = [f"--config={GAN_MNIST}", f"--trainer.default_root_dir={folder.parents[1]}", *TINY, *MEASURED]
    main(["test", *options, "--ckpt_path=best"])
    assert Report.read(folder / "test_best").checkpoint == str(folder / "best.ckpt")
    (folder / "best.ckpt").unlink()
    assert f"No checkpoint at {folder / 'best.ckpt'}" in refused("test", *options, "--ckpt_path=best")


def test_a_report_that_could_not_be_written_is_not_computed(fit, refused) -> None:
    folder = fit()
    (folder / "test").write_text("in the way")
    options = [f"--config={GAN_MNIST}", f"--trainer.default_root_dir={folder.parents[1]}", *TINY, *MEASURED]
    assert f"{folder / 'test'} cannot be made" in refused("test", *options, "--ckpt_path=last")


def test_a_killed_run_goes_on_by_the_same_command(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "lit_gen",
        "fit",
        f"--config={GAN_MNIST}",
        f"--trainer.default_root_dir={tmp_path}",
    ]
    command += [*TINY, "--ckpt_path=last", "--trainer.callbacks+=LastCheckpoint", "--trainer.callbacks.every=32"]
    process = subprocess.Popen([*command, "--model.max_images=1_000_000_000"], cwd=REPOSITORY, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("*/*/last.ckpt")) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)  # waits for the other process, not for a duration
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    (folder,) = tmp_path.glob("gan_mnist5k/*")
    seen = checkpoint(folder)["images_seen"]
    assert Record.read(folder).status == "running"
    main([*command[3:], f"--model.max_images={seen + 64}"])
    assert newest_run(tmp_path) == folder
    assert checkpoint(folder)["images_seen"] == seen + 64
    counts = [int(row["images_seen"]) for row in rows(folder)]
    assert counts == sorted(set(counts))
    assert not list(folder.glob("*.writing"))


class Interrupts(Callback):
    """Ctrl-C after three batches."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        if pl_module.images_seen == 48:
            os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_keeps_what_was_learnt(fit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lit_gen.cli.LitGenCLI._callbacks", _with(Interrupts()))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    try:
        with pytest.raises(SystemExit) as ended:
            fit()
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended.value.code == 130
    monkeypatch.undo()
    folder = newest_run(tmp_path)
    assert checkpoint(folder)["images_seen"] == 48
    record = Record.read(folder)
    assert (record.status, record.images_seen) == ("interrupted", 48)
    assert record.stopped.startswith("stopped by SIGINT after 48 images")
    assert fit("--ckpt_path=last") == folder
    assert Record.read(folder) == Record("gan_mnist5k", 0, "finished", 64)
    assert checkpoint(folder)["images_seen"] == 64


def _with(callback: Callback):
    from lit_gen.cli import LitGenCLI

    own = LitGenCLI._callbacks
    return lambda self, *given: [*own(self, *given), callback]


def test_a_run_that_time_cut_short_is_gone_on_with(fit) -> None:
    folder = fit("--trainer.max_epochs=1", "--trainer.limit_train_batches=2")
    assert Record.read(folder) == Record("gan_mnist5k", 0, "running", 32)
    assert fit("--ckpt_path=last", "--trainer.max_epochs=-1") == folder
    assert Record.read(folder) == Record("gan_mnist5k", 0, "finished", 64)


def test_the_written_config_keeps_the_experiments_name(trained: Path) -> None:
    assert yaml.safe_load((trained / "config.yaml").read_text())["experiment"] == "gan_mnist5k"


def test_resuming_without_ema_says_that_the_average_stays(fit) -> None:
    folder = fit()
    with pytest.warns(UserWarning, match="generator_ema, but no EMA is among the callbacks"):
        fit(f"--ckpt_path={folder}", "--model.max_images=96", "--trainer.callbacks=null")


def test_fast_dev_run_writes_nothing(tmp_path: Path) -> None:
    main(["fit", f"--config={GAN_MNIST}", f"--trainer.default_root_dir={tmp_path}", *TINY, "--trainer.fast_dev_run=2"])
    assert not list(tmp_path.rglob("*.*"))
