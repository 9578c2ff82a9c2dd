"""Augmentation whose strength follows how much the discriminator over-fits."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial

import torch
import torch.distributed as processes
import torch.nn.functional as F
from torch import Tensor

from lit_gen.augmentations.base import Augmentation, cut_out, per_image, recolour
from lit_gen.errors import UserError

GEOMETRY = ("flip", "translation", "scaling", "stretching", "rotation")
COLOUR = ("brightness", "contrast", "colour_inversion", "saturation")
GROUPS = {"geometry": GEOMETRY, "colour": COLOUR, "cutout": ("cutout",)}
ON_REQUEST = ("rotation", "colour_inversion")  # few kinds of images are seen upside down, or as negatives


class ADA(Augmentation):
    """Adaptive discriminator augmentation (Karras et al. 2020, arXiv:2006.06676, section 3 and appendix B).

    Each transform is done to an image with probability p, which moves with r_t = E[sign D(real)] (eq. 1): up where r_t
    is above the target, down where it is below. The distributions are the paper's; the geometry is one bilinear look-up
    with reflected borders, without its filters against aliasing. p and what r_t is the mean of lie in the checkpoint,
    and are the same in all processes.

    Args:
        target: What r_t is held at, in (-1, 1).
        most: Greatest p, in (0, 1]: above about 0.8 augmented looks leak into the samples (section 2.2).
        speed: Images in which p can go from 0 to 1; the paper has 500,000, and fewer images need it sooner.
        every: Batches that r_t is the mean of, and after which p moves.
        rotation: By any angle, too.
        colour_inversion: Negatives, too, half of the time; those of coloured images keep their hue.
        geometry: Flips, shifts, scaling and stretching. Without them the discriminator still sees where things lie,
            which is alike in all images of faces, say.
        colour: Brightness, contrast and saturation.
        cutout: A rectangle becomes grey.

    Raises:
        UserError: A number is outside its range, or nothing is left to be done.
    """

    def __init__(
        self,
        target: float = 0.6,
        most: float = 0.8,
        speed: int = 100_000,
        every: int = 4,
        rotation: bool = False,
        colour_inversion: bool = False,
        geometry: bool = True,
        colour: bool = True,
        cutout: bool = True,
    ) -> None:
        super().__init__()
        for name, value, right, wanted, usual in (
            ("target", target, -1 < target < 1, "more than -1 and less than 1", 0.6),
            ("most", most, 0 < most <= 1, "more than 0, and 1 at most", 0.8),
            ("speed", speed, speed >= 1, "at least 1 image", 100_000),
            ("every", every, every >= 1, "at least 1 batch", 4),
        ):
            if not right:
                raise UserError(f"ADA: {name} is {value}, expected {wanted}. Type --model.augment.{name} {usual}, say.")
        self.target, self.most, self.speed, self.every = target, most, speed, every
        self.rotation, self.colour_inversion = rotation, colour_inversion
        self.geometry, self.colour, self.cutout = geometry, colour, cutout
        if not self.kinds:
            raise UserError("ADA: nothing is left to do. Type --model.augment.colour true, or leave `augment` out.")
        self.register_buffer("probability", torch.zeros(()))
        self.register_buffer("signs", torch.zeros(()))  # summed over the images since p last moved
        self.register_buffer("images", torch.zeros(()))  # how many these are, of all processes
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))

    def forward(self, images: Tensor) -> Tensor:
        return self._changed(images, self.kinds, self.probability)

    @property
    def kinds(self) -> dict[str, Callable[[Tensor], Tensor]]:
        wanted = [name for group, names in GROUPS.items() if getattr(self, group) for name in names]
        names = [name for name in wanted if name not in ON_REQUEST or getattr(self, name)]
        return {name: partial(self._changed, names=(name,), p=1.0) for name in names}

    @property
    def strength(self) -> Tensor:
        return self.probability

    @torch.no_grad()
    def observe(self, real_logits: Tensor) -> None:
        """Takes in a batch; after every `every` of them p moves by their images / speed (section 3.1)."""
        n = len(real_logits)
        seen = torch.stack([real_logits.sign().float().mean() * n, self.images.new_full((), n)])
        if processes.is_available() and processes.is_initialized():  # at once: DDP overwrites what a rank keeps alone
            processes.all_reduce(seen)
        self.signs += seen[0]
        self.images += seen[1]
        self.batches += 1
        if self.batches < self.every:
            return
        direction = torch.sign(self.signs / self.images - self.target)
        self.probability.add_(direction * self.images / self.speed).clamp_(0, self.most)
        for buffer in (self.signs, self.images, self.batches):
            buffer.zero_()

    @staticmethod
    def _changed(images: Tensor, names: Iterable[str], p: Tensor | float) -> Tensor:
        """Images to each of which each of these transforms is done with probability p."""
        names = set(names)
        if names.intersection(GEOMETRY):
            images = moved(images, names, p)
        if names.intersection(COLOUR):
            images = recoloured(images, names, p)
        return cut_out(images, per_image(images) < p) if "cutout" in names else images


def moved(images: Tensor, names: Iterable[str], p: Tensor | float) -> Tensor:
    """The transforms of GEOMETRY among `names`, composed to one map and looked up once (appendix B).

    The paper's distributions: flips half of the time; shifts by whole pixels, up to 1/8 of the side; scaling by 2^s and
    stretching by 2^s in one direction and 2^-s in the other, both with s ~ N(0, 0.2^2); rotation by any angle.
    """
    n, (height, width), device = len(images), images.shape[2:], images.device

    def drawn(name: str, values: Tensor, neutral: float) -> Tensor:
        chosen = torch.rand(n, device=device) < (p if name in names else 0.0)
        return torch.where(chosen, values, neutral)

    flip = drawn("flip", 1.0 - 2 * torch.randint(2, (n,), device=device), 1.0)
    offset = torch.rand(2, n, device=device) / 4 - 1 / 8
    sides = torch.tensor([[width], [height]], device=device)
    offset = torch.stack([drawn("translation", axis, 0.0) for axis in (offset * sides).round() * 2 / sides])
    scale = drawn("scaling", 2 ** (0.2 * torch.randn(n, device=device)), 1.0)
    stretch = drawn("stretching", 2 ** (0.2 * torch.randn(n, device=device)), 1.0)
    angle = drawn("rotation", math.pi * (2 * torch.rand(n, device=device) - 1), 0.0)

    # Where each pixel of the result comes from, so that every step is the inverse of what an image undergoes.
    cos, sin, aspect = angle.cos(), angle.sin(), height / width
    x, y = flip / (scale * stretch), stretch / scale
    rows = (x * cos, -x * sin * aspect, offset[0]), (y * sin / aspect, y * cos, offset[1])
    theta = torch.stack([torch.stack(row, 1) for row in rows], 1)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    looked_up = F.grid_sample(images.float(), grid, padding_mode="reflection", align_corners=False)
    still = (theta == torch.eye(2, 3, device=device)).all(2).all(1)  # these remain bit for bit
    return torch.where(still.view(-1, 1, 1, 1), images, looked_up.to(images.dtype))


def recoloured(images: Tensor, names: Iterable[str], p: Tensor | float) -> Tensor:
    """The transforms of COLOUR among `names`, in that order, composed to one map (appendix B).

    The paper's distributions: brightness + N(0, 0.2^2); contrast times 2^s about middle grey, s ~ N(0, 0.5^2);
    negatives half of the time; saturation times 2^s, s ~ N(0, 1), which keeps luma, the mean over channels.
    """
    shape, device, dtype = (len(images), 1, 1, 1), images.device, images.dtype

    def drawn(name: str, values: Tensor, neutral: float) -> Tensor:
        return torch.where(per_image(images) < (p if name in names else 0.0), values, neutral)

    noise = torch.randn(3, *shape, device=device, dtype=dtype)
    brightness = drawn("brightness", 0.2 * noise[0], 0.0)
    contrast = drawn("contrast", 2 ** (0.5 * noise[1]), 1.0)
    sign = drawn("colour_inversion", 1 - 2 * torch.randint(2, shape, device=device).to(dtype), 1.0)
    saturation = drawn("saturation", 2 ** noise[2], 1.0)
    # x = luma + chroma; luma becomes sign * contrast * (luma + brightness), chroma saturation * contrast * chroma
    own = saturation * contrast
    return recolour(images, own, sign * contrast - own, sign * contrast * brightness)
