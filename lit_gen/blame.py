"""Whose fault an error is that was raised far below: a setting's, a checkpoint's, or a bug's."""

from __future__ import annotations

import traceback
from pathlib import Path
from types import FrameType
from typing import Any

from lit_gen.errors import UserError

SHOWN = 8  # settings in a message


def unbuildable(error: BaseException) -> UserError | None:
    """A user's error for what the constructor of a configured class raised; None where no constructor did.

    jsonargparse wraps some of these, so the first cause counts.
    """
    while error.__cause__ is not None and not isinstance(error, UserError):
        error = error.__cause__
    if isinstance(error, UserError):
        return error
    frames = _frames(error)
    built = [place for place, frame in enumerate(frames) if "/jsonargparse/" in frame.f_code.co_filename]
    for frame in frames[built[-1] + 1 if built else 0 :]:
        if frame.f_code.co_name == "__init__" and "self" in frame.f_locals:
            name, reason = type(frame.f_locals["self"]).__name__, str(error).strip().splitlines() or [""]
            return UserError(
                f"{name} cannot be made of these settings: {reason[0]} ({type(error).__name__})."
                f"\nFound {_settings(frame) or 'no settings'}."
            )
    return None


def behind_run(error: BaseException, checkpoint: str | None) -> UserError | None:
    """A user's error for what ended a run that went on from `checkpoint`, if from any; None where it is a bug's."""
    said = str(error)
    if checkpoint and said.startswith("Error(s) in loading state_dict"):
        return UserError(_mismatch(said, checkpoint))
    if checkpoint and said.startswith("loaded state dict"):  # of an optimizer
        return UserError(
            f"{checkpoint} holds optimizers with other groups of parameters, expected those of this run.\n"
            "Resume with the Phases and LayerRates that it began with."
        )
    if "returned nan values in its" in said:  # what detect_anomaly ends in
        return UserError(
            f"The training has broken: {said.splitlines()[0]}\nThe lines above say where in the forward pass. Type "
            "lower learning rates, or resume from the last checkpoint."
        )
    if isinstance(error, ModuleNotFoundError) and error.name is None:  # of a callback that wants a package
        return UserError(said)
    if _out_of_memory(error):
        why = next(iter(said.splitlines()), "none left")
        return UserError(
            f"There is not memory enough for this ({why}).\nType a smaller --data.batch_size, or smaller networks and "
            "images."
        )
    if checkpoint and _restored(error):
        return UserError(
            f"{checkpoint} holds a state that this run cannot be brought back to ({type(error).__name__}: {said}).\n"
            "Resume from another one, with the configuration of its run."
        )
    return None


def _mismatch(said: str, checkpoint: str) -> str:
    """What a checkpoint of another architecture is answered with: the first of many lines tell it."""
    lines = said.splitlines()[1:]
    shown = "\n".join(lines[:3]) + (f"\n\t... and {len(lines) - 3} more" if len(lines) > 3 else "")
    config = Path(checkpoint).with_name("config.yaml")
    return f"{checkpoint} does not fit the model of this configuration:\n{shown}\n" + (
        f"Resume with the configuration of its own run: --config {config}"
        if config.exists()
        else "Give --model.* the values that it was trained with."
    )


def _out_of_memory(error: BaseException) -> bool:
    """Whether there was not memory enough, on a processor or on a GPU."""
    words = ("can't allocate memory", "out of memory", "Storage size calculation overflowed", "Unable to allocate")
    return isinstance(error, MemoryError) or any(word in str(error) for word in words)


def _restored(error: BaseException) -> bool:
    """Whether an error came up while Lightning brought a checkpoint's state back."""
    return any("checkpoint_connector" in frame.f_code.co_filename for frame in _frames(error))


def _frames(error: BaseException) -> list[FrameType]:
    return [frame for frame, _ in traceback.walk_tb(error.__traceback__)]


def _settings(frame: FrameType) -> str:
    """The plain arguments that a constructor was called with."""
    code = frame.f_code
    names = code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount]
    given: dict[str, Any] = {name: frame.f_locals[name] for name in names if name in frame.f_locals}
    plain = [f"{name}: {value}" for name, value in given.items() if isinstance(value, bool | int | float | str)]
    return ", ".join(text if len(text) < 60 else f"{text[:57]}..." for text in plain[:SHOWN])
