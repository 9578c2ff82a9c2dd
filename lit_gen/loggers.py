"""The two loggers of a run: metrics.csv beside the checkpoint, and Weights & Biases."""

from __future__ import annotations

import contextlib
import csv
import errno
import logging
import netrc
import os
import shutil
import ssl
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any, Literal, TextIO
from urllib.error import HTTPError, URLError
from urllib.parse import urlparse
from urllib.request import urlopen

from lightning.pytorch.loggers import Logger, WandbLogger
from lightning.pytorch.loggers.logger import rank_zero_experiment
from lightning.pytorch.utilities import rank_zero_only, rank_zero_warn

WandbMode = Literal["auto", "online", "offline", "disabled"]


class MetricsCSV(Logger):
    """`metrics.csv` in the run's folder: one row for each count of images seen, with the step and every metric.

    A resumed run appends to the file; Lightning's own CSVLogger would delete it.

    Args:
        folder: The run's folder.
        flush_every: Rows kept in memory before they are written.
    """

    def __init__(self, folder: str | os.PathLike[str], flush_every: int = 20) -> None:
        super().__init__()
        self.path = Path(folder) / "metrics.csv"
        self.flush_every = flush_every
        self.images_seen: Callable[[], int] = lambda: 0
        self.columns: list[str] = ["images_seen", "step"]
        self.rows: list[dict[str, Any]] = []  # not in the file yet
        self.last: dict[str, Any] = {}
        self.last_begins = 0  # where the last row begins in the file, in bytes

    @property
    def name(self) -> str:
        return self.path.parent.parent.name

    @property
    def version(self) -> str:
        return self.path.parent.name

    @property
    def save_dir(self) -> str:
        return str(self.path.parent)

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing: the run's config.yaml has them."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        row = {"images_seen": self.images_seen(), "step": step, **{k: float(v) for k, v in metrics.items()}}
        if row["images_seen"] == self.last.get("images_seen"):
            self._take_back_last()
            row = {**self.last, **row}
            self.rows[-1] = row
        else:
            self.rows.append(row)
        self.last = row
        if len(self.rows) >= self.flush_every:
            self.save()

    @rank_zero_only
    def cut(self, images_seen: int) -> None:
        """Drops the rows after this count of images, which a resumed run is going to write again."""
        if not self.path.is_file():
            return
        try:
            kept = [row for row in self._read() if int(row["images_seen"]) <= images_seen]
        except (KeyError, ValueError, TypeError, csv.Error) as error:
            names = (self.path.with_name(f"metrics.unreadable{number or ''}.csv") for number in count())
            aside = next(path for path in names if not path.exists())
            self.path.replace(aside)
            self.columns = self.columns[:2]
            rank_zero_warn(
                f"{self.path} is no table that lit_gen wrote ({type(error).__name__}): it is {aside.name} now, and the "
                "rows from here on are in a new one."
            )
            return
        self._write(kept)
        if kept:  # it grows where the same count of images is logged again
            self.last = {**kept[-1], "images_seen": int(kept[-1]["images_seen"])}

    @rank_zero_only
    def save(self) -> None:
        if not self.rows:
            return
        new = {name for row in self.rows for name in row} - set(self.columns)
        if new or not self.path.is_file():
            old = self._read() if self.path.is_file() else []
            self.columns += sorted(new - set(self.columns))
            self._write(old + self.rows)
        else:
            with self.path.open("a", newline="") as file:
                self._write_rows(file, self.rows)
                flush(file)
        self.rows = []

    @rank_zero_only
    def finalize(self, status: str) -> None:
        self.save()

    def _take_back_last(self) -> None:
        """Makes the last row pending again where it is in the file already, so that it can grow."""
        if not self.rows:
            os.truncate(self.path, self.last_begins)
            self.rows = [self.last]

    def _read(self) -> list[dict[str, Any]]:
        with self.path.open(newline="") as file:
            reader = csv.DictReader(line for line in file if line.endswith("\n"))  # a kill may have left half a row
            rows = list(reader)
        if any(None in row for row in rows):
            raise ValueError("a row has more fields than there are columns")
        self.columns += [name for name in reader.fieldnames or [] if name not in self.columns]
        return rows

    def _write(self, rows: list[dict[str, Any]]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self.path.with_name(".metrics.csv.writing")
        with unfinished.open("w", newline="") as file:
            csv.DictWriter(file, self.columns).writeheader()
            self._write_rows(file, rows)
            flush(file)
        unfinished.replace(self.path)

    def _write_rows(self, file: TextIO, rows: list[dict[str, Any]]) -> None:
        writer = csv.DictWriter(file, self.columns)
        for row in rows:
            self.last_begins = file.tell()
            writer.writerow(row)


def flush(file: TextIO) -> None:
    """To the disk itself: the checkpoint that counts on these rows is written durably, too."""
    file.flush()
    os.fsync(file.fileno())


class WandbRun(WandbLogger):
    """Weights & Biases with images seen as the x axis; a failure of W&B never stops a training.

    Args:
        folder: The run's folder, where W&B keeps its files.
        project: W&B project.
        run_id: Both the id and the name of the W&B run, so that a resumed run goes on in the same place.
        mode: `online`, `offline`, `disabled`, or `auto`: online where the user is logged in, else offline.
    """

    def __init__(self, folder: str | os.PathLike[str], project: str, group: str, run_id: str, mode: WandbMode = "auto"):
        self.images_seen: Callable[[], int] = lambda: 0
        mode = wandb_mode(mode)
        self.failed = False
        super().__init__(
            name=run_id, id=run_id, save_dir=folder, project=project, group=group, mode=mode,
            settings=_quiet_settings(),
        )  # fmt: skip
        self._wandb_init.pop("anonymous", None)  # W&B warns of it, whatever its value

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The W&B run, begun at the first call; an offline or disabled one where W&B cannot begin."""
        if self._experiment is None:
            Path(self.save_dir).mkdir(parents=True, exist_ok=True)
            self._experiment = self._begun()
            self._define_axes(self._experiment)
            for handler in logging.getLogger("wandb").handlers:  # its own log; on a full disk each line is a traceback
                handler.handleError = lambda record: self._say(sys.exception())
        return self._experiment

    def _begun(self) -> Any:
        import wandb

        while True:
            try:
                if self._wandb_init["mode"] == "online":
                    _ask_server(wandb.setup().settings.base_url)
                return wandb.init(**self._wandb_init)
            except Exception as error:  # unreachable server, no login, full disk: the training matters more
                if (mode := self._wandb_init["mode"]) == "disabled":
                    raise
                instead, where = "disabled", "metrics.csv has every number"
                if mode == "online":
                    instead, where = "offline", "the run can go up later, by `wandb sync`"
                rank_zero_warn(f"W&B could not start {mode} ({_first_line(error)}); training goes on, {where}.")
                self._wandb_init["mode"] = instead
                with contextlib.suppress(Exception, SystemExit):  # else W&B's service holds on to the failed run's id
                    wandb.teardown()

    @staticmethod
    def _define_axes(run: Any) -> None:
        """Images seen as the x axis; of globs that match the same metric W&B takes the first."""
        run.define_metric("images_seen", hidden=True)
        for split in ("val", "test"):
            run.define_metric(f"{split}/*", step_metric="images_seen", step_sync=True, summary="min,max,last")
        run.define_metric("*", step_metric="images_seen", step_sync=True)

    @rank_zero_only
    def log_hyperparams(self, params: Any) -> None:
        self._careful(super().log_hyperparams, params)

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, Any], step: int | None = None) -> None:
        self._careful(super().log_metrics, {**metrics, "images_seen": self.images_seen()}, step)
        if (folder := self.files()) and not shutil.disk_usage(folder).free:  # its service would not tell
            self._say(OSError(errno.ENOSPC, f"no space left in {folder}"))

    @rank_zero_only
    def finish(self, status: str = "success") -> None:
        """Closes the W&B run; its files are complete afterwards."""
        if self._experiment is not None:
            self._careful(self._experiment.finish, 0 if status == "success" else 1)
        if self.failed:  # where its service has died, W&B's own teardown at exit would end in a traceback
            import wandb

            self._careful(wandb.teardown)

    @rank_zero_only
    def log_transfer(self, entry: dict[str, Any], rows: list[list[str]]) -> None:
        """What the run begins from: in its config, as a table, and online as an input artifact.

        Args:
            entry: The source, as `lit_gen.transfer.lineage.entry` describes it.
            rows: What becomes of each tensor: name, shape in the source, shape in the model, status.
        """
        self._careful(self._log_transfer, entry, rows)

    def _log_transfer(self, entry: dict[str, Any], rows: list[list[str]]) -> None:
        import wandb

        run = self.experiment
        run.config.update({"transfer_from": {**(run.config.get("transfer_from") or {}), entry["sha256"][:12]: entry}},
                          allow_val_change=True)  # fmt: skip
        run.log({"transfer/plan": wandb.Table(["tensor", "source", "model", "becomes"], rows)})
        if run.offline or run.disabled:  # there, use_artifact does not exist: the config has to do
            return
        artifact = wandb.Artifact(f"source-{entry['sha256'][:12]}", type="model", metadata=_plain(entry))
        run.use_artifact(artifact)

    @rank_zero_only
    def log_checkpoint(self, path: Path, lineage: list[dict[str, Any]]) -> None:
        """The checkpoint that a transfer ended in, as an output artifact; offline it goes up with `wandb sync`."""
        self._careful(self._log_checkpoint, path, lineage)

    def _log_checkpoint(self, path: Path, lineage: list[dict[str, Any]]) -> None:
        import wandb

        if self.experiment.disabled:
            return
        sources = {"sources": [step["sha256"] for step in lineage]}
        artifact = wandb.Artifact(f"checkpoint-{self.experiment.id}", type="model", metadata=sources)
        artifact.add_file(str(path))
        self.experiment.log_artifact(artifact)

    def files(self) -> str | None:
        """The folder of this run's W&B files, for `wandb sync` and `wandb leet`."""
        folder = getattr(self._experiment, "dir", None)
        there = folder and self._wandb_init["mode"] != "disabled" and not self.failed
        return str(Path(folder).parent) if there else None

    def _careful(self, call: Callable[..., Any], *args: Any) -> None:
        try:
            call(*args)
        except Exception as error:
            self._say(error)

    def _say(self, error: BaseException | None) -> None:
        """Once."""
        if not self.failed:
            why = _first_line(error)
            rank_zero_warn(f"W&B stopped answering ({why}); training goes on, metrics.csv has every number.")
        self.failed = True


def _first_line(error: BaseException | None) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _plain(entry: dict[str, Any]) -> dict[str, Any]:
    """Without the sources of the source, which are artifacts of their own."""
    return {key: value for key, value in entry.items() if key != "lineage"}


def wandb_mode(mode: WandbMode = "auto") -> str:
    """Resolves `auto`: the environment's WANDB_MODE, else online where an API key is known, else offline."""
    if mode != "auto":
        return mode
    if os.environ.get("WANDB_MODE"):
        return os.environ["WANDB_MODE"]
    if os.environ.get("WANDB_API_KEY"):
        return "online"
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        known = netrc.netrc(os.environ.get("NETRC")).authenticators(host)
    except (OSError, netrc.NetrcParseError):
        known = None
    return "online" if known else "offline"


def _ask_server(url: str, timeout: float = 5) -> None:
    """Fails where no server answers, within seconds; W&B itself would try again and again for `init_timeout`."""
    try:
        urlopen(url, timeout=timeout).close()  # by way of the environment's proxy, as W&B
    except HTTPError:
        pass  # an answer
    except URLError as error:
        if not isinstance(error.reason, ssl.SSLError):  # W&B may trust other certificates
            raise OSError(f"{url} does not answer: {error.reason}") from error


def _quiet_settings() -> Any:
    import wandb

    # The command says itself, at the end, where the run is; the console belongs to the progress bar.
    return wandb.Settings(silent=True, console="off", init_timeout=30)
