"""Songs on the grid: parts of one tempo and time signature, and where in the file their windows lie."""

import mido
import numpy as np
import pretty_midi
import pytest

from corpus import read_manifest
from helpers import SHARED
from made_midi import EIGHTS, EIGHTS_LABELS, STEP, assert_windows, melody, track, window, with_tempo_change
from midi_utils import MelodyConverter, Skipped, load_midi
from music import converter
from music.grid import Line, cut_lines, lost_notes, move_times, song_parts


@pytest.mark.parametrize("metre, taken", [((4, 4), 1), ((2, 2), 1), ((8, 8), 1), ((3, 4), 0), ((6, 8), 0), (None, 1)])
def test_every_time_signature_of_sixteen_steps_is_taken(metre, taken):
    assert len(MelodyConverter().to_arrays(melody(*EIGHTS, metre=metre)).labels) == taken


def test_a_tempo_change_cuts_the_song_and_its_notes():
    first = [(8 * k, 8 * k + 8, 60 + k) for k in range(3)] + [(24, 50, 63)]  # the last is held over the change at 4 s
    second = pretty_midi.Note(100, 70, 4.25, 8.25)  # from step 2 on, at 60 quarters per minute: 0.25 s per step
    midi = with_tempo_change(melody(*first), 4.0, 60.0)
    midi.instruments[0].notes += [pretty_midi.Note(100, 69, 4.0, 4.5), second, pretty_midi.Note(100, 71, 8.25, 12.0)]
    windows = MelodyConverter().to_arrays(midi)
    assert_windows(windows, [window({8 * k: 41 + k for k in range(4)}), window({0: 50, 1: 51, 17: 52})])
    assert windows.start_bar.tolist() == [0, 2]


def test_a_window_that_two_parts_of_a_song_share_is_kept_twice():
    midi = with_tempo_change(melody(*EIGHTS), 4.0, 60.0)
    midi.instruments[0].notes += track([(a + 16, b + 16, p) for a, b, p in EIGHTS], step=0.25).notes
    windows = MelodyConverter().to_arrays(midi)
    assert_windows(windows, [EIGHTS_LABELS, EIGHTS_LABELS])
    assert windows.start_bar.tolist() == [0, 2]


def test_a_change_of_time_signature_cuts_the_song_and_is_reported():
    midi = melody(*EIGHTS, (32, 44, 70), (44, 56, 71), *((a + 56, b + 56, p) for a, b, p in EIGHTS))
    midi.time_signature_changes.append(pretty_midi.TimeSignature(3, 4, 32 * STEP))
    midi.time_signature_changes.append(pretty_midi.TimeSignature(4, 4, 56 * STEP))
    windows = MelodyConverter().to_arrays(midi)
    assert_windows(windows, [EIGHTS_LABELS, EIGHTS_LABELS])
    assert windows.start_bar.tolist() == [0, 4]
    assert Skipped("from bar 3", "bars of 3/4") in windows.skipped
    waltz = MelodyConverter(time_signature=(3, 4)).to_arrays(midi)
    assert_windows(waltz, [window({0: 51, 12: 52}, 24)])
    assert waltz.start_bar.tolist() == [2]


def test_a_change_to_the_same_tempo_or_time_signature_does_not_cut():
    class SameTempo(pretty_midi.PrettyMIDI):
        def get_tempo_changes(self):
            return np.array([0.0, 1.0]), np.array([120.0, 120.0])

    midi = SameTempo(resolution=480)
    midi.instruments.append(track([(0, 20, 60), (20, 32, 62)]))
    midi.time_signature_changes.append(pretty_midi.TimeSignature(4, 4, 0.0))
    midi.time_signature_changes.append(pretty_midi.TimeSignature(4, 4, 1.5))
    assert_windows(MelodyConverter().to_arrays(midi), [window({0: 41, 20: 43})])


def test_of_two_changes_at_one_time_the_last_counts():
    midi = melody((0, 24, 60), metre=(3, 4))
    midi.time_signature_changes.insert(0, pretty_midi.TimeSignature(5, 4, 0.0))
    windows = MelodyConverter(time_signature=(3, 4)).to_arrays(midi)
    assert_windows(windows, [window({0: 41}, 24)])
    assert windows.skipped == ()


def test_a_new_time_signature_starts_a_bar_and_a_new_tempo_does_not():
    notes = [(a + 24, b + 24, p) for a, b, p in EIGHTS]  # after a bar and a half
    midi = melody((0, 24, 60), *notes)
    midi.time_signature_changes += [pretty_midi.TimeSignature(5, 4, 0.0), pretty_midi.TimeSignature(4, 4, 3.0)]
    assert MelodyConverter().to_arrays(midi).start_bar.tolist() == [2]  # a bar of 5/4, and one cut short
    midi = with_tempo_change(melody((0, 24, 60)), 3.0, 60.0)
    midi.instruments[0].notes += track([(a + 12, b + 12, p) for a, b, p in EIGHTS], step=0.25).notes
    assert MelodyConverter().to_arrays(midi).start_bar.tolist() == [0, 1]  # the second begins in the middle of bar 1


def song_of_tempos(count, path):
    """A song of EIGHTS under so many tempos in turn, each for two bars."""
    messages = []
    for k in range(count):  # tempos that are no round number of seconds
        messages.append(mido.MetaMessage("set_tempo", tempo=300_007 + 7919 * k))
        for _, _, pitch in EIGHTS:
            messages += [mido.Message("note_on", note=pitch, velocity=90)]
            messages += [mido.Message("note_off", note=pitch, time=480)]
    mido.MidiFile(ticks_per_beat=480, tracks=[mido.MidiTrack(messages)]).save(path)
    return load_midi(path)


def test_bars_are_counted_across_many_tempos(tmp_path):
    windows = MelodyConverter().to_arrays(song_of_tempos(40, tmp_path / "song.mid"))
    assert windows.start_bar.tolist() == list(range(0, 80, 2))


def test_a_song_of_countless_tempos_gives_the_windows_of_the_first_and_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(converter, "MAX_PARTS", 5)
    midi = song_of_tempos(6, tmp_path / "song.mid")
    windows = MelodyConverter().to_arrays(midi)
    assert windows.start_bar.tolist() == [0, 2, 4, 6, 8]
    assert Skipped("changes", "of tempo or metre after the first 5") in windows.skipped
    monkeypatch.setattr(converter, "MAX_PARTS", 6)
    assert MelodyConverter().to_arrays(midi).skipped == ()


@pytest.mark.slow
def test_songs_have_at_most_as_many_parts_as_the_limit_says():
    if not (SHARED / "data/manifest.csv").exists():
        pytest.skip("reference data not present")
    paths = [SHARED / "data" / entry.path for entry in read_manifest()]
    parts = [sum(len(part.start) > 0 for part in song_parts(load_midi(path))) for path in paths]
    assert max(parts) == 285 < converter.MAX_PARTS


def test_a_pickup_may_be_a_short_bar():
    midi = melody((0, 4, 55), *((a + 4, b + 4, p) for a, b, p in EIGHTS))
    midi.time_signature_changes += [pretty_midi.TimeSignature(1, 4, 0.0), pretty_midi.TimeSignature(4, 4, 4 * STEP)]
    windows = MelodyConverter().to_arrays(midi)
    assert_windows(windows, [EIGHTS_LABELS])
    assert windows.start_bar.tolist() == [1]


def test_start_bars_are_counted_from_the_start_of_the_file():
    midi = melody(*((a + 37 * 16, b + 37 * 16, p) for a, b, p in EIGHTS))
    assert MelodyConverter().to_arrays(midi).start_bar.tolist() == [37]


# ---- Lines and reports ----


def test_a_line_may_have_several_voices():
    (part,) = song_parts(melody(*EIGHTS))
    labels = np.arange(96).reshape(48, 2)
    found = cut_lines([Line(labels, 16, 0, 0)], part, bars=2, bar_steps=16, skipped=[])
    np.testing.assert_array_equal(found.labels, [labels[:32], labels[16:]])
    assert found.first_bar.tolist() == [1, 2]


def test_notes_that_are_lost_are_counted_by_kind():
    skipped = [
        Skipped("notes from bar 1", "beyond 10 at once", notes=1200),
        Skipped("track 0 from bar 1", "after the first 100", bars=3),
        Skipped("notes from bar 9", "outside the pitches 21-108", notes=1),
        Skipped("notes from bar 9", "beyond 10 at once", notes=1),
    ]
    assert lost_notes(skipped) == "1,201 notes beyond 10 at once, 1 note outside the pitches 21-108"
    assert lost_notes(skipped[1:2]) == ""


def test_all_events_of_a_song_move_with_its_notes_and_a_note_that_would_vanish_keeps_its_duration():
    midi = melody((0, 4, 60), (6, 8, 62))
    (part,) = midi.instruments
    part.control_changes = [pretty_midi.ControlChange(64, 127, 0.5)]
    part.pitch_bends = [pretty_midi.PitchBend(100, 0.5)]
    midi.lyrics, midi.text_events = [pretty_midi.Lyric("la", 0.5)], [pretty_midi.Text("C", 0.5)]
    moved = move_times(midi, lambda times: np.minimum(times + 0.25, 1))
    assert moved is midi
    assert [(note.start, note.end) for note in part.notes] == [(0.25, 0.75), (1, 1.25)]
    events = (*part.control_changes, *part.pitch_bends, *midi.lyrics, *midi.text_events)
    assert [event.time for event in events] == [0.75] * 4
