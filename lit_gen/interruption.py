"""SIGTERM and Ctrl-C: one exception for both, which ends a command with the status that shells expect."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

STOPS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(BaseException):
    """A signal ended the command. No Exception, so that nobody takes it for a fault of what was being done.

    Args:
        signum: The signal.
        message: What a person is told.
        tidy: Whether all processes of a run end by it together, at the same place.
    """

    def __init__(self, signum: int, message: str | None = None, tidy: bool = False) -> None:
        self.signum = signum
        self.tidy = tidy
        super().__init__(message or f"stopped by {signal.Signals(signum).name}.")

    @property
    def status(self) -> int:
        """The exit status by which shells tell a signal: 143 for SIGTERM, 130 for Ctrl-C."""
        return 128 + self.signum


def put(signum: int, handler: Any) -> None:
    """Sets a handler of this process; workers that are forked from it end by the signal as if there were none."""
    owner = os.getpid()

    def own(number: int, frame: FrameType | None) -> None:
        if os.getpid() == owner:
            handler(number, frame)
        elif number != signal.SIGINT:  # on Ctrl-C workers wait for the process that they work for
            os._exit(128 + number)

    signal.signal(signum, own)


@contextmanager
def stops_raise() -> Iterator[None]:
    """Inside, SIGTERM and Ctrl-C raise Interrupted; one that the caller has switched off, as nohup does, stays off."""
    if threading.current_thread() is not threading.main_thread():  # only there Python can set handlers
        yield
        return
    before = {signum: signal.getsignal(signum) for signum in STOPS}
    for signum, handler in before.items():
        if handler is not signal.SIG_IGN:
            put(signum, _stop)
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def _stop(signum: int, frame: FrameType | None) -> None:
    raise Interrupted(signum)
