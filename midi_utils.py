"""From MIDI files to label arrays and back: MusicVAE's view of music (Roberts et al. 2018, sections 3 and 4).

Read top to bottom it follows the data: a file becomes a `PrettyMIDI` (`load_midi`), its notes are laid on a grid of
sixteenths, part by part of one tempo and metre (`_song_parts`), a converter cuts windows of labels out of the parts
(`to_arrays`), and `load_songs` does so for a folder and says what became of every file. The labels equal those of
Magenta's converters (music_vae/data.py, data_hierarchical.py) on every file that both read, but for this: tracks of one
program stand in a bar in their order in the file, a pedal left down cuts off no drums, a change after the last note
costs no groove, and of two chords on one step the later holds, where Magenta gives nothing. Unlike Magenta, this module
mends files that pretty_midi refuses, drops windows that occur twice in a set, and says why a song gives none.
"""

import gc
import hashlib
import io
import itertools
import math
import os
import warnings
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pretty_midi
import torch
from numpy.lib.stride_tricks import sliding_window_view
from pretty_midi import PrettyMIDI
from torch import Tensor
from tqdm.auto import tqdm

import midi_performance as performance
from chords import (
    CHORD_DEPTH,
    CHORDS_A_BAR,
    MAX_CHORDS,
    UNPITCHED_PROGRAMS,
    Harmony,
    chord_symbol,
    chords_to_controls,
    guess_chords,
    is_chord,
    transposed_chords,
)
from draws import Source, integers, uniform
from midi_repair import MidiError, repair
from song_cache import (
    Columns,
    Rows,
    Shard,
    Song,
    content_digest,
    converter_folder,
    file_digest,
    find_songs,
    write_shard,
)

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
DRUMS_DEPTH = 2**DRUM_CLASSES  # 512 classes: a label is the sum of 2^class over the hits
# fmt: off
SINGLE_DRUM_PITCHES = tuple((pitch,) for pitch in (  # 61 classes of one pitch each
    36, 35, 38, 27, 28, 31, 32, 33, 34, 37, 39, 40, 56, 65, 66, 75, 85, 42, 44, 54, 68, 69, 70, 71, 73, 78, 80, 46, 67,
    72, 74, 79, 81, 45, 29, 41, 61, 64, 84, 48, 47, 60, 63, 77, 86, 87, 50, 30, 43, 62, 76, 83, 49, 55, 57, 58, 51, 52,
    53, 59, 82,
))
# fmt: on
DRUM_SETS = {len(pitches): pitches for pitches in (DRUM_PITCHES, SINGLE_DRUM_PITCHES)}  # by their classes
DRUM_LABELS = {DRUM_CLASSES: np.uint16, len(SINGLE_DRUM_PITCHES): np.int64}  # types that hold 2^classes
DRUM_OUTPUTS = ("categorical", "roll")
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
KITS = {"roland": ROLAND_PITCHES, "general_midi": DRUM_PITCHES}
GROOVE_DEPTH = 3 * DRUM_CLASSES  # hits, velocities, offsets of each class
TAP_CLASS = 3  # a tapped rhythm stands where the open hi-hat does
MIN_SOFTNESS = 0.2  # of a note in the draw which to drop; it is 1 minus the velocity
MAX_OFFSET_STEPS = 0.499  # of a hit written, which is read at the same step then
MAX_GROOVE_BARS = 4096
TRIO_DEPTHS = (MELODY_DEPTH, MELODY_DEPTH, DRUMS_DEPTH)  # melody, bass, drums
TRIO_NAMES = ("a melody track (programs 0-31)", "a bass track (programs 32-39)", "a drum track")
MAX_TRIO_TRACKS = 128  # tracks looked at

VELOCITY = 80  # of every note written
TICKS_PER_QUARTER = 480  # of every file written
GROOVE_TICKS_PER_QUARTER = 9600  # of every groove written, whose timing is finer
QPM_RANGE = (4, 1000)  # of the tempos written; MIDI itself ends at 3.6
WRITTEN_TRIO_PROGRAMS = (0, 33, 0)  # grand piano, fingered bass, standard drum kit

BUILT_IN = "built_in"  # subfolder whose songs are taken where there are no others
MIDI_SUFFIXES = (".mid", ".midi", ".kar", ".rmi")
FEW_FILES = 32  # below this, starting worker processes takes longer than they save
CHUNK_FILES = 4  # files a worker reads at a time
MAX_WORKERS = 61  # processes that Windows can wait for
EXECUTOR_WORKERS = 64  # of an executor that is given, unless `workers` says otherwise
QUEUED_CHUNKS = 4  # a worker, read and not yet taken up or still to read
SHARD_FILES = 1024  # songs kept in one file of a cache, at most
SHARD_BYTES = 2**27  # of their windows, about
MEMORY_BYTES = 2**30  # of labels that are put into one array; more stay in the shards they came in
OFF_GRID_STEPS = 0.2  # mean distance of the onsets from the grid above which a song is called off it; chance gives 0.25
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


class Tensors(NamedTuple):
    """What the model reads: dense float32 frames, all zero from a window's length on."""

    inputs: Tensor  # [n, steps, input_depth]
    targets: Tensor  # [n, steps, output_depth]
    lengths: Tensor  # [n] steps, or [n, 8]
    controls: Tensor | None  # [n, steps, control_depth]


# ---- Reading a file ----


def load_midi(path: str | os.PathLike) -> PrettyMIDI:
    """Reads a MIDI file, mending it where pretty_midi refuses it; what was mended is said in a warning.

    Raises:
        MidiError: no such file, no MIDI file, or one that is cut off or beyond mending; names the file and the fault.
    """
    midi, mended = _read(path)
    if mended:
        warnings.warn(f"{path}: read after mending: {'; '.join(mended)}", stacklevel=2)
    return midi


def _read(path: str | os.PathLike) -> tuple[PrettyMIDI, list[str]]:
    """The song, and what had to be mended."""
    return _parsed(path, _file_bytes(path))


def _parsed(path: str | os.PathLike, data: bytes) -> tuple[PrettyMIDI, list[str]]:
    """The song that a file's bytes hold, and what had to be mended."""
    try:
        midi = PrettyMIDI(io.BytesIO(data))
        if midi.resolution > 0:
            return midi, []
    except Exception:  # whatever a damaged file leads pretty_midi and mido into
        pass
    try:
        data, mended = repair(data)
        return PrettyMIDI(io.BytesIO(data)), mended
    except MidiError as error:
        raise MidiError(f"{path}: {error}") from None
    except Exception as error:
        raise MidiError(f"{path}: cannot be read even after mending ({type(error).__name__}: {error})") from error


def _file_bytes(path: str | os.PathLike) -> bytes:
    if Path(path).is_dir():
        raise MidiError(f"{path}: is a folder, not a MIDI file; load_songs reads folders")
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise MidiError(f"{path}: there is no such file") from None
    except OSError as error:
        raise MidiError(f"{path}: cannot be opened ({error.strerror or error})") from error
    if not data:
        raise MidiError(f"{path}: the file is empty")
    return data


# ---- Notes on a grid ----


class _Part(NamedTuple):
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


def _bar_steps(time_signature: tuple[int, int]) -> float:
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


def _song_parts(midi: PrettyMIDI) -> list[_Part]:
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
        bar += (bounds[k + 1] - start) * qpm / 60.0 * STEPS_PER_QUARTER / _bar_steps(metre)
        metre_before = metre
    return parts


def _quantize(notes: np.ndarray, bar: float, metre: tuple[int, int], start: float, end: float, qpm: float) -> _Part:
    """Rounds a part's times to steps, halves up; a note takes at least one step."""
    times = np.stack([notes[:, 0], np.minimum(notes[:, 1], end)], axis=1) - start
    played = times * (STEPS_PER_QUARTER * qpm / 60.0)
    start_steps, end_steps = np.floor(played + 0.5).astype(np.int64).T
    end_steps = end_steps + (end_steps == start_steps)
    offset = played[:, 0] - start_steps
    pitch, track, velocity = notes[:, 2:].astype(np.int64).T
    return _Part(bar, metre, qpm, (start, end), times, start_steps, end_steps, offset, pitch, track, velocity)


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


def _melody_voice(part: _Part, tracks: np.ndarray) -> tuple[np.ndarray, ...]:
    """Track, start, end, pitch of the notes on these tracks [tracks] bool: at equal starts the highest pitch alone."""
    kept = np.flatnonzero(tracks[part.track] & (part.pitch >= MIN_PITCH) & (part.pitch <= MAX_PITCH))
    order = kept[np.lexsort((-part.pitch[kept], part.start[kept], part.track[kept]))]
    track, start = part.track[order], part.start[order]
    top = np.ones(len(order), bool)
    top[1:] = (track[1:] != track[:-1]) | (start[1:] != start[:-1])
    return track[top], start[top], part.end[order][top], part.pitch[order][top]


def _melody_lines(part: _Part, tracks: np.ndarray, bar: int) -> Iterator[_Line]:
    """The melodies of a part, split where a track rests for a bar (note_seq melodies_lib, magenta melody_pipelines)."""
    track, start, end, pitch = _melody_voice(part, tracks)
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


def _drum_hits(part: _Part, tracks: np.ndarray, classes: int = DRUM_CLASSES) -> tuple[np.ndarray, np.ndarray]:
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


def _drum_lines(part: _Part, tracks: np.ndarray, bar: int, classes: int) -> Iterator[_Line]:
    """The drum lines of a part, all drum tracks together, split where none is hit for a bar (note_seq drums_lib)."""
    start, bits = _drum_hits(part, tracks, classes)
    if not len(start):
        return
    for run in _runs(start[1:] - (start[:-1] + 1) >= GAP_BARS * bar):
        first = start[run][0] // bar * bar
        bars = -(-(start[run][-1] + 1 - first) // bar)
        labels = _paint_drums(start[run] - first, bits[run], min(bars, MAX_BARS) * bar)
        yield _Line(labels, first, np.flatnonzero(tracks)[0], max(0, bars - MAX_BARS))


# ---- Windows of labels ----


class _Cut(NamedTuple):
    """Windows cut out of one part."""

    labels: np.ndarray  # [n, steps(, ...)]
    controls: np.ndarray  # [n, steps], or [n, 0] where there are none
    lengths: np.ndarray  # [n(, segments)]
    track: np.ndarray  # [n]
    first_bar: np.ndarray  # [n] in the part
    start_bar: np.ndarray  # [n] in the file


def _file_bars(part: _Part, bars: np.ndarray) -> np.ndarray:
    """The bars of the file in which these bars of a part begin."""
    return np.floor(min(part.first_bar, MAX_FILE_BARS) + bars + BAR_SLACK).astype(np.int64)


def _cut(part: _Part, labels: np.ndarray, track: np.ndarray | int, first_bar: np.ndarray) -> _Cut:
    """Windows without controls that fill all their steps; first_bar [n]: where in the part each begins."""
    n = len(labels)
    lengths = np.full(n, labels.shape[1], np.int32)
    controls, track = np.zeros((n, 0), np.int8), np.broadcast_to(track, n)
    return _Cut(labels, controls, lengths, track, first_bar, _file_bars(part, first_bar))


def _cut_lines(lines: Iterable[_Line], part: _Part, converter, skipped: list[Skipped]) -> _Cut | None:
    """Windows of every line of a part, a bar apart, or None; adds what gives none to `skipped`."""
    cuts, bar, steps = [], converter.steps_per_bar, converter.steps
    for line in lines:
        first_bar = line.first_step // bar
        where = f"track {line.track} from bar {_file_bars(part, first_bar) + 1}"
        skipped += _line_skips(line, where, converter.bars, bar)
        if len(line.labels) >= steps:
            labels = sliding_window_view(line.labels, steps)[::bar]  # [n, steps]
            cuts.append(_cut(part, labels, line.track, first_bar + np.arange(len(labels))))
    return _Cut(*map(np.concatenate, zip(*cuts, strict=True))) if cuts else None


def _without_leading_offs(labels: np.ndarray) -> np.ndarray:
    """Melody windows [n, steps] in which no note-off stands before the first onset."""
    sounded = np.logical_or.accumulate(labels >= FIRST_PITCH, axis=1)
    return labels * sounded


def _unique(cut: _Cut) -> _Cut:
    """The first of each group of equal windows, in order."""
    rows = np.concatenate([_row_bytes(cut.labels), _row_bytes(cut.controls)], axis=1)
    rows = rows.view(np.dtype((np.void, rows.shape[1]))).ravel()
    first = np.sort(np.unique(rows, return_index=True)[1])
    return _Cut(*(column[first] for column in cut))


def _row_bytes(array: np.ndarray) -> np.ndarray:
    """[n, bytes of a row] uint8."""
    return np.ascontiguousarray(array).reshape(len(array), -1).view(np.uint8)


def _as_windows(cuts: Sequence[_Cut], nothing: _Cut, skipped: Sequence[Skipped]) -> Windows:
    """Joins the parts' windows; `nothing`, windows [0, ...], gives the shapes and types."""
    labels, controls, lengths, track, _, start_bar = map(np.concatenate, zip(nothing, *cuts, strict=True))
    place = track.astype(np.int16), start_bar.astype(np.int32)
    return Windows(labels, lengths, controls if nothing.controls.shape[1] else None, *place, tuple(skipped))


def _drum_tracks(midi: PrettyMIDI) -> np.ndarray:
    """[tracks] bool."""
    return np.array([instrument.is_drum for instrument in midi.instruments], bool)


def _trio_kinds(midi: PrettyMIDI) -> np.ndarray:
    """[3, tracks] bool: which tracks can be melody, bass and drums."""
    drums = _drum_tracks(midi)
    programs = np.array([instrument.program for instrument in midi.instruments], int)
    kinds = np.stack([~drums & np.isin(programs, MELODY_PROGRAMS), ~drums & np.isin(programs, BASS_PROGRAMS), drums])
    kinds[:, MAX_TRIO_TRACKS:] = False
    return kinds


def _coverage(part: _Part, bars: int, bar: int, tracks: int) -> np.ndarray:
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


def _trio_lines(part: _Part, kinds: np.ndarray, length: int) -> dict[int, np.ndarray]:
    """Labels [length] of each track that has a label."""
    lines = {}
    track, *voice = _melody_voice(part, kinds[0] | kinds[1])
    for t in np.unique(track):
        lines[t] = _paint_melody(*(column[track == t] for column in voice), length)
    for t in np.flatnonzero(kinds[2]):
        start, bits = _drum_hits(part, np.arange(kinds.shape[1]) == t)
        if len(start):
            lines[t] = _paint_drums(start, bits, length)
    return lines


def _trio_cuts(part: _Part, kinds: np.ndarray, bar: int, bars: int) -> Iterator[_Cut]:
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
            yield _cut(part, windows, trio[0], starts)


# ---- Chords ----


def _named_chords(midi: PrettyMIDI) -> list[tuple[float, str]]:
    """Time and symbol of a song's chords: its text events, or else its lyrics, where most of them are chord symbols."""
    for events in (midi.text_events, midi.lyrics):
        chords = [(float(event.time), text) for event in events if is_chord(text := event.text.strip())]
        if 2 * len(chords) > len(events):
            return sorted(chords, key=lambda chord: chord[0])
    return []


def _chords_in(part: _Part, named: Sequence[tuple[float, str]]) -> Harmony | None:
    """The chords named in a part, or before it and still in force; None where there is none."""
    start, end = part.bounds
    chords = [(0.0, symbol) for time, symbol in named if time <= start][-1:]
    chords += [(time - start, symbol) for time, symbol in named if start < time < end]
    return Harmony(np.array([time for time, _ in chords]), tuple(symbol for _, symbol in chords)) if chords else None


def _why_no_harmony(part: _Part, seconds: float, chord_seconds: float | None) -> str | None:
    """Why the chords of a part that names none cannot be guessed, if they cannot."""
    if chord_seconds is None:
        return f"no chords named, and none guessed in {_fraction(part.time_signature)}"
    if math.ceil(seconds / chord_seconds) > MAX_CHORDS:
        return f"no chords named, and more than {MAX_CHORDS} to guess"
    return None


def _harmony(
    part: _Part, midi: PrettyMIDI, notes: performance.Notes, seconds: float, steps_per_quarter: int
) -> Harmony | str:
    """The chords of a part that lasts so many seconds, named, or guessed from its notes; or why there are none.

    Guessed chords begin on a grid of whole steps.
    """
    if named := _chords_in(part, _named_chords(midi)):
        return named
    chords = CHORDS_A_BAR.get(part.time_signature)
    steps = _bar_steps(part.time_signature) * steps_per_quarter // STEPS_PER_QUARTER
    chord_seconds = steps // chords / (steps_per_quarter * part.qpm / 60.0) if chords else None
    if reason := _why_no_harmony(part, seconds, chord_seconds):
        return reason
    kinds = [not (track.is_drum or track.program in UNPITCHED_PROGRAMS) for track in midi.instruments]
    sounding = np.array(kinds, bool)[notes.track]
    return guess_chords(notes.times[sounding], notes.pitch[sounding], seconds, chord_seconds)


def _chord_steps(seconds: np.ndarray, steps_per_quarter: int, qpm: float) -> np.ndarray:
    """Steps of a grid nearest to these times, halves up."""
    return np.floor(seconds * (steps_per_quarter * qpm / 60.0) + 0.5).astype(np.int64)


def _with_classes(cut: _Cut, harmony: Harmony, skipped: list[Skipped]) -> _Cut:
    """Windows whose controls are indices of a harmony's chords, with their classes; those with a chord of none go."""
    classes = harmony.classes[cut.controls]
    good = (classes >= 0).all(axis=1)
    if not good.all():
        names = (*harmony.symbols, "")
        odd = sorted({names[k] for k in np.unique(cut.controls[~good]) if harmony.classes[k] < 0})
        reason = f"no major, minor, augmented or diminished triad; {', '.join(odd[:NAMES_SHOWN])}"
        skipped.append(Skipped(f"chords of {_count(int((~good).sum()), 'window')}", reason))
    return _Cut(*(column[good] for column in cut._replace(controls=classes)))


# ---- Grooves ----


def _groove_hits(midi: PrettyMIDI, part: _Part, kit: tuple[tuple[int, ...], ...]) -> tuple[np.ndarray, ...]:
    """Step, class, velocity and time of the hits of a song of one part; of one step and class the loudest, once."""
    notes = _notes(midi)
    pitch, track = notes[:, 2:4].astype(np.int64).T
    kind = np.where(_drum_tracks(midi)[track], _class_of_pitch(kit)[pitch], -1)
    step = np.floor(notes[:, 0] * (STEPS_PER_QUARTER * part.qpm / 60.0) + 0.5).astype(np.int64)
    hits = np.flatnonzero(kind >= 0)
    hits = hits[np.lexsort((-notes[hits, 4], kind[hits], step[hits]))]  # of equal velocities the first in the file
    new = np.append(True, (np.diff(step[hits]) != 0) | (np.diff(kind[hits]) != 0))[: len(hits)]
    hits = hits[new]
    return step[hits], kind[hits], notes[hits, 4], notes[hits, 0]


def _paint_groove(hits: tuple[np.ndarray, ...], qpm: float, length: int) -> np.ndarray:
    """Labels float32 [length, 27] of the hits."""
    step, kind, velocity, time = hits
    step_seconds = 60.0 / qpm / STEPS_PER_QUARTER
    labels = np.zeros((length, 3, DRUM_CLASSES))
    labels[step, 0, kind] = 1
    labels[step, 1, kind] = velocity / 127
    labels[step, 2, kind] = (step_seconds * step - time) / step_seconds * 2
    return labels.reshape(length, GROOVE_DEPTH).astype(np.float32)


# ---- Bars of several tracks ----


def _pedalled(part: _Part, midi: PrettyMIDI) -> tuple[performance.Notes, float]:
    """A part's notes, which sound as long as the pedal holds them, and its length in seconds."""
    notes = performance.Notes(part.times.copy(), part.pitch, part.track, part.velocity)
    stays = np.ones(len(part.track), bool)
    pedals = [_pedal(instrument, part.bounds) for instrument in midi.instruments]
    pitched = np.flatnonzero(~_drum_tracks(midi)[part.track])
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


def _bar_chords(bars: performance.Bars, harmony: Harmony, bounds: np.ndarray, qpm: float) -> np.ndarray:
    """The index [bars, 8, 64] of the chord in force at each token; -1, none, where a token takes no time."""
    bar = np.searchsorted(bounds, harmony.seconds + SAME_MOMENT, "right") - 1
    steps = _chord_steps(harmony.seconds - bounds[bar], performance.STEPS_PER_QUARTER, qpm)
    span = performance.STEPS_PER_BAR + 1
    at = np.minimum(bars.steps, bars.last_step[:, None, None] - 1) + bars.bar[:, None, None] * span
    return np.where(bars.steps < 0, -1, harmony.at(at, bar * span + steps))


def _bar_skips(refused: performance.Refused, part: _Part) -> Iterator[Skipped]:
    """The bars that give no window, by reason."""
    for reason in np.unique(refused.reason):
        bars = _file_bars(part, refused.bar[refused.reason == reason])
        yield Skipped(f"{_count(len(bars), 'bar')} from bar {bars[0] + 1}", str(reason))


# ---- Converters ----


class _BarsConverter:
    """What the converters share: windows of whole bars, cut out of each part of a song whose bars are as long."""

    chords = False  # whether the chord of each step goes with the notes
    cut_at_changes = True  # of tempo or metre, into parts
    needs_grid = True  # whether a song off the sixteenths makes poor windows

    def __post_init__(self) -> None:
        for field, value in vars(self).items():  # what JSON or a caller gives as a list compares and hashes as a tuple
            if isinstance(value, list | range):
                object.__setattr__(self, field, tuple(value))
        bar_steps = _bar_steps(self.time_signature)
        if bar_steps < 1 or bar_steps % 1:
            raise ValueError(f"a bar of {_fraction(self.time_signature)} is no whole number of sixteenths")
        if self.bars < 1:
            raise ValueError(f"bars is {self.bars}; a window has at least one")

    @property
    def steps_per_bar(self) -> int:
        return int(_bar_steps(self.time_signature))

    @property
    def steps(self) -> int:
        """Steps of a window."""
        return self.bars * self.steps_per_bar

    @property
    def control_depth(self) -> int:
        """Classes of chords, or 0 where nothing beside the music is read."""
        return CHORD_DEPTH if self.chords else 0

    def to_arrays(self, midi: PrettyMIDI) -> Windows:
        """Every window of a song, a bar apart unless its class says otherwise; what labels mean stands there too."""
        parts = _song_parts(midi)
        skipped = [
            Skipped(_track_name(track, instrument), refusal)
            for track, instrument in enumerate(midi.instruments)
            if (refusal := self._refusal(instrument))
        ]
        skipped += [_metre_skip(part) for part in parts if not self._fits(part)]
        cuts = []
        if self.cut_at_changes or len(parts) == 1:
            cuts = [cut for part in filter(self._fits, parts) for cut in self._cuts(part, midi, skipped)]
        if not any(len(cut.labels) for cut in cuts):
            skipped.insert(0, Skipped("song", self._why_nothing(midi, parts, skipped)))
        return _as_windows(cuts, self._nothing(), skipped)

    def _nothing(self) -> _Cut:
        """No windows, of the right shapes and types."""
        controls = np.zeros((0, self.steps if self.chords else 0), np.int8)
        return _Cut(self._no_labels(), controls, np.zeros(0, np.int32), *np.zeros((3, 0), np.int64))

    def _fits(self, part: _Part) -> bool:
        """Whether a part's bars are as long as the converter's."""
        return _bar_steps(part.time_signature) == self.steps_per_bar

    def _why_nothing(self, midi: PrettyMIDI, parts: Sequence[_Part], skipped: Sequence[Skipped]) -> str:
        """Why a song gives no window at all."""
        if not self.cut_at_changes and len(parts) > 1:
            metres = {part.time_signature for part in parts}
            return f"a change of {'tempo' if len(metres) == 1 else 'time signature'}, which a groove does not take"
        parts = [part for part in parts if len(part.start)]
        if not parts:
            return "no notes"
        others = " and ".join(dict.fromkeys(_fraction(p.time_signature) for p in parts if not self._fits(p)))
        if not any(map(self._fits, parts)):
            return f"{others} throughout"
        chordless = [reason for what, reason in skipped if what.startswith("chords")]
        reason = chordless[0] if chordless else self._why_no_window(midi, list(filter(self._fits, parts)))
        return f"{reason}; {others} elsewhere" if others and "; " not in reason else reason

    def _why_short(self, ends: Iterable[np.ndarray]) -> str | None:
        """A reason if no part reaches to a window's length; ends [notes] in steps, an array a part."""
        longest = max((-(-end.max() // self.steps_per_bar) for end in ends if len(end)), default=0)
        return f"shorter than {self.bars} bars" if longest < self.bars else None


@dataclass(frozen=True)
class MelodyConverter(_BarsConverter):
    """Windows of one voice: a label a step, 0 no event, 1 note-off, 2 to 89 the pitches 21 to 108.

    to_arrays gives uint8 [n, steps]: the highest notes of each track whose program is taken, a later note cutting off
    an earlier one; a bar's rest ends a melody; of equal windows in a stretch of one tempo and metre the first is kept.
    Magenta: OneHotMelodyConverter.

    With chords, controls int8 [n, steps] hold the class of each step's chord (see chords.py). The chords are the song's
    text events, or else its lyrics, where most of them are chord symbols; otherwise they are guessed from the notes, as
    Magenta always does, which reads no text from MIDI files. A window with a chord of no class is left out.
    """

    bars: int = 2  # of a window
    time_signature: tuple[int, int] = (4, 4)  # of the bars taken; others as long pass too: 2/2 for 4/4, 6/8 for 3/4
    programs: tuple[int, ...] | None = MELODY_PROGRAMS  # General MIDI programs taken, from 0; None takes every one
    chords: bool = False  # whether the chord of each step goes with the notes

    input_depth = output_depth = MELODY_DEPTH

    def from_arrays(
        self,
        labels: np.ndarray | Tensor,
        qpm: float = 120.0,
        program: int | None = None,
        controls: np.ndarray | Tensor | None = None,
    ) -> PrettyMIDI:
        """Writes one window [steps] as a song; qpm in quarters a minute, program 0 (grand piano) unless given.

        Read back by `to_arrays` it gives the same one window if an onset stands in the first bar, the last bar is
        reached by a note or its note-off, no rest between takes a bar, and each note-off ends a note. The labels do not
        say what an empty first or last bar stood for (silence, a note held on), and a window of zeros has no note. The
        chords of controls [steps], classes 0 to 48, become text events.
        """
        labels = _checked_labels(labels, (MELODY_DEPTH,))
        midi = _empty_song(qpm, self.time_signature)
        midi.instruments.append(_melody_track(labels, _checked_program(0 if program is None else program), qpm))
        if controls is not None:
            classes = _checked_controls(controls, labels)
            _name_chords(midi, np.arange(len(labels)), classes, 60.0 / qpm / STEPS_PER_QUARTER)
        return midi

    def chord_controls(self, symbols: Sequence[str]) -> np.ndarray:
        """Controls int8 [steps] of chord symbols that share a window's steps equally: ["C", "F", "G7", "C"]."""
        return chords_to_controls(symbols, self.steps)

    def to_tensors(self, windows: Windows, generator: torch.Generator | None = None) -> Tensors:
        """One-hot frames [n, steps, 90] on the labels' device; inputs and targets are the same tensor."""
        labels, lengths, kept = _on_device(windows)
        frames = _one_hot(labels, kept, MELODY_DEPTH)
        return Tensors(frames, frames, lengths, _chord_frames(self, windows, labels, kept))

    def from_tensors(self, outputs: Tensor) -> Tensor:
        """Labels int64 [n, steps] of outputs [n, steps, 90]: the class of the largest value."""
        return _largest(outputs, MELODY_DEPTH)[..., 0]

    def transpose(self, labels: Tensor, semitones: Tensor) -> Tensor:
        """Moves the notes of windows [n, steps] by semitones [n]; a window that would leave the keys stays as it is."""
        return _transposed(labels[..., None], semitones)[..., 0]

    def transpose_controls(self, labels: Tensor, controls: Tensor, semitones: Tensor) -> Tensor:
        """Moves the chords of windows as `transpose` moves their notes [n, steps]: those of one that stays stay."""
        semitones = semitones * _stays_on_keys(labels[..., None], semitones)
        return transposed_chords(controls, semitones[:, None]).to(controls.dtype)

    def _no_labels(self) -> np.ndarray:
        return np.zeros((0, self.steps), np.uint8)

    def _refusal(self, instrument: pretty_midi.Instrument) -> str | None:
        """Why a track is not taken, if it is not."""
        if instrument.is_drum:
            return "drums"
        if self.programs is None or instrument.program in self.programs:
            return None
        return f"program {instrument.program} is not in {_span(self.programs)}"

    def _programs_taken(self, midi: PrettyMIDI) -> np.ndarray:
        """[tracks] bool: the tracks whose program is taken, drums too."""
        return np.array([self.programs is None or track.program in self.programs for track in midi.instruments], bool)

    def _tracks(self, midi: PrettyMIDI) -> np.ndarray:
        """[tracks] bool: the tracks taken."""
        return np.array([self._refusal(instrument) is None for instrument in midi.instruments], bool)

    def _cuts(self, part: _Part, midi: PrettyMIDI, skipped: list[Skipped]) -> Iterator[_Cut]:
        """The windows of a part, if it has any; adds the lines that are too short or too long to `skipped`."""
        cut = _cut_lines(_melody_lines(part, self._tracks(midi), self.steps_per_bar), part, self, skipped)
        if cut:
            cut = cut._replace(labels=_without_leading_offs(cut.labels))
            yield from self._harmonized(cut, part, midi, skipped) if self.chords else [_unique(cut)]

    def _harmonized(self, cut: _Cut, part: _Part, midi: PrettyMIDI, skipped: list[Skipped]) -> Iterator[_Cut]:
        """The different windows of a part with the chords under them, if it has chords."""
        heard = self._programs_taken(midi)[part.track] & (part.pitch >= MIN_PITCH) & (part.pitch <= MAX_PITCH)
        notes = performance.Notes(part.times[heard], part.pitch[heard], part.track[heard], part.velocity[heard])
        seconds = part.times[:, 1].max(initial=0.0)
        harmony = _harmony(part, midi, notes, seconds, STEPS_PER_QUARTER)
        if isinstance(harmony, str):
            skipped.append(Skipped(f"chords from bar {_file_bars(part, np.int64(0)) + 1}", harmony))
            return
        song_steps = max(_chord_steps(seconds, STEPS_PER_QUARTER, part.qpm), part.end[heard].max(initial=0))
        steps = cut.first_bar[:, None] * self.steps_per_bar + np.arange(self.steps)
        begin = _chord_steps(harmony.seconds, STEPS_PER_QUARTER, part.qpm)
        cut = cut._replace(controls=harmony.at(np.minimum(steps, song_steps - 1), begin))
        yield _with_classes(_unique(cut), harmony, skipped)

    def _why_no_window(self, midi: PrettyMIDI, parts: Sequence[_Part]) -> str:
        tracks = self._tracks(midi)
        if not tracks.any():
            taken = "but drums" if self.programs is None else f"with a program in {_span(self.programs)}"
            return f"no track {taken}; {_programs_of(midi)}"
        ends = [_melody_voice(part, tracks)[2] for part in parts]
        if not any(map(len, ends)):
            return f"no note in the pitches {MIN_PITCH}-{MAX_PITCH}"
        return self._why_short(ends) or f"no melody of {self.bars} bars without a bar's rest"


@dataclass(frozen=True)
class DrumsConverter(_BarsConverter):
    """Windows of all drum tracks together: a label a step, the sum of 2^class over the classes hit.

    to_arrays gives uint16 [n, steps], or int64 of 61 classes; a bar's length without a hit ends a line; of equal
    windows in a stretch of one tempo and metre the first is kept. Magenta: DrumsConverter.
    """

    bars: int = 2  # of a window
    time_signature: tuple[int, int] = (4, 4)  # of the bars taken; others as long pass too
    classes: int = DRUM_CLASSES  # of drums: 9 (DRUM_PITCHES), or 61, each one pitch (SINGLE_DRUM_PITCHES)
    output: str = "categorical"  # targets: one of 2^classes combinations, or 'roll', a bit a class

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.classes not in DRUM_SETS or self.output not in DRUM_OUTPUTS:
            sets = " or ".join(map(str, DRUM_SETS))
            raise ValueError(
                f"drums have {sets} classes, {' or '.join(DRUM_OUTPUTS)}; not {self.classes}, {self.output}"
            )
        if self.output == "categorical" and self.classes != DRUM_CLASSES:
            raise ValueError(f"{self.classes} classes have 2^{self.classes} combinations; take output='roll'")

    @property
    def input_depth(self) -> int:
        return self.classes + 1

    @property
    def output_depth(self) -> int:
        return self.classes if self.output == "roll" else 2**self.classes

    def from_arrays(
        self, labels: np.ndarray | Tensor, qpm: float = 120.0, program: int | None = None, controls: None = None
    ) -> PrettyMIDI:
        """Writes one window [steps] as a song; program chooses the drum kit, 0 (standard) unless given.

        Read back by `to_arrays` it gives the same one window if the first and the last bar hold a hit and no bar's
        length between is empty.
        """
        labels = _checked_labels(labels, (2**self.classes,))
        midi = _empty_song(qpm, self.time_signature)
        kit = _checked_program(0 if program is None else program)
        midi.instruments.append(_drum_track(labels, kit, qpm, DRUM_SETS[self.classes]))
        return midi

    def to_tensors(self, windows: Windows, generator: torch.Generator | None = None) -> Tensors:
        """Inputs [n, steps, classes + 1]: hits, and a one where there is none; targets [n, steps, output_depth]."""
        labels, lengths, kept = _on_device(windows)
        hits = labels[..., None] >> torch.arange(self.classes, device=labels.device) & 1
        inputs = torch.cat([hits, (labels == 0)[..., None]], -1) * kept[..., None]
        roll = self.output == "roll"
        targets = inputs[..., :-1] if roll else _one_hot(labels, kept, DRUMS_DEPTH)
        return Tensors(inputs, targets, lengths, None)

    def from_tensors(self, outputs: Tensor) -> Tensor:
        """Labels int64 [n, steps] of outputs: the class of the largest of 512 values, or a roll's values above 0.5."""
        if self.output == "categorical":
            return _largest(outputs, DRUMS_DEPTH)[..., 0]
        hits = _checked_outputs(outputs, self.classes) > 0.5
        return (hits.long() << torch.arange(self.classes, device=hits.device)).sum(-1)

    def transpose(self, labels: Tensor, semitones: Tensor) -> Tensor:
        """Drums have no pitch: the labels as they are."""
        return labels

    def mix(self, labels: Tensor, others: Tensor, share: float, generator: Source = None) -> Tensor:
        """A share of the windows [n, steps] with about half of their drums as in others: rhythms that no song has."""
        shape = (len(labels), 1)
        chosen = uniform(shape, generator, labels.device) < share
        taken = integers(0, 2**self.classes, shape, generator, labels.device) * chosen
        return labels & ~taken | others & taken

    def _no_labels(self) -> np.ndarray:
        return np.zeros((0, self.steps), DRUM_LABELS[self.classes])

    def _refusal(self, instrument: pretty_midi.Instrument) -> str | None:
        """Why a track is not taken, if it is not."""
        return None if instrument.is_drum else "no drums"

    def _cuts(self, part: _Part, midi: PrettyMIDI, skipped: list[Skipped]) -> Iterator[_Cut]:
        """The windows of a part, if it has any; adds the lines that are too short or too long to `skipped`."""
        lines = _drum_lines(part, _drum_tracks(midi), self.steps_per_bar, self.classes)
        cut = _cut_lines(lines, part, self, skipped)
        if cut:
            yield _unique(cut)

    def _why_no_window(self, midi: PrettyMIDI, parts: Sequence[_Part]) -> str:
        tracks = _drum_tracks(midi)
        if not tracks.any():
            return "no drums"
        ends = [_drum_hits(part, tracks, self.classes)[0] + 1 for part in parts]
        if not any(map(len, ends)):
            return f"no drum of the {'nine' if self.classes == DRUM_CLASSES else self.classes} classes"
        return self._why_short(ends) or f"no {self.bars} bars of drums without an empty one"


@dataclass(frozen=True)
class TrioConverter(_BarsConverter):
    """Windows of melody (programs 0-31), bass (32-39) and drums side by side, labelled as by the two converters above.

    to_arrays gives uint16 [n, steps, 3] for each choice of the three tracks that play together, rests of up to two bars
    at either side of a note allowed; equal windows stay, as in the reference. Magenta: TrioConverter.
    """

    bars: int = 16  # of a window
    time_signature: tuple[int, int] = (4, 4)  # of the bars taken; others as long pass too

    input_depth = output_depth = sum(TRIO_DEPTHS)

    def from_arrays(
        self,
        labels: np.ndarray | Tensor,
        qpm: float = 120.0,
        program: Sequence[int] | None = None,
        controls: None = None,
    ) -> PrettyMIDI:
        """Writes one window [steps, 3] as a song; program holds one a track: (0, 33, 0), the last a drum kit.

        Read back by `to_arrays` it gives the same one window if each track has a note, one reaches the last bar, none
        rests for five bars, and each note-off ends a note.
        """
        labels = _checked_labels(labels, TRIO_DEPTHS)
        melody, bass, kit = _three_programs(WRITTEN_TRIO_PROGRAMS if program is None else program)
        midi = _empty_song(qpm, self.time_signature)
        midi.instruments += [
            _melody_track(labels[:, 0], melody, qpm),
            _melody_track(labels[:, 1], bass, qpm),
            _drum_track(labels[:, 2], kit, qpm),
        ]
        return midi

    def to_tensors(self, windows: Windows, generator: torch.Generator | None = None) -> Tensors:
        """Three one-hot parts side by side [n, steps, 692]; inputs and targets are the same tensor."""
        labels, lengths, kept = _on_device(windows)
        frames = _one_hot(labels, kept, *TRIO_DEPTHS)
        return Tensors(frames, frames, lengths, None)

    def from_tensors(self, outputs: Tensor) -> Tensor:
        """Labels int64 [n, steps, 3] of outputs [n, steps, 692]: each part's class of the largest value."""
        return _largest(outputs, *TRIO_DEPTHS)

    def transpose(self, labels: Tensor, semitones: Tensor) -> Tensor:
        """Moves melody and bass of windows [n, steps, 3] by semitones [n]; a window that would leave the keys stays."""
        return torch.cat([_transposed(labels[..., :2], semitones), labels[..., 2:]], -1)

    def _no_labels(self) -> np.ndarray:
        return np.zeros((0, self.steps, len(TRIO_DEPTHS)), np.uint16)

    def _refusal(self, instrument: pretty_midi.Instrument) -> str | None:
        """Why a track is not taken, if it is not."""
        if instrument.is_drum or instrument.program in MELODY_PROGRAMS + BASS_PROGRAMS:
            return None
        return f"program {instrument.program} is not in {_span(MELODY_PROGRAMS + BASS_PROGRAMS)}"

    def _cuts(self, part: _Part, midi: PrettyMIDI, skipped: list[Skipped]) -> Iterator[_Cut]:
        """The windows of a part, a choice of three tracks after the other."""
        return _trio_cuts(part, _trio_kinds(midi), self.steps_per_bar, self.bars)

    def _why_no_window(self, midi: PrettyMIDI, parts: Sequence[_Part]) -> str:
        missing = [name for name, tracks in zip(TRIO_NAMES, _trio_kinds(midi), strict=True) if not tracks.any()]
        if missing:
            return f"trio needs {', '.join(missing)}; {_programs_of(midi)}"
        together = f"melody, bass and drums never play {self.bars} bars together"
        return self._why_short(part.end for part in parts) or together


@dataclass(frozen=True)
class GrooveConverter(_BarsConverter):
    """Windows of all drum tracks as played: hits, velocities and offsets of nine classes, side by side.

    to_arrays gives float32 [n, steps, 27], windows end to end from the song's beginning: hits are 0 or 1, velocities
    lie from 0 to 1, and offsets, in half steps before the grid, from -1 to 1. Of a class's hits at one step the loudest
    counts. A song whose tempo or metre changes gives none. The inputs that to_tensors makes lack what the model is to
    add. Magenta: GrooveConverter, which takes other tracks for drums and fails on pitches of no class; both go here.
    """

    bars: int = 2  # of a window
    time_signature: tuple[int, int] = (4, 4)  # of the bars taken; others as long pass too
    kit: str = "roland"  # whose pitches the classes have: 'roland', of the Groove MIDI Dataset, or 'general_midi'
    humanize: bool = False  # inputs without velocities and offsets
    tap: bool = False  # inputs of one class, the loudest hit of each step
    fixed_velocity: bool = False  # inputs without velocities
    note_dropout: float = 0.0  # largest share of notes left out of the inputs, drawn for each window, soft ones first
    added_classes: tuple[int, ...] = ()  # left out of the inputs
    hits_control: bool = False  # whether the hits are also controls

    input_depth = output_depth = GROOVE_DEPTH
    cut_at_changes = False
    needs_grid = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kit not in KITS:
            raise ValueError(f"kit is {self.kit!r}; it is one of {', '.join(KITS)}")
        if not all(0 <= kind < DRUM_CLASSES for kind in self.added_classes):
            raise ValueError(f"added_classes are {self.added_classes}; the classes are 0 to {DRUM_CLASSES - 1}")

    @property
    def control_depth(self) -> int:
        return DRUM_CLASSES if self.hits_control else 0

    def from_arrays(
        self, labels: np.ndarray | Tensor, qpm: float = 120.0, program: int | None = None, controls: None = None
    ) -> PrettyMIDI:
        """Writes one window [steps, 27] as a song with its timing and velocities; program chooses the drum kit.

        Read back by `to_arrays` it gives the same labels, velocities rounded to 127ths and offsets to 1200ths, if the
        last bar has a hit. A hit before the beginning is moved there, and a velocity of 0 becomes the softest.
        """
        hits, velocities, offsets = np.split(_checked_groove(labels), 3, axis=1)
        midi = _empty_song(qpm, self.time_signature, GROOVE_TICKS_PER_QUARTER)
        track = pretty_midi.Instrument(_checked_program(0 if program is None else program), is_drum=True)
        for step, kind in zip(*np.nonzero(hits > 0.5), strict=True):
            early = float(np.clip(offsets[step, kind] / 2, -MAX_OFFSET_STEPS, MAX_OFFSET_STEPS))
            velocity = int(np.clip(np.round(velocities[step, kind] * 127), 1, 127))
            start = max(0.0, step - early)
            track.notes.append(
                _note(KITS[self.kit][kind][0], start, start + 1, 60.0 / qpm / STEPS_PER_QUARTER, velocity)
            )
        midi.instruments.append(track)
        return midi

    def to_tensors(self, windows: Windows, generator: Source = None) -> Tensors:
        """Inputs and targets [n, steps, 27]; controls, if any, are the hits [n, steps, 9].

        Notes are dropped only where there is a generator, on the labels' device.
        """
        labels = torch.as_tensor(windows.labels).float()
        lengths, kept = _lengths_on(labels, windows.lengths)
        targets = labels * kept[..., None]
        inputs = self._inputs(targets, generator) * kept[..., None]
        return Tensors(inputs, targets, lengths, targets[..., :DRUM_CLASSES] if self.hits_control else None)

    def _inputs(self, targets: Tensor, generator: Source) -> Tensor:
        """What the model is given of targets [n, steps, 27]."""
        parts = targets.unflatten(-1, (3, DRUM_CLASSES)).clone()  # [n, steps, 3, 9]
        if self.note_dropout and generator is not None:
            parts *= self._kept_notes(parts[:, :, 1], generator)[:, :, None]
        if self.tap:
            loudest = parts[:, :, 1].argmax(-1)[..., None, None].expand(*parts.shape[:3], 1)
            tapped = targets.unflatten(-1, (3, DRUM_CLASSES)).gather(-1, loudest)
            parts = torch.zeros_like(parts)
            parts[..., TAP_CLASS] = tapped[..., 0]
        if self.humanize:
            parts[:, :, 1:] = 0
        if self.fixed_velocity:
            parts[:, :, 1] = 0
        parts[..., list(self.added_classes)] = 0
        return parts.flatten(-2)

    def _kept_notes(self, velocities: Tensor, generator: Source) -> Tensor:
        """[n, steps, 9] 1 where a note stays; one dropout a window, times how soft a note is."""
        dropout = self.note_dropout * uniform((len(velocities), 1, 1), generator, velocities.device)
        chance = (1 - velocities).clamp(min=MIN_SOFTNESS) * dropout
        return (uniform(chance.shape, generator, velocities.device) >= chance).float()

    def from_tensors(self, outputs: Tensor) -> Tensor:
        """Labels float32 [n, steps, 27]: the outputs with hits of 0 or 1, and nothing where there is none."""
        parts = _checked_outputs(outputs, GROOVE_DEPTH).float().unflatten(-1, (3, DRUM_CLASSES))
        hits = (parts[..., :1, :] > 0.5).float()
        return torch.cat([hits, parts[..., 1:, :] * hits], -2).flatten(-2)

    def transpose(self, labels: Tensor, semitones: Tensor) -> Tensor:
        """Drums have no pitch: the labels as they are."""
        return labels

    def _no_labels(self) -> np.ndarray:
        return np.zeros((0, self.steps, GROOVE_DEPTH), np.float32)

    def _refusal(self, instrument: pretty_midi.Instrument) -> str | None:
        """Why a track is not taken, if it is not."""
        return None if instrument.is_drum else "no drums"

    def _cuts(self, part: _Part, midi: PrettyMIDI, skipped: list[Skipped]) -> Iterator[_Cut]:
        """The windows of a song of one part, if it has any."""
        hits = _groove_hits(midi, part, KITS[self.kit])
        bars = int(hits[0].max(initial=-1)) // self.steps_per_bar + 1
        if bars > MAX_GROOVE_BARS:
            lost = _count(bars - MAX_GROOVE_BARS, "bar")
            skipped.append(Skipped("drums", f"{lost} after the first {MAX_GROOVE_BARS}"))
        count = min(bars, MAX_GROOVE_BARS) // self.bars
        inside = hits[0] < count * self.steps
        labels = _paint_groove(tuple(column[inside] for column in hits), part.qpm, count * self.steps)
        track = np.flatnonzero(_drum_tracks(midi))[:1].sum()
        yield _cut(part, labels.reshape(count, self.steps, GROOVE_DEPTH), track, self.bars * np.arange(count))

    def _why_no_window(self, midi: PrettyMIDI, parts: Sequence[_Part]) -> str:
        if not _drum_tracks(midi).any():
            return "no drums"
        if not any(len(_groove_hits(midi, part, KITS[self.kit])[0]) for part in parts):
            return "no drum of the nine classes"
        return f"shorter than {self.bars} bars"


@dataclass(frozen=True)
class MultitrackConverter(_BarsConverter):
    """Single bars of two to eight tracks, each a program, what it plays in 24ths of a quarter, and an end token.

    to_arrays gives int16 [n, 512], 8 tracks of 64 tokens (see midi_performance.py), -1 where padded, and lengths
    [n, 8]. Tracks stand by program, drums last; notes sound as long as the pedal holds them, and end with their bar.
    With chords, controls int8 [n, 512] hold the class of the chord in force at each token, found as the melody
    converter finds it. Magenta: MultiInstrumentPerformanceConverter.
    """

    chords: bool = False  # whether the chord at each token goes with the notes

    bars, time_signature = 1, (4, 4)
    segments, segment_steps = performance.TRACKS, performance.EVENTS
    steps = performance.TRACKS * performance.EVENTS
    input_depth = output_depth = performance.DEPTH
    end_token = performance.END
    needs_grid = False

    def from_arrays(
        self,
        labels: np.ndarray | Tensor,
        qpm: float = 120.0,
        program: Sequence[int] | None = None,
        controls: np.ndarray | Tensor | None = None,
    ) -> PrettyMIDI:
        """Writes one bar [512] as a song, a track for each that has notes; program, one a track, replaces their own.

        Read back by `to_arrays` it gives the same bar if two tracks have notes and none strikes a pitch that still
        sounds. The chords of controls [512], classes 0 to 48 and -1 where padded, become text events.
        """
        labels = _checked_tokens(labels)
        tracks = [performance.track_of_tokens(tokens) for tokens in labels.reshape(self.segments, -1)]
        if np.ndim(program) == 0 and program is not None:
            raise ValueError(f"program is {program}; give one a track, {len(tracks)} of them")
        programs = [track.program for track in tracks] if program is None else list(map(_checked_program, program))
        if len(programs) < len(tracks):
            raise ValueError(f"program holds {len(programs)}; give one a track: {len(tracks)}")
        midi = _empty_song(qpm, self.time_signature)
        step_seconds = 60.0 / qpm / performance.STEPS_PER_QUARTER
        for track, own in zip(tracks, programs):
            if track.notes:
                instrument = pretty_midi.Instrument(own, track.is_drum)
                instrument.notes += [
                    _note(pitch, start, end, step_seconds, velocity) for start, end, pitch, velocity in track.notes
                ]
                midi.instruments.append(instrument)
        if controls is not None:
            classes = _checked_controls(controls, labels)
            _name_chords(midi, np.concatenate([track.event_steps for track in tracks]), classes, step_seconds)
        return midi

    def chord_controls(self, symbols: Sequence[str]) -> np.ndarray:
        """Controls int8 [512] of one chord symbol, ["Am"]: no chord at a track's program, then the chord throughout."""
        if len(symbols) != 1:
            raise ValueError(f"a bar of several tracks takes one chord, not {len(symbols)}: their events share no grid")
        controls = chords_to_controls(symbols, self.steps).reshape(self.segments, -1)
        controls[:, 0] = 0
        return controls.ravel()

    def to_tensors(self, windows: Windows, generator: torch.Generator | None = None) -> Tensors:
        """One-hot frames [n, 512, 490] on the labels' device, zero where padded; inputs and targets are the same."""
        labels, _, kept = _on_device(windows)
        frames = _one_hot(labels.clamp(min=0), kept * (labels >= 0), performance.DEPTH)
        lengths = torch.as_tensor(windows.lengths, device=labels.device).long()
        return Tensors(frames, frames, lengths, _chord_frames(self, windows, labels, kept))

    def from_tensors(self, outputs: Tensor) -> Tensor:
        """Labels int64 [n, 512] of outputs [n, 512, 490]: the class of the largest value, -1 where all are 0."""
        outputs = _checked_outputs(outputs, performance.DEPTH)
        return torch.where((outputs != 0).any(-1), outputs.argmax(-1), performance.PADDING)

    def transpose(self, labels: Tensor, semitones: Tensor) -> Tensor:
        """Moves the notes of bars [n, 512], drums apart, by semitones [n]; a bar that would leave the pitches stays."""
        moved, fits = self._moved(labels, semitones)
        return torch.where(fits[:, None], moved, labels)

    def transpose_controls(self, labels: Tensor, controls: Tensor, semitones: Tensor) -> Tensor:
        """Moves the chords of bars [n, 512] as `transpose` moves their notes: those of one that stays stay."""
        _, fits = self._moved(labels, semitones)
        return transposed_chords(controls, (semitones * fits)[:, None]).to(controls.dtype)

    def _moved(self, labels: Tensor, semitones: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens [n, 512] with the notes moved, and [n] whether all stay on MIDI's pitches."""
        drums = labels.unflatten(1, (self.segments, -1))[:, :, :1] == performance.DRUMS
        drums = drums.expand(-1, -1, self.segment_steps).flatten(1)
        notes = (labels >= 0) & (labels < performance.TIME_SHIFT) & ~drums
        pitch = labels.int() % 128 + semitones.to(labels.device).int()[:, None]
        fits = ((pitch >= 0) & (pitch < 128) | ~notes).all(1)
        return torch.where(notes, labels.int() // 128 * 128 + pitch, labels.int()).to(labels.dtype), fits

    def _no_labels(self) -> np.ndarray:
        return np.zeros((0, self.steps), np.int16)

    def _nothing(self) -> _Cut:
        return super()._nothing()._replace(lengths=np.zeros((0, self.segments), np.int32))

    def _refusal(self, instrument: pretty_midi.Instrument) -> str | None:
        """Every track is taken."""
        return None

    def _cuts(self, part: _Part, midi: PrettyMIDI, skipped: list[Skipped]) -> Iterator[_Cut]:
        """The bars of a part that are taken; says which are not."""
        programs = [performance.DRUMS if i.is_drum else performance.FIRST_PROGRAM + i.program for i in midi.instruments]
        notes, seconds = _pedalled(part, midi)
        if not len(notes.pitch):
            return
        bounds = performance.bar_bounds(seconds, part.qpm)
        bars, refused = performance.bar_tokens(notes, bounds, part.qpm, np.array(programs))
        skipped += _bar_skips(refused, part)
        if not len(bars.tokens):
            return
        labels = bars.tokens.reshape(-1, self.steps)
        cut = _cut(part, labels, bars.first_track, bars.bar)._replace(lengths=bars.lengths)
        if self.chords:
            harmony = _harmony(part, midi, notes, seconds, performance.STEPS_PER_QUARTER)
            if isinstance(harmony, str):
                skipped.append(Skipped(f"chords from bar {_file_bars(part, np.int64(0)) + 1}", harmony))
                return
            chords = _bar_chords(bars, harmony, bounds, part.qpm)
            cut = _with_classes(cut._replace(controls=chords.reshape(labels.shape)), harmony, skipped)
            cut = cut._replace(controls=np.where(cut.labels < 0, np.int8(performance.PADDING), cut.controls))
        yield cut

    def _why_no_window(self, midi: PrettyMIDI, parts: Sequence[_Part]) -> str:
        if sum(bool(instrument.notes) for instrument in midi.instruments) < performance.MIN_TRACKS:
            return f"fewer than {performance.MIN_TRACKS} tracks"
        skipped: list[Skipped] = []
        for part in parts:
            list(self._cuts(part, midi, skipped))
        return f"every bar has {' or '.join(dict.fromkeys(reason for _, reason in skipped))}"


Converter = MelodyConverter | DrumsConverter | TrioConverter | GrooveConverter | MultitrackConverter


# ---- What the converters share ----


def _fraction(time_signature: tuple[int, int]) -> str:
    """3/4; the power of two where a damaged file has a denominator without end."""
    numerator, denominator = time_signature
    return f"{numerator}/{denominator if denominator < 1024 else f'2^{denominator.bit_length() - 1}'}"


def _span(programs: Sequence[int]) -> str:
    """0-31, or 0, 25."""
    programs = sorted(set(programs))
    if len(programs) > 2 and programs[-1] - programs[0] == len(programs) - 1:
        return f"{programs[0]}-{programs[-1]}"
    return ", ".join(map(str, programs))


def _programs_of(midi: PrettyMIDI) -> str:
    programs = sorted({instrument.program for instrument in midi.instruments if not instrument.is_drum})
    kinds = [f"program{'s' * (len(programs) > 1)} {', '.join(map(str, programs))}"] if programs else []
    kinds += ["drums"] if _drum_tracks(midi).any() else []
    return f"it has {' and '.join(kinds)}"


def _track_name(track: int, instrument: pretty_midi.Instrument) -> str:
    return f"track {track} ({name})" if (name := instrument.name.strip()) else f"track {track}"


def _metre_skip(part: _Part) -> Skipped:
    return Skipped(f"from bar {_file_bars(part, np.int64(0)) + 1}", f"bars of {_fraction(part.time_signature)}")


def _line_skips(line: _Line, where: str, bars: int, bar: int) -> Iterator[Skipped]:
    """A line too short for a window of `bars` bars, or the end of one too long."""
    length = len(line.labels) // bar
    if length < bars:
        yield Skipped(where, f"{_count(length, 'bar')} between rests, shorter than {bars} bars")
    if line.lost_bars:
        yield Skipped(where, f"{_count(line.lost_bars, 'bar')} after the first {MAX_BARS}")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _empty_song(qpm: float, time_signature: tuple[int, int], resolution: int = TICKS_PER_QUARTER) -> PrettyMIDI:
    if not QPM_RANGE[0] <= qpm <= QPM_RANGE[1]:
        raise ValueError(f"qpm is {qpm}; give quarters a minute between {QPM_RANGE[0]} and {QPM_RANGE[1]}")
    midi = PrettyMIDI(resolution=resolution, initial_tempo=qpm)
    midi.time_signature_changes.append(pretty_midi.TimeSignature(*time_signature, 0.0))
    return midi


def _checked_labels(labels, depths: tuple[int, ...]) -> np.ndarray:
    """One window as int64 [steps], or [steps, 3] for a trio; raises ValueError on another shape or label."""
    labels = np.asarray(labels.cpu() if isinstance(labels, Tensor) else labels)
    wanted = "[steps]" if len(depths) == 1 else f"[steps, {len(depths)}]"
    if labels.ndim != len(wanted.split(",")) or (labels.ndim == 2 and labels.shape[1] != len(depths)):
        raise ValueError(f"labels of one window have the shape {wanted}, not {list(labels.shape)}")
    labels = labels.astype(np.int64)
    if labels.size and (labels.min() < 0 or (labels.reshape(-1, len(depths)).max(0) >= depths).any()):
        bounds = ", ".join(str(depth - 1) for depth in depths)
        raise ValueError(f"labels lie from 0 to {bounds}; these from {labels.min()} to {labels.max()}")
    return labels


def _checked_groove(labels) -> np.ndarray:
    """One window as float64 [steps, 27]; raises ValueError on another shape."""
    labels = np.asarray(labels.cpu() if isinstance(labels, Tensor) else labels, np.float64)
    if labels.ndim != 2 or labels.shape[1] != GROOVE_DEPTH or not np.isfinite(labels).all():
        raise ValueError(
            f"labels of one groove are finite, of the shape [steps, {GROOVE_DEPTH}]; not {list(labels.shape)}"
        )
    return labels


def _checked_tokens(labels) -> np.ndarray:
    """One bar of tokens as int64 [512]; raises ValueError on another shape or token."""
    labels = np.asarray(labels.cpu() if isinstance(labels, Tensor) else labels).astype(np.int64)
    if labels.shape != (MultitrackConverter.steps,):
        raise ValueError(f"tokens of one bar have the shape [{MultitrackConverter.steps}], not {list(labels.shape)}")
    if labels.min() < performance.PADDING or labels.max() >= performance.DEPTH:
        raise ValueError(f"tokens lie from -1 to {performance.DEPTH - 1}; these from {labels.min()} to {labels.max()}")
    return labels


def _checked_controls(controls, labels: np.ndarray) -> np.ndarray:
    """Chord classes as int64 [steps]; raises ValueError on another shape or class."""
    controls = np.asarray(controls.cpu() if isinstance(controls, Tensor) else controls).astype(np.int64)
    if controls.shape != labels.shape or controls.min(initial=0) < -1 or controls.max(initial=0) >= CHORD_DEPTH:
        raise ValueError(f"controls are chord classes, -1 to {CHORD_DEPTH - 1}, of the shape {list(labels.shape)}")
    return controls


def _checked_program(program: int) -> int:
    if np.shape(program) or not 0 <= program < 128:
        raise ValueError(f"program is {program}; General MIDI has 0 to 127")
    return int(program)


def _three_programs(program: Sequence[int]) -> list[int]:
    if np.shape(program) != (len(TRIO_DEPTHS),):
        raise ValueError(f"program is {program}; a trio takes three: melody, bass, drum kit")
    return [_checked_program(p) for p in program]


def _melody_track(labels: np.ndarray, program: int, qpm: float) -> pretty_midi.Instrument:
    """A track that plays labels [steps]; a note lasts to the next onset, its note-off or the end."""
    track = pretty_midi.Instrument(program)
    step_seconds = 60.0 / qpm / STEPS_PER_QUARTER
    labels = labels.tolist()  # plain numbers: numpy's are slow one by one
    events = [step for step, label in enumerate(labels) if label != NO_EVENT]
    for start, end in itertools.pairwise([*events, len(labels)]):
        if labels[start] != NOTE_OFF:
            pitch = labels[start] - FIRST_PITCH + MIN_PITCH
            track.notes.append(_note(pitch, start, end, step_seconds))
    return track


def _drum_track(
    labels: np.ndarray, program: int, qpm: float, pitches: tuple[tuple[int, ...], ...] = DRUM_PITCHES
) -> pretty_midi.Instrument:
    """A drum track that plays labels [steps], a step a hit, with each class's first pitch."""
    track = pretty_midi.Instrument(program, is_drum=True)
    step_seconds = 60.0 / qpm / STEPS_PER_QUARTER
    steps, kinds = np.nonzero(labels[:, None] >> np.arange(len(pitches)) & 1)
    for step, kind in zip(steps.tolist(), kinds.tolist(), strict=True):
        track.notes.append(_note(pitches[kind][0], step, step + 1, step_seconds))
    return track


def _note(pitch: int, start: float, end: float, step_seconds: float, velocity: int = VELOCITY) -> pretty_midi.Note:
    return pretty_midi.Note(velocity, pitch, float(start * step_seconds), float(end * step_seconds))


def _name_chords(midi: PrettyMIDI, steps: np.ndarray, classes: np.ndarray, step_seconds: float) -> None:
    """Adds a text event wherever the chord changes; steps, classes: [tokens], -1 where a token has no moment."""
    order = np.flatnonzero((steps >= 0) & (classes >= 0))
    order = order[np.argsort(steps[order], kind="stable")]
    before = None
    for step, index in zip(steps[order].tolist(), classes[order].tolist()):
        if index != before:
            midi.text_events.append(pretty_midi.Text(chord_symbol(index), step * step_seconds))
        before = index


def _on_device(windows: Windows) -> tuple[Tensor, Tensor, Tensor]:
    """Labels int64, lengths int64 [n], and kept [n, steps] float: 1 before a window's length, 0 from there on."""
    labels = windows.labels.astype(np.int64) if isinstance(windows.labels, np.ndarray) else windows.labels.long()
    labels = torch.as_tensor(labels)
    return labels, *_lengths_on(labels, windows.lengths)


def _lengths_on(labels: Tensor, lengths: np.ndarray | Tensor) -> tuple[Tensor, Tensor]:
    """Lengths int64 [n], or [n, segments], and kept [n, steps] float: 1 before a length, 0 from there on."""
    lengths = torch.as_tensor(lengths, device=labels.device).long()
    segments = lengths[:, None] if lengths.ndim == 1 else lengths
    kept = torch.arange(labels.shape[1] // segments.shape[1], device=labels.device) < segments[..., None]
    return lengths, kept.flatten(1).float()


def _chord_frames(converter: Converter, windows: Windows, labels: Tensor, kept: Tensor) -> Tensor | None:
    """Chords one-hot [n, steps, 49], or None where the converter takes none; zero where padded."""
    if not converter.chords:
        return None
    if windows.controls is None:
        raise ValueError("these windows have no chords; cut them with chords=True, or give controls")
    controls = torch.as_tensor(windows.controls, device=labels.device).long()
    return _one_hot(controls.clamp(min=0), kept * (controls >= 0), CHORD_DEPTH)


def _one_hot(labels: Tensor, kept: Tensor, *depths: int) -> Tensor:
    """Frames [n, steps, sum of depths] of labels [n, steps], or [n, steps, parts] for several depths."""
    labels = labels.reshape(*kept.shape, len(depths))
    offsets = labels.new_tensor([0, *itertools.accumulate(depths)][:-1])
    frames = torch.zeros(*kept.shape, sum(depths), device=labels.device)
    return frames.scatter_(-1, labels + offsets, kept[..., None].expand_as(labels))


def _checked_outputs(outputs: Tensor, depth: int) -> Tensor:
    outputs = torch.as_tensor(outputs)
    if outputs.shape[-1] != depth:
        raise ValueError(f"outputs are {outputs.shape[-1]} deep; this converter's are {depth}")
    return outputs


def _largest(outputs: Tensor, *depths: int) -> Tensor:
    """Labels int64 [..., parts]: each part's class of the largest value."""
    outputs = _checked_outputs(outputs, sum(depths))
    return torch.stack([part.argmax(-1) for part in outputs.split(depths, -1)], -1)


def _transposed(labels: Tensor, semitones: Tensor) -> Tensor:
    """Melody labels [n, steps, voices], notes moved by semitones [n] where all of a window's stay on the keys."""
    wide = labels.int()
    moved = wide + semitones.to(wide)[:, None, None]
    fits = _stays_on_keys(labels, semitones)[:, None, None]
    return torch.where((wide >= FIRST_PITCH) & fits, moved, wide).to(labels.dtype)


def _stays_on_keys(labels: Tensor, semitones: Tensor) -> Tensor:
    """[n] whether all notes of melody labels [n, steps, voices] stay on the keys when moved."""
    wide = labels.int()
    moved = wide + semitones.to(wide)[:, None, None]
    return ((moved >= FIRST_PITCH) & (moved < MELODY_DEPTH) | (wide < FIRST_PITCH)).all(-1).all(-1)


# ---- A folder of songs ----


class SongReport(NamedTuple):
    """What became of every file of a set; prints in plain words, the full lists are its fields."""

    source: str  # the folder, or how many paths were given
    converter: Converter
    files: int  # found
    songs: int  # files that gave windows
    windows: int  # kept
    duplicates: int  # windows dropped because an earlier one is equal
    refused: tuple[tuple[str, str], ...]  # (file, fault)
    mended: tuple[tuple[str, str], ...]  # (file, what was mended); these were read
    without_window: tuple[tuple[str, str], ...]  # (file, reason)
    off_grid: tuple[tuple[str, str], ...]  # (file, how far its onsets lie from the grid)

    def __str__(self) -> str:
        read = self.files - len(self.refused)
        lines = [
            f"{self.source}: {_count(self.files, 'MIDI file')}, {read} read, {len(self.refused)} refused",
            f"{_count(self.windows, 'window')} of {_count(self.converter.bars, 'bar')} kept from "
            f"{_count(self.songs, 'song')}, {_count(self.duplicates, 'duplicate')} dropped",
        ]
        lines += _listing("Refused", self.refused, shown=len(self.refused))
        lines += _listing("Read after mending", self.mended)
        lines += _listing("Songs without a usable window", self.without_window)
        lines += _listing("Off the sixteenths of their own tempo (swing, free playing, a wrong tempo)", self.off_grid)
        return "\n".join(lines)

    __repr__ = __str__


def _listing(title: str, entries: Sequence[tuple[str, str]], shown: int = NAMES_SHOWN) -> list[str]:
    """(name, reason) pairs grouped by reason, the most frequent first; what follows a semicolon stays with the name."""
    groups = defaultdict(list)
    for name, reason in entries:
        reason, _, detail = reason.partition("; ")
        groups[reason].append(f"{name} ({detail})" if detail else name)
    lines = [f"{title}: {len(entries)}"] if entries else []
    for reason, names in sorted(groups.items(), key=lambda group: -len(group[1])):
        more = f" and {len(names) - shown} more, all in the report's fields" if len(names) > shown else ""
        lines.append(f"  {reason}: {_count(len(names), 'song')}: {', '.join(names[:shown])}{more}")
    return lines


class SongDataset(torch.utils.data.Dataset):
    """Windows of integer labels of many songs; `converter.to_tensors(dataset.windows(indices))` makes frames of them.

    labels, lengths, controls, track, start_bar: as in Windows, over all songs; song [n]: index in `names`, the songs
    that have windows, in order; converter; report: a SongReport on the whole set. Labels and controls beyond a gigabyte
    are `song_cache.Rows`, which give arrays where they are indexed, and with a cache lie on disk.
    """

    def __init__(
        self, windows: Windows, song: np.ndarray, names: Sequence[str], converter: Converter, report: SongReport
    ):
        self.labels, self.lengths, self.controls, self.track, self.start_bar, _ = windows
        self.song, self.names, self.converter, self.report = song, tuple(names), converter, report

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> np.ndarray:
        """The labels of one window."""
        return self.labels[index]

    def __repr__(self) -> str:
        kind = type(self.converter).__name__
        return f"SongDataset({_count(len(self), 'window')} of {_count(len(self.names), 'song')}, {kind})"

    def windows(self, indices: Sequence[int] | np.ndarray | Tensor | slice) -> Windows:
        """The windows at these indices, or where a mask is true."""
        if not isinstance(indices, slice):
            indices = np.atleast_1d(np.asarray(indices))
            indices = indices if indices.size else indices.astype(int)
        controls = None if self.controls is None else self.controls[indices]
        place = self.track[indices], self.start_bar[indices]
        return Windows(self.labels[indices], self.lengths[indices], controls, *place, ())

    def split(
        self,
        valid: float = 0.1,
        test: float = 0.0,
        seed: int = 0,
        groups: Sequence[str] | Mapping[str, str] | None = None,
    ) -> "Split":
        """Parts that share no song.

        Args:
            valid, test: shares of the songs, from 0 to 1; a share above 0 gets at least one song.
            seed: equal seeds give equal parts.
            groups: songs of one group stay together: a group for each of `names`, or a group by name.

        Raises:
            ValueError: shares that leave nothing to train on, too few songs or groups, groups that miss a song.
        """
        group = _group_of_each(self.names, groups)
        kinds = sorted(set(group))
        counts = _part_sizes(len(kinds), valid, test, "song" if groups is None else "group")
        order = np.random.default_rng(seed).permutation(len(kinds))
        part_of_kind = dict(zip((kinds[k] for k in order), np.repeat(range(3), counts).tolist(), strict=True))
        part = np.array([part_of_kind[g] for g in group], np.int64)
        return Split(*(self._songs(np.flatnonzero(part == k)) for k in range(3)))

    def _songs(self, songs: np.ndarray) -> "SongDataset":
        """The windows of some songs."""
        kept = np.flatnonzero(np.isin(self.song, songs))
        song = np.searchsorted(songs, self.song[kept]).astype(self.song.dtype)
        names = [self.names[k] for k in songs]
        columns = self.labels, self.lengths, self.controls, self.track, self.start_bar
        windows = Windows(*(c.select(kept) if isinstance(c, Rows) else c if c is None else c[kept] for c in columns))
        return SongDataset(windows, song, names, self.converter, self.report)


class Split(NamedTuple):
    """Three parts of a dataset; one not asked for is empty."""

    train: SongDataset
    valid: SongDataset
    test: SongDataset


def _group_of_each(names: Sequence[str], groups: Sequence[str] | Mapping[str, str] | None) -> list[str]:
    """The group of each song."""
    if groups is None:
        return list(names)
    if not isinstance(groups, Mapping):
        if len(groups) != len(names):
            raise ValueError(f"groups has {len(groups)} entries; the dataset has {len(names)} songs (see its names)")
        return [str(group) for group in groups]
    if missing := [name for name in names if name not in groups]:
        raise ValueError(f"groups says nothing of {', '.join(missing[:NAMES_SHOWN])}: {len(missing)} songs in all")
    return [str(groups[name]) for name in names]


def _part_sizes(count: int, valid: float, test: float, noun: str) -> tuple[int, int, int]:
    """How many go to train, valid and test."""
    if not (0 <= valid <= 1 and 0 <= test <= 1 and valid + test < 1):
        raise ValueError(f"valid is {valid} and test is {test}; shares lie from 0 to 1 and leave some to train on")
    held_out = [max(1, round(share * count)) if share else 0 for share in (valid, test)]
    train = count - sum(held_out)
    if train < 1:
        parts = f"{1 + sum(share > 0 for share in (valid, test))} parts with valid={valid} and test={test}"
        raise ValueError(f"{_count(count, noun)} cannot be split into {parts}; add songs, or ask for less")
    return train, *held_out


class _Found(NamedTuple):
    """What a worker hands back for one file."""

    song: Song
    columns: Columns | None = None  # None where it was refused


def load_songs(
    folder_or_paths: str | os.PathLike | Iterable[str | os.PathLike],
    converter: Converter,
    *,
    workers: int | None = None,
    executor: Executor | None = None,
    cache: str | os.PathLike | None = None,
    progress: bool = True,
) -> SongDataset:
    """Reads every MIDI file of a folder and its subfolders, or every path given, into one dataset.

    Songs are sorted by name, however many workers read them; of windows equal anywhere in the set the first is kept.
    A folder's subfolder `built_in` counts only where the folder holds no other song.

    Args:
        workers: processes; None takes every core, and 1, or a small set, is read in this process. With an executor,
            how many workers it has, if more than 64.
        executor: a `concurrent.futures.Executor` to read with in place of one's own processes.
        cache: folder that keeps what was read, by the files' contents, the converter and this code; a second reading
            takes it from there, and labels beyond a gigabyte stay there.
        progress: show a progress bar.

    Raises:
        ValueError: no such folder, no MIDI file in it, or no window in any of them; the message carries the report.
    """
    source, names, paths = _find_files(folder_or_paths)
    folder = None if cache is None else converter_folder(cache, converter)
    keys = [(folder and file_digest(path)) or k for k, path in enumerate(paths)]  # equal where contents are
    shards, places = find_songs(folder, keys) if folder else ([], {})
    missing = {key: path for key, path in zip(keys, paths, strict=True) if key not in places}
    read = _read_all(list(missing.values()), converter, workers, executor)
    known = len(paths) - len(missing)
    read = tqdm(read, "Reading MIDI", len(paths), initial=known, unit="file", disable=not progress)
    songs, unplaced = sum(len(shard.songs) for shard in shards), iter(missing)
    for shard in _shards(read, converter):
        places |= zip(itertools.islice(unplaced, len(shard.songs)), itertools.count(songs))
        songs += len(shard.songs)
        stays = folder and any(song.digest for song in shard.songs)
        shards.append(write_shard(folder, shard) if stays else shard)
    return _dataset(source, names, [places[key] for key in keys], shards, converter)


def _find_files(folder_or_paths) -> tuple[str, list[str], list[Path]]:
    """What to call the set, and the name and path of each file, sorted; names in a folder are relative to it."""
    if not isinstance(folder_or_paths, str | os.PathLike):
        given = [Path(path) for path in folder_or_paths]
        paths = [file for path in given for file in (midi_files(path) if path.is_dir() else [path])]
        source, names = _count(len(paths), "path"), {path.as_posix(): path for path in paths}
    elif (folder := Path(folder_or_paths)).is_dir():
        source, names = str(folder), {path.relative_to(folder).as_posix(): path for path in midi_files(folder)}
        if names and all(name.startswith(f"{BUILT_IN}/") for name in names):
            source += " (its built-in songs: put files of your own beside them, and yours are taken instead)"
    elif folder.exists():
        source, names = str(folder), {folder.name: folder}
    else:
        raise ValueError(f"{folder}: there is no such folder; give one that holds MIDI files, or a list of paths")
    if not names:
        raise ValueError(f"{source}: there is no MIDI file; add files that end in {', '.join(MIDI_SUFFIXES)}")
    return source, sorted(names), [names[name] for name in sorted(names)]


def midi_files(folder: Path) -> list[Path]:
    """The MIDI files in a folder and its subfolders, by their endings; built-in songs where there are no others."""
    found = (path for path in folder.rglob("*") if path.suffix.lower() in MIDI_SUFFIXES and path.is_file())
    files = [path for path in found if not path.name.startswith(".")]
    return [path for path in files if path.relative_to(folder).parts[0] != BUILT_IN] or files


def _read_songs(paths: Sequence[Path], converter: Converter) -> list[_Found]:
    """Runs in a worker: whatever a file does, the others are read."""
    with warnings.catch_warnings(), _no_garbage():
        warnings.simplefilter("ignore")  # pretty_midi warns of tempos on later tracks; nothing here to act on
        return [_read_song(path, converter) for path in paths]


@contextmanager
def _no_garbage() -> Iterator[None]:
    """Looks for no cycles meanwhile, which a parser's many small objects set off and do not form."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _read_song(path: Path, converter: Converter) -> _Found:
    digest = None
    try:
        data = _file_bytes(path)
        digest = content_digest(data)
        midi, mended = _parsed(path, data)
        off_grid = _distance_from_grid(midi) if converter.needs_grid else 0.0
        columns = _columns(windows := converter.to_arrays(midi))
    except MidiError as error:
        return _Found(Song(digest, fault=str(error).removeprefix(f"{path}: ")))
    except Exception as error:  # one file must not end the reading of a folder
        return _Found(Song(None, fault=f"{type(error).__name__}: {error}"))
    reason = None if len(windows.labels) else windows.skipped[0].reason
    mended = ", ".join(mended).replace("; ", ", ")
    return _Found(Song(digest, len(windows.labels), None, mended, off_grid, reason), columns)


def _columns(windows: Windows) -> Columns:
    """The columns of a song's windows, and a key for each."""
    controls = np.zeros((len(windows.labels), 0), np.int8) if windows.controls is None else windows.controls
    rows = (labels.tobytes() + chords.tobytes() for labels, chords in zip(windows.labels, controls, strict=True))
    keys = b"".join(hashlib.blake2b(row, digest_size=8).digest() for row in rows)
    return Columns(windows.labels, windows.lengths, controls, *windows[3:5], np.frombuffer(keys, np.uint64))


def _distance_from_grid(midi: PrettyMIDI) -> float:
    """Mean distance, in steps, of a song's onsets from the sixteenths."""
    offsets = np.concatenate([part.offset for part in _song_parts(midi)])
    return float(np.abs(offsets).mean()) if len(offsets) else 0.0


def _read_all(
    paths: list[Path], converter: Converter, workers: int | None, executor: Executor | None
) -> Iterator[_Found]:
    """What each path gives, in order; a few chunks a worker are read ahead."""
    chunks = [paths[k : k + CHUNK_FILES] for k in range(0, len(paths), CHUNK_FILES)]
    workers = workers or EXECUTOR_WORKERS if executor else min(workers or _cores(), len(chunks), MAX_WORKERS)
    own = _start_pool(workers) if executor is None and workers > 1 and len(paths) >= FEW_FILES else _Here()
    waiting = deque()
    try:
        for chunk in chunks:
            future = _submit(executor or own, chunk, converter)
            if future is None and executor is None:
                own = _start_pool(workers)
                future = _submit(own, chunk, converter)
            waiting.append((chunk, future))
            while waiting and (len(waiting) == QUEUED_CHUNKS * workers or not future or waiting[0][1].done()):
                yield from _taken(*waiting.popleft(), converter)
        while waiting:
            yield from _taken(*waiting.popleft(), converter)
    finally:
        own.shutdown(cancel_futures=True)


class _Here(Executor):
    """Does what it is given at once, in this process."""

    def submit(self, task, /, *arguments) -> Future:
        future = Future()
        future.set_result(task(*arguments))
        return future


def _submit(pool: Executor, chunk: list[Path], converter: Converter) -> Future | None:
    """None where the pool takes no more, as when one of its workers died."""
    with suppress(RuntimeError):
        return pool.submit(_read_songs, chunk, converter)


def _taken(chunk: list[Path], future: Future | None, converter: Converter) -> list[_Found]:
    """What a chunk gives; where its worker died, its files are tried again, each in a process of its own."""
    try:
        return future.result() if future else [_read_alone(path, converter) for path in chunk]
    except Exception:  # whatever the executor says when a worker dies
        return [_read_alone(path, converter) for path in chunk]


def _cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _start_pool(workers: int) -> Executor:
    """A pool that works; this process where no other can be started (a script without a main guard, a sandbox)."""
    try:
        pool = ProcessPoolExecutor(workers)
    except (OSError, NotImplementedError):
        return _Here()
    return pool if _works(pool) else _Here()


def _works(pool: Executor) -> bool:
    try:
        pool.submit(int).result()
        return True
    except (OSError, BrokenExecutor):  # no RuntimeError: a worker that runs an unguarded script must die of its own
        return False


def _read_alone(path: Path, converter: Converter) -> _Found:
    """Reads a file in a process of its own, so that the one that ends its process is found."""
    with ProcessPoolExecutor(1) as pool:
        try:
            return pool.submit(_read_song, path, converter).result()
        except Exception as error:  # the process died of this file
            return _Found(Song(None, fault=f"reading it ended its process ({type(error).__name__})"))


def _shards(found: Iterable[_Found], converter: Converter) -> Iterator[Shard]:
    """Puts what was read together, so many songs or bytes at a time."""
    nothing = _columns(_as_windows((), converter._nothing(), ()))
    songs, parts, size = [], [nothing], 0
    for song, columns in found:
        songs.append(song)
        if song.windows:
            parts.append(columns)
            size += columns.labels.nbytes + columns.controls.nbytes
        if len(songs) == SHARD_FILES or size >= SHARD_BYTES:
            yield Shard(songs, Columns(*map(np.concatenate, zip(*parts, strict=True))))
            songs, parts, size = [], [nothing], 0
    if songs:
        yield Shard(songs, Columns(*map(np.concatenate, zip(*parts, strict=True))))


def _dataset(
    source: str, names: list[str], places: Sequence[int], shards: list[Shard], converter: Converter
) -> SongDataset:
    """Drops equal windows, the first kept, and puts the rest and the report together; places: of each name's song."""
    read = [song for shard in shards for song in shard.songs]
    songs = [read[place] for place in places]
    rows, song = _rows_of_songs(np.array([song.windows for song in read]), np.array(places))
    keys = np.concatenate([shard.columns.keys for shard in shards])[rows]
    first = np.sort(np.unique(keys, return_index=True)[1])
    kept, dataset_song = np.unique(song[first], return_inverse=True)
    report = SongReport(
        source=source,
        converter=converter,
        files=len(names),
        songs=len(kept),
        windows=len(first),
        duplicates=len(rows) - len(first),
        refused=_named(names, [song.fault for song in songs]),
        mended=_named(names, [song.mended for song in songs]),
        without_window=_named(names, _why_without(songs, set(kept.tolist()))),
        off_grid=_named(names, [_off_grid(song.off_grid) for song in songs]),
    )
    if not len(kept):
        raise ValueError(f"there is no window to learn from\n{report}\n{_remedy(report)}")
    windows = _windows_at([shard.columns for shard in shards], rows[first])
    return SongDataset(windows, dataset_song.astype(np.int32), [names[k] for k in kept], converter, report)


def _rows_of_songs(windows: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows of the songs at these places, and which of these each is of; windows: of every song, as rows lie."""
    first, counts = (windows.cumsum() - windows)[places], windows[places]
    song = np.repeat(np.arange(len(places)), counts)
    return (first - counts.cumsum() + counts)[song] + np.arange(len(song)), song


def _windows_at(columns: Sequence[Columns], rows: np.ndarray) -> Windows:
    """The windows at these rows of columns that lie end to end."""
    labels, lengths, controls, track, start_bar, _ = map(list, zip(*columns, strict=True))
    wide = [Rows(labels, rows), Rows(controls, rows)]
    if sum(column.nbytes for column in wide) <= MEMORY_BYTES:
        wide = [column[:] for column in wide]
    lengths, track, start_bar = (np.concatenate(column)[rows] for column in (lengths, track, start_bar))
    return Windows(wide[0], lengths, wide[1] if wide[1].shape[1] else None, track, start_bar, ())


def _why_without(songs: Sequence[Song], kept: set[int]) -> list[str | None]:
    """Why each song that was read has no window in the set, if it has none."""
    twin = "every window is in an earlier song too"
    return [None if song.fault or k in kept else song.reason or twin for k, song in enumerate(songs)]


def _named(names: list[str], entries: Sequence[str | None]) -> tuple[tuple[str, str], ...]:
    """(name, entry) where there is an entry."""
    return tuple((name, entry) for name, entry in zip(names, entries, strict=True) if entry)


def _off_grid(distance: float) -> str | None:
    if distance < OFF_GRID_STEPS:
        return None
    return f"by {OFF_GRID_STEPS} steps or more on average, where chance gives 0.25; {distance:.2f}"


def _remedy(report: SongReport) -> str:
    if len(report.refused) == report.files:
        return "Not one file could be read: add MIDI files that play."
    return (
        "Add songs that fit, or take another preset (drums, a trio, 2 bars in place of 16) or converter (other "
        "programs, another time signature)."
    )
