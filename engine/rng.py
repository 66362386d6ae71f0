"""Random numbers that are a function of a key: the same whatever the number of processes that share a batch."""

import hashlib
from functools import partial
from typing import NamedTuple

import torch
from torch import Generator, Tensor


class Shard(NamedTuple):
    """A generator for the sequences `start` to `stop` of a batch of `total`: each draws what it would in the whole."""

    generator: Generator
    start: int
    stop: int
    total: int


RandomSource = Generator | Shard | None  # of draws; None is PyTorch's own generator


def seeded(device: torch.device | str, *key: int | str) -> Generator:
    """A generator whose draws depend on the key alone."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return Generator(device).manual_seed(int.from_bytes(digest, "little") >> 1)


def own_rows(batch: Tensor, source: RandomSource) -> Tensor:
    """What is the source's of a whole batch, whose first axis goes by sequences."""
    return batch[source.start : source.stop] if isinstance(source, Shard) else batch


def uniform(shape: tuple[int, ...], source: RandomSource, device: torch.device) -> Tensor:
    """Numbers in [0, 1); the first axis of the shape goes by sequences."""
    return _draw(torch.rand, shape, source, device)


def normal(shape: tuple[int, ...], source: RandomSource, device: torch.device) -> Tensor:
    """Numbers of mean 0 and deviation 1; the first axis of the shape goes by sequences."""
    return _draw(torch.randn, shape, source, device)


def integers(low: int, high: int, shape: tuple[int, ...], source: RandomSource, device: torch.device) -> Tensor:
    """Whole numbers from low up to high, which is left out; the first axis of the shape goes by sequences."""
    return _draw(partial(torch.randint, low, high), shape, source, device)


def _draw(function, shape: tuple[int, ...], source: RandomSource, device: torch.device) -> Tensor:
    if not isinstance(source, Shard):
        return function(shape, generator=source, device=device)
    rows, rest = divmod(shape[0], source.stop - source.start)  # a sequence may have several rows, as its segments
    if rest:
        raise ValueError(f"{shape[0]} rows do not go by {source.stop - source.start} sequences")
    whole = function((rows * source.total, *shape[1:]), generator=source.generator, device=device)
    return whole[rows * source.start : rows * source.stop]
