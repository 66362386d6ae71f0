"""The tracks of a MIDI file, with everything in them that can be kept, whatever the file's faults.

`read_tracks` goes once through the chunks and events of a Standard MIDI File, and names what it mends or leaves out. It
refuses a file that is cut off inside a track, so that no half of a song is read.
"""

import re
import struct
from itertools import islice
from typing import NamedTuple

from music.midi_bytes import END_OF_TRACK, META, SYSEX, Limits, MidiError, walk_track

NOTE_ON, AFTERTOUCH, CONTROL, PROGRAM, PRESSURE, BEND = 0x90, 0xA0, 0xB0, 0xC0, 0xD0, 0xE0  # status bytes, channel 0
UNDEFINED = (0xF4, 0xF5, 0xF9, 0xFD)  # status bytes that the standard gives no meaning
TEXT, TRACK_NAME, LYRICS, PORT = 0x01, 0x03, 0x05, 0x21  # types of meta events
SET_TEMPO, TIME_SIGNATURE, KEY_SIGNATURE = 0x51, 0x58, 0x59
META_NAMES = {SET_TEMPO: "tempo", TIME_SIGNATURE: "time signature", KEY_SIGNATURE: "key signature"}
LAST_EVENT = bytes((META, END_OF_TRACK, 0))
INDEPENDENT_SONGS = 2  # type of a file whose tracks are songs of their own
CLIPPED = bytes(min(value, 127) for value in range(256))
FAULTS_SHOWN = 5  # different faults that are named
SHOWN_BYTES = 8  # of an event that is left out
HEADER_SEARCH_BYTES = 4096  # at the start of a file, in which its header may begin
EXPORT, SCORE = "export MIDI from your program", "export MIDI, for instance with MuseScore"
OTHER_FORMATS = {  # how a file of another format begins; what it is, and what to do
    b"RIFF....WAVE": ("audio (WAV)", EXPORT),
    b"ID3|\xff[\xf2\xf3\xfa\xfb]": ("audio (MP3)", EXPORT),
    b"fLaC": ("audio (FLAC)", EXPORT),
    b"OggS": ("audio (Ogg)", EXPORT),
    b"FORM....AIF": ("audio (AIFF)", EXPORT),
    b"....ftyp": ("audio or video (MP4)", EXPORT),
    b".{0,3}\\s*<.*<score-(partwise|timewise)": ("MusicXML", SCORE),
    b"PK\x03\x04": ("a ZIP archive, such as compressed MusicXML", SCORE),
}

Event = tuple[int, int, bytes]  # tick, status byte, data bytes; a meta event's type is the first of its data bytes


class Track(NamedTuple):
    """The events of a track that a song is made of, in the order of their ticks."""

    events: list[Event]  # notes, controls, programs, pitch bends and names
    settings: list[Event]  # tempos, time and key signatures, texts, lyrics, ports, and once more the programs
    end: int  # tick


class Tracks(NamedTuple):
    """The tracks of a file, at least one."""

    division: int  # ticks per quarter, or film frames, as the file has it
    tracks: list[Track]
    mended: list[str]  # different faults, in the order in which they were found


def read_tracks(data: bytes, limits: Limits) -> Tracks:
    """Reads the tracks of a MIDI file.

    Raises:
        MidiError: no MIDI file, or one that is cut off or beyond a limit; the message names the fault, not the file.
    """
    reader = _Reader(data, limits)
    kind, declared, division, position = reader.read_header()
    tracks = reader.read_chunks(position, declared)
    if not tracks and len(data) != position:
        raise MidiError("it holds no track")
    if declared != len(tracks):
        reader.note(f"the header says {declared} tracks, the file holds {len(tracks)}")
    if kind == INDEPENDENT_SONGS and len(tracks) > 1:
        reader.note(f"{len(tracks)} independent songs (a type 2 file), the first is read")
        tracks = [next((track for track in tracks if _has_notes(track)), tracks[0])]
    if not tracks:
        reader.note("no track")
    return Tracks(division, tracks or [Track([], [], 0)], list(reader.mended))


def check_format(data: bytes) -> None:
    """Raises MidiError for the bytes of a file of OTHER_FORMATS that holds no MIDI header."""
    start = data[:HEADER_SEARCH_BYTES]
    for pattern, (kind, remedy) in OTHER_FORMATS.items():
        if re.match(pattern, start, re.S) and b"MThd" not in start:
            raise MidiError(f"not a MIDI file: it is {kind}; {remedy}")


def few(mended: list[str]) -> list[str]:
    """The first of several faults, and a count of the rest."""
    more = [f"and {len(mended) - FAULTS_SHOWN} more faults"] if len(mended) > FAULTS_SHOWN else []
    return mended[:FAULTS_SHOWN] + more


def _has_notes(track: Track) -> bool:
    return any(status & 0xF0 == NOTE_ON for _, status, _ in track.events)


# ---- Chunks ----


class _Reader:
    """Reads the chunks of a file one after the other; counts their events and notes what it mends."""

    def __init__(self, data: bytes, limits: Limits):
        self.data, self.limits = data, limits
        self.mended: dict[str, None] = {}
        self.tracks: list[Track] = []
        self.events = 0  # of all tracks so far
        self.walked = 0  # events of the present track

    def note(self, fault: str) -> None:
        self.mended[fault] = None

    def read_header(self) -> tuple[int, int, int, int]:
        """The file's type, its number of tracks, its division, and the position after its header."""
        start = self.data.find(b"MThd", 0, HEADER_SEARCH_BYTES)
        if start < 0:
            check_format(self.data)
            raise MidiError(f"not a MIDI file: it begins with {self.data[:16]!r}, not with MThd")
        if start:
            self.note(f"{start} bytes before the header")
        if len(self.data) < start + 14:
            raise MidiError("cut off inside its header")
        size, kind, declared, division = struct.unpack_from(">LHHH", self.data, start + 4)
        end, first_track = start + 8 + size, self.next_track(start + 14)
        if first_track < end:
            self.note(f"a header of {size} bytes, which is shorter")
        no_track = first_track == len(self.data)
        return kind, declared, division, end if no_track else min(end, first_track)

    def read_chunks(self, position: int, declared: int) -> list[Track]:
        """The tracks of all MTrk chunks. What follows the last one is ignored if the file has as many as declared."""
        last = self.data.rfind(b"MTrk")
        while position + 8 <= len(self.data) and (position <= last or len(self.tracks) < declared):
            name, size = struct.unpack_from(">4sL", self.data, position)
            end = position + 8 + size
            if name == b"MTrk":
                position = self.read_track(position + 8, end)
            elif name.isalnum() and end <= len(self.data):
                self.note(f"a chunk {name!r} that is no track")
                position = end
            else:  # no chunk at all
                self.note(f"{name!r} at byte {position} where a track should begin")
                position = self.next_track(position + 1)
        return self.tracks

    def next_track(self, position: int) -> int:
        """The position of the next MTrk chunk, or of the end of the file."""
        found = self.data.find(b"MTrk", position)
        return len(self.data) if found < 0 else found

    def is_boundary(self, start: int, end: int) -> bool:
        """Whether track data from `start` may reach to `end`: to another chunk or the end, and not over a track."""
        if end == len(self.data):
            is_end = True
        elif end + 8 > len(self.data):
            is_end = False
        else:
            name, size = struct.unpack_from(">4sL", self.data, end)
            is_end = name == b"MTrk" or (name.isalnum() and end + 8 + size <= len(self.data))
        return is_end and self.data.find(LAST_EVENT + b"MTrk", start, end) < 0

    # ---- Tracks ----

    def read_track(self, start: int, end: int) -> int:
        """Adds the track whose data begins at `start` and should reach to `end`; returns where it does end.

        An end at another chunk or at the end of the file holds. Any other is wrong, and the track lasts to its
        end-of-track event or to the next MTrk.
        """
        self.limits.check("tracks", len(self.tracks) + 1)
        if self.is_boundary(start, end):
            self.add(self.declared_track(start, end))
            return end
        bound = self.next_track(start)
        track, last, fault = self.walk(start, bound, to_last_event=True)
        if last is None and not fault and (bound < len(self.data) or end == start):
            last = bound
        if last is not None:
            if last != end:
                wrong = "shorter than its header says, but complete" if last < end else "longer than its header says"
                self.note(f"track {len(self.tracks)}: {wrong}")
            self.add(track)
            return last
        if end > len(self.data):
            raise self.refusal(fault)
        self.add(self.declared_track(start, min(end, bound)))
        return min(end, bound)

    def add(self, track: Track) -> None:
        self.tracks.append(track)
        self.events += self.walked

    def declared_track(self, start: int, end: int) -> Track:
        """The track data[start:end]; after a fault up to its end-of-track event, or without it to an event cut off."""
        track, _, fault = self.walk(start, end)
        if fault:
            track, last, fault = self.walk(start, end, to_last_event=True)
            if last is None and not isinstance(fault, IndexError):
                raise self.refusal(fault)
            if last is None:
                self.note(f"track {len(self.tracks)}: an event reaches past its end, read up to there")
        return track

    def refusal(self, fault: Exception | None) -> MidiError:
        """The error of a track that ends with a fault, or before its end-of-track event."""
        if isinstance(fault, MidiError):
            return MidiError(f"track {len(self.tracks)}, {fault}")
        return MidiError(f"cut off: track {len(self.tracks)} ends before its end-of-track event")

    def walk(self, start: int, end: int, to_last_event: bool = False) -> tuple[Track, int | None, Exception | None]:
        """The track data[start:end], or what precedes a fault in it.

        Returns:
            The track; the position after its end-of-track event if the walk ended there, else None; the fault.
        """
        track, last, fault = Track([], [], 0), None, None
        tick = latest = self.walked = 0
        events = islice(walk_track(self.data, start, end), self.limits.events - self.events + 1)
        try:
            for self.walked, (delta, position, status, content) in enumerate(events, 1):
                tick += delta
                if tick > latest:
                    latest = tick
                elif delta < 0:  # what follows keeps its place
                    self.note(f"track {len(self.tracks)}: a negative delta time, read as 0")
                if status < AFTERTOUCH and content.isascii():
                    track.events.append((latest, status, content))
                elif status == META and content[0] == END_OF_TRACK and to_last_event:
                    last = min(position + len(LAST_EVENT), end)
                    break
                else:
                    self.keep(track, latest, status, content)
        except (IndexError, MidiError) as error:
            fault = error
        self.limits.check("events", self.events + self.walked)
        return track._replace(end=latest), last, fault

    def keep(self, track: Track, tick: int, status: int, content: bytes) -> None:
        """Adds an event to the track, mended if need be, unless it is of no use for a song."""
        if status < SYSEX:
            content = content if content.isascii() else self.clipped(content)
            event = (tick, status, content)
            if not AFTERTOUCH <= status < CONTROL and not PRESSURE <= status < BEND:
                track.events.append(event)
            if PROGRAM <= status < PRESSURE:
                track.settings.append(event)
        elif status == META and content[0] == TRACK_NAME:
            track.events.append((tick, status, content))
        elif status == META:
            if content := self.mended_setting(content):
                track.settings.append((tick, status, content))
        elif status in UNDEFINED:
            self.note(f"track {len(self.tracks)}: an undefined event {status:#x}, left out")

    def clipped(self, content: bytes) -> bytes:
        """Data bytes of at most 127."""
        self.note(f"track {len(self.tracks)}: a data byte of {max(content)}, read as 127")
        return content.translate(CLIPPED)

    def mended_setting(self, content: bytes) -> bytes | None:
        """The type and data of a meta event that a song keeps, or None."""
        kind, value = content[0], content[1:]
        if kind not in META_NAMES:
            return content if kind in (TEXT, LYRICS, PORT) else None
        if kind == SET_TEMPO:
            good = len(value) >= 3 and any(value[:3])
        elif kind == KEY_SIGNATURE:
            good = len(value) >= 2 and (value[0] + 7) % 256 <= 14 and value[1] <= 1
        else:
            good = len(value) >= 2 and value[0] > 0
            if good and len(value) < 4:
                self.note(f"track {len(self.tracks)}: a time signature of {len(value)} bytes, completed")
                content += b"\x18\x08"[len(value) - 2 :]
        if not good:
            shown = value[:SHOWN_BYTES].hex(" ")
            self.note(f"track {len(self.tracks)}: a {META_NAMES[kind]} of bytes {shown}, left out")
        return content if good else None
