"""python -m lit_gen: Lightning's subcommands and those in lit_gen/commands."""

from __future__ import annotations

import ast
import os
import sys
from importlib import import_module
from pathlib import Path

from datamodules.packages import taken_from
from lit_gen.errors import UserError, nearest
from lit_gen.files import FULL, printable
from lit_gen.interruption import Interrupted, stops_raise

LIGHTNING = {
    "fit": "train a model: fit --config experiments/gan_mnist5k.yaml",
    "validate": "measure a checkpoint on the validation images: validate --config ... --ckpt_path last",
    "test": "measure a checkpoint on the test images: test --config ... --ckpt_path last",
}
USAGE = """\
lit_gen trains generative models on small image sets and moves what they learnt to another one.

usage: python -m lit_gen COMMAND [options]

{commands}

Begin with      python -m lit_gen fit --config experiments/gan_mnist5k.yaml
All options     python -m lit_gen fit --help
One class       python -m lit_gen fit --model.help GAN
Your classes    python -m lit_gen fit --config mine.yaml --allow my_package
"""


def main(argv: list[str] | None = None) -> None:
    """Runs one command; a user's mistake or a full disk becomes one message and status 2, a signal 130 or 143."""
    args = sys.argv[1:] if argv is None else argv
    copied = "LIT_GEN_RUN" in os.environ  # one of the processes that Lightning starts beside the first
    try:
        with stops_raise():
            run(taken_from(args))
    except BrokenPipeError:  # whoever reads the output, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Interrupted as stop:
        say(stop)
        sys.exit(0 if copied else stop.status)  # Lightning kills the first process when another ends with a status
    except UserError as error:
        say(error)
        sys.exit(2)
    except OSError as error:
        if error.errno not in FULL:
            raise
        say(f"{error.filename or 'A file of the run'} cannot be written ({error.strerror}).\nMake room, and go on by "
            "the same command with --ckpt_path last: a checkpoint that is there is whole.")  # fmt: skip
        sys.exit(2)


def say(message: object) -> None:
    """To standard error, once: every process of a run finds the same."""
    if os.environ.get("LOCAL_RANK", "0") == "0":
        sys.stderr.write(printable(f"lit_gen: {message}\n"))


def run(args: list[str]) -> None:
    """Dispatches to Lightning or to the file in lit_gen/commands that has the command's name."""
    commands = own_commands()
    if not args or args[0] in ("-h", "--help", "help"):
        print(overview(commands))
    elif args[0] in LIGHTNING:
        from lit_gen.cli import run_lightning

        run_lightning(args)
    elif args[0] in commands:
        from lit_gen.command_functions import run_function

        run_function(getattr(import_module(f"lit_gen.commands.{args[0]}"), args[0]), args[1:])
    else:
        names = [*LIGHTNING, *commands]
        raise UserError(
            f'There is no command "{args[0]}"; there are {", ".join(names)}.{nearest(args[0], names)}\n'
            "Type python -m lit_gen for what each of them does."
        )


def own_commands() -> dict[str, Path]:
    """The commands in lit_gen/commands, each a file of its name."""
    return {file.stem: file for file in sorted(Path(__file__).with_name("commands").glob("[!_]*.py"))}


def overview(commands: dict[str, Path]) -> str:
    """What `python -m lit_gen` alone says, with the first line of each file's docstring; torch is not imported."""
    own = {name: ast.get_docstring(ast.parse(file.read_text())).splitlines()[0] for name, file in commands.items()}
    lines = [f"  {name:<14}{says}" for name, says in {**LIGHTNING, **own}.items()]
    return USAGE.format(commands="\n".join(lines))


if __name__ == "__main__":
    main()
