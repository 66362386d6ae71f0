"""The tools for clips: cutting, reconstructions, interpolations, grooves, drums to a rhythm.

With `sample_clips` and `continue_clip` of studio/compose.py they are those of Magenta Studio (Roberts et al. 2019,
"Magenta Studio: Augmenting Creativity with Deep Learning in Ableton Live").

Axes: n windows, Z size of z.
"""

import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from pretty_midi import PrettyMIDI
from torch import Generator, Tensor
from torch.distributions import Normal
from tqdm import tqdm

from engine.checks import checked_count, checked_share, checked_temperature, described
from engine.precision import autocast
from engine.rng import uniform
from engine.slerp import slerp_rows
from midi_utils import Converter, GrooveConverter, Midi, SongDataset, Windows, as_midi, midi_files
from music.chords import progression
from music.clip_chords import SONG_CHORDS, chords_of_clip
from music.clips import (
    Clip,
    Cutting,
    cut_clip,
    fitted,
    joined_labels,
    longest_clip,
    looped,
    read_clip,
    sounding_steps,
)
from music.converter import Programs, as_array
from music.grid import NAMES_SHOWN, counted
from music.groove import on_taps, with_feel, with_pulse
from music.intake import UNCHANGED, Intake
from music.labels import DRUM_CLASSES
from music.midi_output import with_dynamics, with_own_drums

SONGS_SHOWN = 20  # fewer songs are read without a progress bar
# Arguments of `clip` that choose a part of a song, as they are when it is taken whole
WHOLE = {"track": None, "start_bar": None, "bars": None, "fill": None, "chords": None}
GROOVE_PASSES = 2  # of a groove, each fed with the velocities and offsets of the one before
GROOVE_TOOLS = {  # the field that a tool's preset sets, and a model of pretrained/ of such a preset
    "groove": ("humanize", "groove_humanize"),
    "drumify": ("tap", "groove_tap"),
}


class Corners(NamedTuple):
    """Clips between which points are taken."""

    mu: Tensor  # [clips, n, Z], posterior means of the windows of each
    sounds: np.ndarray  # [n] bool: whether any of them has an onset in the window
    first: Clip  # gives length, tempo, program and chords


def whole_songs(
    songs: str | os.PathLike | Iterable[Midi | Clip], converter: Converter, intake: Intake = UNCHANGED
) -> list[Clip]:
    """The longest clips of songs, see `longest_clip`; a song without one is left out.

    Args:
        songs: a folder of MIDI files, or songs; clips are taken as they are.
        intake: what is changed in each song before its clip is cut.

    Raises:
        ValueError: no song has a clip.
    """
    if isinstance(songs, SongDataset | PrettyMIDI):
        raise ValueError("songs must be a folder or a list of songs; a SongDataset keeps equal windows only once")
    given = list(midi_files(Path(songs)) if isinstance(songs, str | os.PathLike) else songs)
    if not given:
        raise ValueError(f"there is no MIDI file in {described(songs)}: give whole songs")
    clips, faults = [], []
    for k, song in enumerate(tqdm(given, "Reading songs", unit="song", disable=len(given) < SONGS_SHOWN), 1):
        try:
            clips.append(song if isinstance(song, Clip) else longest_clip(intake(as_midi(song)), converter))
        except ValueError as error:
            name = str(song) if isinstance(song, str | os.PathLike) else f"song {k}"
            faults.append(f"{name}: {str(error).removeprefix(f'{name}: ')}")
    shown = "".join(f"\n  {fault}" for fault in faults[:NAMES_SHOWN]) + "\n  ..." * (len(faults) > NAMES_SHOWN)
    if not clips:
        raise ValueError(f"none of {counted(len(given), 'song')} can be used:{shown}")
    if faults:
        warnings.warn(f"{len(faults)} of {len(given)} songs left out:{shown}", stacklevel=2)
    return clips


class ClipTools:
    """The part of `generate.TrainedModel` for clips: a mixin, whose other attributes are defined there."""

    def clip(
        self,
        music: Midi | Windows | Clip,
        *,
        track: int | None = None,
        start_bar: int | None = None,
        bars: int | None = None,
        fill: str | None = None,
        chords: str | None = None,
        rhythm: bool = False,
    ) -> Clip:
        """Cuts a clip of any number of bars from a song, with its rests, for the methods below.

        Args:
            music: a song. Windows are joined end to end, and a clip is returned as it is; both take no other
                argument.
            track: index of a track, taken whatever its program is. When None, for melodies and pianos the song's only
                pitched track, whatever its program is; otherwise the first that the preset takes.
            start_bar, bars: first bar, from 0, and number of bars. When None, from the first bar, and up to the last
                note; when both are None, the longest stretch in the preset's time signature, see `read_clip`.
            fill: what follows where the song or the last window is not full: 'rest', or 'loop', the clip again. When
                None, rests, but a clip that is shorter than a window is encoded as if it were repeated.
            chords: for a preset that follows chords, text such as "Am7 Dm7 | G7 Cmaj7", repeated as needed; "song"
                takes those that the song names, or estimates them from its accompaniment.
            rhythm: for `drumify`, take the onsets of a track of any kind.

        Raises:
            ValueError: an argument out of range, no note that the preset takes, or another time signature.
        """
        options = {"track": track, "start_bar": start_bar, "bars": bars, "fill": fill}
        if isinstance(music, Clip | Windows) and options | {"chords": chords} != WHOLE:
            raise ValueError(f"{', '.join(WHOLE)} are for songs: windows and clips are taken as they are")
        if isinstance(music, Clip):
            return music
        if isinstance(music, Windows):
            if not len(music.labels):
                raise ValueError("there is no window to join")
            labels = self.converter.as_line(as_array(self._as_windows(music).labels))
            chords = music.controls if self.converter.chords else None
            return Clip(labels.reshape(-1, *labels.shape[2:]), None if chords is None else as_array(chords).ravel())
        line = self.groove_converter("drumify").rhythm if rhythm else None
        midi = as_midi(music)
        cut = read_clip(midi, self.converter, line, **options)
        if chords == SONG_CHORDS and self.converter.chords:
            own = cut if fill != "loop" else read_clip(midi, self.converter, line, **options | {"fill": "rest"})
            found = chords_of_clip(midi, own, self.converter)
            sounding = found if fill != "loop" else found[: sounding_steps(own, self.converter)]
            return cut._replace(chords=fitted(sounding, len(cut.labels), fill or "rest", 0))
        return cut._replace(chords=self._chord_line(chords, len(cut.labels)))

    def reconstruct_clip(
        self,
        clip: Midi | Windows | Clip,
        *,
        change: Callable[[Tensor], Tensor] | None = None,
        chords: str | None = None,
        temperature: float = 0.0,
        seed: int | None = None,
        generator: Generator | None = None,
        qpm: float | None = None,
        program: Programs = None,
    ) -> PrettyMIDI:
        """Decodes the posterior mean of each window of a clip and joins them to a piece of the clip's length.

        A window without an onset stays as it is: silent, or with the note that goes on in it. A clip that is shorter
        than a window is encoded as if it were repeated, unless its `fill` says otherwise.

        Args:
            clip: a song, windows, or what `clip` returns.
            change: takes the posterior means [n, Z] and returns the z [n, Z] that are decoded in their place.
            chords: that the piece gets, as text; the clip's own, under which it is encoded, when None.
            qpm: tempo in quarter notes per minute; the clip's own when None.
            program: as in `sample`; the clip's own when None. The other arguments are as in `sample`, too.
        """
        source, clip = self._random_source(seed, generator), self.clip(clip)
        cutting, windows = self._cut(clip)
        mu = self.posterior(windows).loc
        if chords is not None:
            clip = clip._replace(chords=self._chord_line(chords, len(clip.labels)))
            windows = windows._replace(controls=self._chords_by_window(clip.chords, len(mu)))
        controls = self._own_controls(windows)
        z = mu if change is None else self.model.as_z(change(mu))
        if len(z) != len(mu):
            raise ValueError(f"change must return a z per window, {list(mu.shape)}, got {list(z.shape)}")
        drawn = self._drawn(z, controls, temperature, source, cutting.tied)
        return self._written(self._rejoined(clip, cutting, drawn), qpm, program)

    def interpolate_clips(
        self,
        clips: Sequence[Midi | Windows | Clip],
        num_steps: int,
        *,
        temperature: float = 1.0,
        seed: int | None = None,
        generator: Generator | None = None,
        qpm: float | None = None,
        program: Programs = None,
    ) -> list[PrettyMIDI]:
        """Decodes points on a line through any number of clips, window by window, see `slerp`.

        Args:
            clips: two or more, as in `reconstruct_clip`; one that is shorter than the longest is repeated.
            num_steps: number of pieces, evenly spaced from the first clip to the last.
            qpm, program: the first clip's own when None. The other arguments are as in `sample`.

        Raises:
            ValueError: fewer than two clips, or num_steps below 1.
        """
        num_steps, corners = checked_count("num_steps", num_steps), self._corners(clips)
        places = np.linspace(0, len(corners.mu) - 1, num_steps)
        starts = np.minimum(places.astype(int), len(corners.mu) - 2).tolist()
        points = [slerp_rows(*corners.mu[k : k + 2], place - k) for k, place in zip(starts, places, strict=True)]
        return self._between(corners, points, temperature, self._random_source(seed, generator), qpm, program)

    def interpolate_grid(
        self,
        corners: Sequence[Midi | Windows | Clip],
        size: int,
        *,
        temperature: float = 1.0,
        seed: int | None = None,
        generator: Generator | None = None,
        qpm: float | None = None,
        program: Programs = None,
    ) -> list[PrettyMIDI]:
        """Decodes a square grid of points between four clips, window by window.

        Args:
            corners: four clips: top left, top right, bottom left, bottom right.
            size: number of rows and of columns, at least 2. The other arguments are as in `interpolate_clips`.

        Returns:
            size * size pieces, row by row.

        Raises:
            ValueError: another number of corners, or a size below 2.
        """
        size, found = checked_count("size", size, least=2), self._corners(corners)
        if len(found.mu) != 4:
            raise ValueError(f"a grid has four corners, got {len(found.mu)} clips")
        shares, (a, b, c, d) = np.linspace(0, 1, size).tolist(), found.mu
        sides = [(slerp_rows(a, c, y), slerp_rows(b, d, y)) for y in shares]
        points = [slerp_rows(left, right, x) for left, right in sides for x in shares]
        return self._between(found, points, temperature, self._random_source(seed, generator), qpm, program)

    def groove(
        self,
        clip: Midi | Windows | Clip,
        strength: float = 1.0,
        *,
        keep_velocities: bool = False,
        qpm: float | None = None,
        program: Programs = None,
    ) -> PrettyMIDI:
        """Gives the hits of a drum clip the timing and the dynamics of a drummer.

        Args:
            clip: as in `reconstruct_clip`, of drums.
            strength: 0 keeps the clip's own timing and velocities, 1 takes the model's; between, a mixture.
            keep_velocities: whether only the timing changes.
            qpm, program: as in `reconstruct_clip`.

        Raises:
            ValueError: the preset does not add timing and velocities, or the strength is not from 0 to 1.
        """
        self.groove_converter("groove")
        strength = checked_share("strength", strength)
        clip = self.clip(clip)
        cutting, windows = self._cut(clip)
        change = self.humanized(windows) - cutting.labels
        if keep_velocities:
            change[..., DRUM_CLASSES : 2 * DRUM_CLASSES] = 0
        mixed = cutting.labels + strength * change
        return self._written(self._rejoined(clip, cutting, mixed), qpm, program)

    def humanized(self, windows: Windows) -> np.ndarray:
        """Labels [n, steps, 27] with the hits of drum windows, and a drummer's velocities and offsets."""
        z, played = self.posterior(windows).loc, windows.labels
        for _ in range(GROOVE_PASSES):
            played = with_feel(windows.labels, self._logits(z, played))
        return played

    def drumify(
        self,
        rhythm: Midi | Windows | Clip,
        *,
        pulse: int | None = None,
        temperature: float = 0.0,
        seed: int | None = None,
        generator: Generator | None = None,
        qpm: float | None = None,
        program: Programs = None,
    ) -> PrettyMIDI:
        """Plays drums to a rhythm: the onsets of the first track of a song that has notes.

        Args:
            rhythm: a song, or what `clip` with rhythm=True cuts from one.
            pulse: steps between the strokes of a closed hi-hat that goes on through the piece, 2 for eighths; none when
                None.
            qpm: the song's own when None.
            program: the drum kit; the standard kit (0) when None. The other arguments are as in `sample`.

        Raises:
            ValueError: the preset does not make drums of a tapped rhythm.
        """
        self.groove_converter("drumify")
        source = self._random_source(seed, generator)
        clip = self.clip(rhythm, rhythm=True)._replace(program=0, names=(), own=None)
        pulse = None if pulse is None else checked_count("pulse", pulse)
        cutting, windows = self._cut(clip)
        drawn = self.drummed(windows, checked_temperature(temperature), source, pulse)
        cutting = cutting._replace(sounds=drawn[..., :DRUM_CLASSES].any((1, 2)))
        return self._written(self._rejoined(clip, cutting, drawn), qpm, program)

    def drummed(
        self,
        windows: Windows,
        temperature: float = 0.0,
        source: Generator | None = None,
        pulse: int | None = None,
    ) -> np.ndarray:
        """Labels [n, steps, 27] of drums to windows of a rhythm, with hits at its onsets and on each `pulse`-th step.

        Each pass is given the one before, until it changes nothing that could be heard. The pulse comes last: drums
        that were made after it would lack kicks and snares.
        """
        z, played = self.posterior(windows).loc, np.zeros_like(windows.labels)
        taps = windows.labels[..., :DRUM_CLASSES].any(-1)
        uniforms = as_array(uniform((*taps.shape, DRUM_CLASSES), source, self.device))
        for _ in range(taps.shape[1]):
            before, played = played, on_taps(taps, self._logits(z, played), temperature, uniforms)
            if np.allclose(before, played, atol=1e-4):
                break
        if pulse is None:
            return played
        return with_feel(with_pulse(played[..., :DRUM_CLASSES], pulse), self._logits(z, played))

    def _chord_line(self, text: str | None, steps: int) -> np.ndarray | None:
        """Chord classes [steps] of a progression, which is repeated; None for a preset without chords."""
        if (text is not None) != self.converter.chords:
            remedy = "give them as text, such as chords='Am7 | G7'" if self.converter.chords else "omit them"
            raise ValueError(
                f"{self.config.name} {'follows' if self.converter.chords else 'does not follow'} chords: {remedy}"
            )
        return None if text is None else fitted(progression(text, self.converter.steps_per_bar), steps, "loop", 0)

    def groove_converter(self, tool: str) -> GrooveConverter:
        """The converter of a model for one of GROOVE_TOOLS; raises ValueError for a model of another kind."""
        field, model = GROOVE_TOOLS[tool]
        if not getattr(self.converter, field, False):
            raise ValueError(
                f"{tool} needs a model such as {model} of pretrained/ (--model {model}); "
                f"this one is of {self.config.name}"
            )
        return self.converter

    def clip_posterior(self, clip: Midi | Windows | Clip) -> Normal:
        """The posterior q(z|x) of each window of a clip, [n, Z]."""
        return self.posterior(self._cut(self.clip(clip))[1])

    def _cut(self, clip: Clip, start: int = 0) -> tuple[Cutting, Windows]:
        """The windows of a clip from a step on, as they were and as the model reads them."""
        steps = self.converter.steps
        fill = clip.fill or ("loop" if len(clip.labels) < steps else "rest")  # training has no window of mostly rests
        cutting = cut_clip(clip.labels, steps, fill, self.converter.held_parts, start)
        labels = self.converter.as_cut(cutting.labels, cutting.tied)
        chords = None if clip.chords is None else self._chords_by_window(clip.chords[start:], len(labels))
        return cutting, Windows(labels, np.full(len(labels), steps, np.int32), chords)

    def _chords_by_window(self, chords: np.ndarray | None, n: int) -> np.ndarray | None:
        """Chord classes [n, steps] of n windows; what lacks at the end is repeated from the start."""
        steps = self.converter.steps
        return None if chords is None else fitted(chords, n * steps, "loop", 0).reshape(n, steps)

    def _drawn(
        self,
        z: Tensor,
        controls: Tensor | np.ndarray | None,
        temperature: float,
        source: Generator | None,
        tied: np.ndarray | None = None,
    ) -> np.ndarray:
        """Labels [n, steps, ...] of a line, decoded from z [n, Z]; tied: as in `BarsConverter.as_line`."""
        labels = self.decode_labels(z, temperature=temperature, controls=controls, generator=source)
        return self.converter.as_line(labels, tied)

    def _rejoined(self, clip: Clip, cutting: Cutting, windows: np.ndarray) -> Clip:
        """A clip with other windows, but for those without an onset."""
        kept = np.where(cutting.sounds.reshape(-1, *[1] * (windows.ndim - 1)), windows, cutting.labels)
        labels = joined_labels(kept, self.converter.held_parts, cutting.tied)
        return clip._replace(labels=labels[: len(clip.labels)])

    def _corners(self, clips: Sequence[Midi | Windows | Clip]) -> Corners:
        """The clips of an interpolation, encoded at the length of the longest."""
        is_list = isinstance(clips, Sequence) and not isinstance(clips, Midi | Windows | Clip)
        if not is_list or len(clips) < 2:
            raise ValueError(f"clips must be a list of two or more, got {len(clips) if is_list else described(clips)}")
        cut = []
        for k, music in enumerate(clips, 1):
            try:
                cut.append(self.clip(music))
            except ValueError as error:
                raise ValueError(f"clip {k} of {len(clips)}: {error}") from error
        steps = max(len(clip.labels) for clip in cut)
        cut = [looped(clip, steps, self.converter.held_parts) for clip in cut]
        cuttings, windows = zip(*map(self._cut, cut), strict=True)
        mu = torch.stack([self.posterior(one).loc.cpu() for one in windows])
        return Corners(mu, np.any([cutting.sounds for cutting in cuttings], 0), cut[0])

    def _between(
        self,
        corners: Corners,
        points: list[Tensor],
        temperature: float,
        source: Generator | None,
        qpm: float | None,
        program: Programs,
    ) -> list[PrettyMIDI]:
        """Pieces decoded from the z [n, Z] of each point; windows that are silent in all clips stay silent."""
        first, pieces = corners.first, []
        chords = self._chords_by_window(first.chords, len(corners.sounds))
        for z in points:
            windows = self._drawn(z, chords, temperature, source)
            windows[~corners.sounds] = 0
            labels = joined_labels(windows, self.converter.held_parts)[: len(first.labels)]
            pieces.append(self._written(first._replace(labels=labels), qpm, program))
        return pieces

    def _written(self, clip: Clip, qpm: float | None = None, program: Programs = None) -> PrettyMIDI:
        """A clip as a song, with the dynamics of the notes that it was read from."""
        names = clip.names if program is None else ()
        qpm, program = clip.qpm if qpm is None else qpm, clip.program if program is None else program
        midi = self.converter.from_arrays(self.converter.as_cut(clip.labels[None])[0], qpm, program, clip.chords)
        for track, name in zip(midi.instruments, names, strict=False):
            track.name = name
        return self.as_played(midi, clip)

    def as_played(self, midi: PrettyMIDI, clip: Clip) -> PrettyMIDI:
        """A piece with the drums and the dynamics of the notes that a clip was read from.

        Drums stay as they are where the model tells 61 of them apart, and dynamics where it writes its own.
        """
        if clip.own is None:
            return midi
        played = clip.own.notes, len(clip.own.labels)
        if getattr(self.converter, "classes", DRUM_CLASSES) == DRUM_CLASSES:
            midi = with_own_drums(midi, *played)
        return midi if self.converter.has_feel else with_dynamics(midi, *played)

    @torch.no_grad()
    def _logits(self, z: Tensor, labels: np.ndarray) -> np.ndarray:
        """Teacher-forced logits [n, steps, output_depth] of labels that are their own targets, such as grooves."""
        with autocast(self.device, self.precision):
            return as_array(self.model.decode(z, torch.as_tensor(labels, dtype=z.dtype, device=z.device)).float())
