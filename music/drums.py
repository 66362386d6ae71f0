"""Drums on the grid: all drum tracks together, one label per step (Roberts et al. 2018, section 4)."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import pretty_midi
import torch
from pretty_midi import PrettyMIDI
from torch import Tensor

from engine.rng import RandomSource, integers, uniform
from music.converter import (
    BarsConverter,
    Tensors,
    checked_labels,
    checked_outputs,
    checked_program,
    empty_song,
    label_tensors,
    largest_classes,
    note_at,
    one_hot,
)
from music.grid import (
    GAP_BARS,
    MAX_BARS,
    Cut,
    Line,
    Part,
    Skipped,
    Windows,
    cut_lines,
    drum_tracks,
    seconds_per_step,
    split_runs,
    unique,
)
from music.labels import DRUM_CLASSES, DRUM_PITCHES, DRUMS_DEPTH

# fmt: off
SINGLE_DRUM_PITCHES = tuple((pitch,) for pitch in (  # 61 classes of one pitch each
    36, 35, 38, 27, 28, 31, 32, 33, 34, 37, 39, 40, 56, 65, 66, 75, 85, 42, 44, 54, 68, 69, 70, 71, 73, 78, 80, 46, 67,
    72, 74, 79, 81, 45, 29, 41, 61, 64, 84, 48, 47, 60, 63, 77, 86, 87, 50, 30, 43, 62, 76, 83, 49, 55, 57, 58, 51, 52,
    53, 59, 82,
))
# fmt: on
DRUM_SETS = {len(pitches): pitches for pitches in (DRUM_PITCHES, SINGLE_DRUM_PITCHES)}  # by number of classes
DRUM_LABELS = {DRUM_CLASSES: np.uint16, len(SINGLE_DRUM_PITCHES): np.int64}  # types that hold 2^classes
# In the name of a track
DRUM_NAME = re.compile(r"(?<![a-z])(drum|perc|kit(?![a-z])|batterie|schlagzeug)", re.IGNORECASE)
PERCUSSIVE_PROGRAMS = range(112, 120)  # General MIDI, from 0: steel drums and others that play pitches
KIT_PITCHES = frozenset((35, 36, 38, 40, 42, 44, 46))  # General MIDI's bass drums, snares and hi-hats
MIN_KIT_HITS = 16  # of a song whose drums are expected to have one of them
DRUM_OUTPUTS = ("categorical", "roll")


class DrumTracksConverter(BarsConverter):
    """What drums and grooves share: they take all drum tracks of a song, and no other track."""

    classes = DRUM_CLASSES
    held_parts = 0
    only_drums = True

    def track_refusal(self, instrument: pretty_midi.Instrument) -> str | None:
        return None if instrument.is_drum else "no drums"

    def why_no_window(self, midi: PrettyMIDI, parts: Sequence[Part]) -> str:
        if reason := self.why_no_note(midi, parts):
            return reason
        ends = [self.hit_steps(part, midi) + 1 for part in parts]
        return self.why_short(ends) or f"no {self.bars} bars of drums without an empty one"

    def why_no_note(self, midi: PrettyMIDI, parts: Sequence[Part]) -> str | None:
        if not drum_tracks(midi).any():
            return "no drums"
        if any(len(self.hit_steps(part, midi)) for part in parts):
            return None
        return f"no drum of the {'nine' if self.classes == DRUM_CLASSES else self.classes} classes"

    def hit_steps(self, part: Part, midi: PrettyMIDI) -> np.ndarray:
        """The steps of a part's hits whose pitch has a class."""
        raise NotImplementedError


@dataclass(frozen=True)
class DrumsConverter(DrumTracksConverter):
    """Windows of all drum tracks together with one label per step: the sum of 2^class over the classes hit.

    to_arrays gives uint16 [n, steps], or int64 with 61 classes. A bar's length without a hit ends a line of drums.
    Among equal windows of a part (a stretch of one tempo and time signature) the first is kept. Magenta:
    DrumsConverter.
    """

    bars: int = 2  # per window
    time_signature: tuple[int, int] = (4, 4)  # of the bars taken; another of the same length passes: 2/2 for 4/4
    classes: int = DRUM_CLASSES  # 9 (DRUM_PITCHES), or 61 of one pitch each (SINGLE_DRUM_PITCHES)
    output: str = "categorical"  # targets: one of 2^classes combinations per step; or 'roll', one bit per class
    follow_tempo: bool = False  # True: windows go on through changes of tempo; False: they end there, as in Magenta

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

    @property
    def label_depths(self) -> tuple[int]:
        return (2**self.classes,)

    def from_arrays(
        self, labels: np.ndarray | Tensor, qpm: float = 120.0, program: int | None = None, controls: None = None
    ) -> PrettyMIDI:
        """Writes one window as a song.

        `to_arrays` reads the same one window back if the first and the last bar have a hit and no bar's length between
        is empty.

        Args:
            labels: [steps].
            qpm: quarters per minute, 4 to 1000.
            program: the drum kit; the standard kit (0) if None.
            controls: not used.
        """
        labels = checked_labels(labels, self.label_depths)
        midi = empty_song(qpm, self.time_signature)
        kit = checked_program(0 if program is None else program)
        midi.instruments.append(drum_track(labels, kit, qpm, DRUM_SETS[self.classes]))
        return midi

    def to_tensors(self, windows: Windows, generator: torch.Generator | None = None, indices: bool = False) -> Tensors:
        """Inputs [n, steps, classes + 1], the hits and a one where there is none; targets [n, steps, output_depth]."""
        labels, lengths, mask = label_tensors(windows)
        hits = labels[..., None] >> torch.arange(self.classes, device=labels.device) & 1
        inputs = torch.cat([hits, (labels == 0)[..., None]], -1) * mask[..., None]
        roll = self.output == "roll"
        targets = inputs[..., :-1] if roll else one_hot(labels, mask, DRUMS_DEPTH, indices=indices)
        return Tensors(inputs, targets, lengths, None)

    def from_tensors(self, outputs: Tensor) -> Tensor:
        """Labels int64 [n, steps] of outputs: the largest of 512 values, or for a roll the values above 0.5."""
        if self.output == "categorical":
            return largest_classes(outputs, DRUMS_DEPTH)[..., 0]
        hits = checked_outputs(outputs, self.classes) > 0.5
        return (hits.long() << torch.arange(self.classes, device=hits.device)).sum(-1)

    def mix(self, labels: Tensor, others: Tensor, share: float, generator: RandomSource = None) -> Tensor:
        """Mixes drums of other windows into a random share of the windows: rhythms that no song has.

        Args:
            labels, others: [n, steps]; in a chosen window about half of the drum classes come from `others`.
            share: probability that a window is chosen, 0 to 1.
        """
        chosen = uniform((len(labels), 1), generator, labels.device) < share
        taken = integers(0, 2**self.classes, chosen.shape, generator, labels.device) * chosen
        return labels & ~taken | others & taken

    def no_labels(self) -> np.ndarray:
        return np.zeros((0, self.steps), DRUM_LABELS[self.classes])

    def song_facts(self, midi: PrettyMIDI) -> np.ndarray:
        return drum_tracks(midi)

    def cut_part(self, part: Part, facts: np.ndarray, skipped: list[Skipped]) -> Iterator[Cut]:
        lines = drum_lines(part, facts, self.steps_per_bar, self.classes)
        cut = cut_lines(lines, part, self.bars, self.steps_per_bar, skipped)
        if cut:
            yield unique(cut)

    def line(self, part: Part, midi: PrettyMIDI) -> tuple[np.ndarray, tuple[int, ...]]:
        tracks = drum_tracks(midi)
        start, bits = drum_hits(part, tracks, self.classes)
        return paint_drums(start, bits, int(start.max(initial=-1)) + 1), tuple(np.flatnonzero(tracks).tolist())

    def hit_steps(self, part: Part, midi: PrettyMIDI) -> np.ndarray:
        return drum_hits(part, drum_tracks(midi), self.classes)[0]


# ---- Notes to labels ----


@cache
def class_of_pitch(classes: tuple[tuple[int, ...], ...]) -> np.ndarray:
    """[128] the class of each pitch, -1 for a pitch of no class; classes: the pitches of each."""
    return np.array([next((k for k, own in enumerate(classes) if pitch in own), -1) for pitch in range(128)])


def drum_hits(part: Part, tracks: np.ndarray, classes: int = DRUM_CLASSES) -> tuple[np.ndarray, np.ndarray]:
    """Step and label (2^class) of each hit on the tracks [tracks] bool, sorted by step; skips pitches of no class."""
    kind = class_of_pitch(DRUM_SETS[classes])[part.pitch]
    hits = np.flatnonzero(tracks[part.track] & (kind >= 0))
    hits = hits[np.argsort(part.start[hits], kind="stable")]
    return part.start[hits], (1 << kind[hits]).astype(DRUM_LABELS[classes])


def paint_drums(start: np.ndarray, bits: np.ndarray, length: int) -> np.ndarray:
    """Labels [length] of hits: their steps `start` and labels `bits`."""
    line = np.zeros(length, bits.dtype)
    inside = start < length
    np.bitwise_or.at(line, start[inside], bits[inside])
    return line


def drum_lines(part: Part, tracks: np.ndarray, bar_steps: int, classes: int) -> Iterator[Line]:
    """A part's drum lines, all drum tracks together, split where no drum is hit for a bar (note_seq drums_lib)."""
    start, bits = drum_hits(part, tracks, classes)
    if not len(start):
        return
    for run in split_runs(start[1:] - (start[:-1] + 1) >= GAP_BARS * bar_steps):
        first = start[run][0] // bar_steps * bar_steps
        bars = -(-(start[run][-1] + 1 - first) // bar_steps)
        labels = paint_drums(start[run] - first, bits[run], min(bars, MAX_BARS) * bar_steps)
        yield Line(labels, first, np.flatnonzero(tracks)[0], max(0, bars - MAX_BARS))


# ---- Drums off the conventions of General MIDI ----


def unusual_drums(midi: PrettyMIDI) -> str | None:
    """Says where a song's drums are not where General MIDI has them; None if they are.

    It finds tracks that are named drums but lie on another channel than 10, and drums on other pitches than those of
    a kit, which an editor with another octave or a pad controller writes.
    """
    named = [
        f"track {k} ({track.name.strip()})"
        for k, track in enumerate(midi.instruments)
        if not track.is_drum and DRUM_NAME.search(track.name) and track.program not in PERCUSSIVE_PROGRAMS
    ]
    if named:
        return f"named drums, but not on channel 10, and read as notes; {', '.join(named)}"
    pitches = [note.pitch for track in midi.instruments if track.is_drum for note in track.notes]
    if len(pitches) < MIN_KIT_HITS or not KIT_PITCHES.isdisjoint(pitches):
        return None
    return f"no bass drum, snare or hi-hat among the pitches; they are {', '.join(map(str, sorted(set(pitches))))}"


# ---- Labels to notes ----


def drum_track(
    labels: np.ndarray, program: int, qpm: float, pitches: tuple[tuple[int, ...], ...] = DRUM_PITCHES
) -> pretty_midi.Instrument:
    """A drum track of labels [steps]; a hit lasts one step and has the first pitch of its class."""
    track = pretty_midi.Instrument(program, is_drum=True)
    step_seconds = seconds_per_step(qpm)
    steps, kinds = np.nonzero(labels[:, None] >> np.arange(len(pitches)) & 1)
    for step, kind in zip(steps.tolist(), kinds.tolist(), strict=True):
        track.notes.append(note_at(pitches[kind][0], step, step + 1, step_seconds))
    return track
