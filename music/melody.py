"""Melodies: one voice, one label per step (Roberts et al. 2018, section 4)."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pretty_midi
import torch
from pretty_midi import PrettyMIDI
from torch import Tensor

from engine.checks import checked_type
from music.chords import chords_to_controls, transposed_chords
from music.converter import (
    BarsConverter,
    Tensors,
    add_chord_texts,
    checked_chords,
    checked_labels,
    checked_program,
    chord_frames,
    describe_programs,
    describe_tracks,
    empty_song,
    label_tensors,
    largest_classes,
    note_at,
    one_hot,
)
from music.grid import (
    GAP_BARS,
    MAX_BARS,
    STEPS_PER_QUARTER,
    Cut,
    Line,
    Part,
    Skipped,
    Windows,
    cut_lines,
    round_half_up,
    seconds_per_step,
    split_runs,
    steps_per_second,
    unique,
)
from music.harmony import SongChords, part_harmony, song_chords, with_chord_classes
from music.labels import FIRST_PITCH, MAX_PITCH, MELODY_DEPTH, MIN_PITCH, NO_EVENT, NOTE_OFF

MELODY_PROGRAMS = tuple(range(32))  # General MIDI, from 0: pianos, mallets, organs, guitars


class MelodyFacts(NamedTuple):
    """What cutting the parts of a song takes of the whole song."""

    tracks: np.ndarray  # [tracks] bool: those with melodies
    guessed_from: np.ndarray  # [tracks] bool: those with a program that is taken, drums included
    chords: SongChords | None  # None without chords


class PitchedTracksConverter(BarsConverter):
    """What melodies and pianos share: they take the pitched tracks whose program is in the field `programs`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.programs is not None:
            checked_type("programs", self.programs, tuple, "General MIDI programs, such as (0, 1), or None")
            if not self.programs:
                raise ValueError("programs must be at least one program, or None for all, got ()")
            for program in self.programs:
                checked_program(program)

    def track_refusal(self, instrument: pretty_midi.Instrument) -> str | None:
        if instrument.is_drum:
            return "drums"
        if self.programs is None or instrument.program in self.programs:
            return None
        return f"program {instrument.program} is not in {describe_programs(self.programs)}"

    def tracks_taken(self, midi: PrettyMIDI) -> np.ndarray:
        """[tracks] bool: the tracks taken."""
        return np.array([self.track_refusal(instrument) is None for instrument in midi.instruments], bool)

    def why_no_note(self, midi: PrettyMIDI, parts: Sequence[Part]) -> str | None:
        tracks = self.tracks_taken(midi)
        if not tracks.any():
            taken = "but drums" if self.programs is None else f"with a program in {describe_programs(self.programs)}"
            return f"no track {taken}; {describe_tracks(midi)}"
        if any((tracks[part.track] & on_keys(part)).any() for part in parts):
            return None
        return f"no note in the pitches {MIN_PITCH}-{MAX_PITCH}"


@dataclass(frozen=True)
class MelodyConverter(PitchedTracksConverter):
    """Windows of one voice with one label per step: 0 no event, 1 note-off, 2 to 89 an onset of the pitches 21 to 108.

    to_arrays gives uint8 [n, steps]. A melody is the highest notes of a track whose program is taken. A note ends where
    the next one starts, and a rest of one bar ends the melody. Among equal windows of a part (a stretch of one tempo
    and time signature) the first is kept. Magenta: OneHotMelodyConverter.

    With chords, controls int8 [n, steps] hold the chord class of each step (see chords.py). The chords are the song's
    text events, or else its lyrics, if most of these are chord symbols. Otherwise they are guessed from the notes;
    Magenta always guesses, since it reads no text from MIDI files. A window with a chord of no class is left out.
    """

    bars: int = 2  # per window
    time_signature: tuple[int, int] = (4, 4)  # of the bars taken; another of the same length passes: 2/2 for 4/4
    programs: tuple[int, ...] | None = MELODY_PROGRAMS  # General MIDI programs taken, from 0; None takes all
    chords: bool = False  # whether the windows have the chord of each step as controls
    follow_tempo: bool = False  # True: windows go on through changes of tempo; False: they end there, as in Magenta

    input_depth = output_depth = MELODY_DEPTH
    held_parts = 1

    def from_arrays(
        self,
        labels: np.ndarray | Tensor,
        qpm: float = 120.0,
        program: int | None = None,
        controls: np.ndarray | Tensor | None = None,
    ) -> PrettyMIDI:
        """Writes one window as a song.

        `to_arrays` reads the same one window back if the first bar has an onset, a note or its note-off reaches the
        last bar, no rest between takes a bar, and each note-off ends a note. Labels cannot tell what an empty first or
        last bar was (silence, or a held note), and a window of zeros has no notes.

        Args:
            labels: [steps].
            qpm: quarters per minute, 4 to 1000.
            program: General MIDI, from 0; a grand piano (0) if None.
            controls: [steps] chord classes 0 to 48, written as text events.
        """
        labels = checked_labels(labels, (MELODY_DEPTH,))
        midi = empty_song(qpm, self.time_signature)
        midi.instruments.append(melody_track(labels, checked_program(0 if program is None else program), qpm))
        if controls is not None:
            classes = checked_chords(controls, labels)
            add_chord_texts(midi, np.arange(len(labels)), classes, seconds_per_step(qpm))
        return midi

    def chord_controls(self, symbols: Sequence[str]) -> np.ndarray:
        """Controls int8 [steps] of chord symbols that share a window's steps equally: ["C", "F", "G7", "C"]."""
        return chords_to_controls(symbols, self.steps)

    def to_tensors(self, windows: Windows, generator: torch.Generator | None = None, indices: bool = False) -> Tensors:
        """One-hot frames [n, steps, 90] on the labels' device; inputs and targets are the same tensor."""
        labels, lengths, mask = label_tensors(windows)
        frames = one_hot(labels, mask, MELODY_DEPTH, indices=indices)
        return Tensors(frames, frames, lengths, chord_frames(windows, labels, mask) if self.chords else None)

    def from_tensors(self, outputs: Tensor) -> Tensor:
        """Labels int64 [n, steps] of outputs [n, steps, 90]: the class with the largest value."""
        return largest_classes(outputs, MELODY_DEPTH)[..., 0]

    def transpose(self, labels: Tensor, semitones: Tensor) -> Tensor:
        """Moves the notes of windows [n, steps] by semitones [n]; a window that would leave the keys is not moved."""
        return transpose_voices(labels[..., None], semitones)[..., 0]

    def transpose_controls(self, labels: Tensor, controls: Tensor, semitones: Tensor) -> Tensor:
        """Moves the chords of windows [n, steps] where `transpose` moves their notes."""
        _, fits = _moved(labels[..., None], semitones)
        return transposed_chords(controls, (semitones * fits)[:, None]).to(controls.dtype)

    def no_labels(self) -> np.ndarray:
        return np.zeros((0, self.steps), np.uint8)

    def song_facts(self, midi: PrettyMIDI) -> MelodyFacts:
        programs = [track.program for track in midi.instruments]
        guessed_from = np.array([self.programs is None or program in self.programs for program in programs], bool)
        return MelodyFacts(self.tracks_taken(midi), guessed_from, song_chords(midi) if self.chords else None)

    def cut_part(self, part: Part, facts: MelodyFacts, skipped: list[Skipped]) -> Iterator[Cut]:
        lines = melody_lines(part, facts.tracks, self.steps_per_bar)
        cut = cut_lines(lines, part, self.bars, self.steps_per_bar, skipped)
        if cut:
            cut = cut._replace(labels=_without_leading_offs(cut.labels))
            yield from self._with_chords(cut, part, facts, skipped) if self.chords else [unique(cut)]

    def _with_chords(self, cut: Cut, part: Part, facts: MelodyFacts, skipped: list[Skipped]) -> Iterator[Cut]:
        """The different windows of a part with their chords as controls; none if the part has no chords."""
        heard = facts.guessed_from[part.track] & on_keys(part)
        seconds = part.times[:, 1].max(initial=0.0)
        harmony = part_harmony(part, facts.chords, part.select(heard), seconds, STEPS_PER_QUARTER, skipped)
        if harmony is None:
            return
        rate = steps_per_second(part.qpm)
        song_steps = max(round_half_up(seconds * rate), part.end[heard].max(initial=0))
        steps = cut.first_bar[:, None] * self.steps_per_bar + np.arange(self.steps)
        controls = harmony.at(np.minimum(steps, song_steps - 1), round_half_up(harmony.seconds * rate))
        yield with_chord_classes(unique(cut._replace(controls=controls)), harmony, skipped)

    def line(self, part: Part, midi: PrettyMIDI) -> tuple[np.ndarray, tuple[int, ...]]:
        track, start, end, pitch = melody_voice(part, self.tracks_taken(midi))
        first = track == track[:1]
        labels = paint_melody(start[first], end[first], pitch[first], int(end[first].max(initial=0)))
        return labels, tuple(track[:1].tolist())

    def as_cut(self, labels: np.ndarray, tied: np.ndarray | None = None) -> np.ndarray:
        return _without_leading_offs(labels)

    def why_no_window(self, midi: PrettyMIDI, parts: Sequence[Part]) -> str:
        if reason := self.why_no_note(midi, parts):
            return reason
        tracks = self.tracks_taken(midi)
        ends = [melody_voice(part, tracks)[2] for part in parts]
        return self.why_short(ends) or f"no melody of {self.bars} bars without a bar's rest"


# ---- Notes to labels ----


def on_keys(part: Part) -> np.ndarray:
    """[notes] bool: whether a note of a part is on the piano's keys."""
    return (part.pitch >= MIN_PITCH) & (part.pitch <= MAX_PITCH)


def melody_voice(part: Part, tracks: np.ndarray) -> tuple[np.ndarray, ...]:
    """Track, start, end and pitch of the notes on the tracks [tracks] bool; of equal starts only the highest pitch."""
    order = np.lexsort((-part.pitch, part.start, part.track))
    order = order[(tracks[part.track] & on_keys(part))[order]]
    track, start = part.track[order], part.start[order]
    is_top = np.ones(len(order), bool)
    is_top[1:] = (track[1:] != track[:-1]) | (start[1:] != start[:-1])
    top = order[is_top]
    return track[is_top], start[is_top], part.end[top], part.pitch[top]


def paint_melody(start: np.ndarray, end: np.ndarray, pitch: np.ndarray, length: int) -> np.ndarray:
    """Labels [length] of one voice; the notes are sorted by start, and each ends where the next one starts."""
    line, start = np.zeros(length + 1, np.uint8), np.minimum(start, length)  # the last step takes what lies beyond
    line[np.minimum(end, np.append(start[1:], length))] = NOTE_OFF
    line[start] = pitch + (FIRST_PITCH - MIN_PITCH)
    return line[:length]


def melody_lines(part: Part, tracks: np.ndarray, bar_steps: int) -> Iterator[Line]:
    """A part's melodies, split where a track rests for a bar (note_seq melodies_lib, magenta melody_pipelines)."""
    track, start, end, pitch = melody_voice(part, tracks)
    if not len(track):
        return
    for run in split_runs((track[1:] != track[:-1]) | (start[1:] - end[:-1] >= GAP_BARS * bar_steps)):
        first = start[run][0] // bar_steps * bar_steps
        bars = -(-(end[run][-1] - first) // bar_steps)
        labels = paint_melody(start[run] - first, end[run] - first, pitch[run], min(bars, MAX_BARS) * bar_steps)
        yield Line(labels, first, track[run][0], max(0, bars - MAX_BARS))


def _without_leading_offs(labels: np.ndarray) -> np.ndarray:
    """Windows [n, steps] without the note-offs before their first onset."""
    sounded = np.logical_or.accumulate(labels >= FIRST_PITCH, axis=1)
    return labels * sounded


# ---- Labels to notes ----


def melody_track(labels: np.ndarray, program: int, qpm: float) -> pretty_midi.Instrument:
    """A track of labels [steps]; a note lasts until the next onset, a note-off or the end."""
    track = pretty_midi.Instrument(program)
    step_seconds = seconds_per_step(qpm)
    labels = labels.tolist()  # plain numbers: NumPy's are slow one by one
    events = [step for step, label in enumerate(labels) if label != NO_EVENT]
    for start, end in itertools.pairwise([*events, len(labels)]):
        if labels[start] != NOTE_OFF:
            pitch = labels[start] - FIRST_PITCH + MIN_PITCH
            track.notes.append(note_at(pitch, start, end, step_seconds))
    return track


# ---- Transposition ----


def transpose_voices(labels: Tensor, semitones: Tensor) -> Tensor:
    """Moves the notes of windows [n, steps, voices] by semitones [n], except windows that would leave the keys."""
    moved, fits = _moved(labels, semitones)
    return torch.where(fits[:, None, None], moved, labels.int()).to(labels.dtype)


def _moved(labels: Tensor, semitones: Tensor) -> tuple[Tensor, Tensor]:
    """Labels int32 [n, steps, voices] with the notes moved by semitones [n], and [n] whether all stay on the keys."""
    wide = labels.int()
    is_note = wide >= FIRST_PITCH
    moved = torch.where(is_note, wide + semitones.to(wide)[:, None, None], wide)
    return moved, (~is_note | (moved >= FIRST_PITCH) & (moved < MELODY_DEPTH)).flatten(1).all(1)
