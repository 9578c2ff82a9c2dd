import pytest
import torch
from torch import nn

from lit_gen.losses.penalties import R1
from lit_gen.networks.dcgan import DCGANDiscriminator
from lit_gen.networks.minibatch_stddev import MinibatchStdDev, WithMinibatchStdDev
from lit_gen.networks.patch import PatchDiscriminator


def test_by_hand():
    x = torch.tensor([[0.0, 0.0], [2.0, 0.0], [5.0, 1.0], [5.0, 7.0]])
    # In pairs: deviations (1, 0) and (0, 3), each the mean over two features.
    torch.testing.assert_close(MinibatchStdDev(2)(x), torch.tensor([0.5, 0.5, 1.5, 1.5]), atol=1e-4, rtol=0)
    torch.testing.assert_close(MinibatchStdDev(2)(x.view(4, 1, 2, 1)), MinibatchStdDev(2)(x))
    whole = x.std(0, unbiased=False).mean().expand(4)
    for size in (4, 9):  # a smaller batch is one group
        torch.testing.assert_close(MinibatchStdDev(size)(x), whole, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("n", "groups"), [(1, [1]), (3, [3]), (4, [4]), (7, [7]), (8, [4, 4]), (10, [5, 5]), (15, [5, 5, 5])]
)
def test_what_is_left_over_joins_the_groups(n, groups):
    torch.manual_seed(0)
    x = torch.randn(n, 6)
    found = MinibatchStdDev(4)(x)
    assert found.shape == (n,)
    expected = [part.std(0, unbiased=False).mean().expand(len(part)) for part in x.split(groups)]
    torch.testing.assert_close(found, torch.cat(expected), atol=2e-4, rtol=0)  # the root of an epsilon


def test_gradients_are_finite_where_images_are_equal():
    x = torch.ones(4, 3, requires_grad=True)
    MinibatchStdDev(4)(x).sum().backward()
    assert (x.grad == 0).all()


@pytest.mark.parametrize(
    "network", [DCGANDiscriminator(28, 1, 2, "spectral"), PatchDiscriminator(1, 2, 1)], ids=["logits", "patches"]
)
def test_the_head_sees_the_deviation_as_one_more_channel(network):
    torch.manual_seed(0)
    wrapped = WithMinibatchStdDev(network.eval(), group_size=2).eval()
    nn.init.normal_(wrapped.weighed.weight)
    images = torch.rand(4, 1, 28, 28)
    features = images
    for block in list(network.blocks)[:-1]:
        features = block(features)
    features = network.blocks[-1].forward(features)  # without the hook
    channel = MinibatchStdDev(2)(features).view(4, 1, 1, 1).expand(-1, 1, *features.shape[2:])
    mixed = nn.functional.conv2d(
        torch.cat([features, channel], 1),
        torch.cat([torch.eye(features.shape[1]), wrapped.weighed.weight.detach()[:, None]], 1)[:, :, None, None],
    )
    expected = network.head(mixed.flatten(1)).squeeze(1) if isinstance(network.head, nn.Linear) else network.head(mixed)
    torch.testing.assert_close(wrapped(images), expected)


def test_a_batch_of_equal_images_can_be_told():
    """The same image gets another logit beside its like than beside others."""
    torch.manual_seed(0)
    wrapped = WithMinibatchStdDev(DCGANDiscriminator(28, 1, 4, "spectral"), group_size=4).eval()
    images = torch.rand(4, 1, 28, 28)
    equal = images[:1].expand(4, -1, -1, -1)
    assert wrapped(images)[0] == wrapped(equal)[0]
    nn.init.ones_(wrapped.weighed.weight)
    assert (wrapped(images)[0] - wrapped(equal)[0]).abs() > 1e-3


def test_r1_can_be_differentiated_through_it():
    wrapped = WithMinibatchStdDev(DCGANDiscriminator(28, 1, 2, "none"))
    nn.init.ones_(wrapped.weighed.weight)
    R1()(wrapped, torch.rand(5, 1, 28, 28), torch.rand(5, 1, 28, 28)).backward()
    assert wrapped.weighed.weight.grad.abs().sum() > 0
