from __future__ import annotations

import torch

from training.adapters.nf4 import round_to_nf4, values


def test_sixteen_values_of_a_normal_distribution() -> None:
    """The ends and the middle as printed in appendix E of the QLoRA paper."""
    found = values()
    assert len(found) == 16 and found[7] == 0
    expected = torch.tensor([-1.0, -0.6961928, -0.5250731, 0.0795803, 0.7229568, 1.0])
    assert torch.allclose(found[[0, 1, 2, 8, 14, 15]], expected, atol=1e-6)


def test_rounding_is_to_the_nearest_value_and_only_once() -> None:
    torch.manual_seed(1)
    weight = torch.randn(7, 33)
    rounded = round_to_nf4(weight)
    assert rounded.shape == weight.shape
    assert torch.equal(round_to_nf4(rounded), rounded)
    blocks = torch.nn.functional.pad(weight.flatten(), (0, 25)).view(-1, 64)
    largest = blocks.abs().amax(1, keepdim=True)
    nearest = ((blocks / largest)[..., None] - values()).abs().amin(-1) * largest
    gap = (rounded - weight).abs().flatten()
    assert torch.allclose(gap, nearest.flatten()[: len(gap)], atol=1e-6)
    assert torch.equal(round_to_nf4(torch.zeros(3, 3)), torch.zeros(3, 3))
