"""Decodes the events of a MIDI track, and holds what all parts of the reader share: the error and the limits."""

from collections.abc import Iterator
from typing import NamedTuple

SYSEX, ESCAPE, META = 0xF0, 0xF7, 0xFF  # status bytes of events that state their length
END_OF_TRACK = 0x2F  # type of a meta event
SYSTEM_DATA_BYTES = {0xF1: 1, 0xF2: 2, 0xF3: 1}  # of the other system messages; those not listed have none
MAX_NUMBER_BYTES = 5  # of a variable-length number; the standard has four, and some programs write 32 bits


class MidiError(ValueError):
    """A MIDI file that cannot be read. `load_midi` adds the name of the file to the message."""


class LimitError(MidiError):
    """A MIDI file that holds more than a limit allows; with other limits it may be read."""


class Limits(NamedTuple):
    """The most that a MIDI file may hold; a file that holds more is refused with the name of the limit."""

    bytes: int = 20_000_000
    events: int = 2_000_000  # of all tracks
    tracks: int = 1024
    ticks_per_second: float = 1e9  # at the fastest tempo
    seconds: float = 60.0  # of reading the file and cutting its windows; enforced by load_songs, not by load_midi

    def check(self, name: str, found: float) -> None:
        """Raises LimitError if a file has more than the limit of this name allows."""
        if found > getattr(self, name):
            raise LimitError(self.exceeded(name))

    def exceeded(self, name: str) -> str:
        """Says that a file has more than the limit of this name allows, and how to raise it."""
        limit = f"{getattr(self, name):,.15g} {name.replace('_', ' ')}"
        return f"more than {limit} (limits=Limits({name}=...) raises this limit)"


DEFAULT_LIMITS = Limits()


def walk_track(data: bytes, start: int, end: int) -> Iterator[tuple[int, int, int, bytes]]:
    """Decodes the events of a file's track data[start:end], one after the other.

    Yields:
        delta: ticks since the event before; negative if the file holds a negative number of 32 bits.
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
            delta -= delta >> 31 << 32
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
            size, first_data = track[first + 2], first + 3
            if size > 127:
                size, first_data = _number(track, first + 2, start)
            position = first_data + size
            if position > len(track):
                raise IndexError
            yield delta, start + first, META, track[first + 1 : first + 2] + track[first_data:position]
        else:
            content, position = _system_data(track, first, start)
            yield delta, start + first, status, content


def _number(track: bytes, position: int, start: int) -> tuple[int, int]:
    """A variable-length number of 32 bits and the position after it; start: the track's position in the file."""
    value, last = 0, position + MAX_NUMBER_BYTES
    while (byte := track[position]) > 127:
        value = value << 7 | byte & 127
        position += 1
        if position == last:
            raise MidiError(f"byte {start + position}: a number of more than five bytes")
    value = value << 7 | byte
    if value >> 32:
        raise MidiError(f"byte {start + position}: a number of more than 32 bits")
    return value, position + 1


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
