"""Broken files: what is mended, what is refused, and that every fault is named."""

import warnings

import numpy as np
import pytest

from helpers import SHARED
from made_midi import CONVERTERS, END, FIXTURES, chunk, meta, notes_of, smf, smf_header, sound
from midi_utils import Limits, MidiError, load_midi
from music.midi_file import parse_midi

MENDED = {  # file: what the warning says
    "data_byte_over_127.mid": "a data byte of 226, read as 127",
    "division_zero.mid": "zero ticks per quarter, read as 480",
    "giant_delta.mid": "a silence of 559240 quarter notes",
    "keysig_bad_mode.mid": "a key signature of bytes ff ff, left out",
    "notes_never_released.mid": "notes without an end",
    "ntrks_too_many.mid": "the header says 5 tracks, the file holds 1",
    "ntrks_zero.mid": "the header says 0 tracks, the file holds 1",
    "riff_rmid.rmi": "20 bytes before the header",
    "smpte_division_25fps.mid": "film frames (25 per second)",
    "tempo_zero.mid": "a tempo of bytes 00 00 00, left out",
    "timesig_0_4.mid": "a time signature of bytes 00 02 18 08, left out",
    "timesig_length_2.mid": "a time signature of 2 bytes, completed",
    "track_length_too_long.mid": "shorter than its header says, but complete",
    "type2.mid": "2 independent songs (a type 2 file), the first is read",
}
REFUSED = {  # file: what the error says
    "header_only_10_bytes.mid": "cut off inside its header",
    "html_error_page.mid": "not a MIDI file: it begins with b'<!DOCTYPE html",
    "running_status_first_event.mid": "track 0, byte 23: data where an event should begin",
    "truncated_half.mid": "cut off: track 0 ends before its end-of-track event",
    "zeros_1k.mid": "not a MIDI file",
}
PITCHES = {"giant_delta.mid": [*range(60, 68), 64]}
MALFORMED = sorted(path.name for path in (FIXTURES / "malformed").iterdir() if path.suffix != ".md")


OTHERS = {  # the first bytes of a file: what the error says
    b"RIFF\x24\x08\x00\x00WAVEfmt ": "it is audio (WAV); export MIDI from your program",
    b"ID3\x04": "it is audio (MP3); export",
    b"\xff\xfb\x90\x44": "it is audio (MP3); export",
    b"fLaC\x00": "it is audio (FLAC); export",
    b"OggS\x00": "it is audio (Ogg); export",
    b"FORM\x00\x00\x00\x2eAIFFCOMM": "it is audio (AIFF); export",
    b"\x00\x00\x00\x20ftypM4A ": "it is audio or video (MP4); export",
    b'\xef\xbb\xbf<?xml version="1.0"?>\n<!DOCTYPE x>\n<score-partwise>': "it is MusicXML; export MIDI, for instance",
    b"PK\x03\x04\x14\x00": "it is a ZIP archive, such as compressed MusicXML; export MIDI, for instance with MuseScore",
}


@pytest.mark.parametrize("start", OTHERS)
def test_a_file_of_another_format_is_named(start, tmp_path):
    path = tmp_path / "song.mid"
    path.write_bytes(start + bytes(100))
    for limits in (Limits(), Limits(bytes=64)):
        with pytest.raises(MidiError) as error:
            load_midi(path, limits=limits)
        assert str(error.value).startswith(f"{path}: not a MIDI file: {OTHERS[start]}")


@pytest.mark.parametrize("name", MALFORMED)
def test_a_broken_file_is_mended_or_refused_with_its_fault(name):
    path = FIXTURES / "malformed" / name
    if name in REFUSED:
        with pytest.raises(MidiError) as error:
            load_midi(path)
        assert str(path) in str(error.value)
        assert REFUSED[name] in str(error.value)
        return
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        midi = load_midi(path)
    said = " ".join(str(warning.message) for warning in caught)
    assert MENDED.get(name, "") in said
    assert ("mending" in said) == (name in MENDED)
    pitches = [note.pitch for instrument in midi.instruments for note in instrument.notes]
    assert pitches == PITCHES.get(name, list(range(60, 68)))
    for converter in CONVERTERS.values():
        converter.to_arrays(midi)


def test_mended_files_keep_their_rhythm():
    """All files keep their ticks and so their steps, except the one in film frames and the one without note-offs."""
    good = load_midi(FIXTURES / "malformed/good_reference.mid").instruments[0].notes
    for name in MENDED.keys() - {"notes_never_released.mid"}:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            midi = load_midi(FIXTURES / "malformed" / name)
        seconds = 480 / 1000 if name.startswith("smpte") else 0.5  # a quarter has 480 ticks
        times = [(note.start / seconds, note.end / seconds) for note in midi.instruments[0].notes[:8]]
        np.testing.assert_allclose(times, [(note.start / 0.5, note.end / 0.5) for note in good], err_msg=name)


def test_system_exclusive_messages_do_not_move_the_notes_of_a_mended_file():
    good = (FIXTURES / "malformed/good_reference.mid").read_bytes()
    start, size = good.index(b"MTrk") + 8, 4
    added = b"\x00\xf0\x03\x7e\x01\xf7" + b"\x00\xff\x59\x02\x08\x00"  # and a key of eight sharps
    length = int.from_bytes(good[start - size : start], "big") + len(added)
    broken = good[: start - size] + length.to_bytes(size, "big") + added + good[start:]
    midi, mended = parse_midi(broken)
    assert mended == ["track 0: a key signature of bytes 08 00, left out"]
    assert [(n.start, n.end, n.pitch) for n in midi.instruments[0].notes] == [
        (n.start, n.end, n.pitch) for n in parse_midi(good)[0].instruments[0].notes
    ]


def test_a_silence_is_shortened_by_whole_bars():
    with pytest.warns(UserWarning, match="shortened"):
        midi = load_midi(FIXTURES / "malformed/giant_delta.mid")
    before, late = midi.instruments[0].notes[-2:]
    original = 2**28 - 1  # ticks from the last note's end
    ticks = midi.time_to_tick(late.start) - midi.time_to_tick(before.end)
    assert (original - ticks) % (4 * 480) == 0
    assert 256 * 480 <= ticks < 260 * 480


def readers_results():
    """Of each file: its name, the counts of notes that pretty_midi and symusic find, and whether mido reads it."""
    path = SHARED / "malformed/RESULTS.txt"
    for line in path.read_text().splitlines() if path.exists() else []:
        name, mido, *notes = (field.split(" ", 1) for field in line.split(" | "))
        counts = [int(result[3:-1]) for _, result in notes if result.startswith("ok(")]
        yield name[0], counts, mido[1].startswith("ok")


def notes_found(path):
    """The number of notes that load_midi finds; None if it refuses the file by name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            midi = load_midi(path)
        except MidiError as error:
            return None if str(path) in str(error) else str(error)
    return sum(len(instrument.notes) for instrument in midi.instruments)


def test_every_file_that_any_reader_reads_is_read():
    results = list(readers_results())
    if not results:
        pytest.skip("reference data not present")
    found = {name: notes_found(SHARED / "malformed" / name) for name, _, _ in results}
    expected = {name: max(counts) if counts else None for name, counts, _ in results}
    more = {"jazzsoft/test-running-status-sysex.mid", "made/ntrks_zero.mid"}  # symusic stops at the fault
    more |= {"made/notes_never_released.mid"}  # the others drop these notes
    more |= {"jazzsoft/test-2-tracks-type-2.mid", "made/type2.mid"}  # the others lay two songs over each other
    assert [found.pop(name) for name in more] == [8] * 5
    assert {name: n for name, n in found.items() if expected[name] is not None and n != expected[name]} == {}
    assert [name for name, _, mido_reads in results if mido_reads and name in found and found[name] is None] == []
    assert {n for name, n in found.items() if expected[name] is None} == {None, 8, 0}


def test_a_data_byte_over_127_is_read_as_127(tmp_path):
    good = (FIXTURES / "malformed/good_reference.mid").read_bytes()
    path = tmp_path / "loud.mid"
    path.write_bytes(good.replace(b"\x90\x3c\x5a", b"\x90\x3c\xc8"))
    with pytest.warns(UserWarning, match="a data byte of 200, read as 127"):
        assert load_midi(path).instruments[0].notes[0].velocity == 127


def test_damaged_files_are_read_or_raise_midi_error():
    """A good file is cut off, or some of its bytes are changed, at random."""
    rng = np.random.default_rng(0)
    good = (FIXTURES / "converters/midi/07_trio.mid").read_bytes()
    outcomes = set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(150):
            data = bytearray(good[: rng.integers(20, len(good))] if rng.random() < 0.2 else good)
            for position in rng.integers(0, min(len(data), 400), rng.integers(1, 6)):
                data[position] = rng.integers(256)
            outcomes.add(loads(bytes(data)))
    assert outcomes == {True, False}


def loads(data):
    try:
        parse_midi(data)
    except MidiError:
        return False
    return True


# ---- Chunks ----

FIRST, SECOND = 3 * sound(60, 480), 3 * sound(62, 240)
WHOLE = [60] * 3 + [62] * 3
LONGER, SHORTER = "longer than its header says", "shorter than its header says, but complete"
SIZE = len(FIRST) + 4  # with the end-of-track event


def pitches_and_faults(data):
    midi, mended = parse_midi(data)
    return [pitch for pitch, _, _ in notes_of(midi)], mended


@pytest.mark.parametrize(
    "size, fault", [(0, LONGER), (1, LONGER), (8, LONGER), (SIZE - 1, LONGER), (SIZE, None)]
    + [(SIZE + more, SHORTER) for more in (1, 5, 8, 12, 8 + len(SECOND) + 4, 1000, 2**31)],
)  # fmt: skip
@pytest.mark.parametrize("place", [0, 1])
def test_a_track_whose_length_is_wrong_and_its_neighbour_are_whole(size, fault, place):
    tracks = [FIRST, FIRST]
    tracks[1 - place] = SECOND
    chunks = [chunk(events, size if events is FIRST else None) for events in tracks]
    pitches, mended = pitches_and_faults(smf_header(2) + b"".join(chunks))
    assert sorted(pitches) == WHOLE
    assert mended == ([f"track {place}: {fault}"] if fault else [])


@pytest.mark.parametrize("size", [0, 5, 1000])
def test_the_next_track_ends_one_without_an_end_of_track_event(size):
    data = smf_header(2) + chunk(FIRST, size, end=b"") + chunk(SECOND)
    assert pitches_and_faults(data)[0] == WHOLE


def test_events_after_an_end_of_track_event_are_kept_where_the_length_holds():
    data = smf_header(2) + chunk(FIRST + END + sound(64, 480)) + chunk(SECOND)
    assert pitches_and_faults(data) == ([60, 60, 60, 64, 62, 62, 62], [])


def test_bytes_after_the_last_track_are_ignored_and_those_between_tracks_named():
    for junk in (b"\0", b"junk", b"junk and more junk", chunk(b"").replace(b"MTrk", b"XFIH")):
        assert pitches_and_faults(smf(FIRST, SECOND) + junk) == (WHOLE, [])
    data = smf_header(2) + chunk(FIRST) + b"\0\0\0" + chunk(SECOND)
    place = len(smf_header(2) + chunk(FIRST))
    assert pitches_and_faults(data) == (WHOLE, [f"b'\\x00\\x00\\x00M' at byte {place} where a track should begin"])


def test_tracks_beyond_the_number_in_the_header_are_read():
    said = ["the header says 1 tracks, the file holds 2"]
    assert pitches_and_faults(smf(FIRST, SECOND, declared=1)) == (WHOLE, said)


def test_a_header_of_a_wrong_size_costs_no_track():
    for size in (4, 10, 2**20):
        data = smf(FIRST, SECOND)
        pitches, mended = pitches_and_faults(data[:4] + size.to_bytes(4, "big") + data[8:])
        assert pitches == WHOLE
        assert len(mended) == 1


def test_a_riff_file_is_read_with_what_surrounds_the_song():
    data = smf(FIRST, SECOND)
    riff = b"RIFF" + (len(data) + 12).to_bytes(4, "little") + b"RMIDdata" + len(data).to_bytes(4, "little") + data
    assert pitches_and_faults(riff + b"LIST\4\0\0\0INFO") == (WHOLE, ["20 bytes before the header"])


def test_of_independent_songs_the_first_with_notes_is_read():
    said = ["3 independent songs (a type 2 file), the first is read"]
    assert pitches_and_faults(smf(meta(1, b"la"), FIRST, SECOND, kind=2)) == ([60] * 3, said)
    assert pitches_and_faults(smf(FIRST, kind=2)) == ([60] * 3, [])


# ---- Events ----


def test_running_status_does_not_pass_from_one_track_to_the_next():
    with pytest.raises(MidiError, match="track 1, byte .*: data where an event should begin"):
        parse_midi(smf(FIRST, b"\x00\x3c\x40"))


@pytest.mark.parametrize("kind", [0x01, 0x02, 0x0A, 0x10, 0x4B, 0x60, 0x7F])
def test_meta_events_of_any_type_keep_their_time(kind):
    midi, mended = parse_midi(smf(meta(kind, b"\0\0\0", 480) + sound(60, 480)))
    assert (notes_of(midi), mended) == ([(60, 0.5, 1.0)], [])


@pytest.mark.parametrize("before", [0, 24, 96, 480])  # ticks
def test_a_negative_delta_time_is_read_as_0_and_what_follows_keeps_its_place(before):
    negative = b"\x8f\xff\xff\xff\x20"  # 2**32 - 96
    midi, mended = parse_midi(smf(meta(1, b"here", before) + negative + sound(72, 48)[1:] + sound(60, 480, 48)))
    assert [(pitch, round(960 * start)) for pitch, start, _ in notes_of(midi)] == [(72, before), (60, before)]
    assert mended == ["track 0: a negative delta time, read as 0"]


def test_what_an_event_swallows_that_reaches_past_its_track_is_named():
    notes = 4 * sound(60, 480)
    swallowed = b"\x00\xf0\xff\x7f" + notes  # a system message that says 16,383 bytes
    song, mended = parse_midi(smf(notes + swallowed))
    assert len(notes_of(song)) == 4
    assert mended == ["track 0: an event reaches past its end, read up to there"]
