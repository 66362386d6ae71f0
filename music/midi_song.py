"""Builds a `PrettyMIDI` from the tracks of a MIDI file, as pretty_midi does but for three things.

Tempo, time and key signatures count in every track, not only in the first. A note that ends where it begins lasts one
tick, and one that never ends lasts to the next note of its pitch in its channel and track, or to the end of the track.
A program that is set in another track holds in the tracks of its channel that set none.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import pairwise
from operator import attrgetter, itemgetter

import numpy as np
from pretty_midi import ControlChange, Instrument, KeySignature, Lyric, Note, PitchBend, PrettyMIDI, Text, TimeSignature

from music.midi_bytes import META, Limits
from music.midi_repair import (
    AFTERTOUCH,
    BEND,
    KEY_SIGNATURE,
    LYRICS,
    NOTE_ON,
    PORT,
    PROGRAM,
    SET_TEMPO,
    TEXT,
    TIME_SIGNATURE,
    Event,
    Track,
)

CHARSET = "latin1"  # of texts
DRUM_CHANNEL = 9  # counted from 0
DEFAULT_QPM = 120.0
BLOCK_EVENTS = 2**16  # that are read at once
FEW_TICKS = 16  # for fewer, NumPy takes longer than Python

TickScale = tuple[int, float]  # the first tick of a tempo, and seconds per tick
Clock = Callable[[list[int]], list[float]]  # from ticks to seconds
Programs = dict[int, list[Event]]  # of each channel, sorted by tick


def song_of(division: int, tracks: list[Track], limits: Limits, mended: list[str]) -> PrettyMIDI:
    """The song of these tracks; adds what was mended to `mended`.

    Args:
        division: ticks per quarter.
        limits: only the ticks per second are checked here.

    Raises:
        MidiError: too many ticks per second.
    """
    midi, settings = PrettyMIDI(resolution=division), _settings_by_type(tracks)
    midi._tick_scales = _tick_scales(division, _shared(settings[SET_TEMPO]))
    limits.check("ticks_per_second", max(1 / scale for _, scale in midi._tick_scales))
    midi._update_tick_to_time(max(track.end for track in tracks) + 1)
    clock = _clock(midi._tick_scales)
    for content, time in _timed(_shared(settings[TIME_SIGNATURE]), clock):
        midi.time_signature_changes.append(TimeSignature(content[1], 2 ** content[2], time))
    for content, time in _timed(_shared(settings[KEY_SIGNATURE]), clock):
        midi.key_signature_changes.append(KeySignature(_key_number(content), time))
    midi.lyrics, midi.text_events = _texts(settings[LYRICS], Lyric, clock), _texts(settings[TEXT], Text, clock)
    ports = {k: events[0][2][1] for k, events in settings[PORT].items()}
    programs = _programs_of_ports(tracks, ports)
    parts = [_TrackReader(track, programs[ports.get(k, 0)], clock) for k, track in enumerate(tracks) if track.events]
    for part in parts:
        midi.instruments += part.instruments.values()
    if any(part.endless for part in parts):
        mended.append("notes without an end, ended at the next of their pitch or with their track")
    return midi


# ---- Settings ----

Settings = dict[int, list[Event]]  # the events of one type in each track that has any


def _settings_by_type(tracks: list[Track]) -> dict[int, Settings]:
    """The meta events among the tracks' settings, by their type and track."""
    settings = defaultdict(dict)
    for k, track in enumerate(tracks):
        for event in track.settings:
            if event[1] == META:
                settings[event[2][0]].setdefault(k, []).append(event)
    return settings


def _shared(settings: Settings) -> list[Event]:
    """The events of all tracks, for all of which they hold, by their ticks and without later tracks' repetitions."""
    first = settings.get(0, [])
    if settings.keys() <= {0}:
        return first
    known = set(first)
    others = dict.fromkeys(event for k, events in settings.items() if k for event in events)
    return sorted(first + [event for event in others if event not in known], key=itemgetter(0))


def _timed(events: list[Event], clock: Clock) -> Iterator[tuple[bytes, float]]:
    """The content of events, and their times in seconds."""
    return zip((content for _, _, content in events), clock([tick for tick, _, _ in events]), strict=True)


def _texts(settings: Settings, make: type, clock: Clock) -> list:
    """The texts or lyrics of all tracks, sorted by time."""
    timed = (_timed(events, clock) for events in settings.values())
    texts = [make(content[1:].decode(CHARSET), time) for events in timed for content, time in events]
    return sorted(texts, key=attrgetter("time"))


def _key_number(content: bytes) -> int:
    """pretty_midi's number of a key: 0 to 11 for C to B major, 12 to 23 for C to B minor."""
    sharps, is_minor = (content[1] ^ 128) - 128, content[2]  # a signed byte, and 0 or 1
    return (7 * sharps + 9) % 12 + 12 if is_minor else 7 * sharps % 12  # a sharp lifts the key by 7 semitones


def _tick_scales(division: int, tempos: list[Event]) -> list[TickScale]:
    """The tempo changes as pretty_midi keeps them, without repetitions."""
    scales = [(0, 60.0 / (DEFAULT_QPM * division))]
    for tick, _, content in tempos:
        scale = 60.0 / ((6e7 / int.from_bytes(content[1:4], "big")) * division)
        if tick == 0:
            scales = [(0, scale)]
        elif scale != scales[-1][1]:
            scales.append((tick, scale))
    return scales


def _clock(scales: list[TickScale]) -> Clock:
    """A function from ticks to seconds that computes each time as pretty_midi does."""
    first, rates = zip(*scales, strict=True)
    starts = [0.0]
    for (start, rate), (end, _) in pairwise(scales):
        starts.append(starts[-1] + rate * (end - start))
    columns = np.array(first), np.array(rates), np.array(starts)

    def clock(ticks: list[int]) -> list[float]:
        if len(ticks) < FEW_TICKS:
            tempos = [bisect_right(first, tick) - 1 for tick in ticks]
            return [starts[k] + rates[k] * (tick - first[k]) for k, tick in zip(tempos, ticks, strict=True)]
        array = np.array(ticks, np.int64)
        k = np.searchsorted(columns[0], array, side="right") - 1
        start_ticks, seconds_per_tick, start_times = (column[k] for column in columns)
        return (start_times + seconds_per_tick * (array - start_ticks)).tolist()

    return clock


# ---- Programs ----


def _programs_of_ports(tracks: list[Track], ports: dict[int, int]) -> dict[int, Programs]:
    """The programs that the tracks of each port set; a track's port is 0 if it names none."""
    programs = defaultdict(lambda: defaultdict(list))
    for k, track in enumerate(tracks):
        for event in track.settings:
            if event[1] < META:
                programs[ports.get(k, 0)][event[1] & 15].append(event)
    for changes in (changes for channels in programs.values() for changes in channels.values()):
        changes.sort(key=itemgetter(0))
    return programs


# ---- Notes ----


Key = tuple[int, int]  # channel, pitch


class _TrackReader:
    """The instruments of a track, one per program and channel, with pretty_midi's rules for what belongs to which."""

    def __init__(self, track: Track, elsewhere: Programs, clock: Clock):
        self.track, self.clock = track, clock
        self.own = {status & 15: 0 for _, status, _ in track.settings if status < META}  # channel: present program
        self.elsewhere = elsewhere  # programs of the channels for which this track sets none
        self.name = ""
        self.instruments: dict[tuple[int, int], Instrument] = {}  # of (program, channel), from its first note on
        self.early: dict[int, Instrument] = {}  # what a channel's controls and bends belong to before its first note
        self.sounding: dict[Key, list[tuple[int, float, int]]] = {}  # tick, time, velocity
        self.endless = False  # whether a note never ends
        self.read()

    def read(self) -> None:
        """Reads the events, and takes them out of the track to spare memory."""
        events = self.track.events
        for first in range(0, len(events), BLOCK_EVENTS):
            block = events[first : first + BLOCK_EVENTS]
            events[first : first + BLOCK_EVENTS] = [None] * len(block)
            self.read_block(block)
        self.end_endless_notes()

    def read_block(self, events: list[Event]) -> None:
        for (tick, status, content), time in zip(events, self.clock([event[0] for event in events]), strict=True):
            if status < AFTERTOUCH:
                pitch, velocity = content
                if status >= NOTE_ON and velocity:
                    self.sounding.setdefault((status & 15, pitch), []).append((tick, time, velocity))
                else:
                    self.end_notes((status & 15, pitch), tick, time)
            elif status < PROGRAM:
                change = ControlChange(*content, time)
                self.instrument_for_controls(status & 15, tick).control_changes.append(change)
            elif status < BEND:
                self.own[status & 15] = content[0]
            elif status < META:
                bend = PitchBend((content[1] << 7 | content[0]) - 8192, time)
                self.instrument_for_controls(status & 15, tick).pitch_bends.append(bend)
            else:
                self.name = content[1:].decode(CHARSET)

    def program(self, channel: int, tick: int) -> int:
        """The present program of a channel, or that which another track has set at this tick."""
        if channel in self.own:
            return self.own[channel]
        if channel not in self.elsewhere:
            return 0
        changes = self.elsewhere[channel]
        last = bisect_right(changes, tick, key=itemgetter(0))
        return changes[last - 1][2][0] if last else 0

    def end_notes(self, key: tuple[int, int], tick: int, time: float) -> None:
        """Ends the notes of a channel and pitch that began before this tick, or those that began at it."""
        notes = self.sounding.pop(key, ())
        if notes and notes[-1][0] == tick:
            earlier = [note for note in notes if note[0] != tick]
            if earlier:  # those of this tick follow the note that ends here
                self.sounding[key], notes = notes[len(earlier) :], earlier
            else:
                time = self.clock([tick + 1])[0]
        for start, start_time, velocity in notes:
            self.add_note(key[0], start, Note(velocity, key[1], start_time, time))

    def end_endless_notes(self) -> None:
        """Ends each note that never ends at the next note of its pitch, or at the end of the track."""
        self.endless = bool(self.sounding)
        for key, notes in self.sounding.items():
            for first in range(0, len(notes), BLOCK_EVENTS):
                block = notes[first : first + BLOCK_EVENTS]
                following = [*notes[first + 1 : first + 1 + BLOCK_EVENTS], (self.track.end,)]
                ends = self.clock([max(end[0], note[0] + 1) for note, end in zip(block, following, strict=False)])
                notes[first : first + len(block)] = [None] * len(block)
                for (start, start_time, velocity), end in zip(block, ends, strict=True):
                    self.add_note(key[0], start, Note(velocity, key[1], start_time, end))

    def add_note(self, channel: int, start: int, note: Note) -> None:
        program = self.program(channel, start)
        instrument = self.instruments.get((program, channel)) or self.new_instrument(program, channel)
        instrument.notes.append(note)

    def new_instrument(self, program: int, channel: int) -> Instrument:
        instrument = self.instruments[program, channel] = Instrument(program, channel == DRUM_CHANNEL, self.name)
        if early := self.early.get(channel):  # all instruments of the channel share these lists, as in pretty_midi
            instrument.control_changes, instrument.pitch_bends = early.control_changes, early.pitch_bends
        return instrument

    def instrument_for_controls(self, channel: int, tick: int) -> Instrument:
        instrument = self.instruments.get((self.program(channel, tick), channel))
        return instrument or self.early.setdefault(channel, Instrument(0))
