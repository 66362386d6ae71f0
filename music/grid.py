"""A song's notes on a grid of sixteenth notes, and the windows that are cut from them.

`song_parts` splits a song into parts of one tempo and one time signature and rounds the notes to steps. The converters
turn a part's notes into lines of labels, `cut_lines` cuts the lines into windows, and `as_windows` joins the windows of
all parts.
"""

import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy
from typing import NamedTuple

import numpy as np
from pretty_midi import Instrument, Note, PrettyMIDI

from engine.checks import checked_count

STEPS_PER_QUARTER = 4  # a step is a sixteenth note
HALF_BAR_STEPS = 8  # of a bar that is half of one of 4/4: 2/4, 4/8, 1/2
MAX_BARS = 100  # of a melody line or drum line; the rest is left out
GAP_BARS = 1  # a rest of this many bars ends a melody line or drum line

NAMES_SHOWN = 5  # names per line of a report
TEMPO_TOLERANCE = 1e-3  # relative; smaller changes of tempo are not heard
DRIFT_STEPS = 0.1  # most that notes may drift while such changes are ignored
BAR_SLACK = 1e-6  # bars; tolerance of a sum of floats that should equal a whole number of bars
MAX_FILE_BARS = 2**31 - 2**20  # bars counted in a file; absurd time signatures have more


class Windows(NamedTuple):
    """Windows of integer labels, and where each lies in its song."""

    labels: np.ndarray  # [n, steps(, parts)]: 3 of a trio, the voices of a piano, 27 of a groove; of various types
    lengths: np.ndarray  # [n] steps; multitrack [n, 8], one length per track
    controls: np.ndarray | None = None  # [n, steps] int8, the chord class of each step; -1 where padded
    track: np.ndarray | None = None  # [n] index in PrettyMIDI.instruments: the first drum track, a trio's melody
    start_bar: np.ndarray | None = None  # [n] from 0, in bars of the file as it was read
    skipped: tuple["Skipped", ...] = ()  # the parts of the song that gave no window


class Skipped(NamedTuple):
    """A part of a song that gave no window or lost something, and the reason."""

    what: str  # "song" if the whole song gave none
    reason: str
    bars: int = 0  # left out for this reason
    notes: int = 0  # left out or cut short, for this reason


# ---- Time ----


def steps_of_bar(time_signature: tuple[int, int]) -> float:
    """Steps per bar; not a whole number for a time signature such as 1/32."""
    numerator, denominator = time_signature
    return STEPS_PER_QUARTER * (4.0 / denominator * numerator)


def seconds_per_step(qpm: float, steps_per_quarter: int = STEPS_PER_QUARTER) -> float:
    """Duration of a step at a tempo in quarter notes per minute."""
    return 60.0 / qpm / steps_per_quarter


def steps_per_second(qpm: float, steps_per_quarter: int = STEPS_PER_QUARTER) -> float:
    """Rate of steps at a tempo in quarter notes per minute."""
    return steps_per_quarter * qpm / 60.0


def round_half_up(steps: np.ndarray) -> np.ndarray:
    """The nearest whole steps, int64; halves are rounded up."""
    return np.floor(steps + 0.5).astype(np.int64)


# ---- Notes on a grid ----


class Part(NamedTuple):
    """A stretch of one tempo and one time signature; its notes in steps from its start, sorted by start time."""

    first_bar: float  # bars of the file before it
    time_signature: tuple[int, int]
    qpm: float  # quarter notes per minute
    bounds: tuple[float, float]  # start and end in the song, in seconds
    times: np.ndarray  # [notes, 2] start and end in seconds from the part's start
    start: np.ndarray  # [notes] steps
    end: np.ndarray  # [notes] steps, at least start + 1
    offset: np.ndarray  # [notes] steps from the grid to where the note was played
    pitch: np.ndarray  # [notes]
    track: np.ndarray  # [notes] index in PrettyMIDI.instruments
    velocity: np.ndarray  # [notes]
    order: np.ndarray  # [notes] place among the song's notes in the file

    def select(self, notes: np.ndarray) -> "Part":
        """The part with some of its notes, [notes] bool."""
        return Part(*self[:4], *(column[notes] for column in self[4:]))


def note_table(midi: PrettyMIDI) -> np.ndarray:
    """[notes, 5]: start and end in seconds, pitch, track and velocity, in file order, without notes of velocity 0."""
    rows = [
        (note.start, note.end, note.pitch, track, note.velocity)
        for track, instrument in enumerate(midi.instruments)
        for note in instrument.notes
        if note.velocity > 0
    ]
    return np.array(rows, np.float64).reshape(-1, 5)


def drum_tracks(midi: PrettyMIDI) -> np.ndarray:
    """[tracks] bool: True for a drum track."""
    return np.array([instrument.is_drum for instrument in midi.instruments], bool)


def _changes(midi: PrettyMIDI, end: float) -> list[tuple[float, tuple[int, int], float]]:
    """Start (seconds), time signature and tempo (quarters per minute) of each stretch in which both are constant."""
    events = [(c.time, (c.numerator, c.denominator), None) for c in midi.time_signature_changes]
    events += [(time, None, qpm) for time, qpm in _audible_tempos(midi, end)]
    stretches = [(0.0, (4, 4), 120.0)]  # the defaults of MIDI
    for time, new_metre, new_qpm in sorted(events, key=lambda event: event[0]):
        start, metre, qpm = stretches[-1]
        changed = (new_metre or metre, qpm if new_qpm is None else float(new_qpm))
        if time >= end or changed == (metre, qpm):
            continue
        if time > start:
            stretches.append((float(time), *changed))
        else:  # the last of several changes at one time counts
            stretches[-1] = (start, *changed)
    return stretches


def _audible_tempos(midi: PrettyMIDI, end: float) -> list[tuple[float, float]]:
    """Start (seconds) and tempo (quarters per minute) of each tempo that differs audibly from the one before it.

    A change below TEMPO_TOLERANCE does not count while the notes until the next one drift by less than DRIFT_STEPS.
    """
    times, tempos = (values.tolist() for values in midi.get_tempo_changes())
    heard, drift = [(times[0], tempos[0])], 0.0
    for time, qpm, until in zip(times[1:], tempos[1:], [*times, end][2:], strict=True):
        start_qpm = heard[-1][1]
        moved = drift + (until - time) * (steps_per_second(qpm) - steps_per_second(start_qpm))
        if abs(qpm / start_qpm - 1) < TEMPO_TOLERANCE and abs(moved) < DRIFT_STEPS:
            drift = moved
        else:
            heard.append((time, qpm))
            drift = 0.0
    return heard


def steady_tempo(midi: PrettyMIDI) -> PrettyMIDI:
    """The song in its first tempo throughout, in which every note and event keeps its beat.

    Pitch bends and keys are left out of the copy. A song of one tempo is returned as it is.
    """
    times, tempos = midi.get_tempo_changes()
    if len(times) == 1:
        return midi
    seconds = np.append(0, np.cumsum(np.diff(times) * tempos[:-1])) / tempos[0]  # where each tempo starts in the copy

    def moved(time: np.ndarray) -> np.ndarray:
        k = np.maximum(np.searchsorted(times, time, "right") - 1, 0)
        return seconds[k] + (time - times[k]) * tempos[k] / tempos[0]

    steady = PrettyMIDI(resolution=midi.resolution, initial_tempo=tempos[0])
    steady.instruments = list(map(_copied, midi.instruments))
    for field in ("time_signature_changes", "text_events", "lyrics"):
        setattr(steady, field, list(map(copy, getattr(midi, field))))
    return move_times(steady, moved, steady.time_signature_changes)


def _copied(track: Instrument) -> Instrument:
    """A copy of a track without its pitch bends; `deepcopy` takes many times longer."""
    copied = Instrument(track.program, track.is_drum, track.name)
    copied.notes = [Note(note.velocity, note.pitch, note.start, note.end) for note in track.notes]
    copied.control_changes = list(map(copy, track.control_changes))
    return copied


def move_times(song: PrettyMIDI, moved: Callable[[np.ndarray], np.ndarray], metres: Iterable = ()) -> PrettyMIDI:
    """Moves the notes, controls, pitch bends, texts and lyrics of a song, in place; tempos and keys stay.

    Args:
        song: a copy that may change; it is returned.
        moved: the new times of these times, in seconds. A note that would vanish keeps its duration.
        metres: those of its changes of time signature that move, too.
    """
    events = [*song.text_events, *song.lyrics, *metres]
    events += [event for track in song.instruments for event in (*track.control_changes, *track.pitch_bends)]
    for event, time in zip(events, moved(np.array([event.time for event in events], float)).tolist(), strict=True):
        event.time = time
    notes = [note for track in song.instruments for note in track.notes]
    times = np.array([(note.start, note.end) for note in notes], float).reshape(-1, 2)
    for note, was, (start, end) in zip(notes, times.tolist(), moved(times).tolist(), strict=True):
        note.start, note.end = start, end if end > start else start + (was[1] - was[0])
    return song


def song_parts(midi: PrettyMIDI) -> list[Part]:
    """Splits a song and its notes at the changes of tempo and time signature (note_seq, sequences_lib.py)."""
    notes = note_table(midi)
    order = notes[:, 0].argsort(kind="stable")
    notes = notes[order]
    song_end = notes[:, 1].max(initial=0.0)
    stretches = _changes(midi, song_end)
    bounds = [start for start, _, _ in stretches] + [song_end]
    first = notes[:, 0].searchsorted(bounds)
    notes, order, first = notes[first[0] : first[-1]], order[first[0] : first[-1]], (first - first[0]).tolist()
    counts = [after - before for before, after in itertools.pairwise(first)]
    columns = _quantize(notes, bounds, [steps_per_second(qpm) for _, _, qpm in stretches], counts)
    parts, bar, metre_before = [], 0.0, None
    for k, (start, metre, qpm) in enumerate(stretches):
        bar = bar if metre == metre_before else math.ceil(bar - BAR_SLACK)  # a new time signature starts a bar
        own = (column[first[k] : first[k + 1]] for column in (*columns, order))
        parts.append(Part(bar, metre, qpm, (start, bounds[k + 1]), *own))
        bar += (bounds[k + 1] - start) * qpm / 60.0 * STEPS_PER_QUARTER / steps_of_bar(metre)
        metre_before = metre
    return parts


def _quantize(
    notes: np.ndarray, bounds: Sequence[float], rates: Sequence[float], counts: Sequence[int]
) -> tuple[np.ndarray, ...]:
    """Rounds the times of a song's notes [notes, 5] to steps of their part; a note takes at least one step.

    Args:
        bounds: [parts + 1] start of each part and end of the last, in seconds.
        rates, counts: [parts] steps per second and number of notes of each part; all parts together have all notes.

    Returns:
        The columns of Part from `times` to `velocity`, for the notes of all parts.
    """
    start, end, rate = np.array([bounds[:-1], bounds[1:], rates]).repeat(counts, axis=1)[..., None]
    times = np.minimum(notes[:, :2], end) - start
    played = times * rate
    start_steps, end_steps = round_half_up(played).T
    end_steps = end_steps + (end_steps == start_steps)
    offset = played[:, 0] - start_steps
    pitch, track, velocity = notes[:, 2:].astype(np.int64).T
    return times, start_steps, end_steps, offset, pitch, track, velocity


def bar_lines(midi: PrettyMIDI, bars: int | None = None) -> np.ndarray:
    """Starts of the first bars of a song and the end of the last one, in seconds: [bars + 1].

    Args:
        bars: their number; up to the bar of the last note when None, at least one.
    """
    lines, end = midi.get_downbeats(), midi.get_end_time()
    bar = _last_bar_seconds(midi) if len(lines) < 2 else lines[-1] - lines[-2]
    lines = lines if len(lines) else np.zeros(1)
    missing = max(bars or 1, 1 + int((end - lines[-1]) / bar)) + 1
    lines = np.append(lines, lines[-1] + bar * np.arange(1, missing + 1))
    count = max(1, int(np.searchsorted(lines, end - 0.001))) if bars is None else checked_count("bars", bars)
    return lines[: count + 1]


def _last_bar_seconds(midi: PrettyMIDI) -> float:
    """Seconds of a bar in the last metre and tempo of a song."""
    metres = [(change.numerator, change.denominator) for change in midi.time_signature_changes]
    return steps_of_bar(metres[-1] if metres else (4, 4)) / steps_per_second(midi.get_tempo_changes()[1][-1])


# ---- Lines of labels ----


class Line(NamedTuple):
    """Labels of one track, from the start of a bar to the end of a bar."""

    labels: np.ndarray  # [steps], or [steps, voices]
    first_step: int  # in its part
    track: int
    lost_bars: int  # left out at its end


def split_runs(starts_run: np.ndarray) -> Iterator[slice]:
    """Splits a sequence of len(starts_run) + 1 items into runs; starts_run[i] tells whether item i + 1 starts one."""
    bounds = [0, *(np.flatnonzero(starts_run) + 1).tolist(), len(starts_run) + 1]
    return (slice(a, b) for a, b in itertools.pairwise(bounds))


# ---- Windows of labels ----


class Cut(NamedTuple):
    """Windows cut from one part."""

    labels: np.ndarray  # [n, steps(, ...)]
    lengths: np.ndarray  # [n(, segments)]
    controls: np.ndarray  # [n, steps], or [n, 0] without controls
    track: np.ndarray  # [n]
    first_bar: np.ndarray  # [n] in the part
    start_bar: np.ndarray  # [n] in the file


def file_bars(part: Part, bars: np.ndarray | int) -> np.ndarray:
    """The bars of the file in which these bars of a part start."""
    return np.floor(min(part.first_bar, MAX_FILE_BARS) + bars + BAR_SLACK).astype(np.int64)


def part_at(parts: Sequence[Part], bar: int) -> int:
    """The index of the part that holds a bar of the file."""
    return max((k for k, part in enumerate(parts) if file_bars(part, 0) <= bar), default=0)


def full_windows(part: Part, labels: np.ndarray, track: np.ndarray | int, first_bar: np.ndarray) -> Cut:
    """Windows without controls that use all their steps; first_bar [n] tells where in the part each starts."""
    n = len(labels)
    lengths, controls = np.full(n, labels.shape[1], np.int32), np.zeros((n, 0), np.int8)
    return Cut(labels, lengths, controls, np.full(n, track), first_bar, file_bars(part, first_bar))


def cut_lines(lines: Iterable[Line], part: Part, bars: int, bar_steps: int, skipped: list[Skipped]) -> Cut | None:
    """Windows of `bars` bars from all lines of a part, one starting at each bar; None if there is none.

    Adds the lines that are too short or too long to `skipped`.
    """
    cuts, steps = [], bars * bar_steps
    for line in lines:
        first_bar, length = line.first_step // bar_steps, len(line.labels) // bar_steps
        skipped += _line_skips(line, part, first_bar, length, bars)
        if length >= bars:
            starts = np.arange(length - bars + 1)
            labels = line.labels[starts[:, None] * bar_steps + np.arange(steps)]  # [n, steps(, voices)]
            cuts.append(full_windows(part, labels, line.track, first_bar + starts))
    return joined(cuts) if cuts else None


def joined(cuts: Sequence[Cut]) -> Cut:
    """The windows of several cuts, at least one, as one."""
    return cuts[0] if len(cuts) == 1 else Cut(*map(np.concatenate, zip(*cuts, strict=True)))


def unique(cut: Cut) -> Cut:
    """The first of each group of equal windows, in order."""
    first = {}
    for index, (labels, controls) in enumerate(zip(cut.labels, cut.controls, strict=True)):
        first.setdefault(labels.tobytes() + controls.tobytes(), index)
    rows = list(first.values())
    return cut if len(rows) == len(cut.labels) else Cut(*(column[rows] for column in cut))


def as_windows(cuts: Sequence[Cut], nothing: Cut, skipped: Sequence[Skipped]) -> Windows:
    """Joins the windows of all parts; `nothing`, a Cut of 0 windows, stands for none."""
    labels, lengths, controls, track, _, start_bar = joined(cuts or [nothing])
    place = track.astype(np.int16), start_bar.astype(np.int32)
    return Windows(labels, lengths, controls if controls.shape[1] else None, *place, tuple(skipped))


# ---- Descriptions for reports ----


def time_signature_text(time_signature: tuple[int, int]) -> str:
    """A time signature as text, 3/4; the huge denominators of damaged files as powers of two, 1/2^20."""
    numerator, denominator = time_signature
    return f"{numerator}/{denominator if denominator < 1024 else f'2^{denominator.bit_length() - 1}'}"


def metre_skip(part: Part) -> Skipped:
    """The report entry of a part whose time signature the converter does not take."""
    return Skipped(f"from bar {file_bars(part, 0) + 1}", f"bars of {time_signature_text(part.time_signature)}")


def _line_skips(line: Line, part: Part, first_bar: int, length: int, bars: int) -> Iterator[Skipped]:
    """The report entries of a line that is too short for a window of `bars` bars, or too long to be used whole."""
    if length >= bars and not line.lost_bars:
        return
    where = f"track {line.track} from bar {file_bars(part, first_bar) + 1}"
    if length < bars:
        yield Skipped(where, f"{counted(length, 'bar')} between rests, shorter than {bars} bars")
    if line.lost_bars:
        yield bars_skip(where, line.lost_bars, MAX_BARS)


def bars_skip(where: str, lost: int, most: int) -> Skipped:
    """The report entry of bars that are beyond a limit."""
    return Skipped(where, f"after the first {most:,}", bars=int(lost))


def lost_notes(skipped: Iterable[Skipped]) -> str:
    """The notes that were left out or cut short, in words: '4 notes outside ..., 12 notes beyond ...'."""
    counts = defaultdict(int)
    for one in skipped:
        if one.notes:
            counts[one.reason] += one.notes
    return ", ".join(f"{counted(number, 'note')} {reason}" for reason, number in counts.items())


def counted(number: int, noun: str) -> str:
    """A number with its noun, the plural with an s: '1 bar', '1,200 bars'."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
