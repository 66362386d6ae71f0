"""The accuracy of estimated chords: of songs whose chords are known."""

import numpy as np
import pytest
from pretty_midi import Instrument, Note, PrettyMIDI, TimeSignature

from paper.chord_accuracy import Chords, accuracy, main, true_chords


def tune(*chords):
    """A melody, and a chord per half bar at 120 quarters per minute."""
    midi = PrettyMIDI(initial_tempo=120)
    midi.time_signature_changes = [TimeSignature(4, 4, 0)]
    midi.instruments = [Instrument(0), Instrument(0)]
    for k, pitches in enumerate(chords):
        midi.instruments[0].notes.append(Note(90, 72, k, k + 1))
        midi.instruments[1].notes += [Note(90, pitch, k, k + 1) for pitch in pitches]
    return midi


C, AM, G7 = (48, 52, 55), (45, 48, 52), (43, 47, 50, 53)


def test_chords_of_a_chord_track_are_read_by_their_lowest_note():
    assert true_chords(tune(C, AM, (), G7, (48, 53)), 6).tolist() == [1, 22, 0, 8, 0, 0]


def test_accuracy_counts_roots_qualities_and_the_commonest_chords():
    songs = [Chords(np.array([1, 1, 0, 8]), np.array([1, 13, 5, 0])), Chords(np.array([22]), np.array([22]))]
    found = accuracy(songs)
    assert (found.songs, found.half_bars) == (2, 4)
    assert (found.root, found.both, found.commonest, found.commonest_in_song) == (0.75, 0.5, 0.5, 0.75)


def test_the_command_prints_a_table(tmp_path, capsys):
    for name in ("nottingham/reel", "mma_nottingham/reel__Polka", "mma_nottingham/lost__Polka"):
        path = tmp_path / f"{name}.mid"
        path.parent.mkdir(exist_ok=True)
        tune(C, AM, G7, C).write(str(path))
    main(["--data", str(tmp_path)])
    rows = capsys.readouterr().out.splitlines()
    assert rows[2].startswith("| MMA's accompaniment | 1 | 4 | 1.000 | 1.000 | 0.500 | 0.500 |")
    with pytest.raises(SystemExit, match="nowhere.nottingham: there is no MIDI file; see docs/corpus.md"):
        main(["--data", str(tmp_path / "nowhere")])
