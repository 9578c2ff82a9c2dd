"""The random streams that a run draws from, as a checkpoint can hold them."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch


def streams(device: torch.device) -> dict[str, Any]:
    """Where the streams of Python, numpy, torch and the device stand: tensors and plain values alone."""
    name, keys, *place = np.random.get_state()  # noqa: NPY002 (the stream that others draw from)
    found = {
        "python": random.getstate(),
        "numpy": (name, keys.tolist(), *place),
        "torch": torch.get_rng_state(),
    }
    return found | ({"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})


def put_back(found: dict[str, Any], device: torch.device) -> None:
    """Sets the streams to where `streams` found them; the device's only where it is of the same kind."""
    random.setstate(found["python"])
    np.random.set_state(found["numpy"])  # noqa: NPY002
    torch.set_rng_state(found["torch"].cpu())
    if device.type == "cuda" and "cuda" in found:
        torch.cuda.set_rng_state(found["cuda"].cpu(), device)


def seed_all(seed: int) -> None:
    """Begins all streams anew."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    torch.manual_seed(seed)
