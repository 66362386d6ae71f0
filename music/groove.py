"""Grooves: drums as they were played, with velocities and timing (Gillick et al. 2019, GrooVAE)."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pretty_midi
import torch
from pretty_midi import PrettyMIDI
from torch import Tensor

from engine.checks import checked_number, checked_type, finite_array
from engine.rng import RandomSource, uniform
from music.converter import (
    Tensors,
    checked_columns,
    checked_outputs,
    checked_program,
    empty_song,
    length_mask,
    note_at,
    without_overlaps,
)
from music.drums import DRUM_CLASSES, DRUM_PITCHES, DrumTracksConverter, class_of_pitch
from music.grid import (
    Cut,
    Part,
    Skipped,
    Windows,
    bars_skip,
    drum_tracks,
    full_windows,
    seconds_per_step,
)

ROLAND_PITCHES = (  # the nine drum classes on the electronic kit of the Groove MIDI Dataset
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
GROOVE_DEPTH = 3 * DRUM_CLASSES  # hits, velocities and offsets of each class
TAP_CLASS = 3  # a tapped rhythm is on the open hi-hat
PULSE_CLASS = 2  # a pulse is on the closed hi-hat
CYMBALS = [2, 3, 7, 8]  # classes that keep a pulse: hi-hats, crash and ride
MIN_SOFTNESS = 0.2  # softness is 1 minus the velocity, at least this, and scales the probability that a note is dropped
SHARE_OF_MEAN = 0.3  # of a hit, the weight of the mean velocity in each
MAX_OFFSET_STEPS = 0.499  # of a written hit, so that it is read at the same step
MAX_GROOVE_BARS = 4096  # of a song; the rest is left out
GROOVE_TICKS_PER_QUARTER = 9600  # of written files, finer than of other converters


@dataclass(frozen=True)
class GrooveConverter(DrumTracksConverter):
    """Windows of all drum tracks as they were played: hits, velocities and offsets of nine classes, side by side.

    to_arrays gives float32 [n, steps, 27], windows end to end from the song's start. Hits are 0 or 1, velocities lie
    from 0 to 1, and offsets, in half steps before the grid, from -1 to 1. Only the loudest hit of each class and step
    counts. A song whose tempo or time signature changes gives no window. The inputs of to_tensors lack what the model
    has to add. Magenta: GrooveConverter, which takes other tracks for drums and fails on pitches of no class; here both
    are left out.
    """

    bars: int = 2  # per window
    time_signature: tuple[int, int] = (4, 4)  # of the bars taken; another of the same length passes: 2/2 for 4/4
    kit: str = "roland"  # the pitches of the classes: 'roland', as in the Groove MIDI Dataset, or 'general_midi'
    humanize: bool = False  # inputs lack velocities and offsets
    tap: bool = False  # inputs have one class, the loudest hit of each step
    fixed_velocity: bool = False  # inputs lack velocities
    note_dropout: float = 0.0  # largest share of notes that inputs lack, drawn for each window, mostly soft notes
    added_classes: tuple[int, ...] = ()  # classes that inputs lack
    hits_control: bool = False  # whether the hits are also controls
    follow_tempo: bool = False  # True: windows go on through changes of tempo; False: they end there, as in Magenta

    input_depth = output_depth = GROOVE_DEPTH
    cut_at_changes = False
    needs_grid = False
    has_feel = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kit not in KITS:
            raise ValueError(f"kit is {self.kit!r}; it is one of {', '.join(KITS)}")
        checked_number("note_dropout", self.note_dropout, "a share, 0 to 1", low=0, high=1)
        checked_type("added_classes", self.added_classes, tuple, "classes, such as (2,)")
        if not all(0 <= kind < DRUM_CLASSES for kind in self.added_classes):
            raise ValueError(f"added_classes are {self.added_classes}; the classes are 0 to {DRUM_CLASSES - 1}")

    @property
    def control_depth(self) -> int:
        return DRUM_CLASSES if self.hits_control else 0

    def from_arrays(
        self, labels: np.ndarray | Tensor, qpm: float = 120.0, program: int | None = None, controls: None = None
    ) -> PrettyMIDI:
        """Writes one window as a song, with its timing and velocities.

        `to_arrays` reads the same labels back, with velocities rounded to 127ths and offsets to 1200ths, if the last
        bar has a hit. A hit before the start is moved there, and a velocity of 0 becomes the softest.

        Args:
            labels: [steps, 27].
            qpm: quarters per minute, 4 to 1000.
            program: the drum kit; the standard kit (0) if None.
            controls: not used.
        """
        hits, velocities, offsets = np.split(_checked_groove(labels), 3, axis=1)
        midi = empty_song(qpm, self.time_signature, GROOVE_TICKS_PER_QUARTER)
        track = pretty_midi.Instrument(checked_program(0 if program is None else program), is_drum=True)
        for step, kind in zip(*np.nonzero(hits > 0.5), strict=True):
            early = float(np.clip(offsets[step, kind] / 2, -MAX_OFFSET_STEPS, MAX_OFFSET_STEPS))
            velocity = int(np.clip(np.round(velocities[step, kind] * 127), 1, 127))
            start = max(0.0, step - early)
            track.notes.append(note_at(KITS[self.kit][kind][0], start, start + 1, seconds_per_step(qpm), velocity))
        track.notes = without_overlaps(track.notes)
        midi.instruments.append(track)
        return midi

    def to_tensors(self, windows: Windows, generator: RandomSource = None, indices: bool = False) -> Tensors:
        """Inputs and targets [n, steps, 27]; with hits_control, the hits [n, steps, 9] as controls.

        Notes are dropped from the inputs only if there is a generator; it is on the labels' device.
        """
        labels = torch.as_tensor(checked_columns(windows).labels).float()
        lengths, mask = length_mask(labels, windows.lengths)
        targets = labels * mask[..., None]
        inputs = self._inputs(targets, generator) * mask[..., None]
        return Tensors(inputs, targets, lengths, targets[..., :DRUM_CLASSES] if self.hits_control else None)

    def _inputs(self, targets: Tensor, generator: RandomSource) -> Tensor:
        """The targets [n, steps, 27] without what the model has to add."""
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

    def _kept_notes(self, velocities: Tensor, generator: RandomSource) -> Tensor:
        """[n, steps, 9] 1 where a note is kept; it is dropped with probability softness * the window's dropout."""
        dropout = self.note_dropout * uniform((len(velocities), 1, 1), generator, velocities.device)
        chance = (1 - velocities).clamp(min=MIN_SOFTNESS) * dropout
        return (uniform(chance.shape, generator, velocities.device) >= chance).float()

    def from_tensors(self, outputs: Tensor) -> Tensor:
        """Labels float32 [n, steps, 27]: hits become 0 or 1, and velocities and offsets without a hit become 0."""
        parts = checked_outputs(outputs, GROOVE_DEPTH).float().unflatten(-1, (3, DRUM_CLASSES))
        hits = (parts[..., :1, :] > 0.5).float()
        return torch.cat([hits, parts[..., 1:, :] * hits], -2).flatten(-2)

    def no_labels(self) -> np.ndarray:
        return np.zeros((0, self.steps, GROOVE_DEPTH), np.float32)

    def cut_part(self, part: Part, midi: PrettyMIDI, skipped: list[Skipped]) -> Iterator[Cut]:
        kind = self._kinds(part, midi)
        bars = -(-_steps(part, kind) // self.steps_per_bar)
        if bars > MAX_GROOVE_BARS:
            skipped.append(bars_skip("drums", bars - MAX_GROOVE_BARS, MAX_GROOVE_BARS))
        count = min(bars, MAX_GROOVE_BARS) // self.bars
        labels = _painted(part, kind, count * self.steps).reshape(count, self.steps, GROOVE_DEPTH)
        track = np.flatnonzero(drum_tracks(midi))[:1].sum()
        yield full_windows(part, labels, track, self.bars * np.arange(count))

    def line(self, part: Part, midi: PrettyMIDI) -> tuple[np.ndarray, tuple[int, ...]]:
        kind = self._kinds(part, midi)
        return _painted(part, kind, _steps(part, kind)), tuple(np.flatnonzero(drum_tracks(midi)).tolist())

    def rhythm(self, part: Part, midi: PrettyMIDI) -> tuple[np.ndarray, tuple[int, ...]]:
        """The onsets of the first track with notes as taps, labelled as in `line`."""
        track = int(part.track.min(initial=len(midi.instruments)))
        kind = np.where(part.track == track, TAP_CLASS, -1)
        return _painted(part, kind, _steps(part, kind)), (track,) if len(part.track) else ()

    def hit_steps(self, part: Part, midi: PrettyMIDI) -> np.ndarray:
        return part.start[self._kinds(part, midi) >= 0]

    def _kinds(self, part: Part, midi: PrettyMIDI) -> np.ndarray:
        """The classes [notes] of a part's notes; -1 for those that have none."""
        return np.where(drum_tracks(midi)[part.track], class_of_pitch(KITS[self.kit])[part.pitch], -1)


def _checked_groove(labels: np.ndarray | Tensor) -> np.ndarray:
    """One window as float64 [steps, 27]; raises ValueError on another shape or a value that is not finite."""
    labels = finite_array(f"labels of one groove, [steps, {GROOVE_DEPTH}],", labels, axes=2)
    if labels.shape[1] != GROOVE_DEPTH:
        raise ValueError(f"labels of one groove must be [steps, {GROOVE_DEPTH}], got {list(labels.shape)}")
    return labels


def _painted(part: Part, kind: np.ndarray, length: int) -> np.ndarray:
    """Labels float32 [length, 27] of a part's notes, whose classes [notes] these are; -1 is left out.

    Of the hits of one class and step the loudest counts, of equally loud ones the first in the file.
    """
    hits = np.flatnonzero((kind >= 0) & (part.start < length))
    hits = hits[np.lexsort((-part.order[hits], part.velocity[hits]))]  # of one place the last stays
    step, kind, step_seconds = part.start[hits], kind[hits], seconds_per_step(part.qpm)
    labels = np.zeros((length, 3, DRUM_CLASSES), np.float32)
    labels[step, 0, kind] = 1
    labels[step, 1, kind] = part.velocity[hits] / 127
    labels[step, 2, kind] = (step_seconds * step - part.times[hits, 0]) / step_seconds * 2
    return labels.reshape(length, GROOVE_DEPTH)


def _steps(part: Part, kind: np.ndarray) -> int:
    """Steps up to the last of a part's notes that have a class [notes]."""
    return int(part.start[kind >= 0].max(initial=-1)) + 1


def with_feel(labels: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """Grooves [n, steps, 27] with the hits of `labels`, and velocities and offsets that a model gives them.

    A model's velocity is a mean over hit and rest: 0 where it expects none. Divided by the probability of the hit, it
    is that of a hit. Where the model hardly expects the hit, this says little: the velocity is drawn to the mean one of
    the window, as if SHARE_OF_MEAN of a hit with that velocity were expected, too.

    Args:
        labels: [n, steps, 27], or the hits [n, steps, 9] alone.
        logits: [n, steps, 27] of hits, velocities and offsets, before sigmoid and tanh.
    """
    hits = labels[..., :DRUM_CLASSES]
    chances, velocities = np.split(sigmoid(logits[..., : 2 * DRUM_CLASSES]), 2, -1)
    of_hits, expected = ((part * hits).sum((-2, -1), keepdims=True) for part in (velocities, chances))
    mean = np.minimum(of_hits / np.maximum(expected, 1e-6), 1)
    velocities = np.minimum((velocities + SHARE_OF_MEAN * mean) / (chances + SHARE_OF_MEAN), 1)
    return np.concatenate([hits, hits * velocities, hits * np.tanh(logits[..., 2 * DRUM_CLASSES :])], -1)


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)), of any x."""
    return np.exp(-np.logaddexp(0, -x))


def with_pulse(hits: np.ndarray, every: int) -> np.ndarray:
    """Hits [n, steps, 9] of windows end to end with a closed hi-hat on each `every`-th step without a cymbal."""
    pulsed = hits.reshape(-1, DRUM_CLASSES).copy()
    pulsed[::every, PULSE_CLASS] += ~pulsed[::every, CYMBALS].any(-1)
    return pulsed.reshape(hits.shape)


def on_taps(taps: np.ndarray, logits: np.ndarray, temperature: float, uniforms: np.ndarray) -> np.ndarray:
    """Grooves [n, steps, 27] that play where something is tapped, and there alone.

    A tapped step has the hits that are drawn, or, if none is, the most likely one.

    Args:
        taps: [n, steps] bool.
        logits: as in `with_feel`.
        temperature: divides the logits of the hits; 0 takes those of a probability of at least 0.5.
        uniforms: [n, steps, 9] random numbers from 0 to 1, which decide; not read at temperature 0.
    """
    likely = logits[..., :DRUM_CLASSES]
    hits = sigmoid(likely / temperature) > uniforms if temperature else likely >= 0
    hits = hits | ~hits.any(-1, keepdims=True) & (likely == likely.max(-1, keepdims=True))
    hits = (hits & taps[..., None]).astype(np.float32)
    return with_feel(hits, logits)
