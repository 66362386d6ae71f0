"""Draws of lists: the kernel against PyTorch's functions."""

import pytest
import torch

from engine import list_draws
from engine.kernels import compiled_kernels
from engine.list_draws import draw_lists, is_predicted, list_units

PLACES, WIDTH, LENGTH = 12, 20, 6
needs_kernels = pytest.mark.skipif(compiled_kernels() is None, reason="no C++ compiler, or no oneDNN, on this machine")


@needs_kernels
@pytest.mark.parametrize("temperature", [0, 0.5, 1.0])
def test_lists_drawn_by_the_kernel_equal_pytorchs(monkeypatch, temperature):
    generator = torch.Generator().manual_seed(0)
    codes = 2 * PLACES + 1
    sizes = ((3000, WIDTH), (3000, codes), (codes, WIDTH), (codes, WIDTH))
    tensors = [2 * torch.randn(size, generator=generator) for size in sizes]
    uniforms = torch.rand(3000, LENGTH, generator=generator)
    drawn = draw_lists(*tensors, temperature, uniforms)
    monkeypatch.setattr(list_draws, "fused_available", lambda device, dtype: False)
    expected = draw_lists(*tensors, temperature, uniforms)
    assert drawn.shape == expected.shape == (3000, LENGTH)
    assert (drawn != expected).any(1).sum() <= 4
    assert 0 < (drawn == 2 * PLACES).sum() < drawn.numel()


def random_lists(generator):
    """Codes [200, LENGTH] with rising places, of all lengths."""
    places = torch.rand(200, PLACES, generator=generator).argsort(-1)[:, :LENGTH].sort(-1).values
    codes = places + PLACES * torch.randint(2, places.shape, generator=generator)
    lengths = torch.randint(LENGTH + 1, (200, 1), generator=generator)
    return codes.where(torch.arange(LENGTH) < lengths, 2 * PLACES)


@needs_kernels
def test_units_and_gradients_of_the_kernel_equal_pytorchs(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    codes = random_lists(generator)
    hidden, table = (torch.randn(n, WIDTH, generator=generator, requires_grad=True) for n in (200, 2 * PLACES + 1))

    def run():
        units = list_units(hidden, table, codes)
        return units.detach(), *torch.autograd.grad(units.square().sum() + units.sum(), (hidden, table))

    found = run()
    monkeypatch.setattr(list_draws, "fused_available", lambda device, dtype: False)
    units, d_hidden, d_table = run()
    assert len(units) == int(is_predicted(codes, 2 * PLACES).sum())
    d_table[-1] = found[2][-1] = 0  # the row of the end: nothing follows it
    for one, other in zip(found, (units, d_hidden, d_table), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


@needs_kernels
def test_a_gradient_that_is_one_number_for_all_units_is_read_as_it_is(monkeypatch):
    """Such a gradient, as of a sum, is not contiguous, and its copy has to live as long as the kernel runs."""
    generator = torch.Generator().manual_seed(0)
    codes = random_lists(generator)
    hidden, table = (torch.randn(n, 256, generator=generator, requires_grad=True) for n in (200, 2 * PLACES + 1))

    def gradient():
        return torch.autograd.grad(list_units(hidden, table, codes).sum(), hidden)[0]

    found = gradient()
    monkeypatch.setattr(list_draws, "fused_available", lambda device, dtype: False)
    torch.testing.assert_close(found, gradient(), atol=1e-5, rtol=1e-5)
