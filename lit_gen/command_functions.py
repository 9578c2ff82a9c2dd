"""Commands that are plain typed functions: their options come from the signature, their help from the docstring."""

from __future__ import annotations

import inspect
from argparse import ArgumentError
from collections.abc import Callable
from itertools import pairwise, takewhile
from typing import Any

from lit_gen.cli import Parser
from lit_gen.config_errors import explain
from lit_gen.errors import UserError
from lit_gen.packages import limited_imports


def run_function(function: Callable[..., Any], args: list[str]) -> None:
    """A command of lit_gen/commands, its options made from the function's signature and docstring.

    One that takes `args` alone reads the command line itself. The options that have to be given may come first and
    without their names: `inspect last.ckpt`, `prepare FOLDER OUT`. One that begins with `*runs` takes all that have no
    name: `compare RUN RUN --n 4`.
    """
    parameters = inspect.signature(function).parameters
    if list(parameters) == ["args"]:
        function(args)
        return
    many = [name for name, parameter in parameters.items() if parameter.kind is parameter.VAR_POSITIONAL]
    usage = " ".join(["python -m lit_gen", function.__name__, *(f"{name.upper()}..." for name in many)])
    parser = Parser(prog=usage, description=function.__doc__.splitlines()[0])
    parser.add_function_arguments(function, as_positional=False)
    unnamed, named = _apart(args) if many else ([], args)
    try:
        with limited_imports():
            settings = parser.parse_args(_with_values(named, function))
    except ArgumentError as error:
        raise UserError(f"{function.__name__}: {explain(str(error))}") from error
    function(*unnamed, **settings.as_dict())


def _apart(args: list[str]) -> tuple[list[str], list[str]]:
    """The values without a name, and the options, each with its value."""
    unnamed, named = [], []
    for before, arg in pairwise(["", *args]):
        value = before.startswith("--") and "=" not in before
        (named if value or arg.startswith("-") else unnamed).append(arg)
    return unnamed, named


def _with_values(args: list[str], function: Callable[..., Any]) -> list[str]:
    """What jsonargparse wants to read: `--ckpt_path=last.ckpt` for a bare `last.ckpt`, `--json=true` for `--json`."""
    parameters = inspect.signature(function).parameters
    required = [name for name, parameter in parameters.items() if parameter.default is parameter.empty]
    bare = list(takewhile(lambda arg: not arg.startswith("-"), args))
    first = [f"--{name}={value}" for name, value in zip(required or parameters, bare, strict=False)]
    args = [*first, *args[len(first) :]]
    switches = {f"--{name}" for name, p in parameters.items() if p.default is False}
    return [
        f"{arg}=true" if arg in switches and after.startswith("-") else arg for arg, after in pairwise([*args, "--"])
    ]
