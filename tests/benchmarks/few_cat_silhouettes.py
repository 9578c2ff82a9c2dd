"""How soon does a fine-tuned GAN of 100 cats beat the best that training from scratch ever reaches?

    python tests/benchmarks/few_cat_silhouettes.py --out /tmp/few_cats

Each arm is an experiment's YAML, the first one the baseline; each cell, an arm with a seed, is one
`python -m lit_gen fit` in a process of its own. The seed chooses the weights, the latents and the 100 cats, so that
arms of one seed learn from the same cats. The score is the KID of 2,000 EMA samples from fixed latents against the 200
held-out cats (val and test, which neither a GAN nor the classifier behind the features was trained on). `unseen` is the
same against the 700 train cats that are not among the 100; the classifier has seen those, so that it is a check only.

Finished cells are kept in --out and found again by their content, so that the script goes on where it was stopped.
`--options` are added to every command, e.g. `--options "--model.max_images 20_000"`.
"""

import argparse
import csv
import hashlib
import os
import shlex
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import yaml
from lightning.pytorch import Callback, LightningModule, Trainer
from silhouette_classifier import WEIGHTS, features_of, load_classifier
from torch import Tensor

import lit_gen
from datamodules.animal_silhouettes import AnimalSilhouettes
from lit_gen.checkpoint import load_data
from lit_gen.metrics.kid import kid

REPOSITORY = Path(__file__).parents[2]
ARMS = ("scratch", "finetune", "freezed")
SAMPLES = 2000
EVERY = 2000  # images between two scores


class CatScore:
    """KID of samples against the held-out cats, and against the train cats outside the 100 that `seed` chooses."""

    def __init__(self, seed: int) -> None:
        self.classifier = load_classifier()
        whole, few = (AnimalSilhouettes(classes=["cat"], n_images=n, seed=seed) for n in (None, 100))
        for data in (whole, few):
            data.prepare_data()
            data.setup()
            data.train_set.flip = False
        unseen = np.flatnonzero(~np.isin(whole.train_set.rows, few.train_set.rows))
        self.held_out = features_of(self.classifier, held_out(whole))
        self.unseen = features_of(self.classifier, whole.train_set.__getitems__(unseen)[0])

    def __call__(self, images: Tensor) -> tuple[float, float]:
        """(kid, unseen) of images (N, 1, 28, 28)."""
        fake = features_of(self.classifier, images.cpu())
        return kid(self.held_out, fake), kid(self.unseen, fake)


def held_out(data: AnimalSilhouettes) -> Tensor:
    """All images of val and test, (N, 1, 28, 28)."""
    return torch.cat([part.__getitems__(range(len(part)))[0] for part in (data.val_set, data.test_set)])


class ScoreCats(Callback):
    """Scores the EMA samples every so many images and at both ends of the run; the CSV has its name once it is whole.

    Args:
        path: The CSV, with the columns images, kid and unseen.
        seed: The data's, which chose the 100 cats.
    """

    def __init__(self, path: str, seed: int) -> None:
        self.path = Path(path)
        self.unfinished = self.path.with_suffix(".writing")
        self.score = CatScore(seed)
        self.rows: list[tuple[int, float, float]] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.add(pl_module)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: object) -> None:
        if pl_module.images_seen // EVERY > self.rows[-1][0] // EVERY:
            self.add(pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.unfinished.replace(self.path)

    def add(self, model: LightningModule) -> None:
        self.rows.append((model.images_seen, *self.score(model.sample(SAMPLES, seed=0))))
        with self.unfinished.open("w", newline="") as file:
            csv.writer(file).writerows([("images", "kid", "unseen"), *self.rows])


@dataclass(frozen=True)
class Cell:
    """One arm with one seed: what is run, and where its scores are kept."""

    config: Path
    seed: int
    options: tuple[str, ...]
    out: Path

    @property
    def path(self) -> Path:
        """The CSV; its name holds a hash of all that the scores depend on, code and comments aside."""
        settings = (yaml.safe_load(self.config.read_text()), self.options, SAMPLES, EVERY)
        content = [repr(settings).encode(), WEIGHTS.read_bytes()]
        content += [file.read_bytes() for file in sources(self.config)]
        digest = hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in content)).hexdigest()[:10]
        return self.out / f"{self.config.stem}-{self.seed}-{digest}.csv"

    def run(self) -> None:
        """Train in a process of its own, unless this was done before."""
        if self.path.exists():
            return
        arguments = {"path": str(self.path), "seed": self.seed}
        score = {"class_path": "few_cat_silhouettes.ScoreCats", "init_args": arguments}
        command = [sys.executable, "-m", "lit_gen", "fit", f"--config={self.config}", f"--seed_everything={self.seed}"]
        command += [f"--data.seed={self.seed}", f"--trainer.default_root_dir={self.out / 'runs'}", "--wandb=disabled"]
        command += [*self.options, f"--trainer.callbacks+={yaml.safe_dump(score, default_flow_style=True)}"]
        paths = [str(REPOSITORY), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
        log = self.path.with_suffix(".log")
        with log.open("w") as file:
            ended = subprocess.run(command, cwd=REPOSITORY, env=environment, stdout=file, stderr=file, check=False)
        if ended.returncode:
            raise SystemExit(f"{self.config.stem}, seed {self.seed} failed, see {log}:\n{log.read_text()[-800:]}")

    def scores(self) -> list[tuple[int, float, float]]:
        """(images, kid, unseen), in the order of the images."""
        with self.path.open(newline="") as file:
            return [(int(row["images"]), float(row["kid"]), float(row["unseen"])) for row in csv.DictReader(file)]


def sources(config: Path) -> list[Path]:
    """The checkpoint files that the callbacks of an experiment load."""
    callbacks = yaml.safe_load(config.read_text())["trainer"]["callbacks"]
    with_options = [callback for callback in callbacks if isinstance(callback, dict)]
    named = [callback.get("init_args", {}).get("source") for callback in with_options]
    return [REPOSITORY / name for name in named if name]


def last_crossing(scores: list[tuple[int, float, float]], bar: float, column: int = 1) -> int | None:
    """Images from which on every score stays below the bar to the end of the run; None where the last one does not."""
    crossing = None
    for row in reversed(scores):
        if row[column] >= bar:
            break
        crossing = row[0]
    return crossing


def table(cells: dict[tuple[str, int], Cell], arms: list[str], seeds: list[int], column: int = 1) -> list[str]:
    """Markdown: each arm's best, last and crossing, seed by seed, and the median ratio to the baseline's images."""
    lines = ["| arm | seed | first | best | at images | last | below the baseline's best from | ratio | at 20,000 |"]
    lines += ["|---|---|---|---|---|---|---|---|---|"]
    ratios: dict[str, list[float]] = {arm: [] for arm in arms}
    for arm in arms:
        for seed in seeds:
            baseline = min(cells[arms[0], seed].scores(), key=lambda row: row[column])
            scores = cells[arm, seed].scores()
            best = min(scores, key=lambda row: row[column])
            crossing = last_crossing(scores, baseline[column], column)
            ratios[arm].append(float("inf") if crossing is None else crossing / baseline[0])
            near = min(scores, key=lambda row: abs(row[0] - 20_000))
            shown = "" if arm == arms[0] else f"{crossing:,}" if crossing is not None else "never"
            ratio = "" if arm == arms[0] else f"{ratios[arm][-1]:.2f}"
            lines.append(
                f"| {arm} | {seed} | {scores[0][column]:.4f} | {best[column]:.4f} | {best[0]:,} | "
                f"{scores[-1][column]:.4f} | {shown} | {ratio} | {near[column]:.4f} |"
            )
    lines += ["", *(f"{arm}: median ratio {statistics.median(ratios[arm]):.2f}" for arm in arms[1:])]
    return lines


def untouched(source: Path) -> str:
    """The source's own samples before it saw any cat, what they are worth on the animals that it learned, and how much
    of the score is contrast, which a person does not see in them.
    """
    images = lit_gen.load(source).sample(SAMPLES, seed=0)
    score = CatScore(0)
    data = load_data(source)
    data.prepare_data()
    data.setup()
    reals = features_of(score.classifier, held_out(data))
    own, harder = (kid(reals, features_of(score.classifier, made)) for made in (images, (1.5 * images).clamp(-1, 1)))
    return (
        f"Untouched {source.name}: KID {score(images)[0]:.4f} against the held-out cats, {own:.4f} against the "
        f"{len(data.val_set) + len(data.test_set):,} held-out images of its own classes, {harder:.4f} with 1.5 times "
        "the contrast"
    )


def main() -> None:
    """Run what is missing, print and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("arms", nargs="*", help=f"YAMLs of experiments, the baseline first; by default {ARMS}")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, required=True, help="folder of the scores and the runs")
    parser.add_argument("--options", default="", help="added to every command")
    arguments = parser.parse_args()
    out = arguments.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    default = [REPOSITORY / "experiments" / f"gan_cat_silhouettes_{arm}.yaml" for arm in ARMS]
    configs = {file.stem: file.absolute() for file in map(Path, arguments.arms or default)}
    options = tuple(shlex.split(arguments.options))
    cells = {(arm, seed): Cell(configs[arm], seed, options, out) for arm in configs for seed in arguments.seeds}
    for number, cell in enumerate(sorted(cells.values(), key=lambda cell: cell.seed), 1):
        print(f"{number}/{len(cells)} {cell.config.stem}, seed {cell.seed}", flush=True)
        cell.run()
    lines = []
    for file in sorted({file for config in configs.values() for file in sources(config)}):
        lines += [untouched(file), ""]
    for name, column in (("KID against the 200 held-out cats", 1), ("Check: KID against the 700 unseen train cats", 2)):
        lines += [f"## {name}", "", *table(cells, list(configs), arguments.seeds, column), ""]
    (out / "result.md").write_text("\n".join(lines))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
