"""Random draws: a shard's are its part of the whole batch's, whatever the number of shards."""

import pytest
import torch

from engine.rng import Shard, integers, normal, own_rows, seeded, uniform

CPU = torch.device("cpu")
KINDS = [uniform, normal, lambda *how: integers(-5, 6, *how)]
BOUNDS = [(0, 3), (3, 5), (5, 8)]  # of three uneven shards of a batch of eight


def shards():
    return [Shard(seeded("cpu", "step", 1), start, stop, 8) for start, stop in BOUNDS]


@pytest.mark.parametrize("draw", KINDS)
@pytest.mark.parametrize("rows", [1, 4])
def test_shards_side_by_side_are_the_whole(draw, rows):
    """In several draws one after the other, also where a sequence has several rows."""
    generator, sources = seeded("cpu", "step", 1), shards()
    for shape in ((3, 2), (7,), ()):
        whole = draw((8 * rows, *shape), generator, CPU)
        parts = [draw(((s.stop - s.start) * rows, *shape), s, CPU) for s in sources]
        assert torch.equal(torch.cat(parts), whole)
        assert len(whole.unique()) > 4


@pytest.mark.parametrize("draw", KINDS)
def test_a_generator_alone_draws_as_torch_does(draw):
    ours = draw((8, 3), seeded("cpu", "a"), CPU)
    torch_s = {KINDS[0]: torch.rand, KINDS[1]: torch.randn}.get(
        draw, lambda *how, **rest: torch.randint(-5, 6, *how, **rest)
    )
    assert torch.equal(ours, torch_s((8, 3), generator=seeded("cpu", "a")))
    assert draw((8, 3), None, CPU).shape == (8, 3)


def test_integers_stay_between_their_bounds():
    assert integers(-2, 2, (1000,), seeded("cpu", 0), CPU).unique().tolist() == [-2, -1, 0, 1]


def test_parts_of_a_batch_are_the_whole():
    batch = torch.arange(16).view(8, 2)
    assert torch.equal(torch.cat([own_rows(batch, source) for source in shards()]), batch)
    assert own_rows(batch, seeded("cpu", 0)) is own_rows(batch, None) is batch


def test_rows_that_do_not_go_by_sequences_are_refused():
    with pytest.raises(ValueError, match="7 rows do not go by 3 sequences"):
        uniform((7, 2), shards()[0], CPU)


def test_a_key_decides_every_draw():
    keys = [("step", 0, 1), ("step", 1, 0), ("step", 0, 1, 0), ("valid",)]
    firsts = [torch.rand(4, generator=seeded("cpu", *key)) for key in keys]
    assert torch.equal(firsts[0], torch.rand(4, generator=seeded("cpu", *keys[0])))
    assert len(torch.stack(firsts).unique(dim=0)) == len(keys)
