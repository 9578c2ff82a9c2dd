"""Plans and what they do: everything matched, adapted, declared, or refused in one message with nothing loaded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from lit_gen.callbacks.load_weights import LoadWeights, mark_reinitialised
from lit_gen.callbacks.reinit_modules import ReinitModules
from lit_gen.errors import UserError
from lit_gen.models.conditional_gan import ConditionalGAN
from lit_gen.models.cyclegan import CycleGAN
from lit_gen.models.gan import GAN
from lit_gen.models.vae import VAE
from lit_gen.networks.conditional_dcgan import ConditionalDCGANGenerator, ProjectionDCGANDiscriminator
from lit_gen.networks.dcgan import DCGANDiscriminator, DCGANGenerator
from lit_gen.networks.low_rank import LowRank
from lit_gen.networks.miner import Miner
from lit_gen.networks.patch import PatchDiscriminator
from lit_gen.networks.scale_and_shift import ScaleAndShift
from lit_gen.networks.translation import TranslationGenerator
from lit_gen.networks.vae import ConvDecoder, ConvEncoder
from lit_gen.sampling import add_average
from lit_gen.transfer.load import apply_plan, make_plan
from lit_gen.transfer.matching import Request
from lit_gen.transfer.plan import ADAPTED, COPIED, KEPT, UNUSED
from lit_gen.transfer.source import Source, open_source


def gan(size: int = 28, channels: int = 1, width: int = 4, normalization: str = "none") -> GAN:
    return GAN(DCGANGenerator(size, channels, 8, width), DCGANDiscriminator(size, channels, width, normalization))


def conditional(n_classes: int = 3, condition: str = "batch_norm") -> ConditionalGAN:
    return ConditionalGAN(
        ConditionalDCGANGenerator(28, 1, n_classes, 8, 4, condition), ProjectionDCGANDiscriminator(28, 1, n_classes, 4)
    )


def cyclegan() -> CycleGAN:
    networks = [TranslationGenerator(1, 4, 1), TranslationGenerator(1, 4, 1)]
    return CycleGAN(*networks, PatchDiscriminator(1, 4, 1), PatchDiscriminator(1, 4, 1))


def vae() -> VAE:
    return VAE(ConvEncoder(28, 1, 4, 4), ConvDecoder(28, 1, 4, 4))


def scrambled(model: nn.Module) -> nn.Module:
    """The model with no two tensors alike, batch statistics and singular vectors included."""
    with torch.no_grad():
        for tensor in [*model.parameters(), *model.buffers()]:
            if tensor.is_floating_point():
                tensor.copy_(torch.rand_like(tensor) + 0.5)
    return model


def source_of(model: nn.Module, class_names: list[str] = []) -> Source:  # noqa: B006
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    return Source("source.ckpt", Path("source.ckpt"), state, images_seen=1, class_names=class_names)


def load(model: nn.Module, source: Source, **request: object):
    """Plans on the meta device and for real, which have to agree, and applies."""
    plan = make_plan(model, source, Request(**request))
    apply_plan(plan, model)
    return plan


def statuses(plan) -> dict[str, str]:
    return {row.name: row.says for row in plan.rows if row.status != UNUSED}


@pytest.mark.parametrize("make", [gan, conditional, cyclegan, vae])
def test_everything_of_the_same_architecture_is_copied(make) -> None:
    source, model = scrambled(make()), make()
    plan = load(model, source_of(source))
    copied = {row.name for row in plan.rows if row.status == COPIED}
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, source.state_dict()[name]) == (name in copied), name
    kept = {row.name.split(".")[0] for row in plan.rows if row.status != COPIED}
    assert kept == ({"mixture"} if make is vae else set())  # which means nothing to another data set


def test_a_plan_on_the_meta_device_is_the_plan() -> None:
    source = source_of(gan(channels=3, normalization="spectral"))
    request = Request(on_mismatch={"*": "mean"})
    with torch.device("meta"):
        looked_at = make_plan(gan(normalization="spectral"), source, request)
    real = make_plan(gan(normalization="spectral"), source, request)
    assert looked_at.as_dict() == real.as_dict()
    assert all(value.shape == real.values[name].shape for name, value in looked_at.values.items())


def test_the_average_stands_in_for_the_generator() -> None:
    source, raw, averaged = gan(), gan(), gan()
    add_average(source, "generator")
    scrambled(source)
    plan = load(averaged, source_of(source))
    load(raw, source_of(source), prefer_ema=False)
    assert torch.equal(averaged.generator.head.weight, source.generator_ema.head.weight)
    assert torch.equal(raw.generator.head.weight, source.generator.head.weight)
    assert sum(row.status == UNUSED for row in plan.rows) == len(source.generator.state_dict())


def test_what_is_excluded_is_kept_and_counted() -> None:
    model = gan()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    plan = load(
        model, source_of(scrambled(gan())), include=["generator", "discriminator"], exclude=["discriminator.head"]
    )
    said = statuses(plan)
    assert said["discriminator.head.weight"] == KEPT
    assert said["discriminator.blocks.0.0.weight"] == COPIED
    assert torch.equal(model.discriminator.head.weight, before["discriminator.head.weight"])
    assert plan.coverage()["discriminator.head"] == 0 and plan.coverage()["generator"] == 1
    assert plan.totals()[KEPT]["tensors"] == 2 == plan.totals()[UNUSED]["tensors"]


def test_all_that_does_not_fit_is_refused_at_once_and_nothing_is_loaded() -> None:
    source, model = scrambled(gan(channels=3)), gan()
    tensors = source_of(source)
    del tensors.tensors["generator.blocks.0.0.weight"]
    tensors.tensors["discriminator.extra.weight"] = torch.zeros(2)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(UserError) as refused:
        load(model, tensors)
    message = str(refused.value)
    for line in (
        "generator.blocks.0.0.weight", "not in the checkpoint", "checkpoint (4, 3, 4, 4)   model (4, 1, 4, 4)",
        "generator.head.bias", "discriminator.blocks.0.0.weight", "discriminator.extra.weight", "not in the model; the",
    ):  # fmt: skip
        assert line in message
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_dimension_of_one_does_not_broadcast() -> None:
    source = source_of(gan())
    source.tensors["generator.blocks.0.2.weight"] = torch.ones(1)
    with pytest.raises(UserError, match=r"checkpoint \(1\)   model \(16\)"):
        load(gan(), source)


def test_rename_maps_foreign_names_in_order(tmp_path: Path) -> None:
    ours = scrambled(gan())
    foreign = {f"module.G.{name}": tensor for name, tensor in ours.generator.state_dict().items()}
    save_file(foreign, tmp_path / "g.safetensors")
    model = gan()
    source = open_source(str(tmp_path / "g.safetensors"), "LoadWeights")
    load(model, source, include=["generator"], rename={"^module\\.": "", "^G\\.": "generator."})
    assert torch.equal(model.generator.blocks[1][0].weight, ours.generator.blocks[1][0].weight)


def test_grey_to_rgb_and_back_makes_the_same_pictures() -> None:
    grey, rgb, back = scrambled(gan()), gan(channels=3), gan()
    plan = load(rgb, source_of(grey), on_mismatch={"*": "repeat"})
    assert statuses(plan)["generator.head.weight"] == "adapted (repeat)"
    z = torch.randn(3, 8)
    grey.eval(), rgb.eval(), back.eval()
    made = rgb.generator(z)
    torch.testing.assert_close(made, grey.generator(z).expand(-1, 3, -1, -1))
    torch.testing.assert_close(rgb.discriminator(made), grey.discriminator(made[:, :1]))
    load(back, source_of(rgb), on_mismatch={"generator.head": "mean", "discriminator.blocks.0": "mean"})
    torch.testing.assert_close(back.generator(z), grey.generator(z))


@pytest.mark.parametrize("condition", ["batch_norm", "embedding"])
def test_a_grown_conditional_model_makes_its_sources_images_exactly_for_the_old_classes(condition: str) -> None:
    names, more = ["cat", "cow", "dog"], ["dog", "bear", "cat", "bird", "cow"]
    source, model = scrambled(conditional(3, condition)).eval(), conditional(5, condition).eval()
    load(model, source_of(source, names), on_mismatch={"*": "grow"}, class_names=more)
    z = torch.randn(6, 8)
    old = torch.tensor([0, 1, 2, 0, 1, 2])
    new = torch.tensor([more.index(names[label]) for label in old])
    assert torch.equal(source.generator(z, old), model.generator(z, new))
    torch.testing.assert_close(source.discriminator(source.generator(z, old), old).shape, torch.Size([6]))


def test_singular_vectors_of_a_grown_weight_are_computed_anew() -> None:
    source, model = conditional(3), conditional(5)
    plan = load(model, source_of(source), on_mismatch={"*": "grow"})
    assert statuses(plan)["discriminator.head.embedding.parametrizations.weight.0._u"] == "adapted (power iteration)"
    weight = model.discriminator.eval().head.embedding.weight
    torch.testing.assert_close(torch.linalg.matrix_norm(weight, 2), torch.tensor(1.0), rtol=1e-2, atol=0)


# Where DCGANGenerator has its layers in a row, ConditionalDCGANGenerator has a layer and a norm.
TO_CONDITIONAL = {
    r"^generator\.blocks\.0\.0\.": "generator.blocks.0.layer.0.",
    r"^generator\.blocks\.0\.2\.": "generator.blocks.0.norm.",
    r"^generator\.blocks\.([1-9])\.0\.": r"generator.blocks.\1.layer.",
    r"^generator\.blocks\.([1-9])\.1\.": r"generator.blocks.\1.norm.",
    r"norm\.weight$": "norm.gain",
    r"norm\.(running_\w+|num_\w+)$": r"norm.norm.\1",
    r"^discriminator\.head\.": "discriminator.head.linear.",
}
TO_UNCONDITIONAL = {
    r"^discriminator\.head\.linear\.": "discriminator.head.",
    r"norm\.norm\.": "norm.",
    r"norm\.gain$": "norm.weight",
    r"^generator\.blocks\.0\.layer\.0\.": "generator.blocks.0.0.",
    r"^generator\.blocks\.0\.norm\.": "generator.blocks.0.2.",
    r"^generator\.blocks\.([1-9])\.layer\.": r"generator.blocks.\1.0.",
    r"^generator\.blocks\.([1-9])\.norm\.": r"generator.blocks.\1.1.",
}


def test_unconditional_to_conditional_and_back() -> None:
    source, model, back = (
        scrambled(gan(normalization="spectral")).eval(),
        conditional().eval(),
        gan(normalization="spectral").eval(),
    )
    embedding = ["discriminator.head.embedding"]
    load(model, source_of(source), rename=TO_CONDITIONAL, on_mismatch={"*": "grow"}, as_built=embedding)
    z, labels = torch.randn(6, 8), torch.arange(6) % 3
    torch.testing.assert_close(model.generator(z, labels), source.generator(z))
    load(back, source_of(model), rename=TO_UNCONDITIONAL, on_mismatch={"*": "mean"}, exclude=embedding)
    torch.testing.assert_close(back.generator(z), source.generator(z))
    assert torch.equal(back.discriminator.blocks[1][0].weight, source.discriminator.blocks[1][0].weight)


def test_28_to_32_to_64_pixels() -> None:
    """Kernels of 3 become 4 from 28 to 32; at 64 a block and the head are new, and declared so."""
    small, middle, large = scrambled(gan(28, width=8)), gan(32, width=8), gan(64, width=4)
    plan = load(middle, source_of(small), on_mismatch={"*.weight": "interpolate"})
    assert [name for name, says in statuses(plan).items() if says.startswith(ADAPTED)] == [
        "generator.blocks.1.0.weight",
        "discriminator.blocks.2.0.weight",
    ]
    new = [
        "generator.blocks.3",
        "generator.head",
        "discriminator.blocks.0",
        "discriminator.blocks.1",
        "discriminator.head",
    ]
    plan = load(
        large,
        source_of(middle),
        rename={rf"discriminator\.blocks\.{n}\.": f"discriminator.blocks.{n + 1}." for n in (2, 1, 0)},
        exclude=["generator.head", "discriminator.head", "discriminator.blocks.1"],
        as_built=["generator.blocks.3", "discriminator.blocks.0"],
    )
    kept = {name for name, says in statuses(plan).items() if says == KEPT}
    assert {pattern for pattern in new if any(name.startswith(pattern) for name in kept)} == set(new)
    assert torch.equal(large.generator.blocks[2][0].weight, middle.generator.blocks[2][0].weight)
    assert torch.equal(large.discriminator.blocks[3][0].weight, middle.discriminator.blocks[2][0].weight)
    assert large.generator(torch.randn(2, 8)).shape == (2, 1, 64, 64)


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        ({"include": ["generater"]}, r'include: nothing matches "generater". Did you mean "generator"'),
        ({"exclude": ["discriminator.heads"]}, r"exclude: nothing matches"),
        ({"as_built": ["generator.tail"]}, r"as_built: nothing matches"),
        ({"on_mismatch": {"generator.tail": "slice"}}, r"on_mismatch: nothing matches"),
        ({"on_mismatch": {"*": "slize"}}, r'no policy \'slize\'.*Did you mean "slice"'),
        ({"rename": {"^module": ""}}, r"changes none of the source's names"),
        ({"rename": {"(": ""}}, r"no regular expression"),
        ({"rename": {"a": r"\3"}}, r"no regular expression"),
        ({"rename": {"blocks.*": "x"}}, r"both become"),
        ({"include": ["generator"], "exclude": ["generator"]}, r"leave nothing"),
    ],
)
def test_mistakes_in_the_request(request_: dict, says: str) -> None:
    with pytest.raises(UserError, match=says):
        make_plan(gan(), source_of(gan()), Request(**request_))


def test_another_family_is_one_message() -> None:
    with pytest.raises(UserError, match="(?s)decoder, encoder.*none of its names is wanted by this GAN") as refused:
        make_plan(gan(), source_of(vae()), Request())
    assert len(str(refused.value).splitlines()) <= 3


def test_a_plan_is_plain_json_and_its_table_can_leave_out_what_is_copied() -> None:
    plan = make_plan(gan(), source_of(gan()), Request())
    assert json.loads(json.dumps(plan.as_dict())) == plan.as_dict()
    assert "copied" not in plan.table(all_rows=False).splitlines()[0] and "generator.head.bias" in plan.table()
    assert all(isinstance(value, Tensor) for value in plan.values.values())


def test_a_source_with_low_rank_adapters_says_to_merge_it() -> None:
    adapted = GAN(LowRank(DCGANGenerator(28, 1, 8, 4)), DCGANDiscriminator(28, 1, 4, "none"))
    with pytest.raises(UserError, match="low-rank adapters. Type python -m lit_gen merge"):
        make_plan(gan(), source_of(adapted), Request())
    alone = source_of(gan())
    alone.adapters_alone = True
    with pytest.raises(UserError, match="holds adapters alone. Type python -m lit_gen merge"):
        make_plan(gan(), alone, Request())


@pytest.mark.parametrize("wrap", [LowRank, ScaleAndShift, Miner])
def test_plain_weights_go_into_a_wrapped_network_and_adapters_need_no_declaration(wrap: type[nn.Module]) -> None:
    source = scrambled(gan()).eval()
    model = GAN(wrap(DCGANGenerator(28, 1, 8, 4)), DCGANDiscriminator(28, 1, 4, "none")).eval()
    plan = load(model, source_of(source))
    z = torch.randn(3, 8)
    torch.testing.assert_close(model.generator(z), source.generator(z))
    assert KEPT in statuses(plan).values()
    again = GAN(wrap(DCGANGenerator(28, 1, 8, 4)), DCGANDiscriminator(28, 1, 4, "none"))
    assert {row.status for row in load(again, source_of(model)).rows} == {COPIED}


def test_what_is_initialised_afresh_afterwards_is_said() -> None:
    model = conditional()
    plan = make_plan(model, source_of(conditional()), Request())
    loader = LoadWeights("source.ckpt")
    later = [ReinitModules(["discriminator.head.linear"]), ReinitModules(["generator.blocks.0.norm"], classes=[1])]
    mark_reinitialised(plan, [loader, *later], model, loader)
    said = statuses(plan)
    assert said["discriminator.head.linear.bias"] == "re-initialised"
    assert said["generator.blocks.0.norm.gain"] == "re-initialised (classes 1)"
    assert said["generator.blocks.1.norm.gain"] == COPIED
    assert plan.totals()["re-initialised"]["tensors"] == 4 + 2  # weight, bias and two singular vectors; gain and bias


def test_initialising_what_is_then_loaded_is_refused() -> None:
    model, loader = gan(), LoadWeights("source.ckpt")
    plan = make_plan(model, source_of(gan()), Request())
    with pytest.raises(UserError, match="stands behind ReinitModules, and would overwrite discriminator.head.bias"):
        mark_reinitialised(plan, [ReinitModules(["discriminator.head"]), loader], model, loader)
    plan = make_plan(model, source_of(gan()), Request(exclude=["discriminator.head"]))
    mark_reinitialised(plan, [ReinitModules(["discriminator.head"]), loader], model, loader)
    assert statuses(plan)["discriminator.head.bias"] == KEPT


def test_rows_of_as_many_classes_go_by_name_where_that_is_wanted_and_by_number_with_a_note() -> None:
    names, others = ["a", "b", "c"], ["b", "c", "d"]
    source, grown = scrambled(conditional()).eval(), conditional().eval()
    plan = load(grown, source_of(source, names), on_mismatch={"*": "grow"}, class_names=others)
    assert not plan.notes
    z = torch.randn(4, 8)
    old, new = torch.tensor([1, 2, 1, 2]), torch.tensor([0, 1, 0, 1])
    assert torch.equal(source.generator(z, old), grown.generator(z, new))
    plan = load(conditional(), source_of(source, names), class_names=others)
    assert "a, b, c" in plan.notes[0] and "on_mismatch: grow" in plan.table()
    assert not load(conditional(), source_of(source, names), class_names=names).notes


def test_numbers_that_are_not_finite_are_refused() -> None:
    source, model = source_of(gan()), gan()
    source.tensors["discriminator.head.bias"] = torch.tensor([float("nan")])
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(UserError, match="not finite: discriminator.head.bias"):
        load(model, source)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(("prefix", "proposal"), [("module.", r'{"^module\\.": ""}'), ("", '{"^": generator.}')])
def test_a_prefix_too_much_or_too_little_is_seen(prefix: str, proposal: str) -> None:
    source = source_of(gan())
    source.tensors = {f"{prefix}{name if prefix else name.partition('.')[2]}": t for name, t in source.tensors.items()
                      if prefix or name.startswith("generator.")}  # fmt: skip
    with pytest.raises(UserError) as refused:
        make_plan(gan(), source, Request())
    assert proposal.replace("\\\\", "\\") in str(refused.value)
