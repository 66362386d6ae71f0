"""Walks the events of a MIDI track, and reads regular MIDI files several times as fast as mido does.

`walk_track` decodes the events for both `read_events`, below, and midi_repair.py. `read_events` gives pretty_midi the
messages that mido would read. It leaves a file that is irregular in any way to mido and midi_repair.py.
"""

import struct
from collections.abc import Iterator
from types import SimpleNamespace
from typing import NamedTuple

from mido import KeySignatureError, MidiFile
from mido.midifiles.meta import build_meta_message

SYSEX, ESCAPE, META = 0xF0, 0xF7, 0xFF  # status bytes of events that state their length
END_OF_TRACK = 0x2F  # type of a meta event
SYSTEM_DATA_BYTES = {0xF1: 1, 0xF2: 2, 0xF3: 1}  # of the other system messages; those not listed have none
MAX_NUMBER_BYTES = 4  # of a variable-length quantity
KNOWN_META = {*range(8), 0x09, 0x20, 0x21, END_OF_TRACK, 0x51, 0x54, 0x58, 0x59, 0x7F}  # types that are read here


class MidiError(ValueError):
    """A MIDI file that cannot be read. `load_midi` adds the name of the file to the message."""


class Limits(NamedTuple):
    """The most that a MIDI file may hold; a file that holds more is refused with the name of the limit."""

    bytes: int = 20_000_000
    events: int = 2_000_000  # of all tracks
    tracks: int = 1024
    ticks_per_second: float = 1e9  # at the fastest tempo
    seconds: float = 60.0  # of reading the file and cutting its windows; enforced by load_songs, not by load_midi


# ---- Events ----


def walk_track(data: bytes, start: int, end: int) -> Iterator[tuple[int, int, int, bytes]]:
    """Decodes the events of a file's track data[start:end], one after the other.

    Yields:
        delta: ticks since the event before.
        position: byte of the file at which the event starts, after its delta. The byte there is the status byte, or
            below 128 under running status.
        status: the status byte, 128 to 255; under running status that of the last channel message.
        content: the data bytes as they are; for a meta event its type, then its data. Lengths are left out.

    Raises:
        IndexError: the track ends inside an event.
        MidiError: a number is too long, or a data byte stands where no running status holds.
    """
    track, position, running = data[start:end], 0, 0
    while position < len(track):
        delta, first = track[position], position + 1
        if delta > 127:  # short numbers are decoded here, because a call costs time
            delta, first = _number(track, position, start)
        status = track[first]
        if status < SYSEX:
            running, first_data = (status, first + 1) if status > 127 else (running, first)
            if not running:
                raise MidiError(f"byte {start + first}: data where an event should begin")
            position = first_data + (1 if 0xC0 <= running < 0xE0 else 2)
            if position > len(track):
                raise IndexError
            yield delta, start + first, running, track[first_data:position]
        elif status == META and track[first + 1] == END_OF_TRACK:
            yield delta, start + first, META, bytes([END_OF_TRACK])  # before its length, which a cut file may lack
            _, position = _sized_data(track, first + 2, start)
        elif status == META:
            content, position = _sized_data(track, first + 2, start)
            yield delta, start + first, META, track[first + 1 : first + 2] + content
        else:
            content, position = _system_data(track, first, start)
            yield delta, start + first, status, content


def _number(track: bytes, position: int, start: int) -> tuple[int, int]:
    """A variable-length quantity and the position after it; start: the track's position in the file."""
    value, last = 0, position + MAX_NUMBER_BYTES
    while (byte := track[position]) > 127:
        value = value << 7 | byte & 127
        position += 1
        if position == last:
            raise MidiError(f"byte {start + position}: a number of more than four bytes")
    return value << 7 | byte, position + 1


def _system_data(track: bytes, position: int, start: int) -> tuple[bytes, int]:
    """The data of the system message at `position`, and the position after it."""
    status = track[position]
    if status in (SYSEX, ESCAPE):
        return _sized_data(track, position + 1, start)
    return _data(track, position + 1, SYSTEM_DATA_BYTES.get(status, 0))


def _data(track: bytes, position: int, size: int) -> tuple[bytes, int]:
    """`size` bytes of a track, and the position after them."""
    if position + size > len(track):
        raise IndexError
    return track[position : position + size], position + size


def _sized_data(track: bytes, position: int, start: int) -> tuple[bytes, int]:
    """The bytes whose number is written at `position`, and the position after them."""
    size, first = _number(track, position, start)
    return _data(track, first, size)


# ---- Regular files ----


def read_events(data: bytes) -> MidiFile | None:
    """A file's tracks of messages with the fields that pretty_midi reads; None if anything is irregular."""
    try:
        name, size, _, tracks, division = struct.unpack_from(">4sLHHH", data)
        if name != b"MThd" or size < 6 or not 0 < division < 0x8000:
            return None
        return MidiFile(ticks_per_beat=division, tracks=_tracks(data, 8 + size, tracks))
    except (ValueError, LookupError, KeySignatureError, struct.error):
        return None


def _tracks(data: bytes, position: int, count: int) -> list[list]:
    tracks = []
    for _ in range(count):
        name, size = struct.unpack_from(">4sL", data, position)
        if name != b"MTrk" or position + 8 + size > len(data):
            raise ValueError
        tracks.append(_messages(data, position + 8, position + 8 + size))
        position += 8 + size
    return tracks


def _messages(data: bytes, start: int, end: int) -> list:
    messages, after_sysex = [], False
    for delta, position, status, content in walk_track(data, start, end):
        if status < SYSEX:
            if not content.isascii() or (after_sysex and data[position] < 128):  # a sysex ends the running status
                raise ValueError
            after_sysex = False
            messages.append(MESSAGES[status >> 4](delta, status & 15, *content))
        elif status == META:
            messages.append(_meta_message(delta, content[0], content[1:]))
        else:
            after_sysex = True
            messages.append(_sysex_message(delta, status, content))
    return messages


def _meta_message(delta: int, kind: int, content: bytes) -> object:
    """A text, tempo, time signature and so on."""
    if kind not in KNOWN_META:
        raise ValueError
    return build_meta_message(kind, content, delta)


def _sysex_message(delta: int, status: int, content: bytes) -> SimpleNamespace:
    if status not in (SYSEX, ESCAPE) or not content.removeprefix(b"\xf0").removesuffix(b"\xf7").isascii():
        raise ValueError
    return SimpleNamespace(type="sysex", time=delta)


def _note_off(time: int, channel: int, note: int, velocity: int) -> SimpleNamespace:
    return SimpleNamespace(type="note_off", time=time, channel=channel, note=note, velocity=velocity)


def _note_on(time: int, channel: int, note: int, velocity: int) -> SimpleNamespace:
    return SimpleNamespace(type="note_on", time=time, channel=channel, note=note, velocity=velocity)


def _control(time: int, channel: int, control: int, value: int) -> SimpleNamespace:
    return SimpleNamespace(type="control_change", time=time, channel=channel, control=control, value=value)


def _program(time: int, channel: int, program: int) -> SimpleNamespace:
    return SimpleNamespace(type="program_change", time=time, channel=channel, program=program)


def _pitch_wheel(time: int, channel: int, low: int, high: int) -> SimpleNamespace:
    return SimpleNamespace(type="pitchwheel", time=time, channel=channel, pitch=(high << 7 | low) - 8192)


def _pressure(time: int, channel: int, *values: int) -> SimpleNamespace:
    return SimpleNamespace(type="polytouch" if len(values) == 2 else "aftertouch", time=time)


MESSAGES = {  # what makes a channel message, by the upper half of its status byte
    0x8: _note_off,
    0x9: _note_on,
    0xA: _pressure,
    0xB: _control,
    0xC: _program,
    0xD: _pressure,
    0xE: _pitch_wheel,
}
