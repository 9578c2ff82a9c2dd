"""One folder per run: `checkpoints/<experiment>/<run id>/`. Where it is, and which run `last` means."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from lit_gen.errors import UserError
from lit_gen.files import write_whole

RECORD = "run.json"
CHECKPOINT = "last.ckpt"


@dataclass
class Run:
    """A run's folder and the checkpoint that it goes on from (None: it starts afresh)."""

    folder: str
    checkpoint: str | None = None
    fresh: bool = True
    fresh_root: bool = False

    def discard(self) -> None:
        """Removes the folder of a run that never began, so that a mistake leaves nothing behind."""
        folder = Path(self.folder)
        if self.fresh and not (folder / RECORD).exists():
            shutil.rmtree(folder, ignore_errors=True)
            with suppress(OSError):  # the experiment's folder, where this was the only run
                folder.parent.rmdir()
                if self.fresh_root:
                    folder.parent.parent.rmdir()


@dataclass
class Record:
    """What `run.json` in the run's folder says."""

    experiment: str
    seed: int | None
    status: str = "running"  # or "finished", "interrupted" by a signal, "failed"
    images_seen: int = 0
    stopped: str | None = None  # why it ended before its time
    job: str | None = None  # of SLURM, which may requeue it

    @staticmethod
    def read(folder: Path) -> Record | None:
        """The record of a folder, or None where there is none that can be read."""
        try:
            return Record(**json.loads((folder / RECORD).read_text()))
        except (OSError, ValueError, TypeError, RecursionError):
            return None

    def write(self, folder: Path) -> None:
        """Writes the record so that another process sees the old one or the new one, never half of it."""
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / RECORD, json.dumps(asdict(self), indent=2) + "\n")


def make_run(folder: Path, checkpoint: Path | None) -> Run:
    """The run of this folder, which is made where it is missing.

    Raises:
        UserError: The folder cannot be made.
    """
    try:
        fresh, fresh_root = not folder.exists(), not folder.parent.parent.exists()
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"The run's folder {folder} cannot be made ({error.strerror}).\nType --trainer.default_root_dir with a "
            "folder that you may write."
        ) from error
    return Run(str(folder), str(checkpoint) if checkpoint else None, fresh, fresh_root)


def check_links(folder: Path) -> None:
    """Refuses a run's folder in which a link leads out: what a run writes is to stay in it.

    Raises:
        UserError: Naming the link.
    """
    for place, folders, files in os.walk(folder):
        for path in (Path(place, name) for name in [*folders, *files]):
            if path.is_symlink() and not path.resolve().is_relative_to(folder.resolve()):
                raise UserError(
                    f"{path} is a link that leads out of the run's folder, to {path.resolve()}, and a run writes only "
                    "into its own.\nRemove the link, or put there what it leads to."
                )
        folders[:] = [name for name in folders if name != "wandb"]  # it links to its own logs in the user's cache


def new_folder(root: Path, experiment: str) -> Path:
    """A folder name that sorts by time and that no other process picks."""
    return root / experiment / f"{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def newest(root: Path, experiment: str, seed: int | None = None, unfinished: bool = False) -> Path | None:
    """The newest run of an experiment that has a checkpoint; of this seed, and unfinished, where that is asked."""
    folders = sorted((root / experiment).glob(f"*/{RECORD}"), key=lambda path: path.parent.name, reverse=True)
    for folder in (path.parent for path in folders):
        record = Record.read(folder)
        if record is None or not any(path.is_file() for path in (folder / CHECKPOINT, previous(folder / CHECKPOINT))):
            continue
        if (seed is None or record.seed == seed) and not (unfinished and record.status == "finished"):
            return folder
    return None


def previous(path: Path) -> Path:
    """Where the checkpoint before is kept: `last.previous.ckpt` beside `last.ckpt`."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def existing_checkpoint(path: Path) -> Path:
    """The checkpoint file of a path that a user named: the file itself, or `last.ckpt` of a run's folder.

    Raises:
        UserError: There is nothing at this path.
    """
    if path.is_dir() and (path / CHECKPOINT).is_file():
        return path / CHECKPOINT
    if not path.is_file():
        folder = ": that is a folder without one" if path.is_dir() else ""
        raise UserError(
            f"No checkpoint at {path}{folder}.\nName a file such as checkpoints/<experiment>/<run id>/last.ckpt, or "
            "type --ckpt_path last for the newest run of this experiment."
        )
    return path
