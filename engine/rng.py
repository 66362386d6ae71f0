"""Keyed random numbers: draws depend on a key alone, not on how many processes share a batch."""

import hashlib
from functools import partial
from typing import NamedTuple

import torch
from torch import Generator, Tensor


class Shard(NamedTuple):
    """A process's part of a batch: it draws for the whole batch and keeps the rows `start` to `stop` of `total`."""

    generator: Generator
    start: int
    stop: int
    total: int


RandomSource = Generator | Shard | None  # None: PyTorch's global generator


def seeded(device: torch.device | str, *key: int | str) -> Generator:
    """Returns a generator on the device, seeded with a hash of the key."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return Generator(device).manual_seed(int.from_bytes(digest, "little") >> 1)


def own_rows(batch: Tensor, source: RandomSource) -> Tensor:
    """Returns the source's rows of a batch [total, ...]: those of its shard, or all of them without a shard."""
    return batch[source.start : source.stop] if isinstance(source, Shard) else batch


def uniform(shape: tuple[int, ...], source: RandomSource, device: torch.device) -> Tensor:
    """Draws floats from [0, 1). With a `Shard`, the first axis of the shape counts the shard's own rows."""
    return _draw(torch.rand, shape, source, device)


def normal(shape: tuple[int, ...], source: RandomSource, device: torch.device) -> Tensor:
    """Draws floats from N(0, 1). With a `Shard`, the first axis of the shape counts the shard's own rows."""
    return _draw(torch.randn, shape, source, device)


def integers(low: int, high: int, shape: tuple[int, ...], source: RandomSource, device: torch.device) -> Tensor:
    """Draws integers from low to high - 1. With a `Shard`, the first axis of the shape counts its own rows."""
    return _draw(partial(torch.randint, low, high), shape, source, device)


def _draw(function, shape: tuple[int, ...], source: RandomSource, device: torch.device) -> Tensor:
    if not isinstance(source, Shard):
        return function(shape, generator=source, device=device)
    sequences = source.stop - source.start
    rows, rest = divmod(shape[0], sequences)  # rows per sequence: several where a sequence is cut into segments
    if rest:
        raise ValueError(f"a draw needs a multiple of the shard's {sequences} sequences as its rows, got {shape[0]}")
    whole = function((rows * source.total, *shape[1:]), generator=source.generator, device=device)
    return whole[rows * source.start : rows * source.stop]
