"""Names that several test files share."""

from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
GAN_MNIST = REPOSITORY / "experiments" / "gan_mnist5k.yaml"
# Tiny networks and few images: what is tested is the way through, not the picture at its end.
TINY = [
    "--model.generator.width=4",
    "--model.discriminator.width=4",
    "--data.batch_size=16",
    "--model.max_images=64",
    "--trainer.log_every_n_steps=2",
    "--trainer.check_val_every_n_epoch=1",
    "--trainer.limit_val_batches=2",
    "--trainer.limit_test_batches=2",
]  # fmt: skip

# Measures generated images in no time: a whole batch of them and a small one, by an extractor of almost no weights.
MEASURED = [
    "--trainer.callbacks+=Evaluation",
    "--trainer.callbacks.extractor=tiny_extractor.TinyExtractor",
    "--trainer.callbacks.n=70",
    "--trainer.callbacks.n_test=70",
]


def newest_run(root: Path) -> Path:
    """The folder of the run that was started last below a root."""
    return max(root.glob("*/*/run.json"), key=lambda path: path.stat().st_mtime).parent
