"""Pairs of windows come from two songs, and the baseline mixes their steps."""

import numpy as np
import pytest

from paper.interpolation import mix_steps, pairs_of_songs


def test_mixing_takes_each_step_from_one_of_the_two_ends():
    rng = np.random.default_rng(0)
    start, end = np.zeros((50, 16), int), np.ones((50, 16), int)
    assert (mix_steps(start, end, 0.0, rng) == start).all()
    assert (mix_steps(start, end, 1.0, rng) == end).all()
    assert mix_steps(start, end, 0.25, rng).mean() == pytest.approx(0.25, abs=0.05)
    trio = mix_steps(np.zeros((50, 16, 3), int), np.ones((50, 16, 3), int), 0.5, rng)
    assert (trio.min(-1) == trio.max(-1)).all()  # all parts of a step come from one end


def test_pairs_come_from_two_songs():
    song = np.array([0, 0, 0, 0, 0, 0, 0, 1])
    pairs = pairs_of_songs(song, 20, np.random.default_rng(0))
    assert pairs.shape == (20, 2)
    assert (song[pairs[:, 0]] != song[pairs[:, 1]]).all()
    with pytest.raises(ValueError, match="two songs"):
        pairs_of_songs(np.zeros(9, int), 2, np.random.default_rng(0))


def test_all_requested_pairs_are_drawn():
    """Even if nearly all windows are from one song."""
    song = np.array([0] * 9999 + [1])
    pairs = pairs_of_songs(song, 64, np.random.default_rng(0))
    assert (song[pairs[:, 0]] != song[pairs[:, 1]]).all()
    assert len(pairs) == 64
