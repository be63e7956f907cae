"""Linear layers of 8 bits say nearly what the wide ones say."""

import pytest
import torch
from torch import nn

from fluxvision.engine.flux.fp8 import EIGHT, LARGEST, Linear8, can_multiply, narrow_layers, narrowed_layers


def wide(inside=64, outside=48, *, bias=True, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layer = nn.Linear(inside, outside, bias=bias)
        layer.weight.data *= torch.logspace(-3, 3, outside)[:, None]  # rows of very different size
    return layer


def inputs(*shape, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1)).to(dtype)


@pytest.mark.parametrize("fast", [False, True], ids=["weights", "products"])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_layer_of_8_bits_is_near_the_wide_one(fast, bias, dtype):
    """Every row of the output is within 5 % of its own size, in the input's format and shape.

    Three bits of fraction round a number by 2.6 % in the mean, and there are two of them.
    """
    layer, given = wide(bias=bias).to(dtype), inputs(2, 40, 64, dtype=dtype)
    made = Linear8(layer, fast=fast)(given)
    expected = layer.float()(given.float()).detach()
    assert made.dtype == dtype
    assert made.shape == (2, 40, 48)
    error = (made.float() - expected).pow(2).mean((0, 1)).sqrt() / expected.pow(2).mean((0, 1)).sqrt()
    assert 0 < error.max() < 0.05


def test_numbers_are_kept_within_their_format_whatever_their_size():
    """The largest number of a row is exact, a row of noughts stays so, and nothing overflows."""
    rows = torch.stack([torch.tensor([3e38, -1.0, 0.0]), torch.zeros(3), torch.tensor([1e-30, 1e-31, -1e-30])])
    eight, scale = narrowed_layers(rows)
    assert eight.dtype == EIGHT
    assert scale.shape == (3, 1)
    back = eight.float() * scale
    assert back.isfinite().all()
    assert torch.equal(back[1], torch.zeros(3))
    torch.testing.assert_close(back[0, 0], rows[0, 0], rtol=1e-5, atol=0)
    torch.testing.assert_close(back[2], rows[2], rtol=0.07, atol=0)
    assert eight.float().abs().max() == LARGEST


def test_a_layer_takes_half_the_memory_and_keeps_its_bias():
    """Of 16 bits a weight has 8 left; nothing of the wide one is held."""
    layer = wide().to(torch.bfloat16)
    small = Linear8(layer, fast=True)
    assert small.weight.nbytes * 2 == layer.weight.nbytes
    assert torch.equal(small.bias, layer.bias)
    assert not list(small.parameters())


def test_matrices_that_do_not_fit_the_grain_are_widened():
    """Devices multiply multiples of 16 only; other layers spare memory and no time."""
    small = Linear8(wide(inside=40), fast=True)
    assert not small.fast
    assert small(inputs(3, 40)).shape == (3, 48)


class Network(nn.Module):
    """As much of a transformer as matters here."""

    def __init__(self):
        """Make an embedder and two blocks."""
        super().__init__()
        self.x_embedder = nn.Linear(16, 16)
        block = nn.ModuleDict({"norm1": nn.ModuleDict({"linear": nn.Linear(16, 32)}), "out": nn.Linear(16, 16)})
        self.transformer_blocks = nn.ModuleList([block])
        self.single_transformer_blocks = nn.ModuleList([nn.Sequential(nn.Linear(16, 16), nn.GELU())])


def test_only_what_repeats_and_steers_nothing_is_narrowed():
    """Embedders and modulations stay, the blocks' own matrices change, and a second time nothing does."""
    network = Network()
    for _ in range(2):
        narrow_layers(network, fast=False)
        found = {name for name, module in network.named_modules() if isinstance(module, Linear8)}
        assert found == {"transformer_blocks.0.out", "single_transformer_blocks.0.0"}


def test_the_cpu_is_no_faster_with_8_bits():
    """It can multiply them, but gains nothing."""
    assert not can_multiply(torch.device("cpu"))
