"""What happens to a command in a test, done in its own process before it begins."""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

from lit_gen import checkpoint_file
from lit_gen.models.gan import GAN


def stop_in(name: str, times: int = 1, call: int = 1, signum: int = signal.SIGTERM) -> None:
    """A signal falls, so many times, right before this call of this function ("module:Class.function")."""
    module, _, path = name.partition(":")
    *owners, last = path.split(".")
    owner = import_module(module)
    for part in owners:
        owner = getattr(owner, part)
    function: Callable[..., Any] = getattr(owner, last)

    def stopped(*args: Any, **kwargs: Any) -> Any:
        nonlocal call
        call -= 1
        for _ in range(times if call == 0 else 0):
            os.kill(os.getpid(), signum)
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


def kill(moment: str, number: int, seconds: float) -> None:
    """SIGKILL by another process, which no line of this one can foresee or catch.

    Args:
        moment: `start`, `batch` or `checkpoint`: what it comes after.
        number: How many of these have to begin before.
        seconds: That it waits from there on.
    """
    order, victim = _killer(), os.getpid()

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal number
            number -= 1
            if number == 0:
                os.write(order, f"{victim} {seconds}".encode())
            return function(*args, **kwargs)

        return call

    if moment == "start":
        os.write(order, f"{victim} {seconds}".encode())
    elif moment == "batch":
        GAN.training_step = counted(GAN.training_step)
    else:
        checkpoint_file.write = counted(checkpoint_file.write)


def _killer() -> int:
    """Starts the process that waits for an order to kill; returns where the order is written to."""
    read, write = os.pipe()
    if os.fork() == 0:
        os.close(write)
        if order := os.read(read, 100).split():  # nothing: the victim has ended by itself
            time.sleep(float(order[1]))
            os.kill(int(order[0]), signal.SIGKILL)
        os._exit(0)
    os.close(read)
    return write
