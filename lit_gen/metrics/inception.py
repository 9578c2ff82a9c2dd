"""The Inception-v3 of published FIDs, as torch-fidelity has it."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from datamodules.transforms import to_uint8
from lit_gen.checkpoint import load_file
from lit_gen.errors import UserError
from lit_gen.fetch import local_copy, sha256
from lit_gen.metrics.extractor import Extractor
from lit_gen.networks.features import with_channels

STANDARD = "6726825d"  # how the checksum of the published weights begins: it is part of their file's name


class InceptionExtractor(Extractor):
    """The 2,048 pooled features of the Inception-v3 that FID is defined on (Heusel et al. 2017, arXiv:1706.08500).

    The network is that of the package torch-fidelity (Obukhov et al. 2020), with its interpolation to 299 pixels; its
    numbers are those of the literature where the images are, too.

    Args:
        weights: File of the weights; None takes those that torch-fidelity publishes, downloaded at the first use.

    Raises:
        UserError: The package is missing, or the weights are, or they are of another network.
    """

    n_features = 2048

    def __init__(self, weights: str | None = None) -> None:
        super().__init__()
        self.weights = weights
        try:
            from torch_fidelity import feature_extractor_inceptionv3 as library
        except ImportError as error:
            raise UserError(
                "InceptionExtractor: the package torch-fidelity is not installed here.\nType pip install "
                "torch-fidelity, or take EfficientNetExtractor."
            ) from error
        url = library.URL_INCEPTION_V3
        path = published(url) if weights is None else local_copy(weights, "InceptionExtractor")
        load_file(path)  # refuses a file with code in it, which torch-fidelity would run
        try:
            self.network: nn.Module = library.FeatureExtractorInceptionV3(
                "inception-v3-compat", ["2048"], feature_extractor_weights_path=str(path)
            )
        except (RuntimeError, TypeError, AttributeError) as error:
            raise UserError(
                f"InceptionExtractor: {path} does not hold the weights of torch-fidelity's Inception-v3: "
                f"{str(error).splitlines()[0]}\nGive the file of {url}"
            ) from error
        checksum = sha256(path)[: len(STANDARD)]
        self.name = "inception_v3" if checksum == STANDARD else f"inception_v3_{checksum}"
        self.freeze()

    def forward(self, images: Tensor) -> Tensor:
        """Features (B, 2048) of images (B, 1 or 3, H, W) in [-1, 1], which are rounded to 8 bits."""
        (features,) = self.network(with_channels(to_uint8(images), 3))
        return features

    def classify(self, features: Tensor) -> Tensor:
        """Logits (B, 1008) without the bias, as the Inception score takes them (Salimans et al. 2016, section 4)."""
        return features @ self.network.fc.weight.T


def published(url: str) -> Path:
    """The file of the published weights where torch keeps its downloads, fetched where it is not there yet.

    Raises:
        UserError: It cannot be fetched.
    """
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if not path.is_file():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), progress=False)
        except OSError as error:  # of the network or of the folder
            raise UserError(
                f"InceptionExtractor: the weights of Inception-v3 are not at {path} and could not be fetched ({error})."
                f"\nFetch {url} elsewhere and type weights: /path/to/it, or take EfficientNetExtractor."
            ) from error
    return path
