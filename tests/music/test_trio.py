"""Trios: which tracks play together, rests, and transposition."""

import numpy as np
import pretty_midi
import pytest
import torch

from made_midi import EIGHTS, assert_windows, song, track, why, window
from midi_utils import MelodyConverter, Skipped, TrioConverter
from music import converter
from music import trio as trios
from music.trio import TRIO_DEPTHS


def bars_of(pitch, bars, step_in_bar=0):
    """A note of a whole bar in each of these bars."""
    return [(16 * bar + step_in_bar, 16 * bar + 16, pitch) for bar in bars]


def trio(melody_bars, bass_bars, drum_bars):
    hits = [(16 * bar, 36) for bar in drum_bars]
    return song(track(bars_of(60, melody_bars)), track(bars_of(40, bass_bars), 33), track(hits, is_drum=True))


def test_the_depths_are_those_of_melody_bass_and_drums():
    assert TRIO_DEPTHS == (90, 90, 512)


def test_melody_bass_and_drums_lie_side_by_side():
    windows = TrioConverter(bars=2).to_arrays(trio([0, 1], [0], [1]))
    expected = np.zeros((32, 3), np.int64)
    expected[[0, 16], 0] = 41
    expected[0, 1], expected[16, 1] = 21, 1
    expected[16, 2] = 1
    assert_windows(windows, [expected])


@pytest.mark.parametrize(
    "rest, starts",
    [
        (range(8, 12), range(5)),  # four bars: two are covered from either side
        (range(8, 13), range(0)),  # the fifth is covered by none, and every window of 16 bars in 20 has it
        (range(16, 20), range(5)),  # two bars are covered, and the last two need no note
        (range(0, 4), range(5)),
        (range(0, 5), range(3, 5)),
    ],
)
def test_a_track_may_rest_for_two_bars_on_either_side_of_a_note(rest, starts):
    every = range(20)
    windows = TrioConverter().to_arrays(trio([bar for bar in every if bar not in rest], every, every))
    assert windows.start_bar.tolist() == list(starts)


def test_every_choice_of_tracks_is_taken_and_repeats_are_kept():
    full = range(16)
    midi = trio(full, full, full)
    midi.instruments += [track(bars_of(64, full), 24), track(bars_of(60, full), 25), track(bars_of(64, full), 75)]
    windows = TrioConverter().to_arrays(midi)
    assert windows.track.tolist() == [0, 3, 4]
    assert (windows.labels[0] == windows.labels[2]).all()
    assert Skipped("track 5", "program 75 is not in 0-39") in windows.skipped


def test_a_note_off_before_the_first_onset_of_a_window_is_kept():
    midi = trio(range(17), range(17), range(17))
    midi.instruments[0].notes = track([(0, 20, 60), (28, 272, 62)]).notes
    labels = TrioConverter().to_arrays(midi).labels
    assert labels[1, :13, 0].tolist() == [0, 0, 0, 0, 1] + [0] * 7 + [43]


def test_written_tracks_have_the_programs_and_velocity_documented():
    midi = TrioConverter(bars=1).from_arrays(np.array([[41, 42, 3]] * 16))
    assert [(i.program, i.is_drum) for i in midi.instruments] == [(0, False), (33, False), (0, True)]
    assert {note.velocity for instrument in midi.instruments for note in instrument.notes} == {80}
    assert [note.pitch for note in midi.instruments[2].notes[:2]] == [36, 38]
    midi = TrioConverter(bars=1).from_arrays(np.zeros((16, 3)), program=(24, 35, 25))
    assert [i.program for i in midi.instruments] == [24, 35, 25]
    assert MelodyConverter().from_arrays(window({}), program=80).instruments[0].program == 80


def test_transposition_moves_melody_and_bass_together_and_no_drums():
    labels = torch.tensor([[[41, 20, 5], [1, 0, 300]], [[88, 20, 5], [0, 0, 0]]])
    moved = TrioConverter().transpose(labels, torch.tensor([2, 2]))
    assert moved.tolist() == [[[43, 22, 5], [1, 0, 300]], [[88, 20, 5], [0, 0, 0]]]


REASONS = [
    (
        TrioConverter(),
        song(track(EIGHTS), track(EIGHTS, 25), track([(0, 36)], is_drum=True)),
        "trio needs a bass track (programs 32-39); it has programs 0, 25 and drums",
    ),
    (
        TrioConverter(),
        song(track(EIGHTS, 60)),
        "trio needs a melody track (programs 0-31), a bass track (programs 32-39), a drum track; it has program 60",
    ),
    (TrioConverter(), trio(range(4), range(4), range(4)), "shorter than 16 bars"),
    (TrioConverter(), trio(range(16), range(16), [7]), "melody, bass and drums never play 16 bars together"),
    (TrioConverter(), pretty_midi.PrettyMIDI(), "no notes"),
]


@pytest.mark.parametrize("converter, midi, reason", REASONS)
def test_the_reason_for_no_window_is_named(converter, midi, reason):
    assert why(converter, midi) == reason


def test_a_song_of_countless_trios_gives_the_first_windows_and_says_so(monkeypatch):
    monkeypatch.setattr(converter, "MAX_WINDOWS", 40)
    one = trio(range(32), range(32), range(32))
    windows = TrioConverter(bars=16).to_arrays(song(*one.instruments * 3))
    assert 40 <= len(windows.labels) <= 40 + 17
    assert Skipped("windows", "after the first 40, about") in windows.skipped


def test_a_song_of_countless_tracks_takes_the_first_trios(monkeypatch):
    monkeypatch.setattr(trios, "MAX_TRIOS", 5)
    windows = TrioConverter(bars=16).to_arrays(song(*trio(range(16), range(16), range(16)).instruments * 3))
    assert len(windows.labels) == 5
    assert windows.skipped == (Skipped("combinations of tracks", "after the first 5"),)


def test_the_bars_that_a_very_long_trio_loses_are_counted(monkeypatch):
    monkeypatch.setattr(trios, "MAX_TRIO_BARS", 18)
    windows = TrioConverter(bars=16).to_arrays(trio(range(20), range(20), range(20)))
    assert windows.start_bar.tolist() == [0, 1, 2]
    assert windows.skipped == (Skipped("trios", "after the first 18", bars=2),)


def test_bars_that_no_trio_plays_are_not_lost(monkeypatch):
    monkeypatch.setattr(trios, "MAX_TRIO_BARS", 18)
    short, longer = trio(range(18), range(18), range(18)), track(bars_of(60, range(30)), 75)
    for midi in (song(*short.instruments, longer), song(track(bars_of(60, range(30)))), trio(range(30), range(18), [])):
        assert not any(one.bars for one in TrioConverter(bars=16).to_arrays(midi).skipped)
