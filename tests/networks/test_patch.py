import pytest
import torch
from torch import nn

from lit_gen.errors import UserError
from lit_gen.networks.patch import PatchDiscriminator


def without_norms(network: PatchDiscriminator) -> PatchDiscriminator:
    """Instance norm lets every pixel see the whole image; convolutions alone show the patch."""
    for block in network.blocks[1:]:
        block[1] = nn.Identity()
    return network


@pytest.mark.parametrize(("n_layers", "side"), [(1, 16), (2, 34), (3, 70)])
def test_a_logit_sees_its_patch_and_nothing_else(n_layers, side):
    torch.manual_seed(0)
    network = PatchDiscriminator(width=2, n_layers=n_layers)
    assert network.receptive_field == side
    x = torch.rand(1, 3, 160, 160, requires_grad=True)
    logits = without_norms(network).double()(x.double())
    middle = logits.shape[-1] // 2
    logits[0, 0, middle, middle].backward()
    touched = x.grad.abs().sum((0, 1)) > 0
    rows, columns = touched.any(1).nonzero().flatten(), touched.any(0).nonzero().flatten()
    assert (rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1) == (side, side)


def test_the_papers_network_has_the_papers_maps():
    network = PatchDiscriminator()
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert [m.out_channels for m in convolutions] == [64, 128, 256, 512, 1]
    assert [m.stride[0] for m in convolutions] == [2, 2, 2, 1, 1]
    assert sum(isinstance(m, nn.InstanceNorm2d) for m in network.modules()) == 3
    assert network(torch.zeros(1, 3, 256, 256)).shape == (1, 1, 30, 30)  # as the authors' code
    assert [m.out_channels for m in PatchDiscriminator(width=2, n_layers=5).modules() if isinstance(m, nn.Conv2d)] == [
        *(2, 4, 8, 16, 16, 16),
        1,
    ]


@pytest.mark.parametrize(("n_layers", "side"), [(1, 6), (1, 28), (2, 28), (2, 64), (3, 28)])
@pytest.mark.parametrize("channels", [1, 3])
def test_shapes_and_gradients(n_layers, side, channels):
    network = PatchDiscriminator(channels=channels, width=2, n_layers=n_layers)
    logits = network(torch.rand(2, channels, side, side))
    assert logits.shape == (2, 1, side // 2**n_layers - 2, side // 2**n_layers - 2)
    logits.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_blocks_run_from_input_to_head():
    network = PatchDiscriminator(width=2, n_layers=2)
    order = []
    for name, part in [*network.blocks.named_children(), ("head", network.head)]:
        part.register_forward_hook(lambda *_, name=name: order.append(name))
    network(torch.zeros(1, 3, 28, 28))
    assert order == ["0", "1", "2", "head"]


def test_a_part_alone_is_reset():
    torch.manual_seed(0)
    network = PatchDiscriminator(width=8, n_layers=1)
    assert network.head.weight.std().item() == pytest.approx(0.02, rel=0.2)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.reset_parameters(network.head)
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"head.weight"}


def test_images_that_are_too_small():
    with pytest.raises(UserError, match="20x28 pixels, expected at least 24 for n_layers 3(.|\n)*Type n_layers: 2"):
        PatchDiscriminator(width=2)(torch.zeros(1, 3, 20, 28))


@pytest.mark.parametrize("bad", [{"channels": 2}, {"width": 0}, {"n_layers": 0}])
def test_arguments_out_of_range(bad):
    (name, value), *_ = bad.items()
    with pytest.raises(UserError, match=f"PatchDiscriminator: found {name} {value}, expected"):
        PatchDiscriminator(**bad)
