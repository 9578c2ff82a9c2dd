"""Errors from far below that are a user's mistake, each as the library in question raises it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lit_gen.blame import behind_run


def raised(act: Callable[[], object]) -> BaseException:
    with pytest.raises(BaseException) as caught:
        act()
    return caught.value


def no_number() -> None:
    with torch.autograd.set_detect_anomaly(True), pytest.warns(UserWarning):
        x = torch.zeros(1, requires_grad=True)
        (x.sqrt() * 0).backward()


@pytest.mark.parametrize("ask", [lambda: torch.empty(1 << 60), lambda: np.ones((1 << 24, 1 << 24))])
def test_too_little_memory_is_answered_with_what_to_make_smaller(ask: Callable[[], object]) -> None:
    mistake = behind_run(raised(ask), None)
    assert "--data.batch_size" in str(mistake)
    assert len(str(mistake).splitlines()) == 2


def test_a_gradient_that_is_no_number() -> None:
    assert "lower learning rates" in str(behind_run(raised(no_number), None))


def test_optimizers_of_other_groups_name_the_checkpoint() -> None:
    one, two = (torch.optim.Adam([{"params": [nn.Parameter(torch.ones(1))]} for _ in range(n)]) for n in (1, 2))
    error = raised(lambda: one.load_state_dict(two.state_dict()))
    assert "runs/last.ckpt holds optimizers with other groups" in str(behind_run(error, "runs/last.ckpt"))


@pytest.mark.parametrize(("beside", "advice"), [(True, "--config {}"), (False, "--model.*")])
def test_another_architecture_is_shown_in_few_lines(tmp_path: Path, beside: bool, advice: str) -> None:
    if beside:
        (tmp_path / "config.yaml").touch()
    network = nn.Sequential(*(nn.Linear(2, 2) for _ in range(4)))
    error = raised(lambda: network.load_state_dict({"other": torch.ones(1)}))
    said = str(behind_run(error, str(tmp_path / "last.ckpt")))
    assert advice.format(tmp_path / "config.yaml") in said
    assert len(said.splitlines()) <= 5


def test_a_package_that_a_callback_wants_but_no_package_of_the_code_itself() -> None:
    asked = ModuleNotFoundError("Type pip install this.")
    assert str(behind_run(asked, None)) == "Type pip install this."
    assert behind_run(raised(lambda: __import__("no_such_package")), None) is None


@pytest.mark.parametrize("checkpoint", [None, "runs/last.ckpt"])
def test_anything_else_stays_a_bug(checkpoint: str | None) -> None:
    assert behind_run(raised(lambda: 1 / 0), checkpoint) is None


def test_weights_that_do_not_fit_are_a_bug_where_no_checkpoint_was_resumed() -> None:
    assert behind_run(raised(lambda: nn.Linear(1, 1).load_state_dict({})), None) is None
