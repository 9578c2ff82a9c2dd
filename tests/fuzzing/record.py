"""Writes down in tests/faults/RESULTS.md what became of the mutated configurations of a long run, or of its pieces.

pytest -n 0 -s -m slow tests/fuzzing | python tests/fuzzing/record.py
for first in 0 100 200; do LIT_GEN_FUZZ=$first:100 pytest -n 0 -s -m slow tests/fuzzing; done | \\
    python tests/fuzzing/record.py
"""

from __future__ import annotations

import platform
import re
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import torch

PAGE = Path(__file__).parents[1] / "faults" / "RESULTS.md"
HEADING = "## Mutated configurations"
LINE = re.compile(r"([a-z_]+): (\d+) started, (\d+) refused, (\d+) wrong$")  # behind pytest's own letters
TEXT = """\
{heading}

Written by `pytest -n 0 -s -m slow tests/fuzzing | python tests/fuzzing/record.py` with Python {python}, torch {torch}.

Settings of the files in experiments/, with tiny networks and one thing changed at random (seeded), go through
`python -m lit_gen fit` in a process of their own with 4 GB of memory beyond torch's. Each has to learn from a first
batch within 20 s, or to end within 20 s in one message and status 2. Whatever else happens is wrong: a traceback,
another status, more than one message, more time or memory. Run it on quiet cores: the 20 s are of the wall's clock.

| changed | tried | started | refused | wrong |
|---|---|---|---|---|
{rows}
"""


def counted(lines: Iterable[str]) -> dict[str, Counter[str]]:
    """Kind of mutation -> how many started, were refused and were wrong, summed over the pieces."""
    found: dict[str, Counter[str]] = {}
    for line in lines:
        if match := LINE.search(line.strip()):
            kind, *numbers = match.groups()
            counts = zip(("started", "refused", "wrong"), map(int, numbers), strict=True)
            found.setdefault(kind, Counter()).update(dict(counts))
    return found


def section(found: dict[str, Counter[str]]) -> str:
    """The part of RESULTS.md, with a row for each kind and one for all."""
    rows = {kind: [sum(one.values()), one["started"], one["refused"], one["wrong"]] for kind, one in found.items()}
    rows["all"] = [sum(column) for column in zip(*rows.values(), strict=True)]
    told = "\n".join(f"| {kind.replace('_', ' ')} | {' | '.join(map(str, row))} |" for kind, row in rows.items())
    return TEXT.format(heading=HEADING, python=platform.python_version(), torch=torch.__version__, rows=told)


def main() -> None:
    found = counted(sys.stdin)
    if not found:
        sys.exit(f"record.py: found no line such as 'null: 14 started, 86 refused, 0 wrong'.\n\n{__doc__}")
    kept = PAGE.read_text().partition(HEADING)[0].rstrip()
    PAGE.write_text(f"{kept}\n\n{section(found)}")


if __name__ == "__main__":
    main()
