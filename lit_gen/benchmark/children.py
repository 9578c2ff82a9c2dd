"""The commands that a benchmark runs: processes of their own, which end with it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from lit_gen.packages import extended

PATIENCE = 20  # seconds that a process has to end by itself
TOLD = 3  # last lines of a log in a message


class CellFailed(Exception):
    """A command of a cell ended with a status other than 0; says which log tells why."""


class Children:
    """Runs commands of lit_gen.

    Args:
        threads: Of the processor, for each command that does not say how many.
        jobs: Commands side by side.
    """

    def __init__(self, threads: int, jobs: int = 1) -> None:
        self.threads = threads
        # Spinning threads halve the speed of whatever runs beside them; alone, threads that sleep gain nothing.
        self.waiting = {"OMP_WAIT_POLICY": "PASSIVE"} if jobs > 1 else {}
        self.alive: set[subprocess.Popen] = set()
        self.ended = False
        self.beginning = threading.Lock()  # held by whoever begins a child, or ends them all

    def run(self, command: str, arguments: Sequence[str], folder: Path, threads: int | None = None) -> None:
        """Runs a command to its end, its output in `<command>.log` in the folder.

        Raises:
            CellFailed: Its status is not 0.
        """
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads or self.threads), **self.waiting}
        allowed = [f"--allow={package}" for package in extended]
        typed = [sys.executable, "-m", "lit_gen", command, *arguments, *allowed, "--trainer.enable_progress_bar=false"]
        log = folder / f"{command}.log"
        with log.open("w") as out:
            with self.beginning:
                if self.ended:
                    raise CellFailed(f"{command} was not begun")
                child = subprocess.Popen(typed, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
                self.alive.add(child)
            status = child.wait()
        self.alive.discard(child)
        if status:
            last = log.read_text(errors="replace").strip().splitlines()[-TOLD:]
            raise CellFailed(f"{command} ended with status {status}: {' | '.join(last)}\n(all of it is in {log})")

    def end(self) -> None:
        """Ends what runs now, and begins no more."""
        with self.beginning:
            self.ended = True
            running = list(self.alive)
        for child in running:
            child.terminate()
        for child in running:
            try:
                child.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                child.kill()
