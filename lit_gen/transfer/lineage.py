"""Where weights come from: what a checkpoint keeps of its source, of that one's source, and so on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from lit_gen.transfer.source import Source


def describe(source: Source) -> dict[str, Any]:
    """What identifies a source, in plain values."""
    return {
        "path": source.spec,
        "sha256": source.sha256,
        "run_id": source.run.get("id"),
        "experiment": source.run.get("experiment"),
        "model": source.family,
        "images_seen": source.images_seen,
    }


def entry(source: Source, summary: dict[str, Any]) -> dict[str, Any]:
    """What a checkpoint keeps of one transfer: the source, what was taken, and the source's own lineage."""
    return {**describe(source), "plan": summary, "lineage": source.lineage}


def lines(lineage: Sequence[dict[str, Any]], indent: str = "  ") -> Iterator[str]:
    """A chain of transfers, the newest first, each source one step further in."""
    for step in lineage:
        seen = f", {step['images_seen']:,} images seen" if step.get("images_seen") is not None else ""
        run = f", run {step['run_id']}" if step.get("run_id") else ""
        yield f"{indent}from {step['path']}"
        yield f"{indent}     {step['model']}{seen}{run}, sha256 {step['sha256']}"
        totals = step.get("plan", {}).get("totals", {})
        taken = [f"{status} {count['tensors']:,}" for status, count in totals.items() if count["tensors"]]
        if taken:
            yield f"{indent}     tensors: {', '.join(taken)}"
        yield from lines(step.get("lineage", []), indent + "  ")
