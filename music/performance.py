"""Bars of several tracks as tokens, and tokens as notes (Simon et al. 2018, section 3).

One track of a bar is a program token, then events (a note starts or ends, the velocity bin changes, time passes in
96ths of the bar), then an end token. The tokens equal those of note_seq (performance_lib.py) and Magenta
(music_vae/data_hierarchical.py). These go from event to event; here the events of all bars and tracks are sorted and
encoded in one pass.
"""

import itertools
from collections import defaultdict, deque
from typing import NamedTuple

import numpy as np

from music.grid import Part, round_half_up, steps_per_second

STEPS_PER_QUARTER = 24
STEPS_PER_BAR = 96  # a bar has four quarters
NOTE_ON, NOTE_OFF, TIME_SHIFT, VELOCITY = 0, 128, 256, 352  # first token of each kind; time shifts of 1 to 96 steps
VELOCITY_BINS = 8
VELOCITIES_PER_BIN = 16
FIRST_PROGRAM = 360  # token of General MIDI program 0; 128 programs
DRUMS = 488  # token in place of the program of a drum track
END = 489
DEPTH = 490
TRACKS, EVENTS = 8, 64  # tracks per bar, tokens per track
MIN_TRACKS, MIN_EVENTS = 2, 8  # of a bar that is taken; program and end tokens do not count as events
PADDING = -1
FIRST_VELOCITY = 100  # of notes before the first velocity token


class Bars(NamedTuple):
    """Tokens of bars, and the time of each token."""

    tokens: np.ndarray  # int16 [bars, TRACKS, EVENTS], PADDING after a track's end token
    steps: np.ndarray  # int16 [bars, TRACKS, EVENTS] from the bar's start; -1 for program tokens and padding
    lengths: np.ndarray  # int32 [bars, TRACKS] tokens
    bar: np.ndarray  # [bars] index in the part
    last_step: np.ndarray  # [bars] step at which the bar's last note ends
    first_track: np.ndarray  # [bars] index in PrettyMIDI.instruments of the first row of tokens


class Refused(NamedTuple):
    """Bars that have notes but are not taken."""

    bar: np.ndarray  # [bars] index in the part
    reason: np.ndarray  # [bars] strings


# ---- Notes to tokens ----


class _Steps(NamedTuple):
    """Notes in steps of their bar, sorted by group; a group, bar * tracks + track, is one track of one bar."""

    group: np.ndarray
    start: np.ndarray
    end: np.ndarray
    pitch: np.ndarray
    loudness: np.ndarray  # the velocity's bin, from 0


def bar_tokens(notes: Part, bounds: np.ndarray, qpm: float, programs: np.ndarray) -> tuple[Bars, Refused]:
    """Encodes the bars of a part in 4/4 that have 2 to 8 tracks, at least 8 events, and at most 62 events per track.

    Args:
        notes: sorted by start.
        bounds: [bars + 1] the start of each bar and the end of the part, in seconds; see `bar_bounds`.
        qpm: the part's tempo in quarters per minute.
        programs: [tracks] the token of each track's program.
    """
    bar, start, end, kept = _steps_in_bars(notes.times, bounds, steps_per_second(qpm, STEPS_PER_QUARTER))
    group = bar * len(programs) + notes.track[kept]
    last_step = np.zeros(len(bounds) - 1, np.int64)
    np.maximum.at(last_step, bar, end)
    loudness = (notes.velocity[kept] - 1) // VELOCITIES_PER_BIN
    order = np.lexsort((notes.pitch[kept], notes.times[kept, 0] - bounds[bar], group))
    steps = _Steps(*(column[order] for column in (group, start, end, notes.pitch[kept], loudness)))
    groups = np.unique(group)
    return _gathered(_token_lines(_matched(steps), groups, programs), groups, last_step, programs)


def bar_bounds(seconds: float, qpm: float) -> np.ndarray:
    """The start of each bar of a part that lasts this long, and the part's end: [bars + 1] seconds."""
    bar_seconds = 60.0 * 4 / qpm
    bounds = np.append(0.0, np.arange(bar_seconds, seconds, bar_seconds))
    return np.append(bounds, seconds) if seconds > bounds[-1] else bounds


def _steps_in_bars(times: np.ndarray, bounds: np.ndarray, rate: float) -> tuple[np.ndarray, ...]:
    """Bar, and start and end in steps of the bar, of each note that starts in one; and the indices of these notes.

    A note ends with its bar at the latest.
    """
    bar = np.searchsorted(bounds, times[:, 0], "right") - 1
    kept = np.flatnonzero(bar < len(bounds) - 1)
    bar = bar[kept]
    start = round_half_up((times[kept, 0] - bounds[bar]) * rate)
    end = np.minimum(times[kept, 1], bounds[bar + 1]) - bounds[bar]
    end = round_half_up(end * rate)
    return bar, start, end + (end == start), kept


def _matched(notes: _Steps) -> _Steps:
    """The notes as tokens can state them: they start before the bar's end, and of one pitch the first ends first."""
    inside = notes.start < STEPS_PER_BAR
    notes = _Steps(*(column[inside] for column in notes))
    starts = np.lexsort((np.arange(len(notes.start)), notes.pitch, notes.group))
    ends = np.lexsort((notes.end, notes.pitch, notes.group))
    end = np.empty_like(notes.end)
    end[starts] = np.minimum(notes.end[ends], STEPS_PER_BAR)
    order = np.lexsort((end, notes.pitch, notes.start, notes.group))
    return _Steps(*(column[order] for column in notes._replace(end=end)))


class _Tokens(NamedTuple):
    """The tokens of all groups, one group after the other, in one sequence."""

    group: np.ndarray  # rising
    token: np.ndarray
    step: np.ndarray  # time of the token, in steps of the bar; -1 for the program


def _token_lines(notes: _Steps, groups: np.ndarray, programs: np.ndarray) -> _Tokens:
    """Program, events and end of each group; at one step events are sorted by their note's place in `notes`."""
    count, size = len(notes.group), len(groups)
    program = programs[groups % len(programs)]
    program = np.where(np.isin(groups, notes.group), program, DRUMS)  # a group that lost its notes, as in the reference
    new = np.append(True, notes.group[1:] != notes.group[:-1])[:count]
    new |= np.append(True, notes.loudness[1:] != notes.loudness[:-1])[:count]
    louder = np.where(new, VELOCITY + notes.loudness, PADDING)
    group = np.concatenate([groups, notes.group, notes.group, groups])
    step = np.repeat([0, STEPS_PER_BAR], size)
    step = np.concatenate([step[:size], notes.start, notes.end, step[size:]])
    token = np.concatenate([program, NOTE_ON + notes.pitch, NOTE_OFF + notes.pitch, np.full(size, END)])
    louder = np.concatenate([np.full(size, PADDING), louder, np.full(count + size, PADDING)])
    note = np.concatenate([np.full(size, -1), np.arange(count), np.arange(count), np.full(size, count)])
    order = np.lexsort((note, step, group))
    return _with_shifts(*(column[order] for column in (group, step, token, louder)))


def _with_shifts(group: np.ndarray, step: np.ndarray, token: np.ndarray, louder: np.ndarray) -> _Tokens:
    """Puts time shifts before events, and velocity tokens (`louder`, if not PADDING) before the notes that need one."""
    program = (token >= FIRST_PROGRAM) & (token < END)
    before = np.where(program, 0, np.append(0, step[:-1]))
    shift = np.where(step > before, TIME_SHIFT - 1 + step - before, PADDING)
    event_step = np.where(token == END, before, np.where(program, PADDING, step))
    tokens = np.stack([shift, louder, token], axis=1)
    steps = np.stack([before, step, event_step], axis=1)
    used = tokens != PADDING
    return _Tokens(np.repeat(group, used.sum(axis=1)), tokens[used], steps[used])


def _gathered(lines: _Tokens, groups: np.ndarray, last_step: np.ndarray, programs: np.ndarray) -> tuple[Bars, Refused]:
    """The bars that are taken, with tracks sorted by program, drums last, then as in the song; and the refused bars."""
    row = np.searchsorted(groups, lines.group)
    length = np.bincount(row, minlength=len(groups))
    place = np.arange(len(row)) - (length.cumsum() - length)[row]
    bars, of_bar, tracks = np.unique(groups // len(programs), return_inverse=True, return_counts=True)
    reason = _refusals(of_bar, tracks, length)
    taken = reason == ""
    track = groups % len(programs)
    segment = _segments(of_bar, programs[track])
    found = _empty_bars(bars[taken], last_step)
    number = (taken.cumsum() - 1)[of_bar]
    rows, kept = np.flatnonzero(taken[of_bar]), taken[of_bar][row]
    at = number[row[kept]], segment[row[kept]], place[kept]
    found.tokens[at], found.steps[at] = lines.token[kept], lines.step[kept]
    found.lengths[number[rows], segment[rows]] = length[rows]
    found.first_track[number[rows[segment[rows] == 0]]] = track[rows[segment[rows] == 0]]
    return found, Refused(bars[~taken], reason[~taken])


def _segments(of_bar: np.ndarray, program: np.ndarray) -> np.ndarray:
    """[groups] each group's place among the groups of its bar, by program; of_bar: [groups] bar of each, rising."""
    segment = np.empty_like(of_bar)
    segment[np.lexsort((program, of_bar))] = np.arange(len(of_bar)) - np.searchsorted(of_bar, of_bar)
    return segment


def _refusals(of_bar: np.ndarray, tracks: np.ndarray, length: np.ndarray) -> np.ndarray:
    """[bars] the reason why a bar is refused, or ''; of_bar, length (tokens): [groups], tracks: [bars]."""
    longest = np.zeros(len(tracks), np.int64)
    np.maximum.at(longest, of_bar, length)
    events = np.bincount(of_bar, length - 2, len(tracks))
    faults = {
        f"fewer than {MIN_TRACKS} tracks": tracks < MIN_TRACKS,
        f"more than {TRACKS} tracks": tracks > TRACKS,
        f"a track of more than {EVENTS - 2} events": longest > EVENTS,
        f"fewer than {MIN_EVENTS} events": events < MIN_EVENTS,
    }
    return np.select(list(faults.values()), list(faults), "")


def _empty_bars(bars: np.ndarray, last_step: np.ndarray) -> Bars:
    """Bars whose tracks have an end token only."""
    tokens = np.full((len(bars), TRACKS, EVENTS), PADDING, np.int16)
    steps = tokens.copy()
    tokens[:, :, 0] = END
    lengths = np.ones((len(bars), TRACKS), np.int32)
    return Bars(tokens, steps, lengths, bars, last_step[bars], np.zeros(len(bars), np.int64))


# ---- Tokens to notes ----


class TrackNotes(NamedTuple):
    """The content of one track's tokens."""

    program: int  # General MIDI, from 0; 0 without a program token
    is_drum: bool
    notes: tuple[tuple[int, int, int, int], ...]  # start and end in steps, pitch, velocity
    event_steps: tuple[int, ...]  # the step of each token; -1 for programs, and from the end token on


def track_of_tokens(tokens: np.ndarray) -> TrackNotes:
    """Decodes tokens [EVENTS] up to the end token or padding.

    The first program token counts. Notes end with the bar at the latest, and notes of no duration are left out.
    """
    events = list(itertools.takewhile(lambda token: 0 <= token < END, tokens.tolist()))
    steps = _event_steps(events)
    program = next((token for token in events if token >= FIRST_PROGRAM), FIRST_PROGRAM)
    notes = sorted(note for note in _decoded_notes(events, steps) if note[0] < note[1])
    known = [-1 if token >= FIRST_PROGRAM else step for token, step in zip(events, steps)]
    known += [-1] * (len(tokens) - len(known))
    is_drum = program == DRUMS
    return TrackNotes(0 if is_drum else program - FIRST_PROGRAM, is_drum, tuple(notes), tuple(known))


def _event_steps(tokens: list[int]) -> list[int]:
    """The step at which each token stands."""
    step, steps = 0, []
    for token in tokens:
        steps.append(step)
        if TIME_SHIFT <= token < VELOCITY:
            step = min(step + token - TIME_SHIFT + 1, STEPS_PER_BAR)
    return steps


def _decoded_notes(tokens: list[int], steps: list[int]) -> list[tuple[int, int, int, int]]:
    """Start and end step, pitch and velocity of the notes; of one pitch the first to start ends first."""
    velocity, notes, sounding = FIRST_VELOCITY, [], defaultdict(deque)
    for token, step in zip(tokens, steps):
        if VELOCITY <= token < FIRST_PROGRAM:
            velocity = 1 + (token - VELOCITY) * VELOCITIES_PER_BIN
        elif NOTE_OFF <= token < TIME_SHIFT and (started := sounding[token - NOTE_OFF]):
            start, loudness = started.popleft()
            notes.append((start, step, token - NOTE_OFF, loudness))
        elif token < NOTE_OFF:
            sounding[token].append((step, velocity))
    return notes + [
        (start, STEPS_PER_BAR, pitch, loudness) for pitch in sounding for start, loudness in sounding[pitch]
    ]
