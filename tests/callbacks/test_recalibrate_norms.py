"""The average's BatchNorm statistics are those of the maps that the average computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import changed, conditional_gan, cyclegan, gan, seeded, snapshot, train

from lit_gen.callbacks.ema import EMA
from lit_gen.callbacks.recalibrate_norms import RecalibrateNorms, by_batch, norms_of
from lit_gen.errors import UserError
from lit_gen.sampling import draw_latents


def distance(model: Any) -> float:
    """How far the held statistics are from those of many images, a share of their deviation."""
    with by_batch(norms_of(model)) as found:
        model.decode(draw_latents(1000, model.latent_dim, 77), model.conditions(1000))
    held = [values for layer in norms_of(model) for values in (layer.running_mean, layer.running_var)]
    gaps = [(a - b).abs().mean() / found[i | 1].mean() for i, (a, b) in enumerate(zip(held, found, strict=True))]
    return float(torch.stack(gaps).max())


@pytest.mark.parametrize("make", [gan, conditional_gan])
def test_statistics_are_the_averages_own(make: Any) -> None:
    plain, own = seeded(make), seeded(make)
    train(plain, 240, [EMA(half_life=150, ramp_up=None)])
    train(own, 240, [EMA(half_life=150, ramp_up=None), RecalibrateNorms(every=24, momentum=0.5)])
    assert distance(own) < 0.5 * distance(plain)
    for name, value in plain.generator.state_dict().items():
        assert torch.equal(value, own.generator.state_dict()[name]), "training itself is left alone"


def test_layers_are_as_they_were_and_in_their_order() -> None:
    model = gan()
    train(model, 16, [EMA()])
    before = [layer.running_var.clone() for layer in norms_of(model)]
    with pytest.raises(ZeroDivisionError), by_batch(norms_of(model)) as found:
        model.decode(draw_latents(4, model.latent_dim, 0))
        _ = 1 / 0
    assert [len(values) for values in found[::2]] == [len(values) for values in before]
    assert all(torch.equal(layer.running_var, value) for layer, value in zip(norms_of(model), before, strict=True))
    assert not any(layer._forward_pre_hooks for layer in norms_of(model))


def test_a_resumed_run_has_the_same_statistics(tmp_path: Path) -> None:
    callbacks = lambda: [EMA(), RecalibrateNorms(every=24)]  # noqa: E731
    straight, first, second = seeded(gan), seeded(gan), seeded(gan)
    train(straight, 128, callbacks())
    train(first, 64, callbacks(), save=tmp_path / "half.ckpt")
    train(second, 128, callbacks(), resume=tmp_path / "half.ckpt")
    assert changed(second, snapshot(straight)) == set()


@pytest.mark.parametrize(("model", "callbacks"), [(gan, []), (cyclegan, [EMA(modules=["generator_ab"])])])
def test_without_such_an_average_it_is_refused(model: Any, callbacks: list[Any]) -> None:
    with pytest.raises(UserError, match="Name it behind EMA"):
        train(model(), 8, [*callbacks, RecalibrateNorms()])


@pytest.mark.parametrize("given", [{"every": 0}, {"n": 1}, {"momentum": 0.0}, {"momentum": 1.5}])
def test_arguments_outside_their_ranges(given: dict[str, float]) -> None:
    with pytest.raises(UserError, match=next(iter(given))):
        RecalibrateNorms(**given)
