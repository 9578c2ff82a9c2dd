"""The same work on many rows, in several processes when there are many. Free of torch."""

import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from datamodules.errors import UserError

CHUNK = 128  # rows that a process works on between two reports
FEW = 1000  # up to here starting processes costs more than it saves

Result = TypeVar("Result")
_work: Callable[[range], Any] | None = None  # what a process does with each chunk; set once in each


def in_chunks(work: Callable[[range], Result], n_rows: int) -> Iterator[Result]:
    """What `work` makes of each chunk of rows, in their order; no more of it is kept than is not yet asked for.

    Args:
        work: Takes the rows of a chunk; it must be picklable where processes are spawned.
        n_rows: Number of rows.

    Raises:
        UserError: A process was ended from outside, as systems do where memory runs out.
    """
    chunks = [range(start, min(start + CHUNK, n_rows)) for start in range(0, n_rows, CHUNK)]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if n_rows <= FEW or cores == 1 or multiprocessing.current_process().daemon:
        yield from map(work, chunks)
        return
    # Forked children inherit the work instead of unpickling it, and need no import of torch: they start at once.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else None)
    with ProcessPoolExecutor(min(cores, 32), context, initializer=_begin, initargs=(work,)) as pool:
        try:
            yield from pool.map(_do, chunks)
        except BrokenProcessPool as error:
            raise UserError(
                "A process that reads images was ended from outside, as systems do where memory runs out. Expected "
                "about 1 GB for each; close other programs, or use fewer cores: taskset -c 0 python -m lit_gen ..."
            ) from error


def _begin(work: Callable[[range], Any]) -> None:
    global _work
    _work = work


def _do(rows: range) -> Any:
    assert _work is not None
    return _work(rows)
