import pytest
import torch

from lit_gen.errors import UserError
from lit_gen.losses.adversarial import HingeLoss, NonSaturatingLoss
from lit_gen.losses.auxiliary_classifier import AuxiliaryClassifierLoss
from lit_gen.losses.lecam import LeCamLoss
from lit_gen.losses.top_k import TopKLoss
from lit_gen.networks.conditional_layers import Judgement

FAKE = torch.tensor([-1.0, 5.0, 2.0, -7.0])


def annealed(loss: TopKLoss) -> TopKLoss:
    loss.images = loss.anneal_images
    return loss


def test_by_hand():
    assert TopKLoss(HingeLoss()).generator_loss(FAKE) == HingeLoss().generator_loss(FAKE)  # all of them at first
    assert annealed(TopKLoss(HingeLoss(), least=0.5)).generator_loss(FAKE).item() == -(5 + 2) / 2
    assert annealed(TopKLoss(HingeLoss(), least=0.01)).generator_loss(FAKE).item() == -5  # never none
    assert annealed(TopKLoss(HingeLoss(), least=0.6)).generator_loss(FAKE).item() == -(5 + 2 - 1) / 3  # rounded up


def test_the_rest_teaches_nothing():
    fake = FAKE.clone().requires_grad_(True)
    annealed(TopKLoss(HingeLoss())).generator_loss(fake).backward()
    assert fake.grad.tolist() == [0, -0.5, -0.5, 0]


def test_the_share_falls_by_the_same_factor_with_each_image():
    loss, shares = TopKLoss(HingeLoss(), least=0.25, anneal_images=8), []
    for _ in range(4):
        shares.append(loss.share)
        loss.discriminator_loss(FAKE, FAKE)
    assert shares == pytest.approx([1, 0.5, 0.25, 0.25])


def test_validation_and_the_generators_loss_do_not_count():
    loss = TopKLoss(HingeLoss())
    loss.generator_loss(FAKE)
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            assert loss.discriminator_loss(FAKE, FAKE) == HingeLoss().discriminator_loss(FAKE, FAKE)
    assert loss.images == 0
    assert loss.boundary == 0
    assert isinstance(TopKLoss().adversarial, NonSaturatingLoss)


def test_images_are_ranked_by_the_mean_of_their_patches():
    fake = torch.tensor([[9.0, -9.0], [1.0, 1.0]]).view(2, 1, 1, 2)
    assert annealed(TopKLoss(HingeLoss())).generator_loss(fake).item() == -1
    assert annealed(TopKLoss(HingeLoss())).generator_loss(fake.squeeze()).item() == -1


def test_labels_and_classes_go_with_their_images():
    labels, classes = torch.tensor([0, 1, 2, 0]), torch.randn(4, 3)
    inner = AuxiliaryClassifierLoss(HingeLoss())
    for loss in (TopKLoss(inner), TopKLoss(LeCamLoss(inner)), LeCamLoss(TopKLoss(inner))):
        annealed(loss if isinstance(loss, TopKLoss) else loss.adversarial)
        found = loss.generator_loss(Judgement(FAKE, classes), labels)
        torch.testing.assert_close(found, inner.generator_loss(Judgement(FAKE[1:3], classes[1:3]), labels[1:3]))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"least": 0.0}, "found least 0.0, expected above 0 to 1"),
        ({"least": 1.5}, "found least 1.5, expected above 0 to 1"),
        ({"anneal_images": 0}, "found anneal_images 0, expected 1 or more"),
    ],
)
def test_mistakes_are_answered(arguments, expected):
    with pytest.raises(UserError, match=f"TopKLoss: {expected}(.|\n)*Type "):
        TopKLoss(**arguments)
