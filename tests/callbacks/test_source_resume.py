"""A resumed run has the source that it began with, from its own checkpoint."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from families import FAMILIES, all_four, make, train

import lit_gen
from lit_gen.callbacks.l2_sp import L2SP


@pytest.mark.parametrize("family", FAMILIES)
def test_the_source_is_in_the_checkpoint(family: str, tmp_path: Path) -> None:
    before, after = all_four(family), all_four(family)
    model = make(family)
    sources = {name: value.clone() for name, value in model.state_dict().items()}
    train(model, family, *before, batches=2).save_checkpoint(tmp_path / "regular.ckpt")
    train(make(family), family, batches=2).save_checkpoint(tmp_path / "plain.ckpt")
    saved, plain = (torch.load(tmp_path / f"{name}.ckpt", weights_only=True) for name in ("regular", "plain"))
    assert saved["hyper_parameters"] == plain["hyper_parameters"]
    assert saved["state_dict"].keys() == plain["state_dict"].keys()

    resumed = make(family)
    for parameter in resumed.parameters():  # so that nothing could be right by chance
        parameter.data.fill_(0.5)
    train(resumed, family, *after, batches=3, ckpt_path=str(tmp_path / "regular.ckpt"), max_epochs=2)
    assert resumed.images_seen > model.images_seen
    for old, new in zip(before, after, strict=True):
        assert old.reference.keys() == new.reference.keys()
        for name, value in old.reference.items():
            if not name.endswith((".0._u", ".0._v", "num_batches_tracked")):  # the copy's own power iterations go on
                assert torch.equal(value, new.reference[name]), name
                assert torch.equal(value, sources.get(name, value)), name
    parameters = dict(resumed.named_parameters())
    assert all(not torch.equal(parameters[name], value) for name, value in after[0].reference.items())
    assert after[0].value > 0


def test_the_command_line_goes_on_with_the_same_source(fit) -> None:
    stack = ["L2SP", "EWC", "CrossDomainConsistency", "FeatureDistillation"]
    options = [f"--trainer.callbacks+={name}" for name in stack]
    options.insert(2, "--trainer.callbacks.n_samples=4")
    half = fit(*options, "--model.max_images=32") / "last.ckpt"
    rest = fit(*options, f"--ckpt_path={half}") / "last.ckpt"
    before, after = (torch.load(path, weights_only=True)["callbacks"] for path in (half, rest))
    keys = [key for key in before if key.split(" of ")[0] in stack]
    assert len(keys) == 4
    for key in keys:
        then, now = before[key]["reference"], after[key]["reference"]
        weights = {name: value for name, value in then.items() if value.is_floating_point()}
        assert all(torch.equal(value, now[name]) for name, value in weights.items()), key
    lit_gen.load(rest)
    with (rest.parent / "metrics.csv").open() as file:
        last = list(csv.DictReader(file))[-1]
    assert all(float(last[f"train/{name}"]) for name in ("l2_sp", "ewc", "cross_domain_consistency"))


def test_a_checkpoint_without_it_is_a_source_with_a_warning(tmp_path: Path) -> None:
    model = make("gan")
    train(model, "gan", batches=2).save_checkpoint(tmp_path / "plain.ckpt")
    pull = L2SP()
    with pytest.warns(UserWarning, match="saved without it"):
        train(make("gan"), "gan", pull, batches=3, ckpt_path=str(tmp_path / "plain.ckpt"), max_epochs=2)
    parameters = dict(model.named_parameters())
    assert all(torch.equal(parameters[name], value) for name, value in pull.reference.items())


def test_a_second_fit_has_a_source_of_its_own() -> None:
    pull = L2SP()
    first, second = make("gan"), make("gan")
    second.generator.head.bias.data.fill_(2.0)
    train(first, "gan", pull)
    pull.load_state_dict(pull.state_dict())  # as a resumed run does
    train(first, "gan", pull)
    assert torch.equal(pull.reference["generator.head.bias"], torch.tensor([0.0]))
    train(second, "gan", pull)
    assert torch.equal(pull.reference["generator.head.bias"], torch.tensor([2.0]))
