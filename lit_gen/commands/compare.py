"""Lay runs or checkpoints side by side from their own files: compare RUN RUN ... --out compare.html."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn
from torchvision.utils import make_grid
from tqdm.auto import tqdm

from lit_gen.checkpoint import load_model
from lit_gen.commands.predict import HeldOut
from lit_gen.errors import UserError, nearest
from lit_gen.files import writable_folder, write_whole
from lit_gen.metrics.comparison import Ranking, paired, rank
from lit_gen.metrics.comparison_html import Comparison, Side, beside_best, html
from lit_gen.metrics.numbers import counts, with_interval
from lit_gen.metrics.report import WIDTH
from lit_gen.metrics.runs import Run, read_run
from lit_gen.transfer.plan import columns

PAGE = "compare.html"


def compare(*runs: str, out: str = PAGE, n: int = 8, seed: int = 0, metric: str | None = None) -> None:
    """Lay runs or checkpoints side by side: settings that differ, curves, the same latents, and which is better.

    Args:
        runs: Folders of runs, folders of experiments (the newest run), or checkpoints; two at least.
        out: The page, one HTML file that carries its pictures with it; a folder gets a `compare.html`.
        n: Images of each run.
        seed: Of the latents, the same for all.
        metric: The number that decides, `kid` where there is one.
    """
    if len(runs) < 2:
        raise UserError(
            f"compare: found {len(runs)} run{'s' * (len(runs) != 1)}, expected two at least.\nType python -m lit_gen "
            "compare RUN RUN, with folders such as checkpoints/<experiment>/<run id>."
        )
    if n < 1:
        raise UserError(f"compare: --n is {n}, expected at least 1.")
    found = [read_run(run) for run in runs]
    page = Path(out) / PAGE if Path(out).is_dir() else Path(out)
    writable_folder(page.parent, "--out")
    sides, latents = [], set()
    for run in tqdm(found, desc="compare", unit=" runs", leave=False):
        model = load_model(run.checkpoint)
        sides.append(side_of(run, model, n, seed))
        latents.add(_latents(model))
    comparison = _comparison(sides, metric)
    if len(latents - {None}) > 1:
        comparison.notes.append("Latents of different sizes have nothing in common, though the seed is the same.")
    write_whole(page, html(comparison))
    print("\n".join(lines(comparison)))
    print(f"\nWith images and curves: {page}")


def side_of(run: Run, model: nn.Module, n: int, seed: int) -> Side:
    """One run with its images, of the same latents or the same held-out images as those of the others."""
    side = Side(run, type(model).__name__, getattr(model, "images_seen", 0))
    modes = getattr(model, "modes", ())
    if not modes:
        side.caption = f"{side.model} makes no images"
        return side
    mode = "sample" if "sample" in modes else modes[0]
    try:
        made = list(model.make(mode, n, seed, source=HeldOut(run.checkpoint, n, n)))
    except UserError as error:  # the data is not on this machine; all else still can be compared
        side.caption = f"{mode} cannot be shown: {error}"
        return side
    panels = torch.cat([part.images[:, None] if part.panels is None else part.panels for part in made])
    columns = len(panels)
    images = panels.transpose(0, 1).flatten(0, 1).float()  # source, translation, reconstruction below each other
    side.samples = make_grid(images, nrow=columns, normalize=True, value_range=(-1, 1), pad_value=0.5)
    side.caption = f"{run.name}, mode {mode}" + (f", seed {seed}" if mode == "sample" else ", held-out images")
    return side


def _latents(model: nn.Module) -> int | None:
    """The size of the model's latents, where it begins with any."""
    sizes = (getattr(getattr(model, part, None), "latent_dim", None) for part in ("generator", "decoder"))
    return next((size for size in sizes if size is not None), None)


def _comparison(sides: list[Side], metric: str | None) -> Comparison:
    """Ranks the runs by each number that two of them have."""
    numbers = [side.run.numbers(side.images_seen) for side in sides]
    keys = dict.fromkeys(key for found in numbers for key in found)
    reports = [side.run.report for side in sides]
    shared = [key for key in keys if sum(key in found for found in numbers) > 1]
    ranked = (
        rank([found.get(key) for found in numbers], lambda a, b: paired(reports[a], reports[b])) for key in shared
    )
    rankings = [ranking for ranking in ranked if ranking is not None]
    notes = [f"run {place + 1}: {note}" for place, side in enumerate(sides) for note in side.run.notes]
    if len({(r.data_digest, r.split, r.against) for r in reports if r is not None}) > 1:
        notes.append("These runs were held against different images, which may account for a difference.")
    first = _deciding(rankings, metric)
    if first is None:
        return Comparison(sides, [], ["Which is better is not known: no two of them have a number in common."], notes)
    others = [ranking for ranking in rankings if ranking is not first]
    verdicts = [*first.sentences(), *(said for ranking in others for said in ranking.objection(first.best))]
    return Comparison(sides, [first, *others], verdicts, notes)


def _deciding(rankings: list[Ranking], metric: str | None) -> Ranking | None:
    """The number that the user named, by its name or its key; else the first KID, else the first of all."""
    names = {ranking.key: ranking.estimates[ranking.best].name for ranking in rankings}
    wanted = [ranking for ranking in rankings if (metric or "kid") in (ranking.key, names[ranking.key])]
    if metric is not None and not wanted:
        known = sorted({*names, *names.values()})
        raise UserError(
            f"compare: no two of these runs have {metric!r} in common, they have {', '.join(known) or 'no numbers'}."
            f"{nearest(metric, known)}\nMeasure both: python -m lit_gen test --config RUN/config.yaml --ckpt_path RUN"
        )
    return next(iter([*wanted, *rankings]), None)


def lines(comparison: Comparison) -> Iterator[str]:
    """What is printed, line by line."""
    for place, side in enumerate(comparison.sides):
        yield f"run {place + 1}: {side.title}"
    for ranking in comparison.rankings:
        yield f"\n{ranking.key} ({ranking.better} is better), with its 95 % interval, of generated/real images"
        have = [(place, found) for place, found in enumerate(ranking.estimates) if found is not None]
        rows = [(f"  run {p + 1}", with_interval(found), counts(found), beside_best(ranking, p)) for p, found in have]
        yield columns(rows)
    if comparison.config:
        room = max(8, (WIDTH - max(map(len, comparison.config))) // len(comparison.sides) - 2)
        heads = ["set differently", *(f"run {place + 1}" for place in range(len(comparison.sides)))]
        rows = [[name, *(_short(value, room) for value in values)] for name, values in comparison.config.items()]
        yield f"\n{columns([heads, *rows])}"
    yield ""
    said = [*comparison.verdicts, *(f"Note: {note}" for note in comparison.notes)]
    for line in (line for text in said for line in text.splitlines()):
        # What is to be typed stays in one line.
        yield from [line] if line.startswith("python") else textwrap.wrap(line, WIDTH, subsequent_indent="  ")


def _short(value: str, room: int) -> str:
    return value if len(value) <= room else f"{value[: room - 3]}..."
