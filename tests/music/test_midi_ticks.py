"""Files with more ticks than `PrettyMIDI` takes, and files in film frames."""

import numpy as np
import pytest

from made_midi import END, chunk, meta, notes_of, number, smf, smf_header, sound, tempo
from midi_utils import MidiError
from music.midi_file import parse_midi
from music.midi_ticks import MAX_TICK


def long_song(division, quarters, length=None):
    """A note of `length` ticks, or half a quarter, on each quarter."""
    length = length or division // 2
    return smf(b"".join(sound(60, length, division - length if k else 0) for k in range(quarters)), division=division)


@pytest.mark.parametrize(
    "division, left, rounded",
    [(10_080, 5040, False), (19_200, 9600, False), (32_767, 4681, True), (32_749, 21_905, True)],
)
def test_ticks_are_divided_where_there_are_too_many(division, left, rounded):
    quarters = MAX_TICK // division * 3 // 2
    midi, mended = parse_midi(long_song(division, quarters))
    assert midi.resolution == left
    assert midi.time_to_tick(midi.get_end_time()) <= MAX_TICK
    assert mended == ([f"{division} ticks per quarter, rounded to {left}"] if rounded else [])
    times = np.array(notes_of(midi))[:, 1:] / 0.5
    np.testing.assert_allclose(times[:, 0], np.arange(quarters), atol=1 / left)
    np.testing.assert_allclose(times[:, 1], np.arange(quarters) + 0.5, atol=2 / left)


def test_a_file_of_ten_million_ticks_keeps_them():
    midi, mended = parse_midi(smf(sound(60, 480) + sound(60, 480, MAX_TICK - 960)))
    assert (midi.resolution, mended) == (480, [])
    assert midi.time_to_tick(midi.instruments[0].notes[1].end) == MAX_TICK


def test_no_note_is_lost_where_ticks_are_divided():
    midi, _ = parse_midi(long_song(19_200, 600, length=1))
    assert len(notes_of(midi)) == 600
    assert all(end > start for _, start, end in notes_of(midi))


def test_tempo_metre_and_texts_move_with_the_notes():
    events = sound(60, 19_200) + tempo(250_000, 19_200 * 599) + meta(0x58, b"\x03\x02\x18\x08") + meta(1, b"la")
    midi, _ = parse_midi(smf(events + sound(61, 19_200), division=19_200))
    assert midi.get_tempo_changes()[0].tolist() == [0, 300]
    assert midi.time_signature_changes[0].time == midi.text_events[0].time == 300
    assert notes_of(midi)[1] == (61, 300, 300.25)


def test_a_long_silence_is_shortened_where_dividing_does_not_help_and_divided_where_it_does():
    for division, resolution in ((480, 480), (9600, 1200)):
        silence = 60_000_000
        midi, mended = parse_midi(smf(sound(60, division) + sound(61, division, silence), division=division))
        assert midi.resolution == resolution
        assert bool(mended) == (division == 480)


def test_a_silence_after_the_last_note_costs_nothing():
    midi, mended = parse_midi(smf_header(1) + chunk(sound(60, 480), end=number(2**28 - 1) + END[1:]))
    assert (midi.resolution, mended, notes_of(midi)) == (480, [], [(60, 0, 0.5)])


def test_a_song_that_is_too_long_is_refused():
    with pytest.raises(MidiError, match="it lasts 10800479 ticks, 112504 quarter notes"):
        parse_midi(long_song(96, 112_505, length=95))


@pytest.mark.parametrize(
    "frames, ticks, per_second", [(24, 4, 96), (25, 40, 1000), (29, 80, 80 * 30 / 1.001), (30, 0, 30)]
)
def test_film_frames_keep_their_seconds_and_the_tempo_counts_for_nothing(frames, ticks, per_second):
    division = (256 - frames) << 8 | ticks
    midi, mended = parse_midi(smf(tempo(100_000) + sound(60, 120), tempo(300_000), division=division))
    assert mended == [f"time in film frames ({frames} per second), read as 120 quarters per minute"]
    np.testing.assert_allclose(notes_of(midi), [(60, 0, 120 / per_second)], rtol=1e-5)
