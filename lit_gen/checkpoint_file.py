"""How a checkpoint lies on the disk: written whole, with a checksum at its end, the one before it kept beside it."""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.utilities import rank_zero_warn

from lit_gen.errors import UserError
from lit_gen.run_folder import previous

# torch writes a zip archive, and whatever reads one passes over a comment at its end.
END_OF_ARCHIVE, SIZE_OF_END = b"PK\x05\x06", 22
MARK = b"\nsha256 "
SEAL = len(MARK) + 2 * hashlib.sha256().digest_size
CHUNK = 1 << 20


class DurableCheckpoints(TorchCheckpointIO):
    """Every checkpoint that the Trainer writes, Lightning's own among them, by `write`."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        if storage_options is not None or "://" in str(path):  # somebody else's disk, which nobody can sync from here
            super().save_checkpoint(checkpoint, path, storage_options)
        else:
            write(checkpoint, Path(path))


def write_durably(trainer: Trainer) -> None:
    """From now on the Trainer's checkpoints are DurableCheckpoints, unless the user brought another way."""
    if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
        trainer.strategy.checkpoint_io = DurableCheckpoints()


def write(checkpoint: dict[str, Any], path: Path) -> None:
    """Writes a checkpoint that takes its place only when it lies on the disk and can be read; keeps the one before.

    Whenever the power fails, `path` is the old checkpoint or the new one.

    Args:
        checkpoint: What torch.save takes.
        path: The file. A readable one that is there becomes `previous(path)`.

    Raises:
        UserError: There is no room, or no permission; `path` is as it was.
    """
    unfinished = path.with_name(f".{path.name}.writing")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with unfinished.open("wb") as file:
            file.write(sealed(checkpoint))
            file.flush()
            os.fsync(file.fileno())
        if damage := damage_of(unfinished):
            raise OSError(None, damage)
        if path.is_file() and damage_of(path) is None:  # a damaged one would take the place of a readable one
            _keep(path)
        unfinished.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise UserError(
            f"{path} cannot be written ({error.strerror or error}); "
            f"{'the checkpoint before is untouched' if path.is_file() else 'there is none yet'}.\n"
            "Make room, or permit writing there, and go on by the same command with --ckpt_path last."
        ) from error


def sealed(checkpoint: dict[str, Any]) -> memoryview:
    """The bytes of a file that torch.load reads, with the SHA-256 of all before it at its end."""
    buffer = io.BytesIO()
    torch.save(checkpoint, buffer)
    whole = buffer.getbuffer()
    assert bytes(whole[-SIZE_OF_END:][:4]) == END_OF_ARCHIVE, "torch.save writes a zip archive without a comment"
    whole[-2:] = SEAL.to_bytes(2, "little")  # the length of the comment
    digest = hashlib.sha256(whole)
    digest.update(MARK)
    del whole  # a buffer that somebody looks at cannot grow
    buffer.write(MARK + digest.hexdigest().encode())
    return buffer.getbuffer()


def readable(path: Path) -> Path:
    """The checkpoint, or the one before it where it is damaged or missing, which is said.

    Raises:
        UserError: Neither can be read.
    """
    damage = damage_of(path) if path.is_file() else "it is missing"
    if damage is None:
        return path
    before = previous(path)
    if before.is_file() and damage_of(before) is None:
        rank_zero_warn(f"{path} is not readable: {damage}. Taking the checkpoint before it, {before}.")
        return before
    also = f", and so is {before.name}" if before.is_file() else f", and there is no {before.name}"
    raise UserError(
        f"{path} is not readable: {damage}{also}.\nName another checkpoint with --ckpt_path, or leave it out to begin "
        "a new run."
    )


def refuse_damaged(path: Path) -> None:
    """For a checkpoint that was named, in whose place no other is taken.

    Raises:
        UserError: Its checksum does not fit.
    """
    if zipfile.is_zipfile(path) and (damage := damage_of(path)):  # of older formats torch itself has to judge
        before = previous(path)
        whole = before.is_file() and damage_of(before) is None
        raise UserError(
            f"{path} is not readable: {damage}.\n"
            + (f"The checkpoint before it is whole: {before}" if whole else "Name another checkpoint.")
        )


def damage_of(path: Path) -> str | None:
    """What is wrong with a file that torch wrote, or None; without a seal the archive's own checksums have to do."""
    try:
        with path.open("rb") as file:
            body = file.seek(0, os.SEEK_END) - SEAL
            file.seek(max(body, 0))
            seal = file.read()
            if body > 0 and seal.startswith(MARK):
                fits = seal[len(MARK) :] == _digest(file, body)
                return None if fits else "its checksum does not fit what it holds"
        if not zipfile.is_zipfile(path):
            return "it is cut short, or no checkpoint"
        end = seal[-SIZE_OF_END:]
        if not end.startswith(END_OF_ARCHIVE) or end[-2:] != b"\0\0":  # torch itself writes no comment
            return "its checksum is damaged"
        with zipfile.ZipFile(path) as archive:
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                return "it is compressed, as torch never writes it"  # and might swell without end
            wrong = archive.testzip()
            return wrong and f"the checksum of {wrong} does not fit what it holds"
    except (OSError, zipfile.BadZipFile, ValueError, EOFError, NotImplementedError, RuntimeError) as error:
        return str(error) or type(error).__name__


def _digest(file: BinaryIO, body: int) -> bytes:
    """The SHA-256, in hexadecimal, of the first `body` bytes and the mark behind them."""
    digest = hashlib.sha256()
    file.seek(0)
    while body > 0:
        part = file.read(min(body, CHUNK))
        digest.update(part)
        body -= len(part) or body
    digest.update(MARK)
    return digest.hexdigest().encode()


def _keep(path: Path) -> None:
    """Gives the checkpoint a second name, so that its own is free for the next and never without a file."""
    second = path.with_name(f".{path.name}.keeping")
    second.unlink(missing_ok=True)
    try:
        second.hardlink_to(path)
    except OSError:  # a file system without links: for a moment only the second name is there, which `readable` knows
        path.replace(previous(path))
    else:
        second.replace(previous(path))
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """The names in a folder survive a loss of power as well."""
    if os.name == "nt":  # Windows opens no folders
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
