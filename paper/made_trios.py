"""Trios of parts of different songs: a melody of one, the bass of another and the drums of a third.

Few songs have a melody, a bass and drums that play together for 16 bars; many have one of them.
"""

import numpy as np

from corpus import ACCOMPANIED
from midi_utils import SongDataset, Windows


def with_made_trios(
    trios: SongDataset, melodies: SongDataset, drums: SongDataset, seed: int = 0, repeats: int = 1
) -> SongDataset:
    """Trios and made ones: each melody with the bass of a trio and with drums, both drawn at random.

    There are about as many of one as of the other before some trios are repeated.

    Args:
        trios: windows of a TrioConverter.
        melodies, drums: windows of the same length.
        repeats: how often a trio counts that no program accompanied.
    """
    labels, tunes, beats = (songs.labels[:] for songs in (trios, melodies, drums))
    rng, n = np.random.default_rng(seed), len(tunes)
    bass, drum = rng.integers(len(labels), size=n), rng.integers(len(beats), size=n)
    made = np.stack([tunes, labels[bass, :, 1], beats[drum]], -1).astype(labels.dtype)
    own = [labels] + [labels[~_accompanied(trios)]] * (repeats - 1)
    every = np.concatenate(own * max(1, round(n / len(labels))) + [made])
    place = np.zeros(len(every), np.int64)  # made windows lie in no song
    windows = Windows(every, np.full(len(every), trios.converter.steps, np.int32), None, place, place)
    return SongDataset(windows, place, trios.names, trios.converter, trios.report)


def _accompanied(songs: SongDataset) -> np.ndarray:
    """[n] bool: whether the accompaniment of each window is a program's."""
    return np.array([name.startswith(ACCOMPANIED) for name in songs.names])[songs.song]
