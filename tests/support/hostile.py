"""Files that are out to do harm, made where a test needs them; a payload that runs leaves a file in `outside`."""

from __future__ import annotations

import builtins
import copy
import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

MARK = "ran"
GIANT = 2**32  # 4 GB
State = dict[str, Any]


class Runs:
    """Unpickled, it calls a function."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self.function, self.args = function, args

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.function, self.args


def foreign_module(outside: Path) -> Path:
    """A package on somebody's PYTHONPATH that does harm as soon as it is imported; its classes fit everywhere."""
    (outside / "foreign.py").write_text(
        f"from pathlib import Path\nPath({str(outside / MARK)!r}).touch()\n"
        "from torch import nn\nfrom lightning.pytorch import Callback, LightningDataModule, LightningModule\n"
        "class Net(nn.Module): pass\nclass Model(LightningModule): pass\nclass Watch(Callback): pass\n"
        "class Data(LightningDataModule): pass\n"
    )
    return outside


def checkpoints(folder: Path, good: Path, outside: Path) -> dict[str, Path]:
    """Hostile checkpoints by what is wrong with them.

    Args:
        folder: Where they are made.
        good: A checkpoint of a tiny digit GAN, which they are made from.
        outside: Where their payloads write.
    """
    touch = f"touch {outside / MARK}"
    state = torch.load(good, weights_only=True)
    held: dict[str, Any] = {
        "code by os.system": {**state, "extra": Runs(os.system, touch)},
        "code by eval": {**state, "state_dict": Runs(builtins.eval, f"open({str(outside / MARK)!r}, 'w')")},
        "dicts that double": {**state, "state_dict": doubling(40)},
        "dict that holds itself": {**state, "state_dict": circle()},
        "tensor of terabytes": {**state, "state_dict": {"w": torch.zeros(1).expand(2**20, 2**20)}},
        "words as weights": {**state, "state_dict": "none"},
        "numbers as names": {**state, "state_dict": {1: torch.zeros(1)}},
        "list as recipe": {**state, "hyper_parameters": ["GAN"]},
        "shape of words": {**state, "data": {"image_shape": "big", "class_names": []}},
        "names of numbers": {**state, "data": {"image_shape": None, "class_names": [1, {}]}},
        "adapters of nothing": {**state, "base": [5], "borrowed": {"w": 3}, "left_out": []},
        "adapters of a strange address": {
            **state,
            "base": [{"path": f"reference::file://{outside}", "sha256": "0"}],
            "borrowed": {},
            "left_out": [],
        },
        "foreign model": changed(state, "_class_path", "foreign.Model"),
        "model that is no model": changed(state, "_class_path", "subprocess.Popen"),
        "class path of a number": changed(state, "_class_path", 5),
        "foreign network": changed(state, "generator", {"class_path": "foreign.Net"}),
        "foreign network by its name alone": changed(state, "generator", "foreign.Net"),
        "network that is no network": changed(state, "generator", {"class_path": "torch.os.system"}),
        "foreign instantiator": changed(state, "_instantiator", "foreign.Net"),
        "giant network": changed(state, "generator", huge(state["hyper_parameters"])),
    }
    made = {name: folder / f"{name}.ckpt" for name in held}
    for name, content in held.items():
        torch.save(content, made[name])
    for name, write in FILES.items():
        made[name] = folder / f"{name}.ckpt"
        write(made[name], good.read_bytes(), outside)
    return made


def changed(state: State, key: str, value: Any) -> State:
    """A checkpoint with one other entry in the recipes of its model and of its data."""
    model, data = ({**state[name], key: value} for name in ("hyper_parameters", "datamodule_hyper_parameters"))
    return {**state, "hyper_parameters": model, "datamodule_hyper_parameters": data}


def huge(recipe: dict[str, Any]) -> dict[str, Any]:
    network = copy.deepcopy(recipe["generator"])
    network["init_args"]["width"] = 10**9
    return network


def doubling(levels: int) -> dict[str, Any]:
    """A few hundred bytes that are 2 ** levels tensors once they are looked through."""
    inside: dict[str, Any] = {"w": torch.zeros(1)}
    for _ in range(levels):
        inside = {"a": inside, "b": inside}
    return inside


def circle() -> dict[str, Any]:
    found: dict[str, Any] = {}
    found["a"] = found
    return found


def _empty(path: Path, good: bytes, outside: Path) -> None:
    path.write_bytes(b"")


def _cut(path: Path, good: bytes, outside: Path) -> None:
    path.write_bytes(good[: len(good) // 2])


def _plain_pickle(path: Path, good: bytes, outside: Path) -> None:
    path.write_bytes(pickle.dumps({"state_dict": Runs(os.system, f"touch {outside / MARK}")}, protocol=2))


def _claims(path: Path, good: bytes, outside: Path) -> None:
    """A pickle whose only string says that it has 4 GB."""
    path.write_bytes(b"\x80\x04\x8e" + struct.pack("<Q", GIANT) + b"few")


def _old_format(path: Path, good: bytes, outside: Path) -> None:
    """torch's format before archives, with a storage of 4 GB that is not there."""
    file = io.BytesIO()
    torch.save({"state_dict": {"w": torch.zeros(123457)}}, file, _use_new_zipfile_serialization=False)
    number = pickle.dumps(123457, protocol=2)[2:-1]
    path.write_bytes(file.getvalue().replace(number, b"\x8a\x05" + struct.pack("<Q", GIANT)[:5]))


def _bomb(path: Path, good: bytes, outside: Path) -> None:
    """An archive of which one member unpacks to a gigabyte."""
    repacked(path, good, {}, zipfile.ZIP_DEFLATED, grow="data.pkl")


def _climbs(path: Path, good: bytes, outside: Path) -> None:
    repacked(path, good, {f"../../../../{outside}/{MARK}": b"here"})


def _negative(path: Path, good: bytes, outside: Path) -> None:
    """Sizes of -1 in the archive's directory."""
    content = bytearray(good)
    for place in _places(good, b"PK\x01\x02"):
        content[place + 20 : place + 28] = b"\xff" * 8
    path.write_bytes(content)


def _giant(path: Path, good: bytes, outside: Path) -> None:
    """A member that says in the archive's directory that it has nearly 4 GB."""
    content = bytearray(good)
    place = _places(good, b"PK\x01\x02")[0]
    content[place + 20 : place + 28] = struct.pack("<II", GIANT - 2, GIANT - 2)
    path.write_bytes(content)


def _negative_shape(path: Path, good: bytes, outside: Path) -> None:
    """A tensor whose shape is (-3,), and that begins before its memory."""
    file = io.BytesIO()
    torch.save({"state_dict": {"w": torch.zeros(77)[75:]}}, file)
    with zipfile.ZipFile(file) as archive:
        name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
        pickled = archive.read(name).replace(b"K\x4b", b"J\xff\xff\xff\xff").replace(b"K\x02", b"J\xfd\xff\xff\xff")
    repacked(path, file.getvalue(), {name: pickled})


FILES = {
    "empty file": _empty,
    "half a file": _cut,
    "plain pickle": _plain_pickle,
    "string of 4 GB": _claims,
    "storage of 4 GB": _old_format,
    "zip bomb": _bomb,
    "member outside": _climbs,
    "members of negative size": _negative,
    "member of 4 GB": _giant,
    "shape below zero": _negative_shape,
}


def repacked(
    path: Path, archive: bytes, change: dict[str, bytes], packing: int = zipfile.ZIP_STORED, grow: str = ""
) -> None:
    """An archive with some members changed, or with one grown by a gigabyte of zeros."""
    with zipfile.ZipFile(io.BytesIO(archive)) as old, zipfile.ZipFile(path, "w", packing) as new:
        for name in dict.fromkeys([*old.namelist(), *change]):
            with new.open(name, "w") as member:
                member.write(change[name] if name in change else old.read(name))
                for _ in range(64 if grow and name.endswith(grow) else 0):
                    member.write(bytes(2**24))


def _places(content: bytes, mark: bytes) -> list[int]:
    """Where a mark stands."""
    found, place = [], content.find(mark)
    while place >= 0:
        found.append(place)
        place = content.find(mark, place + 1)
    return found


def safetensors(folder: Path) -> dict[str, Path]:
    """Hostile .safetensors files by what is wrong with them."""

    def tensor(shape: list[int], begin: int, end: int) -> bytes:
        return json.dumps({"w": {"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}}).encode()

    headers = {
        "header of 4 GB": (GIANT, b"{}"),
        "header of all that there is": (2**64 - 1, b"{}"),
        "offsets below zero": (None, tensor([1], -4, 0)),
        "offsets beyond the end": (None, tensor([GIANT], 0, 4 * GIANT)),
        "shape below zero": (None, tensor([-1], 0, 4)),
        "offsets that overlap": (None, tensor([1], 0, 4)[:-1] + b"," + tensor([1], 2, 6).replace(b'"w"', b'"v"')[1:]),
        "header that is no JSON": (None, b"[" * 100_000),
    }
    made = {name: folder / f"{name}.safetensors" for name in headers}
    for name, (length, header) in headers.items():
        made[name].write_bytes(struct.pack("<Q", len(header) if length is None else length) + header + bytes(8))
    return made


def laughs(levels: int = 9) -> str:
    """A YAML of a few lines that is 10 ** levels words once its anchors are written out."""
    lines = ["a0: &a0 [lol, lol]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, levels)]
    return "\n".join(lines) + "\n"


YAMLS = {
    "billion laughs": laughs(),
    "merges that double": "a0: &a0 {k: 1}\n"
    + "".join(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}\n" for n in range(1, 9)),
    "anchor that holds itself": "model: &m {class_path: GAN, init_args: *m}\n",
    "lists in lists": "model: " + "[" * 20_000 + "\n",
    "Python object": "model: !!python/object/apply:os.system ['touch ran']\n",
    "date that there is not": "model: 2001-99-99\n",
    "number of 5,000 digits": f"model: {'9' * 5000}\n",
    "characters that are none": "model: \x00\x01\n",
    "two documents": "model: GAN\n---\nmodel: GAN\n",
    "key that is a list": "? [a, b]\n: 1\n",
}
