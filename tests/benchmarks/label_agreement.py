"""Are conditional samples of the class that was wanted? By a small classifier of the checkpoint's own data set.

    python tests/benchmarks/label_agreement.py checkpoints/cgan_mnist5k/<run id>/last.ckpt

It trains the classifier of digit_quality.py on the whole train split of the data that the checkpoint was trained on,
whatever `n_images` of it the checkpoint saw, draws EMA samples of all classes in turn and prints what it found. Nothing
is asserted: this is a measurement.
"""

import argparse

import torch
from digit_quality import accuracy, as_seen, inception_style_score, load_reals, log_probabilities, train_classifier
from torch import Tensor


def spread(images: Tensor, labels: Tensor) -> list[float]:
    """Mean distance in pixel space between two images of the same class, for each class."""
    found = []
    for label in range(int(labels.max()) + 1):
        pixels = images[labels == label].flatten(1)
        distances = torch.pdist(pixels)
        found.append(distances.mean().item())
    return found


def main() -> None:
    """Print the classifier's held-out accuracy, the agreement of the samples, their score and their spread."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("checkpoint", help="path of a .ckpt that lit_gen wrote")
    parser.add_argument("--n", type=int, default=2000, help="number of samples")
    parser.add_argument("--seed", type=int, default=0, help="seed of the samples; the classifier's is always 0")
    parser.add_argument("--epochs", type=int, default=10, help="epochs of the classifier")
    arguments = parser.parse_args()

    import lit_gen
    from lit_gen.checkpoint import load_data

    model = lit_gen.load(arguments.checkpoint)
    (wanted,) = model.conditions(arguments.n)
    samples = model.sample(arguments.n, wanted, seed=arguments.seed).cpu()
    data = load_data(arguments.checkpoint)
    data.n_images = None
    reals = load_reals(data)
    classifier = train_classifier(reals.train_images, reals.train_labels, epochs=arguments.epochs)

    real = log_probabilities(classifier, reals.held_out_images)
    fake = log_probabilities(classifier, samples)
    names = model.class_names or [str(label) for label in range(model.n_classes)]
    score, real_score = inception_style_score(fake), inception_style_score(real)
    between = [
        one / other
        for one, other in zip(
            spread(as_seen(samples), wanted), spread(reals.held_out_images, reals.held_out_labels), strict=True
        )
    ]
    print(f"classifier       {accuracy(real, reals.held_out_labels):.1%} of {len(real)} held-out real images")
    print(f"agreement        {accuracy(fake, wanted):.1%} of {len(fake)} EMA samples, seed {arguments.seed}")
    for label, name in enumerate(names):
        held_out, made = reals.held_out_labels == label, wanted == label
        of_real = accuracy(real[held_out], reals.held_out_labels[held_out])
        of_fake = accuracy(fake[made], wanted[made])
        print(f"  {name:<14} {of_fake:.1%}   (real {of_real:.1%})   spread {between[label]:.2f} of the real one")
    print(f"score            {score:.3f}, held-out {real_score:.3f}, ratio {score / real_score:.3f}")
    print(
        f"spread           {sum(between) / len(between):.2f} of the real one (mean distance within a class, in pixels)"
    )


if __name__ == "__main__":
    main()
