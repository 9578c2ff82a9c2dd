"""The processes of a run, as those see them who share work out among them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

import torch
import torch.distributed as processes
from lightning.pytorch import Trainer
from torch import Tensor

from lit_gen.errors import UserError

Value = TypeVar("Value")


@dataclass(frozen=True)
class Ranks:
    """This process among all; what it gives and gets, every process has to ask for at the same place.

    Attributes:
        rank: Number of this process, from 0.
        world_size: Number of processes.
    """

    rank: int = 0
    world_size: int = 1

    @classmethod
    def of(cls, trainer: Trainer) -> Ranks:
        """The processes that a Trainer has."""
        return cls(trainer.global_rank, trainer.world_size)

    @classmethod
    def here(cls) -> Ranks:
        """The processes that there are, for those who know no Trainer."""
        if not (processes.is_available() and processes.is_initialized()):
            return cls()
        return cls(processes.get_rank(), processes.get_world_size())

    def gather(self, tensor: Tensor) -> Tensor:
        """The tensors (world_size, ...) of all processes, in their order, from one of the same shape in each."""
        if self.world_size == 1:
            return tensor[None]
        sent = tensor.contiguous()
        found = [torch.empty_like(sent) for _ in range(self.world_size)]
        # NCCL sends what lies on a GPU alone; by way of it every batch would wait until the GPU is done.
        beside = processes.get_backend() == "nccl" and not tensor.is_cuda
        processes.all_gather(found, sent, _between_cpus(processes.group.WORLD) if beside else None)
        return torch.stack(found)

    def collect(self, value: Value) -> list[Value]:
        """What each process gives, a value that can be pickled, in their order, in every process."""
        if self.world_size == 1:
            return [value]
        found: list[Value] = [value] * self.world_size
        processes.all_gather_object(found, value)
        return found

    def broadcast(self, value: Value) -> Value:
        """What process 0 gives, a value that can be pickled, in every process."""
        if self.world_size == 1:
            return value
        box = [value]
        processes.broadcast_object_list(box)
        return box[0]

    def first(self, work: Callable[..., Value], *arguments: Any) -> Value:
        """What `work` gives in process 0, which alone does it, in every process.

        Raises:
            UserError: In every process, where process 0 finds one: none is to wait for it for ever.
        """
        if self.world_size == 1:
            return work(*arguments)
        found, mistake = None, None
        if self.rank == 0:
            try:
                found = work(*arguments)
            except UserError as error:
                mistake = error
        found, mistake = self.broadcast((found, mistake))
        if mistake is not None:
            raise mistake
        return found

    def barrier(self) -> None:
        """Waits until every process has come here."""
        if self.world_size > 1:
            processes.barrier()


@cache
def _between_cpus(world: processes.ProcessGroup) -> processes.ProcessGroup:
    """The same processes, joined beside their GPUs."""
    return processes.new_group(backend="gloo")
