"""Interpolations between songs (Roberts et al. 2018, arXiv 1803.05428, section 5, "Interpolations")."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Generator, Tensor

from engine.checks import checked_count, checked_number
from engine.slerp import slerp
from generate import TrainedModel
from music.attributes import (
    NGram,
    hamming,
)
from paper.measured_songs import HeldOut, first_part
from paper.reconstruction import decode_sampled

POINTS = 11  # points of an interpolation, both ends included


class Interpolation(NamedTuple):
    """Means over pairs of windows at each point between the two (paper, section 5)."""

    points: list[float]  # 0 to 1
    to_start: list[float]  # Hamming distance, share of the steps
    to_end: list[float]
    cost: list[float]  # nats per step under the n-gram model of the training set
    mixed_to_start: list[float]  # the same three for the baseline, a Bernoulli mix of the two windows' steps
    mixed_to_end: list[float]
    mixed_cost: list[float]


def pairs_of_songs(song: np.ndarray, pairs: int, rng: np.random.Generator) -> np.ndarray:
    """Indices of random pairs of windows from two different songs: [pairs, 2].

    Raises:
        ValueError: all windows are from one song.
    """
    pairs = checked_count("pairs", pairs)
    if len(np.unique(song)) < 2:
        raise ValueError("interpolation needs windows from at least two songs, but all windows are from one")
    first = rng.integers(len(song), size=pairs)
    return np.array([(one, rng.choice(np.flatnonzero(song != song[one]))) for one in first])


def mix_steps(start: np.ndarray, end: np.ndarray, t: float, rng: np.random.Generator) -> np.ndarray:
    """The paper's baseline: each step from `end` with probability t, else from `start`; labels [n, steps, ...]."""
    if start.shape != end.shape:
        raise ValueError(f"start and end must be labels of one shape, got {list(start.shape)} and {list(end.shape)}")
    ends = rng.random(start.shape[:2]) < checked_number("t", t)
    return np.where(ends.reshape(ends.shape + (1,) * (start.ndim - 2)), end, start)


def measure_interpolation(
    trained: TrainedModel, held_out: HeldOut, mu: Tensor, ngram: NGram, pairs: int, generator: Generator
) -> Interpolation:
    """Points on the arc between posterior means [n, Z], decoded at temperature 1, and the baseline."""
    rng = np.random.default_rng(generator.initial_seed())
    first, last = pairs_of_songs(held_out.song, pairs, rng).T
    start, end, mu = held_out.windows.labels[first], held_out.windows.labels[last], mu.cpu()
    rows = []
    for t in np.linspace(0, 1, POINTS):
        z = torch.stack([slerp(mu[a], mu[b], float(t)) for a, b in zip(first, last, strict=True)])
        row = [t]
        for labels in (decode_sampled(trained, z.to(trained.device), generator), mix_steps(start, end, t, rng)):
            row += [hamming(labels, start).mean(), hamming(labels, end).mean(), ngram.cost(first_part(labels)).mean()]
        rows.append(row)
    return Interpolation(*np.transpose(rows).round(5).tolist())
