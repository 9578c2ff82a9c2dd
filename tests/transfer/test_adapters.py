"""Checkpoints of adapters alone, on state dicts of a few numbers."""

from __future__ import annotations

from pathlib import Path

import torch

from lit_gen.transfer.adapters import averaged, slim
from lit_gen.transfer.source import Source


def test_averages_stand_in_whatever_the_order() -> None:
    state = {"g_ema.w": 1, "g.w": 2, "d.w": 3}
    assert averaged(state) == averaged(dict(reversed(state.items()))) == {"g.w": 1, "d.w": 3}


def test_equal_tensors_are_borrowed_but_adapters_are_kept() -> None:
    base = Source("base.pt", Path("base.pt"), {"a": torch.ones(2), "b": torch.zeros(2)}, sha256="1f")
    state = {"g.w": torch.ones(2), "g.adapter": torch.zeros(2), "g.new": torch.ones(2, dtype=torch.float64)}
    found = slim({"state_dict": state, "optimizer_states": [1], "images_seen": 3}, [base], {"g.adapter"}, [])
    assert set(found["state_dict"]) == {"g.adapter", "g.new"}
    assert found["borrowed"] == {"g.w": [0, "a"]}
    assert found["base"] == [{"path": str(Path("base.pt").absolute()), "sha256": "1f"}]
    assert found["images_seen"] == 3
    assert "optimizer_states" not in found


def test_what_is_excluded_comes_from_the_base_by_name_where_it_fits() -> None:
    base = Source("s3://x/base.pt", Path("base.pt"), {"d_ema.w": torch.ones(2), "d.v": torch.ones(3)}, sha256="1f")
    state = {"d.w": torch.zeros(2), "d.v": torch.zeros(2), "d.u": torch.zeros(2)}
    found = slim({"state_dict": state}, [base], set(), ["d"])
    assert found["borrowed"] == {"d.w": [0, "d_ema.w"]}
    assert found["left_out"] == ["d.v", "d.u"]
    assert found["base"][0]["path"] == "s3://x/base.pt"
