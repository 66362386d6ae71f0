"""Copies are found in any key, and songs off the grid are left out."""

import numpy as np

from midi_utils import (
    DrumsConverter,
    MelodyConverter,
    TrioConverter,
)
from paper.measured_songs import (
    is_copy,
    key_invariant,
)


def copies_in(converter, labels, training):
    return is_copy(converter, labels, set(key_invariant(converter, training)))


def test_copies_are_found_in_any_key():
    """A transposed melody is a copy. A melody with a changed interval or with a rest for a held note is not."""
    tune, rest = np.array([41, 0, 45, 0, 41, 1, 0, 0]), np.zeros(8, int)
    moved, changed, rested = tune.copy(), tune.copy(), tune.copy()
    moved[tune > 1] += 2
    changed[2], rested[1] = 46, 1
    training = np.stack([tune, rest]).astype(np.uint8)
    labels = np.stack([moved, changed, rested, rest, tune]).astype(np.uint8)
    assert copies_in(MelodyConverter(), labels, training).tolist() == [True, False, False, True, True]


def test_drums_have_no_key_and_a_trios_melody_and_bass_share_one():
    beat = np.array([[1, 0, 4, 0, 2, 0, 4, 0]], np.uint16)
    assert copies_in(DrumsConverter(), beat, beat).all()
    assert not copies_in(DrumsConverter(), beat << 1, beat).any()
    trio = np.stack([beat + 40, beat + 20, beat], -1)
    up, apart = trio + np.array([3, 3, 0]), trio + np.array([3, 2, 0])
    found = copies_in(TrioConverter(), np.concatenate([up, apart]).astype(np.uint16), trio.astype(np.uint16))
    assert found.tolist() == [True, False]
