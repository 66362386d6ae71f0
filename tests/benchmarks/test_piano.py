"""What the command of pianos counts."""

from benchmarks.piano import facts, files_per_second, reads_back
from made_midi import melody
from midi_utils import PianoConverter


def test_windows_notes_and_losses_are_counted():
    chord = [(0, 24, pitch) for pitch in (60, 64, 67)]
    songs = [melody(*chord, (0, 8, 5)), melody(*chord), melody((0, 4, 60))]
    found = facts(songs, PianoConverter(voices=2))
    assert (found.songs, found.windows, found.notes, found.most, found.silent, found.broken) == (2, 1, 2.0, 2, 0.25, 0)
    assert found.lost == "1 note outside the pitches 21-108, 2 notes beyond 2 at once"


def test_a_window_that_reads_back_as_another_is_found():
    converter = PianoConverter()
    (labels,) = converter.to_arrays(melody((0, 32, 60))).labels
    assert reads_back(labels, converter)
    labels[0, 0] -= 88  # held from before the window
    assert not reads_back(labels, converter)


def test_a_speed_is_files_per_second():
    assert files_per_second([melody((0, 32, 60))] * 50, PianoConverter()) > 0
