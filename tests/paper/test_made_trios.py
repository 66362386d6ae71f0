"""Trios of parts of different songs."""

import numpy as np

from helpers import made_songs
from midi_utils import DrumsConverter, MelodyConverter, TrioConverter
from paper.made_trios import with_made_trios


def test_made_trios_have_each_melody_and_the_bass_and_drums_of_others():
    trios, melodies, drums = (
        made_songs(converter, n, seed=k)
        for k, (converter, n) in enumerate(
            ((TrioConverter(bars=2), 10), (MelodyConverter(bars=2), 31), (DrumsConverter(bars=2), 20))
        )
    )
    both = with_made_trios(trios, melodies, drums)
    assert len(both) == 3 * 10 + 31
    assert (both.labels[:30] == np.concatenate([trios.labels] * 3)).all()
    made = both.labels[30:]
    assert (made[..., 0] == melodies.labels).all()
    for k, songs in ((1, trios.labels[..., 1]), (2, drums.labels)):
        known = {row.tobytes() for row in songs.astype(made.dtype)}
        assert {row.tobytes() for row in np.ascontiguousarray(made[..., k])} <= known
    assert both.converter == trios.converter
    assert (both.lengths == 32).all()
    again, other = with_made_trios(trios, melodies, drums), with_made_trios(trios, melodies, drums, seed=1)
    assert (again.labels == both.labels).all()
    assert (other.labels != both.labels).any()


def test_trios_that_no_program_accompanied_count_several_times():
    converters = (TrioConverter(bars=2), 4), (MelodyConverter(bars=2), 9), (DrumsConverter(bars=2), 9)
    trios, melodies, drums = (made_songs(converter, n, songs=4) for converter, n in converters)
    trios.names = ("mma_tunes/a.mid", "games/b.mid", "mma_tunes/c.mid", "games/d.mid")
    both = with_made_trios(trios, melodies, drums, repeats=3)
    played = trios.labels[np.isin(trios.song, (1, 3))]
    assert (both.labels[: 2 * (4 + 2 * len(played))] == np.concatenate([trios.labels, played, played] * 2)).all()
    assert len(both) == 2 * (4 + 2 * len(played)) + 9
