"""Where inputs are looked for and where decoded data is kept. Free of torch."""

import errno
import os
from pathlib import Path

from datamodules.errors import UserError

search_folders: list[Path] = []
"""Further folders for relative inputs; the CLI appends the project folder of each --config."""


def find_input(path: str | Path) -> Path:
    """The absolute place of an input, whichever directory the command is typed in.

    Args:
        path: Absolute, `~`-relative, or relative to the current directory or one of `search_folders`.

    Returns:
        The first place that exists; where none does, the one in the current directory, for the caller to report.

    Raises:
        UserError: One may not look there, or it is no name that a file can have.
    """
    path = _expanded(path)
    places = [folder / path for folder in (Path.cwd(), *search_folders)]  # an absolute path wins over any folder
    try:
        if "\0" in str(path):  # `exists` says no, and other calls raise
            raise OSError(errno.EINVAL, "it holds a character that no name can have")
        return next((place for place in places if place.exists()), places[0])
    except OSError as error:
        name = str(path) if len(str(path)) < 100 else f"{str(path)[:97]}..."
        raise UserError(f"{name} cannot be looked at ({error.strerror}). Name a place that you may read.") from error


def places_searched(path: str | Path) -> str:
    """The places `find_input` looks at, for the message that nothing is there."""
    path = _expanded(path)
    folders = [] if path.is_absolute() else [Path.cwd(), *search_folders]
    return " and ".join(dict.fromkeys(str(folder / path) for folder in folders)) or str(path)


def _expanded(path: str | Path) -> Path:
    """With the home folder in the place of `~`; a user that there is not stays as it was typed, and is not found."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def cache_folder() -> Path:
    """The folder for downloads and decoded images: $LIT_GEN_CACHE, else ~/.cache/lit_gen (not created here)."""
    return Path(os.environ.get("LIT_GEN_CACHE") or "~/.cache/lit_gen").expanduser().absolute()
