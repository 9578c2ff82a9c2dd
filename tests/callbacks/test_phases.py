"""Phases and layer rates: what learns when, how fast, and the same after a resume on either side of a boundary."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback
from tiny_models import BATCH, FAMILIES, changed, gan, seeded, snapshot, train, vae
from tiny_networks import NETWORKS, made

from lit_gen.callbacks.freeze_modules import FreezeModules
from lit_gen.callbacks.layer_rates import LayerRates
from lit_gen.callbacks.learning_rate import LinearDecay
from lit_gen.callbacks.phases import Phase, Phases
from lit_gen.errors import UserError
from lit_gen.selection import matches_any

pytestmark = pytest.mark.filterwarnings("ignore:.*in eval mode at the start")
# Of each family: phases whose boundaries lie before, on and after the 64 images at which a run is cut.
PHASES = {
    "gan": [
        Phase(0, ["generator.head", "discriminator"], {"discriminator": 1e-3, "generator.head": 2e-3}),
        Phase(16, ["generator.blocks.2"]),
        Phase(64, ["generator.blocks.1"], {"generator.blocks.[1-2]": 5e-4}),
        Phase(80, ["generator.blocks.0"], {"generator.head": 1e-4, "discriminator.blocks": 1e-4}),
    ],
    "cyclegan": [
        Phase(0, ["generator_ab", "discriminator_*"]),
        Phase(64, ["generator_ba.head"], {"generator_ba": 1e-3}),
        Phase(80, ["generator_ba.blocks"]),
    ],
    "vae": [Phase(0, ["decoder"]), Phase(48, ["encoder.head"], {"encoder": 1e-4}), Phase(80, ["encoder.blocks"])],
}


class Rates(Callback):
    """The rate of every parameter while each batch is learnt from, by images seen."""

    def __init__(self) -> None:
        self.seen: dict[int, dict[str, float]] = {}

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        names = {parameter: name for name, parameter in pl_module.named_parameters()}
        groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
        self.seen[pl_module.images_seen - BATCH] = {names[p]: group["lr"] for group in groups for p in group["params"]}


def expected(phases: list[Phase], name: str, images: int) -> bool:
    return any(matches_any(name, phase.trainable) for phase in phases if phase.start <= images)


@pytest.mark.parametrize("family", PHASES)
def test_each_phase_trains_what_it_names_and_the_rest_is_bit_identical(family: str) -> None:
    for cut in {phase.start for phase in PHASES[family]} - {0}:
        model = seeded(FAMILIES[family])
        before = snapshot(model)
        train(model, cut, [Phases(PHASES[family])])
        found = changed(model, before)
        frozen = {name for name in before if not expected(PHASES[family], name, cut - 1)}
        assert not found & frozen
        assert {name for name, _ in model.named_parameters()} - frozen <= found


def test_rates_of_each_phase() -> None:
    model, rates = seeded(gan), Rates()
    train(model, 96, [Phases(PHASES["gan"]), rates])
    for seen, rate in rates.seen.items():
        assert rate["discriminator.head.weight"] == 1e-3
        assert rate["discriminator.blocks.0.0.weight"] == (1e-3 if seen < 80 else 1e-4)
        assert rate["generator.head.weight"] == (2e-3 if seen < 80 else 1e-4)
        assert rate["generator.blocks.2.0.weight"] == (2e-4 if seen < 64 else 5e-4)  # at first the optimizer's
        assert rate["generator.blocks.0.0.weight"] == 2e-4


@pytest.mark.parametrize("order", [1, -1])
def test_a_schedule_and_layer_rates_multiply_the_rates_of_phases(order: int) -> None:
    model, rates = seeded(gan), Rates()
    callbacks = [LinearDecay(start=0.0), Phases(PHASES["gan"]), LayerRates(0.5, ["generator"])][::order]
    train(model, 128, [*callbacks, rates])
    for seen, rate in rates.seen.items():
        left = 1 - seen / 128
        assert rate["generator.head.weight"] == pytest.approx(left * (2e-3 if seen < 80 else 1e-4))
        assert rate["generator.blocks.2.0.weight"] == pytest.approx(left * 0.5 * (2e-4 if seen < 64 else 5e-4))
        assert rate["generator.blocks.0.0.weight"] == pytest.approx(left * 0.125 * 2e-4)
        assert rate["discriminator.head.weight"] == pytest.approx(left * 1e-3)


@pytest.mark.parametrize("family", PHASES)
def test_a_resumed_run_crosses_the_phases_like_an_uninterrupted_one(family: str, tmp_path: Path) -> None:
    def callbacks() -> list[Callback]:
        return [LinearDecay(start=0.0), Phases(PHASES[family]), LayerRates(0.8)]

    whole, half, resumed = (seeded(FAMILIES[family]) for _ in range(3))
    # A schedule goes by the images at the end, and so all three have the same.
    reference = train(whole, 128, callbacks())
    train(half, 128, [*callbacks(), StopsAt(64)], save=tmp_path / "half.ckpt")
    assert half.images_seen == 64
    trainer = train(resumed, 128, callbacks(), resume=tmp_path / "half.ckpt")
    assert not changed(resumed, snapshot(whole))
    for mine, theirs in zip(trainer.optimizers, reference.optimizers, strict=True):
        mine, theirs = mine.state_dict(), theirs.state_dict()
        assert mine["param_groups"] == theirs["param_groups"]
        assert mine["state"].keys() == theirs["state"].keys()
        for key, state in theirs["state"].items():
            assert all(torch.equal(value, mine["state"][key][name]) for name, value in state.items())


class StopsAt(Callback):
    """Ends a run before its time."""

    def __init__(self, images: int) -> None:
        self.images = images

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        trainer.should_stop |= pl_module.images_seen >= self.images


def test_phases_and_freeze_modules_hold_together() -> None:
    model = seeded(gan)
    before = snapshot(model)
    all_learn = Phases([Phase(0, ["generator", "discriminator"])])
    train(model, 32, [all_learn, FreezeModules(["generator.blocks"], until=64)])
    assert not {name for name in changed(model, before) if name.startswith("generator.blocks")}
    head_learns = Phases([Phase(0, ["generator.head", "discriminator"])])
    train(model, 48, [head_learns, FreezeModules(["generator.blocks"], until=1)])
    assert not {name for name in changed(model, before) if name.startswith("generator.blocks")}


def test_rates_alone_split_no_more_than_they_must() -> None:
    model = seeded(gan)
    trainer = train(model, 16, [Phases([Phase(0, ["generator", "discriminator"], {"generator.blocks.0": 1e-5})])])
    assert [len(optimizer.param_groups) for optimizer in trainer.optimizers] == [2, 1]
    plain = seeded(gan)
    train(plain, 16, [Phases([Phase(0, ["generator", "discriminator"])])])
    free = seeded(gan)
    train(free, 16)
    assert not changed(plain, snapshot(free))


@pytest.mark.parametrize("network", NETWORKS)
def test_layer_rates_by_depth_on_every_network(network) -> None:
    role, model = made(network)
    factors, depth = LayerRates(0.5).factors(model), len(model[role].blocks)
    assert factors.keys() == set(model.parameters())
    for name, parameter in model.named_parameters():
        part, *rest = name.removeprefix(f"{role}.").split(".")
        before = dict.fromkeys(("embedding", "features"), depth)
        away = {"blocks": depth - int(rest[0]) if part == "blocks" else 0, **before}.get(part, 0)
        assert factors[parameter] == 0.5**away, name


@pytest.mark.parametrize(
    ("phases", "message"),
    [
        ([], "no images, expected 0 first"),
        ([Phase(8, ["generator"])], "start at 8, expected 0 first"),
        ([Phase(0, ["generator"]), Phase(9, ["discriminator"]), Phase(9, ["generator"])], "start at 0, 9, 9, expected"),
        ([Phase(0, [], {"generator": 1e-3})], "nothing is trainable in the first phase"),
        ([Phase(0, ["generator"]), Phase(8)], "phase 2, from 8 images on, is empty"),
        ([Phase(0, ["generator"]), Phase(8, ["generator.head"])], "adds nothing: generator.head learns already"),
        ([Phase(0, ["generator"], {"generator": 0.0})], 'rate of "generator" is 0.0, expected more than 0'),
        ([Phase(0, ["generator.hed"])], 'nothing matches "generator.hed"'),
        ([Phase(0, ["generator"], {"generator.hed": 1e-3})], 'nothing matches "generator.hed"'),
        ([Phase(0, ["generator"], {"discriminator": 1e-3})], 'gives "discriminator" a learning rate, but nothing'),
        (
            [Phase(0, ["generator"], {"generator": 1e-3, "*.head": 1e-4})],
            'gives generator.head.weight two learning rates, by "generator" and by "\\*.head"',
        ),
    ],
)
def test_contradictions_are_told(phases: list[Phase], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Phases(phases).setup(None, gan(), "fit")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decay": 0.0}, "decay is 0.0"),
        ({"decay": 1.5}, "decay is 1.5"),
        ({"networks": ["encodr"]}, 'nothing matches "encodr". Did you mean "encoder"'),
        ({"networks": ["mixture"]}, "found no blocks in mixture"),
    ],
)
def test_layer_rates_mistakes_are_told(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        LayerRates(**options).setup(None, vae(), "fit")


YAML = """
trainer:
  callbacks:
    - class_path: Phases
      init_args:
        phases:
          - {start: 0, trainable: [generator.head, discriminator], learning_rates: {"generator.*": 1.0e-4}}
          - {start: 32, trainable: ["generator.blocks.[1-2]"]}
    - {class_path: LayerRates, init_args: {decay: 0.5}}
"""


def test_from_yaml_and_resumed_with_other_phases(fit, refused, tmp_path: Path) -> None:
    config = tmp_path / "phases.yaml"
    config.write_text(YAML)
    folder = fit(f"--config={config}")
    checkpoint = torch.load(folder / "last.ckpt", weights_only=True)
    rates = [group["lr"] for group in checkpoint["optimizer_states"][0]["param_groups"]]
    assert rates == pytest.approx([1e-4 / 8, 1e-4 / 4, 1e-4 / 2, 1e-4])
    found = refused(
        "fit", "--config=experiments/gan_mnist5k.yaml", f"--trainer.default_root_dir={tmp_path}",
        f"--ckpt_path={folder}", "--model.max_images=96", "--model.generator.width=4", "--model.discriminator.width=4",
        "--trainer.callbacks=null",
    )  # fmt: skip
    assert "Resume with the Phases and LayerRates that it began with" in found
