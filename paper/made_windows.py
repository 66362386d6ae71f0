"""Training windows that no song has: trios of parts of different songs, and melodies at twice the tempo.

Few songs have a melody, a bass and drums that play together for 16 bars; many have one of them. Few melodies are as
syncopated on the grid of sixteenths as many are on that of eighths.
"""

import numpy as np

from corpus import ACCOMPANIED
from midi_utils import SongDataset, Windows
from music.labels import NO_EVENT


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
    return _of_no_song(np.concatenate(own * max(1, round(n / len(labels))) + [made]), trios)


def with_doubled_tempo(melodies: SongDataset, longer: SongDataset) -> SongDataset:
    """Melodies and those of twice the bars that fit into their steps when they are played twice as fast.

    A longer melody fits if no note begins or ends on its odd steps. Each is there once.

    Args:
        melodies: windows of a MelodyConverter.
        longer: windows of twice the bars.
    """
    labels, lines = melodies.labels[:], longer.labels[:]
    fast = np.unique(lines[(lines[:, 1::2] == NO_EVENT).all(1), ::2], axis=0)
    return _of_no_song(np.concatenate([labels, fast.astype(labels.dtype)]), melodies)


def _of_no_song(labels: np.ndarray, songs: SongDataset) -> SongDataset:
    """Whole windows that lie in no song, with the names, the converter and the report of some songs."""
    place = np.zeros(len(labels), np.int64)
    windows = Windows(labels, np.full(len(labels), songs.converter.steps, np.int32), None, place, place)
    return SongDataset(windows, place, songs.names, songs.converter, songs.report)


def _accompanied(songs: SongDataset) -> np.ndarray:
    """[n] bool: whether the accompaniment of each window is a program's."""
    return np.array([name.startswith(ACCOMPANIED) for name in songs.names])[songs.song]
