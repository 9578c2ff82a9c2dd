"""What SLURM's requeue leaves behind: the checkpoint that Lightning's SLURMEnvironment writes, and whose it is."""

from __future__ import annotations

import os
from pathlib import Path

from lit_gen.run_folder import CHECKPOINT, RECORD, Record

REQUEUED = "hpc_ckpt_*.ckpt"  # Lightning's own name for it


def job() -> str | None:
    """The job that this process belongs to, as `scontrol requeue` calls it, or None outside of SLURM."""
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    return f"{array}_{os.environ.get('SLURM_ARRAY_TASK_ID')}" if array else os.environ.get("SLURM_JOB_ID")


def requeued_run(root: Path, experiment: str) -> Path | None:
    """The unfinished run that this very job began before SLURM requeued it; no other job ever gets it."""
    own = job()
    if own is None:
        return None
    for path in sorted((root / experiment).glob(f"*/{RECORD}"), key=lambda path: path.parent.name, reverse=True):
        record = Record.read(path.parent)
        if record and record.job == own and record.status != "finished" and any(path.parent.glob(REQUEUED)):
            return path.parent
    return None


def newest_checkpoint(folder: Path) -> Path:
    """Of a requeued run: training may have gone on between Lightning's checkpoint and the end of the job."""
    last = folder / CHECKPOINT
    found = [*folder.glob(REQUEUED), *([last] if last.is_file() else [])]
    return max(found, key=lambda path: path.stat().st_mtime_ns)


def drop_older_requeues(folder: Path) -> None:
    """One such checkpoint is enough."""
    *older, _ = sorted(folder.glob(REQUEUED), key=lambda path: path.stat().st_mtime_ns)
    for path in older:
        path.unlink()
