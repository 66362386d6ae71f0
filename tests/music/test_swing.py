"""Swing is found, taken out and put back; what is straight stays as it is."""

import numpy as np
import pytest
from pretty_midi import ControlChange, Instrument, Note, PrettyMIDI, Text, TimeSignature

from helpers import BUILT_IN
from midi_utils import DrumsConverter, MelodyConverter, load_midi
from music.midi_output import with_swing
from music.swing import straighten, swing_of

CONVERTERS = (MelodyConverter(bars=2), DrumsConverter(bars=2))
SONGS = sorted(BUILT_IN.glob("*.mid"))[::40]


def song(*onsets, qpm=120.0):
    """A song whose notes start at these quarters, a tenth of a quarter long."""
    midi, second = PrettyMIDI(initial_tempo=qpm, resolution=480), 60 / qpm
    midi.instruments.append(Instrument(0))
    midi.instruments[0].notes = [Note(80, 60, start * second, (start + 0.1) * second) for start in onsets]
    return midi


def times(midi):
    """[notes, 2] start and end in seconds."""
    return np.array([(note.start, note.end) for track in midi.instruments for note in track.notes])


def starts(midi):
    """The quarters in which the notes start, at 120 quarters per minute."""
    return (2 * times(midi)[:, 0]).round(6).tolist()


def labels(midi):
    return [converter.to_arrays(midi).labels.tolist() for converter in CONVERTERS]


def beats(count, *places):
    """Onsets at these places of each beat."""
    return [beat + place for beat in range(count) for place in places]


# ---- Songs ----


@pytest.mark.parametrize("path", SONGS, ids=lambda path: path.stem)
def test_the_swing_of_a_song_is_found_and_straightening_gives_its_labels_back(path):
    midi = load_midi(path)
    assert straighten(midi).midi is midi
    wanted = labels(midi)
    for swing in (50, 54, 66.7, 72):
        found = straighten(with_swing(midi, swing))
        assert found.swing == pytest.approx(swing, abs=1)
        assert found.unit == "8th"
        assert labels(found.midi) == wanted


@pytest.mark.parametrize("unit", ["8th", "16th"])
def test_the_swing_put_back_gives_the_song_within_two_ticks(unit, tmp_path):
    straight = song(*beats(16, 0, 0.25, 0.5, 0.75))
    with_swing(straight, 64, unit).write(str(tmp_path / "swung.mid"))
    swung = load_midi(tmp_path / "swung.mid")
    found = straighten(swung)
    assert (found.swing, found.unit) == (pytest.approx(64, abs=1), unit)
    assert starts(found.midi) == pytest.approx(starts(straight), abs=1.01 / 480)  # a tick of the file
    again = with_swing(found.midi, found.swing, found.unit)
    tick = swung.tick_to_time(1)
    assert np.abs(times(again) - times(swung)).max() <= 2 * tick


def test_triplets_become_two_sixteenths_and_an_eighth():
    found = straighten(song(*beats(8, 0, 1 / 3, 2 / 3)))
    assert found.swing == pytest.approx(200 / 3, abs=0.5)
    assert starts(found.midi)[:4] == [0, 0.25, 0.5, 1]


def test_the_mode_counts_where_a_few_off_beats_lie_elsewhere():
    onsets = beats(12, 0, 0.5) + [12 + place for place in beats(4, 0, 1 / 3, 2 / 3)]
    assert swing_of(song(*onsets)).is_straight
    swung = [*beats(12, 0, 0.62), 12, 12.5, 13, 13.5]
    assert swing_of(song(*swung)).swing == pytest.approx(62, abs=0.5)


@pytest.mark.parametrize(
    "onsets",
    [
        [],
        beats(16, 0),
        beats(16, 0, 0.5),
        beats(16, 0, 0.25, 0.5, 0.75),
        beats(16, 0, 0.75),  # dotted
        beats(16, 0, 0.51),
        beats(2, 0, 0.66),  # too few to tell
        np.random.default_rng(0).uniform(0, 64, 400).tolist(),  # free
    ],
)
def test_a_song_without_swing_is_returned_as_it_is(onsets):
    midi = song(*onsets)
    assert straighten(midi).midi is midi
    assert straighten(midi, 50).midi is midi


def test_a_swing_that_is_given_is_taken_out():
    found = straighten(song(0, 0.6, 1, 1.6), 60)
    assert (found.swing, found.unit) == (60, "8th")
    assert starts(found.midi) == [0, 0.5, 1, 1.5]
    assert starts(straighten(song(0, 0.3, 0.5, 0.8), 60, "16th").midi) == [0, 0.25, 0.5, 0.75]


def test_chords_and_pedals_move_with_their_notes_and_the_song_that_is_given_does_not():
    midi = song(*beats(8, 0, 0.6))
    midi.text_events = [Text("Am", 0.3)]
    midi.instruments[0].control_changes = [ControlChange(64, 127, 0.8)]
    before = times(midi)
    found = straighten(midi).midi
    assert found.text_events[0].time == pytest.approx(0.25)
    assert found.instruments[0].control_changes[0].time == pytest.approx(0.75)
    assert with_swing(found, 60).text_events[0].time == pytest.approx(0.3)
    assert (times(midi) == before).all()
    assert midi.text_events[0].time == 0.3


def test_beats_are_counted_through_tempos_and_from_the_start_of_a_metre():
    """A bar of 1/8 shifts the beats by half a quarter, and bars of eighths are left as they are."""
    midi = song(*beats(8, 0, 0.62))
    midi.time_signature_changes = [TimeSignature(1, 8, 0), TimeSignature(4, 4, 0.25), TimeSignature(6, 8, 4.25)]
    for note in midi.instruments[0].notes:
        note.start, note.end = note.start + 0.25, note.end + 0.25
    midi.instruments[0].notes += [Note(80, 60, 4.25 + 0.3125, 4.7)]
    assert starts(straighten(midi).midi) == [*(0.5 + place for place in beats(8, 0, 0.5)), 8.5 + 0.625]
    midi = song(*beats(8, 0, 0.62))
    midi._tick_scales = [(0, 60 / 120 / 480), (4 * 480, 60 / 60 / 480)]
    midi._update_tick_to_time(10 * 480)
    for note in midi.instruments[0].notes:
        note.start, note.end = (time if time < 2 else 2 + 2 * (time - 2) for time in (note.start, note.end))
    straight = times(straighten(midi).midi)[:, 0].round(6).tolist()
    assert straight == [0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75, 2, 2.5, 3, 3.5, 4, 4.5, 5, 5.5]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((song(0), 80), r"swing must be a per cent from 50 \(straight\) to 75, got 80"),
        ((song(0), 60, "32nd"), "the unit of swing must be 8th or 16th, got '32nd'"),
        (("song.mid",), r"midi must be a PrettyMIDI; load_midi\(path\) reads a file"),
    ],
)
def test_a_wrong_call_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        straighten(*arguments)
