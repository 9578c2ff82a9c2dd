"""As test_kills, many times; `python tests/faults/record.py` does it as well, and writes down what it found."""

from __future__ import annotations

from pathlib import Path

import pytest
from kills import Rehearsal
from warm import Warm


@pytest.mark.slow
def test_forty_kills(tmp_path: Path, warm: Warm) -> None:
    rehearsal = Rehearsal(tmp_path, warm, seed=2)
    while rehearsal.tally.total < 40:
        rehearsal.killed_on_its_way(5)
    assert rehearsal.tally.faults == []
