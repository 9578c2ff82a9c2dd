"""LoadWeights in runs: what training begins with, what a checkpoint keeps of it, what a resumed run does."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from common import newest_run

from lit_gen.__main__ import main

ONE = ["--model.max_images=16", "--data.batch_size=16"]


def with_source(source: Path | str, **options: object) -> list[str]:
    """Options that add LoadWeights to a run."""
    more = [f"--trainer.callbacks.{name}={json.dumps(value)}" for name, value in options.items()]
    return ["--trainer.callbacks+=LoadWeights", f"--trainer.callbacks.source={source}", *more]


def state(folder: Path) -> dict:
    return torch.load(folder / "last.ckpt", weights_only=True)


# The learning rate is zero: what is in the checkpoint is what training began with.
STILL = ["--model.generator_optimizer.lr=0", "--model.discriminator_optimizer.lr=0"]


def test_training_begins_with_the_sources_average_and_nothing_else_comes_along(trained: Path, fit: Callable) -> None:
    source, found = state(trained), state(fit(*ONE, *STILL, *with_source(trained)))
    for name, tensor in source["state_dict"].items():
        if name.startswith("generator_ema.") and "running" not in name and "num_batches" not in name:
            assert torch.equal(found["state_dict"][name.replace("_ema", "")], tensor), name
            assert torch.equal(found["state_dict"][name], tensor), name  # the average begins with what was loaded
        if name.startswith("discriminator."):
            assert torch.equal(found["state_dict"][name], tensor), name
    assert found["images_seen"] == 16
    assert {int(value["step"]) for value in found["optimizer_states"][0]["state"].values()} == {1}


def test_the_plan_is_in_the_folder_and_in_the_checkpoint(trained: Path, fit: Callable) -> None:
    folder = fit(*ONE, *with_source(trained / "last.ckpt", exclude=["discriminator.head"]))
    (plan,) = json.loads((folder / "transfer.json").read_text())
    (entry,) = json.loads((folder / "lineage.json").read_text())
    becomes = {row["name"]: row["status"] for row in plan["tensors"] if row["shape"] is not None}
    assert becomes["discriminator.head.weight"] == "kept as built"
    assert becomes["generator.head.weight"] == "copied"
    assert state(folder)["lineage"] == [entry]
    assert state(folder)["transfer"] == [plan]
    assert entry["run_id"] == trained.name and entry["images_seen"] == 64 and len(entry["sha256"]) == 64
    assert entry["plan"]["coverage"]["discriminator.head"] == 0


def test_a_chain_of_three_transfers_can_be_printed(
    trained: Path, fit: Callable, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [trained]
    for _ in range(3):
        folders.append(fit(*ONE, *with_source(folders[-1])))
    capsys.readouterr()
    main(["inspect", str(folders[-1])])
    said = capsys.readouterr().out
    places = [said.index(f"from {folder}") for folder in reversed(folders[:-1])]
    assert places == sorted(places)
    main(["inspect", f"--ckpt_path={folders[-1]}", "--json"])
    chain, depth = json.loads(capsys.readouterr().out)["lineage"], 0
    while chain:
        chain, depth = chain[0]["lineage"], depth + 1
    assert depth == 3


def test_a_resumed_run_keeps_its_own_weights_and_its_lineage(trained: Path, fit: Callable, tmp_path: Path) -> None:
    source = tmp_path / "source.ckpt"
    source.write_bytes((trained / "last.ckpt").read_bytes())
    folder = fit(*ONE, *with_source(source))
    lineage = state(folder)["lineage"]
    source.unlink()  # not needed any more
    moved = state(folder)["state_dict"]["generator.head.weight"]
    main(["fit", f"--config={folder / 'config.yaml'}", f"--ckpt_path={folder}", "--model.max_images=32",
          f"--trainer.default_root_dir={tmp_path}", *STILL])  # fmt: skip
    assert newest_run(tmp_path) == folder
    assert state(folder)["lineage"] == lineage and state(folder)["images_seen"] == 32
    assert state(folder)["state_dict"]["generator.head.weight"].shape == moved.shape
    assert not torch.equal(
        state(folder)["state_dict"]["generator.head.weight"], state(trained)["state_dict"]["generator_ema.head.weight"]
    )


def test_two_sources_one_after_the_other(trained: Path, fit: Callable) -> None:
    twice = [*with_source(trained, include=["generator"]), *with_source(trained, include=["discriminator"])]
    assert len(state(fit(*ONE, *twice))["lineage"]) == 2


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"include": ["generatr"]}, 'Did you mean "generator"'),
        ({"on_mismatch": "slize"}, "no policy"),
        ({"rename": {"^x": ""}}, "changes none"),
    ],
)
def test_mistakes_leave_nothing_behind(
    options: dict, says: str, trained: Path, refused: Callable[..., str], tmp_path: Path
) -> None:
    from common import GAN_MNIST, TINY

    root = tmp_path / "runs"
    line = [f"--config={GAN_MNIST}", f"--trainer.default_root_dir={root}", *TINY, *with_source(trained, **options)]
    assert says in refused("fit", *line)
    assert not list(root.rglob("*.*"))
    assert says in refused("plan", *line)


def test_another_family_and_a_lost_file(trained: Path, refused: Callable[..., str], tmp_path: Path) -> None:
    from common import REPOSITORY

    line = [f"--config={REPOSITORY / 'experiments' / 'vae_mnist5k.yaml'}", f"--trainer.default_root_dir={tmp_path}"]
    assert "none of its names is wanted by this VAE" in refused("fit", *line, *with_source(trained))
    assert "no checkpoint at" in refused("fit", *line, *with_source("lost.ckpt"))


def test_the_runs_own_output_is_no_source(
    trained: Path, fit: Callable, refused: Callable[..., str], tmp_path: Path
) -> None:
    from common import GAN_MNIST, TINY

    folder = fit(*ONE)
    line = [f"--config={GAN_MNIST}", f"--trainer.default_root_dir={tmp_path}", *TINY, f"--ckpt_path={folder}"]
    before = (folder / "last.ckpt").read_bytes()
    assert "this run's own output" in refused("fit", *line, *with_source(folder))
    assert (folder / "last.ckpt").read_bytes() == before


def test_plan_says_what_fit_will_do(trained: Path, fit: Callable, capsys: pytest.CaptureFixture[str]) -> None:
    from common import GAN_MNIST, TINY

    options = with_source(trained, exclude=["discriminator.head"])
    folder = fit(*ONE, *options)
    capsys.readouterr()
    main(["plan", f"--config={GAN_MNIST}", *TINY, *options, "--json"])
    assert json.loads(capsys.readouterr().out) == json.loads((folder / "transfer.json").read_text())
    main(["plan", f"--config={GAN_MNIST}", *TINY, *options])
    said = capsys.readouterr().out
    assert "discriminator.head.weight" in said and "kept as built" in said and "100.0%" in said


def test_a_plan_of_no_transfer(refused: Callable[..., str]) -> None:
    from common import GAN_MNIST

    assert "transfers nothing" in refused("plan", f"--config={GAN_MNIST}")


def test_inspect_shows_names_shapes_settings_and_metrics(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["inspect", f"--ckpt_path={trained}"])
    said = capsys.readouterr().out
    for part in ("generator.blocks.0.0.weight", "(256, 16)", "64 images seen", "latent_dim: 16", "val/real_accuracy"):
        assert part in said, part


def test_wandb_offline_has_the_source_in_its_config_and_the_checkpoint_as_artifact(
    trained: Path, fit: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    import wandb

    monkeypatch.setenv("WANDB_MODE", "offline")
    logged = []
    from wandb.sdk.wandb_run import Run

    monkeypatch.setattr(Run, "log_artifact", lambda run, artifact, **_: logged.append((artifact, dict(run.config))))
    folder = fit(*ONE, *with_source(trained), "--wandb=offline")
    ((artifact, config),) = [found for found in logged if found[0].type == "model"]
    assert isinstance(artifact, wandb.Artifact)
    assert list(artifact.manifest.entries) == ["last.ckpt"]
    (entry,) = json.loads((folder / "lineage.json").read_text())
    assert config["transfer_from"][entry["sha256"][:12]]["sha256"] == entry["sha256"]
    assert artifact.metadata == {"sources": [entry["sha256"]]}


def test_wandb_online_takes_the_source_as_an_input_artifact(tmp_path: Path) -> None:
    """What is asked of W&B's run, on a stand-in: there is no server here."""
    from unittest.mock import MagicMock

    from lit_gen.loggers import WandbRun

    logger = WandbRun(tmp_path, "project", "group", "run", "disabled")
    logger._experiment = run = MagicMock(offline=False, disabled=False, id="run")
    run.config.get.return_value = None
    entry = {"path": "a.ckpt", "sha256": "12" * 32, "lineage": [{"path": "b.ckpt"}]}
    logger.log_transfer(entry, [["generator.weight", "(1)", "(1)", "copied"]])
    (artifact,), _ = run.use_artifact.call_args
    assert artifact.type == "model" and artifact.metadata["sha256"] == entry["sha256"]
    run.offline = True
    run.use_artifact.reset_mock()
    logger.log_transfer(entry, [])
    run.use_artifact.assert_not_called()


def test_mistakes_in_the_list_of_callbacks_leave_nothing_behind(
    trained: Path, refused: Callable[..., str], tmp_path: Path
) -> None:
    from common import GAN_MNIST, TINY

    line = ["fit", f"--config={GAN_MNIST}", f"--trainer.default_root_dir={tmp_path / 'runs'}", *TINY, *ONE]
    assert "found 'LoadWeights from" in refused(*line, *with_source(trained), *with_source(trained))
    assert "LoadWeights stands behind it" in refused(*line, "--trainer.callbacks+=L2SP", *with_source(trained))
    assert not (tmp_path / "runs").exists()


def test_no_run_goes_on_from_a_file_without_optimizers(
    trained: Path, fit: Callable, refused: Callable[..., str], tmp_path: Path
) -> None:
    from common import GAN_MNIST, TINY

    main(["publish", str(trained), f"--out={tmp_path / 'small.ckpt'}"])
    message = refused("fit", f"--config={GAN_MNIST}", *TINY, f"--ckpt_path={tmp_path / 'small.ckpt'}")
    assert "has no optimizers" in message and "LoadWeights" in message
    assert not list(tmp_path.glob(".*"))
