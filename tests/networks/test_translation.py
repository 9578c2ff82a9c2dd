import pytest
import torch
from torch import nn

from lit_gen.errors import UserError
from lit_gen.networks.translation import TranslationGenerator


def test_the_papers_network_has_the_papers_maps():
    network = TranslationGenerator(width=64, n_blocks=9)
    assert len(network.blocks) == 1 + 2 + 9 + 2
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    assert [m.out_channels for m in convolutions] == [64, 128, 256, *[256] * 18, 128, 64, 3]
    assert [m.kernel_size[0] for m in convolutions] == [7, 3, 3, *[3] * 18, 3, 3, 7]
    weights = sum(m.weight.numel() for m in convolutions)
    assert weights == 2 * 7 * 7 * 3 * 64 + 2 * 9 * (64 * 128 + 128 * 256) + 18 * 9 * 256**2
    assert sum(p.numel() for p in network.parameters()) == weights + 3  # the head's bias alone


@pytest.mark.parametrize("side", [8, 28, 36])
@pytest.mark.parametrize("channels", [1, 3])
def test_shapes_ranges_and_gradients(side, channels):
    network = TranslationGenerator(channels=channels, width=2, n_blocks=1)
    x = torch.rand(2, channels, side, side + 4) * 2 - 1
    made = network(x)
    assert made.shape == x.shape
    assert made.abs().max() <= 1
    made.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


def test_images_do_not_mix_and_modes_do_not_differ():
    torch.manual_seed(0)
    network = TranslationGenerator(width=2, n_blocks=1)
    x = torch.rand(3, 3, 8, 8) * 2 - 1
    torch.testing.assert_close(network(x)[1:2], network(x[1:2]))
    torch.testing.assert_close(network(x), network.eval()(x))


def test_borders_are_mirrored():
    """What is constant along a row stays so, up to the border: zeros beyond it would show."""
    torch.manual_seed(0)
    block = TranslationGenerator(width=2, n_blocks=1).blocks[0]
    x = torch.rand(1, 3, 8, 1).expand(-1, -1, -1, 8)
    made = block(x)
    torch.testing.assert_close(made, made[..., :1].expand_as(made))


def test_blocks_run_from_input_to_head():
    network = TranslationGenerator(width=2, n_blocks=2)
    order = []
    for name, part in [*network.blocks.named_children(), ("head", network.head)]:
        part.register_forward_hook(lambda *_, name=name: order.append(name))
    network(torch.zeros(1, 3, 8, 8))
    assert order == ["0", "1", "2", "3", "4", "5", "6", "head"]


def test_weights_begin_as_in_the_paper_and_a_part_alone_is_reset():
    torch.manual_seed(0)
    network = TranslationGenerator(width=16, n_blocks=1)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            assert layer.weight.std().item() == pytest.approx(0.02, rel=0.1)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.reset_parameters(network.head)
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"head.weight"}


@pytest.mark.parametrize("shape", [(30, 28), (28, 30), (4, 4)])
def test_a_size_that_cannot_be_translated(shape):
    with pytest.raises(
        UserError, match=f"{shape[0]}x{shape[1]} pixels, expected sides that 4 divides(.|\n)*Type image"
    ):
        TranslationGenerator(width=2, n_blocks=1)(torch.zeros(1, 3, *shape))


@pytest.mark.parametrize("bad", [{"channels": 2}, {"width": 0}, {"n_blocks": 0}])
def test_arguments_out_of_range(bad):
    (name, value), *_ = bad.items()
    with pytest.raises(UserError, match=f"TranslationGenerator: found {name} {value}, expected"):
        TranslationGenerator(**bad)
