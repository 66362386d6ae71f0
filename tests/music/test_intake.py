"""What people have is made fit for a converter: drums on any channel and pitch, swung songs, options as text."""

import pytest
from pretty_midi import Instrument, Note, PrettyMIDI, TimeSignature

from made_midi import EIGHTS, EIGHTS_LABELS, STEP, assert_windows, melody
from midi_utils import DrumsConverter, Intake, MelodyConverter, PianoConverter, load_songs
from music.grid import song_parts
from music.intake import check_drum_map, with_drum_tracks, with_paired_bars
from music.options import read_drum_map, read_programs, read_time_signature

DRUMS = DrumsConverter(bars=2)


def song(pitch=36, is_drum=False, place=0.5):
    """Eight beats of a melody, and of a second track, Beat, whose off-beats lie at a place of the beat."""
    midi = PrettyMIDI(initial_tempo=120)
    midi.instruments = [Instrument(0, name="Tune"), Instrument(40, is_drum, name="Beat ")]
    for beat in range(8):
        midi.instruments[0].notes.append(Note(80, 60, beat / 2, beat / 2 + 0.1))
        for start in (beat, beat + place):
            midi.instruments[1].notes.append(Note(80, pitch, start / 2, start / 2 + 0.1))
    return midi


LABELS = DRUMS.to_arrays(song(is_drum=True)).labels.tolist()


def labels(midi):
    return DRUMS.to_arrays(midi).labels.tolist()


@pytest.mark.parametrize("track", [1, "beat", "Beat"])
def test_a_track_is_declared_to_be_drums_by_number_or_name(track):
    midi = song()
    assert labels(midi) == []
    declared = with_drum_tracks(midi, (track,))
    assert labels(declared) == LABELS
    assert [(one.is_drum, one.program) for one in declared.instruments] == [(False, 0), (True, 0)]
    assert [(one.is_drum, one.program) for one in midi.instruments] == [(False, 0), (False, 40)]


def test_drums_on_other_pitches_are_read_with_their_map():
    assert labels(song(60, is_drum=True)) != LABELS
    assert labels(Intake(drum_map=((60, "bass drum 1"),))(song(60, is_drum=True))) == LABELS


def test_an_intake_declares_then_maps_then_straightens_and_one_of_defaults_does_nothing():
    midi = song(60, place=0.66)
    assert labels(Intake(("Beat",), ((60, 36),), straighten=True)(midi)) == LABELS
    assert Intake()(midi) is midi


def in_metres(*metres):
    """EIGHTS twice, the second time in steps 64 to 96, in metres (numerator, denominator, first step)."""
    midi = melody(*EIGHTS, *((start + 64, end + 64, pitch) for start, end, pitch in EIGHTS))
    midi.time_signature_changes = [TimeSignature(over, under, step * STEP) for over, under, step in metres]
    return midi


def metres(midi):
    return [part.time_signature for part in song_parts(midi)]


@pytest.mark.parametrize("metre, paired", [((2, 4), (4, 4)), ((4, 8), (4, 4)), ((1, 2), (4, 4)), ((8, 16), (4, 4))])
def test_two_bars_of_half_the_length_are_one_of_four_four(metre, paired):
    midi = in_metres((*metre, 0))
    read = Intake(pair_bars=True)(midi)
    assert metres(read) == [paired]
    assert read.instruments[0].notes == midi.instruments[0].notes
    assert metres(midi) == [metre]
    windows = MelodyConverter().to_arrays(read)
    assert_windows(windows, [EIGHTS_LABELS])
    assert windows.start_bar.tolist() == [0]


@pytest.mark.parametrize("metre", [(1, 4), (3, 4), (4, 4), (2, 2), (6, 8), (3, 8)])
def test_bars_of_another_length_stay_as_they_are(metre):
    assert metres(with_paired_bars(in_metres((*metre, 0)))) == [metre]


def test_a_song_without_a_time_signature_is_in_four_four():
    assert metres(with_paired_bars(in_metres())) == [(4, 4)]


@pytest.mark.parametrize("bars", [1, 2, 3, 4])
@pytest.mark.parametrize("after", [(4, 4), (2, 2), (3, 4)])
def test_a_bar_without_its_pair_does_not_move_the_bars_after_a_change(bars, after):
    midi = in_metres((2, 4, 64 - 8 * bars), (*after, 64))
    midi.time_signature_changes.insert(0, TimeSignature(5, 4, 0))
    (part,) = [one for one in song_parts(with_paired_bars(midi)) if one.time_signature == after]
    assert part.start[:4].tolist() == [0, 4, 8, 12]
    before = -(-(64 - 8 * bars) // 20)  # bars of 5/4, the last of them cut short
    assert part.first_bar == before + -(-bars // 2)


def test_bars_are_paired_from_the_change_where_a_song_alternates():
    midi = in_metres((4, 4, 0), (2, 4, 24), (4, 4, 40), (2, 4, 64))
    parts = song_parts(with_paired_bars(midi))
    assert [(part.first_bar, *part.time_signature) for part in parts] == [(0, 4, 4), (2, 2, 2), (3, 4, 4), (5, 2, 2)]
    windows = MelodyConverter().to_arrays(with_paired_bars(midi))
    assert windows.start_bar.tolist() == [0, 5]
    assert windows.labels[1].tolist() == EIGHTS_LABELS.tolist()


def test_a_time_signature_that_is_stated_again_does_not_part_a_pair():
    midi = in_metres((2, 4, 0), (2, 4, 8), (2, 4, 24))
    assert metres(with_paired_bars(midi)) == [(4, 4)]


def test_bars_are_paired_after_a_pickup_in_the_default_metre():
    midi = in_metres((2, 4, 64))
    parts = song_parts(with_paired_bars(midi))
    assert metres(with_paired_bars(midi)) == [(4, 4), (2, 2)]
    assert parts[1].start.tolist()[:2] == [0, 4]


def test_a_swung_song_in_bars_of_eighths_is_not_straightened_because_its_bars_are_paired():
    midi = song(is_drum=True, place=0.66)
    for metre, wanted in (((4, 8), False), ((2, 4), True)):
        midi.time_signature_changes = [TimeSignature(*metre, 0)]
        assert (labels(Intake(straighten=True, pair_bars=True)(midi)) == LABELS) == wanted


def test_a_song_in_half_bars_names_what_reads_them():
    midi = in_metres((2, 4, 0))
    hint = "2/4 throughout; take two bars as one (Intake(pair_bars=True); --pair-bars)"
    assert MelodyConverter().to_arrays(midi).skipped[0].reason == hint
    assert MelodyConverter(time_signature=(3, 4)).to_arrays(midi).skipped[0].reason == "2/4 throughout"
    midi.time_signature_changes[0].numerator = 3
    assert PianoConverter().to_arrays(midi).skipped[0].reason == "3/4 throughout"


def test_a_folder_is_read_with_an_intake_and_its_cache_tells_intakes_apart(tmp_path):
    (tmp_path / "songs").mkdir()
    song(60, place=0.66).write(str(tmp_path / "songs" / "beat.mid"))
    one_track = song(60)
    one_track.instruments.pop()
    one_track.write(str(tmp_path / "songs" / "tune.mid"))
    reading = {"cache": tmp_path / "cache", "progress": False, "workers": 1}
    wanted = Intake((1,), ((60, 36),), True)
    for _ in range(2):
        songs = load_songs(tmp_path / "songs", DRUMS, intake=wanted, **reading)
        assert songs.labels.tolist() == LABELS
        (refused,) = songs.report.refused
        found = "there is no track 1; the song has track 0 'Tune' (program 0, Acoustic Grand Piano)"
        assert refused == ("tune.mid", found)
    with pytest.raises(ValueError, match="there is no window to learn from"):
        load_songs(tmp_path / "songs", DRUMS, **reading)


def test_options_are_read_as_they_are_written():
    assert read_programs("0-3,40,flute") == (0, 1, 2, 3, 40, 73)
    assert read_programs("electric piano 1") == (4,)
    assert read_programs("all") is None
    assert read_time_signature("12/8") == (12, 8)
    assert read_drum_map("--drum-map", ["60 = 36", "61=hand clap"]) == {60: 36, 61: 39}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: with_drum_tracks(song(), (7,)), r"no track 7; the song has track 0 'Tune' \(program 0"),
        (lambda: with_drum_tracks(song(), ("Kit",)), r"no track 'Kit'; .* track 1 'Beat' \(program 40, Violin\)"),
        (lambda: check_drum_map(song(60, True), ((61, 36),)), "pitches without a drum: 61; the drums have 60"),
        (lambda: Intake(drum_map=((60, 200),)), "a drum must be a MIDI pitch, 0 to 127, or .*, got 200"),
        (lambda: Intake(drum_map=(60, 36)), r"drum_map must be pairs of pitches, such as \(\(60, 36\),\), got 60"),
        (lambda: Intake(drum_tracks=3), r"drum_tracks must be numbers or names of tracks, such as \(3,\), got 3"),
        (lambda: Intake(drum_tracks=(True,)), "a drum track must be its number, from 0, or its name, got True"),
        (lambda: Intake(straighten=1), "straighten must be True or False, got 1"),
        (lambda: Intake(pair_bars="yes"), "pair_bars must be True or False, got 'yes'"),
        (lambda: read_drum_map("--input-drum-map", ["60"]), "--input-drum-map takes pairs such as 36=60, got '60'"),
        (lambda: read_time_signature("3"), "a time signature is written as 3/4, got '3'"),
        (lambda: read_programs("0-130"), "program is 130; it must be a whole number"),
        (lambda: read_programs("9-3"), "the programs '9-3' go downwards; write them as 0-31,40, or all"),
        (lambda: read_programs("5,31-0"), "the programs '31-0' go downwards"),
        (lambda: load_songs(".", DRUMS, intake=True), r"intake must be an Intake, such as Intake\(straighten=True\)"),
    ],
)
def test_a_wrong_value_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
