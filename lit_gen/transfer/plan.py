"""What a transfer is going to do, tensor by tensor, before it does anything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import Tensor

COPIED = "copied"
ADAPTED = "adapted"
REINITIALISED = "re-initialised"
KEPT = "kept as built"
UNUSED = "unused in source"
AVERAGED = "its average is taken"  # why a tensor of the source is not used
STATUSES = (COPIED, ADAPTED, REINITIALISED, KEPT, UNUSED)


@dataclass
class Row:
    """What becomes of one tensor.

    Attributes:
        name: In the model; in the source where it is not used.
        status: One of STATUSES.
        shape: In the model; None where only the source has it.
        source_shape: In the source; None where only the model has it.
        source_name: In the source's file.
        policy: How it was adapted.
        size: Numbers in it.
    """

    name: str
    status: str
    shape: list[int] | None = None
    source_shape: list[int] | None = None
    source_name: str | None = None
    policy: str | None = None
    size: int = 0

    @property
    def says(self) -> str:
        """The status as the table has it."""
        return f"{self.status} ({self.policy})" if self.policy else self.status


@dataclass
class Plan:
    """All rows of a transfer, and where the weights come from.

    Attributes:
        source: What identifies the source: path, sha256, run_id, images_seen and so on.
        rows: One for each tensor of the model, then those that only the source has.
        values: What each tensor of the model gets; on the meta device in a plan that is only looked at.
        notes: What a person might not expect of it.
    """

    source: dict[str, Any]
    rows: list[Row]
    values: dict[str, Tensor] = field(default_factory=dict, repr=False)
    notes: list[str] = field(default_factory=list)

    def mark_reinitialised(self, names: set[str], classes: Sequence[int | str] | None = None) -> None:
        """Rows that a later callback is going to initialise afresh, whatever they got before; or `classes` of them."""
        for row in self.rows:
            if row.name in names and row.status != UNUSED:
                row.status, row.policy = REINITIALISED, classes and f"classes {', '.join(map(str, classes))}"

    def totals(self) -> dict[str, dict[str, int]]:
        """Tensors and numbers (elements) of each status."""
        tensors, numbers = Counter(), Counter()
        for row in self.rows:
            tensors[row.status] += 1
            numbers[row.status] += row.size
        return {status: {"tensors": tensors[status], "numbers": numbers[status]} for status in STATUSES}

    def coverage(self) -> dict[str, float]:
        """Share of each module's numbers that come from the source, for the first two parts of the names."""
        of_source, of_all = Counter(), Counter()
        for row in self.rows:
            if row.status == UNUSED:
                continue
            parts = row.name.split(".")
            for module in {parts[0], ".".join(parts[: 3 if parts[1:2] == ["blocks"] else 2])}:
                of_all[module] += row.size
                of_source[module] += row.size if row.status in (COPIED, ADAPTED) else 0
        return {module: of_source[module] / max(1, size) for module, size in sorted(of_all.items())}

    def summary(self) -> dict[str, Any]:
        """Totals and coverage: what a checkpoint keeps of the plan in its lineage."""
        return {"totals": self.totals(), "coverage": self.coverage()}

    def as_dict(self) -> dict[str, Any]:
        """Everything but the tensors, as JSON can hold it."""
        return {"source": self.source, **self.summary(), "tensors": [asdict(row) for row in self.rows]}

    def table(self, all_rows: bool = True) -> str:
        """Every tensor with what becomes of it and both shapes, then totals and coverage.

        Args:
            all_rows: False leaves out what needs no second look: what is copied as it is, and what an average stands in
                for.
        """
        shown = [row for row in self.rows if all_rows or (row.status != COPIED and row.policy != AVERAGED)]
        cells = [(row.name, by(row.source_shape), by(row.shape), row.says) for row in shown]
        listed = [columns([("tensor", "source", "model", "becomes"), *cells]), ""] if cells else []
        return "\n".join([*listed, self.overview()])

    def overview(self) -> str:
        """Totals of each status and coverage of each module."""
        totals = [("", "tensors", "numbers")]
        for status, count in self.totals().items():
            if count["tensors"]:
                totals.append((status, f"{count['tensors']:,}", f"{count['numbers']:,}"))
        covered = [("module", "from the source")] + [(name, f"{share:.1%}") for name, share in self.coverage().items()]
        return "\n\n".join([columns(totals), columns(covered), *self.notes])


def by(shape: Sequence[int] | None) -> str:
    """(64, 32, 4, 4), say, and a dash for what is not there."""
    return "-" if shape is None else f"({', '.join(map(str, shape))})"


def columns(cells: Sequence[Sequence[str]]) -> str:
    """Lines of cells, each column as wide as its widest."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in cells)
