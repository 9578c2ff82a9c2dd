"""A training that is killed at random moments, also while it writes a checkpoint, ends as if it never had been."""

from __future__ import annotations

from pathlib import Path

from kills import Rehearsal
from warm import Warm


def test_five_kills(tmp_path: Path, warm: Warm) -> None:
    rehearsal = Rehearsal(tmp_path, warm, seed=29)
    rehearsal.killed_on_its_way(5)
    assert rehearsal.tally.faults == []
    assert rehearsal.tally.kills == {"checkpoint": 2, "batch": 2, "start": 1}
