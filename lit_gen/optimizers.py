"""Optimizers as a model's settings make them, and what a user hears when they cannot be made."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from torch import nn
from torch.optim import Optimizer

from lit_gen.errors import UserError


def make_optimizer(
    option: str, make: Callable[[Iterable[nn.Parameter]], Optimizer], parameters: Iterable[nn.Parameter]
) -> Optimizer:
    """The optimizer that `make` makes of parameters.

    Args:
        option: What the model calls it, for the message.
        make: As the settings or the model's default have it.
        parameters: That it is going to change.

    Raises:
        UserError: torch refuses its settings: a negative learning rate, say.
    """
    try:
        return make(parameters)
    except (ValueError, TypeError, RuntimeError) as error:
        raise UserError(
            f"model.{option}: torch refuses its settings: {error}.\nType --model.{option}.lr 2.0e-4, say, or look at "
            f"--model.{option}.help."
        ) from error
