"""What a forked process of a test does: one command, with what it says in a file, and then its end."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn


def run_and_end(
    folder: Path, said: Path, args: list[str], env: dict[str, str], before: Callable[[], Any] | None = None
) -> NoReturn:
    """Runs a command in a folder, and ends this process with its status.

    Args:
        folder: Where it runs.
        said: The file that gets what it says.
        args: Its arguments.
        env: Added to its environment.
        before: What is done first.
    """
    status: Any = 1
    try:
        with said.open("wb") as file:
            os.dup2(file.fileno(), sys.stdout.fileno())
            os.dup2(file.fileno(), sys.stderr.fileno())
        os.environ |= env
        os.chdir(folder)
        from lit_gen.__main__ import main

        if before:
            before()
        main(args)
        status = 0
    except SystemExit as end:
        status = end.code or 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)  # at once: what the parent would do at its end is not the child's
