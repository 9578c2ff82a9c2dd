"""Optimizers whose parameters learn at different rates: their groups, split and set."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

from torch import nn
from torch.optim import Optimizer


def split(optimizer: Optimizer, key: Callable[[nn.Parameter], Hashable]) -> None:
    """Splits each parameter group so that all parameters of one share a key; settings and order are kept.

    A resumed run has to split in the same way before its optimizers are restored: at `on_fit_start`.
    """
    groups = []
    for group in optimizer.param_groups:
        parts: dict[Hashable, list[nn.Parameter]] = {}
        for parameter in group["params"]:
            parts.setdefault(key(parameter), []).append(parameter)
        groups += [{**group, "params": parameters} for parameters in parts.values()]
    optimizer.param_groups[:] = groups


def set_rate(group: dict[str, Any], rate: float) -> None:
    """Gives a group another learning rate; where a schedule has multiplied the old one, the new one is multiplied too.

    `initial_lr` is where torch's schedulers, and the schedules here, keep a group's own rate.
    """
    old = group.setdefault("initial_lr", group["lr"])
    if rate != old:
        group["initial_lr"] = rate
        group["lr"] = rate if group["lr"] == old else group["lr"] * (rate / old)
