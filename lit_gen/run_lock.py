"""One process trains a run, and a second one that would go on with it is refused."""

from __future__ import annotations

import errno
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from lit_gen.errors import UserError
from lit_gen.files import writable_folder

LOCK = ".lock"
_TAKEN = (errno.EACCES, errno.EAGAIN)
_held: list[TextIO] = []  # open until `release`: the operating system keeps a lock as long as the file is open


def hold(folder: Path) -> None:
    """Takes a run for this process; however the process ends, SIGKILL among it, the lock ends with it.

    Raises:
        UserError: Another process has it, or nothing can be written there.
    """
    try:
        import fcntl
    except ImportError:  # Windows has no such locks
        return
    file = (writable_folder(folder, "The run's folder") / LOCK).open("a+")
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # not flock, which forked workers would keep alive
    except OSError as error:
        if error.errno not in _TAKEN:  # a file system without locks
            return
        file.seek(0)
        raise UserError(
            f"{folder} is being trained already, by {file.read().strip() or 'another process'}.\nWait for its end, or "
            "begin a run of its own: leave out --ckpt_path."
        ) from error
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
    file.flush()
    _held.append(file)


def release() -> None:
    """Gives back what this process has taken."""
    while _held:
        with suppress(OSError):  # a full disk
            _held.pop().close()
