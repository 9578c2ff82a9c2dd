"""Whatever becomes of an experiment's YAML: a working start, or one message and status 2; never a traceback."""

from __future__ import annotations

import functools
import os
from collections import Counter
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import pytest
import yaml
from bounded import PATIENCE, bounded
from common import REPOSITORY
from lightning.pytorch import Callback
from mutations import KINDS, mutated
from stand_ins import offline

from lit_gen.__main__ import main
from lit_gen.cli import LitGenCLI, run_lightning
from lit_gen.errors import UserError
from lit_gen.fronts import weights_follow

EXPERIMENTS = sorted((REPOSITORY / "experiments").glob("*.yaml"))
SUITE, LONG = 300, 300  # mutations of all kinds in the ordinary suite; of each kind in the long run
SOURCES = ("cgan_digits_0to4", "gan_digits_0to4", "gan_dogs", "gan_dogs_projected", "gan_pets_dogs", "vae_digits_0to4")
FOUND = ((66, "null"), (95, "null"), (99, "wrongly_typed"), (155, "wrongly_typed"), (190, "huge"))  # had a traceback
MEMORY = 4 * 2**30  # bytes beyond what importing torch takes


class Parsed(LitGenCLI):
    """Parses and builds model, data and callbacks, by one parser for all configurations; records no recipe."""

    parser_of_all: dict[str, Any] = {}

    def setup_parser(self, *args: Any, **kwargs: Any) -> None:
        if not self.parser_of_all:
            super().setup_parser(*args, **kwargs)
            self.parser_of_all |= vars(self)
        else:
            vars(self).update({key: value for key, value in self.parser_of_all.items() if key != "line"})

    def _add_instantiators(self) -> None:
        """Nothing will be saved."""

    def instantiate_trainer(self, **kwargs: Any) -> None:
        """A run's folder would have to be made."""

    def _run_subcommand(self, subcommand: str) -> None:
        """Nothing to run."""


class Started(Callback):
    """Ends the process well once a batch has been learnt from."""

    def on_train_batch_end(self, *args: Any, **kwargs: Any) -> None:
        os._exit(0)


@functools.cache
def settings(file: Path) -> dict[str, Any]:
    return yaml.safe_load(file.read_text())


def written(folder: Path, number: int, kind: str, config: dict[str, Any]) -> tuple[Path, str]:
    """A mutated experiment, and what was done to it."""
    config, what = mutated(config, kind, number)
    file = folder / "mutated.yaml"
    file.write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return file, what


def test_mutations_parse_or_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)  # where the published sources are found
    ended: Counter[str] = Counter()
    for number, kind in [*enumerate(islice(cycle(KINDS), SUITE)), *FOUND]:
        experiment = EXPERIMENTS[number * 31 % len(EXPERIMENTS)]
        file, what = written(tmp_path, number, kind, small(settings(experiment)))
        try:
            with weights_follow():  # ImageNet's take a second, and are not what is tested
                run_lightning(["fit", f"--config={file}"], Parsed)
            ended["started"] += 1
        except UserError as error:
            assert str(error).strip(), what
            ended["refused"] += 1
        except BaseException as error:
            raise AssertionError(f"{number}: {experiment.stem}, {kind} {what}: {error!r}") from error
    assert ended["started"] > SUITE / 10, ended
    assert ended["refused"] > SUITE / 3, ended
    assert [path.name for path in tmp_path.iterdir()] == ["mutated.yaml"]


def test_every_kind_changes_a_configuration() -> None:
    for kind in KINDS:
        for number in range(20):
            config, what = mutated(settings(EXPERIMENTS[number]), kind, number)
            assert str(config) != str(settings(EXPERIMENTS[number])), (kind, what)
            assert (config, what) == mutated(settings(EXPERIMENTS[number]), kind, number), "a seed is a mutation"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with small data of every kind that the experiments name, and with runs of their sources."""
    with pytest.MonkeyPatch.context() as patch:
        folder = offline(tmp_path_factory.mktemp("project"), patch)
        patch.chdir(folder)
        for source in (file for file in EXPERIMENTS if file.stem in SOURCES):
            config = folder / source.name
            config.write_text(yaml.safe_dump(small(settings(source)), sort_keys=False))
            main(["fit", f"--config={config}", "--model.max_images=8", "--trainer.limit_val_batches=2"])
        patch.setattr(LitGenCLI, "_loggers", lambda self: [])
        callbacks = LitGenCLI._callbacks
        patch.setattr(LitGenCLI, "_callbacks", lambda self, *args: [*callbacks(self, *args), Started()])
        yield folder


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_mutations_start_or_are_refused(kind: str, project: Path) -> None:
    """Each in a process of its own, up to the first batch; LIT_GEN_FUZZ=100:50 takes fifty from the hundredth on."""
    first, count = map(int, os.environ.get("LIT_GEN_FUZZ", f"0:{LONG}").split(":"))
    ended: Counter[int] = Counter()
    wrong = []
    for number in range(first, first + count):
        experiment = EXPERIMENTS[number * 31 % len(EXPERIMENTS)]
        file, what = written(project, number, kind, small(settings(experiment)))
        found = bounded(lambda file=file: main(["fit", f"--config={file}"]), project, MEMORY)
        ended[found.status] += 1
        one_message = found.status != 2 or found.said.count("lit_gen: ") == 1
        if found.status not in (0, 2) or "Traceback" in found.said or found.seconds > PATIENCE or not one_message:
            wrong.append(
                f"{number}: {experiment.stem}, {what}, {found.status}, {found.seconds:.0f} s: {found.said[-600:]}"
            )
    print(f"{kind}: {ended[0]} started, {ended[2]} refused, {len(wrong)} wrong")  # noqa: T201 (the record)
    assert not wrong, "\n\n".join(wrong)


def small(node: Any) -> Any:
    """Settings whose networks, batches and measurements cost next to nothing; the mutation comes after."""
    if isinstance(node, list):
        return [small(item) for item in node]
    if not isinstance(node, dict):
        return node
    sizes = {"width": 8, "batch_size": 4, "n": 20}
    return {
        key: sizes.get(key, small(value)) if isinstance(value, int) else small(value) for key, value in node.items()
    }
