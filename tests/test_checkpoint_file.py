"""A checkpoint on the disk: damage is seen wherever it is, and nothing that can be read is given up for what cannot."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

import lit_gen
from lit_gen import checkpoint_file
from lit_gen.checkpoint import read
from lit_gen.checkpoint_file import damage_of, readable, write
from lit_gen.errors import UserError
from lit_gen.run_folder import previous


def content(images: int) -> dict:
    return {"state_dict": {"weight": torch.full((3,), float(images))}, "images_seen": images}


def images_in(path: Path) -> int:
    return torch.load(path, weights_only=True)["images_seen"]


@pytest.fixture
def last(tmp_path: Path) -> Path:
    """A checkpoint of 2 images, and before it one of 1."""
    path = tmp_path / "last.ckpt"
    write(content(1), path)
    write(content(2), path)
    return path


@contextmanager
def no_file_beyond(size: int) -> Iterator[None]:
    """As on a full disk: the operating system takes no more of a file than this."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_file_that_torch_and_lit_gen_read(last: Path, trained: Path) -> None:
    for mapped in (False, True):
        loaded = torch.load(last, weights_only=True, mmap=mapped)
        assert torch.equal(loaded["state_dict"]["weight"], torch.full((3,), 2.0))
    assert damage_of(trained / "last.ckpt") is None
    assert lit_gen.load(trained / "last.ckpt").images_seen == 64


def test_the_one_before_is_kept(last: Path) -> None:
    assert (images_in(last), images_in(previous(last))) == (2, 1)
    assert sorted(path.name for path in last.parent.iterdir()) == ["last.ckpt", "last.previous.ckpt"]


def test_every_flipped_bit_and_every_missing_end_is_seen(last: Path) -> None:
    whole, copy = last.read_bytes(), last.with_name("copy.ckpt")
    copy.write_bytes(whole)
    with copy.open("r+b", buffering=0) as file:
        for place, byte in enumerate(whole):
            os.pwrite(file.fileno(), bytes([byte ^ 1 << place % 8]), place)
            assert damage_of(copy), place
            os.pwrite(file.fileno(), bytes([byte]), place)
        assert damage_of(copy) is None
        for length in range(len(whole) - 1, -1, -1):
            file.truncate(length)
            assert damage_of(copy), length


def test_a_checkpoint_without_a_seal_goes_by_the_checksums_of_its_archive(tmp_path: Path) -> None:
    path = tmp_path / "foreign.ckpt"
    torch.save(content(3), path)
    assert damage_of(path) is None
    whole = path.read_bytes()
    place = whole.index(torch.full((3,), 3.0).numpy().tobytes())
    path.write_bytes(whole[:place] + b"\x01" + whole[place + 1 :])
    with pytest.raises(UserError, match=r"(?s)foreign\.ckpt is not readable: the checksum of .*Name another"):
        read(path)


def test_a_damaged_one_is_passed_over_for_the_one_before(last: Path) -> None:
    last.write_bytes(last.read_bytes()[:-1])
    with pytest.warns(UserWarning, match="last.ckpt is not readable: .*Taking the checkpoint before it"):
        assert readable(last) == previous(last)
    with pytest.raises(UserError, match="The checkpoint before it is whole: .*last.previous.ckpt"):
        read(last)
    last.unlink()
    with pytest.warns(UserWarning, match="it is missing"):
        assert readable(last) == previous(last)
    previous(last).write_bytes(b"")
    with pytest.raises(UserError, match=r"missing, and so is last\.previous\.ckpt"):
        readable(last)


def test_a_damaged_one_never_takes_the_place_of_the_one_before(last: Path) -> None:
    last.write_bytes(last.read_bytes()[:-1])
    write(content(3), last)
    assert (images_in(last), images_in(previous(last))) == (3, 1)


@pytest.mark.parametrize("room", [0, 1, 500])
def test_a_full_disk_leaves_both_as_they_were(last: Path, room: int) -> None:
    with no_file_beyond(room), pytest.raises(UserError, match=r"cannot be written \(File too large\); the checkpoint"):
        write(content(3), last)
    assert (images_in(last), images_in(previous(last))) == (2, 1)
    assert len(list(last.parent.iterdir())) == 2


def test_what_the_disk_changed_does_not_take_the_place(last: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sealed = checkpoint_file.sealed
    monkeypatch.setattr(checkpoint_file, "sealed", lambda held: bytes(sealed(held))[:-1])
    with pytest.raises(UserError, match="cannot be written .its checksum is damaged."):
        write(content(3), last)
    assert images_in(last) == 2


class Killed(BaseException):
    """In place of SIGKILL: no line of `write` may catch it."""


@pytest.mark.parametrize("links", [True, False])
def test_at_every_step_of_writing_there_is_one_to_go_on_from(
    last: Path, links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before the first, the second, ... of all calls that change what is on the disk."""
    left = 0

    def stepping(call):
        def step(*args, **kwargs):
            nonlocal left
            left -= 1
            if left < 0:
                raise Killed
            return call(*args, **kwargs)

        return step

    def no_link(*args):
        raise OSError("this file system has no links")

    monkeypatch.setattr(os, "fsync", stepping(os.fsync))
    monkeypatch.setattr(Path, "replace", stepping(Path.replace))
    monkeypatch.setattr(Path, "unlink", stepping(Path.unlink))
    monkeypatch.setattr(Path, "hardlink_to", stepping(Path.hardlink_to) if links else no_link)
    seen, steps = 2, 0
    while True:
        left = steps
        try:
            write(content(seen + 1), last)
        except Killed:
            found = last if links or last.exists() else previous(last)
            assert damage_of(found) is None
            assert images_in(found) in (seen, seen + 1)
            seen, steps = images_in(found), steps + 1
        else:
            break
    assert steps >= 4
    assert (images_in(last), images_in(previous(last))) == (seen + 1, seen)
