"""Could a classifier learn from generated images what it needs for real ones?"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lit_gen.errors import UserError
from lit_gen.metrics.base import Better, Evidence, Metric
from lit_gen.metrics.distances import finite

PENALTY = (
    100.0  # of |w|^2 / 2 against the summed loss: on photographs of cats and dogs slightly better than 1, as quick
)
MOST_STEPS = 1000


class ClassificationAccuracy(Metric):
    """Classification accuracy score: learn from generated images, test on real ones (Ravuri & Vinyals 2019, section 3).

    The paper (arXiv:1905.10887) trains a deep network; here it is logistic regression on the extractor's features, and
    takes a second. It asks two things at once: are images of the class that was wanted, and do they show what tells
    the classes apart in real ones?
    """

    better: dict[str, Better] = {"classification_accuracy": "higher"}
    needs = ("fake_labels", "real_labels")
    within = (0.0, 1.0)

    def __call__(self, evidence: Evidence) -> dict[str, float]:
        """The share of real images that are classified right, in [0, 1].

        Raises:
            UserError: The real images have one class, or a class of theirs has no generated image.
        """
        check_classes(evidence.real_labels, evidence.fake_labels)
        return {"classification_accuracy": self._accuracy(evidence)}

    def replicates(self, evidence: Evidence, blocks: int) -> dict[str, Sequence[float]]:
        """Learnt anew without each of the blocks; a rare class may be gone then, which is an answer, not a mistake."""
        found = [self._accuracy(evidence.without(block, blocks)) for block in range(blocks)]
        return {"classification_accuracy": found}

    def _accuracy(self, evidence: Evidence) -> float:
        return transferred_accuracy(evidence.fake, evidence.fake_labels, evidence.real, evidence.real_labels)


def transferred_accuracy(features: Tensor, labels: Tensor, real: Tensor, real_labels: Tensor) -> float:
    """Accuracy on real images of multinomial logistic regression learnt from others (Ravuri & Vinyals 2019, section 3).

    Args:
        features: Of the images to learn from, (M, F).
        labels: Their classes, (M,) int64.
        real: Features of the images to test on, (N, F).
        real_labels: Their classes, (N,) int64.

    Returns:
        The share that is classified right, in [0, 1].

    Raises:
        UserError: A feature is not finite.
    """
    return (classifier_of(features, labels)(real) == real_labels).double().mean().item()


def classifier_of(features: Tensor, labels: Tensor) -> Callable[[Tensor], Tensor]:
    """Multinomial logistic regression: a function that says of features (N, F) which class (N,) they are of.

    Features are brought to mean 0 and deviation 1 by what is learnt from; |w|^2 is penalised.

    Args:
        features: Of the images to learn from, (M, F).
        labels: Their classes, (M,) int64.

    Raises:
        UserError: A feature is not finite, here or in what the function is given.
    """
    from sklearn.linear_model import LogisticRegression  # takes a second, and few commands need it

    if len(labels.unique()) == 1:
        return lambda rows: labels[:1].expand(len(rows))
    learn = finite(features)
    deviation, mean = torch.std_mean(learn, 0)
    scale = deviation.where(
        deviation > 1e-7 * mean.abs(), 1.0
    )  # what does not vary says nothing, whatever its rounding
    model = LogisticRegression(C=1 / PENALTY, max_iter=MOST_STEPS)
    model.fit(((learn - mean) / scale).numpy(), labels.numpy())
    return lambda rows: torch.from_numpy(model.predict(((finite(rows) - mean) / scale).numpy()))


def check_classes(real_labels: Tensor, fake_labels: Tensor) -> None:
    """Refuses classes from which nothing can be learnt.

    Raises:
        UserError: The real images have one class, or a class of theirs has no generated image.
    """
    real, fake = (set(labels.tolist()) for labels in (real_labels, fake_labels))
    if len(real) < 2:
        raise UserError(
            f"ClassificationAccuracy: found real images of {len(real)} class, expected 2 classes or more.\nLeave it "
            "out of the metrics, or give a folder for each class."
        )
    if real - fake:
        raise UserError(
            f"ClassificationAccuracy: found no generated image of the classes {sorted(real - fake)}, expected some of "
            f"all {len(real)}.\nGenerate more images, or leave it out of the metrics."
        )
