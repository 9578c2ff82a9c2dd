"""Commands in processes of their own, forked from one that has imported torch already: to be sent signals and killed.

What they compute, write and end with is what `python -m lit_gen` does; only the seconds of the imports are saved.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from children import run_and_end
from two_ranks import PATIENCE, environment


class Command:
    """A command that runs.

    Attributes:
        pid: Of its process.
    """

    def __init__(self, server: subprocess.Popen[str], said: Path, pid: int) -> None:
        self.server, self.path, self.pid = server, said, pid

    def status(self) -> int:
        """Waits for its end: its exit status, or the negative number of the signal that killed it."""
        watchdog = threading.Timer(PATIENCE, self.send, [signal.SIGKILL])
        watchdog.start()
        try:
            return int(self.server.stdout.readline())
        finally:
            watchdog.cancel()

    def send(self, signum: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, signum)

    @property
    def said(self) -> str:
        return self.path.read_text(errors="replace")


class Warm:
    """warm(folder, "fit", ...) starts a command in a folder; one that is under way has to end before the next."""

    def __init__(self) -> None:
        self.server: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Starts the process that commands are forked from, with the environment as it is now."""
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.server = subprocess.Popen([sys.executable, __file__], env=environment(), start_new_session=True, **pipes)

    def __call__(
        self, folder: Path, *args: str, before: tuple[Any, ...] = (), env: dict[str, str] | None = None
    ) -> Command:
        """Starts it.

        Args:
            folder: Where it runs, and where said.txt is written.
            args: Its arguments.
            before: What its process does first: "module:function" and the function's arguments.
            env: Added to its environment.
        """
        if self.server is None:
            self.start()
        print(json.dumps([str(folder), args, before, env or {}]), file=self.server.stdin, flush=True)
        return Command(self.server, folder / "said.txt", int(self.server.stdout.readline()))

    def stop(self) -> None:
        if self.server is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.server.pid, signal.SIGKILL)
            self.server.communicate()


def serve() -> None:
    """Reads a line for each command, and answers with its process, then with how it ended."""
    import wandb  # noqa: F401 (every command imports it, in half a second)

    import lit_gen.cli  # noqa: F401 (imports torch)
    from datamodules.mnist5k import Mnist5k
    from lit_gen.rooms import import_rooms

    import_rooms()
    Mnist5k().prepare_data()
    for line in sys.stdin:
        process = os.fork()
        if process == 0:
            _run(*json.loads(line))
        print(process, flush=True)  # noqa: T201 (the answer)
        print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)  # noqa: T201


def _run(folder: str, args: list[str], before: list[Any], env: dict[str, str]) -> None:
    """The forked process; it never returns."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # even where the tests run behind nohup
    first = (lambda: _found(before[0])(*before[1:])) if before else None
    run_and_end(Path(folder), Path(folder) / "said.txt", args, env, first)


def _found(name: str) -> Callable[..., None]:
    module, _, function = name.partition(":")
    return getattr(import_module(module), function)


if __name__ == "__main__":
    serve()
