"""Written files: exact length, programs and drums by name, velocity, swing and names."""

import mido
import numpy as np
import pytest
from pretty_midi import ControlChange, Instrument, Note, PrettyMIDI, Text, TimeSignature

from music.midi_output import (
    drum_pitch,
    program_number,
    with_chord_track,
    with_drum_map,
    with_dynamics,
    with_names,
    with_own_drums,
    with_swing,
    with_velocity,
    without_feel,
    write_midi,
)


def song(*notes, qpm=120.0, is_drum=False, program=0):
    """A song of one track with notes (start, end, pitch, velocity) in quarters."""
    midi = PrettyMIDI(initial_tempo=qpm, resolution=480)
    track = Instrument(program, is_drum)
    second = 60 / qpm
    track.notes = [Note(velocity, pitch, start * second, end * second) for start, end, pitch, velocity in notes]
    midi.instruments.append(track)
    return midi


def quarters(midi):
    """The start and end of each note, in quarters."""
    second = 60 / midi.get_tempo_changes()[1][0]
    return [(round(n.start / second, 6), round(n.end / second, 6)) for n in midi.instruments[0].notes]


def ends(path):
    """The tick of each track's last event, and its type."""
    return [(sum(event.time for event in track), track[-1].type) for track in mido.MidiFile(path).tracks]


@pytest.mark.parametrize("bars", [1, 2, 3])
def test_every_track_ends_exactly_with_the_last_bar(tmp_path, bars):
    midi, path = song((0, 1, 60, 80), (3.5, 8, 62, 80), (9, 10, 64, 80)), tmp_path / "loop.mid"
    midi.text_events = [Text("C", 0.0), Text("G", 20.0)]
    midi.instruments[0].control_changes = [ControlChange(64, 0, 30.0)]
    write_midi(midi, path, bars)
    assert ends(path) == [(bars * 4 * 480, "end_of_track")] * 2
    again = PrettyMIDI(str(path))
    assert quarters(again) == {1: [(0, 1), (3.5, 4)], 2: [(0, 1), (3.5, 8)], 3: [(0, 1), (3.5, 8), (9, 10)]}[bars]
    assert [text.text for text in again.text_events] == ["C"]


def test_a_bar_is_one_of_the_time_signature(tmp_path):
    midi, path = song((0, 1, 60, 80)), tmp_path / "waltz.mid"
    midi.time_signature_changes = [TimeSignature(3, 4, 0)]
    write_midi(midi, path, 2)
    assert ends(path) == [(2 * 3 * 480, "end_of_track")] * 2


@pytest.mark.parametrize("bars", [None, 2])
def test_a_file_is_of_type_1_with_tempo_and_time_signature_at_its_start(tmp_path, bars):
    midi, path = song((0, 1, 60, 80), qpm=93), tmp_path / "song.mid"
    midi.time_signature_changes = [TimeSignature(4, 4, 0)]
    write_midi(midi, path, bars)
    file = mido.MidiFile(path)
    found = {event.type: event for event in file.tracks[0] if event.time == 0}
    assert file.type == 1
    assert mido.tempo2bpm(found["set_tempo"].tempo) == pytest.approx(93, abs=1e-3)
    assert (found["time_signature"].numerator, found["time_signature"].denominator) == (4, 4)


def test_without_a_length_the_file_is_pretty_midis(tmp_path):
    midi = song((0, 1, 60, 80), (3.5, 8, 62, 80))
    midi.write(str(tmp_path / "theirs.mid"))
    write_midi(midi, tmp_path / "ours.mid")
    assert (tmp_path / "ours.mid").read_bytes() == (tmp_path / "theirs.mid").read_bytes()


def test_the_song_stays_as_it_is(tmp_path):
    midi = song((0, 8, 36, 80), is_drum=True)
    write_midi(midi, tmp_path / "short.mid", 1)
    for changed in (with_velocity(midi, 20), with_swing(midi, 60), with_drum_map(midi, {36: 40}), with_names(midi)):
        assert changed is not midi
    assert [(n.start, n.end, n.pitch, n.velocity) for n in midi.instruments[0].notes] == [(0, 4, 36, 80)]
    assert midi.instruments[0].name == ""


@pytest.mark.parametrize(
    ("given", "number"),
    [(0, 0), (127, 127), ("5", 5), ("Acoustic Grand Piano", 0), ("electric piano 1", 4), ("ELECTRIC-PIANO 1", 4)],
)
def test_a_program_is_named_or_numbered(given, number):
    assert program_number(given) == number


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (128, "General MIDI has 0 to 127"),
        ("300", "General MIDI has 0 to 127"),
        ("zither", "'zither' is no General MIDI program; such as"),
        ("sax", "'sax' is no General MIDI program; did you mean Soprano Sax, Alto Sax"),
        ("electric piano", "did you mean Electric Piano 1, Electric Piano 2"),
        ("trumpt", "did you mean Trumpet"),
        (None, "General MIDI has 0 to 127"),
    ],
)
def test_a_program_that_does_not_exist_is_refused_with_those_alike(given, words):
    with pytest.raises(ValueError, match=words):
        program_number(given)


def test_common_names_of_instruments_are_known():
    assert [program_number(name) for name in ("Rhodes", "wurlitzer", "vibes", "strings")] == [4, 4, 11, 48]
    assert [drum_pitch(name) for name in ("Kick", "rim")] == [36, 37]
    with pytest.raises(ValueError, match="'kick' is no General MIDI program"):
        program_number("kick")


def test_a_drum_is_named_or_numbered():
    assert [drum_pitch(drum) for drum in (36, np.int64(36), "36", "Bass Drum 1", "hand clap")] == [36] * 4 + [39]
    for drum, words in ((128, "MIDI pitch, 0 to 127"), ("clap", "did you mean Hand Clap"), (3.5, "MIDI pitch")):
        with pytest.raises(ValueError, match=words):
            drum_pitch(drum)


def test_a_velocity_is_the_mean_and_dynamics_stay():
    flat = with_velocity(song((0, 1, 60, 80), (1, 2, 60, 80)), 100)
    assert [note.velocity for note in flat.instruments[0].notes] == [100, 100]
    played = with_velocity(song((0, 1, 60, 40), (1, 2, 60, 80)), 90)
    assert [note.velocity for note in played.instruments[0].notes] == [60, 120]
    loud = with_velocity(song((0, 1, 60, 1), (1, 2, 60, 127)), 127)
    assert [note.velocity for note in loud.instruments[0].notes] == [2, 127]
    assert with_velocity(PrettyMIDI(), 90).instruments == []


def dynamics(written, *played, is_drum=False, steps=16):
    """The velocities of written notes (step, pitch) after played ones (onset in steps, pitch, velocity)."""
    midi = song(*((step / 4, step / 4 + 0.25, pitch, 80) for step, pitch in written), qpm=93, is_drum=is_drum)
    own = np.array([(start, start + 1, pitch, velocity, 0) for start, pitch, velocity in played], float)
    changed = with_dynamics(midi, own, steps)
    assert {note.velocity for note in midi.instruments[0].notes} == {80}
    return [note.velocity for note in changed.instruments[0].notes]


def test_a_note_is_as_loud_as_the_nearest_one_that_was_played():
    swell = [(0.1, 50, 40), (3.8, 52, 60), (8.4, 54, 100)]  # read at steps 0, 4 and 8
    assert dynamics([(0, 60), (1, 60), (4, 60), (5, 60), (7, 60), (8, 60), (15, 60)], *swell) == [
        *(40, 40, 60, 60, 100, 100, 100)
    ]
    assert dynamics([(2, 60), (6, 60)], *swell) == [40, 60]  # halfway, the earlier one


def test_in_a_chord_a_note_takes_the_velocity_of_its_pitch_and_a_new_one_that_of_the_loudest():
    chord = [(0, 60, 50), (0.2, 64, 70), (-0.2, 67, 90), (4, 60, 20)]
    assert dynamics([(0, 60), (0, 64), (0, 67), (0, 72), (3, 64)], *chord) == [50, 70, 90, 90, 20]


def test_of_two_hits_of_a_flam_the_loudest_counts():
    for flam in ([(4, 38, 100), (4.3, 38, 20)], [(3.8, 38, 20), (4, 38, 100)], [(4, 38, 100), (4, 40, 20)]):
        assert dynamics([(4, 38)], *flam, is_drum=True) == [100]


def test_dynamics_come_again_after_the_clip():
    assert dynamics([(15, 60), (16, 60), (23, 60), (32 + 4, 60)], (0, 60, 100), (8, 60, 50)) == [50, 100, 50, 100]


def test_a_drum_is_as_loud_as_its_own_nearest_hit():
    beat = [(0, 36, 110), (4, 38, 100), (6, 42, 60), (7, 40, 25), (8, 36, 90)]
    written = [(0, 36), (4, 38), (5, 38), (7, 38), (9, 38), (0, 42), (8, 42)]  # 40 is a snare, which is written as 38
    assert dynamics(written, *beat, is_drum=True) == [110, 100, 100, 25, 25, 60, 60]
    assert dynamics([(0, 51), (5, 51)], (0, 36, 110), (0, 42, 50), (4, 38, 100), is_drum=True) == [110, 100]


def test_drums_have_the_pitches_that_were_played():
    """A hit takes that of the nearest hit of its class: snares, claps and cowbells are one class."""
    beat = [(0, 36, 110), (4, 39, 100), (8, 36, 90), (12, 40, 100), (14, 56, 40)]
    written = song(*((step / 4, step / 4 + 0.25, pitch, 80) for step, pitch in [(0, 36), (5, 38), (11, 38), (30, 38)]))
    own = np.array([(start, start + 1, pitch, velocity, 0) for start, pitch, velocity in beat], float)
    assert {note.pitch for note in with_own_drums(written, own, 16).instruments[0].notes} == {36, 38}  # of no drums
    written.instruments[0].is_drum = True
    changed = with_own_drums(written, own, 16).instruments[0].notes
    assert [note.pitch for note in changed] == [36, 39, 40, 56]
    assert {note.velocity for note in changed} == {80}
    written.instruments[0].notes[0].pitch = 42
    assert with_own_drums(written, own, 16).instruments[0].notes[0].pitch == 42  # no hi-hat was played


def test_each_track_has_the_dynamics_of_its_own():
    midi = song((0, 1, 60, 80))
    midi.instruments += [Instrument(33), Instrument(0, is_drum=True)]
    for track in midi.instruments[1:]:
        track.notes = [Note(80, 36, 0, 0.5)]
    changed = with_dynamics(midi, np.array([(0, 1, 60, 50, 0), (0, 1, 36, 70, 1)], float), 16)
    assert [track.notes[0].velocity for track in changed.instruments] == [50, 70, 80]


def test_swing_delays_the_second_note_of_each_pair():
    eighths = song(*((k / 2, k / 2 + 0.5, 60, 80) for k in range(4)), qpm=90)
    assert quarters(with_swing(eighths, 50)) == quarters(eighths)
    swung = quarters(with_swing(eighths, 75))
    assert swung == [(0, 0.75), (0.75, 1), (1, 1.75), (1.75, 2)]
    sixteenths = song((0, 0.25, 60, 80), (0.25, 0.5, 60, 80), (0.5, 1, 60, 80))
    assert quarters(with_swing(sixteenths, 60, "16th")) == [(0, 0.3), (0.3, 0.5), (0.5, 1)]


def test_swing_moves_the_pedal_with_the_notes():
    eighths = song((0, 0.5, 60, 80), (0.5, 1, 60, 80))
    eighths.instruments[0].control_changes = [ControlChange(64, 127, 0.25)]
    swung = with_swing(eighths, 75).instruments[0]
    assert swung.control_changes[0].time == swung.notes[1].start == 0.375


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda midi: with_swing(midi, 40), r"swing must be a per cent from 50 \(straight\) to 75, got 40"),
        (lambda midi: with_swing(midi, 76), "swing must be a per cent"),
        (lambda midi: with_swing(midi, 60, "4th"), "unit of swing must be 8th or 16th, got '4th'"),
        (lambda midi: with_velocity(midi, 0), "velocity must be a number from 1 to 127, got 0"),
        (lambda midi: with_velocity(midi, 128), "velocity must be a number from 1 to 127"),
        (lambda midi: with_drum_map(midi, [36, 40]), "drum_map must be a dict"),
        (lambda midi: with_drum_map(midi, {36: 200}), "a drum must be a MIDI pitch"),
        (lambda midi: write_midi(midi, "", 2), "path must be a path"),
        (lambda midi: write_midi(midi, "a.mid", 0), "bars must be a whole number of at least 1"),
    ],
)
def test_what_is_out_of_range_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call(song((0, 1, 60, 80)))


def test_a_drum_map_moves_drums_alone():
    drums, notes = song((0, 1, 36, 80), (0, 1, 39, 80), is_drum=True), song((0, 1, 36, 80))
    assert [n.pitch for n in with_drum_map(drums, {36: 39, "Hand Clap": 36}).instruments[0].notes] == [39, 36]
    assert [n.pitch for n in with_drum_map(notes, {36: 39}).instruments[0].notes] == [36]


def test_tracks_are_named_after_what_they_play():
    midi = song((0, 1, 60, 80), program=33)
    midi.instruments += [Instrument(0, is_drum=True), Instrument(0, name="Lead")]
    assert [track.name for track in with_names(midi).instruments] == ["Electric Bass (finger)", "Drums", "Lead"]


def test_legato_notes_without_feel_do_not_overlap():
    midi = PrettyMIDI(initial_tempo=120)
    midi.instruments = [Instrument(0)]
    midi.instruments[0].notes = [Note(70, 60, 0.45, 1.04), Note(70, 60, 1.04, 1.5), Note(70, 60, 1.52, 1.53)]
    found = [(round(n.start, 3), round(n.end, 3)) for n in without_feel(midi).instruments[0].notes]
    assert found == [(0.5, 1.0), (1.0, 1.46), (1.5, 1.51)]


def test_notes_without_feel_lie_on_the_grid_with_one_velocity():
    played = song((0.02, 0.25, 36, 120), (0.97, 1.2, 38, 30))
    stiff = without_feel(played)
    assert quarters(stiff) == [(0, 0.23), (1, 1.23)]
    assert {note.velocity for note in stiff.instruments[0].notes} == {80}


# ---- A track of chords ----


def with_chords(midi, *chords):
    """The song with the names of chords at (quarter, symbol)."""
    second = 60 / midi.get_tempo_changes()[1][0]
    midi.text_events = [Text(symbol, quarter * second) for quarter, symbol in chords]
    return midi


def chords_played(midi):
    """The pitches of each chord of the last track, by its start and end in quarters."""
    played, second = {}, 60 / midi.get_tempo_changes()[1][0]
    for note in midi.instruments[-1].notes:
        played.setdefault((round(note.start / second, 3), round(note.end / second, 3)), []).append(note.pitch)
    return played


def test_a_chord_track_holds_the_triads_softer_than_the_melody():
    midi = with_chords(song((0, 1, 72, 60), (5, 9, 74, 100), qpm=90), (0, "Am7"), (4, "N.C."), (6, "Gsus4"), (7, "F/C"))
    made = with_chord_track(midi)
    assert chords_played(made) == {(0, 4): [57, 48, 52], (7, 12): [53, 57, 48]}
    assert {note.velocity for note in made.instruments[1].notes} == {56}
    assert (made.instruments[1].name, len(midi.instruments)) == ("Chords", 1)


def test_the_last_chord_ends_with_the_last_bar(tmp_path):
    midi = with_chords(song((0, 1, 72, 60)), (0, "C"), (8, "Gm"))
    assert list(chords_played(with_chord_track(midi))) == [(0, 8), (8, 12)]
    assert list(chords_played(with_chord_track(midi, bars=5))) == [(0, 8), (8, 20)]
    assert list(chords_played(with_chord_track(midi, bars=2))) == [(0, 8)]
    write_midi(with_chord_track(midi, bars=5), tmp_path / "song.mid", bars=5)
    assert list(chords_played(PrettyMIDI(str(tmp_path / "song.mid")))) == [(0, 8), (8, 20)]
    midi.time_signature_changes = [TimeSignature(3, 4, 0)]
    assert list(chords_played(with_chord_track(midi))) == [(0, 8), (8, 9)]


@pytest.mark.parametrize(("program", "chords"), [(0, 0), (4, 4), (40, 0)])
def test_the_chords_are_played_by_a_piano(program, chords):
    midi = with_chord_track(with_chords(song((0, 1, 72, 60), program=program), (0, "C")))
    assert [track.program for track in midi.instruments] == [program, chords]


def test_a_song_without_named_chords_gets_no_chord_track():
    with pytest.raises(ValueError, match="the song names no chords: they are its text events or lyrics, such as Am7"):
        with_chord_track(song((0, 1, 72, 60)))
