"""Pieces with the form of a song: windows come back, exactly or varied, among new ones (see `prior.sequence`).

Axes: n windows, Z size of z.
"""

import os
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from pretty_midi import PrettyMIDI
from torch import Generator, Tensor

from engine.checks import checked_count
from midi_utils import Midi, Windows
from music.clips import Clip, joined, whole_windows
from music.converter import Programs
from music.grid import counted
from music.intake import UNCHANGED, Intake
from music.midi_output import with_own_notes
from prior import Codes, fit_sequence
from studio.clip_tools import ClipTools, own_places, whole_songs


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


class ComposeTools(ClipTools):
    """What `generate.TrainedModel` does to compose whole pieces."""

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
            lines["new"] = joined(self._from_codes(codes, known, temperature, source), held)[:free]
            labels = joined([lines[name] for name in ("start", "new", "end") if name in lines], held)
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
        return joined(self._from_codes(whole, None, temperature, source), self.converter.held_parts)

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
