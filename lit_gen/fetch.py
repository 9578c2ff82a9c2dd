"""A checkpoint's local file, wherever it lies: a path, a run's folder, any fsspec URL, or a W&B artifact."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_warn

from lit_gen.errors import UserError, nearest
from lit_gen.paths import cache_folder, find_input, places_searched
from lit_gen.run_folder import CHECKPOINT, newest

SUFFIXES = (".ckpt", ".safetensors", ".pt", ".pth", ".bin")


def local_copy(source: str, asker: str) -> Path:
    """The file of a source: itself where it is local, else a download that is kept in the cache.

    Args:
        source: A path (relative ones also count from the project of the YAML), the folder of a run, that of an
            experiment (its newest run), an fsspec URL (`https://`, `s3://`, `gs://`, `hf://`...), or
            `wandb://entity/project/artifact:alias`.
        asker: Whose option it is, for the message.

    Raises:
        UserError: There is nothing there, or it cannot be had.
    """
    if source.startswith("wandb://"):
        return _from_wandb(source, asker)
    if "://" in source:
        return _from_url(source, asker)
    path = find_input(source)
    if path.is_dir():
        newest_run = newest(path.parent, path.name)
        path = path if newest_run is None or (path / CHECKPOINT).is_file() else newest_run
    if (path / CHECKPOINT).is_file():
        return path / CHECKPOINT
    if not path.is_file():
        beside = (
            [file.name for file in path.parent.glob("*") if file.suffix in SUFFIXES] if path.parent.is_dir() else []
        )
        raise UserError(
            f"{asker}: no checkpoint at {places_searched(source)}.{nearest(path.name, beside)}\nRuns keep theirs at "
            "checkpoints/<experiment>/<run id>/last.ckpt."
        )
    return path


def sha256(path: Path) -> str:
    """The checksum of a file, read piece by piece."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _from_url(url: str, asker: str) -> Path:
    import fsspec
    from fsspec.callbacks import TqdmCallback

    folder = cache_folder() / "checkpoints" / hashlib.sha256(url.encode()).hexdigest()[:16]
    earlier = sorted(folder.glob("[!.]*/*"), key=lambda path: path.stat().st_mtime)
    try:
        system, remote = fsspec.core.url_to_fs(url)
        version = _version(system.info(remote))
    except Exception as error:  # each file system has errors of its own
        if earlier and not isinstance(error, FileNotFoundError | ImportError):
            rank_zero_warn(f"{asker}: {url} cannot be reached ({_first_line(error)}); taking the copy fetched before.")
            return earlier[-1]
        raise _unreachable(url, asker, error) from error
    path = folder / version / Path(remote.split("?")[0]).name
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f".{path.name}.{os.getpid()}")
        bar = TqdmCallback(
            tqdm_kwargs={"unit": "B", "unit_scale": True, "desc": f"fetching {path.name}", "leave": False}
        )
        try:
            system.get_file(remote, str(unfinished), callback=bar)
            unfinished.replace(path)  # several processes may fetch at once; each replaces a whole file by a whole file
        except Exception as error:
            raise _unreachable(url, asker, error) from error
        finally:
            unfinished.unlink(missing_ok=True)
    return path


def _version(info: dict[str, Any]) -> str:
    """What changes when the remote file does, as far as its file system tells."""
    told = [str(info.get(key)) for key in ("size", "ETag", "etag", "LastModified", "last_modified", "mtime", "created")]
    return hashlib.sha256(" ".join(told).encode()).hexdigest()[:16]


def _unreachable(url: str, asker: str, error: Exception) -> UserError:
    if isinstance(error, ImportError | ValueError):  # the file system's own package is missing, or there is none
        return UserError(f"{asker}: {url} cannot be read here: {_first_line(error)}\nType pip install with the package "
                         "that it names (s3fs for s3://, gcsfs for gs://, huggingface_hub for hf://).")  # fmt: skip
    return UserError(f"{asker}: {url} could not be fetched ({_first_line(error)}).\nCheck the address, or give a local "
                     "file.")  # fmt: skip


def _from_wandb(source: str, asker: str) -> Path:
    import wandb

    name = source.removeprefix("wandb://")
    if name.count("/") != 2:
        raise UserError(f"{asker}: {source} is no W&B artifact. Type wandb://entity/project/artifact:alias.")
    try:
        artifact = wandb.Api().artifact(name if ":" in name else f"{name}:latest")
        folder = Path(artifact.download(root=str(cache_folder() / "checkpoints" / artifact.digest)))
    except Exception as error:  # no login, no network, no such artifact
        raise UserError(
            f"{asker}: {source} could not be fetched from W&B ({_first_line(error)}).\nType wandb login, and check "
            "entity/project/artifact:alias."
        ) from error
    files = sorted(file for file in folder.rglob("*") if file.suffix in SUFFIXES)
    if len(files) != 1:
        found = ", ".join(file.name for file in files) or "none"
        raise UserError(
            f"{asker}: {source} holds {len(files)} checkpoints ({found}), expected one ({', '.join(SUFFIXES)})."
        )
    return files[0]


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
