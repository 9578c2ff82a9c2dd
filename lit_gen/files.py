"""Files and folders, written whole or not at all, into places that are known to take them before any work is done."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lit_gen.errors import UserError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def write_whole(path: Path, text: str) -> None:
    """Writes a file so that another process sees the old one or the new one, never half of it.

    Raises:
        UserError: It cannot be written.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        advice = "Make room" if error.errno in FULL else "Name a place that you may write"
        raise UserError(f"{path} cannot be written ({error.strerror}). {advice}.") from error


def writable_folder(folder: str | Path, called: str = "The folder") -> Path:
    """The folder, made where it is missing, once a file could be put into it.

    Args:
        folder: Where something is going to be written.
        called: What the message calls it, such as the option's name.

    Raises:
        UserError: It cannot be made, or takes no file.
    """
    folder = Path(folder)
    probe = folder / f".writable.{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(
            f"{called} {folder} cannot be written ({error.strerror}). Name a folder that you may write."
        ) from error
    return folder


def is_plain_name(name: str) -> bool:
    """Whether a name stays inside the folder that it is put into."""
    return name not in ("", ".", "..") and Path(name).name == name and name.isprintable() and len(name.encode()) < 200


def printable(text: str, kept: str = "\n\t") -> str:
    """A text of which a terminal obeys nothing: what steers it, as names in a foreign file may, stands as `\\x1b`.

    Args:
        text: What is going to be shown.
        kept: Characters that stay all the same; with "" the text becomes a single line, whatever names are in it.
    """
    return "".join(one if one.isprintable() or one in kept else one.encode("unicode_escape").decode() for one in text)


def unlinked(path: Path) -> Path:
    """The place of a file to write; a link there goes, so that nothing is written where it leads."""
    if path.is_symlink():
        path.unlink()
    return path


@contextmanager
def whole_folder(target: Path, called: str) -> Iterator[Path]:
    """A folder that becomes `target`, which is new or empty, at the end; after an error all is as it was before.

    Args:
        target: The folder to make; parents are made where they are missing.
        called: What the message calls it, such as the option's name.

    Raises:
        UserError: It cannot be written.
    """
    home = next(parent for parent in target.absolute().parents if parent.is_dir())
    unfinished = None
    try:
        unfinished = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=home))
        yield unfinished
        unfinished.chmod(0o755)  # mkdtemp is private
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            target.rmdir()
        unfinished.replace(target)
    except OSError as error:
        raise UserError(
            f"{called} {target} cannot be written ({error.strerror or error}). Name a folder that you may write."
        ) from error
    finally:
        if unfinished is not None:
            shutil.rmtree(unfinished, ignore_errors=True)
