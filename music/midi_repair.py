"""Repairs the bytes of a MIDI file that other readers play but that pretty_midi refuses.

`repair` goes once through the chunks and events of a Standard MIDI File. It writes anew what can be kept, and names
what it leaves out. It refuses a file that is cut off inside a track, so that no half of a song is read.
"""

import struct
from typing import NamedTuple

import numpy as np

from music.midi_bytes import END_OF_TRACK, META, SYSEX, MidiError, walk_track

MAX_TICK = 9_999_998  # pretty_midi takes files of up to ten million ticks
LONG_REST_QUARTERS = 256  # in a file with more ticks, silences are shortened to about this many quarter notes
FALLBACK_TICKS_PER_QUARTER = 480  # for a file that says zero
TEXTS = range(0x01, 0x08)  # types of meta events: text, copyright, names, lyrics, markers
SET_TEMPO, TIME_SIGNATURE, KEY_SIGNATURE = 0x51, 0x58, 0x59  # types of meta events
META_NAMES = {SET_TEMPO: "tempo", TIME_SIGNATURE: "time signature", KEY_SIGNATURE: "key signature"}
UNDEFINED = (0xF4, 0xF5, 0xF9, 0xFD)  # status bytes that the standard gives no meaning
FAULTS_SHOWN = 5  # different faults that are named
HEADER_SEARCH_BYTES = 4096  # at the start of a file, in which its header may begin


class _Event(NamedTuple):
    tick: int
    data: bytes  # status byte and data; for a meta event type and length as well


def repair(data: bytes) -> tuple[bytes, list[str]]:
    """Rewrites a MIDI file with everything in it that can be kept.

    Returns:
        The bytes of the new file, and what was mended, at most FAULTS_SHOWN entries and a count of the rest.

    Raises:
        MidiError: no MIDI file, or one that is cut off or too long; the message names the fault, not the file.
    """
    mended: list[str] = []
    declared, division, position = _read_header(data, mended)
    tracks = _mend_tracks(data, position, mended)
    if not tracks and len(data) != position:
        raise MidiError("it holds no track")
    if declared != len(tracks):
        mended.append(f"the header says {declared} tracks, the file holds {len(tracks)}")
    division, tempo = _mend_division(division, mended)
    if tempo and tracks:
        tracks = _with_tempo(tracks, tempo)
    tracks = _shorten_rests(tracks, division, mended)
    if not tracks:
        mended.append("no track")
    return _file_of(tracks or [[]], division), _few(mended) or ["events that break the standard's rules"]


def _read_header(data: bytes, mended: list[str]) -> tuple[int, int, int]:
    """The number of tracks, the division, and the position after the header."""
    start = data.find(b"MThd", 0, HEADER_SEARCH_BYTES)
    if start < 0:
        raise MidiError(f"not a MIDI file: it begins with {data[:16]!r}, not with MThd")
    if start:
        mended.append(f"{start} bytes before the header")
    if len(data) < start + 14:
        raise MidiError("cut off inside its header")
    size, _, declared, division = struct.unpack_from(">LHHH", data, start + 4)
    return declared, division, start + 8 + size


def _few(entries: list[str]) -> list[str]:
    """The first of the different entries, and a count of the rest."""
    different = list(dict.fromkeys(entries))
    more = [f"and {len(different) - FAULTS_SHOWN} more faults"] if len(different) > FAULTS_SHOWN else []
    return different[:FAULTS_SHOWN] + more


def _mend_division(division: int, mended: list[str]) -> tuple[int, int | None]:
    """Ticks per quarter, and for a file in film frames also microseconds per quarter."""
    if division == 0:
        mended.append(f"zero ticks per quarter, read as {FALLBACK_TICKS_PER_QUARTER}")
        return FALLBACK_TICKS_PER_QUARTER, None
    if division < 0x8000:
        return division, None
    frames, ticks_per_frame = 256 - (division >> 8), division & 0xFF or 1
    ticks_per_second = (30 / 1.001 if frames == 29 else frames) * ticks_per_frame
    ticks_per_quarter = max(1, round(ticks_per_second / 2))  # at 120 quarters per minute, two per second
    mended.append(f"time in film frames ({frames} per second), read as 120 quarters per minute")
    return ticks_per_quarter, round(1e6 * ticks_per_quarter / ticks_per_second)


def _with_tempo(tracks: list[list[_Event]], tempo: int) -> list[list[_Event]]:
    """The tracks with this tempo, in microseconds per quarter, as the only one."""
    first, *others = [[event for event in track if event.data[:2] != bytes((META, SET_TEMPO))] for track in tracks]
    return [[_Event(0, bytes((META, SET_TEMPO, 3)) + tempo.to_bytes(3, "big")), *first], *others]


# ---- Tracks ----


def _mend_tracks(data: bytes, position: int, mended: list[str]) -> list[list[_Event]]:
    """The events of every MTrk chunk, without other chunks."""
    tracks = []
    while position + 8 <= len(data):
        name, size = struct.unpack_from(">4sL", data, position)
        end = position + 8 + size
        if name == b"MTrk":
            events, end = _mend_track(data, position + 8, end, len(tracks), mended)
            tracks.append(events)
        elif name.isalnum() and end <= len(data):
            mended.append(f"a chunk {name!r} that is no track")
        else:  # no chunk at all: continue at the next track
            mended.append(f"{name!r} at byte {position} where a track should begin")
            end = data.find(b"MTrk", position + 1)
            end = len(data) if end < 0 else end
        position = end
    return tracks


def _mend_track(data: bytes, start: int, end: int, track: int, mended: list[str]) -> tuple[list[_Event], int]:
    """The events of the track data[start:end] up to its end-of-track event, and the position after the track."""
    events, tick = [], 0
    try:
        for delta, position, status, content in walk_track(data, start, min(end, len(data))):
            tick += delta
            if status == META and content[0] == END_OF_TRACK:
                if end > len(data):
                    mended.append(f"track {track}: shorter than its header says, but complete")
                    end = position + 2
                return events, end
            if event := _mended_event(status, content, track, mended):
                events.append(_Event(tick, event))
    except IndexError:  # the track ends inside an event, which is left out
        pass
    except MidiError as error:
        raise MidiError(f"track {track}, {error}") from None
    if end > len(data):
        raise MidiError(f"cut off: track {track} ends before its end-of-track event")
    return events, end


def _mended_event(status: int, content: bytes, track: int, mended: list[str]) -> bytes | None:
    """The bytes of an event that pretty_midi takes, or None for an event that is left out."""
    if status == META:
        return _mended_meta(content[0], content[1:], track, mended)
    if status < SYSEX:
        if max(content) > 127:
            mended.append(f"track {track}: a data byte of {max(content)}, read as 127")
        return bytes([status, *(min(value, 127) for value in content)])
    if status in UNDEFINED:
        mended.append(f"track {track}: an undefined event {status:#x}, left out")
    return None


def _mended_meta(kind: int, value: bytes, track: int, mended: list[str]) -> bytes | None:
    """The bytes of a text, tempo, time signature or key signature that pretty_midi takes, or None."""
    if kind == TIME_SIGNATURE and 2 <= len(value) < 4 and value[0]:
        mended.append(f"track {track}: a time signature of {len(value)} bytes, completed")
        value += b"\x18\x08"[len(value) - 2 :]
    good = {
        SET_TEMPO: len(value) == 3 and any(value),
        TIME_SIGNATURE: len(value) == 4 and value[0] > 0,
        KEY_SIGNATURE: len(value) == 2 and (value[0] + 7) % 256 <= 14 and value[1] <= 1,
    }.get(kind, kind in TEXTS)
    if kind in META_NAMES and not good:
        mended.append(f"track {track}: a {META_NAMES[kind]} of bytes {value.hex(' ')}, left out")
    return bytes((META, kind)) + _variable_length(len(value)) + value if good else None


def _shorten_rests(tracks: list[list[_Event]], division: int, mended: list[str]) -> list[list[_Event]]:
    """Takes whole bars of 4/4 out of long silences if the song has more ticks than pretty_midi takes."""
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


# ---- Writing ----


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
        body += bytes((0, META, END_OF_TRACK, 0))
        chunks.append(struct.pack(">4sL", b"MTrk", len(body)) + body)
    return b"".join(chunks)
