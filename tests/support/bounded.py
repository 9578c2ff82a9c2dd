"""A command in a process of its own, with little memory and little time: what it says and how it ends."""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PATIENCE = 20.0  # seconds


@dataclass
class Ended:
    """How a command ended.

    Attributes:
        status: Its exit status; that of a killed one is minus the signal.
        said: All that it wrote.
        seconds: How long it took.
    """

    status: int
    said: str
    seconds: float


def bounded(command: Callable[[], None], folder: Path, memory: int = 2**30, patience: float = PATIENCE) -> Ended:
    """Forks, so that torch is not imported anew, and calls a function in the folder.

    Args:
        command: What to run; SystemExit is its exit status, any other exception a traceback and 1.
        folder: Its current folder.
        memory: Bytes that it may take beyond what this process has.
        patience: Seconds, after which it is killed.
    """
    said, began = folder.parent / f"{folder.name}.said", time.monotonic()
    child = os.fork()
    if child == 0:
        _run(command, folder, said, memory)
    while (ended := os.waitpid(child, os.WNOHANG))[0] == 0:
        if time.monotonic() - began > patience:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.01)
    status = os.waitstatus_to_exitcode(ended[1])
    return Ended(status, said.read_text(errors="replace"), time.monotonic() - began)


def _run(command: Callable[[], None], folder: Path, said: Path, memory: int) -> None:
    status = 1
    try:
        with said.open("wb") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
        sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
        os.chdir(folder)
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + memory
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        command()
        status = 0
    except SystemExit as ending:
        status = ending.code if isinstance(ending.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)  # at once: what the parent would do at its end is not the child's
