"""Single bars of two to eight tracks, each a sequence of tokens (Simon et al. 2018, section 3)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pretty_midi
import torch
from pretty_midi import PrettyMIDI
from torch import Tensor

from engine.checks import whole_numbers
from music import performance
from music.chords import Harmony, chords_to_controls, transposed_chords
from music.converter import (
    BarsConverter,
    Tensors,
    add_chord_texts,
    checked_chords,
    checked_outputs,
    checked_program,
    chord_frames,
    empty_song,
    label_tensors,
    note_at,
    one_hot,
)
from music.grid import (
    Cut,
    Part,
    Skipped,
    Windows,
    counted,
    drum_tracks,
    file_bars,
    full_windows,
    round_half_up,
    seconds_per_step,
    steps_per_second,
)
from music.harmony import SongChords, part_harmony, song_chords, with_chord_classes
from music.pedal import held_times, pedal_changes

SAME_MOMENT = 1e-6  # seconds; tolerance of sums of floats that should be the same time


class MultitrackFacts(NamedTuple):
    """What cutting the parts of a song takes of the whole song."""

    programs: np.ndarray  # [tracks] tokens
    drums: np.ndarray  # [tracks] bool
    pedals: dict[int, np.ndarray]  # changes of the pedal by track, see `pedal_changes`
    chords: SongChords | None  # None without chords


@dataclass(frozen=True)
class MultitrackConverter(BarsConverter):
    """Single bars of two to eight tracks; a track is its program, its events in 24ths of a quarter, and an end token.

    to_arrays gives int16 [n, 512], 8 tracks of 64 tokens (see performance.py), -1 where padded, and lengths [n, 8].
    Tracks are sorted by program, drums last. Notes sound as long as the pedal holds them, and end with their bar.

    With chords, controls int8 [n, 512] hold the class of the chord that holds at each token; the chords come from where
    the melody converter takes them. Magenta: MultiInstrumentPerformanceConverter.
    """

    chords: bool = False  # whether the windows have the chord at each token as controls
    follow_tempo: bool = False  # True: windows go on through changes of tempo; False: they end there, as in Magenta

    bars, time_signature = 1, (4, 4)
    segments, segment_steps = performance.TRACKS, performance.EVENTS
    steps = performance.TRACKS * performance.EVENTS
    input_depth = output_depth = performance.DEPTH
    end_token = performance.END
    needs_grid = False
    several_tracks = True

    def from_arrays(
        self,
        labels: np.ndarray | Tensor,
        qpm: float = 120.0,
        program: Sequence[int] | None = None,
        controls: np.ndarray | Tensor | None = None,
    ) -> PrettyMIDI:
        """Writes one bar as a song with a track for each one that has notes.

        `to_arrays` reads the same bar back if two tracks have notes, no track has only silence, and no pitch is struck
        while it still sounds.

        Args:
            labels: [512].
            qpm: quarters per minute, 4 to 1000.
            program: one General MIDI program per track; those of the labels if None.
            controls: [512] chord classes 0 to 48, -1 where padded, written as text events.
        """
        labels = _checked_tokens(labels)
        tracks = [performance.track_of_tokens(tokens) for tokens in labels.reshape(self.segments, -1)]
        midi = empty_song(qpm, self.time_signature)
        step_seconds = seconds_per_step(qpm, performance.STEPS_PER_QUARTER)
        for track, own in zip(tracks, _track_programs(tracks, program)):
            if track.notes:
                instrument = pretty_midi.Instrument(own, track.is_drum)
                instrument.notes += [
                    note_at(pitch, start, end, step_seconds, velocity) for start, end, pitch, velocity in track.notes
                ]
                midi.instruments.append(instrument)
        if controls is not None:
            classes = checked_chords(controls, labels)
            add_chord_texts(midi, np.concatenate([track.event_steps for track in tracks]), classes, step_seconds)
        return midi

    def chord_controls(self, symbols: Sequence[str]) -> np.ndarray:
        """Controls int8 [512] of one chord symbol, ["Am"]: no chord at a track's program, then this chord."""
        if len(symbols) != 1:
            raise ValueError(f"a bar of several tracks takes one chord, not {len(symbols)}: their events share no grid")
        controls = chords_to_controls(symbols, self.steps).reshape(self.segments, -1)
        controls[:, 0] = 0
        return controls.ravel()

    def to_tensors(self, windows: Windows, generator: torch.Generator | None = None, indices: bool = False) -> Tensors:
        """One-hot frames [n, 512, 490] on the labels' device, zero where padded; inputs and targets are the same."""
        labels, lengths, mask = label_tensors(windows)
        frames = one_hot(labels.clamp(min=0), mask * (labels >= 0), performance.DEPTH, indices=indices)
        return Tensors(frames, frames, lengths, chord_frames(windows, labels, mask) if self.chords else None)

    def from_tensors(self, outputs: Tensor) -> Tensor:
        """Labels int64 [n, 512] of outputs [n, 512, 490]: the class with the largest value, -1 where all are 0."""
        outputs = checked_outputs(outputs, performance.DEPTH)
        return torch.where((outputs != 0).any(-1), outputs.argmax(-1), performance.PADDING)

    def transpose(self, labels: Tensor, semitones: Tensor) -> Tensor:
        """Moves the notes of bars [n, 512] by semitones [n], not drums. Bars that would leave 0-127 stay."""
        moved, fits = self._moved(labels, semitones)
        return torch.where(fits[:, None], moved, labels)

    def transpose_controls(self, labels: Tensor, controls: Tensor, semitones: Tensor) -> Tensor:
        """Moves the chords of bars [n, 512] where `transpose` moves their notes."""
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

    def no_labels(self) -> np.ndarray:
        return np.zeros((0, self.steps), np.int16)

    def no_windows(self) -> Cut:
        return super().no_windows()._replace(lengths=np.zeros((0, self.segments), np.int32))

    def track_refusal(self, instrument: pretty_midi.Instrument) -> str | None:
        return None

    def song_facts(self, midi: PrettyMIDI) -> MultitrackFacts:
        programs = [performance.DRUMS if i.is_drum else performance.FIRST_PROGRAM + i.program for i in midi.instruments]
        chords = song_chords(midi) if self.chords else None
        return MultitrackFacts(np.array(programs), drum_tracks(midi), pedal_changes(midi), chords)

    def cut_part(self, part: Part, facts: MultitrackFacts, skipped: list[Skipped]) -> Iterator[Cut]:
        notes, seconds = _held_notes(part, facts)
        if not len(notes.pitch):
            return
        bounds = performance.bar_bounds(seconds, part.qpm)
        bars, refused = performance.bar_tokens(notes, bounds, part.qpm, facts.programs)
        skipped += _bar_skips(refused, part)
        if not len(bars.tokens):
            return
        labels = bars.tokens.reshape(-1, self.steps)
        found = full_windows(part, labels, bars.first_track, bars.bar)._replace(lengths=bars.lengths)
        if not self.chords:
            yield found
        elif harmony := part_harmony(part, facts.chords, notes, seconds, performance.STEPS_PER_QUARTER, skipped):
            chords = _bar_chords(bars, harmony, bounds, part.qpm)
            found = with_chord_classes(found._replace(controls=chords.reshape(labels.shape)), harmony, skipped)
            yield found._replace(controls=np.where(found.labels < 0, np.int8(performance.PADDING), found.controls))

    def why_no_window(self, midi: PrettyMIDI, parts: Sequence[Part]) -> str:
        if sum(bool(instrument.notes) for instrument in midi.instruments) < performance.MIN_TRACKS:
            return f"fewer than {performance.MIN_TRACKS} tracks"
        skipped, facts = [], self.song_facts(midi)
        for part in parts:
            list(self.cut_part(part, facts, skipped))
        return f"every bar has {' or '.join(dict.fromkeys(skip.reason for skip in skipped))}"


# ---- Tokens to notes ----


def _checked_tokens(labels: np.ndarray | Tensor) -> np.ndarray:
    """One bar of tokens as int64 [512]; raises ValueError on another shape or token."""
    labels = whole_numbers("tokens", labels)
    if labels.shape != (MultitrackConverter.steps,):
        raise ValueError(f"tokens of one bar have the shape [{MultitrackConverter.steps}], not {list(labels.shape)}")
    if labels.min() < performance.PADDING or labels.max() >= performance.DEPTH:
        raise ValueError(f"tokens lie from -1 to {performance.DEPTH - 1}; these from {labels.min()} to {labels.max()}")
    return labels


def _track_programs(tracks: Sequence[performance.TrackNotes], program: Sequence[int] | None) -> list[int]:
    """The program of each track: its own, or the caller's."""
    if program is None:
        return [track.program for track in tracks]
    if np.ndim(program) == 0:
        raise ValueError(f"program is {program}; give one per track, {len(tracks)} of them")
    if len(program) < len(tracks):
        raise ValueError(f"program holds {len(program)}; give one per track: {len(tracks)}")
    return list(map(checked_program, program))


# ---- Notes to tokens ----


def _held_notes(part: Part, facts: MultitrackFacts) -> tuple[Part, float]:
    """A part with its notes, each as long as the pedal holds it, and the part's length in seconds."""
    times, stays = held_times(part, facts.pedals, facts.drums)
    seconds = max(part.times[:, 1].max(initial=0.0), times[:, 1].max(initial=0.0))
    return part._replace(times=times).select(stays), float(seconds)


def _bar_chords(bars: performance.Bars, harmony: Harmony, bounds: np.ndarray, qpm: float) -> np.ndarray:
    """The index [bars, 8, 64] of the chord that holds at each token; -1, no chord, for a token that has no time."""
    bar = np.searchsorted(bounds, harmony.seconds + SAME_MOMENT, "right") - 1
    steps = round_half_up((harmony.seconds - bounds[bar]) * steps_per_second(qpm, performance.STEPS_PER_QUARTER))
    span = performance.STEPS_PER_BAR + 1
    at = np.minimum(bars.steps, bars.last_step[:, None, None] - 1) + bars.bar[:, None, None] * span
    return np.where(bars.steps < 0, -1, harmony.at(at, bar * span + steps))


def _bar_skips(refused: performance.Refused, part: Part) -> Iterator[Skipped]:
    """The report entries of bars that give no window, one per reason."""
    for reason in np.unique(refused.reason):
        bars = file_bars(part, refused.bar[refused.reason == reason])
        yield Skipped(f"{counted(len(bars), 'bar')} from bar {bars[0] + 1}", str(reason))
