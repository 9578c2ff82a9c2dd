"""jsonargparse's parsing errors in a user's words: what was found, what was expected, what to type."""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path

import yaml

from lit_gen.errors import UserError, nearest
from lit_gen.packages import refusal
from lit_gen.rooms import classes_of, import_rooms
from lit_gen.yaml_files import read_yaml

# Alternatives of a union that say nothing about the mistake.
NOISE = ("Expected a <class 'NoneType'>", "Expected a path but")
# Of `--trainer.callbacks+=X --trainer.callbacks.option V` jsonargparse also tries the base class, which has no options.
BARE_CALLBACK = re.compile(r"- Problem with given class_path 'lightning\.Callback':\n\s+Option .* is not accepted\n\s*")
CLASS_KEYS = ("class_path", "init_args")
EXPECTED = re.compile(r"^[\s-]*(Expected .*)", re.MULTILINE)


def check_files(args: list[str]) -> None:
    """Each --config of a command line exists and parses.

    Raises:
        UserError: Naming the file, and the line where its YAML breaks.
    """
    for flag, value in zip(args, [*args[1:], None], strict=True):
        if "=" in flag and flag.split("=")[0] in ("--config", "-c"):
            flag, value = flag.split("=", 1)
        if flag not in ("--config", "-c"):
            continue
        if value is None or not Path(value).is_file():
            found = "Nothing behind --config" if value is None else f"No config file at {value}"
            folder = ": that is a folder" if value is not None and Path(value).is_dir() else ""
            raise UserError(f"{found}{folder}. Type --config PATH with a YAML file, e.g. experiments/gan_mnist5k.yaml")
        try:
            found = read_yaml(Path(value))
        except OSError as error:
            raise UserError(f"{value} cannot be read ({error.strerror}). Name a file that you may read.") from error
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
            raise UserError(f"{value} is not valid YAML{where}: {getattr(error, 'problem', None) or error}") from error
        if not isinstance(found, dict):
            raise UserError(f"{value} holds no settings: keys such as `model:` and `data:` were expected.")


def explain(message: str) -> str:
    """One message for one parsing error; what is not recognised comes through as it was."""
    if message.count("Problem with given class_path") > 1:
        message = BARE_CALLBACK.sub("", message)
    for pattern, say in SAYINGS:
        found = re.search(pattern, message)
        if found:
            return say(_key(message), found, message)
    leaves = [leaf for leaf in EXPECTED.findall(message) if not leaf.startswith(NOISE)]
    if not leaves:
        return message
    expected = " or ".join(dict.fromkeys(_plain(leaf) for leaf in leaves))
    return f"{_key(message)}: found {_value(message)}, expected {expected}."


def _key(message: str) -> str:
    """The dotted key that the user typed, as far as the message tells."""
    keys = re.findall(r'Parser key "([^"]+)"', message)
    nested = re.findall(r"NestedArg\(key='([^']+)'", message)
    return f"{keys[0]}.{nested[-1]}" if nested else ".".join(keys)


def _value(message: str) -> str:
    """The value that was refused, short enough to read."""
    value = _whole_value(message)
    return value if len(value) < 60 else value[:57] + "..."


def _whole_value(message: str) -> str:
    found = re.findall(r"Got value: (.*)", message) or re.findall(r"Given value: (?!NestedArg)(.*)", message)
    return found[0] if found else re.findall(r"NestedArg\(key='[^']*', val='?(.*?)'?\)", message)[-1]


def _plain(leaf: str) -> str:
    leaf = re.sub(r"\.? Got value: .*", "", leaf).removeprefix("Expected a ").removeprefix("Expected ")
    leaf = re.sub(r"typing\.Literal\[(.*)\]", lambda m: " or ".join(m[1].replace("'", "").split(", ")), leaf)
    return re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", leaf)


def _unknown_class(key: str, found: re.Match[str], message: str) -> str:
    name, plain = found[1], re.search(r"- (Expected a <class '\w+'>)\n\s*- Expected a dot import path", message)
    if plain:  # a number or a tensor, such as a learning rate
        return f"{key}: found {'null' if name == 'None' else name}, expected {_plain(plain[1])}."
    known = _known_names()
    misplaced = f" {name} exists, but not for this key." if name in known else nearest(name, known)
    return f"{key}: there is no class {name} that fits here.{misplaced}\nType python -m lit_gen list for all names."


def _missing(key: str, found: re.Match[str], message: str) -> str:
    owner = _owner(message, found)
    if owner is not None:
        return f"{key}: {owner.__name__} needs {found[1]}. Type --{key}.{found[1].split(', ')[0]} VALUE."
    names = [name.rpartition(".")[2] for name in found[1].split(", ")]
    config = " --config with one of the files in experiments/, or" if {"model", "data"} & set(names) else ""
    return f"Missing: {', '.join(names)}. Type{config} --{names[0]} VALUE."


def _unknown_option(key: str, found: re.Match[str], message: str) -> str:
    typed = found[1].split("=")[0]
    parts = typed.lstrip("-").split(".")
    owner = _owner(message, found)
    if owner is not None:
        options = _options(owner)
        if not options or parts[0] in CLASS_KEYS:  # the mapping was not seen as a class with its options
            return f"{key}: a class has class_path and init_args, and nothing else.{_misspelt_class_key(message)}"
        hint = nearest(parts[0], options)
        return f"{key}: {owner.__name__} has no option {parts[0]}; it has {', '.join(options)}.{hint}"
    return f"There is no option {typed}.{nearest(parts[0], _all_options())}\nType --help for all of them."


def _owner(message: str, found: re.Match[str]) -> type | None:
    """The class whose options were being read at this place of the message."""
    before = re.findall(r"Problem with given class_path '(.+)'", message[: found.start()])
    beside = re.match(r".*class_path='([^']+)'", message[found.end() :])  # on the same line: an optimizer
    path = beside[1] if beside else before[-1] if before else ""
    module, _, name = path.rpartition(".")
    return getattr(sys.modules.get(module), name, None)


def _options(owner: type) -> list[str]:
    """Constructor arguments, those that the class passes on to its parents included."""
    options: dict[str, None] = {}
    for part in owner.__mro__:
        if "__init__" in vars(part):
            parameters = inspect.signature(part.__init__).parameters.values()
            options |= dict.fromkeys(p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD))
            if not any(p.kind == p.VAR_KEYWORD for p in parameters):
                break
    return [option for option in options if option not in ("self", "params")]


def _all_options() -> list[str]:
    from lightning.pytorch import Trainer

    names = {name for owner in [*_classes().values(), Trainer] for name in _options(owner)}
    return sorted(names | {"model", "data", "trainer", "config", "seed_everything", "ckpt_path", "experiment"})


def _classes() -> dict[str, type]:
    return {name: found for modules in import_rooms().values() for name, found in classes_of(modules).items()}


def _not_importable(key: str, found: re.Match[str], message: str) -> str:
    class_path = re.findall(r"Problem with given class_path '(.+)'", message)[-1]
    return (
        f"{key}: {class_path} cannot be imported ({found[0].strip()}).{_hint(class_path)}\n"
        "Type python -m lit_gen list for all names."
    )


def _not_allowed(key: str, found: re.Match[str], message: str) -> str:
    name = found[1].rpartition(".")[2]
    ours = f" A {name} of our own goes by the bare name: {name}." if name in _known_names() else ""
    return f"{key or 'The command line'}: found {found[1]}.{ours} {refusal(found[1])}"


def _hint(class_path: str) -> str:
    return nearest(class_path.rpartition(".")[2], _known_names())


def _known_names() -> list[str]:
    import torch
    from lightning.pytorch import callbacks

    return [*_classes(), *(name for name in dir(torch.optim) if name[0].isupper()), *callbacks.__all__]


def _no_subclass(key: str, found: re.Match[str], message: str) -> str:
    return f"{key}: {_value(message)} is no {found[1]}.\nType python -m lit_gen list for the names that fit."


def _no_class(key: str, found: re.Match[str], message: str) -> str:
    return (
        f"{key}: found {_value(message)}, expected a class of the kind {found[1]}.{_misspelt_class_key(message)}\n"
        "Type the name of a class, or class_path: NAME and its options in init_args."
    )


def _misspelt_class_key(message: str) -> str:
    """The keys of the value that was refused may have one that was meant to be class_path or init_args."""
    typed = re.findall(r"'(\w+)': ", _whole_value(message))
    return "".join(nearest(key, CLASS_KEYS) for key in dict.fromkeys(typed) if key not in CLASS_KEYS)


SAYINGS = (
    (r"Importing '(\S+)' is not allowed", _not_allowed),
    (r"arguments are required: (.*)", _missing),
    (r"Expected a dot import path string: (\S+)", _unknown_class),
    (r"Option '(.+)' is not accepted", _unknown_option),
    (r"unrecognized arguments: (\S+)", _unknown_option),
    (r"No module named .*|module .* has no attribute .*", _not_importable),
    (r"Import path (?:\S+ )?does not correspond to a subclass of (\w+)", _no_subclass),
    (r"does not accept option '(.+)'", _unknown_option),
    (r"Not a valid subclass of (\w+)", _no_class),
)
