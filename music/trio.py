"""Trios: a melody, a bass and drums that play together, one label each per step (Roberts et al. 2018, section 4)."""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pretty_midi
import torch
from numpy.lib.stride_tricks import sliding_window_view
from pretty_midi import PrettyMIDI
from torch import Tensor

from music.converter import (
    BarsConverter,
    Tensors,
    checked_labels,
    checked_program,
    describe_programs,
    describe_tracks,
    empty_song,
    label_tensors,
    largest_classes,
    one_hot,
)
from music.drums import drum_hits, drum_track, paint_drums
from music.grid import Cut, Part, Skipped, Windows, bars_skip, drum_tracks, full_windows
from music.labels import TRIO_DEPTHS
from music.melody import (
    MELODY_PROGRAMS,
    melody_track,
    melody_voice,
    paint_melody,
    transpose_voices,
)

TRIO_NAMES = ("a melody track (programs 0-31)", "a bass track (programs 32-39)", "a drum track")
BASS_PROGRAMS = tuple(range(32, 40))  # General MIDI, from 0
WRITTEN_PROGRAMS = (0, 33, 0)  # grand piano, fingered bass, standard drum kit
MAX_TRIO_BARS = 1024  # of a part; the rest is left out
MAX_TRIO_TRACKS = 128  # of a song; the rest is left out
MAX_TRIOS = 1024  # combinations of tracks of a part, far more than songs have; the rest is left out
REST_BARS = 2  # a track may rest this long on either side of a note


@dataclass(frozen=True)
class TrioConverter(BarsConverter):
    """Windows of a melody (programs 0-31), a bass (32-39) and drums, labelled as in the melody and drums converters.

    to_arrays gives uint16 [n, steps, 3] for each choice of three tracks that play together. A track may rest for up to
    two bars on either side of a note. Equal windows are kept, as in the reference. Magenta: TrioConverter.
    """

    bars: int = 16  # per window
    time_signature: tuple[int, int] = (4, 4)  # of the bars taken; another of the same length passes: 2/2 for 4/4
    follow_tempo: bool = False  # True: windows go on through changes of tempo; False: they end there, as in Magenta

    label_depths = TRIO_DEPTHS
    input_depth = output_depth = sum(TRIO_DEPTHS)
    held_parts = 2
    several_tracks = True

    def from_arrays(
        self,
        labels: np.ndarray | Tensor,
        qpm: float = 120.0,
        program: Sequence[int] | None = None,
        controls: None = None,
    ) -> PrettyMIDI:
        """Writes one window as a song of three tracks.

        `to_arrays` reads the same one window back if each track has a note, one begins in the first four bars, one
        reaches the last bar, none rests for five bars, and each note-off ends a note.

        Args:
            labels: [steps, 3].
            qpm: quarters per minute, 4 to 1000.
            program: the General MIDI programs of melody and bass, and the drum kit; (0, 33, 0) if None.
            controls: not used.
        """
        labels = checked_labels(labels, TRIO_DEPTHS)
        melody, bass, kit = _three_programs(WRITTEN_PROGRAMS if program is None else program)
        midi = empty_song(qpm, self.time_signature)
        midi.instruments += [
            melody_track(labels[:, 0], melody, qpm),
            melody_track(labels[:, 1], bass, qpm),
            drum_track(labels[:, 2], kit, qpm),
        ]
        for name, track in zip(("Melody", "Bass", "Drums"), midi.instruments, strict=True):
            track.name = name
        return midi

    def to_tensors(self, windows: Windows, generator: torch.Generator | None = None, indices: bool = False) -> Tensors:
        """Three one-hot parts side by side [n, steps, 692]; inputs and targets are the same tensor."""
        labels, lengths, mask = label_tensors(windows)
        frames = one_hot(labels, mask, *TRIO_DEPTHS, indices=indices)
        return Tensors(frames, frames, lengths, None)

    def from_tensors(self, outputs: Tensor) -> Tensor:
        """Labels int64 [n, steps, 3] of outputs [n, steps, 692]: each part's class with the largest value."""
        return largest_classes(outputs, *TRIO_DEPTHS)

    def transpose(self, labels: Tensor, semitones: Tensor) -> Tensor:
        """Moves melody and bass of windows [n, steps, 3] by semitones [n], except windows that would leave the keys."""
        return torch.cat([transpose_voices(labels[..., :2], semitones), labels[..., 2:]], -1)

    def no_labels(self) -> np.ndarray:
        return np.zeros((0, self.steps, len(TRIO_DEPTHS)), np.uint16)

    def track_refusal(self, instrument: pretty_midi.Instrument) -> str | None:
        if instrument.is_drum or instrument.program in MELODY_PROGRAMS + BASS_PROGRAMS:
            return None
        return f"program {instrument.program} is not in {describe_programs(MELODY_PROGRAMS + BASS_PROGRAMS)}"

    def song_facts(self, midi: PrettyMIDI) -> np.ndarray:
        return _track_kinds(midi)

    def cut_part(self, part: Part, facts: np.ndarray, skipped: list[Skipped]) -> Iterator[Cut]:
        return _trio_cuts(part, facts, self.steps_per_bar, self.bars, skipped)

    def line(self, part: Part, midi: PrettyMIDI) -> tuple[np.ndarray, tuple[int, ...]]:
        """See `BarsConverter.line`; of each kind of track the first one with a note is taken."""
        kinds = _track_kinds(midi)
        lines = _track_lines(part, kinds, int(part.end[kinds.any(0)[part.track]].max(initial=0)))
        tracks = [next((t for t in np.flatnonzero(kind).tolist() if t in lines), None) for kind in kinds]
        if None in tracks:
            return np.zeros((0, len(TRIO_DEPTHS)), np.uint16), ()
        return np.stack([lines[t].astype(np.uint16) for t in tracks], -1), tuple(tracks)

    def why_no_window(self, midi: PrettyMIDI, parts: Sequence[Part]) -> str:
        together = f"melody, bass and drums never play {self.bars} bars together"
        return self.why_no_note(midi, parts) or self.why_short(part.end for part in parts) or together

    def why_no_note(self, midi: PrettyMIDI, parts: Sequence[Part]) -> str | None:
        missing = [name for name, tracks in zip(TRIO_NAMES, _track_kinds(midi), strict=True) if not tracks.any()]
        return f"trio needs {', '.join(missing)}; {describe_tracks(midi)}" if missing else None


def _three_programs(program: Sequence[int]) -> list[int]:
    if np.shape(program) != (len(TRIO_DEPTHS),):
        raise ValueError(f"program is {program}; a trio takes three: melody, bass, drum kit")
    return [checked_program(p) for p in program]


def _track_kinds(midi: PrettyMIDI) -> np.ndarray:
    """[3, tracks] bool: which tracks can be melody, bass and drums."""
    drums = drum_tracks(midi)
    programs = np.array([instrument.program for instrument in midi.instruments], int)
    kinds = np.stack([~drums & np.isin(programs, MELODY_PROGRAMS), ~drums & np.isin(programs, BASS_PROGRAMS), drums])
    kinds[:, MAX_TRIO_TRACKS:] = False
    return kinds


# ---- Notes to labels ----


def _trio_cuts(part: Part, kinds: np.ndarray, bar_steps: int, bars: int, skipped: list[Skipped]) -> Iterator[Cut]:
    """Windows of each melody, bass and drum track that play together; kinds as in `_track_kinds`."""
    played = -(-part.end.max(initial=0) // bar_steps)
    total = min(played, MAX_TRIO_BARS)
    if total < bars:
        return
    lines = _track_lines(part, kinds, total * bar_steps)
    coverage = _coverage(part, total, bar_steps, kinds.shape[1])
    coverage[:, [t for t in range(kinds.shape[1]) if t not in lines]] = False
    coverage = _widened(coverage)
    tracks = [[t for t in np.flatnonzero(kind) if t in lines] for kind in kinds]
    if kinds.shape[1] > MAX_TRIO_TRACKS:
        skipped.append(Skipped("tracks", f"after the first {MAX_TRIO_TRACKS}"))
    if played > total and (lost := _bars_beyond(total, part, tracks, bar_steps)):
        skipped.append(bars_skip("trios", lost, MAX_TRIO_BARS))
    if math.prod(map(len, tracks)) > MAX_TRIOS:
        skipped.append(Skipped("combinations of tracks", f"after the first {MAX_TRIOS:,}"))
    for trio in itertools.islice(itertools.product(*tracks), MAX_TRIOS):
        starts = np.flatnonzero(sliding_window_view(_all_play(coverage[:, trio]), bars).all(-1))
        if len(starts):
            labels = np.stack([lines[t].astype(np.uint16) for t in trio], -1)  # [steps, 3]
            windows = sliding_window_view(labels, bars * bar_steps, axis=0)[starts * bar_steps]
            yield full_windows(part, windows.swapaxes(1, 2), trio[0], starts)  # [n, steps, 3]


def _bars_beyond(total: int, part: Part, tracks: list[list[int]], bar_steps: int) -> int:
    """Bars after the first `total` in which all kinds of tracks can play; tracks: those of each kind."""
    ends = [part.end[np.isin(part.track, kind)].max(initial=0) for kind in tracks]
    return max(0, int(-(-min(ends) // bar_steps)) - total)


def _track_lines(part: Part, kinds: np.ndarray, length: int) -> dict[int, np.ndarray]:
    """Labels [length] of each track that has any."""
    lines = {}
    track, *voice = melody_voice(part, kinds[0] | kinds[1])
    for t in np.unique(track):
        lines[t] = paint_melody(*(column[track == t] for column in voice), length)
    for t in np.flatnonzero(kinds[2]):
        start, bits = drum_hits(part, np.arange(kinds.shape[1]) == t)
        if len(start):
            lines[t] = paint_drums(start, bits, length)
    return lines


def _coverage(part: Part, bars: int, bar_steps: int, tracks: int) -> np.ndarray:
    """[bars, tracks] bool: whether a note of the track sounds in the bar."""
    inside = part.start // bar_steps < bars
    change = np.zeros((bars + 1, tracks), np.int64)
    np.add.at(change, (part.start[inside] // bar_steps, part.track[inside]), 1)
    np.add.at(change, (np.minimum(-(-part.end[inside] // bar_steps), bars), part.track[inside]), -1)
    return change[:bars].cumsum(0) > 0


def _widened(coverage: np.ndarray) -> np.ndarray:
    """Coverage [bars, tracks] in which each covered bar also covers REST_BARS bars on both sides."""
    padded = np.pad(coverage, ((REST_BARS, REST_BARS), (0, 0)))
    return sliding_window_view(padded, 2 * REST_BARS + 1, axis=0).any(-1)


def _all_play(coverage: np.ndarray) -> np.ndarray:
    """[bars] bool: whether all tracks of coverage [bars, 3] play; as in the reference, the ends need only one note."""
    playing = coverage.all(1)
    playing[:REST_BARS] = coverage[:REST_BARS].any()
    playing[-REST_BARS:] = coverage[-REST_BARS:].any()
    return playing
