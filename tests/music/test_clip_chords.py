"""The chords of a clip are those that its song names, or those of its accompaniment."""

import pytest
from pretty_midi import Instrument, Note, PrettyMIDI, Text, TimeSignature

from midi_utils import MelodyConverter
from music.chords import chord_class
from music.clip_chords import accompaniment, chords_of_clip
from music.clips import read_clip

CHORDS = {"C": (48, 52, 55), "Am": (45, 48, 52), "F": (41, 45, 48), "G7": (43, 47, 50, 53)}


def song(names=("C", "Am", "F", "G7"), metre=(4, 4)):
    """A chord per bar under a melody that holds an E, and drums, at 120 quarters per minute."""
    bar = 0.5 * metre[0]
    midi = PrettyMIDI(initial_tempo=120)
    midi.time_signature_changes = [TimeSignature(*metre, 0)]
    midi.instruments = [Instrument(0), Instrument(48), Instrument(0, is_drum=True)]
    for k, name in enumerate(names):
        midi.instruments[0].notes += [Note(80, 76, bar * k + beat / 2, bar * k + beat / 2 + 0.5) for beat in range(4)]
        midi.instruments[1].notes += [Note(80, pitch, bar * k, bar * (k + 1)) for pitch in CHORDS[name]]
        midi.instruments[2].notes.append(Note(80, 37, bar * k, bar * (k + 1)))
    return midi


def chords(midi, metre=(4, 4), **cutting):
    """The chord of each beat of a clip of a song."""
    converter = MelodyConverter(bars=2, programs=None, time_signature=metre)
    return chords_of_clip(midi, read_clip(midi, converter, **cutting), converter)[::4].tolist()


def classes(*names):
    return [chord_class(name) for name in names]


def test_chords_are_estimated_from_the_accompaniment():
    assert chords(song()) == [one for one in classes("C", "Am", "F", "G7") for _ in range(4)]


def test_a_clip_within_a_song_has_its_own_chords():
    assert chords(song(), start_bar=2, bars=1) == classes("F") * 4


def test_the_melody_and_drums_are_no_accompaniment_unless_the_melody_is_alone():
    midi = song()
    assert accompaniment(midi, (0,)).tolist() == [False, True, False]
    assert accompaniment(midi, (1,)).tolist() == [True, False, False]
    midi.instruments[1].notes = []
    assert accompaniment(midi, (0,)).tolist() == [True, False, False]


def test_chords_that_the_song_names_count():
    midi = song()
    midi.text_events = [Text("Dm", 0), Text("G", 3), Text("Csus4", 5)]
    assert chords(midi) == classes("Dm") * 6 + classes("G") * 4 + [0] * 6
    assert chords(midi, start_bar=1, bars=2) == classes("Dm") * 2 + classes("G") * 4 + [0] * 2


def test_a_metre_in_which_no_chord_is_estimated_is_named():
    assert chords(song(metre=(3, 4)), (3, 4), bars=1) == classes("C") * 3
    with pytest.raises(ValueError, match="no chords named, and none guessed in 5/4: give the chords as text"):
        chords(song(metre=(5, 4)), (5, 4))
