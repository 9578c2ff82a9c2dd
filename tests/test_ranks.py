"""What the processes of a run send each other, and by which way."""

from __future__ import annotations

import pytest
import torch

from lit_gen import ranks


@pytest.mark.parametrize(("backend", "way"), [("nccl", "between CPUs"), ("gloo", None)])
def test_beside_nccl_what_lies_on_a_cpu_goes_from_cpu_to_cpu(backend: str, way: str | None, monkeypatch) -> None:
    """By way of the GPU every batch would wait for it; there is none here, so nothing is sent."""
    ways = []

    def all_gather(found: list[torch.Tensor], sent: torch.Tensor, group: str | None) -> None:
        ways.append(group)
        for one in found:
            one.copy_(sent)

    monkeypatch.setattr(ranks.processes, "get_backend", lambda: backend)
    monkeypatch.setattr(ranks.processes, "new_group", lambda backend: {"gloo": "between CPUs"}[backend])
    monkeypatch.setattr(ranks.processes, "all_gather", all_gather)
    ranks._between_cpus.cache_clear()
    assert ranks.Ranks(0, 2).gather(torch.tensor([3])).tolist() == [[3], [3]]
    ranks._between_cpus.cache_clear()
    assert ways == [way]
