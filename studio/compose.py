"""New music of any length: new pieces, continuations of clips, and pieces with the form of a song.

In a piece with the form of a song, windows come back, exactly or varied, among new ones (see `prior.sequence`).

Axes: n windows, Z size of z.
"""

import os
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from pretty_midi import PrettyMIDI
from torch import Generator, Tensor

from engine.checks import checked_count, checked_share
from engine.slerp import slerp
from midi_utils import Midi, Windows
from music.clips import Clip, checked_bars, fitted, joined_labels, whole_windows
from music.converter import Programs, take
from music.grid import counted
from music.intake import UNCHANGED, Intake
from music.midi_output import with_own_notes
from prior import Codes, fit_sequence
from studio.clip_tools import ClipTools, whole_songs

VARIATION = 0.3  # place between a window of a clip (0) and a draw of the prior (1), where none is given


class CodedWindows(NamedTuple):
    """The windows of clips, end to end, with their codes."""

    labels: np.ndarray  # [n, steps, ...]
    mu: Tensor  # [n, Z]
    sigma: Tensor  # [n, Z]
    sounds: Tensor  # [n] bool
    clip: Tensor  # [n], the index of the clip that each is from

    def codes(self, clip: int) -> Codes:
        """The codes of one clip."""
        return Codes(self.mu[self.clip == clip], self.sounds[self.clip == clip])


def own_places(clips: Iterable[tuple[Clip, int]]) -> list[tuple[np.ndarray, int, int]]:
    """Clips and the steps in which they start, as `with_own_notes` takes them; without those that are no song's."""
    return [
        (clip.own.notes, first, first + len(clip.labels))
        for clip, first in clips
        if clip.own is not None and clip.own.labels is clip.labels
    ]


class ComposeTools(ClipTools):
    """What `generate.TrainedModel` does to make new music of any length."""

    def sample_clips(
        self,
        n: int,
        bars: int,
        *,
        variation: float | None = None,
        chords: str | None = None,
        temperature: float = 1.0,
        seed: int | None = None,
        generator: Generator | None = None,
        qpm: float | None = None,
        program: Programs = None,
    ) -> list[PrettyMIDI]:
        """Makes n new pieces of any number of bars: a first window from the prior, which goes on as in `continue_clip`.

        Args:
            n: number of pieces.
            bars: length of each; a preset whose windows cannot be joined has its own length only.
            variation, chords: as in `continue_clip`. The other arguments are as in `sample`.
        """
        source = self._random_source(seed, generator)
        if self.converter.held_parts is None and (bars, chords) == (self.converter.bars, None):
            return self.sample(n, temperature=temperature, generator=source, qpm=qpm, program=program)
        steps = self._steps_of(bars)
        chords = self._chord_line(chords, steps)
        pieces, more = [], max(0, -(-steps // self.converter.steps) - 1)
        for first in self.draw_z(n, source)[:, None]:  # (1, Z)
            if more and self._goes_on_as_songs(variation):
                line = self._as_songs_go_on(first, more, temperature, source)[:steps]
            else:
                z = torch.cat([first, self._next_z(first, more, variation, source)])
                line = self._new_line(z, steps, chords, temperature, source)
            pieces.append(Clip(line, chords))
        return [self._written(piece, qpm, program) for piece in pieces]

    def continue_clip(
        self,
        clip: Midi | Windows | Clip,
        bars: int,
        n: int = 1,
        *,
        variation: float | None = None,
        chords: str | None = None,
        temperature: float = 1.0,
        seed: int | None = None,
        generator: Generator | None = None,
        qpm: float | None = None,
        program: Programs = None,
    ) -> list[PrettyMIDI]:
        """Makes n pieces that start with a clip and go on in its style.

        A model that was fitted to whole songs goes on as these do, see `compose`. Otherwise new windows vary the clip's
        windows in turn: each lies on the arc from one of them to a draw of `draw_z`.

        Args:
            clip: as in `reconstruct_clip`; its own bars stay as they were played.
            bars: number of bars after it.
            n: number of pieces.
            variation: the place on the arc, from 0 (the clip's window) to 1 (the draw), for any model. When None, the
                piece goes on as songs do, or at VARIATION where the model was fitted to none.
            chords: of the new bars, as in `clip`; those of the clip again when None. The other arguments are as in
                `reconstruct_clip` and `sample`.
        """
        source, clip, n = self._random_source(seed, generator), self.clip(clip), checked_count("n", n)
        steps = self._steps_of(bars)
        if chords is None and clip.chords is not None:
            chords = fitted(clip.chords, steps, "loop", 0)
        else:
            chords = self._chord_line(chords, steps)
        if self._goes_on_as_songs(variation):
            playing = {"temperature": temperature, "qpm": qpm, "program": program}
            return self._composed(steps, {"start": clip}, n, source, **playing)
        pieces, z = [], self._last_z(clip)
        for _ in range(n):
            moved = self._next_z(z, -(-steps // self.converter.steps), variation, source)
            line = self._new_line(moved, steps, chords, temperature, source)
            labels = joined_labels([clip.labels, line], self.converter.held_parts)
            both = None if chords is None else np.concatenate([clip.chords, chords])
            pieces.append(clip._replace(labels=labels, chords=both))
        return [with_own_notes(self._written(piece, qpm, program), own_places([(clip, 0)])) for piece in pieces]

    def fit_sequence_prior(self, songs: str | os.PathLike | Iterable[Midi | Clip], intake: Intake = UNCHANGED) -> None:
        """Fits what `compose` draws from to whole songs. It takes minutes for thousands of songs; see `prior.sequence`.

        Args:
            songs: a folder of MIDI files, or a list of songs. Of each it takes the longest stretch of the first track
                that fits, in the preset's time signature. Songs without one are left out.
            intake: what is changed in each song before it is cut, as in `load_songs`.

        Raises:
            ValueError: the preset does not compose, no song can be used, or none has two windows that differ.
        """
        self._check_composes()
        songs = self._coded(whole_songs(songs, self.converter, intake))
        self.sequence_prior = fit_sequence(songs.mu, songs.sigma, songs.sounds, songs.clip)

    def compose(
        self,
        bars: int,
        start: Midi | Windows | Clip | None = None,
        end: Midi | Windows | Clip | None = None,
        n: int = 1,
        *,
        temperature: float = 1.0,
        seed: int | None = None,
        generator: Generator | None = None,
        qpm: float | None = None,
        program: Programs = None,
    ) -> list[PrettyMIDI]:
        """Makes n pieces with the form of a song: windows come back, exactly or varied, among new ones.

        Windows of equal codes have equal notes. `fit_sequence_prior` comes first, or a model that was saved after it.

        Args:
            bars: length of each piece, with `start` and `end`.
            start: what the pieces start with, as in `reconstruct_clip`; its own bars stay as they were played.
            end: what they end with, in the same way.
            n: number of pieces.
            qpm, program: as in `reconstruct_clip`; those of `start`, or else of `end`. The other arguments are as in
                `sample`.

        Raises:
            ValueError: no sequence prior is fitted, the preset does not compose, or `start` and `end` leave no bar.
        """
        self._check_composes()
        if self.sequence_prior is None:
            raise ValueError("this model has no sequence prior: fit one with trained.fit_sequence_prior(songs)")
        source, steps, n = self._random_source(seed, generator), self._steps_of(bars), checked_count("n", n)
        outer = {name: self.clip(music) for name, music in (("start", start), ("end", end)) if music is not None}
        free = steps - sum(len(clip.labels) for clip in outer.values())
        if free < 1:
            lengths = {name: len(clip.labels) // self.converter.steps_per_bar for name, clip in outer.items()}
            both = " and ".join(f"{name} has {counted(length, 'bar')}" for name, length in lengths.items())
            raise ValueError(
                f"{both}, which leaves no new bar of {bars}: give more bars (bars; --bars, which counts the clips too) "
                "or shorter clips (--clip-bars)"
            )
        return self._composed(free, outer, n, source, temperature, qpm, program)

    def _composed(
        self,
        free: int,
        outer: dict[str, Clip],
        n: int,
        source: Generator | None,
        temperature: float,
        qpm: float | None,
        program: Programs,
    ) -> list[PrettyMIDI]:
        """The n pieces of `compose`, of so many new steps and the clips `outer`, by their argument's name."""
        steps = self.converter.steps
        whole = [whole_windows(clip, steps, at_end=name == "start") for name, clip in outer.items()]
        known = self._coded(whole) if outer else None
        around = {name: known.codes(k) for k, name in enumerate(outer)}
        pieces, held = [], self.converter.held_parts
        lines = {name: clip.labels for name, clip in outer.items()}
        for _ in range(n):
            codes = self.sequence_prior.draw(-(-free // steps), source, **around)
            lines["new"] = joined_labels(self._from_codes(codes, known, temperature, source), held)[:free]
            labels = joined_labels([lines[name] for name in ("start", "new", "end") if name in lines], held)
            pieces.append(next(iter(outer.values()), Clip(labels))._replace(labels=labels))
        first = {"start": 0, "end": sum(len(line) for name, line in lines.items() if name != "end")}
        placed = own_places((clip, first[name]) for name, clip in outer.items())
        return [with_own_notes(self._written(piece, qpm, program), placed) for piece in pieces]

    def _goes_on_as_songs(self, variation: float | None) -> bool:
        """Whether a piece goes on as in `compose`, where no variation is given."""
        return variation is None and self.sequence_prior is not None and not self.converter.chords

    def _as_songs_go_on(self, first: Tensor, more: int, temperature: float, source: Generator | None) -> np.ndarray:
        """Labels [steps, ...] of a window of the code first [1, Z] and of so many that follow it, see `compose`."""
        begun = Codes(first, torch.ones(1, dtype=torch.bool, device=first.device))
        codes = self.sequence_prior.draw(more, source, start=begun)
        whole = Codes(*(torch.cat(parts) for parts in zip(begun, codes, strict=True)))
        return joined_labels(self._from_codes(whole, None, temperature, source), self.converter.held_parts)

    def _last_z(self, clip: Clip) -> Tensor:
        """The posterior means [n, Z] of a clip's windows with an onset; the last one ends with the clip."""
        steps = self.converter.steps
        start, clip = len(clip.labels) % steps if len(clip.labels) > steps else 0, clip._replace(fill="loop")
        cutting, windows = self._cut(clip, start)
        if start and not cutting.sounds.any():  # its last note starts before all of these
            cutting, windows = self._cut(clip)
        return self.posterior(take(windows, np.flatnonzero(cutting.sounds))).loc

    def _next_z(self, z: Tensor, count: int, variation: float | None, source: Generator | None) -> Tensor:
        """Latent vectors [count, Z] that follow those of a piece, z [n, Z]: see `continue_clip`."""
        variation = VARIATION if variation is None else checked_share("variation", variation)
        if not count:
            return z[:0]
        draws, own = self.draw_z(count, source).cpu(), z.cpu()
        return torch.stack([slerp(own[k % len(own)], draws[k], variation) for k in range(count)]).to(z)

    def _new_line(
        self, z: Tensor, steps: int, chords: np.ndarray | None, temperature: float, source: Generator | None
    ) -> np.ndarray:
        """Labels [steps, ...] of windows decoded from z [n, Z]."""
        windows = self._drawn(z, self._chords_by_window(chords, len(z)), temperature, source)
        return joined_labels(windows, self.converter.held_parts)[:steps]

    def _steps_of(self, bars: int) -> int:
        """Steps of a number of bars; raises ValueError for a preset whose windows cannot be joined."""
        if self.converter.held_parts is None:
            own = counted(self.converter.bars, "bar")
            raise ValueError(f"windows of {self.config.name} cannot be joined: make pieces of {own}, without chords")
        return checked_bars(checked_count("bars", bars)) * self.converter.steps_per_bar

    def _check_composes(self):
        """Raises ValueError for a preset whose windows are not joined, or that follows chords."""
        self._steps_of(1)
        if self.converter.chords:
            raise ValueError(f"{self.config.name} follows chords, and compose does not: use sample_clips")

    def _coded(self, clips: Sequence[Clip]) -> CodedWindows:
        """The windows of clips with their codes; equal windows have equal ones."""
        cuttings, windows = zip(*map(self._cut, clips), strict=True)
        labels = np.concatenate([one.labels for one in windows])
        different, place = np.unique(labels, axis=0, return_inverse=True)
        posterior = self.posterior(Windows(different, np.full(len(different), self.converter.steps, np.int32)))
        mu, sigma = (part[torch.as_tensor(place.ravel())] for part in (posterior.loc, posterior.scale))
        sounds = torch.as_tensor(np.concatenate([cutting.sounds for cutting in cuttings])).to(mu.device)
        clip = np.repeat(np.arange(len(clips)), [len(cutting.labels) for cutting in cuttings])
        labels = np.concatenate([cutting.labels for cutting in cuttings])
        return CodedWindows(labels, mu, sigma, sounds, torch.as_tensor(clip).to(mu.device))

    def _from_codes(
        self, codes: Codes, known: CodedWindows | None, temperature: float, source: Generator | None
    ) -> np.ndarray:
        """Labels [n, steps, ...] of windows; those of equal codes are equal, also to windows that are known."""
        keys, labels = list(map(tuple, codes.z.tolist())), {}
        if known is not None:
            labels |= zip(map(tuple, known.mu.tolist()), known.labels, strict=True)
        fresh = [key for key in dict.fromkeys(keys) if key not in labels]
        if fresh:
            labels |= zip(fresh, self._drawn(codes.z.new_tensor(fresh), None, temperature, source), strict=True)
        silent = np.zeros_like(next(iter(labels.values())))
        sounding = zip(keys, codes.sounds.tolist(), strict=True)
        return np.stack([labels[key] if sounds else silent for key, sounds in sounding])
