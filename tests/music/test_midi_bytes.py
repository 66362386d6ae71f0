"""The walker of a track's events, and the fast reader beside mido's own."""

import io
import random
import struct
from pathlib import Path

import mido
import pytest
from mido import Message, MetaMessage

from helpers import SHARED
from music.midi_bytes import META, MidiError, read_events, walk_track

BUILT_IN = sorted((Path(__file__).parents[2] / "midi_songs/built_in").glob("*.mid"))[::12]
DAMAGED = sorted((Path(__file__).parents[1] / "fixtures/malformed").iterdir())
CORPUS = sorted((SHARED / "data").rglob("*.mid"))[::40]
FIELDS = ("type", "time", "channel", "note", "velocity", "control", "value", "program", "pitch")
META_FIELDS = ("tempo", "numerator", "denominator", "key", "name", "text")


def fields_of(midi: mido.MidiFile) -> tuple:
    """All that pretty_midi reads of a file."""
    read = [[[getattr(event, name, None) for name in FIELDS + META_FIELDS] for event in track] for track in midi.tracks]
    for event in (event for track in read for event in track):
        if event[0] in ("polytouch", "aftertouch"):
            del event[2:]
    return midi.ticks_per_beat, read


def mido_reads(data: bytes) -> mido.MidiFile | None:
    try:
        return mido.MidiFile(file=io.BytesIO(data))
    except Exception:  # a damaged file can lead mido into any
        return None


def every_kind() -> bytes:
    """A file of every message that a song can have, some under running status."""
    messages = [
        MetaMessage("sequence_number", number=3),
        MetaMessage("track_name", name="Lied ohne W\xf6rter", time=3),
        MetaMessage("set_tempo", tempo=123_456, time=200),
        MetaMessage("time_signature", numerator=7, denominator=8),
        MetaMessage("key_signature", key="Ebm"),
        MetaMessage("smpte_offset", hours=1, minutes=59, frames=3),
        MetaMessage("midi_port", port=1),
        MetaMessage("sequencer_specific", data=(1, 200)),
        Message("sysex", data=(1, 2, 127), time=40_000),
        Message("program_change", channel=15, program=127),
        Message("control_change", control=64, value=127, time=5),
        Message("control_change", control=64, value=0, time=3_000_000),
        MetaMessage("lyrics", text="la"),
        Message("note_on", note=60, velocity=127, time=16_383),
        Message("note_on", note=60, velocity=0, time=16_384),
        Message("note_off", note=60, velocity=9),
        Message("polytouch", note=1, value=2, time=1),
        Message("aftertouch", value=99, time=1),
        Message("pitchwheel", pitch=-8192, time=1),
        Message("pitchwheel", pitch=8191, time=1),
    ]
    file = io.BytesIO()
    mido.MidiFile(ticks_per_beat=0x7FFF, tracks=[mido.MidiTrack(messages), mido.MidiTrack()]).save(file=file)
    return file.getvalue()


# ---- The walker ----


def walk(*events: bytes, before: bytes = b"") -> list[tuple[int, int, int, bytes]]:
    """What the walker yields for a track of these events, with other bytes of the file before and after it."""
    track = b"".join(events)
    return list(walk_track(before + track + b"more", len(before), len(before) + len(track)))


NOTE_ON, UNDER_RUNNING_STATUS = b"\x00\x91\x3c\x40", b"\x60\x3c\x00"
SYSEX = b"\x00\xf0\x02\x7e\xf7"
TEXT, END = b"\x81\x00\xff\x01\x02la", b"\x00\xff\x2f\x00"


def test_events_have_ticks_position_status_and_content():
    assert walk(NOTE_ON, UNDER_RUNNING_STATUS, b"\x00\xc2\x05", TEXT, END, before=b"12345") == [
        (0, 6, 0x91, b"\x3c\x40"),
        (0x60, 10, 0x91, b"\x3c\x00"),
        (0, 13, 0xC2, b"\x05"),
        (128, 17, META, b"\x01la"),
        (0, 23, META, b"\x2f"),
    ]


@pytest.mark.parametrize("between", [TEXT, SYSEX, b"\x00\xf8", b"\x00\xf2\x01\x02"])
def test_running_status_holds_across_other_events(between):
    assert walk(NOTE_ON, between, UNDER_RUNNING_STATUS)[-1][2:] == (0x91, b"\x3c\x00")


def test_an_event_that_is_cut_off_raises_after_the_events_before():
    for cut in range(1, len(NOTE_ON)):
        events = walk_track(NOTE_ON + NOTE_ON[:cut], 0, len(NOTE_ON) + cut)
        assert next(events)[2] == 0x91
        with pytest.raises(IndexError):
            next(events)


def test_an_end_of_track_is_found_without_its_length():
    events = walk_track(END, 0, 3)
    assert next(events) == (0, 1, META, b"\x2f")
    with pytest.raises(IndexError):
        next(events)


def test_data_without_a_status_and_long_numbers_are_refused_with_their_position():
    with pytest.raises(MidiError, match="byte 6: data where an event should begin"):
        walk(UNDER_RUNNING_STATUS, before=b"12345")
    with pytest.raises(MidiError, match="byte 9: a number of more than four bytes"):
        walk(b"\xff\xff\xff\xff\x00\x91\x3c\x40", before=b"12345")


# ---- The fast reader ----

SOURCES = [every_kind(), *(path.read_bytes() for path in BUILT_IN[:2] + DAMAGED[:8])]


def test_every_kind_of_message_is_read_as_mido_reads_it():
    assert fields_of(read_events(SOURCES[0])) == fields_of(mido_reads(SOURCES[0]))


@pytest.mark.parametrize("path", BUILT_IN + CORPUS, ids=lambda path: path.name)
def test_songs_are_read_as_mido_reads_them(path):
    data = path.read_bytes()
    assert fields_of(read_events(data)) == fields_of(mido_reads(data))


@pytest.mark.parametrize("path", DAMAGED, ids=lambda path: path.name)
def test_irregular_files_are_read_as_mido_reads_them_or_left_to_it(path):
    ours = read_events(path.read_bytes())
    if ours:
        assert fields_of(ours) == fields_of(mido_reads(path.read_bytes()))


def test_a_file_that_is_cut_off_is_left_to_mido():
    """The cut is inside the last event, which ends where its track ends."""
    event = b"\x00\xff\x01\x14" + 20 * b"a"
    data = b"MThd" + struct.pack(">LHHH", 6, 0, 1, 96) + b"MTrk" + struct.pack(">L", len(event)) + event
    assert read_events(data)
    assert read_events(data[:-1]) is None


@pytest.mark.parametrize("seed", range(200))
def test_damaged_files_are_read_as_mido_reads_them_or_left_to_it(seed):
    """A few bytes are changed, removed or added, most often in a header or among the first events."""
    rng = random.Random(seed)
    data = bytearray(rng.choice(SOURCES))
    for _ in range(rng.randint(1, 3)):
        place = rng.randrange(min(len(data), rng.choice((30, 200, len(data)))))
        removed, added = rng.choice(((1, 1), (1, 1), (1, 1), (1, 0), (0, 1)))
        data[place : place + removed] = rng.randbytes(added)
    ours = read_events(bytes(data))
    if ours:
        assert fields_of(ours) == fields_of(mido_reads(bytes(data)))
