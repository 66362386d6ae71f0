"""The sustain pedal: how long notes sound, in time that grows with their number alone."""

import time

import numpy as np
import pretty_midi

from made_midi import song, track
from music.grid import drum_tracks, song_parts
from music.pedal import held_times, hold_with_pedal, pedal_changes


def held(notes, changes, last=20.0):
    """Ends of notes (start, end, pitch) under a pedal of changes (time, 1 down or 0 up), and whether each is kept."""
    start, end, pitch = np.array(notes, float).T
    ends, stays = hold_with_pedal(start, end, pitch, np.array(changes, float).reshape(-1, 2), last)
    return ends.tolist(), stays.tolist()


def test_a_note_that_ends_under_the_pedal_sounds_until_it_is_lifted():
    notes = [(0, 1, 60), (2, 3, 62), (5, 9, 64)]
    assert held(notes, [(0, 1), (4, 0), (8, 1), (10, 0)]) == ([4, 4, 10], [True] * 3)
    assert held(notes, []) == ([1, 3, 9], [True] * 3)
    assert held(notes, [(0, 1)]) == ([20, 20, 20], [True] * 3)


def test_a_pitch_struck_again_under_the_pedal_ends_the_note_before():
    assert held([(0, 1, 60), (2, 6, 60), (3, 4, 60)], [(0, 1), (8, 0)]) == ([2, 3, 8], [True] * 3)
    assert held([(0, 1, 60), (0, 2, 60)], [(0, 1), (8, 0)]) == ([0, 8], [False, True])


def test_the_pedals_of_a_song_are_found_by_track_and_hold_no_drums():
    piano, drums = track([(0, 4, 60), (8, 16, 64)]), track([(0, 4, 36)], is_drum=True)
    for instrument in (piano, drums):
        instrument.control_changes += [pretty_midi.ControlChange(64, 64, 0.0), pretty_midi.ControlChange(64, 63, 0.75)]
    midi = song(track([(0, 4, 72)]), piano, drums)
    pedals = pedal_changes(midi)
    assert sorted(pedals) == [1, 2]
    assert pedals[1].tolist() == pedals[2].tolist() == [[0, 1], [0.75, 0]]
    (part,) = song_parts(midi)
    times, stays = held_times(part, pedals, drum_tracks(midi))
    assert sorted(times[:, 1].tolist()) == [0.5, 0.5, 0.75, 2.0]
    assert stays.all()


def test_time_grows_with_the_number_of_notes_that_pile_up_under_pedals():
    """Eight times as many notes take eight times as long; all pairs of them would take 64 times as long."""

    def seconds(count):
        start = np.arange(count, dtype=float)
        pedal = np.stack([np.repeat(start, 2) + np.tile([0.2, 0.4], count), np.tile([1.0, 0.0], count)], 1)
        begun = time.process_time()
        hold_with_pedal(start, np.full(count, count + 1.0), np.full(count, 60), pedal, count + 1.0)
        return time.process_time() - begun

    assert min(seconds(8000) for _ in range(3)) < 32 * min(seconds(1000) for _ in range(3))
