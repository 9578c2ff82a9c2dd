"""Regularisers towards the source: closed forms, zero at the source, and what they leave alone."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from families import FAMILIES, all_four, make, train
from lightning.pytorch import Callback
from torch import nn

from lit_gen.callbacks.cdc import CrossDomainConsistency
from lit_gen.callbacks.ewc import EWC
from lit_gen.callbacks.feature_distillation import FeatureDistillation
from lit_gen.callbacks.l2_sp import L2SP
from lit_gen.callbacks.source_regulariser import SourceRegulariser
from lit_gen.errors import UserError


class Spy(Callback):
    """What each regulariser said, batch by batch."""

    def __init__(self) -> None:
        self.said: list[dict[str, float]] = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        self.said.append({other.name: other.value.item() for other in pl_module.regularisers})


class Linear(nn.Module):
    """A generator of one linear block."""

    def __init__(self, weight: list[list[float]]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([nn.Linear(2, len(weight), bias=False)])
        self.blocks[0].weight.data = torch.tensor(weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.blocks[0](x)


class Toy(nn.Module):
    """A model of such a generator, with losses whose gradients are the inputs."""

    def __init__(self, weight: list[list[float]]) -> None:
        super().__init__()
        self.generator, self.other = Linear(weight), nn.Linear(1, 1)
        self.device, self.regularisers, self.inputs = torch.device("cpu"), [], torch.tensor([[1.0, 2.0], [3.0, 0.0]])

    @property
    def weight(self) -> nn.Parameter:
        return self.generator.blocks[0].weight

    def own_losses(self, n: int):
        yield from (self.generator(x).sum() for x in self.inputs[:n])


def start(model: nn.Module, *regularisers: SourceRegulariser) -> None:
    optimizer = torch.optim.SGD(model.generator.parameters(), lr=1.0)
    trainer = SimpleNamespace(optimizers=[optimizer], ckpt_path=None, callbacks=[])
    for regulariser in regularisers:
        regulariser.on_fit_start(trainer, model)
    for regulariser in regularisers:
        regulariser.on_train_start(trainer, model)


def gradient(model: Toy, *regularisers: SourceRegulariser) -> torch.Tensor:
    (found,) = torch.autograd.grad(sum(r("generator") for r in regularisers), [model.weight])
    return found


def moved(model: Toy, by: list[list[float]]) -> torch.Tensor:
    model.weight.data += torch.tensor(by)
    return torch.tensor(by)


def test_l2_sp_pulls_by_alpha_times_the_distance() -> None:
    model, pull = Toy([[1.0, 2.0]]), L2SP(weight=0.5)
    start(model, pull)
    assert pull("generator") == 0
    by = moved(model, [[2.0, -4.0]])
    assert pull("generator").item() == 0.25 * (4 + 16)
    assert torch.equal(gradient(model, pull), 0.5 * by)
    assert pull("other") == 0


def test_l2_sp_draws_to_zero_what_begins_anew() -> None:
    model, pull = Toy([[1.0, 2.0]]), L2SP(weight=0.5, fresh=["generator.bias"], beta=0.1)
    model.generator.bias = nn.Parameter(torch.tensor([3.0]))
    start(model, pull)
    (drawn,) = torch.autograd.grad(pull("generator"), [model.generator.bias])
    torch.testing.assert_close(drawn, torch.tensor([0.1 * 3]))
    model.generator.bias.data += 1
    torch.testing.assert_close(pull("generator"), torch.tensor(0.05 * 16))
    assert "generator.bias" not in pull.reference


def test_ewc_pulls_by_lambda_fisher_times_the_distance() -> None:
    fisher = torch.tensor([[(1 + 9) / 2, (4 + 0) / 2]])  # the gradient of w.x is x
    for normalize, scale in ((False, 1.0), (True, fisher.mean())):
        model, pull = Toy([[1.0, 2.0]]), EWC(weight=0.5, n_samples=2, normalize=normalize)
        model.weight.requires_grad_(False)  # frozen at first, and learning later
        start(model, pull)
        assert not model.weight.requires_grad
        model.weight.requires_grad_(True)
        assert pull("generator") == 0
        by = moved(model, [[2.0, -4.0]])
        torch.testing.assert_close(gradient(model, pull), 0.5 * fisher / scale * by)


def test_cross_domain_consistency_of_three_images_by_hand() -> None:
    model, keep = Toy([[1.0, 0.0], [0.0, 1.0]]), CrossDomainConsistency(weight=2.0)
    start(model, keep)
    x = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    model.generator(x)
    assert keep("generator") == 0
    keep.on_train_batch_end(None, model, None, None, 0)
    model.weight.data = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    model.generator(x)
    # Cosines of (1, 0), (0, 1), (1, 1) at first, then of (2, 0), (0, 1), (2, 1).
    before, after = (0.0, 1 / math.sqrt(2), 1 / math.sqrt(2)), (0.0, 2 / math.sqrt(5), 1 / math.sqrt(5))
    divergences = []
    for one, other in ((0, 1), (0, 2), (1, 2)):  # each image has two others: its pairs
        p, q = (1 / (1 + math.exp(c[other] - c[one])) for c in (before, after))
        divergences.append(p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q)))
    torch.testing.assert_close(keep("generator").item(), 2 * sum(divergences) / 3)
    assert gradient(model, keep).abs().sum() > 0


def test_distillation_is_the_squared_distance_in_units_of_the_sources() -> None:
    model, keep = Toy([[1.0, 0.0]]), FeatureDistillation(weight=3.0, modules=["generator.blocks"])
    start(model, keep)
    by, x = moved(model, [[0.5, 2.0]]), torch.tensor([[1.0, 2.0], [3.0, 1.0]])
    model.generator(x)
    model.generator(x.flip(1))  # another pass of the batch does not count
    source, change = x[:, 0], x @ by[0]
    torch.testing.assert_close(keep("generator"), 3 * change.square().sum() / source.square().sum())
    expected = 3 * 2 * (change[:, None] * x).sum(0, keepdim=True) / source.square().sum()
    torch.testing.assert_close(gradient(model, keep), expected)
    with torch.no_grad():
        keep.on_train_batch_end(None, model, None, None, 0)
        model.generator(x)
    assert keep("generator") == 0  # nothing learns from a pass without gradients


def test_stacked_they_add_up() -> None:
    model, pulls = Toy([[1.0, 2.0]]), [L2SP(weight=0.5), L2SP(weight=2.0, modules=["generator"]), EWC(n_samples=2)]
    start(model, *pulls)
    moved(model, [[2.0, -4.0]])
    torch.testing.assert_close(gradient(model, *pulls), sum(gradient(model, pull) for pull in pulls))
    assert [pull.name for pull in model.regularisers] == ["l2_sp", "l2_sp_2", "ewc"]


@pytest.mark.parametrize("family", FAMILIES)
def test_all_are_exactly_zero_at_first_and_change_no_part_of_the_model(family: str) -> None:
    model, spy = make(family), Spy()
    keys = list(model.state_dict())
    train(model, family, *all_four(family), spy, batches=3)
    assert all(value == 0 for value in spy.said[0].values()), spy.said[0]
    assert set(spy.said[0]) == {"l2_sp", "ewc", "cross_domain_consistency", "feature_distillation"}
    assert all(value != 0 for said in spy.said[1:] for value in said.values()), spy.said
    assert list(model.state_dict()) == keys
    assert model.regularisers == []
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("family", FAMILIES)
def test_weightless_they_leave_the_run_bit_for_bit_alone(family: str) -> None:
    """The random stream, batch statistics, power iterations, training modes and what requires gradients."""
    plain, weightless, callbacks = make(family), make(family), all_four(family)
    for callback in callbacks:
        callback.weight = 0.0
    train(plain, family, batches=3)
    train(weightless, family, *callbacks, batches=3)
    for (name, value), expected in zip(weightless.state_dict().items(), plain.state_dict().values(), strict=True):
        assert torch.equal(value, expected), name
    assert all(module.training for module in weightless.modules())
    assert all(parameter.requires_grad for parameter in weightless.parameters())


class Still(Callback):
    """Holds blocks in eval mode, as frozen ones are."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        pl_module.generator.blocks[1].eval()
        pl_module.discriminator.blocks[1].eval()


def test_the_source_is_in_eval_mode_where_the_model_is() -> None:
    spy = Spy()
    train(make("gan"), "gan", Still(), FeatureDistillation(modules=["generator", "discriminator"]), spy, batches=2)
    assert spy.said[0] == {"feature_distillation": 0}
    assert spy.said[1]["feature_distillation"] > 0


@pytest.mark.parametrize(
    ("family", "options", "network"),
    [
        *((family, {}, None) for family in FAMILIES),
        ("gan", {}, "discriminator"),
        ("gan", {"accumulate_batches": 2}, None),
        ("gan", {"discriminator_steps": 2}, None),
        ("cyclegan", {}, "discriminator_b"),
    ],
)
def test_the_step_descends_the_pull_once_for_each_update(family: str, options: dict, network: str | None) -> None:
    """Two updates by plain descent: the second is that of a run without, less lr alpha (w1 - w0)."""
    network = network or {"vae": "decoder", "cyclegan": "generator_ab"}.get(family, "generator")
    each, alpha = 2 if options else 1, 0.3
    lr = 1e-3 if family == "vae" else 0.05
    found = {}
    for batches, callbacks in ((0, []), (each, []), (2 * each, []), (-2 * each, [L2SP(alpha, [network])])):
        model = make(family, **options)
        if batches:
            train(model, family, *callbacks, batches=2 * each, limit_train_batches=abs(batches))
        found[batches] = [p.detach().clone() for p in getattr(model, network).parameters()]
    for w0, w1, plain, pulled in zip(*found.values(), strict=True):
        torch.testing.assert_close(pulled, plain - lr * alpha * (w1 - w0), rtol=1e-5, atol=1e-7)


def test_mistakes_are_one_message() -> None:
    for nonsense in (L2SP, EWC, CrossDomainConsistency, FeatureDistillation):
        with pytest.raises(UserError, match=f"{nonsense.__name__}: weight is -1"):
            nonsense(weight=-1)
        with pytest.raises(UserError, match=f'{nonsense.__name__}: nothing matches "genertor".*generator'):
            train(make("gan"), "gan", nonsense(modules=["genertor"]))
        with pytest.raises(UserError, match=f"{nonsense.__name__}: no optimizer trains anything of what other"):
            start(Toy([[1.0, 2.0]]), nonsense(modules=["other"]))
        with pytest.raises(UserError, match="adds no regularisers"):
            nonsense().on_fit_start(SimpleNamespace(optimizers=[]), nn.Linear(1, 1))
    with pytest.raises(UserError, match=r"expected at least 3.*\n.*batch_size 4"):
        train(make("gan"), "gan", CrossDomainConsistency(), batch_size=2)
    with pytest.raises(UserError, match="fresh"):
        L2SP(beta=0.1)
    with pytest.raises(UserError, match="beta is -1"):
        L2SP(beta=-1, fresh=["discriminator.head"])
    with pytest.raises(UserError, match="n_samples is 0"):
        EWC(n_samples=0)
    with pytest.raises(UserError, match="Fisher information of discriminator.head is 0"):
        model = make("gan")
        model.own_losses = lambda n: (model.generator(torch.zeros(1, 3)).sum() for _ in range(n))
        train(model, "gan", EWC(modules=["discriminator.head"]))
