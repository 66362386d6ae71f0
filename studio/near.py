"""Near a song: versions of a clip at a stated distance, and a model that makes pieces near a few songs."""

from collections.abc import Sequence
from copy import copy
from functools import partial

import numpy as np
from pretty_midi import PrettyMIDI
from torch import Generator

from engine.checks import checked_count, checked_number
from engine.rng import seeded
from midi_utils import Midi, Windows
from music.clips import Clip, looped
from music.converter import Programs, joined_windows
from music.grid import counted
from prior import checked_dial, fit_personal, mixed
from studio.compose import VARIATION, ComposeTools

MIN_WINDOWS = 8  # different ones, to which a small VAE is trained
OWN_DRAWS = 4096  # of the model's own prior, which the dial moves to
DIAL = 0.25  # of the command

checked_amount = partial(checked_number, wanted="a number from 0 (the clip) to 1 (anything)", low=0, high=1)


class NearTools(ComposeTools):
    """What `generate.TrainedModel` does near a song."""

    def vary(
        self,
        clip: Midi | Windows | Clip,
        amount: float = VARIATION,
        n: int = 1,
        *,
        temperature: float = 0.0,
        seed: int | None = None,
        generator: Generator | None = None,
        qpm: float | None = None,
        program: Programs = None,
    ) -> list[PrettyMIDI]:
        """Makes n versions of a clip, of its length.

        The z of each window lies on the arc from the window's posterior mean to a draw of `draw_z`. Windows that are
        equal take the same draw, so that what comes back in the clip comes back in the version.

        Args:
            clip: as in `reconstruct_clip`; a window without an onset stays as it is.
            amount: the share of z's variance that comes from the draw, from 0 (the reconstruction) to 1 (the draw,
                whatever the clip is); about as much of the distance to an independent sample.
            n: number of versions.
            temperature: 0 takes the most likely labels. The other arguments are as in `reconstruct_clip`.

        Raises:
            ValueError: the amount is not from 0 to 1, or as in `clip`.
        """
        source, n = self._random_source(seed, generator), checked_count("n", n)
        amount = checked_amount("amount", amount)
        clip = self.clip(clip)
        cutting, windows = self._cut(clip)
        mu, controls = self.posterior(windows).loc, self._own_controls(windows)
        different, place = np.unique(cutting.labels, axis=0, return_inverse=True)
        pieces = []
        for _ in range(n):
            z = mu
            if amount:  # at 0 the labels take the numbers that they take in `reconstruct_clip`
                z = mixed(mu, self.draw_z(len(different), source)[place.ravel()], amount)
            drawn = self._drawn(z, controls, temperature, source, cutting.tied)
            pieces.append(self._rejoined(clip, cutting, drawn))
        return [self._written(piece, qpm, program) for piece in pieces]

    def personalize(
        self, songs: Midi | Windows | Clip | Sequence[Midi | Windows | Clip], dial: float = 0.0
    ) -> "NearTools":
        """A model that makes pieces near a few songs; it trains for seconds.

        `sample`, `sample_clips`, `continue_clip` and `vary` of the new model draw z near the songs. It shares the
        network with this model, which stays as it is. It has no sequence prior: `fit_sequence_prior` comes before
        `compose`.

        Args:
            songs: one or several, as in `reconstruct_clip`. A window starts at every bar; at least MIN_WINDOWS of
                them must differ.
            dial: from 0 (these songs) to 1 (what this model draws); the `prior_width` of the new model, where it can be
                changed.

        Raises:
            ValueError: a dial that is not from 0 to 1, too few windows, or as in `clip`.
        """
        dial = checked_dial("dial", dial)
        songs = [songs] if isinstance(songs, Midi | Windows | Clip) else songs
        posterior = self.posterior(self._different_windows([self.clip(song) for song in songs]))
        personal = copy(self)
        others = self.draw_z(OWN_DRAWS, seeded(self.device, "others of a personal prior"))
        personal.prior, personal.prior_width = fit_personal(posterior.loc, posterior.scale, others), dial
        personal.sequence_prior = None  # of other songs
        return personal

    def _different_windows(self, clips: Sequence[Clip]) -> Windows:
        """The windows with an onset that start at the bars of clips, without repetitions."""
        cut = [self._window_at(clip, start) for clip in clips for start in self._window_starts(clip)]
        found = {windows.labels.tobytes(): windows for windows in cut if windows is not None}
        if len(found) < MIN_WINDOWS:
            bars = MIN_WINDOWS - 1 + self.converter.bars
            raise ValueError(
                f"to personalize takes {MIN_WINDOWS} different windows of {counted(self.converter.bars, 'bar')} with "
                f"notes, and there are {len(found)}: give {bars} bars or more that differ, or more songs"
            )
        return joined_windows(list(found.values()))

    def _window_starts(self, clip: Clip) -> range:
        """The steps at which the windows of a clip start, one per bar; 0 for a clip that is shorter than a window."""
        return range(0, max(0, len(clip.labels) - self.converter.steps) + 1, self.converter.steps_per_bar)

    def _window_at(self, clip: Clip, start: int) -> Windows | None:
        """The window of a clip that starts at a step, or None if it has no onset."""
        cut = looped(clip, start + self.converter.steps, self.converter.held_parts)
        cutting, windows = self._cut(cut, start)
        return windows if cutting.sounds.all() else None
