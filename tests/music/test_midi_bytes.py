"""The fast reader of events against mido's own."""

import io
import random
import struct
from pathlib import Path

import mido
import pytest
from mido import Message, MetaMessage

from helpers import SHARED
from music.midi_bytes import read_events

BUILT_IN = sorted((Path(__file__).parents[2] / "midi_songs/built_in").glob("*.mid"))[::12]
DAMAGED = sorted((Path(__file__).parents[1] / "fixtures/malformed").iterdir())
CORPUS = sorted((SHARED / "data").rglob("*.mid"))[::40]
FIELDS = ("type", "time", "channel", "note", "velocity", "control", "value", "program", "pitch")
META_FIELDS = ("tempo", "numerator", "denominator", "key", "name", "text")


def of(midi: mido.MidiFile) -> tuple:
    """All that pretty_midi looks at."""
    read = [[[getattr(event, name, None) for name in FIELDS + META_FIELDS] for event in track] for track in midi.tracks]
    for event in (event for track in read for event in track):
        if event[0] in ("polytouch", "aftertouch"):
            del event[2:]
    return midi.ticks_per_beat, read


def mido_reads(data: bytes) -> mido.MidiFile | None:
    try:
        return mido.MidiFile(file=io.BytesIO(data))
    except Exception:  # whatever a damaged file leads it into
        return None


def every_kind() -> bytes:
    """A file of every message that a song may hold, some with running status."""
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


SOURCES = [every_kind(), *(path.read_bytes() for path in BUILT_IN[:2] + DAMAGED[:8])]


def test_every_kind_of_message():
    assert of(read_events(SOURCES[0])) == of(mido_reads(SOURCES[0]))


@pytest.mark.parametrize("path", BUILT_IN + CORPUS, ids=lambda path: path.name)
def test_songs_are_read(path):
    data = path.read_bytes()
    assert of(read_events(data)) == of(mido_reads(data))


@pytest.mark.parametrize("path", DAMAGED, ids=lambda path: path.name)
def test_irregular_files_are_read_as_mido_does_or_left(path):
    ours = read_events(path.read_bytes())
    if ours:
        assert of(ours) == of(mido_reads(path.read_bytes()))


def test_a_file_that_is_cut_off_is_left():
    """Inside its last event, whose length ends where its track's does."""
    event = b"\x00\xff\x01\x14" + 20 * b"a"
    data = b"MThd" + struct.pack(">LHHH", 6, 0, 1, 96) + b"MTrk" + struct.pack(">L", len(event)) + event
    assert read_events(data)
    assert read_events(data[:-1]) is None


@pytest.mark.parametrize("seed", range(200))
def test_of_a_damaged_file_events_are_mido_s_or_none(seed):
    """A few bytes changed, left out or put in, more often in a header or among the first events."""
    rng = random.Random(seed)
    data = bytearray(rng.choice(SOURCES))
    for _ in range(rng.randint(1, 3)):
        place = rng.randrange(min(len(data), rng.choice((30, 200, len(data)))))
        removed, added = rng.choice(((1, 1), (1, 1), (1, 1), (1, 0), (0, 1)))
        data[place : place + removed] = rng.randbytes(added)
    ours = read_events(bytes(data))
    if ours:
        assert of(ours) == of(mido_reads(bytes(data)))
