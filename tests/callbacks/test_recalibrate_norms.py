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


def distances(model: Any) -> tuple[float, float]:
    """How far the held means and variances are from those of many images, in deviations and variances."""
    layers = norms_of(model)
    with by_batch(layers) as found:
        model.decode(draw_latents(1000, model.latent_dim, 77), model.conditions(1000))
    pairs = list(zip(layers, found[::2], found[1::2], strict=True))
    means = [(layer.running_mean - mean).abs().mean() / variance.mean().sqrt() for layer, mean, variance in pairs]
    variances = [(layer.running_var / variance - 1).abs().mean() for layer, _, variance in pairs]
    return float(max(means)), float(max(variances))


@pytest.mark.parametrize("make", [gan, conditional_gan])
def test_statistics_are_the_averages_own(make: Any) -> None:
    plain, own = seeded(make), seeded(make)
    train(plain, 240, [EMA(half_life=150, ramp_up=None)])
    train(own, 240, [EMA(half_life=150, ramp_up=None), RecalibrateNorms(every=24, momentum=0.5)])
    for far, near in zip(distances(plain), distances(own), strict=True):
        assert near < 0.5 * far
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
