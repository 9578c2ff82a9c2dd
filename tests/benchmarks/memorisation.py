"""Which distance tells altered copies of training images from fresh images? Memorisation by three of them.

    OMP_NUM_THREADS=2 python tests/benchmarks/memorisation.py --data a/folder/of/photographs

Without --data it goes by the cat silhouettes. 100 images are the training set and others are held out. Features are
EfficientNet-Lite0's means at 128 pixels. For each set of "generated" images it prints copy_share / near_copies; fresh
images should give 0.50 / 0.01, and copies as much as can be.

near_copies with 100 held-out images, of photographs of 64 pixels (900 cats in any pose, 730 cropped and aligned cat
faces) and of the silhouettes:

                                   fresh  copy  shift  noise  blur  zoom  flip
    cats         as they are       0.00   1.00  1.00   0.33   0.80  0.86  0.99
                 length 1          0.03   1.00  1.00   0.69   0.95  0.99  1.00
                 length 1 of rest  0.01   1.00  1.00   0.62   0.93  0.97  1.00
    cat faces    as they are       0.00   1.00  0.97   0.00   0.00  0.02  0.67
                 length 1          0.00   1.00  0.95   0.00   0.00  0.00  0.55
                 length 1 of rest  0.00   1.00  1.00   0.00   0.13  0.07  0.90
    silhouettes  as they are       0.00   1.00  0.49   0.00   0.00  0.04  0.33
                 length 1          0.01   1.00  0.98   0.00   0.00  0.27  0.85
                 length 1 of rest  0.01   1.00  0.89   0.00   0.00  0.13  0.64

copy_share is 0.51 to 0.57 for the fresh ones, and 0.74 to 1.00 for the copies, by any of the three. `rest` is what is
left when the mean is taken away: better for faces, worse for the other two, and it depends on what else is in the
sets. One seed each, so differences of a few hundredths say nothing.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional

from datamodules.animal_silhouettes import AnimalSilhouettes
from datamodules.image_folder import ImageFolder
from datamodules.transforms import to_float, to_uint8
from lit_gen.metrics.distances import mean_row, unit_rows
from lit_gen.metrics.memorisation import copied_probability, rare_distance
from lit_gen.networks.features import ImageNetFeatures
from lit_gen.pictures import in_order

N_TRAIN = 100


def altered(images: Tensor, random: torch.Generator) -> Iterator[tuple[str, Tensor]]:
    """Copies of images (N, C, H, W) in [-1, 1], changed a little."""
    side = images.shape[-1]
    yield "copy", images
    yield "shift", torch.cat([images[..., 1:], images[..., -1:]], -1)
    yield "noise", images + 0.05 * 2 * torch.randn(images.shape, generator=random)
    yield "blur", functional.gaussian_blur(images, [5, 5], [0.8, 0.8])
    rim = side // 16
    yield "zoom", functional.resize(images[..., rim:-rim, rim:-rim], [side, side], antialias=True)
    yield "flip", images.flip(-1)


def distances(origin: Tensor) -> dict[str, Callable[[Tensor], Tensor]]:
    """What may be done with features before their distances are taken."""
    return {"as they are": Tensor.double, "length 1": unit_rows, "length 1 of rest": lambda x: unit_rows(x - origin)}


def main() -> None:
    """Print a row for each number of held-out images and each distance."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", help="folder of square photographs, 500 at least; silhouettes without it")
    parser.add_argument("--seed", type=int, default=0, help="which images are the training set")
    arguments = parser.parse_args()
    options = {"val_fraction": 0.0, "horizontal_flip": False}
    data = ImageFolder(arguments.data, image_size=64, **options) if arguments.data else AnimalSilhouettes(**options)
    data.prepare_data()
    data.setup("fit")
    random = torch.Generator().manual_seed(arguments.seed)
    rows = torch.randperm(len(data.train_set), generator=random)[:1000].tolist()
    images = torch.cat([batch[0] for batch in in_order(data.train_set, rows)])
    network = ImageNetFeatures(output="mean", input_size=128, normalize=False)

    @torch.no_grad()
    def features(images: Tensor) -> Tensor:
        return torch.cat([network(batch) for batch in to_float(to_uint8(images)).split(64)])

    reals = features(images)
    made = {"fresh": reals[N_TRAIN + 300 :]}
    made |= {name: features(changed) for name, changed in altered(images[:N_TRAIN], random)}
    print(f"{'held out':30}" + "".join(f"{name:12}" for name in made))
    for n in (40, 100, 300):
        for name, seen in distances(mean_row(reals[: N_TRAIN + n])).items():
            train, held_out = seen(reals[:N_TRAIN]), seen(reals[N_TRAIN : N_TRAIN + n])
            rare = rare_distance(torch.cdist(held_out, train).amin(1))
            found = []
            for fake in map(seen, made.values()):
                to_train = torch.cdist(fake, train)
                share = copied_probability(to_train, torch.cdist(fake, held_out)).mean()
                found.append(f"{share:.2f} / {(to_train.amin(1) < rare).double().mean():.2f}")
            print(f"{n:<8}{name:22}" + "".join(f"{numbers:12}" for numbers in found))


if __name__ == "__main__":
    main()
