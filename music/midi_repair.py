"""Mends the bytes of a MIDI file that plays elsewhere but that pretty_midi refuses.

One tolerant pass over the chunks and events of the Standard MIDI File format: what can be kept is written anew, what
cannot is left out and named. A file that is cut off in the middle of a track is refused, not half read.
"""

import struct
from typing import NamedTuple

import numpy as np

MAX_TICK = 9_999_998  # pretty_midi takes files of up to ten million ticks
LONG_REST_QUARTERS = 256  # a silence longer than this is shortened when a file is mended
FALLBACK_TICKS_PER_QUARTER = 480  # where a file says zero
TEXTS = range(0x01, 0x08)  # meta events: text, copyright, names, lyrics, markers
END_OF_TRACK, SET_TEMPO, TIME_SIGNATURE, KEY_SIGNATURE = 0x2F, 0x51, 0x58, 0x59  # meta events
META_NAMES = {SET_TEMPO: "tempo", TIME_SIGNATURE: "time signature", KEY_SIGNATURE: "key signature"}
SYSTEM_DATA_BYTES = {0xF1: 1, 0xF2: 2, 0xF3: 1}  # the other system messages have none
FAULTS_SHOWN = 5  # different faults that are named


class MidiError(ValueError):
    """A MIDI file that cannot be read; the message names the file and the fault."""


class _Event(NamedTuple):
    tick: int
    data: bytes  # status byte and data, of a meta event with type and length


def repair(data: bytes) -> tuple[bytes, list[str]]:
    """Rewrites a MIDI file with all that can be kept, and says what was mended; raises MidiError without the name."""
    mended: list[str] = []
    start = data.find(b"MThd", 0, 4096)
    if start < 0:
        raise MidiError(f"not a MIDI file: it begins with {data[:16]!r}, not with MThd")
    if start:
        mended.append(f"{start} bytes before the header")
    if len(data) < start + 14:
        raise MidiError("cut off inside its header")
    size, _, declared, division = struct.unpack_from(">LHHH", data, start + 4)
    tracks = _mend_tracks(data, start + 8 + size, mended)
    if not tracks and len(data) != start + 8 + size:
        raise MidiError("it holds no track")
    if declared != len(tracks):
        mended.append(f"the header says {declared} tracks, the file holds {len(tracks)}")
    division, tempo = _mend_division(division, mended)
    if tempo and tracks:
        tracks = [[event for event in track if event.data[:2] != bytes((0xFF, SET_TEMPO))] for track in tracks]
        tracks[0].insert(0, _Event(0, bytes((0xFF, SET_TEMPO, 3)) + tempo.to_bytes(3, "big")))
    tracks = _shorten_rests(tracks, division, mended)
    if not tracks:
        mended.append("no track")
    return _file_of(tracks or [[]], division), _few(mended) or ["events that break the standard's rules"]


def _few(entries: list[str]) -> list[str]:
    """The first of the different entries, and how many more there are."""
    different = list(dict.fromkeys(entries))
    more = [f"and {len(different) - FAULTS_SHOWN} more faults"] if len(different) > FAULTS_SHOWN else []
    return different[:FAULTS_SHOWN] + more


def _mend_division(division: int, mended: list[str]) -> tuple[int, int | None]:
    """Ticks a quarter, and microseconds a quarter where the file counts in film frames."""
    if division == 0:
        mended.append(f"zero ticks a quarter, read as {FALLBACK_TICKS_PER_QUARTER}")
        return FALLBACK_TICKS_PER_QUARTER, None
    if division < 0x8000:
        return division, None
    frames, ticks_per_frame = 256 - (division >> 8), division & 0xFF or 1
    ticks_per_second = (30 / 1.001 if frames == 29 else frames) * ticks_per_frame
    ticks_per_quarter = max(1, round(ticks_per_second / 2))  # at 120 quarters a minute, two a second
    mended.append(f"time in film frames ({frames} a second), read as 120 quarters a minute")
    return ticks_per_quarter, round(1e6 * ticks_per_quarter / ticks_per_second)


def _mend_tracks(data: bytes, position: int, mended: list[str]) -> list[list[_Event]]:
    """The events of every MTrk chunk; other chunks are passed over."""
    tracks = []
    while position + 8 <= len(data):
        name, size = struct.unpack_from(">4sL", data, position)
        end = position + 8 + size
        if name == b"MTrk":
            reader = _TrackReader(data, position + 8, min(end, len(data)), len(tracks), mended)
            tracks.append(reader.read(cut_off=end > len(data)))
            if end > len(data):
                mended.append(f"track {len(tracks) - 1}: shorter than its header says, but complete")
                end = reader.position
        elif name.isalnum() and end <= len(data):
            mended.append(f"a chunk {name!r} that is no track")
        else:  # no chunk at all: the next track that can be found
            mended.append(f"{name!r} at byte {position} where a track should begin")
            end = data.find(b"MTrk", position + 1)
            end = len(data) if end < 0 else end
        position = end
    return tracks


class _TrackReader:
    """Reads one track's events, keeping those of the channels and, of the others, texts, tempos, metres and keys."""

    def __init__(self, data: bytes, position: int, end: int, track: int, mended: list[str]):
        self.data, self.position, self.end, self.track, self.mended = data, position, end, track, mended

    def read(self, cut_off: bool) -> list[_Event]:
        """The events; cut_off says that the file ends before the chunk does."""
        events, tick, status = [], 0, None
        while self.position < self.end:
            try:
                tick += self._number()
                status, event = self._event(status)
            except IndexError:
                break
            if event == b"end":
                cut_off = False
                break
            if event:
                events.append(_Event(tick, event))
        if cut_off:
            raise MidiError(f"cut off: track {self.track} ends before its end-of-track event")
        return events

    def _byte(self) -> int:
        if self.position >= self.end:
            raise IndexError
        self.position += 1
        return self.data[self.position - 1]

    def _number(self) -> int:
        """A variable-length quantity of at most four bytes."""
        value = 0
        for _ in range(4):
            byte = self._byte()
            value = value << 7 | byte & 0x7F
            if byte < 0x80:
                return value
        raise MidiError(f"track {self.track}, byte {self.position}: a number of more than four bytes")

    def _event(self, status: int | None) -> tuple[int | None, bytes | None]:
        """The running status from here on, and the event, None where it is not kept."""
        byte = self._byte()
        if byte == 0xFF:
            return status, self._meta()
        if byte >= 0xF0:
            self._system(byte)
            return status, None
        if byte < 0x80:
            if status is None:
                raise MidiError(f"track {self.track}, byte {self.position - 1}: data where an event should begin")
            self.position -= 1
            byte = status
        values = [self._byte() for _ in range(1 if 0xC0 <= byte < 0xE0 else 2)]
        if max(values) > 127:
            self.mended.append(f"track {self.track}: a data byte of {max(values)}, read as 127")
        return byte, bytes([byte, *(min(value, 127) for value in values)])

    def _system(self, byte: int) -> None:
        if byte in (0xF0, 0xF7):
            self.position += self._number()
            return
        self.position += SYSTEM_DATA_BYTES.get(byte, 0)
        if byte in (0xF4, 0xF5, 0xF9, 0xFD):
            self.mended.append(f"track {self.track}: an undefined event {byte:#x}, left out")

    def _meta(self) -> bytes | None:
        kind = self._byte()
        if kind == END_OF_TRACK:
            return b"end"
        length = self._number()
        value = self.data[self.position : min(self.position + length, self.end)]
        self.position += length
        if self.position > self.end:
            raise IndexError
        return self._mended_meta(kind, value)

    def _mended_meta(self, kind: int, value: bytes) -> bytes | None:
        """A meta event that pretty_midi takes, or None."""
        if kind == TIME_SIGNATURE and 2 <= len(value) < 4 and value[0]:
            self.mended.append(f"track {self.track}: a time signature of {len(value)} bytes, completed")
            value += b"\x18\x08"[len(value) - 2 :]
        good = {
            SET_TEMPO: len(value) == 3 and any(value),
            TIME_SIGNATURE: len(value) == 4 and value[0] > 0,
            KEY_SIGNATURE: len(value) == 2 and (value[0] + 7) % 256 <= 14 and value[1] <= 1,
        }.get(kind, kind in TEXTS)
        if kind in META_NAMES and not good:
            self.mended.append(f"track {self.track}: a {META_NAMES[kind]} of bytes {value.hex(' ')}, left out")
        return bytes((0xFF, kind)) + _variable_length(len(value)) + value if good else None


def _shorten_rests(tracks: list[list[_Event]], division: int, mended: list[str]) -> list[list[_Event]]:
    """Takes whole bars of 4/4 out of long silences where the song has more ticks than pretty_midi takes."""
    ticks = np.unique([0, *(event.tick for track in tracks for event in track)])
    if ticks[-1] <= MAX_TICK:
        return tracks
    rests, bar = np.diff(ticks), 4 * division
    too_long = np.maximum(rests - LONG_REST_QUARTERS * division, 0) // bar * bar
    moved = ticks - np.append(0, too_long.cumsum())
    if moved[-1] > MAX_TICK:
        raise MidiError(f"it lasts {ticks[-1]} ticks, {ticks[-1] // division} quarter notes")
    mended.append(f"a silence of {rests.max() // division} quarter notes, shortened to about {LONG_REST_QUARTERS}")
    new = dict(zip(ticks.tolist(), moved.tolist(), strict=True))
    return [[_Event(new[event.tick], event.data) for event in track] for track in tracks]


def _variable_length(value: int) -> bytes:
    groups = [value & 0x7F]
    while value := value >> 7:
        groups.append(value & 0x7F | 0x80)
    return bytes(reversed(groups))


def _file_of(tracks: list[list[_Event]], division: int) -> bytes:
    """The bytes of a MIDI file of these tracks."""
    chunks = [struct.pack(">4sLHHH", b"MThd", 6, 1, len(tracks), division)]
    for track in tracks:
        ticks = [0, *(event.tick for event in track)]
        body = b"".join(_variable_length(b - a) + e.data for a, b, e in zip(ticks, ticks[1:], track, strict=False))
        body += bytes((0, 0xFF, END_OF_TRACK, 0))
        chunks.append(struct.pack(">4sL", b"MTrk", len(body)) + body)
    return b"".join(chunks)
