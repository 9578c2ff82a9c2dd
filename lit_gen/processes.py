"""How many processes a run has, and how all of them come to belong to the same run."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from lightning.pytorch import Trainer

from lit_gen.console import silent
from lit_gen.errors import UserError
from lit_gen.run_folder import Run

RUN_OF_RANK_ZERO = "LIT_GEN_RUN"  # how the processes that Lightning starts learn which run they belong to


def probe(given: dict[str, Any]) -> Trainer:
    """A bare Trainer that only says how many processes there are going to be, and on what."""
    names = ("accelerator", "devices", "num_nodes", "strategy")
    settings = {name: given[name] for name in names if isinstance(given[name], str | int | list)}
    without = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    try:
        with silent():
            return Trainer(**settings, **dict.fromkeys(without, False))
    except (TypeError, ValueError) as error:
        raise UserError(f"The Trainer refuses {settings}: {error}") from error


def choice_of_rank_zero(choose: Callable[[], Run], bare: Trainer) -> Run:
    """The same run in every process, however the processes were started."""
    if RUN_OF_RANK_ZERO in os.environ:  # Lightning started this process as a copy of rank 0's command
        return Run(**json.loads(os.environ[RUN_OF_RANK_ZERO]))
    environment = getattr(bare.strategy, "cluster_environment", None)
    if environment is not None and environment.creates_processes_externally:  # torchrun, SLURM
        bare.strategy.setup_environment()
        return bare.strategy.broadcast(choose() if bare.is_global_zero else None)
    run = choose()
    os.environ[RUN_OF_RANK_ZERO] = json.dumps(asdict(run))
    return run
