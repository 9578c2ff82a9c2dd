"""Files that are out to do harm: no code runs, nothing is written outside, one message, status 2."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import hostile
import pytest
import torch
import yaml
from bounded import bounded
from common import GAN_MNIST, REPOSITORY, TINY

import lit_gen
from lit_gen.__main__ import main
from lit_gen.errors import UserError
from lit_gen.yaml_files import load_yaml

FIT = [f"--config={GAN_MNIST}", "--trainer.default_root_dir=runs", *TINY]
LOAD = ["--trainer.callbacks+=LoadWeights", "--trainer.callbacks.source=nowhere.ckpt"]
STRUCTURE = "--model.generator={class_path: FromCheckpoint, init_args: {source: FILE, module: generator}}"
# Each reads the whole checkpoint, and looks at the recipes in it.
REBUILD = {
    "predict": ["predict", "FILE", "--n=2"],
    "merge": ["merge", "FILE"],
    "publish": ["publish", "FILE", "out.ckpt"],
}
# One of each kind of reader that parses a whole configuration first, which takes longer.
RUN = {
    "fit --ckpt_path": ["fit", *FIT, "--ckpt_path=FILE"],
    "test --ckpt_path": ["test", *FIT, "--ckpt_path=FILE"],
    "fit --source": ["fit", *FIT, *LOAD, "--source=FILE"],
    "plan --source": ["plan", *FIT, *LOAD, "--source=FILE"],
    "FromCheckpoint": ["fit", *FIT, STRUCTURE],
    "compare": ["compare", "FILE", "FILE", "--n=4"],
}


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where a payload would leave its mark; the foreign package lies on the path, as one that is installed would."""
    folder = hostile.foreign_module(tmp_path_factory.mktemp("outside"))
    sys.path.append(str(folder))
    yield folder
    sys.path.remove(str(folder))


@pytest.fixture(scope="module")
def corpus(trained: Path, outside: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("corpus")
    return hostile.checkpoints(folder, trained / "last.ckpt", outside) | hostile.safetensors(folder)


@pytest.fixture
def harmless(
    refused: Callable[..., str], outside: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., str]:
    """harmless("predict", ...) is refused, and nothing ran or was written; returns the message."""
    monkeypatch.chdir(tmp_path)

    def check(*args: str) -> str:
        before = [*tmp_path.rglob("*")]
        message = refused(*args)
        untouched(outside)
        assert [*tmp_path.rglob("*")] == before
        return message

    return check


def untouched(outside: Path) -> None:
    assert [path.name for path in outside.iterdir()] == ["foreign.py"], "a payload ran"
    assert "foreign" not in sys.modules


@pytest.mark.parametrize("command", REBUILD)
def test_no_hostile_checkpoint_is_rebuilt(command: str, corpus: dict[str, Path], harmless: Callable[..., str]) -> None:
    for name, file in corpus.items():
        message = harmless(*(word.replace("FILE", str(file)) for word in REBUILD[command]))
        assert str(file) in message or "adapters" in name, message


def test_inspect_shows_or_refuses(corpus: dict[str, Path], outside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a recipe names is shown, and nothing is made of it."""
    shown = []
    for name, file in corpus.items():
        try:
            main(["inspect", str(file)])
            shown.append(name)
        except SystemExit as ended:
            assert ended.code == 2
    untouched(outside)
    assert "Traceback" not in capsys.readouterr().err
    assert all(word in " ".join(shown) for word in ("foreign model", "foreign network"))
    assert not {"code by os.system", "dicts that double", "zip bomb", "header of 4 GB"} & {*shown}


@pytest.mark.parametrize("command", RUN)
def test_no_command_runs_the_code_of_a_pickle(command: str, corpus: dict[str, Path], harmless: Callable) -> None:
    harmless(*(word.replace("FILE", str(corpus["code by os.system"])) for word in RUN[command]))


def test_a_configuration_cannot_trust_a_pickle(corpus: dict[str, Path], harmless: Callable, tmp_path: Path) -> None:
    given = {"source": str(corpus["code by os.system"]), "trust": True}
    config = tmp_path / "trusting.yaml"
    for text in (
        {"trainer": {"callbacks": [{"class_path": "LoadWeights", "init_args": given}]}},
        {"trainer": {"callbacks": [{"class_path": "LoadWeights", "init_args": given}]}, "trust": True},
    ):
        config.write_text(json.dumps(text))
        assert "only you can say so" in harmless("fit", *FIT, f"--config={config}")


@pytest.mark.parametrize("command", ["fit --ckpt_path", "test --ckpt_path", "FromCheckpoint"])
def test_no_command_imports_what_a_recipe_names(command: str, corpus: dict[str, Path], harmless: Callable) -> None:
    message = harmless(*(word.replace("FILE", str(corpus["foreign network"])) for word in RUN[command]))
    assert "foreign.Net" in message
    assert "--allow foreign" in message


@pytest.mark.parametrize("name", ["string of 4 GB", "storage of 4 GB", "zip bomb", "giant network"])
def test_memory_is_bounded(name: str, corpus: dict[str, Path], tmp_path: Path) -> None:
    ended = bounded(lambda: main(["predict", str(corpus[name]), "--n=2"]), tmp_path, memory=2**29)
    assert ended.status == 2, ended.said
    assert ended.said.count("lit_gen: ") == 1


def test_a_checkpoint_sends_its_reader_to_no_strange_address(corpus: dict[str, Path], harmless: Callable) -> None:
    message = harmless("predict", str(corpus["adapters of a strange address"]))
    assert "names the address reference::" in message
    assert "expected one of https://" in message


def test_a_notebook_is_told_as_well(corpus: dict[str, Path], outside: Path) -> None:
    with pytest.raises(UserError, match=r'lit_gen.allow\("foreign"\)'):
        lit_gen.load(corpus["foreign model"])
    untouched(outside)


def test_a_state_that_no_run_can_be_brought_back_to(trained: Path, harmless: Callable, tmp_path: Path) -> None:
    state = torch.load(trained / "last.ckpt", weights_only=True)
    torch.save({**state, "loops": {"fit_loop": 5}}, tmp_path / "loops.ckpt")
    more = "--model.max_images=96"
    for number, (name, value, words) in enumerate([
        ("images_seen", -5, "has seen -5 images"),
        ("images_seen", 10**30, "images, expected a count"),
        ("optimizer_states", [], "has no optimizers"),
    ]):  # fmt: skip
        torch.save({**state, name: value}, tmp_path / f"{number}.ckpt")
        assert words in harmless("fit", *FIT, more, f"--ckpt_path={tmp_path / f'{number}.ckpt'}")
    assert "cannot be brought back" in harmless("fit", *FIT, more, f"--ckpt_path={tmp_path / 'loops.ckpt'}")


CLASSES = {
    "model": ["--model=foreign.Model"],
    "data": ["--data=foreign.Data"],
    "network": ["--model.generator=foreign.Net"],
    "callback": ["--trainer.callbacks+=foreign.Watch"],
    "module of ours that holds another": ["--model.generator=lit_gen.files.os.system"],
    "process": ["--model.generator_optimizer=subprocess.Popen"],
    "data set": ["--data=TorchvisionImages", "--data.dataset=foreign.Data"],
    "help": ["--model.help=foreign.Model"],
}


@pytest.mark.parametrize("what", CLASSES)
def test_no_configuration_imports_a_foreign_package(what: str, harmless: Callable[..., str]) -> None:
    message = harmless("fit", *FIT, *CLASSES[what])
    assert "--allow" in message


def test_a_class_has_to_be_of_the_kind_that_the_argument_says(harmless: Callable[..., str]) -> None:
    assert "is no LightningModule" in harmless("fit", *FIT, "--model=torch.utils.data.TensorDataset")
    assert "there is no data set" in harmless("fit", *FIT, "--data=TorchvisionImages", "--data.dataset=torch.nn.Linear")


def test_a_package_of_ones_own_is_allowed_on_the_command_line(
    fit: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_package.py").write_text("from lightning.pytorch import Callback\nclass Watch(Callback): pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("datamodules.packages.extended", [])
    run = fit("--allow", "my_package", "--trainer.callbacks+=my_package.Watch")
    assert "my_package.Watch" in (run / "config.yaml").read_text()


@pytest.mark.parametrize("name", ["", "../evil", "jsonargparse", "a b"])
def test_what_cannot_be_allowed(name: str, harmless: Callable[..., str]) -> None:
    assert "--allow: found" in harmless("fit", *FIT, f"--allow={name}")


@pytest.mark.parametrize("name", hostile.YAMLS)
def test_no_yaml_grows(name: str, harmless: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "hostile.yaml").write_text(hostile.YAMLS[name])
    message = harmless("fit", "--config=hostile.yaml")
    assert "hostile.yaml is not valid YAML" in message or "hostile.yaml holds no settings" in message


def test_a_yaml_inside_another_is_bounded_as_well(harmless: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "network.yaml").write_text(hostile.laughs())
    harmless("fit", *FIT, "--model.generator=network.yaml")
    with pytest.raises(yaml.YAMLError, match="anchors"):
        load_yaml(hostile.laughs())


def test_a_benchmark_file_names_no_foreign_class_and_no_place(harmless: Callable[..., str], tmp_path: Path) -> None:
    file = tmp_path / "bench.yaml"
    text = (REPOSITORY / "experiments" / "benchmarks" / "few_silhouettes.yaml").read_text()
    told = yaml.safe_load(text)
    told["methods"] = {"../../evil": next(iter(told["methods"].values()))}
    file.write_text(yaml.safe_dump(told))
    assert "is no plain folder name" in harmless("benchmark", "bench.yaml", "--dry_run")
    told = yaml.safe_load(text)
    next(iter(told["data"].values()))["class_path"] = "foreign.Data"
    file.write_text(yaml.safe_dump(told))
    monkey = harmless("benchmark", "bench.yaml", "--dry_run")
    assert "--allow foreign" in monkey or "there is no" in monkey


@pytest.mark.parametrize("name", ["..", ".", "../evil", "/tmp/evil", "a/b", "a\x1b[2J", "x" * 300])
def test_an_experiment_stays_below_its_root(name: str, harmless: Callable[..., str]) -> None:
    assert "no plain folder name" in harmless("fit", *FIT, f"--experiment={name}")


def test_links_lead_no_writer_out(trained: Path, outside: Path, refused: Callable[..., str], tmp_path: Path) -> None:
    run = tmp_path / "runs" / "gan_mnist5k" / trained.name
    run.mkdir(parents=True)
    for name in ("last.ckpt", "run.json", "config.yaml"):
        (run / name).write_bytes((trained / name).read_bytes())
    (run / "samples").symlink_to(outside)
    for command in ("fit", "test"):
        options = [f"--config={GAN_MNIST}", f"--trainer.default_root_dir={tmp_path / 'runs'}", *TINY]
        message = refused(command, *options, "--model.max_images=96", f"--ckpt_path={run / 'last.ckpt'}")
        assert "is a link that leads out of the run's folder" in message
    untouched(outside)


def test_predict_writes_over_no_link(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "kept").write_text("kept")
    for name in ("000000.png", "grid.png"):
        (tmp_path / "made" / name).symlink_to(tmp_path / "kept")
    main(["predict", str(trained), "--n=2", f"--out={tmp_path / 'made'}"])
    assert (tmp_path / "kept").read_text() == "kept"
    assert not (tmp_path / "made" / "grid.png").is_symlink()


def test_names_do_not_steer_a_terminal(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], refused: Callable[..., str]
) -> None:
    state = torch.load(trained / "last.ckpt", weights_only=True)
    state["data"]["class_names"] = ["\x1b[2J\x1b]0;evil\x07"]
    torch.save(state, tmp_path / "names.ckpt")
    main(["inspect", str(tmp_path / "names.ckpt")])
    assert "\\x1b[2J" in (shown := capsys.readouterr().out)
    assert "\x1b" not in shown
    assert "\x1b" not in refused("predict", "\x1b[2J.ckpt")


def test_class_folders_are_names_and_nothing_more(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder's links in a circle end, and its strange names neither lead nor steer anywhere."""
    from makers import make_photos

    for name in ("..cats", "\x1b[2Jdogs", "<script>"):
        make_photos(tmp_path / "photos" / name, 6)
    (tmp_path / "photos" / "<script>" / "again").symlink_to(tmp_path / "photos")
    options = ["--data=ImageFolder", "--data.root=" + str(tmp_path / "photos"), "--data.image_size=28"]
    main(["fit", f"--config={GAN_MNIST}", f"--trainer.default_root_dir={tmp_path / 'runs'}", *TINY, *options,
          "--data.channels=1", "--data.batch_size=4", "--model.max_images=8"])  # fmt: skip
    said = capsys.readouterr()
    assert "\x1b[2J" not in said.out + said.err
    assert {path.name for path in tmp_path.iterdir()} == {"photos", "runs"}
