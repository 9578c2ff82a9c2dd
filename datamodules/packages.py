"""The packages whose classes a configuration or a checkpoint may name: nothing else is imported. Free of torch."""

from collections.abc import Iterable

from datamodules.errors import UserError

KNOWN = ("torch", "torchvision", "torchmetrics", "lightning", "lit_gen", "datamodules")
extended: list[str] = []
"""What the user has added for this process."""


def allow(*packages: str) -> None:
    """Lets configurations and checkpoints name classes of further packages, which are imported for them.

    Args:
        packages: Names such as `my_package`, or of one module in it, `my_package.networks`.

    Raises:
        UserError: It is no such name.
    """
    for package in packages:
        if not all(part.isidentifier() for part in package.split(".")) or package.split(".")[0] == "jsonargparse":
            raise UserError(
                f"--allow: found {package!r}, expected the name of a package of yours. Type --allow my_package, with "
                "the folder that holds it on PYTHONPATH."
            )
        if package not in extended:
            extended.append(package)


def allowed() -> list[str]:
    """All names that are allowed now."""
    return [*KNOWN, *extended]


def check_allowed(class_path: str, where: str) -> None:
    """Holds what is to be imported against the list, before it is imported: an import runs code.

    Args:
        class_path: Full path of a class.
        where: What names it, for the message: a file or an option.

    Raises:
        UserError: Its package is not on the list.
    """
    if not any(class_path == name or class_path.startswith(f"{name}.") for name in allowed()):
        raise UserError(f"{where} names {class_path}. {refusal(class_path)}")


def refusal(class_path: str) -> str:
    """Why a class is not imported, and what to type."""
    package = class_path.partition(".")[0]
    return (
        f"Classes are imported from {', '.join(allowed())} alone, since importing a package runs its code.\nOnly if "
        f'{package} is a package of yours, or one that you trust, type --allow {package} (in Python: lit_gen.allow("'
        f'{package}")).'
    )


def taken_from(args: Iterable[str]) -> list[str]:
    """A command line without its `--allow`, each of which extends the list: `--allow my_package --allow other`.

    Raises:
        UserError: Nothing follows it, or no name.
    """
    rest, waiting = [], iter(args)
    for arg in waiting:
        name, equals, value = arg.partition("=")
        if name == "--allow":
            allow(*(value if equals else next(waiting, "")).split(","))
        else:
            rest.append(arg)
    return rest
