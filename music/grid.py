"""What a song's notes are on a grid of sixteenths: parts, lines of labels, and the windows cut out of them.

A song falls into parts of one tempo and metre (`song_parts`), the notes of a part become lines of labels, one a step
(`melody_lines`, `drum_lines`, `trio_cuts`), and lines become windows (`cut_lines`); then chords, grooves, and bars of
several tracks. The converters are made of this, and it needs no tensors.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import pretty_midi
from numpy.lib.stride_tricks import sliding_window_view
from pretty_midi import PrettyMIDI

from music import performance
from music.chords import CHORDS_A_BAR, MAX_CHORDS, UNPITCHED_PROGRAMS, Harmony, guess_chords, is_chord

STEPS_PER_QUARTER = 4  # a step is a sixteenth note
MAX_BARS = 100  # of a melody or drum line; what follows is left out
MAX_TRIO_BARS = 1024
GAP_BARS = 1  # a rest this long ends a melody or drum line
TRIO_GAP_BARS = 2  # a trio's part may rest this long at either side of a note

NO_EVENT, NOTE_OFF, FIRST_PITCH = 0, 1, 2  # melody labels; FIRST_PITCH stands for MIN_PITCH
MIN_PITCH, MAX_PITCH = 21, 108  # the piano's keys, as MIDI pitches
MELODY_DEPTH = FIRST_PITCH + MAX_PITCH - MIN_PITCH + 1  # 90 classes
MELODY_PROGRAMS = tuple(range(32))  # General MIDI, from 0: pianos, mallets, organs, guitars
BASS_PROGRAMS = tuple(range(32, 40))

DRUM_PITCHES = (  # the pitches of each drum class; the first is the one written
    (36, 35),  # bass drum
    (38, 27, 28, 31, 32, 33, 34, 37, 39, 40, 56, 65, 66, 75, 85),  # snare
    (42, 44, 54, 68, 69, 70, 71, 73, 78, 80, 22),  # closed hi-hat
    (46, 67, 72, 74, 79, 81, 26),  # open hi-hat
    (45, 29, 41, 43, 61, 64, 84),  # low tom
    (48, 47, 60, 63, 77, 86, 87),  # mid tom
    (50, 30, 62, 76, 83),  # high tom
    (49, 52, 55, 57, 58),  # crash
    (51, 53, 59, 82),  # ride
)
DRUM_CLASSES = len(DRUM_PITCHES)
# fmt: off
SINGLE_DRUM_PITCHES = tuple((pitch,) for pitch in (  # 61 classes of one pitch each
    36, 35, 38, 27, 28, 31, 32, 33, 34, 37, 39, 40, 56, 65, 66, 75, 85, 42, 44, 54, 68, 69, 70, 71, 73, 78, 80, 46, 67,
    72, 74, 79, 81, 45, 29, 41, 61, 64, 84, 48, 47, 60, 63, 77, 86, 87, 50, 30, 43, 62, 76, 83, 49, 55, 57, 58, 51, 52,
    53, 59, 82,
))
# fmt: on
DRUM_SETS = {len(pitches): pitches for pitches in (DRUM_PITCHES, SINGLE_DRUM_PITCHES)}  # by their classes
DRUM_LABELS = {DRUM_CLASSES: np.uint16, len(SINGLE_DRUM_PITCHES): np.int64}  # types that hold 2^classes
ROLAND_PITCHES = (  # the same nine classes on the electronic kit of the Groove MIDI Dataset
    (36,),
    (38, 37, 40),
    (42, 22, 44),
    (46, 26),
    (43, 58),
    (47, 45),
    (50, 48),
    (49, 52, 55, 57),
    (51, 53, 59),
)
GROOVE_DEPTH = 3 * DRUM_CLASSES  # hits, velocities, offsets of each class
MAX_TRIO_TRACKS = 128  # tracks looked at

NAMES_SHOWN = 5  # names a line of the report
BAR_SLACK = 1e-6  # bars, for sums of floats that mean a bar line
SAME_MOMENT = 1e-6  # seconds, for sums of floats that mean one time
MAX_FILE_BARS = 2**31 - 2**20  # bars counted in a file; absurd time signatures have more


class Windows(NamedTuple):
    """Windows of integer labels, and where in the song each lies."""

    labels: np.ndarray  # [n, steps], trio [n, steps, 3], groove [n, steps, 27]; the type stands with each converter
    lengths: np.ndarray  # [n] steps; multitrack [n, 8], a length a track
    controls: np.ndarray | None = None  # [n, steps] int8: the class of each step's chord; -1 where padded
    track: np.ndarray | None = None  # [n] index in PrettyMIDI.instruments: the first drum track, a trio's melody
    start_bar: np.ndarray | None = None  # [n] from 0, in bars of the file as it was read
    skipped: tuple["Skipped", ...] = ()  # what of the song gave no window


class Skipped(NamedTuple):
    """Something that gave no window, and why."""

    what: str  # "song" where the whole song gave none
    reason: str


# ---- Notes on a grid ----


class Part(NamedTuple):
    """A stretch of one tempo and one metre: its notes in steps from its start, in order of start time."""

    first_bar: float  # bars of the file before it
    time_signature: tuple[int, int]
    qpm: float  # quarters a minute
    bounds: tuple[float, float]  # where it begins and ends in the song, in seconds
    times: np.ndarray  # [notes, 2] start and end in seconds from its beginning
    start: np.ndarray  # [notes] steps
    end: np.ndarray  # [notes] steps, at least start + 1
    offset: np.ndarray  # [notes] steps from the grid to where the note was played
    pitch: np.ndarray  # [notes]
    track: np.ndarray  # [notes] index in PrettyMIDI.instruments
    velocity: np.ndarray  # [notes]


def steps_of_bar(time_signature: tuple[int, int]) -> float:
    """Steps in a bar; no whole number for such as 1/32."""
    numerator, denominator = time_signature
    return STEPS_PER_QUARTER * (4.0 / denominator * numerator)


def _notes(midi: PrettyMIDI) -> np.ndarray:
    """[notes, 5]: start and end in seconds, pitch, track, velocity; in the file's order. A velocity of 0 is no note."""
    rows = [
        (note.start, note.end, note.pitch, track, note.velocity)
        for track, instrument in enumerate(midi.instruments)
        for note in instrument.notes
        if note.velocity > 0
    ]
    return np.array(rows, np.float64).reshape(-1, 5)


def _changes(midi: PrettyMIDI, end: float) -> list[tuple[float, tuple[int, int], float]]:
    """Start (seconds), time signature and tempo (quarters a minute) of each stretch in which neither changes."""
    events = [(c.time, (c.numerator, c.denominator), None) for c in midi.time_signature_changes]
    events += [(time, None, qpm) for time, qpm in zip(*midi.get_tempo_changes(), strict=True)]
    stretches = [(0.0, (4, 4), 120.0)]  # what holds in a file that does not say
    for time, new_metre, new_qpm in sorted(events, key=lambda event: event[0]):
        start, metre, qpm = stretches[-1]
        changed = (new_metre or metre, qpm if new_qpm is None else float(new_qpm))
        if time >= end or changed == (metre, qpm):
            continue
        if time > start:
            stretches.append((float(time), *changed))
        else:  # of several changes at one moment the last holds
            stretches[-1] = (start, *changed)
    return stretches


def song_parts(midi: PrettyMIDI) -> list[Part]:
    """Cuts a song, and its notes, at the changes of tempo and time signature (note_seq sequences_lib)."""
    notes = _notes(midi)
    notes = notes[np.argsort(notes[:, 0], kind="stable")]
    song_end = notes[:, 1].max(initial=0.0)
    stretches = _changes(midi, song_end)
    bounds = [start for start, _, _ in stretches] + [song_end]
    first = np.searchsorted(notes[:, 0], bounds)
    parts, bar, metre_before = [], 0.0, None
    for k, (start, metre, qpm) in enumerate(stretches):
        bar = bar if metre == metre_before else math.ceil(bar - BAR_SLACK)  # a new metre begins a bar
        parts.append(_quantize(notes[first[k] : first[k + 1]], bar, metre, start, bounds[k + 1], qpm))
        bar += (bounds[k + 1] - start) * qpm / 60.0 * STEPS_PER_QUARTER / steps_of_bar(metre)
        metre_before = metre
    return parts


def _quantize(notes: np.ndarray, bar: float, metre: tuple[int, int], start: float, end: float, qpm: float) -> Part:
    """Rounds a part's times to steps, halves up; a note takes at least one step."""
    times = np.stack([notes[:, 0], np.minimum(notes[:, 1], end)], axis=1) - start
    played = times * (STEPS_PER_QUARTER * qpm / 60.0)
    start_steps, end_steps = np.floor(played + 0.5).astype(np.int64).T
    end_steps = end_steps + (end_steps == start_steps)
    offset = played[:, 0] - start_steps
    pitch, track, velocity = notes[:, 2:].astype(np.int64).T
    return Part(bar, metre, qpm, (start, end), times, start_steps, end_steps, offset, pitch, track, velocity)


# ---- Lines of labels ----


class _Line(NamedTuple):
    """Labels of one track from the start of a bar to the end of a bar."""

    labels: np.ndarray  # [steps]
    first_step: int  # in its part
    track: int
    lost_bars: int  # left out at its end


def _runs(new: np.ndarray) -> Iterator[slice]:
    """The runs of a sequence of len(new) + 1 items; new[i] says that item i + 1 begins one."""
    bounds = [0, *(np.flatnonzero(new) + 1), len(new) + 1]
    return (slice(a, b) for a, b in itertools.pairwise(bounds))


def _paint_melody(start: np.ndarray, end: np.ndarray, pitch: np.ndarray, length: int) -> np.ndarray:
    """Labels [length] of one voice: notes by rising start, each cut off by the next one."""
    line = np.zeros(length, np.uint8)
    ends = end[np.append(end[:-1] < start[1:], True)]
    line[ends[ends < length]] = NOTE_OFF
    line[start[start < length]] = pitch[start < length] - MIN_PITCH + FIRST_PITCH
    return line


def melody_voice(part: Part, tracks: np.ndarray) -> tuple[np.ndarray, ...]:
    """Track, start, end, pitch of the notes on these tracks [tracks] bool: at equal starts the highest pitch alone."""
    kept = np.flatnonzero(tracks[part.track] & (part.pitch >= MIN_PITCH) & (part.pitch <= MAX_PITCH))
    order = kept[np.lexsort((-part.pitch[kept], part.start[kept], part.track[kept]))]
    track, start = part.track[order], part.start[order]
    top = np.ones(len(order), bool)
    top[1:] = (track[1:] != track[:-1]) | (start[1:] != start[:-1])
    return track[top], start[top], part.end[order][top], part.pitch[order][top]


def melody_lines(part: Part, tracks: np.ndarray, bar: int) -> Iterator[_Line]:
    """The melodies of a part, split where a track rests for a bar (note_seq melodies_lib, magenta melody_pipelines)."""
    track, start, end, pitch = melody_voice(part, tracks)
    if not len(track):
        return
    for run in _runs((track[1:] != track[:-1]) | (start[1:] - end[:-1] >= GAP_BARS * bar)):
        first = start[run][0] // bar * bar
        bars = -(-(end[run][-1] - first) // bar)
        labels = _paint_melody(start[run] - first, end[run] - first, pitch[run], min(bars, MAX_BARS) * bar)
        yield _Line(labels, first, track[run][0], max(0, bars - MAX_BARS))


@cache
def _class_of_pitch(classes: tuple[tuple[int, ...], ...]) -> np.ndarray:
    """[128] the class of each pitch, -1 where it has none."""
    return np.array([next((k for k, own in enumerate(classes) if pitch in own), -1) for pitch in range(128)])


def drum_hits(part: Part, tracks: np.ndarray, classes: int = DRUM_CLASSES) -> tuple[np.ndarray, np.ndarray]:
    """Step and label bit of each hit on these tracks [tracks] bool, by step; pitches of no class are left out."""
    kind = _class_of_pitch(DRUM_SETS[classes])[part.pitch]
    hits = np.flatnonzero(tracks[part.track] & (kind >= 0))
    hits = hits[np.argsort(part.start[hits], kind="stable")]
    return part.start[hits], (1 << kind[hits]).astype(DRUM_LABELS[classes])


def _paint_drums(start: np.ndarray, bits: np.ndarray, length: int) -> np.ndarray:
    """Labels [length] of the hits."""
    line = np.zeros(length, bits.dtype)
    inside = start < length
    np.bitwise_or.at(line, start[inside], bits[inside])
    return line


def drum_lines(part: Part, tracks: np.ndarray, bar: int, classes: int) -> Iterator[_Line]:
    """The drum lines of a part, all drum tracks together, split where none is hit for a bar (note_seq drums_lib)."""
    start, bits = drum_hits(part, tracks, classes)
    if not len(start):
        return
    for run in _runs(start[1:] - (start[:-1] + 1) >= GAP_BARS * bar):
        first = start[run][0] // bar * bar
        bars = -(-(start[run][-1] + 1 - first) // bar)
        labels = _paint_drums(start[run] - first, bits[run], min(bars, MAX_BARS) * bar)
        yield _Line(labels, first, np.flatnonzero(tracks)[0], max(0, bars - MAX_BARS))


# ---- Windows of labels ----


class Cut(NamedTuple):
    """Windows cut out of one part."""

    labels: np.ndarray  # [n, steps(, ...)]
    controls: np.ndarray  # [n, steps], or [n, 0] where there are none
    lengths: np.ndarray  # [n(, segments)]
    track: np.ndarray  # [n]
    first_bar: np.ndarray  # [n] in the part
    start_bar: np.ndarray  # [n] in the file


def file_bars(part: Part, bars: np.ndarray) -> np.ndarray:
    """The bars of the file in which these bars of a part begin."""
    return np.floor(min(part.first_bar, MAX_FILE_BARS) + bars + BAR_SLACK).astype(np.int64)


def cut(part: Part, labels: np.ndarray, track: np.ndarray | int, first_bar: np.ndarray) -> Cut:
    """Windows without controls that fill all their steps; first_bar [n]: where in the part each begins."""
    n = len(labels)
    lengths = np.full(n, labels.shape[1], np.int32)
    controls, track = np.zeros((n, 0), np.int8), np.broadcast_to(track, n)
    return Cut(labels, controls, lengths, track, first_bar, file_bars(part, first_bar))


def cut_lines(lines: Iterable[_Line], part: Part, converter, skipped: list[Skipped]) -> Cut | None:
    """Windows of every line of a part, a bar apart, or None; adds what gives none to `skipped`."""
    cuts, bar, steps = [], converter.steps_per_bar, converter.steps
    for line in lines:
        first_bar = line.first_step // bar
        where = f"track {line.track} from bar {file_bars(part, first_bar) + 1}"
        skipped += _line_skips(line, where, converter.bars, bar)
        if len(line.labels) >= steps:
            labels = sliding_window_view(line.labels, steps)[::bar]  # [n, steps]
            cuts.append(cut(part, labels, line.track, first_bar + np.arange(len(labels))))
    return Cut(*map(np.concatenate, zip(*cuts, strict=True))) if cuts else None


def without_leading_offs(labels: np.ndarray) -> np.ndarray:
    """Melody windows [n, steps] in which no note-off stands before the first onset."""
    sounded = np.logical_or.accumulate(labels >= FIRST_PITCH, axis=1)
    return labels * sounded


def unique(cut: Cut) -> Cut:
    """The first of each group of equal windows, in order."""
    rows = np.concatenate([_row_bytes(cut.labels), _row_bytes(cut.controls)], axis=1)
    rows = rows.view(np.dtype((np.void, rows.shape[1]))).ravel()
    first = np.sort(np.unique(rows, return_index=True)[1])
    return Cut(*(column[first] for column in cut))


def _row_bytes(array: np.ndarray) -> np.ndarray:
    """[n, bytes of a row] uint8."""
    return np.ascontiguousarray(array).reshape(len(array), -1).view(np.uint8)


def as_windows(cuts: Sequence[Cut], nothing: Cut, skipped: Sequence[Skipped]) -> Windows:
    """Joins the parts' windows; `nothing`, windows [0, ...], gives the shapes and types."""
    labels, controls, lengths, track, _, start_bar = map(np.concatenate, zip(nothing, *cuts, strict=True))
    place = track.astype(np.int16), start_bar.astype(np.int32)
    return Windows(labels, lengths, controls if nothing.controls.shape[1] else None, *place, tuple(skipped))


def drum_tracks(midi: PrettyMIDI) -> np.ndarray:
    """[tracks] bool."""
    return np.array([instrument.is_drum for instrument in midi.instruments], bool)


def trio_kinds(midi: PrettyMIDI) -> np.ndarray:
    """[3, tracks] bool: which tracks can be melody, bass and drums."""
    drums = drum_tracks(midi)
    programs = np.array([instrument.program for instrument in midi.instruments], int)
    kinds = np.stack([~drums & np.isin(programs, MELODY_PROGRAMS), ~drums & np.isin(programs, BASS_PROGRAMS), drums])
    kinds[:, MAX_TRIO_TRACKS:] = False
    return kinds


def _coverage(part: Part, bars: int, bar: int, tracks: int) -> np.ndarray:
    """[bars, tracks] bool: where a note of the track sounds."""
    inside = part.start // bar < bars
    change = np.zeros((bars + 1, tracks), np.int64)
    np.add.at(change, (part.start[inside] // bar, part.track[inside]), 1)
    np.add.at(change, (np.minimum(-(-part.end[inside] // bar), bars), part.track[inside]), -1)
    return change[:bars].cumsum(0) > 0


def _widened(coverage: np.ndarray) -> np.ndarray:
    """Coverage [bars, tracks] in which each covered bar covers TRIO_GAP_BARS bars on both sides."""
    padded = np.pad(coverage, ((TRIO_GAP_BARS, TRIO_GAP_BARS), (0, 0)))
    return sliding_window_view(padded, 2 * TRIO_GAP_BARS + 1, axis=0).any(-1)


def _trio_lines(part: Part, kinds: np.ndarray, length: int) -> dict[int, np.ndarray]:
    """Labels [length] of each track that has a label."""
    lines = {}
    track, *voice = melody_voice(part, kinds[0] | kinds[1])
    for t in np.unique(track):
        lines[t] = _paint_melody(*(column[track == t] for column in voice), length)
    for t in np.flatnonzero(kinds[2]):
        start, bits = drum_hits(part, np.arange(kinds.shape[1]) == t)
        if len(start):
            lines[t] = _paint_drums(start, bits, length)
    return lines


def trio_cuts(part: Part, kinds: np.ndarray, bar: int, bars: int) -> Iterator[Cut]:
    """Windows of each melody, bass and drum track that play together; the first and last two bars are lenient."""
    total = min(-(-part.end.max(initial=0) // bar), MAX_TRIO_BARS)
    if total < bars:
        return
    lines = _trio_lines(part, kinds, total * bar)
    coverage = _coverage(part, total, bar, kinds.shape[1])
    coverage[:, [t for t in range(kinds.shape[1]) if t not in lines]] = False
    coverage = _widened(coverage)
    for trio in itertools.product(*([t for t in np.flatnonzero(kind) if t in lines] for kind in kinds)):
        covered = coverage[:, trio].all(1)
        covered[:TRIO_GAP_BARS] = coverage[:TRIO_GAP_BARS, trio].any()
        covered[-TRIO_GAP_BARS:] = coverage[-TRIO_GAP_BARS:, trio].any()
        starts = np.flatnonzero(sliding_window_view(covered, bars).all(-1))
        if len(starts):
            labels = np.stack([lines[t].astype(np.uint16) for t in trio], -1)  # [steps, 3]
            windows = sliding_window_view(labels, bars * bar, axis=0)[starts * bar].swapaxes(1, 2)  # [n, steps, 3]
            yield cut(part, windows, trio[0], starts)


# ---- Chords ----


def _named_chords(midi: PrettyMIDI) -> list[tuple[float, str]]:
    """Time and symbol of a song's chords: its text events, or else its lyrics, where most of them are chord symbols."""
    for events in (midi.text_events, midi.lyrics):
        chords = [(float(event.time), text) for event in events if is_chord(text := event.text.strip())]
        if 2 * len(chords) > len(events):
            return sorted(chords, key=lambda chord: chord[0])
    return []


def _chords_in(part: Part, named: Sequence[tuple[float, str]]) -> Harmony | None:
    """The chords named in a part, or before it and still in force; None where there is none."""
    start, end = part.bounds
    chords = [(0.0, symbol) for time, symbol in named if time <= start][-1:]
    chords += [(time - start, symbol) for time, symbol in named if start < time < end]
    return Harmony(np.array([time for time, _ in chords]), tuple(symbol for _, symbol in chords)) if chords else None


def _why_no_harmony(part: Part, seconds: float, chord_seconds: float | None) -> str | None:
    """Why the chords of a part that names none cannot be guessed, if they cannot."""
    if chord_seconds is None:
        return f"no chords named, and none guessed in {fraction(part.time_signature)}"
    if math.ceil(seconds / chord_seconds) > MAX_CHORDS:
        return f"no chords named, and more than {MAX_CHORDS} to guess"
    return None


def harmony(
    part: Part, midi: PrettyMIDI, notes: performance.Notes, seconds: float, steps_per_quarter: int
) -> Harmony | str:
    """The chords of a part that lasts so many seconds, named, or guessed from its notes; or why there are none.

    Guessed chords begin on a grid of whole steps.
    """
    if named := _chords_in(part, _named_chords(midi)):
        return named
    chords = CHORDS_A_BAR.get(part.time_signature)
    steps = steps_of_bar(part.time_signature) * steps_per_quarter // STEPS_PER_QUARTER
    chord_seconds = steps // chords / (steps_per_quarter * part.qpm / 60.0) if chords else None
    if reason := _why_no_harmony(part, seconds, chord_seconds):
        return reason
    kinds = [not (track.is_drum or track.program in UNPITCHED_PROGRAMS) for track in midi.instruments]
    sounding = np.array(kinds, bool)[notes.track]
    return guess_chords(notes.times[sounding], notes.pitch[sounding], seconds, chord_seconds)


def chord_steps(seconds: np.ndarray, steps_per_quarter: int, qpm: float) -> np.ndarray:
    """Steps of a grid nearest to these times, halves up."""
    return np.floor(seconds * (steps_per_quarter * qpm / 60.0) + 0.5).astype(np.int64)


def with_classes(cut: Cut, harmony: Harmony, skipped: list[Skipped]) -> Cut:
    """Windows whose controls are indices of a harmony's chords, with their classes; those with a chord of none go."""
    classes = harmony.classes[cut.controls]
    good = (classes >= 0).all(axis=1)
    if not good.all():
        names = (*harmony.symbols, "")
        odd = sorted({names[k] for k in np.unique(cut.controls[~good]) if harmony.classes[k] < 0})
        reason = f"no major, minor, augmented or diminished triad; {', '.join(odd[:NAMES_SHOWN])}"
        skipped.append(Skipped(f"chords of {counted(int((~good).sum()), 'window')}", reason))
    return Cut(*(column[good] for column in cut._replace(controls=classes)))


# ---- Grooves ----


def groove_hits(midi: PrettyMIDI, part: Part, kit: tuple[tuple[int, ...], ...]) -> tuple[np.ndarray, ...]:
    """Step, class, velocity and time of the hits of a song of one part; of one step and class the loudest, once."""
    notes = _notes(midi)
    pitch, track = notes[:, 2:4].astype(np.int64).T
    kind = np.where(drum_tracks(midi)[track], _class_of_pitch(kit)[pitch], -1)
    step = np.floor(notes[:, 0] * (STEPS_PER_QUARTER * part.qpm / 60.0) + 0.5).astype(np.int64)
    hits = np.flatnonzero(kind >= 0)
    hits = hits[np.lexsort((-notes[hits, 4], kind[hits], step[hits]))]  # of equal velocities the first in the file
    new = np.append(True, (np.diff(step[hits]) != 0) | (np.diff(kind[hits]) != 0))[: len(hits)]
    hits = hits[new]
    return step[hits], kind[hits], notes[hits, 4], notes[hits, 0]


def paint_groove(hits: tuple[np.ndarray, ...], qpm: float, length: int) -> np.ndarray:
    """Labels float32 [length, 27] of the hits."""
    step, kind, velocity, time = hits
    step_seconds = 60.0 / qpm / STEPS_PER_QUARTER
    labels = np.zeros((length, 3, DRUM_CLASSES))
    labels[step, 0, kind] = 1
    labels[step, 1, kind] = velocity / 127
    labels[step, 2, kind] = (step_seconds * step - time) / step_seconds * 2
    return labels.reshape(length, GROOVE_DEPTH).astype(np.float32)


# ---- Bars of several tracks ----


def pedalled(part: Part, midi: PrettyMIDI) -> tuple[performance.Notes, float]:
    """A part's notes, which sound as long as the pedal holds them, and its length in seconds."""
    notes = performance.Notes(part.times.copy(), part.pitch, part.track, part.velocity)
    stays = np.ones(len(part.track), bool)
    pedals = [_pedal(instrument, part.bounds) for instrument in midi.instruments]
    pitched = np.flatnonzero(~drum_tracks(midi)[part.track])
    last = max((times.max(initial=0.0) for times in (part.times[pitched], *(p[:, 0] for p in pedals))), default=0.0)
    for track, pedal in enumerate(pedals):
        own = pitched[part.track[pitched] == track]
        if pedal[:, 1].any() and len(own):
            held = performance.hold_with_pedal(*part.times[own].T, part.pitch[own], pedal, last)
            notes.times[own, 1], stays[own] = held
    seconds = max(part.times[:, 1].max(initial=0.0), notes.times[:, 1].max(initial=0.0))
    return performance.Notes(*(column[stays] for column in notes)), float(seconds)


def _pedal(instrument: pretty_midi.Instrument, bounds: tuple[float, float]) -> np.ndarray:
    """[changes, 2] of a track's pedal in a part: seconds from its beginning, and 1 down or 0 up, down first."""
    changes = [
        (float(change.time), int(change.value >= performance.PEDAL_DOWN))
        for change in instrument.control_changes
        if change.number == performance.PEDAL and change.time < bounds[1]
    ]
    changes.sort(key=lambda change: change[0])
    before = [(0.0, down) for time, down in changes if time <= bounds[0]][-1:]
    inside = [(time - bounds[0], down) for time, down in changes if time > bounds[0]]
    return np.array(sorted(before + inside, key=lambda change: (change[0], -change[1]))).reshape(-1, 2)


def bar_chords(bars: performance.Bars, harmony: Harmony, bounds: np.ndarray, qpm: float) -> np.ndarray:
    """The index [bars, 8, 64] of the chord in force at each token; -1, none, where a token takes no time."""
    bar = np.searchsorted(bounds, harmony.seconds + SAME_MOMENT, "right") - 1
    steps = chord_steps(harmony.seconds - bounds[bar], performance.STEPS_PER_QUARTER, qpm)
    span = performance.STEPS_PER_BAR + 1
    at = np.minimum(bars.steps, bars.last_step[:, None, None] - 1) + bars.bar[:, None, None] * span
    return np.where(bars.steps < 0, -1, harmony.at(at, bar * span + steps))


def bar_skips(refused: performance.Refused, part: Part) -> Iterator[Skipped]:
    """The bars that give no window, by reason."""
    for reason in np.unique(refused.reason):
        bars = file_bars(part, refused.bar[refused.reason == reason])
        yield Skipped(f"{counted(len(bars), 'bar')} from bar {bars[0] + 1}", str(reason))


# ---- In words ----


def fraction(time_signature: tuple[int, int]) -> str:
    """3/4; the power of two where a damaged file has a denominator without end."""
    numerator, denominator = time_signature
    return f"{numerator}/{denominator if denominator < 1024 else f'2^{denominator.bit_length() - 1}'}"


def metre_skip(part: Part) -> Skipped:
    return Skipped(f"from bar {file_bars(part, np.int64(0)) + 1}", f"bars of {fraction(part.time_signature)}")


def _line_skips(line: _Line, where: str, bars: int, bar: int) -> Iterator[Skipped]:
    """A line too short for a window of `bars` bars, or the end of one too long."""
    length = len(line.labels) // bar
    if length < bars:
        yield Skipped(where, f"{counted(length, 'bar')} between rests, shorter than {bars} bars")
    if line.lost_bars:
        yield Skipped(where, f"{counted(line.lost_bars, 'bar')} after the first {MAX_BARS}")


def counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
