"""What happens to a command in a test, done in its own process before it begins."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable
from importlib import import_module
from typing import Any

from lit_gen import checkpoint_file


def stop_in(name: str, times: int = 1) -> None:
    """SIGTERM falls, so many times, right before this function ("module:Class.function") does its work."""
    module, _, path = name.partition(":")
    *owners, last = path.split(".")
    owner = import_module(module)
    for part in owners:
        owner = getattr(owner, part)
    function: Callable[..., Any] = getattr(owner, last)

    def stopped(*args: Any, **kwargs: Any) -> Any:
        for _ in range(times):
            os.kill(os.getpid(), signal.SIGTERM)
        return function(*args, **kwargs)

    setattr(owner, last, stopped)


def fill_the_disk(checkpoints: int) -> None:
    """Behind so many checkpoints there is room for no further one."""
    write = checkpoint_file.write

    def writing(checkpoint: dict[str, Any], path: Any) -> None:
        nonlocal checkpoints
        checkpoints -= 1
        if checkpoints < 0:
            resource.setrlimit(resource.RLIMIT_FSIZE, (4_000, resource.RLIM_INFINITY))
        write(checkpoint, path)

    checkpoint_file.write = writing
