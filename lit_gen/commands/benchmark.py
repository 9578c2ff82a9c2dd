"""Methods x shots x seeds x minutes in one table: benchmark experiments/benchmarks/few_silhouettes.yaml."""

from __future__ import annotations

import fnmatch
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path

from lit_gen.benchmark.cell import checkpoint_in, finished, run_cell
from lit_gen.benchmark.children import CellFailed, Children
from lit_gen.benchmark.page import write_results
from lit_gen.benchmark.plan import Plan, Planned, read_plan
from lit_gen.benchmark.results import LEADS, read_cell
from lit_gen.benchmark.table import kid
from lit_gen.errors import UserError
from lit_gen.files import writable_folder
from lit_gen.loggers import WandbMode


def benchmark(
    file: str,
    out: str | None = None,
    only: str = "*",
    jobs: int = 1,
    threads: int = 2,
    wandb: WandbMode = "offline",
    dry_run: bool = False,
) -> None:
    """Train and test every cell of a benchmark file that is not finished yet, and write its tables and its page.

    A cell that is finished is kept until its settings, the code that it runs or its source change.

    Args:
        file: The benchmark file, such as experiments/benchmarks/few_cats.yaml.
        out: Folder of cells and results; checkpoints/benchmarks/<name> by default.
        only: Of the cells only those whose name (method-data-shots-seedN-Mmin, and -Tthreads where the file says
            how many) fits, such as `*-faces32-*-seed0-*`.
        jobs: Cells side by side.
        threads: Of the processor, for each cell whose run does not say how many.
        wandb: As for fit; all cells are in one group, which is called as the benchmark is.
        dry_run: List the cells and run none.
    """
    if jobs < 1 or threads < 1:
        raise UserError(f"benchmark: --jobs is {jobs} and --threads {threads}, but both need to be at least 1.")
    plan = read_plan(file)
    folder = Path(out or f"checkpoints/benchmarks/{plan.name}")
    chosen = [cell for cell in plan.cells if fnmatch.fnmatch(cell.name, only)]
    if not chosen:
        raise UserError(
            f"benchmark: none of the {len(plan.cells)} cells fits --only {only!r}; the first is {plan.cells[0].name}.\n"
            "Type --dry_run to see all."
        )
    bench = Bench(plan, folder, chosen, Children(threads, jobs), wandb)
    if dry_run:
        print("\n".join(bench.listing()))
        return
    writable_folder(folder, "--out")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a benchmark in the background is ended like this
    bench.run(jobs)
    print(f"{folder / 'results.md'}\n{folder / 'index.html'}")
    if left := bench.left_over():
        folders = "1 folder is" if len(left) == 1 else f"{len(left)} folders are"
        print(f"{folders} of other settings or code, and in no table; --dry_run names what can be deleted.")
    if bench.failed:
        tried = "\n".join(f"{name}: {why}" for name, why in bench.failed.items())
        sys.stderr.write(
            f"lit_gen: benchmark: {len(bench.failed)} cells failed; the same command tries again.\n{tried}\n"
        )
        sys.exit(1)


@dataclass
class Bench:
    """The cells that are to be finished, and what became of them."""

    plan: Plan
    folder: Path
    chosen: Sequence[Planned]
    children: Children
    wandb: str
    failed: dict[str, str] = field(default_factory=dict)

    def listing(self) -> Iterator[str]:
        """A line for each chosen cell, after those of their sources."""
        waiting = [cell for part in self.waiting() for cell in part]
        for cell in [*self.sources(self.chosen), *self.chosen]:
            yield f"{'to run  ' if cell in waiting else 'finished'}  {cell.name}"
        for folder in self.left_over():
            yield f"in no table: {folder} (of other settings or code)"

    def left_over(self) -> list[Path]:
        """Folders of cells that the file has no more, since their settings, code or source have changed."""
        known = {self.plan.place(cell, self.folder) for cell in [*self.plan.cells, *self.plan.trained]}
        return sorted({found for cell in known for found in cell.parent.glob("*/")} - known)

    def sources(self, cells: Sequence[Planned]) -> list[Planned]:
        """The sources of these cells that are trained here."""
        names = dict.fromkeys(cell.source for cell in cells if cell.source is not None)
        return [source for name in names if isinstance(source := self.plan.sources[name], Planned)]

    def waiting(self) -> tuple[list[Planned], list[Planned]]:
        """The sources and the cells that are still to be run: a source only where a cell needs its checkpoint."""
        cells = [cell for cell in self.chosen if not self.finished(cell)]
        missing = [one for one in self.sources(cells) if not checkpoint_in(self.plan.place(one, self.folder)).is_file()]
        return missing, cells

    def finished(self, cell: Planned) -> bool:
        return finished(self.plan.place(cell, self.folder))

    def run(self, jobs: int) -> None:
        """Sources first, then cells, `jobs` at once; results are written after each."""
        waiting = self.waiting()
        told = Progress(sum(map(len, waiting)), sum(cell.minutes for part in waiting for cell in part))
        self.write()
        for part in waiting:
            with ThreadPoolExecutor(jobs) as pool:
                running = {pool.submit(self.one, cell): cell for cell in part}
                try:
                    for done in as_completed(running):
                        self.note(running[done], done)
                        print(told.line(running[done], self.outcome(running[done])), flush=True)
                        self.write()
                except KeyboardInterrupt:
                    pool.shutdown(wait=False, cancel_futures=True)
                    self.children.end()
                    raise UserError("benchmark: stopped. The same command goes on; finished cells are kept.") from None

    def one(self, cell: Planned) -> None:
        """Runs one cell, in a thread of its own."""
        source = self.plan.sources.get(cell.source) if cell.source else None
        if isinstance(source, Planned):
            checkpoint = checkpoint_in(self.plan.place(source, self.folder))
            if not checkpoint.is_file():
                raise CellFailed(f"its source {cell.source} failed")
            source = checkpoint
        options = [f"--wandb={self.wandb}"]
        run_cell(cell, self.plan.place(cell, self.folder), source, self.plan.name, options, self.children)

    def note(self, cell: Planned, done: Future[None]) -> None:
        """Keeps why a cell failed; anything but a failed command or a user's mistake is an error here."""
        try:
            done.result()
        except (CellFailed, UserError) as failure:
            self.failed[cell.name] = str(failure)

    def outcome(self, cell: Planned) -> str:
        if cell.name in self.failed:
            return f"failed: {self.failed[cell.name]}"
        found = read_cell(self.plan.place(cell, self.folder))
        images = f" after {found.images:,} images" if found.images else ""
        return f"KID x1000 {kid(found.number(LEADS))}{images}"

    def write(self) -> None:
        """The results of all finished cells of the file, also of those that are not chosen now."""
        cells = [read_cell(self.plan.place(cell, self.folder)) for cell in self.plan.cells if self.finished(cell)]
        sources = [read_cell(self.plan.place(one, self.folder)) for one in self.plan.trained if self.finished(one)]
        write_results(self.plan, cells, sources, self.folder)


@dataclass
class Progress:
    """A line for each cell that ends, with the time that the others will take.

    Attributes:
        cells: How many there are.
        minutes: Of training, that all of them have.
    """

    cells: int
    minutes: float
    began: float = field(default_factory=time.monotonic)
    done: int = 0
    trained: float = 0.0

    def line(self, cell: Planned, outcome: str) -> str:
        self.done, self.trained = self.done + 1, self.trained + cell.minutes
        spent = (time.monotonic() - self.began) / 60
        # Measurements and tests take their time beside each minute of training, several cells at once save some.
        left = spent * (self.minutes / self.trained - 1) if self.trained else spent * (self.cells / self.done - 1)
        return f"[{self.done}/{self.cells}] {cell.name}: {outcome}; {spent:.0f} minutes so far, about {left:.0f} to go"
