"""Training windows that no song has."""

import numpy as np

from helpers import made_songs
from midi_utils import DrumsConverter, MelodyConverter, TrioConverter
from paper.made_windows import with_doubled_tempo, with_made_trios


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


def test_a_melody_at_twice_the_tempo_is_one_of_twice_the_bars_without_events_on_odd_steps():
    melodies, longer = made_songs(MelodyConverter(bars=2), 5), made_songs(MelodyConverter(bars=4), 6)
    calm, busy = np.zeros((2, 64), longer.labels.dtype), np.zeros(64, longer.labels.dtype)
    calm[0, ::8], calm[1, ::4], busy[::3] = 50, 60, 70
    longer.labels = np.stack([calm[0], busy, calm[1], calm[0]])
    both = with_doubled_tempo(melodies, longer)
    assert (both.labels[:5] == melodies.labels).all()
    assert (both.labels[5:] == calm[:, ::2]).all()
    assert both.converter == melodies.converter
