"""Where weights may come from, and what a file may not do."""

from __future__ import annotations

import os
import pickle
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from lit_gen.__main__ import main
from lit_gen.errors import UserError
from lit_gen.transfer.source import flatten, open_source

STATE = {"generator.weight": torch.arange(6.0).reshape(2, 3), "generator.bias": torch.ones(2)}


class Bomb:
    """A pickle that writes a file as soon as it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.write_text, (self.path, "it ran")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """An address at which the files of tmp_path/served are."""
    (tmp_path / "served").mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path / "served"))
    threading.Thread(target=http.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{http.server_port}"
    http.shutdown()
    http.server_close()


def check(spec: str | Path) -> None:
    found = open_source(str(spec), "LoadWeights")
    assert set(found.tensors) == set(STATE)
    assert all(torch.equal(found.tensors[name], tensor) for name, tensor in STATE.items())


@pytest.mark.parametrize("name", ["weights.pt", "weights.pth", "weights.ckpt"])
def test_state_dicts(name: str, tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / name)
    check(tmp_path / name)
    torch.save({"state_dict": STATE, "epoch": 3, "optimizer": {"lr": 1.0}}, tmp_path / name)
    check(tmp_path / name)
    torch.save({"generator": {"weight": STATE["generator.weight"], "bias": STATE["generator.bias"]}}, tmp_path / name)
    check(tmp_path / name)
    torch.save(STATE, tmp_path / name, _use_new_zipfile_serialization=False)  # as torch wrote before 1.6
    check(tmp_path / name)


def test_safetensors(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "weights.safetensors")
    check(tmp_path / "weights.safetensors")


def test_http(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fetched once, fetched again when it changes, and still there when the server is not."""
    monkeypatch.setenv("LIT_GEN_CACHE", str(tmp_path / "cache"))
    torch.save(STATE, tmp_path / "served" / "weights.pt")
    check(f"{server}/weights.pt")
    (fetched,) = (tmp_path / "cache").rglob("weights.pt")
    before = fetched.stat().st_mtime_ns
    check(f"{server}/weights.pt")
    assert fetched.stat().st_mtime_ns == before
    torch.save({**STATE, "more": torch.zeros(3)}, tmp_path / "served" / "weights.pt")
    assert "more" in open_source(f"{server}/weights.pt", "LoadWeights").tensors
    assert not list((tmp_path / "cache").rglob(".*"))  # nothing half done
    with pytest.raises(UserError, match="could not be fetched"):
        open_source(f"{server}/nothing.pt", "LoadWeights")


def test_any_fsspec_url(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "weights.pt")
    with fsspec.open("memory://bucket/weights.pt", "wb") as file:
        file.write((tmp_path / "weights.pt").read_bytes())
    check("memory://bucket/weights.pt")


def test_an_unreachable_server_costs_a_warning_where_a_copy_was_fetched(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIT_GEN_CACHE", str(tmp_path / "cache"))
    torch.save(STATE, tmp_path / "served" / "weights.pt")
    check(f"{server}/weights.pt")

    def unreachable(*args: object, **kwargs: object) -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr(fsspec.core, "url_to_fs", unreachable)
    with pytest.warns(UserWarning, match="taking the copy fetched before"):
        check(f"{server}/weights.pt")


def test_wandb_artifacts_are_asked_for_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """W&B's own client does the fetching; the call and what comes of it is what is tested."""
    import wandb

    asked = []

    class Artifact:
        digest = "abc"

        def download(self, root: str) -> str:
            Path(root).mkdir(parents=True)
            torch.save(STATE, Path(root) / "last.ckpt")
            return root

    class Api:
        def artifact(self, name: str) -> Artifact:
            asked.append(name)
            return Artifact()

    monkeypatch.setenv("LIT_GEN_CACHE", str(tmp_path))
    monkeypatch.setattr(wandb, "Api", Api)
    check("wandb://team/project/cats:v3")
    assert asked == ["team/project/cats:v3"]


def test_a_malicious_pickle_is_refused_and_nothing_runs(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    torch.save({"state_dict": STATE, "callbacks": Bomb(ran)}, tmp_path / "zipped.ckpt")
    (tmp_path / "bare.pt").write_bytes(pickle.dumps(Bomb(ran)))
    for name in ("zipped.ckpt", "bare.pt"):
        with pytest.raises(UserError, match="(?s)pickled code.*trust: true"):
            open_source(str(tmp_path / name), "LoadWeights")
    assert not ran.exists()
    assert set(open_source(str(tmp_path / "zipped.ckpt"), "LoadWeights", trust=True).tensors) == set(STATE)
    assert ran.read_text() == "it ran"  # so the bomb was a live one


def test_trust_also_reads_whole_modules(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "module.pt")
    with pytest.raises(UserError, match="trust: true"):
        open_source(str(tmp_path / "module.pt"), "LoadWeights")
    assert set(open_source(str(tmp_path / "module.pt"), "LoadWeights", trust=True).tensors) == {"weight", "bias"}


@pytest.mark.parametrize("suffix", ["ckpt", "safetensors"])
def test_a_truncated_file_is_one_message(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"weights.{suffix}"
    save_file(STATE, path) if suffix == "safetensors" else torch.save(STATE, path)
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(UserError, match="no.* readable"):
        open_source(str(path), "LoadWeights")


@pytest.mark.parametrize(
    ("content", "says"),
    [({"epoch": 3}, "holds no tensors"), ([1, 2], "holds a list"), ({}, "holds no tensors")],
)
def test_a_foreign_file_is_one_message(content: object, says: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "weights.pt")
    with pytest.raises(UserError, match=says):
        open_source(str(tmp_path / "weights.pt"), "LoadWeights")


def test_addresses_that_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "last.ckpt").touch()
    for spec, says in (
        (str(tmp_path / "lost.ckpt"), 'Did you mean "last.ckpt"'),
        ("nosuch://bucket/x.pt", "pip install"),
        ("wandb://project/x", "wandb://entity/project/artifact:alias"),
    ):
        with pytest.raises(UserError, match=says):
            open_source(spec, "LoadWeights")


def test_flatten_joins_names() -> None:
    assert set(flatten({"G": {"w": torch.ones(1), "n": 3}, 0: torch.ones(1)})) == {"G.w", "0"}


@pytest.mark.parametrize(
    "damaged",
    [{"hyper_parameters": 5}, {"run": None}, {"metrics": None}, {"data": {"class_names": 7}}, {"lineage": "x"},
     {"images_seen": "many"}, {"data": 3}],
)  # fmt: skip
def test_what_a_checkpoint_says_in_another_kind_it_does_not_say(damaged: dict, tmp_path: Path) -> None:
    torch.save({"state_dict": STATE, "images_seen": 3, **damaged}, tmp_path / "x.ckpt")
    check(tmp_path / "x.ckpt")
    main(["inspect", str(tmp_path / "x.ckpt")])


def test_a_checkpoint_of_ours_that_the_disk_changed_is_no_source(trained: Path, tmp_path: Path, refused) -> None:
    whole = bytearray((trained / "last.ckpt").read_bytes())
    value = torch.load(trained / "last.ckpt", weights_only=True)["state_dict"]["generator.head.weight"]
    place = bytes(whole).index(value.numpy().tobytes())
    whole[place + 3] ^= 64  # of an exponent: some number is now 10^38 times another
    (changed := tmp_path / "changed.ckpt").write_bytes(whole)
    with pytest.raises(UserError, match="its checksum does not fit what it holds"):
        open_source(str(changed), "LoadWeights")
    assert "its checksum does not fit what it holds" in refused("inspect", str(changed))
