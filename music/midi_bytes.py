"""Reads the events of a MIDI file that keeps to the standard, several times as fast as mido does.

pretty_midi makes a song of them as it does of mido's. A file that is irregular in any way is left to mido, and to
midi_repair.py, which say what is wrong with it.
"""

import struct
from types import SimpleNamespace

from mido import KeySignatureError, MidiFile
from mido.midifiles.meta import build_meta_message

SYSEX, ESCAPE, META = 0xF0, 0xF7, 0xFF
KNOWN_META = {*range(8), 0x09, 0x20, 0x21, 0x2F, 0x51, 0x54, 0x58, 0x59, 0x7F}  # files with others are left to mido


def read_events(data: bytes) -> MidiFile | None:
    """A file's tracks of messages with the fields that pretty_midi looks at; None where anything is irregular."""
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
        tracks.append(_track(data, position + 8, position + 8 + size))
        position += 8 + size
    return tracks


def _track(data: bytes, position: int, end: int) -> list:
    events, status = [], 0
    while position < end:
        time, position = _number(data, position)
        byte = data[position]
        if byte in (META, SYSEX, ESCAPE):
            event, position = _long_event(data, position, time)
            status = status if byte == META else 0
        else:
            status, position = (byte, position + 1) if byte > 127 else (status, position)
            event, position = _short_event(data, position, time, status)
        events.append(event)
    if position != end:
        raise ValueError
    return events


def _number(data: bytes, position: int) -> tuple[int, int]:
    """A number of variable length, and where it ends."""
    value = 0
    while (byte := data[position]) > 127:
        value = value << 7 | byte & 127
        position += 1
    return value << 7 | byte, position + 1


def _long_event(data: bytes, position: int, time: int) -> tuple[object, int]:
    """A text, tempo and so on, or a system exclusive message, and where it ends."""
    meta = data[position] == META
    length, start = _number(data, position + 1 + meta)
    content = data[start : start + length]
    if meta and data[position + 1] in KNOWN_META:
        return build_meta_message(data[position + 1], content, time), start + length
    if meta or not content.removeprefix(b"\xf0").removesuffix(b"\xf7").isascii():
        raise ValueError
    return SimpleNamespace(type="sysex", time=time), start + length


def _short_event(data: bytes, position: int, time: int, status: int) -> tuple[SimpleNamespace, int]:
    """A message of a channel, and where it ends."""
    size, message = MESSAGES[status >> 4]
    values = data[position : position + size]
    if not values.isascii() or len(values) < size:
        raise ValueError
    return message(time, status & 15, *values), position + size


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


MESSAGES = {  # by the upper half of a status byte: how many values a message has, and what makes it
    0x8: (2, _note_off),
    0x9: (2, _note_on),
    0xA: (2, _pressure),
    0xB: (2, _control),
    0xC: (1, _program),
    0xD: (1, _pressure),
    0xE: (2, _pitch_wheel),
}
