"""What all representations of music share: the interface `BarsConverter`, and helpers for labels, tensors and MIDI.

A representation is a frozen dataclass in a file of its own. `to_arrays` cuts a `PrettyMIDI` into windows of labels and
`to_tensors` turns these into the model's frames; `from_tensors` and `from_arrays` are the way back. See Roberts et al.
2018, sections 3 and 4, and Magenta's converters in music_vae/data.py and data_hierarchical.py.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from numbers import Real
from typing import NamedTuple

import numpy as np
import pretty_midi
import torch
from pretty_midi import PrettyMIDI
from torch import Tensor

from engine.checks import checked_type, described, is_whole, plain, whole_numbers
from engine.classes import one_hot_frames, starts
from engine.masks import step_mask
from music.chords import CHORD_DEPTH, chord_symbol
from music.grid import (
    HALF_BAR_STEPS,
    Cut,
    Part,
    Skipped,
    Windows,
    as_windows,
    counted,
    drum_tracks,
    metre_skip,
    song_parts,
    steady_tempo,
    steps_of_bar,
    time_signature_text,
)

VELOCITY = 80  # of written notes, MIDI 1 to 127
MAX_WINDOWS = 2**16  # of a song, about, far more than songs give; the rest is left out
MAX_PARTS = 384  # of a song, with notes, between changes of tempo or metre; songs have at most 285
TICKS_PER_QUARTER = 480  # of written files
Programs = int | tuple[int, ...] | None  # General MIDI, from 0: of all tracks, or one per track; the converter's own
PAIR_BARS = "take two bars as one (Intake(pair_bars=True); --pair-bars)"  # what helps where a song is in 2/4
TRACKS_SHOWN = 12  # of a song, in a message
QPM_RANGE = (4, 1000)  # quarters per minute of written files; MIDI itself ends at 3.6


class Tensors(NamedTuple):
    """What the model reads: dense float32 frames, all zero from a window's length on.

    `to_tensors(indices=True)` gives the positions of the ones, int64 [n, steps, parts], in place of one-hot frames.
    They are counted over all parts; the depth of the frame stands for none.
    """

    inputs: Tensor  # [n, steps, input_depth]
    targets: Tensor  # [n, steps, output_depth]
    lengths: Tensor  # [n] steps; multitrack [n, 8]
    controls: Tensor | None  # [n, steps, control_depth]


# ---- The interface ----


class BarsConverter:
    """Base of all converters: cuts windows of whole bars from the parts of a song whose bars have the right length.

    A subclass is a frozen dataclass with the fields or class attributes `bars`, `time_signature`, `input_depth` and
    `output_depth`. It defines `from_arrays`, `to_tensors` and `from_tensors`, the methods below that raise
    NotImplementedError, and `transpose` and `transpose_controls` if its labels and controls have pitches. One whose
    windows can be joined to clips has `held_parts`, and defines `line` and `why_no_note`.
    """

    follow_tempo = False  # whether windows go through changes of tempo, as in `grid.steady_tempo`
    chords = False  # whether the windows have the chord of each step as controls
    cut_at_changes = True  # False: a song whose tempo or time signature changes gives no window
    needs_grid = True  # whether a song whose notes lie off the sixteenths makes poor windows
    held_parts: int | None = None  # voices whose notes last until the next event; None: windows cannot be joined
    several_tracks = False  # whether each part of a song has a track of its own; else one track, or several as one
    only_drums = False  # whether the tracks taken are the drums, and no others
    has_feel = False  # whether labels hold velocities and offsets from the grid
    segments: int | None = None  # of a window, where these are not its bars

    def __post_init__(self) -> None:
        for field, value in vars(self).items():  # fields given as lists, as from JSON, become tuples
            if isinstance(value, list | range):
                object.__setattr__(self, field, tuple(value))
        for field in fields(self):
            if field.type is bool:
                checked_type(field.name, getattr(self, field.name), bool, "True or False")
        metre = self.time_signature
        if not (isinstance(metre, tuple) and len(metre) == 2 and all(type(part) is int and part > 0 for part in metre)):
            raise ValueError(f"time_signature must be two whole numbers, such as (4, 4), got {described(metre)}")
        bar_steps = steps_of_bar(self.time_signature)
        if bar_steps < 1 or bar_steps % 1:
            raise ValueError(f"a bar of {time_signature_text(self.time_signature)} is no whole number of sixteenths")
        if type(self.bars) is not int or self.bars < 1:
            raise ValueError(f"bars is {described(self.bars)}; a window has a whole number of them, at least one")

    @property
    def steps_per_bar(self) -> int:
        return int(steps_of_bar(self.time_signature))

    @property
    def steps(self) -> int:
        """Steps per window."""
        return self.bars * self.steps_per_bar

    @property
    def control_depth(self) -> int:
        """Depth of the controls: the number of chord classes, or 0 without chords."""
        return CHORD_DEPTH if self.chords else 0

    @property
    def label_depths(self) -> tuple[int, ...]:
        """Number of classes of each part of a label; by default, labels are the classes of one-hot targets."""
        return (self.output_depth,)

    @property
    def transposes(self) -> bool:
        """Whether the converter defines `transpose`."""
        return type(self).transpose is not BarsConverter.transpose

    # ---- Windows ----

    def to_arrays(self, midi: PrettyMIDI) -> Windows:
        """Cuts a song into windows, one from each bar on (grooves: end to end); each converter documents its labels.

        `skipped` of the result names what gave no window. If the song gave none at all, the first entry is "song".
        """
        midi = self.in_time(checked_type("midi", midi, PrettyMIDI, "a PrettyMIDI; load_midi(path) reads a file"))
        return self.windows_of_parts(midi, song_parts(midi))

    def windows_of_parts(self, midi: PrettyMIDI, parts: Sequence[Part]) -> Windows:
        """What `to_arrays` returns for a song that is `in_time`, from the `song_parts` of it."""
        skipped = [
            Skipped(_track_name(track, instrument), refusal)
            for track, instrument in enumerate(midi.instruments)
            if (refusal := self.track_refusal(instrument))
        ]
        skipped += [metre_skip(part) for part in parts if not self.fits(part)]
        cuts = []
        if self.cut_at_changes or len(parts) == 1:
            facts = self.song_facts(midi)
            sounding = [part for part in parts if len(part.start) and self.fits(part)]
            if len(sounding) > MAX_PARTS:
                skipped.append(Skipped("changes", f"of tempo or metre after the first {MAX_PARTS:,}"))
            cuts = list(_first(cut for part in sounding[:MAX_PARTS] for cut in self.cut_part(part, facts, skipped)))
            if sum(len(cut.labels) for cut in cuts) >= MAX_WINDOWS:
                skipped.append(Skipped("windows", f"after the first {MAX_WINDOWS:,}, about"))
        if not any(len(cut.labels) for cut in cuts):
            skipped.insert(0, Skipped("song", self._why_nothing(midi, parts, skipped)))
        return as_windows(cuts, self.no_windows(), skipped)

    def in_time(self, midi: PrettyMIDI) -> PrettyMIDI:
        """The song as it is cut: in its first tempo throughout if the converter follows the tempo."""
        return steady_tempo(midi) if self.follow_tempo else midi

    def transpose(self, labels: Tensor, semitones: Tensor) -> Tensor:
        """Moves the notes of windows [n, steps, ...] by semitones [n]; drums have no pitch and stay as they are."""
        return labels

    def transpose_controls(self, labels: Tensor, controls: Tensor, semitones: Tensor) -> Tensor:
        """Moves the chords [n, steps] of windows where `transpose` moves their notes; other controls stay."""
        return controls

    def no_labels(self) -> np.ndarray:
        """Labels of 0 windows: their shape [0, steps, ...] and their type."""
        raise NotImplementedError

    def track_refusal(self, instrument: pretty_midi.Instrument) -> str | None:
        """The reason why a track is not used, or None if it is."""
        raise NotImplementedError

    def song_facts(self, midi: PrettyMIDI) -> object:
        """What `cut_part` needs to know about the whole song, found once for all parts; the song itself by default."""
        return midi

    def cut_part(self, part: Part, facts: object, skipped: list[Skipped]) -> Iterator[Cut]:
        """Yields the windows of a part whose bars have the right length; adds what gives none to `skipped`.

        Args:
            facts: what `song_facts` returned.
        """
        raise NotImplementedError

    def why_no_window(self, midi: PrettyMIDI, parts: Sequence[Part]) -> str:
        """The reason why a song whose parts with notes are these gives no window."""
        raise NotImplementedError

    def no_windows(self) -> Cut:
        """A Cut of 0 windows: the shapes and types of the columns."""
        controls = np.zeros((0, self.steps if self.chords else 0), np.int8)
        return Cut(self.no_labels(), np.zeros(0, np.int32), controls, *np.zeros((3, 0), np.int64))

    def fits(self, part: Part) -> bool:
        """Whether a part's bars are as long as the converter's."""
        return steps_of_bar(part.time_signature) == self.steps_per_bar

    def fits_in_pairs(self, part: Part) -> bool:
        """Whether two of a part's bars are one of the converter's, as `Intake(pair_bars=True)` reads them."""
        return steps_of_bar(part.time_signature) == HALF_BAR_STEPS == self.steps_per_bar / 2

    def _why_nothing(self, midi: PrettyMIDI, parts: Sequence[Part], skipped: Sequence[Skipped]) -> str:
        """The reason why a song gives no window."""
        if not self.cut_at_changes and len(parts) > 1:
            what = "tempo" if len({part.time_signature for part in parts}) == 1 else "time signature"
            remedy = "; follow_tempo=True follows the beat" if what == "tempo" else ""
            return f"the {what} changes, which this converter does not take{remedy}"
        changes = tempo_changes(parts)
        parts = [part for part in parts if len(part.start)]
        if not parts:
            return "no notes"
        others = " and ".join(dict.fromkeys(time_signature_text(p.time_signature) for p in parts if not self.fits(p)))
        if not any(map(self.fits, parts)):
            return f"{others} throughout" + f"; {PAIR_BARS}" * any(map(self.fits_in_pairs, parts))
        without_chords = [skip.reason for skip in skipped if skip.what.startswith("chords")]
        fitting = list(filter(self.fits, parts))[:MAX_PARTS]
        reason = without_chords[0] if without_chords else self.why_no_window(midi, fitting)
        if changes and reason == self.too_short:
            return f"{reason} between tempo changes, where windows end (follow_tempo=True: they do not); {changes}"
        return f"{reason}; {others} elsewhere" if others and "; " not in reason else reason

    def why_short(self, ends: Iterable[np.ndarray]) -> str | None:
        """The reason if no part is as long as a window, or None; ends: the end steps [notes] of each part's notes."""
        longest = max((-(-end.max() // self.steps_per_bar) for end in ends if len(end)), default=0)
        return self.too_short if longest < self.bars else None

    @property
    def too_short(self) -> str:
        """The reason why a song whose longest part is shorter than a window gives none."""
        return f"shorter than {self.bars} bars"

    # ---- Clips (optional) ----

    def line(self, part: Part, midi: PrettyMIDI) -> tuple[np.ndarray, tuple[int, ...]]:
        """Labels [steps, ...] of a part from its start to its last note, with its rests, and the tracks they are of.

        The labels are empty if the part has no note that is taken. See clips.py.

        Args:
            part: as `sustained` returns it.

        Raises:
            ValueError: the converter has no such line; its windows cannot be joined.
        """
        wanted = "melodies, drums, trios or pianos"
        raise ValueError(f"windows of {type(self).__name__} cannot be joined: take a model of {wanted}")

    def sustained(self, part: Part, midi: PrettyMIDI) -> Part:
        """A part in which notes last as long as they sound; for pianos, as long as the pedal holds them."""
        return part

    def as_cut(self, labels: np.ndarray, tied: np.ndarray | None = None) -> np.ndarray:
        """Windows [n, steps, ...] of a line as `to_arrays` would label them.

        Args:
            tied: [n, held_parts] bool, whether a note of the window before goes on; none does when None.
        """
        return labels

    def as_line(self, labels: np.ndarray, tied: np.ndarray | None = None) -> np.ndarray:
        """Windows of labels as a line has them: the inverse of `as_cut`, with the same arguments."""
        return labels

    def why_no_note(self, midi: PrettyMIDI, parts: Sequence[Part]) -> str | None:
        """The reason why the converter takes no note of these parts with notes; None if it takes some."""
        return None


def tempo_changes(parts: Sequence[Part]) -> str | None:
    """The number of parts that start at a change of tempo, in words; None if none does."""
    changes = sum(part.qpm != before.qpm for before, part in itertools.pairwise(parts))
    return counted(changes, "tempo change") if changes else None


def _track_name(track: int, instrument: pretty_midi.Instrument) -> str:
    return f"track {track} ({name})" if (name := instrument.name.strip()) else f"track {track}"


# ---- Programs in words ----


def describe_programs(programs: Sequence[int]) -> str:
    """Formats programs: 0-31 for a run of three or more, else 0, 25."""
    programs = sorted(set(programs))
    if len(programs) > 2 and programs[-1] - programs[0] == len(programs) - 1:
        return f"{programs[0]}-{programs[-1]}"
    return ", ".join(map(str, programs))


def describe_tracks(midi: PrettyMIDI) -> str:
    """Says which programs a song has, as in: it has programs 0, 25 and drums."""
    programs = sorted({instrument.program for instrument in midi.instruments if not instrument.is_drum})
    kinds = [f"program{'s' * (len(programs) > 1)} {', '.join(map(str, programs))}"] if programs else []
    kinds += ["drums"] if drum_tracks(midi).any() else []
    return f"it has {' and '.join(kinds)}"


def named_tracks(midi: PrettyMIDI) -> str:
    """The first tracks of a song with their numbers, names and programs, in words."""
    names = (f" {name!r}" if (name := one.name.strip()) else "" for one in midi.instruments)
    kinds = (
        "drums" if one.is_drum else f"program {one.program}, {pretty_midi.program_to_instrument_name(one.program)}"
        for one in midi.instruments
    )
    return listed([f"track {k}{name} ({kind})" for k, (name, kind) in enumerate(zip(names, kinds))]) or "no tracks"


def listed(tracks: Sequence[str]) -> str:
    """Descriptions of tracks in a line: the first TRACKS_SHOWN, and how many more there are."""
    more = f" and {len(tracks) - TRACKS_SHOWN} more" if len(tracks) > TRACKS_SHOWN else ""
    return f"{', '.join(tracks[:TRACKS_SHOWN])}{more}"


# ---- Labels to MIDI ----


def as_array(values: np.ndarray | Tensor | Sequence) -> np.ndarray:
    """A NumPy array of an array, a sequence, or a tensor on any device."""
    return np.asarray(values.cpu() if isinstance(values, Tensor) else values)


def checked_labels(labels: np.ndarray | Tensor | Sequence, depths: tuple[int, ...]) -> np.ndarray:
    """One window's labels as int64: [steps] for one depth, [steps, parts] for several.

    Raises:
        ValueError: another shape, or a label that is negative or not below its depth.
    """
    labels = whole_numbers("labels", labels)
    wanted = "[steps]" if len(depths) == 1 else f"[steps, {len(depths)}]"
    if labels.ndim != len(wanted.split(",")) or (labels.ndim == 2 and labels.shape[1] != len(depths)):
        raise ValueError(f"labels of one window have the shape {wanted}, not {list(labels.shape)}")
    if labels.size and (labels.min() < 0 or (labels.reshape(-1, len(depths)).max(0) >= depths).any()):
        bounds = ", ".join(str(depth - 1) for depth in depths)
        raise ValueError(f"labels lie from 0 to {bounds}; these from {labels.min()} to {labels.max()}")
    return labels


def checked_chords(controls: np.ndarray | Tensor | Sequence, labels: np.ndarray) -> np.ndarray:
    """Chord classes as int64 in the shape of the labels; raises ValueError on another shape or class."""
    controls = whole_numbers("controls", controls)
    if controls.shape != labels.shape or controls.min(initial=0) < -1 or controls.max(initial=0) >= CHORD_DEPTH:
        raise ValueError(f"controls are chord classes, -1 to {CHORD_DEPTH - 1}, of the shape {list(labels.shape)}")
    return controls


def _first(cuts: Iterable[Cut]) -> Iterator[Cut]:
    """Yields cuts until they hold MAX_WINDOWS windows or more."""
    count = 0
    for cut in cuts:
        yield cut
        count += len(cut.labels)
        if count >= MAX_WINDOWS:
            return


def checked_program(program: int) -> int:
    """A General MIDI program, counted from 0; raises ValueError on another number."""
    number = plain(program)
    if not is_whole(number) or not 0 <= number < 128:
        raise ValueError(f"program is {described(program)}; it must be a whole number, General MIDI has 0 to 127")
    return int(number)


def empty_song(qpm: float, time_signature: tuple[int, int], resolution: int = TICKS_PER_QUARTER) -> PrettyMIDI:
    """A song without tracks; qpm in quarters per minute, resolution in ticks per quarter."""
    number = plain(qpm)
    if not isinstance(number, Real) or isinstance(number, bool) or not QPM_RANGE[0] <= number <= QPM_RANGE[1]:
        raise ValueError(
            f"qpm is {described(qpm)}; give quarters per minute, a number between {QPM_RANGE[0]} and {QPM_RANGE[1]}"
        )
    midi = PrettyMIDI(resolution=resolution, initial_tempo=qpm)
    midi.time_signature_changes.append(pretty_midi.TimeSignature(*time_signature, 0.0))
    return midi


def note_at(pitch: int, start: float, end: float, step_seconds: float, velocity: int = VELOCITY) -> pretty_midi.Note:
    """A note from step `start` to step `end`."""
    return pretty_midi.Note(velocity, pitch, float(start * step_seconds), float(end * step_seconds))


def without_overlaps(notes: Iterable[pretty_midi.Note]) -> list[pretty_midi.Note]:
    """Notes of one track by start time, of which no two of one pitch sound at once: the later one goes on for both.

    Else a sampler would cut the later note at the end of the earlier one. The ends of the given notes change.
    """
    kept = {}
    for note in sorted(notes, key=lambda note: (note.start, note.end)):
        before = kept.setdefault(note.pitch, [])
        if before and before[-1].end > note.start:
            note.end, before[-1].end = max(note.end, before[-1].end), note.start
        if before and before[-1].end <= before[-1].start:
            before.pop()
        before.append(note)
    return sorted(itertools.chain(*kept.values()), key=lambda note: note.start)


def add_chord_texts(midi: PrettyMIDI, steps: np.ndarray, classes: np.ndarray, step_seconds: float) -> None:
    """Adds a text event at each change of chord; steps, classes: [tokens], -1 for a token without a time."""
    order = np.flatnonzero((steps >= 0) & (classes >= 0))
    order = order[np.argsort(steps[order], kind="stable")]
    before = None
    for step, index in zip(steps[order].tolist(), classes[order].tolist()):
        if index != before:
            midi.text_events.append(pretty_midi.Text(chord_symbol(index), step * step_seconds))
        before = index


# ---- Labels to tensors and back ----


def checked_columns(windows: Windows) -> Windows:
    """Windows, or what has their columns; raises ValueError for anything else."""
    if not (hasattr(windows, "labels") and hasattr(windows, "lengths")):
        raise ValueError(f"windows must be Windows, as to_arrays makes them, got {described(windows)}")
    return windows


def label_tensors(windows: Windows) -> tuple[Tensor, Tensor, Tensor]:
    """Labels int64, lengths int64, and the mask of `length_mask`, on the labels' device."""
    checked_columns(windows)
    labels = windows.labels.astype(np.int64) if isinstance(windows.labels, np.ndarray) else windows.labels.long()
    labels = torch.as_tensor(labels)
    return labels, *length_mask(labels, windows.lengths)


def length_mask(labels: Tensor, lengths: np.ndarray | Tensor) -> tuple[Tensor, Tensor]:
    """Lengths int64 [n] or [n, segments], and a mask [n, steps] float32: 1 before a window's or segment's length."""
    lengths = torch.as_tensor(lengths, device=labels.device).long()
    return lengths, step_mask(lengths, labels.shape[1]).float()


def one_hot(labels: Tensor, mask: Tensor, *depths: int, indices: bool = False) -> Tensor:
    """One-hot frames of labels, zero where the mask is 0; the parts of several depths stand side by side.

    Args:
        labels: int64 [n, steps], or [n, steps, parts] for several depths.
        mask: [n, steps].
        indices: return the positions of the ones.

    Returns:
        float32 [n, steps, sum of depths], or int64 [n, steps, parts] as in `Tensors`.
    """
    labels = labels.reshape(*mask.shape, len(depths))
    classes = torch.where(mask[..., None] > 0, labels + labels.new_tensor(starts(depths)), sum(depths))
    return classes if indices else one_hot_frames(classes, sum(depths))


def chord_frames(windows: Windows, labels: Tensor, mask: Tensor) -> Tensor:
    """The windows' chords one-hot [n, steps, 49], zero where padded; raises ValueError if they have none."""
    if windows.controls is None:
        raise ValueError("these windows have no chords; cut them with chords=True, or give controls")
    controls = torch.as_tensor(windows.controls, device=labels.device).long()
    return one_hot(controls.clamp(min=0), mask * (controls >= 0), CHORD_DEPTH)


def checked_outputs(outputs: Tensor, depth: int) -> Tensor:
    """A model's outputs as a tensor; raises ValueError if their last axis has another depth."""
    checked_type("outputs", outputs, Tensor | np.ndarray | Sequence, f"a tensor [..., {depth}]")
    outputs = torch.as_tensor(outputs)
    if not outputs.ndim or outputs.shape[-1] != depth:
        raise ValueError(f"outputs are {outputs.shape[-1]} deep; this converter's are {depth}")
    return outputs


def largest_classes(outputs: Tensor, *depths: int) -> Tensor:
    """Labels int64 [..., parts] of outputs [..., sum of depths]: each part's class with the largest value."""
    outputs = checked_outputs(outputs, sum(depths))
    return torch.stack([part.argmax(-1) for part in outputs.split(depths, -1)], -1)


def take(windows: Windows, part: slice | np.ndarray | Tensor) -> Windows:
    """Some windows, by a slice or their indices, without their positions in their song."""
    checked_type("windows", windows, Windows, "windows, as converter.to_arrays makes them")
    checked_type("part", part, slice | np.ndarray | Tensor, "a slice, such as slice(k, k + 1)")
    columns = windows.labels, windows.lengths, windows.controls
    return Windows(*(None if column is None else column[part] for column in columns))


def joined_windows(parts: Sequence[Windows]) -> Windows:
    """The windows of several songs in one, without their positions in the songs."""
    columns = zip(*((part.labels, part.lengths, part.controls) for part in parts), strict=True)
    return Windows(*(None if arrays[0] is None else np.concatenate(arrays) for arrays in columns))
