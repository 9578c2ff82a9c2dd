"""What takes long and goes on in processes of its own: begun with the session, beside the tests that come before.

A test module with a function `early(folder, helpers)` gets its result from the fixture of the same name. The functions
run one after the other in a thread, so that they may change nothing that the whole process shares.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from two_ranks import TwoRanks, environment
from warm import Warm


@dataclass
class Helpers:
    """Processes that are theirs alone, and the environment of the session's beginning: tests change it for a while."""

    warm: Warm
    two_ranks: TwoRanks
    env: dict[str, str]


@contextmanager
def begun(modules: list[ModuleType], folder: Path) -> Iterator[dict[str, Future[Any]]]:
    """What each module's `early` is going to have found, by the module's name."""
    helpers = Helpers(Warm(), TwoRanks(), environment())
    for server in (helpers.warm, helpers.two_ranks) if modules else ():
        server.start()
    with ThreadPoolExecutor(1) as pool:
        futures = {}
        for number, module in enumerate(modules):
            (place := folder / str(number)).mkdir()
            futures[module.__name__] = pool.submit(module.early, place, helpers)
        yield futures
        pool.shutdown(wait=False, cancel_futures=True)
        helpers.warm.stop()
        helpers.two_ranks.stop()
