"""Methods x shots x seeds x minutes in one table: benchmark FILE."""

from __future__ import annotations

import fnmatch
from pathlib import Path

from tqdm.auto import tqdm

from lit_gen.benchmark.cell import CellFailed, finished, run_cell
from lit_gen.benchmark.page import write_results
from lit_gen.benchmark.plan import Plan, Planned, key_of, read_plan
from lit_gen.benchmark.results import read_cells
from lit_gen.errors import UserError
from lit_gen.fetch import sha256
from lit_gen.files import writable_folder


def benchmark(
    file: str,
    out: str | None = None,
    only: str = "*",
    threads: int = 2,
    wandb: str = "offline",
    dry_run: bool = False,
) -> None:
    """Train and test every cell of a benchmark file that is not finished yet, and write its table and its page.

    Args:
        file: The benchmark file, experiments/benchmarks/few_cats.yaml for example.
        out: Folder of cells and results; checkpoints/benchmarks/<name> by default.
        only: Of the cells only those whose name (method-data-shots-seedN-Mmin) fits, `*faces32*seed0*` for example.
        threads: Of the processor for each training.
        wandb: As for fit: auto, online, offline or disabled; all cells are in one group, named by the file.
        dry_run: Lists the cells and runs none.
    """
    plan = read_plan(file)
    if threads < 1:
        raise UserError(f"benchmark: --threads is {threads}, expected at least 1.")
    folder = Path(out or f"checkpoints/benchmarks/{plan.name}")
    chosen = [cell for cell in plan.cells if fnmatch.fnmatch(cell.name, only)]
    if not chosen:
        raise UserError(
            f"benchmark: none of the {len(plan.cells)} cells fits --only {only!r}; the first is {plan.cells[0].name}."
        )
    if dry_run:
        print(
            "\n".join(
                f"{'finished' if finished(place(plan, cell, folder)) else 'to run  '}  {cell.name}" for cell in chosen
            )
        )
        return
    writable_folder(folder, "--out")
    failed = []
    with tqdm(chosen, desc=plan.name, unit=" cells") as bar:
        for cell in bar:
            bar.set_postfix_str(cell.name)
            try:
                run_where_missing(plan, cell, folder, threads, wandb)
            except CellFailed as failure:
                failed.append(f"{cell.name}: {failure}")
                bar.write(failed[-1])
            write_results(read_cells(folder / "cells"), folder, plan.name, plan.baselines, plan.untouched)
    print(f"{folder / 'results.md'}\n{folder / 'index.html'}")
    if failed:
        raise UserError("benchmark: cells failed, and are tried again by the same command:\n" + "\n".join(failed))


def run_where_missing(plan: Plan, cell: Planned, folder: Path, threads: int, wandb: str) -> None:
    """Runs a cell, and before it the source that it begins from, unless they are finished."""
    source = checkpoint_of(plan, cell, folder, threads, wandb)
    where = place(plan, cell, folder)
    if not finished(where):
        run_cell(cell, where, source, plan.name, [f"--wandb={wandb}"], threads)


def checkpoint_of(plan: Plan, cell: Planned, folder: Path, threads: int, wandb: str) -> Path | None:
    """The checkpoint that a cell begins from, trained now where it is missing."""
    if cell.source is None:
        return None
    source = plan.sources[cell.source]
    if isinstance(source, Path):
        if not source.is_file():
            raise UserError(f"benchmark: the source {cell.source} is to be at {source}, and there is no file.")
        return source
    where = source_place(source, folder)
    if not finished(where):
        run_cell(source, where, None, plan.name, [f"--wandb={wandb}"], threads)
    return sorted(where.glob(f"{plan.name}/*/last.ckpt"))[-1].resolve()


def place(plan: Plan, cell: Planned, folder: Path) -> Path:
    """The folder of a cell; its key holds everything that its numbers hang on."""
    digest = None
    source = plan.sources.get(cell.source) if cell.source else None
    if isinstance(source, Path) and source.is_file():
        digest = sha256(source)
    elif isinstance(source, Planned):
        digest = key_of(source, None)
    return folder / "cells" / f"{cell.name}-{key_of(cell, digest)}"


def source_place(source: Planned, folder: Path) -> Path:
    return folder / "sources" / f"{source.name}-{key_of(source, None)}"
