"""The representations of music, a frozen dataclass each: a song to windows of labels, labels to tensors, and back.

`to_arrays` cuts a `PrettyMIDI` into windows (midi_grid.py), `to_tensors` makes of them what the model reads;
`from_tensors` and `from_arrays` go the same way home. Roberts et al. 2018, sections 3 and 4; Magenta's converters in
music_vae/data.py and data_hierarchical.py.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pretty_midi
import torch
from pretty_midi import PrettyMIDI
from torch import Tensor

from engine.rng import RandomSource, integers, uniform
from music import grid, performance
from music.chords import CHORD_DEPTH, chord_symbol, chords_to_controls, transposed_chords
from music.grid import (
    BASS_PROGRAMS,
    DRUM_CLASSES,
    DRUM_LABELS,
    DRUM_PITCHES,
    DRUM_SETS,
    FIRST_PITCH,
    GROOVE_DEPTH,
    MAX_PITCH,
    MELODY_DEPTH,
    MELODY_PROGRAMS,
    MIN_PITCH,
    NO_EVENT,
    NOTE_OFF,
    ROLAND_PITCHES,
    STEPS_PER_QUARTER,
    Cut,
    Part,
    Skipped,
    Windows,
)

DRUMS_DEPTH = 2**DRUM_CLASSES  # 512 classes: a label is the sum of 2^class over the hits
DRUM_OUTPUTS = ("categorical", "roll")
KITS = {"roland": ROLAND_PITCHES, "general_midi": DRUM_PITCHES}
TAP_CLASS = 3  # a tapped rhythm stands where the open hi-hat does
MIN_SOFTNESS = 0.2  # of a note in the draw which to drop; it is 1 minus the velocity
MAX_OFFSET_STEPS = 0.499  # of a hit written, which is read at the same step then
MAX_GROOVE_BARS = 4096
TRIO_DEPTHS = (MELODY_DEPTH, MELODY_DEPTH, DRUMS_DEPTH)  # melody, bass, drums
TRIO_NAMES = ("a melody track (programs 0-31)", "a bass track (programs 32-39)", "a drum track")

VELOCITY = 80  # of every note written
TICKS_PER_QUARTER = 480  # of every file written
GROOVE_TICKS_PER_QUARTER = 9600  # of every groove written, whose timing is finer
QPM_RANGE = (4, 1000)  # of the tempos written; MIDI itself ends at 3.6
WRITTEN_TRIO_PROGRAMS = (0, 33, 0)  # grand piano, fingered bass, standard drum kit


class Tensors(NamedTuple):
    """What the model reads: dense float32 frames, all zero from a window's length on."""

    inputs: Tensor  # [n, steps, input_depth]
    targets: Tensor  # [n, steps, output_depth]
    lengths: Tensor  # [n] steps, or [n, 8]
    controls: Tensor | None  # [n, steps, control_depth]


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
        bar_steps = grid.steps_of_bar(self.time_signature)
        if bar_steps < 1 or bar_steps % 1:
            raise ValueError(f"a bar of {grid.fraction(self.time_signature)} is no whole number of sixteenths")
        if self.bars < 1:
            raise ValueError(f"bars is {self.bars}; a window has at least one")

    @property
    def steps_per_bar(self) -> int:
        return int(grid.steps_of_bar(self.time_signature))

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
        parts = grid.song_parts(midi)
        skipped = [
            Skipped(_track_name(track, instrument), refusal)
            for track, instrument in enumerate(midi.instruments)
            if (refusal := self._refusal(instrument))
        ]
        skipped += [grid.metre_skip(part) for part in parts if not self._fits(part)]
        cuts = []
        if self.cut_at_changes or len(parts) == 1:
            cuts = [cut for part in filter(self._fits, parts) for cut in self._cuts(part, midi, skipped)]
        if not any(len(cut.labels) for cut in cuts):
            skipped.insert(0, Skipped("song", self._why_nothing(midi, parts, skipped)))
        return grid.as_windows(cuts, self._nothing(), skipped)

    def _nothing(self) -> Cut:
        """No windows, of the right shapes and types."""
        controls = np.zeros((0, self.steps if self.chords else 0), np.int8)
        return Cut(self._no_labels(), controls, np.zeros(0, np.int32), *np.zeros((3, 0), np.int64))

    def _fits(self, part: Part) -> bool:
        """Whether a part's bars are as long as the converter's."""
        return grid.steps_of_bar(part.time_signature) == self.steps_per_bar

    def _why_nothing(self, midi: PrettyMIDI, parts: Sequence[Part], skipped: Sequence[Skipped]) -> str:
        """Why a song gives no window at all."""
        if not self.cut_at_changes and len(parts) > 1:
            metres = {part.time_signature for part in parts}
            return f"a change of {'tempo' if len(metres) == 1 else 'time signature'}, which a groove does not take"
        parts = [part for part in parts if len(part.start)]
        if not parts:
            return "no notes"
        others = " and ".join(dict.fromkeys(grid.fraction(p.time_signature) for p in parts if not self._fits(p)))
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

    def _cuts(self, part: Part, midi: PrettyMIDI, skipped: list[Skipped]) -> Iterator[Cut]:
        """The windows of a part, if it has any; adds the lines that are too short or too long to `skipped`."""
        cut = grid.cut_lines(grid.melody_lines(part, self._tracks(midi), self.steps_per_bar), part, self, skipped)
        if cut:
            cut = cut._replace(labels=grid.without_leading_offs(cut.labels))
            yield from self._harmonized(cut, part, midi, skipped) if self.chords else [grid.unique(cut)]

    def _harmonized(self, cut: Cut, part: Part, midi: PrettyMIDI, skipped: list[Skipped]) -> Iterator[Cut]:
        """The different windows of a part with the chords under them, if it has chords."""
        heard = self._programs_taken(midi)[part.track] & (part.pitch >= MIN_PITCH) & (part.pitch <= MAX_PITCH)
        notes = performance.Notes(part.times[heard], part.pitch[heard], part.track[heard], part.velocity[heard])
        seconds = part.times[:, 1].max(initial=0.0)
        harmony = grid.harmony(part, midi, notes, seconds, STEPS_PER_QUARTER)
        if isinstance(harmony, str):
            skipped.append(Skipped(f"chords from bar {grid.file_bars(part, np.int64(0)) + 1}", harmony))
            return
        song_steps = max(grid.chord_steps(seconds, STEPS_PER_QUARTER, part.qpm), part.end[heard].max(initial=0))
        steps = cut.first_bar[:, None] * self.steps_per_bar + np.arange(self.steps)
        begin = grid.chord_steps(harmony.seconds, STEPS_PER_QUARTER, part.qpm)
        cut = cut._replace(controls=harmony.at(np.minimum(steps, song_steps - 1), begin))
        yield grid.with_classes(grid.unique(cut), harmony, skipped)

    def _why_no_window(self, midi: PrettyMIDI, parts: Sequence[Part]) -> str:
        tracks = self._tracks(midi)
        if not tracks.any():
            taken = "but drums" if self.programs is None else f"with a program in {_span(self.programs)}"
            return f"no track {taken}; {_programs_of(midi)}"
        ends = [grid.melody_voice(part, tracks)[2] for part in parts]
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

    def mix(self, labels: Tensor, others: Tensor, share: float, generator: RandomSource = None) -> Tensor:
        """A share of the windows [n, steps] with about half of each bar's drums as in others: rhythms of no song."""
        chosen = uniform((len(labels), 1), generator, labels.device) < share
        taken = integers(0, 2**self.classes, (len(labels), self.bars), generator, labels.device) * chosen
        taken = taken.repeat_interleave(self.steps_per_bar, 1)
        return labels & ~taken | others & taken

    def _no_labels(self) -> np.ndarray:
        return np.zeros((0, self.steps), DRUM_LABELS[self.classes])

    def _refusal(self, instrument: pretty_midi.Instrument) -> str | None:
        """Why a track is not taken, if it is not."""
        return None if instrument.is_drum else "no drums"

    def _cuts(self, part: Part, midi: PrettyMIDI, skipped: list[Skipped]) -> Iterator[Cut]:
        """The windows of a part, if it has any; adds the lines that are too short or too long to `skipped`."""
        lines = grid.drum_lines(part, grid.drum_tracks(midi), self.steps_per_bar, self.classes)
        cut = grid.cut_lines(lines, part, self, skipped)
        if cut:
            yield grid.unique(cut)

    def _why_no_window(self, midi: PrettyMIDI, parts: Sequence[Part]) -> str:
        tracks = grid.drum_tracks(midi)
        if not tracks.any():
            return "no drums"
        ends = [grid.drum_hits(part, tracks, self.classes)[0] + 1 for part in parts]
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

    def _cuts(self, part: Part, midi: PrettyMIDI, skipped: list[Skipped]) -> Iterator[Cut]:
        """The windows of a part, a choice of three tracks after the other."""
        return grid.trio_cuts(part, grid.trio_kinds(midi), self.steps_per_bar, self.bars)

    def _why_no_window(self, midi: PrettyMIDI, parts: Sequence[Part]) -> str:
        missing = [name for name, tracks in zip(TRIO_NAMES, grid.trio_kinds(midi), strict=True) if not tracks.any()]
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

    def to_tensors(self, windows: Windows, generator: RandomSource = None) -> Tensors:
        """Inputs and targets [n, steps, 27]; controls, if any, are the hits [n, steps, 9].

        Notes are dropped only where there is a generator, on the labels' device.
        """
        labels = torch.as_tensor(windows.labels).float()
        lengths, kept = _lengths_on(labels, windows.lengths)
        targets = labels * kept[..., None]
        inputs = self._inputs(targets, generator) * kept[..., None]
        return Tensors(inputs, targets, lengths, targets[..., :DRUM_CLASSES] if self.hits_control else None)

    def _inputs(self, targets: Tensor, generator: RandomSource) -> Tensor:
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

    def _kept_notes(self, velocities: Tensor, generator: RandomSource) -> Tensor:
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

    def _cuts(self, part: Part, midi: PrettyMIDI, skipped: list[Skipped]) -> Iterator[Cut]:
        """The windows of a song of one part, if it has any."""
        hits = grid.groove_hits(midi, part, KITS[self.kit])
        bars = int(hits[0].max(initial=-1)) // self.steps_per_bar + 1
        if bars > MAX_GROOVE_BARS:
            lost = grid.counted(bars - MAX_GROOVE_BARS, "bar")
            skipped.append(Skipped("drums", f"{lost} after the first {MAX_GROOVE_BARS}"))
        count = min(bars, MAX_GROOVE_BARS) // self.bars
        inside = hits[0] < count * self.steps
        labels = grid.paint_groove(tuple(column[inside] for column in hits), part.qpm, count * self.steps)
        track = np.flatnonzero(grid.drum_tracks(midi))[:1].sum()
        yield grid.cut(part, labels.reshape(count, self.steps, GROOVE_DEPTH), track, self.bars * np.arange(count))

    def _why_no_window(self, midi: PrettyMIDI, parts: Sequence[Part]) -> str:
        if not grid.drum_tracks(midi).any():
            return "no drums"
        if not any(len(grid.groove_hits(midi, part, KITS[self.kit])[0]) for part in parts):
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

    def _nothing(self) -> Cut:
        return super()._nothing()._replace(lengths=np.zeros((0, self.segments), np.int32))

    def _refusal(self, instrument: pretty_midi.Instrument) -> str | None:
        """Every track is taken."""
        return None

    def _cuts(self, part: Part, midi: PrettyMIDI, skipped: list[Skipped]) -> Iterator[Cut]:
        """The bars of a part that are taken; says which are not."""
        programs = [performance.DRUMS if i.is_drum else performance.FIRST_PROGRAM + i.program for i in midi.instruments]
        notes, seconds = grid.pedalled(part, midi)
        if not len(notes.pitch):
            return
        bounds = performance.bar_bounds(seconds, part.qpm)
        bars, refused = performance.bar_tokens(notes, bounds, part.qpm, np.array(programs))
        skipped += grid.bar_skips(refused, part)
        if not len(bars.tokens):
            return
        labels = bars.tokens.reshape(-1, self.steps)
        cut = grid.cut(part, labels, bars.first_track, bars.bar)._replace(lengths=bars.lengths)
        if self.chords:
            harmony = grid.harmony(part, midi, notes, seconds, performance.STEPS_PER_QUARTER)
            if isinstance(harmony, str):
                skipped.append(Skipped(f"chords from bar {grid.file_bars(part, np.int64(0)) + 1}", harmony))
                return
            chords = grid.bar_chords(bars, harmony, bounds, part.qpm)
            cut = grid.with_classes(cut._replace(controls=chords.reshape(labels.shape)), harmony, skipped)
            cut = cut._replace(controls=np.where(cut.labels < 0, np.int8(performance.PADDING), cut.controls))
        yield cut

    def _why_no_window(self, midi: PrettyMIDI, parts: Sequence[Part]) -> str:
        if sum(bool(instrument.notes) for instrument in midi.instruments) < performance.MIN_TRACKS:
            return f"fewer than {performance.MIN_TRACKS} tracks"
        skipped: list[Skipped] = []
        for part in parts:
            list(self._cuts(part, midi, skipped))
        return f"every bar has {' or '.join(dict.fromkeys(reason for _, reason in skipped))}"


Converter = MelodyConverter | DrumsConverter | TrioConverter | GrooveConverter | MultitrackConverter


# ---- What the converters share ----


def _span(programs: Sequence[int]) -> str:
    """0-31, or 0, 25."""
    programs = sorted(set(programs))
    if len(programs) > 2 and programs[-1] - programs[0] == len(programs) - 1:
        return f"{programs[0]}-{programs[-1]}"
    return ", ".join(map(str, programs))


def _programs_of(midi: PrettyMIDI) -> str:
    programs = sorted({instrument.program for instrument in midi.instruments if not instrument.is_drum})
    kinds = [f"program{'s' * (len(programs) > 1)} {', '.join(map(str, programs))}"] if programs else []
    kinds += ["drums"] if grid.drum_tracks(midi).any() else []
    return f"it has {' and '.join(kinds)}"


def _track_name(track: int, instrument: pretty_midi.Instrument) -> str:
    return f"track {track} ({name})" if (name := instrument.name.strip()) else f"track {track}"


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
