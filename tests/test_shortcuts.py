"""One option that goes for several places of a configuration."""

from __future__ import annotations

import pytest
import yaml

from lit_gen.errors import UserError
from lit_gen.shortcuts import follow_data, put_source, put_trust


def test_a_source_goes_to_the_one_callback_that_loads() -> None:
    callbacks = [
        {"class_path": "lit_gen.callbacks.load_weights.LoadWeights", "init_args": {"source": "old"}},
        {"class_path": "EMA", "init_args": {}},
    ]
    put_source(None, callbacks)
    assert callbacks[0]["init_args"]["source"] == "old"
    put_source("new.ckpt", callbacks)
    assert callbacks[0]["init_args"]["source"] == "new.ckpt"


@pytest.mark.parametrize("count", [0, 2])
def test_a_source_for_no_one_or_for_several_is_refused(count: int) -> None:
    callbacks = [{"class_path": "LoadWeights", "init_args": {}} for _ in range(count)]
    with pytest.raises(UserError, match=f"found {count} LoadWeights among the callbacks, expected one"):
        put_source("new.ckpt", callbacks)


@pytest.mark.parametrize("said,trust", [({"trust": True}, False), ({}, True)])
def test_only_what_is_typed_is_trusted(said: dict, trust: bool) -> None:
    callbacks = [{"class_path": "LoadWeights", "init_args": dict(said)}, {"class_path": "EMA", "init_args": {}}]
    with pytest.raises(UserError, match="found trust: true in a file(?s:.*)type --trust true"):
        put_trust(trust, callbacks, ["fit", "--config", "trust.yaml", "--source=trust"])
    for line in (["--trust", "true"], ["--trainer.callbacks.trust=true"]):
        put_trust(trust, callbacks, line)
        assert callbacks[0]["init_args"] == {"trust": True} and callbacks[1]["init_args"] == {}


def test_nothing_is_trusted_unasked() -> None:
    callbacks = [{"class_path": "LoadWeights", "init_args": {"trust": False}}]
    put_trust(False, callbacks, ["fit"])
    assert callbacks[0]["init_args"] == {"trust": False}


def networks() -> dict:
    return {"init_args": {"generator": {"init_args": {"image_size": 32, "channels": 3}}, "discriminator": {
        "init_args": {"network": {"init_args": {"image_size": 32}}, "input_size": 64}}}}  # fmt: skip


def test_networks_follow_the_size_that_is_typed_for_the_data() -> None:
    model, data = networks(), {"init_args": {"image_size": 64, "channels": 1}}
    follow_data(model, data, ["fit", "--data.image_size", "64"])
    generator, discriminator = (model["init_args"][name]["init_args"] for name in ("generator", "discriminator"))
    assert generator == {"image_size": 64, "channels": 3}
    assert discriminator == {"network": {"init_args": {"image_size": 64}}, "input_size": 64}


def test_networks_follow_on_the_command_line(fit) -> None:
    """What is parsed is no dict, so this goes through the parser."""
    run = fit("--data.image_size=32", "--data.channels=3", "--model.max_images=16")
    model = yaml.safe_load((run / "config.yaml").read_text())["model"]["init_args"]
    for name in ("generator", "discriminator"):
        assert (model[name]["init_args"]["image_size"], model[name]["init_args"]["channels"]) == (32, 3)


def test_a_null_leaves_something_out_and_stays() -> None:
    model = {"init_args": {"discriminator": {"init_args": {"image_size": None}}}}
    follow_data(model, {"init_args": {"image_size": 64}}, ["fit", "--data.image_size=64"])
    assert model["init_args"]["discriminator"]["init_args"]["image_size"] is None


@pytest.mark.parametrize(
    "line", [[], ["--data.image_size=64", "--model.generator.image_size=32"], ["--model.generator.image_size=64"]]
)
def test_what_is_not_typed_or_typed_for_a_network_too_changes_nothing(line: list[str]) -> None:
    model = networks()
    follow_data(model, {"init_args": {"image_size": 64, "channels": 1}}, line)
    assert model == networks()
