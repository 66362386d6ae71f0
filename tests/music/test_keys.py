"""A piece is moved into the key that is asked for."""

import numpy as np
import pytest
from pretty_midi import Instrument, Note, PrettyMIDI

from helpers import BUILT_IN
from midi_utils import load_midi
from music.keys import in_key, key_name, read_key

MAJOR, MINOR = (0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10)


def tune(*pitches, drums=False):
    """A tune of equal notes, whose last one is long."""
    midi = PrettyMIDI()
    midi.instruments.append(Instrument(0, is_drum=drums))
    midi.instruments[0].notes = [Note(80, pitch, k, k + 0.9) for k, pitch in enumerate(pitches)]
    if pitches:
        midi.instruments[0].notes[-1].end += 3
    return midi


def pitches(midi):
    return [note.pitch for track in midi.instruments for note in track.notes]


@pytest.mark.parametrize(("name", "number"), [("C", 0), ("Am", 21), ("A minor", 21), ("F# major", 6), ("Bb", 10)])
def test_a_key_is_read_by_its_name(name, number):
    assert read_key(name) == number
    assert read_key(key_name(number)) == number


@pytest.mark.parametrize("name", ["H", "", "C major 7", 3, None])
def test_an_unknown_key_is_named(name):
    with pytest.raises(ValueError, match="there is no key"):
        read_key(name)


@pytest.mark.parametrize("tonic", range(12))
@pytest.mark.parametrize(("scale", "mode"), [(MAJOR, "major"), (MINOR, "minor")])
def test_a_scale_in_any_key_is_moved_to_the_one_that_is_asked_for(tonic, scale, mode):
    rising = [60 + tonic + step for step in (*scale, 12, 7, 3 if mode == "minor" else 4, 0)]
    midi = tune(*rising)
    moved = in_key(midi, f"D {mode}")
    interval = pitches(moved)[0] - pitches(midi)[0]
    assert pitches(midi) == rising
    assert pitches(moved) == [pitch + interval for pitch in rising]
    assert (rising[0] + interval) % 12 == 2
    assert -6 <= interval <= 6
    assert [key.key_number for key in moved.key_signature_changes] == [read_key(f"D {mode}")]


@pytest.mark.parametrize("path", sorted(BUILT_IN.glob("*.mid"))[::40], ids=lambda path: path.stem)
def test_a_song_that_is_moved_twice_is_where_it_began(path):
    there = in_key(load_midi(path), "C")
    assert pitches(in_key(in_key(there, "E"), "C")) == pitches(there)


def test_drums_and_a_piece_without_notes_stay():
    assert pitches(in_key(tune(36, 38, 42, drums=True), "A minor")) == [36, 38, 42]
    assert pitches(in_key(tune(), "A minor")) == []


def test_extreme_notes_stay_in_midis_range():
    for pitch in (0, 127):
        found = pitches(in_key(tune(pitch, pitch), "F# major"))
        assert 0 <= min(found) <= max(found) <= 127
        assert np.ptp(found) == 0
