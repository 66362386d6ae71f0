"""From MIDI files to label arrays and back: MusicVAE's view of music (Roberts et al. 2018, sections 3 and 4).

Read top to bottom it follows the data: a file becomes a `PrettyMIDI` (`load_midi`), its notes are laid on a grid of
sixteenths, part by part of one tempo and metre (`_song_parts`), a converter cuts windows of integer labels out of the
parts (`to_arrays`), and `load_songs` does so for a folder and says what became of every file. The labels equal those of
Magenta's converters (music_vae/data.py) on every file that both read. Unlike Magenta, this module mends files that
pretty_midi refuses, drops windows that occur twice in a set, and says why a song gives none.
"""

import hashlib
import io
import itertools
import math
import os
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pretty_midi
import torch
from numpy.lib.stride_tricks import sliding_window_view
from pretty_midi import PrettyMIDI
from torch import Tensor
from tqdm.auto import tqdm

from midi_repair import MidiError, repair

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
DRUM_BITS = np.array(  # [pitch] 2^class, 0 for a pitch of no class
    [sum(1 << k for k, pitches in enumerate(DRUM_PITCHES) if pitch in pitches) for pitch in range(128)], np.uint16
)
TRIO_DEPTHS = (MELODY_DEPTH, MELODY_DEPTH, DRUMS_DEPTH)  # melody, bass, drums
TRIO_NAMES = ("a melody track (programs 0-31)", "a bass track (programs 32-39)", "a drum track")
MAX_TRIO_TRACKS = 128  # tracks looked at

VELOCITY = 80  # of every note written
TICKS_PER_QUARTER = 480  # of every file written
QPM_RANGE = (4, 1000)  # of the tempos written; MIDI itself ends at 3.6
WRITTEN_TRIO_PROGRAMS = (0, 33, 0)  # grand piano, fingered bass, standard drum kit

BUILT_IN = "built_in"  # subfolder whose songs are taken where there are no others
MIDI_SUFFIXES = (".mid", ".midi", ".kar", ".rmi")
FEW_FILES = 32  # below this, starting worker processes takes longer than they save
CHUNK_FILES = 4  # files a worker reads at a time
MAX_WORKERS = 61  # processes that Windows can wait for
ROUND_CHUNKS = 16  # chunks a worker is given before the pool is looked after
OFF_GRID_STEPS = 0.2  # mean distance of the onsets from the grid above which a song is called off it; chance gives 0.25
NAMES_SHOWN = 5  # names a line of the report
BAR_SLACK = 1e-6  # bars, for sums of floats that mean a bar line
MAX_FILE_BARS = 2**31 - 2**20  # bars counted in a file; absurd time signatures have more


class Windows(NamedTuple):
    """Windows of integer labels, and where in the song each lies."""

    labels: np.ndarray  # [n, steps] melody uint8, drums uint16; [n, steps, 3] trio uint16
    lengths: np.ndarray  # [n] steps
    controls: np.ndarray | None = None  # none of these converters has any
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
    lengths: Tensor  # [n] steps
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
    data = _file_bytes(path)
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
    start: np.ndarray  # [notes] steps
    end: np.ndarray  # [notes] steps, at least start + 1
    offset: np.ndarray  # [notes] steps from the grid to where the note was played
    pitch: np.ndarray  # [notes]
    track: np.ndarray  # [notes] index in PrettyMIDI.instruments


def _bar_steps(time_signature: tuple[int, int]) -> float:
    """Steps in a bar; no whole number for such as 1/32."""
    numerator, denominator = time_signature
    return STEPS_PER_QUARTER * (4.0 / denominator * numerator)


def _notes(midi: PrettyMIDI) -> np.ndarray:
    """[notes, 4]: start and end in seconds, pitch, track; by start time. A velocity of 0 makes no note."""
    rows = [
        (note.start, note.end, note.pitch, track)
        for track, instrument in enumerate(midi.instruments)
        for note in instrument.notes
        if note.velocity > 0
    ]
    notes = np.array(rows, np.float64).reshape(-1, 4)
    return notes[np.argsort(notes[:, 0], kind="stable")]


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
    steps_per_second = STEPS_PER_QUARTER * qpm / 60.0
    played = (notes[:, 0] - start) * steps_per_second
    start_steps = np.floor(played + 0.5).astype(np.int64)
    end_steps = np.floor((np.minimum(notes[:, 1], end) - start) * steps_per_second + 0.5).astype(np.int64)
    end_steps += end_steps == start_steps
    pitch, track = notes[:, 2:].astype(np.int64).T
    return _Part(bar, metre, start_steps, end_steps, played - start_steps, pitch, track)


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


def _drum_hits(part: _Part, tracks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Step and label bit of each hit on these tracks [tracks] bool, by step; pitches of no class are left out."""
    hits = np.flatnonzero(tracks[part.track] & (DRUM_BITS[part.pitch] > 0))
    hits = hits[np.argsort(part.start[hits], kind="stable")]
    return part.start[hits], DRUM_BITS[part.pitch[hits]]


def _paint_drums(start: np.ndarray, bits: np.ndarray, length: int) -> np.ndarray:
    """Labels [length] of the hits."""
    line = np.zeros(length, np.uint16)
    inside = start < length
    np.bitwise_or.at(line, start[inside], bits[inside])
    return line


def _drum_lines(part: _Part, tracks: np.ndarray, bar: int) -> Iterator[_Line]:
    """The drum lines of a part, all drum tracks together, split where none is hit for a bar (note_seq drums_lib)."""
    start, bits = _drum_hits(part, tracks)
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

    labels: np.ndarray  # [n, steps(, 3)]
    track: np.ndarray  # [n]
    start_bar: np.ndarray  # [n]


def _file_bars(part: _Part, bars: np.ndarray) -> np.ndarray:
    """The bars of the file in which these bars of a part begin."""
    return np.floor(min(part.first_bar, MAX_FILE_BARS) + bars + BAR_SLACK).astype(np.int64)


def _cut_lines(lines: Iterable[_Line], part: _Part, converter, skipped: list[Skipped]) -> _Cut | None:
    """Windows of every line of a part, a bar apart, or None; adds what gives none to `skipped`."""
    cuts, bar, steps = [], converter.steps_per_bar, converter.steps
    for line in lines:
        first_bar = line.first_step // bar
        where = f"track {line.track} from bar {_file_bars(part, first_bar) + 1}"
        skipped += _line_skips(line, where, converter.bars, bar)
        if len(line.labels) >= steps:
            labels = sliding_window_view(line.labels, steps)[::bar]  # [n, steps]
            bars = _file_bars(part, first_bar + np.arange(len(labels)))
            cuts.append(_Cut(labels, np.full(len(labels), line.track), bars))
    return _Cut(*map(np.concatenate, zip(*cuts, strict=True))) if cuts else None


def _without_leading_offs(labels: np.ndarray) -> np.ndarray:
    """Melody windows [n, steps] in which no note-off stands before the first onset."""
    sounded = np.logical_or.accumulate(labels >= FIRST_PITCH, axis=1)
    return labels * sounded


def _unique(cut: _Cut) -> _Cut:
    """The first of each group of equal windows, in order."""
    rows = np.ascontiguousarray(cut.labels)
    rows = rows.view(np.dtype((np.void, rows[0].nbytes))).ravel()
    first = np.sort(np.unique(rows, return_index=True)[1])
    return _Cut(*(column[first] for column in cut))


def _as_windows(cuts: Sequence[_Cut], no_labels: np.ndarray, skipped: Sequence[Skipped]) -> Windows:
    """Joins the parts' windows; no_labels [0, steps(, 3)] gives the shape and type."""
    nothing = _Cut(no_labels, np.zeros(0), np.zeros(0))
    labels, track, start_bar = map(np.concatenate, zip(nothing, *cuts, strict=True))
    lengths = np.full(len(labels), no_labels.shape[1], np.int32)
    return Windows(labels, lengths, None, track.astype(np.int16), start_bar.astype(np.int32), tuple(skipped))


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
            yield _Cut(windows, np.full(len(starts), trio[0]), _file_bars(part, starts))


# ---- Converters ----


class _BarsConverter:
    """What the converters share: windows of whole bars, cut out of each part of a song whose bars are as long."""

    control_depth = 0  # nothing beside the music is read

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

    def to_arrays(self, midi: PrettyMIDI) -> Windows:
        """Every window of a song, a bar apart; what the labels mean stands with each class."""
        parts = _song_parts(midi)
        skipped = [
            Skipped(_track_name(track, instrument), refusal)
            for track, instrument in enumerate(midi.instruments)
            if (refusal := self._refusal(instrument))
        ]
        skipped += [_metre_skip(part) for part in parts if not self._fits(part)]
        cuts = [cut for part in filter(self._fits, parts) for cut in self._cuts(part, midi, skipped)]
        if not cuts:
            skipped.insert(0, Skipped("song", self._why_nothing(midi, parts)))
        return _as_windows(cuts, self._no_labels(), skipped)

    def _fits(self, part: _Part) -> bool:
        """Whether a part's bars are as long as the converter's."""
        return _bar_steps(part.time_signature) == self.steps_per_bar

    def _why_nothing(self, midi: PrettyMIDI, parts: Sequence[_Part]) -> str:
        """Why a song gives no window at all."""
        parts = [part for part in parts if len(part.start)]
        if not parts:
            return "no notes"
        others = " and ".join(dict.fromkeys(_fraction(p.time_signature) for p in parts if not self._fits(p)))
        if not any(map(self._fits, parts)):
            return f"{others} throughout"
        reason = self._why_no_window(midi, list(filter(self._fits, parts)))
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
    """

    bars: int = 2  # of a window
    time_signature: tuple[int, int] = (4, 4)  # of the bars taken; others as long pass too: 2/2 for 4/4, 6/8 for 3/4
    programs: tuple[int, ...] | None = MELODY_PROGRAMS  # General MIDI programs taken, from 0; None takes every one

    input_depth = output_depth = MELODY_DEPTH

    def from_arrays(
        self, labels: np.ndarray | Tensor, qpm: float = 120.0, program: int | None = None, controls: None = None
    ) -> PrettyMIDI:
        """Writes one window [steps] as a song; qpm in quarters a minute, program 0 (grand piano) unless given.

        Read back by `to_arrays` it gives the same one window if an onset stands in the first bar, the last bar is
        reached by a note or its note-off, no rest between takes a bar, and each note-off ends a note. The labels do not
        say what an empty first or last bar stood for (silence, a note held on), and a window of zeros has no note.
        """
        labels = _checked_labels(labels, (MELODY_DEPTH,))
        midi = _empty_song(qpm, self.time_signature)
        midi.instruments.append(_melody_track(labels, _checked_program(0 if program is None else program), qpm))
        return midi

    def to_tensors(self, windows: Windows, generator: torch.Generator | None = None) -> Tensors:
        """One-hot frames [n, steps, 90] on the labels' device; inputs and targets are the same tensor."""
        labels, lengths, kept = _on_device(windows)
        frames = _one_hot(labels, kept, MELODY_DEPTH)
        return Tensors(frames, frames, lengths, None)

    def from_tensors(self, outputs: Tensor) -> Tensor:
        """Labels int64 [n, steps] of outputs [n, steps, 90]: the class of the largest value."""
        return _largest(outputs, MELODY_DEPTH)[..., 0]

    def transpose(self, labels: Tensor, semitones: Tensor) -> Tensor:
        """Moves the notes of windows [n, steps] by semitones [n]; a window that would leave the keys stays as it is."""
        return _transposed(labels[..., None], semitones)[..., 0]

    def _no_labels(self) -> np.ndarray:
        return np.zeros((0, self.steps), np.uint8)

    def _refusal(self, instrument: pretty_midi.Instrument) -> str | None:
        """Why a track is not taken, if it is not."""
        if instrument.is_drum:
            return "drums"
        if self.programs is None or instrument.program in self.programs:
            return None
        return f"program {instrument.program} is not in {_span(self.programs)}"

    def _tracks(self, midi: PrettyMIDI) -> np.ndarray:
        """[tracks] bool: the tracks taken."""
        return np.array([self._refusal(instrument) is None for instrument in midi.instruments], bool)

    def _cuts(self, part: _Part, midi: PrettyMIDI, skipped: list[Skipped]) -> Iterator[_Cut]:
        """The windows of a part, if it has any; adds the lines that are too short or too long to `skipped`."""
        cut = _cut_lines(_melody_lines(part, self._tracks(midi), self.steps_per_bar), part, self, skipped)
        if cut:
            yield _unique(cut._replace(labels=_without_leading_offs(cut.labels)))

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
    """Windows of all drum tracks together: a label a step, the sum of 2^class over the classes hit (DRUM_PITCHES).

    to_arrays gives uint16 [n, steps]; a bar's length without a hit ends a line; of equal windows in a stretch of one
    tempo and metre the first is kept. Magenta: DrumsConverter.
    """

    bars: int = 2  # of a window
    time_signature: tuple[int, int] = (4, 4)  # of the bars taken; others as long pass too

    input_depth = DRUM_CLASSES + 1
    output_depth = DRUMS_DEPTH

    def from_arrays(
        self, labels: np.ndarray | Tensor, qpm: float = 120.0, program: int | None = None, controls: None = None
    ) -> PrettyMIDI:
        """Writes one window [steps] as a song; program chooses the drum kit, 0 (standard) unless given.

        Read back by `to_arrays` it gives the same one window if the first and the last bar hold a hit and no bar's
        length between is empty.
        """
        labels = _checked_labels(labels, (DRUMS_DEPTH,))
        midi = _empty_song(qpm, self.time_signature)
        midi.instruments.append(_drum_track(labels, _checked_program(0 if program is None else program), qpm))
        return midi

    def to_tensors(self, windows: Windows, generator: torch.Generator | None = None) -> Tensors:
        """Inputs [n, steps, 10], nine hits and a one where there is none; targets [n, steps, 512] one-hot."""
        labels, lengths, kept = _on_device(windows)
        hits = labels[..., None] >> torch.arange(DRUM_CLASSES, device=labels.device) & 1
        inputs = torch.cat([hits, (labels == 0)[..., None]], -1) * kept[..., None]
        return Tensors(inputs, _one_hot(labels, kept, DRUMS_DEPTH), lengths, None)

    def from_tensors(self, outputs: Tensor) -> Tensor:
        """Labels int64 [n, steps] of outputs [n, steps, 512]: the class of the largest value."""
        return _largest(outputs, DRUMS_DEPTH)[..., 0]

    def transpose(self, labels: Tensor, semitones: Tensor) -> Tensor:
        """Drums have no pitch: the labels as they are."""
        return labels

    def _no_labels(self) -> np.ndarray:
        return np.zeros((0, self.steps), np.uint16)

    def _refusal(self, instrument: pretty_midi.Instrument) -> str | None:
        """Why a track is not taken, if it is not."""
        return None if instrument.is_drum else "no drums"

    def _cuts(self, part: _Part, midi: PrettyMIDI, skipped: list[Skipped]) -> Iterator[_Cut]:
        """The windows of a part, if it has any; adds the lines that are too short or too long to `skipped`."""
        cut = _cut_lines(_drum_lines(part, _drum_tracks(midi), self.steps_per_bar), part, self, skipped)
        if cut:
            yield _unique(cut)

    def _why_no_window(self, midi: PrettyMIDI, parts: Sequence[_Part]) -> str:
        tracks = _drum_tracks(midi)
        if not tracks.any():
            return "no drums"
        ends = [_drum_hits(part, tracks)[0] + 1 for part in parts]
        if not any(map(len, ends)):
            return "no drum of the nine classes"
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


Converter = MelodyConverter | DrumsConverter | TrioConverter


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


def _empty_song(qpm: float, time_signature: tuple[int, int]) -> PrettyMIDI:
    if not QPM_RANGE[0] <= qpm <= QPM_RANGE[1]:
        raise ValueError(f"qpm is {qpm}; give quarters a minute between {QPM_RANGE[0]} and {QPM_RANGE[1]}")
    midi = PrettyMIDI(resolution=TICKS_PER_QUARTER, initial_tempo=qpm)
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


def _checked_program(program: int) -> int:
    if not 0 <= program < 128:
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
    events = np.append(np.flatnonzero(labels != NO_EVENT), len(labels))
    for start, end in itertools.pairwise(events):
        if labels[start] != NOTE_OFF:
            pitch = int(labels[start]) - FIRST_PITCH + MIN_PITCH
            track.notes.append(_note(pitch, start, end, step_seconds))
    return track


def _drum_track(labels: np.ndarray, program: int, qpm: float) -> pretty_midi.Instrument:
    """A drum track that plays labels [steps], a step a hit, with each class's first pitch."""
    track = pretty_midi.Instrument(program, is_drum=True)
    step_seconds = 60.0 / qpm / STEPS_PER_QUARTER
    for step, kind in zip(*np.nonzero(labels[:, None] >> np.arange(DRUM_CLASSES) & 1), strict=True):
        track.notes.append(_note(DRUM_PITCHES[kind][0], step, step + 1, step_seconds))
    return track


def _note(pitch: int, start: int, end: int, step_seconds: float) -> pretty_midi.Note:
    return pretty_midi.Note(VELOCITY, pitch, float(start * step_seconds), float(end * step_seconds))


def _on_device(windows: Windows) -> tuple[Tensor, Tensor, Tensor]:
    """Labels int64, lengths int64 [n], and kept [n, steps] float: 1 before a window's length, 0 from there on."""
    labels = windows.labels.astype(np.int64) if isinstance(windows.labels, np.ndarray) else windows.labels.long()
    labels = torch.as_tensor(labels)
    lengths = torch.as_tensor(windows.lengths, device=labels.device).long()
    kept = torch.arange(labels.shape[1], device=labels.device) < lengths[:, None]
    return labels, lengths, kept.float()


def _one_hot(labels: Tensor, kept: Tensor, *depths: int) -> Tensor:
    """Frames [n, steps, sum of depths] of labels [n, steps], or [n, steps, parts] for several depths."""
    labels = labels.reshape(*kept.shape, len(depths))
    offsets = labels.new_tensor([0, *itertools.accumulate(depths)][:-1])
    frames = torch.zeros(*kept.shape, sum(depths), device=labels.device)
    return frames.scatter_(-1, labels + offsets, kept[..., None].expand_as(labels))


def _largest(outputs: Tensor, *depths: int) -> Tensor:
    """Labels int64 [..., parts]: each part's class of the largest value."""
    outputs = torch.as_tensor(outputs)
    if outputs.shape[-1] != sum(depths):
        raise ValueError(f"outputs are {outputs.shape[-1]} deep; this converter's are {sum(depths)}")
    return torch.stack([part.argmax(-1) for part in outputs.split(depths, -1)], -1)


def _transposed(labels: Tensor, semitones: Tensor) -> Tensor:
    """Melody labels [n, steps, voices], notes moved by semitones [n] where all of a window's stay on the keys."""
    wide = labels.int()
    moved = wide + semitones.to(wide)[:, None, None]
    onset = wide >= FIRST_PITCH
    fits = ((moved >= FIRST_PITCH) & (moved < MELODY_DEPTH) | ~onset).all(-1).all(-1)
    return torch.where(onset & fits[:, None, None], moved, wide).to(labels.dtype)


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
    that have windows, in order; converter; report: a SongReport on the whole set.
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
        return SongDataset(self.windows(kept), song, names, self.converter, self.report)


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


class _SongResult(NamedTuple):
    """What a worker hands back for one file."""

    windows: Windows | None = None
    fault: str | None = None  # why the file was refused
    mended: tuple[str, ...] = ()
    off_grid: float = 0.0  # mean distance of the onsets from the grid, in steps


def load_songs(
    folder_or_paths: str | os.PathLike | Iterable[str | os.PathLike],
    converter: Converter,
    *,
    workers: int | None = None,
    executor: Executor | None = None,
    progress: bool = True,
) -> SongDataset:
    """Reads every MIDI file of a folder and its subfolders, or every path given, into one dataset.

    Songs are sorted by name, however many workers read them; of windows equal anywhere in the set the first is kept.
    A folder's subfolder `built_in` counts only where the folder holds no other song.

    Args:
        workers: processes; None takes every core, and 1, or a small set, is read in this process.
        executor: a `concurrent.futures.Executor` to read with in place of one's own processes.
        progress: show a progress bar.

    Raises:
        ValueError: no such folder, no MIDI file in it, or no window in any of them; the message carries the report.
    """
    source, names, paths = _find_files(folder_or_paths)
    with tqdm(total=len(paths), desc="Reading MIDI", unit="file", disable=not progress) as bar:
        results = _read_all(paths, converter, workers, executor, bar)
    return _dataset(source, names, results, converter)


def _find_files(folder_or_paths) -> tuple[str, list[str], list[Path]]:
    """What to call the set, and the name and path of each file, sorted; names in a folder are relative to it."""
    if not isinstance(folder_or_paths, str | os.PathLike):
        given = [Path(path) for path in folder_or_paths]
        paths = [file for path in given for file in (_midi_files(path) if path.is_dir() else [path])]
        source, names = _count(len(paths), "path"), {path.as_posix(): path for path in paths}
    elif (folder := Path(folder_or_paths)).is_dir():
        source, names = str(folder), {path.relative_to(folder).as_posix(): path for path in _midi_files(folder)}
        if names and all(name.startswith(f"{BUILT_IN}/") for name in names):
            source += " (its built-in songs: put files of your own beside them, and yours are taken instead)"
    elif folder.exists():
        source, names = str(folder), {folder.name: folder}
    else:
        raise ValueError(f"{folder}: there is no such folder; give one that holds MIDI files, or a list of paths")
    if not names:
        raise ValueError(f"{source}: there is no MIDI file; add files that end in {', '.join(MIDI_SUFFIXES)}")
    return source, sorted(names), [names[name] for name in sorted(names)]


def _midi_files(folder: Path) -> list[Path]:
    """The MIDI files in a folder and its subfolders, by their endings; built-in songs where there are no others."""
    found = (path for path in folder.rglob("*") if path.suffix.lower() in MIDI_SUFFIXES and path.is_file())
    files = [path for path in found if not path.name.startswith(".")]
    return [path for path in files if path.relative_to(folder).parts[0] != BUILT_IN] or files


def _read_songs(paths: Sequence[Path], converter: Converter) -> list[_SongResult]:
    """Runs in a worker: whatever a file does, the others are read."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pretty_midi warns of tempos on later tracks; nothing here to act on
        return [_read_song(path, converter) for path in paths]


def _read_song(path: Path, converter: Converter) -> _SongResult:
    try:
        midi, mended = _read(path)
        return _SongResult(converter.to_arrays(midi), None, tuple(mended), _distance_from_grid(midi))
    except MidiError as error:
        return _SongResult(fault=str(error).removeprefix(f"{path}: "))
    except Exception as error:  # one file must not end the reading of a folder
        return _SongResult(fault=f"{type(error).__name__}: {error}")


def _distance_from_grid(midi: PrettyMIDI) -> float:
    """Mean distance, in steps, of a song's onsets from the sixteenths."""
    offsets = np.concatenate([part.offset for part in _song_parts(midi)])
    return float(np.abs(offsets).mean()) if len(offsets) else 0.0


def _read_all(
    paths: list[Path], converter: Converter, workers: int | None, executor: Executor | None, bar: tqdm
) -> list[_SongResult]:
    """One result a path, in order."""
    chunks = [paths[k : k + CHUNK_FILES] for k in range(0, len(paths), CHUNK_FILES)]
    workers = min(workers or _cores(), len(chunks), MAX_WORKERS)
    pool, results = executor, []
    if pool is None and workers > 1 and len(paths) >= FEW_FILES:
        pool = _start_pool(workers)
    try:
        for k in range(0, len(chunks), ROUND_CHUNKS * workers):
            if pool is not executor and not _works(pool):
                pool = _start_pool(workers)
            for found in _read_round(chunks[k : k + ROUND_CHUNKS * workers], converter, pool):
                results += found
                bar.update(len(found))
    finally:
        if pool is not executor:
            pool.shutdown(cancel_futures=True)
    return results


def _cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _start_pool(workers: int) -> ProcessPoolExecutor | None:
    """A pool that works, or None where no process can be started (a script without a main guard, a sandbox)."""
    try:
        pool = ProcessPoolExecutor(workers)
    except (OSError, NotImplementedError):
        return None
    return pool if _works(pool) else None


def _works(pool: Executor) -> bool:
    try:
        pool.submit(int).result()
        return True
    except (OSError, BrokenExecutor):  # no RuntimeError: a worker that runs an unguarded script must die of its own
        return False


def _read_round(chunks: list[list[Path]], converter: Converter, pool: Executor | None) -> Iterator[list[_SongResult]]:
    """The results of each chunk in order, read by the pool, or here where there is none."""
    if pool is None:
        yield from (_read_songs(chunk, converter) for chunk in chunks)
        return
    futures = []
    with suppress(RuntimeError):  # the pool may die while it is being filled
        futures += (pool.submit(_read_songs, chunk, converter) for chunk in chunks)
    for chunk, future in itertools.zip_longest(chunks, futures):
        try:
            found = future.result() if future else None
        except Exception:  # a worker died; its files are tried again
            found = None
        yield found or [_read_alone(path, converter) for path in chunk]


def _read_alone(path: Path, converter: Converter) -> _SongResult:
    """Reads a file in a process of its own, so that the one that ends its process is found."""
    with ProcessPoolExecutor(1) as pool:
        try:
            return pool.submit(_read_song, path, converter).result()
        except Exception as error:  # the process died of this file
            return _SongResult(fault=f"reading it ended its process ({type(error).__name__})")


def _dataset(source: str, names: list[str], results: list[_SongResult], converter: Converter) -> SongDataset:
    """Drops equal windows, the first kept, and puts the rest and the report together."""
    seen: set[bytes] = set()
    kept, song, song_names, without = [], [], [], []
    found = [(name, result.windows) for name, result in zip(names, results, strict=True) if result.windows]
    for name, windows in found:
        new = _new_rows(windows, seen)
        if len(new):
            kept.append([None if column is None else column[new] for column in windows[:5]])
            song.append(np.full(len(new), len(song_names), np.int32))
            song_names.append(name)
        else:
            reason = "every window is in an earlier song too" if len(windows.labels) else windows.skipped[0].reason
            without.append((name, reason))
    report = SongReport(
        source=source,
        converter=converter,
        files=len(names),
        songs=len(song_names),
        windows=sum(map(len, song)),
        duplicates=sum(len(windows.labels) for _, windows in found) - sum(map(len, song)),
        refused=_named(names, [result.fault for result in results]),
        mended=_named(names, ["; ".join(result.mended).replace("; ", ", ") for result in results]),
        without_window=tuple(without),
        off_grid=_named(names, [_off_grid(result.off_grid) for result in results]),
    )
    if not song_names:
        raise ValueError(f"there is no window to learn from\n{report}\n{_remedy(report)}")
    columns = [None if column[0] is None else np.concatenate(column) for column in zip(*kept, strict=True)]
    return SongDataset(Windows(*columns, ()), np.concatenate(song), song_names, converter, report)


def _new_rows(windows: Windows, seen: set[bytes]) -> np.ndarray:
    """Indices of the windows not in `seen` yet, which they then are."""
    new = []
    for k, labels in enumerate(windows.labels):
        controls = b"" if windows.controls is None else windows.controls[k].tobytes()
        key = hashlib.blake2b(labels.tobytes() + controls, digest_size=16).digest()
        if key not in seen:
            seen.add(key)
            new.append(k)
    return np.array(new, np.int64)


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
