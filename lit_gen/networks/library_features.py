"""Frozen features of the models of timm and torchvision, by name: their weights are downloaded at the first use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
import torchvision.models
from torch import Tensor, nn
from torchvision.models.feature_extraction import create_feature_extractor

from lit_gen.errors import UserError, nearest
from lit_gen.fronts import brings_weights
from lit_gen.networks.features import FrozenFeatures, check_output, resized, with_channels

# Of the photographs of ImageNet in [0, 1], red, green, blue: what torchvision's models were trained with.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class LibraryFeatures(FrozenFeatures):
    """Base of the two: images are brought to the size and the range that the library trained its models with.

    Args:
        name: Name of the model in its library.
        input_size: Images are brought to this height and width first.
        mean: Of each channel, of images in [0, 1].
        std: Likewise.
    """

    def __init__(self, name: str, input_size: int, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__(input_size)
        self.name = name
        # From [-1, 1]: (x / 2 + 1 / 2 - mean) / std. No state of their own: the name says what they are.
        self.register_buffer("shift", torch.tensor(mean).view(-1, 1, 1) * 2 - 1, persistent=False)
        self.register_buffer("scale", torch.tensor(std).view(-1, 1, 1) * 2, persistent=False)

    def prepared(self, images: Tensor) -> Tensor:
        """Images (B, 3, input_size, input_size) as the model wants them, from (B, 1 or 3, H, W) in [-1, 1]."""
        return (with_channels(resized(images, self.input_size), 3) - self.shift) / self.scale

    def measure(self) -> None:
        """Freezes, and finds `out_channels` or `out_features` by trying a black image."""
        self.freeze()
        with torch.no_grad():
            shape = self(torch.zeros(1, 3, self.input_size, self.input_size)).shape
        if len(shape) not in (2, 4):
            raise UserError(
                f"{type(self).__name__}: {self.name} gives features of shape {tuple(shape)}, neither maps nor vectors."
                "\nType output: mean, or leave out the layer."
            )
        self.out_channels, self.out_features = (shape[1], None) if len(shape) == 4 else (None, shape[1])


class TimmFeatures(LibraryFeatures):
    """Features of a model of timm (Wightman 2019), frozen; the package timm has to be installed.

    Args:
        name: As timm writes it, `resnet18.a1_in1k` for example.
        pretrained: With the weights of that name, which are downloaded at the first use.
        output: `mean`, the vector that the model's classifier would see, or the `maps` before it.
        input_size: Images are brought to this height and width first; what the weights were trained at by default.

    Raises:
        UserError: timm is missing, does not know the name, or cannot get the weights.
    """

    def __init__(
        self,
        name: str,
        pretrained: bool = True,
        output: Literal["maps", "mean"] = "mean",
        input_size: int | None = None,
    ) -> None:
        try:
            import timm
        except ImportError as error:
            raise UserError("TimmFeatures: the package timm is not installed here.\nType pip install timm") from error
        if not timm.is_model(name.partition(".")[0]):
            raise unknown_name("TimmFeatures", name, timm.list_models())
        brings = brings_weights(pretrained)
        model = fetched("TimmFeatures", name, lambda: timm.create_model(name, pretrained=brings, num_classes=0))
        config: dict[str, Any] = model.pretrained_cfg
        super().__init__(name, input_size or config["input_size"][-1], config["mean"], config["std"])
        check_output(self, output, ("maps", "mean"))
        self.pretrained = pretrained
        self.output = output
        self.model = model
        self.measure()

    def forward(self, images: Tensor) -> Tensor:
        """Vectors (B, F) or maps (B, C, H, W) from images (B, 1 or 3, H, W) in [-1, 1]."""
        x = self.prepared(images)
        return self.model(x) if self.output == "mean" else self.model.forward_features(x)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, name={self.name}, output={self.output}"


class TorchvisionFeatures(LibraryFeatures):
    """Features of a classifier of torchvision, frozen.

    Args:
        name: As torchvision writes it, `resnet18` for example.
        pretrained: With its best weights, which are downloaded at the first use.
        layer: Dotted name of the module whose output is taken, `layer3` for example; by default what the model's
            classifier would see.
        input_size: Images are brought to this height and width first.

    Raises:
        UserError: torchvision does not know the name or the layer, or cannot get the weights.
    """

    def __init__(self, name: str, pretrained: bool = True, layer: str | None = None, input_size: int = 224) -> None:
        super().__init__(name, input_size, MEAN, STD)
        known = torchvision.models.list_models(module=torchvision.models)
        if name not in known:
            raise unknown_name("TorchvisionFeatures", name, known)
        weights = "DEFAULT" if brings_weights(pretrained) else None
        model = fetched("TorchvisionFeatures", name, lambda: torchvision.models.get_model(name, weights=weights))
        self.pretrained = pretrained
        self.layer = layer
        self.model = without_classifier(model.eval()) if layer is None else up_to(model.eval(), layer)
        self.measure()

    def forward(self, images: Tensor) -> Tensor:
        """Vectors (B, F) or maps (B, C, H, W) from images (B, 1 or 3, H, W) in [-1, 1]."""
        found = self.model(self.prepared(images))
        return found["features"] if isinstance(found, dict) else found

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, name={self.name}, layer={self.layer}"


def fetched(asker: str, name: str, make: Callable[[], nn.Module]) -> nn.Module:
    """What `make` makes, with one message for all the ways in which a download can fail."""
    try:
        return make()
    except Exception as error:  # each hub's client brings exceptions of its own
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"{asker}: {name} could not be made: {reason}\nIts weights come over the network; without one type "
            "class_path: ImageNetFeatures (for metrics EfficientNetExtractor), whose weights are a package."
        ) from error


def without_classifier(model: nn.Module) -> nn.Module:
    """The model whose output is what its last part, the classifier, was given."""
    last = [name for name, _ in model.named_children()][-1]
    setattr(model, last, nn.Identity())
    return model


def up_to(model: nn.Module, layer: str) -> nn.Module:
    """The model up to the named module, whose output comes in a dict under `features`."""
    known = [name for name, _ in model.named_modules() if name]
    if layer not in known:
        raise UserError(
            f"TorchvisionFeatures: {type(model).__name__} has no module {layer!r}.{nearest(layer, known)} Its parts "
            f"are {', '.join(name for name, _ in model.named_children())}."
        )
    return create_feature_extractor(model, {layer: "features"})


def unknown_name(asker: str, name: str, known: list[str]) -> UserError:
    """What a misspelt model is answered with."""
    return UserError(f"{asker}: there is no model {name!r}.{nearest(name, known)} Type name: resnet18, say.")
