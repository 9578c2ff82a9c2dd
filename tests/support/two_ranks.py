"""`fit` on two gloo processes: by the command line alone, or forked from a process that has imported torch already.

Most of a tiny run on two processes is the import of torch, twice. The command line starts its second process itself,
and a test of that has to pay; where it is about what two processes compute, they are forked, with the environment that
`torchrun` would give them, and nothing is left of one run when the next begins.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

from children import run_and_end
from common import REPOSITORY

PATIENCE = 240  # seconds; ranks that wait for each other would wait for ever


def arguments(*options: str) -> list[str]:
    return ["fit", "--allow=spies,tiny_extractor", "--trainer.devices=2", "--trainer.accelerator=cpu", *options]


def environment() -> dict[str, str]:
    """The callbacks of spies.py are on the user's PYTHONPATH."""
    path = os.pathsep.join([str(Path(__file__).parent), str(REPOSITORY)])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "WANDB_MODE": "disabled"}


def by_command_line(folder: Path, *options: str) -> str:
    """`python -m lit_gen fit` in this folder; what it and the process that it started said."""
    command = [sys.executable, "-m", "lit_gen", *arguments(*options)]
    captured = {"capture_output": True, "text": True, "timeout": PATIENCE}
    ran = subprocess.run(command, env=environment(), cwd=folder, **captured)
    assert ran.returncode == 0, ran.stderr[-3000:]
    return ran.stderr


class TwoRanks:
    """The process that two ranks are forked from; it starts when they are first asked for."""

    def __init__(self) -> None:
        self.server: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Starts it, with the environment as it is now."""
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.server = subprocess.Popen([sys.executable, __file__], env=environment(), start_new_session=True, **pipes)

    def __call__(self, folder: Path, *options: str) -> str:
        """`fit` in this folder; what both ranks said."""
        if self.server is None:
            self.start()
        watchdog = threading.Timer(PATIENCE, self._kill)
        watchdog.start()
        try:
            print(json.dumps([str(folder), arguments(*options)]), file=self.server.stdin, flush=True)
            answer = self.server.stdout.readline()
        finally:
            watchdog.cancel()
        said = [_said(folder, rank).read_text() for rank in (0, 1)]
        assert answer == "0 0\n", "\n".join([f"ended with {answer}", *(words[-3000:] for words in said)])
        return "".join(said)

    def stop(self) -> None:
        if self.server is not None:
            self._kill()
            self.server.communicate()

    def _kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.server.pid, signal.SIGKILL)


def serve() -> None:
    """Reads a line for each command, and answers with a line of how its two ranks ended."""
    import wandb  # noqa: F401 (every command imports it, in half a second)

    import lit_gen.cli  # noqa: F401 (imports torch)
    from lit_gen.rooms import import_rooms

    import_rooms()
    for line in sys.stdin:
        folder, args = json.loads(line)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        ranks = [_fork(rank, port, Path(folder), args) for rank in (0, 1)]
        first, status = os.wait()
        (other,) = set(ranks) - {first}
        if status:  # the other would wait for it
            os.kill(other, signal.SIGKILL)
        print(status, os.waitpid(other, 0)[1], flush=True)  # noqa: T201 (the answer)


def _fork(rank: int, port: str, folder: Path, args: list[str]) -> int:
    """The process of one rank, which runs the command and ends."""
    process = os.fork()
    if process == 0:
        run_and_end(folder, _said(folder, rank), args, _rank_environment(rank, port))
    return process


def _rank_environment(rank: int, port: str) -> dict[str, str]:
    """What torchrun would set."""
    env = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "tests"}
    env |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "RANK": str(rank), "LOCAL_RANK": str(rank), "GROUP_RANK": "0"}
    return env


def _said(folder: Path, rank: int) -> Path:
    return folder / f"rank{rank}.txt"


if __name__ == "__main__":
    serve()
