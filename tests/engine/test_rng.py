"""Keyed random numbers: the draws of all shards together are those of the whole batch."""

import pytest
import torch

from engine.rng import Shard, integers, normal, own_rows, seeded, uniform

CPU = torch.device("cpu")


def small_integers(shape, source, device):
    return integers(-5, 6, shape, source, device)


DRAWS = {  # each with its function in torch
    uniform: torch.rand,
    normal: torch.randn,
    small_integers: lambda shape, generator: torch.randint(-5, 6, shape, generator=generator),
}
BOUNDS = [(0, 3), (3, 5), (5, 8)]  # of three uneven shards of a batch of eight


def shards():
    return [Shard(seeded("cpu", "step", 1), start, stop, 8) for start, stop in BOUNDS]


@pytest.mark.parametrize("draw", DRAWS)
@pytest.mark.parametrize("rows", [1, 4])
def test_draws_of_all_shards_are_those_of_the_whole_batch(draw, rows):
    """In consecutive draws, with one or several rows per sequence."""
    generator, sources = seeded("cpu", "step", 1), shards()
    for shape in ((3, 2), (7,), ()):
        whole = draw((8 * rows, *shape), generator, CPU)
        parts = [draw(((s.stop - s.start) * rows, *shape), s, CPU) for s in sources]
        assert torch.equal(torch.cat(parts), whole)
        assert len(whole.unique()) > 4


@pytest.mark.parametrize("draw", DRAWS)
def test_a_generator_draws_as_in_torch(draw):
    ours = draw((8, 3), seeded("cpu", "a"), CPU)
    assert torch.equal(ours, DRAWS[draw]((8, 3), generator=seeded("cpu", "a")))
    assert draw((8, 3), None, CPU).shape == (8, 3)


def test_integers_include_the_lower_bound_but_not_the_upper():
    assert integers(-2, 2, (1000,), seeded("cpu", 0), CPU).unique().tolist() == [-2, -1, 0, 1]


def test_own_rows_of_all_shards_are_the_whole_batch():
    batch = torch.arange(16).view(8, 2)
    assert torch.equal(torch.cat([own_rows(batch, source) for source in shards()]), batch)
    assert own_rows(batch, seeded("cpu", 0)) is own_rows(batch, None) is batch


def test_rows_that_are_no_multiple_of_the_shards_sequences_are_refused():
    with pytest.raises(ValueError, match="a multiple of the shard's 3 sequences as its rows, got 7"):
        uniform((7, 2), shards()[0], CPU)


def test_a_key_determines_the_draws():
    keys = [("step", 0, 1), ("step", 1, 0), ("step", 0, 1, 0), ("valid",)]
    firsts = [torch.rand(4, generator=seeded("cpu", *key)) for key in keys]
    assert torch.equal(firsts[0], torch.rand(4, generator=seeded("cpu", *keys[0])))
    assert len(torch.stack(firsts).unique(dim=0)) == len(keys)
