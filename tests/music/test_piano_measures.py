"""Measurements of pianos: windows written out, and expected values computed by hand."""

import numpy as np
import pytest

from music.labels import FIRST_PITCH, KEYS, MIN_PITCH, NO_EVENT, NO_NOTE, NOTE_OFF
from music.piano_measures import (
    chord_kinds,
    common_kinds,
    frame_f1,
    keys_per_step,
    note_f1,
    onsets_per_step,
    outer_voice,
    piano_key_invariant,
    together_histogram,
)

C4, E4, G4, C5 = 60, 64, 67, 72


def window(*notes, steps=16, voices=6):
    """Labels [1, steps, voices] of notes (start, end, pitch), of which none overlap on a key."""
    labels = np.full((1, steps, voices), NO_NOTE, np.uint8)
    for step in range(steps):
        for voice, (start, _, pitch) in enumerate(
            sorted((n for n in notes if n[0] <= step < n[1]), key=lambda n: n[2])
        ):
            labels[0, step, voice] = pitch - MIN_PITCH + KEYS * (start == step)
    return labels


def label(pitch):
    return FIRST_PITCH + pitch - MIN_PITCH


SILENCE = window()
TRIAD = window((0, 16, C4), (0, 16, E4), (0, 16, G4))


def test_a_window_agrees_with_itself_and_silence_with_silence():
    for labels in (TRIAD, SILENCE):
        assert note_f1(labels, labels) == frame_f1(labels, labels) == 1


def test_a_wrong_note_costs_precision_and_a_missing_one_recall():
    two = window((0, 16, C4), (0, 16, E4))
    wrong = window((0, 16, C4), (0, 16, E4), (0, 16, C5))
    assert note_f1(two, TRIAD) == pytest.approx(2 * 2 / (2 + 3))
    assert note_f1(wrong, TRIAD) == pytest.approx(2 * 2 / (3 + 3))


def test_a_shorter_note_costs_frames_and_no_note():
    short = window((0, 4, C4), (0, 16, E4), (0, 16, G4))
    assert note_f1(short, TRIAD) == 1
    assert frame_f1(short, TRIAD) == pytest.approx(2 * 36 / (36 + 48))


def test_a_repeated_note_costs_notes_and_no_frame():
    again = window((0, 8, C4), (8, 16, C4), (0, 16, E4), (0, 16, G4))
    assert note_f1(again, TRIAD) == pytest.approx(2 * 3 / (4 + 3))
    assert frame_f1(again, TRIAD) == 1


def test_nothing_agrees_with_silence():
    assert note_f1(TRIAD, SILENCE) == frame_f1(SILENCE, TRIAD) == 0


def test_the_agreement_is_of_each_window():
    both = np.concatenate([TRIAD, SILENCE])
    assert note_f1(both, np.concatenate([TRIAD, TRIAD])).tolist() == [1, 0]


def test_notes_that_begin_together_are_counted_where_there_are_two_or_more():
    labels = window((0, 16, C4), (4, 8, E4), (4, 8, G4), (8, 12, E4), (8, 12, G4), (8, 12, C5))
    assert together_histogram(labels)[:5].tolist() == [0, 0, 0.5, 0.5, 0]
    assert together_histogram(SILENCE).sum() == 0


def test_density_counts_onsets_and_sounding_keys_per_step():
    labels = window((0, 8, C4), (0, 4, E4))
    assert onsets_per_step(labels) == 2 / 16
    assert keys_per_step(labels) == 12 / 16


def test_chords_of_one_kind_are_equal_in_all_keys_and_positions():
    chords = [(C4, E4, G4), (E4, G4, C5), (65, 69, 72), (48, C4, E4, G4), (C4, 63, G4), (C4, E4, 68)]
    windows = np.concatenate([window(*((0, 16, pitch) for pitch in chord)) for chord in chords])
    major, *others = chord_kinds(windows)
    assert others[:3] == [major] * 3
    assert len({major, *others[3:]}) == 3


def test_a_chord_is_what_sounds_where_a_note_begins():
    assert len(chord_kinds(TRIAD)) == 1
    assert len(chord_kinds(window((0, 16, C4)))) == 0
    held_below = window((0, 16, C4), (4, 8, E4))
    assert chord_kinds(held_below).tolist() == [0b10001]


def test_common_kinds_are_the_fewest_that_make_up_the_share():
    kinds = np.repeat([7, 3, 5], [50, 45, 5])
    assert common_kinds(kinds, 0.95).tolist() == [7, 3]
    assert common_kinds(kinds, 0.96).tolist() == [7, 3, 5]


def test_the_outer_voices_are_melodies():
    labels = window((0, 8, C4), (0, 4, G4), (4, 12, E4))
    highest, lowest = outer_voice(labels, True)[0], outer_voice(labels, False)[0]
    expected = {0: label(G4), 4: label(E4), 12: NOTE_OFF}
    assert highest.tolist() == [expected.get(step, NO_EVENT) for step in range(16)]
    expected = {0: label(C4), 8: label(E4), 12: NOTE_OFF}
    assert lowest.tolist() == [expected.get(step, NO_EVENT) for step in range(16)]


def test_a_repeated_note_is_an_event_of_its_voice():
    highest = outer_voice(window((0, 4, C4), (4, 8, C4)), True)[0]
    assert np.flatnonzero(highest == label(C4)).tolist() == [0, 4]


def test_a_window_in_another_key_is_the_same():
    up = window((0, 16, C4 + 3), (0, 16, E4 + 3), (0, 16, G4 + 3))
    other = window((0, 16, C4), (0, 16, E4), (1, 16, G4))
    first, same, differs = piano_key_invariant(np.concatenate([TRIAD, up, other]))
    assert first == same != differs


@pytest.mark.parametrize("labels", [np.zeros((2, 4)), np.zeros((1, 2, 3), int) + 177, np.zeros((4, 4), int)])
def test_labels_of_another_kind_are_refused(labels):
    with pytest.raises(ValueError, match="labels must be a piano's"):
        note_f1(labels, labels)
