"""Kills a training many times and writes down in RESULTS.md what came of it.

python tests/faults/record.py            (60 kills; 11 minutes on two busy cores)
python tests/faults/record.py --kills 200 --seed 7
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from pathlib import Path

import lightning
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from kills import MOMENTS, OPTIONS, Rehearsal, Tally
from warm import Warm

PAGE = Path(__file__).with_name("RESULTS.md")
TEXT = """\
# What the fault tests found

Written by `python tests/faults/record.py --kills {kills} --seed {seed}` with Python {python}, torch {torch}, Lightning
{lightning} on {machine}. The suite does the same with 5 kills, and with 40 by `pytest -m slow tests/faults`.

A GAN with an adaptive augmentation, a remembering loss and a moving average trains for 640 images, with a checkpoint
after every third batch. Another process sends it SIGKILL at a random moment: from the start of the command on,
up to 20 ms after the beginning of a batch, or up to 10 ms after the beginning of a checkpoint. The same command with
`--ckpt_path last` goes on; after five kills, or where the end was faster, the training is at its end.

| killed | times |
|---|---|
{rows}
| all | {total} |

- Kills that left a new checkpoint beside the old one: {cut_short} that were not written to their end, {not_in_place}
  whole but not yet in the old one's place.
- Trainings that reached their end: {ends}. Compared with the one that was never killed: weights, moving average, both
  optimizers, random streams, loops, callbacks, the augmentation's strength, and every row of metrics.csv (without the
  columns that a clock fills). Bit for bit the same: {same}.
- Trainings that were killed before their first checkpoint, and began again in a folder of their own: {afresh}.
- Checkpoints that could be read before a kill and were lost by it: {lost}.
- Faults of any kind: {faults}.

The options: `{options}`
"""
WHERE = {
    "checkpoint": "up to 10 ms after a checkpoint was begun",
    "batch": "up to 20 ms after a batch was begun",
    "start": "at any moment of the command",
}


def page(tally: Tally, kills: int, seed: int) -> str:
    """RESULTS.md."""
    lost = [fault for fault in tally.faults if " had " in fault or "not readable" in fault]
    return TEXT.format(
        kills=kills, seed=seed, python=platform.python_version(), torch=torch.__version__,
        lightning=lightning.__version__,
        machine=f"{os.cpu_count()} CPU cores ({platform.system()})",
        rows="\n".join(f"| {WHERE[moment]} | {tally.kills[moment]} |" for moment in MOMENTS), total=tally.total,
        cut_short=tally.cut_short, not_in_place=tally.not_in_place,
        ends=tally.ends, same="not all" if tally.faults else "all",
        afresh=tally.afresh, lost=len(lost), faults="none" if not tally.faults else "; ".join(tally.faults),
        options=" ".join(OPTIONS),
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    warm = Warm()
    with tempfile.TemporaryDirectory() as folder:
        try:
            rehearsal = Rehearsal(Path(folder), warm, given.seed)
            while rehearsal.tally.total < given.kills:
                rehearsal.killed_on_its_way(5)
        finally:
            warm.stop()
    others = PAGE.read_text().partition("\n## ")  # what tests/fuzzing/record.py wrote
    PAGE.write_text(page(rehearsal.tally, given.kills, given.seed) + "".join(others[1:]))


if __name__ == "__main__":
    main()
