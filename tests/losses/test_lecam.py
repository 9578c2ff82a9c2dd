import copy
import multiprocessing
from pathlib import Path

import pytest
import torch

from lit_gen.errors import UserError
from lit_gen.losses.adversarial import HingeLoss, LeastSquaresLoss, NonSaturatingLoss
from lit_gen.losses.auxiliary_classifier import AuxiliaryClassifierLoss
from lit_gen.losses.lecam import LeCamLoss
from lit_gen.losses.top_k import TopKLoss
from lit_gen.networks.conditional_layers import Judgement

REAL, FAKE = torch.tensor([3.0, 1.0]), torch.tensor([-2.0, 0.0])
OTHER_REAL, OTHER_FAKE = torch.tensor([4.0]), torch.tensor([1.0])


def test_by_hand():
    loss, hinge = LeCamLoss(HingeLoss(), weight=0.5, decay=0.75), HingeLoss()
    # The first batch's means are 2 and -1: (3 + 1)^2 and (1 + 1)^2, (-2 - 2)^2 and (0 - 2)^2.
    expected = hinge.discriminator_loss(REAL, FAKE) + 0.5 * ((16 + 4) / 2 + (16 + 4) / 2)
    torch.testing.assert_close(loss.discriminator_loss(REAL, FAKE), expected)
    # They move a quarter of the way: 2 to 2.5, -1 to -0.5.
    expected = hinge.discriminator_loss(OTHER_REAL, OTHER_FAKE) + 0.5 * (4.5**2 + 1.5**2)
    torch.testing.assert_close(loss.discriminator_loss(OTHER_REAL, OTHER_FAKE), expected)
    torch.testing.assert_close(loss.averages, torch.tensor([[2.5], [-0.5]]))


def test_gradients_draw_logits_to_the_other_average_which_is_a_constant():
    loss = LeCamLoss(HingeLoss(), weight=0.5)
    loss.discriminator_loss(REAL, FAKE)
    averages = loss.averages.ravel() * 0.99 + torch.tensor([5.0, -6.0]) * 0.01
    real, fake = torch.tensor([5.0], requires_grad=True), torch.tensor([-6.0], requires_grad=True)  # hinge is flat
    loss.discriminator_loss(real, fake).backward()
    torch.testing.assert_close(real.grad, 5.0 - averages[1:])
    torch.testing.assert_close(fake.grad, -6.0 - averages[:1])


def test_validation_does_not_move_the_averages():
    loss = LeCamLoss(HingeLoss())
    with torch.no_grad():  # before training
        assert loss.discriminator_loss(REAL, FAKE) == HingeLoss().discriminator_loss(REAL, FAKE)
    assert loss.averages is None
    loss.discriminator_loss(REAL, FAKE)
    before = loss.averages.clone()
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            assert loss.discriminator_loss(REAL, FAKE) > HingeLoss().discriminator_loss(REAL, FAKE)
            loss.discriminator_loss(OTHER_REAL, OTHER_FAKE)
    assert torch.equal(loss.averages, before)


def test_the_generators_loss_is_the_other_ones():
    loss = LeCamLoss(LeastSquaresLoss(generator_target=2.0))
    assert loss.generator_loss(FAKE) == LeastSquaresLoss(generator_target=2.0).generator_loss(FAKE)
    assert loss.averages is None
    assert loss.boundary == LeastSquaresLoss().boundary
    assert isinstance(LeCamLoss().adversarial, NonSaturatingLoss)


@pytest.mark.parametrize("shape", [(4,), (4, 1), (4, 1, 3, 3)])
def test_patches_count_one_by_one(shape):
    real, fake = torch.randn(shape), torch.randn(shape)
    loss, flat = LeCamLoss(HingeLoss()), LeCamLoss(HingeLoss())
    torch.testing.assert_close(loss.discriminator_loss(real, fake), flat.discriminator_loss(real.ravel(), fake.ravel()))
    assert loss.averages.shape == (2, 1)


def test_each_head_has_averages_of_its_own():
    real, fake = torch.randn(4, 3), torch.randn(4, 3)
    loss, heads = LeCamLoss(HingeLoss()), [LeCamLoss(HingeLoss()) for _ in range(3)]
    each = [head.discriminator_loss(real[:, k], fake[:, k]) for k, head in enumerate(heads)]
    torch.testing.assert_close(loss.discriminator_loss(real, fake), sum(each) / 3)
    torch.testing.assert_close(loss.averages, torch.cat([head.averages for head in heads], 1))


@pytest.mark.parametrize("outer", [LeCamLoss, lambda inner: TopKLoss(LeCamLoss(inner)), AuxiliaryClassifierLoss])
def test_with_a_discriminator_that_tells_the_class(outer):
    """Around the auxiliary classifier's loss, or within it."""
    loss = outer(LeCamLoss(HingeLoss()) if outer is AuxiliaryClassifierLoss else AuxiliaryClassifierLoss(HingeLoss()))
    labels, classes = torch.tensor([0, 2]), torch.randn(2, 3)
    judged = Judgement(REAL, classes), Judgement(FAKE, classes)
    loss.check(judged[0])
    plain = AuxiliaryClassifierLoss(HingeLoss())
    difference = loss.discriminator_loss(*judged, labels) - plain.discriminator_loss(*judged, labels)
    torch.testing.assert_close(difference, torch.tensor(0.3 * 20))
    torch.testing.assert_close(loss.generator_loss(judged[1], labels), plain.generator_loss(judged[1], labels))
    again = copy.deepcopy(loss)
    again.load_state_dict(loss.state_dict())
    assert "averages" in str(again.state_dict())


def test_logits_alone_are_what_the_other_loss_wants():
    LeCamLoss().check(REAL)
    with pytest.raises(UserError, match="NonSaturatingLoss: the discriminator returns Judgement"):
        LeCamLoss().check(Judgement(REAL, REAL))


def test_what_it_remembers_goes_on():
    first, second = LeCamLoss(TopKLoss(HingeLoss())), LeCamLoss(TopKLoss(HingeLoss()))
    first.discriminator_loss(REAL, FAKE)
    state = first.state_dict()
    assert set(state) == {"averages", "adversarial"}
    second.load_state_dict(state)
    assert second.adversarial.images == 2
    for loss in (first, second):
        loss.value = loss.discriminator_loss(OTHER_REAL, OTHER_FAKE)
    assert first.value == second.value
    second.load_state_dict({})  # a run without it is resumed with it: begins afresh
    assert HingeLoss().state_dict() == AuxiliaryClassifierLoss().state_dict() == {}


def rank(number: int, folder: Path) -> None:
    """One of two processes, whose logits differ."""
    torch.distributed.init_process_group("gloo", f"file://{folder}/meeting", rank=number, world_size=2)
    loss = LeCamLoss(TopKLoss(HingeLoss()))
    loss.discriminator_loss(REAL + number, FAKE - number)
    torch.save(loss.state_dict(), folder / f"{number}.pt")
    torch.distributed.destroy_process_group()


def test_averages_are_those_of_all_processes(tmp_path):
    context = multiprocessing.get_context("fork")  # torch is imported already
    started = [context.Process(target=rank, args=(number, tmp_path)) for number in (0, 1)]
    for process in started:
        process.start()
    for process in started:
        process.join(60)
    for number in (0, 1):
        state = torch.load(tmp_path / f"{number}.pt", weights_only=True)
        assert torch.equal(state["averages"], torch.tensor([[2.5], [-1.5]]))
        assert state["adversarial"] == {"images": 4}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"weight": -1.0}, "found weight -1.0, expected 0 or more"),
        ({"decay": 1.0}, "found decay 1.0, expected 0 to below 1"),
    ],
)
def test_mistakes_are_answered(arguments, expected):
    with pytest.raises(UserError, match=f"LeCamLoss: {expected}(.|\n)*Type "):
        LeCamLoss(**arguments)
