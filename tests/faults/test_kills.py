"""A training that is killed at random moments, also while it writes a checkpoint, ends as if it never had been."""

from __future__ import annotations

from pathlib import Path

from early import Helpers
from kills import Rehearsal, Tally


def early(folder: Path, helpers: Helpers) -> Tally:
    rehearsal = Rehearsal(folder, helpers.warm, seed=29)
    rehearsal.killed_on_its_way(5)
    return rehearsal.tally


def test_five_kills(early: Tally) -> None:
    assert early.faults == []
    assert early.kills == {"checkpoint": 2, "batch": 2, "start": 1}
