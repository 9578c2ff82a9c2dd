"""Any model of timm as the eye of the metrics."""

from __future__ import annotations

from torch import Tensor

from lit_gen.feature_store import backbone_digest
from lit_gen.metrics.extractor import Extractor, check_input_size
from lit_gen.networks.library_features import TimmFeatures


class TimmExtractor(Extractor):
    """What the classifier of a model of timm (Wightman 2019) would see; the package timm has to be installed.

    Args:
        model: As timm writes it, `resnet18.a1_in1k` for example.
        pretrained: With the weights of that name, which are downloaded at the first use.
        input_size: Images are brought to this height and width first; what the weights were trained at by default.

    Raises:
        UserError: timm is missing, does not know the model, or cannot get the weights; or the size makes no sense.
    """

    def __init__(self, model: str, pretrained: bool = True, input_size: int | None = None) -> None:
        super().__init__()
        if input_size is not None:
            check_input_size(self, input_size)
        self.model = model
        self.pretrained = pretrained
        self.input_size = input_size
        self.features = TimmFeatures(model, pretrained, input_size=input_size)
        self.n_features = self.features.out_features
        usual = self.features.model.pretrained_cfg["input_size"][-1]
        self.name = f"timm_{model.replace('.', '_')}"
        self.name += "" if self.features.input_size == usual else f"_{self.features.input_size}px"
        self.name += "" if pretrained else f"_untrained_{backbone_digest(self.features)[:8]}"
        self.freeze()

    def forward(self, images: Tensor) -> Tensor:
        """Features (B, F) of images (B, 1 or 3, H, W) in [-1, 1]."""
        return self.features(images)
