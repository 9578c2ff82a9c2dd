"""Freezes parts of a model, for good or until so many images are seen."""

from __future__ import annotations

from collections.abc import Set

from torch import nn

from lit_gen.callbacks.freezer import Freezer
from lit_gen.errors import UserError
from lit_gen.freezing import preset_parts
from lit_gen.sampling import is_average
from lit_gen.selection import names_of, select


class FreezeModules(Freezer):
    """Freezes named modules or a preset, such as FreezeD (Mo et al. 2020, arXiv:2002.10964, section 3).

    The presets, for every network that they apply to:

    - `{freezeD: 3}`: the first 3 blocks of each discriminator, nearest the image (Mo et al. 2020).
    - `{freezeG: 2}`: the first 2 blocks of each generator or decoder, nearest z (CycleGAN: nearest its input).
    - `batch-statistics-only`: generators and decoders but for the scales, shifts and statistics of their normalisations
      (Noguchi & Harada 2019, arXiv:1904.01774).
    - `all-but-head`: every network that has a head, without the head.
    - `all-but-adapters`: every network that has adapters, without those.

    Args:
        modules: Globs of modules or parameters, e.g. `discriminator.blocks.[0-2]`. A module is frozen with its batch
            statistics and spectral-norm vectors; a parameter that is named alone is frozen alone.
        exclude: Globs of what is left free of all that.
        until: Images seen at which everything here begins to learn; None freezes it for the whole run.
        preset: One of the presets above, instead of `modules` or beside them.

    Raises:
        UserError: A glob matches nothing, a preset does not suit the model, nothing is left to learn.
    """

    def __init__(
        self,
        modules: list[str] | None = None,
        exclude: list[str] | None = None,
        until: int | None = None,
        preset: dict[str, int] | str | None = None,
    ) -> None:
        if not modules and not preset:
            raise UserError(
                "FreezeModules: neither modules nor a preset is given. Type modules: [generator.blocks.0], or preset: "
                "{freezeD: 3}, say."
            )
        if until is not None and until < 1:
            raise UserError(
                f"FreezeModules: until is {until}, expected at least 1 image. Type until: 20000, or leave it out to "
                "freeze for the whole run."
            )
        self.modules = modules
        self.exclude = exclude
        self.until = until
        self.preset = preset
        self.names: Set[str] = frozenset()

    def find(self, model: nn.Module) -> set[str]:
        names = names_of(model)
        chosen = preset_parts(model, self.preset) if self.preset else set()
        chosen |= set(select(names, self.modules or [], "FreezeModules.modules"))
        self.names = frozenset(chosen - set(select(names, self.exclude or [], "FreezeModules.exclude")))
        if all(is_average(name) for name in self.names):
            raise UserError(
                "FreezeModules: nothing is left to freeze: `exclude` takes everything out, or only moving averages are "
                "named, which follow their networks.\nName the network itself: modules: [generator], say."
            )
        return set(self.names)

    def frozen(self, images_seen: int) -> Set[str]:
        return self.names if self.until is None or images_seen < self.until else frozenset()
