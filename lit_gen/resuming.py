"""Which run a command is about, and which of its checkpoints."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from lit_gen import run_lock, slurm
from lit_gen.checkpoint import read
from lit_gen.checkpoint_file import readable
from lit_gen.errors import UserError
from lit_gen.files import is_plain_name
from lit_gen.metrics.runs import report_folder
from lit_gen.paths import find_input
from lit_gen.run_folder import Record, Run, check_links, existing_checkpoint, make_run, new_folder, newest, previous

MOST_IMAGES = 2**53  # a run of a million images a second for 285 years, and what a float can still count


@dataclass(frozen=True)
class Wish:
    """What the command line says about it.

    Attributes:
        subcommand: `fit`, `validate` or `test`.
        root: The folder of all experiments.
        experiment: Name of the experiment.
        seed: The run's seed.
        checkpoint: `last`, `best`, a path, or None.
        trial: Nothing is going to be written.
        max_images: With which a training ends, if with any.
    """

    subcommand: str
    root: Path
    experiment: str
    seed: int | None
    checkpoint: str | None
    trial: bool = False
    max_images: int | None = None

    @property
    def fit(self) -> bool:
        return self.subcommand == "fit"


def choose_run(wish: Wish) -> Run:
    """The run's folder, made where it is missing and held by this process if it trains, and the checkpoint.

    Raises:
        UserError: There is no such checkpoint, it cannot be read, or another process trains this run.
    """
    if not is_plain_name(wish.experiment):
        raise UserError(f"--experiment {wish.experiment} is no plain folder name. Type one such as thin_digits.")
    checkpoint = _checkpoint(wish)
    if not wish.fit and checkpoint is None:
        raise UserError(f"{wish.subcommand} needs a trained model. Type --ckpt_path last or --ckpt_path PATH.")
    if checkpoint is not None:
        checkpoint = _checked(wish, checkpoint)
    own = checkpoint is not None and Record.read(checkpoint.parent) is not None
    folder = checkpoint.parent if own else new_folder(wish.root, wish.experiment)
    check_links(folder)
    if not wish.fit:
        folder /= report_folder(checkpoint, "val" if wish.subcommand == "validate" else "test").name
    run = make_run(folder, checkpoint)
    if wish.fit and not wish.trial:
        run_lock.hold(folder)
    return run


def _checkpoint(wish: Wish) -> Path | None:
    """The checkpoint that is wished for; a job that SLURM has requeued goes on with its own run whatever it says."""
    if wish.fit and (folder := slurm.requeued_run(wish.root, wish.experiment)):
        found = readable(slurm.newest_checkpoint(folder))
        rank_zero_info(f"SLURM has requeued this job: going on from {found}.")
        return found
    if wish.checkpoint not in ("last", "best"):
        return None if wish.checkpoint is None else existing_checkpoint(find_input(wish.checkpoint))
    folder = newest(wish.root, wish.experiment, wish.seed if wish.fit else None, unfinished=wish.fit)
    if folder is None and not wish.fit:
        raise UserError(f"No run of {wish.experiment} with a checkpoint below {wish.root}. Train one first: "
                        f"python -m lit_gen fit --config {wish.experiment}.yaml")  # fmt: skip
    if folder is None:
        rank_zero_info(f"No unfinished run of {wish.experiment}, seed {wish.seed}, below {wish.root}: starting afresh.")
        return None
    path = folder / f"{wish.checkpoint}.ckpt"
    found = readable(path if wish.checkpoint == "last" else existing_checkpoint(path))
    rank_zero_info(f"{'Going on from' if wish.fit else 'The checkpoint:'} {found}.")
    return found


def _checked(wish: Wish, checkpoint: Path) -> Path:
    """A file that cannot be read, or that no run can go on from, is refused before anything is touched.

    Returns:
        The checkpoint; the one before it where `last` is a whole file of something else, which is said.
    """
    try:
        held = read(checkpoint)
    except UserError as error:
        before = previous(checkpoint)
        if wish.checkpoint != "last" or not before.is_file():
            raise
        rank_zero_warn(f"{str(error).splitlines()[0]} Taking the checkpoint before it, {before}.")
        checkpoint, held = before, read(before)
    record, images = Record.read(checkpoint.parent), held.get("images_seen", 0)
    if not isinstance(images, int) or not 0 <= images < MOST_IMAGES:
        raise UserError(
            f"{checkpoint} says that it has seen {images!r} images, expected a count from 0 on. It was not written by "
            "lit_gen, or was changed since: go on from another checkpoint."
        )
    if wish.fit and wish.max_images and images >= wish.max_images and record and record.status == "finished":
        raise UserError(
            f"{checkpoint} is of a finished run and has seen {images:,} images, model.max_images is "
            f"{wish.max_images:,}: there is nothing left to do.\nType --model.max_images {2 * images} for more."
        )
    if wish.fit and not held.get("optimizer_states"):
        raise UserError(
            f"{checkpoint} has no optimizers: it was published, merged, or holds adapters alone, and no run "
            "can go on from it.\nGo on from a run's last.ckpt, or begin a new run from these weights: "
            f"--trainer.callbacks+=LoadWeights --trainer.callbacks.source {checkpoint}"
        )
    return checkpoint
