from torch import nn

from lit_gen.networks.mlp import MLPDiscriminator, MLPGenerator


def widths(network: nn.Module) -> list[tuple[int, int]]:
    return [(m.in_features, m.out_features) for m in network.modules() if isinstance(m, nn.Linear)]


def test_the_defaults_are_the_plain_gan():
    assert widths(MLPGenerator()) == [(100, 128), (128, 256), (256, 512), (512, 1024), (1024, 1024)]
    assert widths(MLPDiscriminator()) == [(1024, 512), (512, 256), (256, 1)]
    for network in (MLPGenerator(), MLPDiscriminator()):
        slopes = [m.negative_slope for m in network.modules() if isinstance(m, nn.LeakyReLU)]
        assert slopes == [0.2] * len(network.blocks)


def test_a_list_of_the_caller_is_copied():
    hidden = [4, 4]
    network = MLPGenerator(hidden=hidden)
    hidden.append(5)
    assert network.hidden == [4, 4]
