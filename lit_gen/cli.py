"""The Lightning command line with the defaults that a user of lit_gen would otherwise type every time."""

from __future__ import annotations

import os
import signal
import sys
from argparse import ArgumentError
from pathlib import Path
from typing import Any, NoReturn

from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities import rank_zero_info
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from lit_gen import processes, run_lock
from lit_gen.blame import behind_run, unbuildable
from lit_gen.callbacks.divergence_watch import DivergenceWatch
from lit_gen.callbacks.evaluation import Evaluation
from lit_gen.callbacks.exact_resume import ExactResume
from lit_gen.callbacks.image_progress_bar import ImageProgressBar
from lit_gen.callbacks.last_checkpoint import LastCheckpoint
from lit_gen.callbacks.run_record import RunRecord
from lit_gen.callbacks.stop_signals import StopSignals
from lit_gen.callbacks.sync_ranks import SyncRanks
from lit_gen.callbacks.throughput import Throughput
from lit_gen.checkpoint_file import write_durably
from lit_gen.config_errors import check_files, explain
from lit_gen.console import closing_lines, shortened, without_chatter
from lit_gen.errors import UserError
from lit_gen.interruption import Interrupted
from lit_gen.loggers import MetricsCSV, WandbMode, WandbRun
from lit_gen.metrics.report import REPORT, table
from lit_gen.metrics.report_html import PAGE
from lit_gen.networks.from_checkpoint import FromCheckpoint
from lit_gen.packages import limited_imports
from lit_gen.paths import search_beside
from lit_gen.resuming import Wish, choose_run
from lit_gen.rooms import import_rooms
from lit_gen.run_folder import Run
from lit_gen.settings import check_settings, whole_numbers_first
from lit_gen.shortcuts import follow_data, put_source, put_trust
from lit_gen.structure import recorded
from lit_gen.yaml_files import MODE, load_yaml

FROM_CHECKPOINT = f"{FromCheckpoint.__module__}.{FromCheckpoint.__qualname__}"
AUTOMATIC_ALONE = {  # Lightning's callbacks that take the optimizer for one
    *("BatchSizeFinder", "LearningRateFinder", "GradientAccumulationScheduler", "StochasticWeightAveraging"),
    "ModelPruning",
}


class Parser(LightningArgumentParser):
    """Raises its errors; parsers of nested classes do so too, and only the whole chain can be explained."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"parser_mode": MODE, **kwargs})

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        raise ArgumentError(None, message) from ex


class LitGenCLI(LightningCLI):
    """`fit`, `validate` and `test`: Lightning's own, in a folder per run, with the strategy that a GAN needs."""

    def __init__(self, args: list[str]) -> None:
        self.line = args
        super().__init__(
            LightningModule,
            LightningDataModule,
            save_config_callback=None,  # RunRecord writes it
            seed_everything_default=0,
            subclass_mode_model=True,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            parser_class=Parser,
            parser_kwargs={"prog": "python -m lit_gen"},
            args=args,
        )

    def subcommands(self) -> dict[str, set[str]]:
        """Of Lightning's the one that the line asks for: parsers of the others would take a while to build."""
        asked = self.line[0]
        return {asked: LightningCLI.subcommands()[asked]}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        whole_numbers_first(parser)
        parser.add_argument(
            "--experiment",
            type=str | None,
            help="Name of the experiment, the folder of its runs below the root (default: name of the first --config).",
        )
        parser.add_argument(
            "--wandb",
            type=WandbMode,
            default="auto",
            help="Weights & Biases: auto is online where you are logged in, else offline.",
        )
        parser.add_argument(
            "--source",
            type=str | None,
            help="Where LoadWeights finds its checkpoint, instead of what the experiment names.",
        )
        parser.add_argument(
            "--trust",
            type=bool,
            default=False,
            help="LoadWeights also reads pickles that hold more than tensors. They can run any code with your rights.",
        )
        parser.add_argument("--wandb_project", type=str, default="lit_gen", help="Project of the run in W&B.")

    def _parse_ckpt_path(self) -> None:
        """Lightning would let a checkpoint's hyper-parameters override --model.*; the config and the line rule here."""
        self.settings = self.config[self.config.subcommand]
        check_settings(self.settings)
        files = [Path(str(file)).resolve() for file in self.settings.get("config") or []]
        search_beside(*files)
        self.experiment = self.settings.experiment or (files[0].stem if files else self._nameless())
        chosen = self.settings.trainer.callbacks or []
        callbacks = [one for one in (chosen if isinstance(chosen, list) else [chosen]) if "class_path" in one]
        put_source(self.settings.pop("source", None), callbacks)
        put_trust(self.settings.pop("trust", False), callbacks, self.line)
        follow_data(self.settings.model, self.settings.data, self.line)
        self._resolve_structures()

    def _dump_config(self) -> None:
        """Lightning's hyper-parameters of a checkpoint, from settings that need no second look."""
        if not hasattr(self, "config_dump"):
            self.config_dump = load_yaml(self._dumped(self.settings, skip_link_targets=False))

    def _dumped(self, settings: Any, **options: Any) -> str:
        """Settings that have been parsed, as YAML."""
        return self._parser(self.subcommand).dump(settings, skip_unset=False, skip_validation=True, **options)

    def _resolve_structures(self) -> None:
        """Puts the network that a checkpoint records in the place of each FromCheckpoint.

        The run's own recipe then rebuilds it, wherever the source has gone.
        """
        model = self.settings.model.as_dict()
        resolved = _resolved(model)
        if resolved != model:
            self.config[self.config.subcommand].model = None
            self.config = self.parser.parse_object({self.config.subcommand: {"model": resolved}}, self.config)
            self.settings = self.config[self.config.subcommand]

    def _nameless(self) -> str:
        classes = (self.settings.model.class_path, self.settings.data.class_path)
        return "_".join(path.rpartition(".")[2].lower() for path in classes)

    def instantiate_classes(self) -> None:
        try:
            super().instantiate_classes()
        except Exception as error:
            mistake = unbuildable(error)
            if mistake is None:
                raise
            raise mistake from error

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        given = self._get(self.config_init, "trainer")
        if isinstance(given["callbacks"], Callback):  # Lightning takes one in place of a list
            given["callbacks"] = [given["callbacks"]]
        self._refuse_automatic_options(given)
        _refuse_twins(given["callbacks"] or [])
        bare = processes.probe(given)
        several = bare.num_devices * bare.num_nodes > 1
        self.run = processes.choice_of_rank_zero(lambda: self._choose_run(given), bare)
        self.config_init[self.subcommand]["ckpt_path"] = self.run.checkpoint
        settings = {"default_root_dir": self.run.folder, "callbacks": self._callbacks(given, several)}
        if several and given["strategy"] == "auto":
            # Plain DDP refuses a step that leaves one network's parameters without gradients.
            settings["strategy"] = "ddp_find_unused_parameters_true"
        if several and bare.strategy.root_device.type == "cuda":
            settings["sync_batchnorm"] = True
        if given["max_epochs"] is None and getattr(self.model, "max_images", None):
            settings["max_epochs"] = -1  # Lightning would stop at 1,000 epochs, soon reached with few images
        if given["logger"] in (None, True):
            settings["logger"] = self._loggers()
        if any(isinstance(callback, Evaluation) for callback in settings["callbacks"]):
            self.config_init[self.subcommand]["verbose"] = False  # its report has Lightning's numbers too
        try:
            trainer = super().instantiate_trainer(**settings, **kwargs)
            write_durably(trainer)
            return trainer
        except BaseException:
            self.run.discard()
            raise

    def _refuse_automatic_options(self, given: dict[str, Any]) -> None:
        """Lightning's own refusal does not know where a model with several optimizers has these options."""
        if self.model.automatic_optimization:
            return
        names = [type(callback).__name__ for callback in given["callbacks"] or []]
        tuner = next((name for name in names if name in AUTOMATIC_ALONE), None)
        if tuner:
            raise UserError(
                f"trainer.callbacks: {tuner} works with one optimizer that Lightning steps by itself, and "
                f"{type(self.model).__name__} has several. Leave it out."
            )
        if given["max_steps"] != -1:
            raise UserError(
                f"trainer.max_steps is {given['max_steps']}, but Lightning counts the steps of every optimizer, and "
                f"{type(self.model).__name__} has several. Type --model.max_images, or --trainer.max_epochs."
            )
        replaced = (("gradient_clip_val", None, "gradient_clip"), ("accumulate_grad_batches", 1, "accumulate_batches"))
        for trainers, default, models in replaced:
            if given[trainers] != default:
                own = f"Type --model.{models} {given[trainers]}" if hasattr(self.model, models) else "Leave it out."
                raise UserError(
                    f"trainer.{trainers} is {given[trainers]}, but Lightning has it for one optimizer only, and "
                    f"{type(self.model).__name__} has several. {own}"
                )

    def _choose_run(self, given: dict[str, Any]) -> Run:
        root = Path(given["default_root_dir"] or "checkpoints").absolute()
        seed, checkpoint = self.settings.seed_everything, self.settings.get("ckpt_path")
        trial, images = bool(given["fast_dev_run"]), getattr(self.model, "max_images", None)
        return choose_run(Wish(self.subcommand, root, self.experiment, seed, checkpoint, trial, images))

    def _callbacks(self, given: dict[str, Any], several: bool) -> list[Callback]:
        """The user's callbacks in their order, then those that every run has unless the user brought such a one."""
        chosen = given["callbacks"] or []
        record = RunRecord(self.experiment, self.settings.seed_everything, self._yaml())
        defaults: list[Callback] = [SyncRanks(), record] if several else [record]
        if self.subcommand != "fit" and getattr(self.model, "evaluated", None):
            defaults += [Evaluation()]
        if self.subcommand == "fit":
            defaults += [Throughput(), DivergenceWatch(), ExactResume()]
            if given["enable_progress_bar"] is not False and not any(isinstance(c, ProgressBar) for c in chosen):
                defaults += [ImageProgressBar()]
            defaults += [StopSignals()]  # behind all that a batch still changes something in
            if given["enable_checkpointing"] is not False:  # Lightning's own writes none that a run can go on from
                defaults += [LastCheckpoint()]
        return [*chosen, *(new for new in defaults if not any(isinstance(c, type(new)) for c in chosen))]

    def _loggers(self) -> list[Any]:
        table = MetricsCSV(self.run.folder)
        run_id = Path(self.run.folder).name
        if self.subcommand != "fit":  # a W&B run of its own: what a finished one has is not touched
            run_id = f"{Path(self.run.folder).parent.name}-{run_id}"
        return [
            table,
            WandbRun(self.run.folder, self.settings.wandb_project, self.experiment, run_id, self.settings.wandb),
        ]

    def _yaml(self) -> str:
        """The configuration as a user would write it again: without the checkpoint that a run went on from."""
        settings = self.settings.clone()
        settings.pop("ckpt_path", None)
        settings.experiment = self.experiment  # else it would be called after its file, config.yaml
        return self._dumped(settings)

    def _run_subcommand(self, subcommand: str) -> None:
        try:
            super()._run_subcommand(subcommand)
        except BaseException as error:
            if isinstance(error, Interrupted) and not error.tidy and self.trainer.strategy.launcher is not None:
                self.trainer.strategy.launcher.kill(signal.SIGTERM)  # the others would wait for this process
            self._close_loggers("failed")
            if self.trainer.is_global_zero:
                self.run.discard()
            mistake = behind_run(error, self.run.checkpoint)
            if mistake is None:
                raise
            raise mistake from error

    def after_fit(self) -> None:
        """Closes W&B first, so that where to look is the last thing said."""
        files = self._close_loggers("success")
        if self.trainer.is_global_zero and not self.trainer.fast_dev_run:
            rank_zero_info(closing_lines(Path(self.run.folder), files, bool(getattr(self.model, "modes", True))))

    def after_test(self) -> None:
        """The table of the report, on standard output."""
        self._close_loggers("success")
        for callback in self.trainer.callbacks:
            if isinstance(callback, Evaluation) and callback.report is not None:
                folder = shortened(Path(self.run.folder))
                where = f"{folder / PAGE} has pictures, {folder / REPORT} all numbers"
                sys.stdout.write(f"{table(callback.report)}\n\n{where}\n")

    after_validate = after_test

    def _close_loggers(self, status: str) -> str | None:
        """Where W&B keeps this run, if it does."""
        runs = [logger for logger in self.trainer.loggers if isinstance(logger, WandbRun)]
        for logger in runs:
            logger.finish(status)
        return runs[0].files() if runs else None


def _refuse_twins(callbacks: list[Callback]) -> None:
    """Lightning keeps the state of each callback under a key, and two of one key end in its own error.

    Raises:
        UserError: Two callbacks are of one kind and one purpose.
    """
    keys = [callback.state_key for callback in callbacks if type(callback).state_dict is not Callback.state_dict]
    twins = sorted({key for key in keys if keys.count(key) > 1})
    if twins:
        raise UserError(
            f"trainer.callbacks: found {twins[0]!r} {keys.count(twins[0])} times, expected once.\nTake one out "
            "(`callbacks+` in a further --config appends), or let each name modules of its own."
        )


def _resolved(node: Any) -> Any:
    """A configuration in which no FromCheckpoint is left."""
    if isinstance(node, list):
        return [_resolved(item) for item in node]
    if not isinstance(node, dict):
        return node
    if node.get("class_path") == FROM_CHECKPOINT:
        return _resolved(recorded(**node["init_args"]))
    return {key: _resolved(value) for key, value in node.items()}


def run_lightning(args: list[str], command_line: type[LitGenCLI] = LitGenCLI) -> LitGenCLI:
    """`fit`, `validate` or `test` with these arguments, by LitGenCLI or a class of it; returns what was run.

    Raises:
        UserError: A mistake in the arguments, the configuration or the data.
    """
    check_files(args)
    import_rooms()
    with without_chatter(), limited_imports():
        try:
            return command_line(args)
        except MisconfigurationException as error:  # Lightning's own word for a user's mistake
            raise UserError(str(error)) from error
        except ArgumentError as error:
            raise _user_error_behind(error) or UserError(explain(str(error))) from error
        except ValueError as error:
            mistake = _user_error_behind(error)
            if mistake is None:
                raise
            raise mistake from error
        finally:
            os.environ.pop(processes.RUN_OF_RANK_ZERO, None)
            run_lock.release()


def _user_error_behind(error: BaseException | None) -> UserError | None:
    """jsonargparse wraps what a constructor raises into a ValueError about its key."""
    while error is not None and not isinstance(error, UserError):
        error = error.__cause__
    return error
