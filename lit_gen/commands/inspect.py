"""Show what a checkpoint holds: inspect last.ckpt."""

from __future__ import annotations

import json as to_json
from collections.abc import Iterator
from typing import Any

from lit_gen.checkpoint_content import as_written
from lit_gen.files import printable
from lit_gen.transfer import lineage
from lit_gen.transfer.plan import by, columns
from lit_gen.transfer.source import Source, open_source


def inspect(ckpt_path: str, json: bool = False, trust: bool = False) -> None:
    """Show what a checkpoint holds: names that globs take, shapes, counts, hyper-parameters, metrics, lineage.

    Args:
        ckpt_path: Checkpoint, state dict or .safetensors: a path, the folder of a run, an fsspec URL, a W&B artifact.
        json: The same as JSON, for programs.
        trust: Also read pickles that hold more than tensors. They can run any code with your rights.
    """
    source = open_source(ckpt_path, "inspect", trust)
    with as_written(source.path):
        said = to_json.dumps(as_dict(source), indent=2) if json else "\n".join(lines(source))
    print(said if json else printable(said))


def as_dict(source: Source) -> dict[str, Any]:
    """Everything but the numbers, as JSON can hold it."""
    tensors = {
        name: {"shape": list(tensor.shape), "dtype": str(tensor.dtype).removeprefix("torch.")}
        for name, tensor in source.tensors.items()
    }
    return {**lineage.describe(source), "hyper_parameters": source.recipe, "class_names": source.class_names,
            "metrics": source.metrics, "lineage": source.lineage, "tensors": tensors}  # fmt: skip


def lines(source: Source) -> Iterator[str]:
    """What is printed, line by line."""
    size = source.path.stat().st_size
    yield f"{source.spec}: {source.family}, {size / 2**20:,.1f} MiB, sha256 {source.sha256}"
    if source.images_seen is not None:
        yield f"{source.images_seen:,} images seen" + (f", run {source.run['id']}" if source.run.get("id") else "")
    if source.class_names:
        yield f"classes: {', '.join(source.class_names)}"
    yield ""
    yield from tree(source)
    if source.recipe:
        yield from ("", "hyper-parameters", *settings(source.recipe))
    if source.metrics:
        cells = [(f"  {name}", f"{value:.6g}") for name, value in sorted(source.metrics.items())]
        yield from ("", "metrics", columns(cells))
    if source.lineage:
        yield from ("", "lineage", *lineage.lines(source.lineage))


def tree(source: Source) -> Iterator[str]:
    """Modules and tensors by their dotted names, with shapes and the count of numbers below each module."""
    counts: dict[str, int] = {}
    for name, tensor in source.tensors.items():
        parts = name.split(".")
        for end in range(1, len(parts)):
            module = ".".join(parts[:end])
            counts[module] = counts.get(module, 0) + tensor.numel()
    cells, shown = [], set()
    for name, tensor in source.tensors.items():
        parts = name.split(".")
        for end in range(1, len(parts)):
            module = ".".join(parts[:end])
            if module not in shown:
                shown.add(module)
                cells.append((f"{'  ' * (end - 1)}{module}", "", f"{counts[module]:,}"))
        cells.append((f"{'  ' * (len(parts) - 1)}{name}", by(list(tensor.shape)), f"{tensor.numel():,}"))
    cells.append(("all", "", f"{sum(tensor.numel() for tensor in source.tensors.values()):,}"))
    yield columns([("name", "shape", "numbers"), *cells])


def settings(recipe: dict[str, Any], indent: str = "  ") -> Iterator[str]:
    """Hyper-parameters as YAML would have them, less what nobody set."""
    for name, value in recipe.items():
        if name.startswith("_") or value is None:
            continue
        if isinstance(value, dict) and "class_path" in value:
            yield f"{indent}{name}: {value['class_path'].rpartition('.')[2]}"
            yield from settings(value.get("init_args") or {}, indent + "  ")
        else:
            yield f"{indent}{name}: {value}"
