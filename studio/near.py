"""Near a song: versions of a clip at a stated distance, and a model that makes pieces near a few songs.

`NearTools.personalize` trains a small VAE on the latent vectors of a few songs (Dinculescu 2019, "MidiMe: Personalizing
a MusicVAE model with user data"). These choices are ours:

- The standard deviation of its decoder is that of the model's posteriors. Its loss and the model's own then add up to a
  bound on the songs' likelihood, without a weight between reconstruction and KL.
- It trains on draws from the posteriors, since a song has few windows.
- The dial does not change the training. It moves each draw towards one of the model's own prior.

Axes: n windows, Z size of z, U size of the small VAE's latent vectors, W its width, M draws of the model's own prior.
"""

import math
from collections.abc import Sequence
from copy import copy
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from pretty_midi import PrettyMIDI
from torch import Generator, Tensor, nn
from tqdm import tqdm

from engine.adam import Adam
from engine.checks import checked_count, checked_generator, checked_number
from engine.rng import integers, normal, seeded
from midi_utils import Midi, Windows
from music.clips import Clip, looped
from music.converter import Programs
from music.grid import counted
from studio.clip_tools import VARIATION, ClipTools, slerp_windows

LEAST_WINDOWS = 8  # different ones, to which a small VAE is trained
SMALL_Z = 8  # U
SMALL_WIDTH = 128  # W
UPDATES = 500
BATCH = 32  # draws from the posteriors per update
LEARNING_RATE = 3e-3  # at the start; it falls to 0 by a cosine
OWN_DRAWS = 4096  # M
DIAL = 0.25  # of the command

checked_amount = partial(checked_number, wanted="a number from 0 (the clip) to 1 (anything)", low=0, high=1)
checked_dial = partial(checked_number, wanted="a number from 0 (these songs) to 1 (anything)", low=0, high=1)


def mixed(start: Tensor, end: Tensor, share: float) -> Tensor:
    """Latent vectors [n, Z] on the arcs from start to end, whose variance comes from the end to a share.

    A mixture (1 - share)^0.5 start + share^0.5 end of vectors at right angles, as draws of z nearly are, lies on the
    arc at the angle whose squared sine is the share.
    """
    return slerp_windows(start.cpu(), end.cpu(), math.asin(math.sqrt(share)) / (math.pi / 2)).to(start)


class PersonalPrior(NamedTuple):
    """A small VAE's decoder, and draws of the prior that it replaces. Weights have their biases in the last column."""

    mean: Tensor  # [Z] of the songs' posterior means
    read: Tensor  # [W, U + 1], weights of the first layer
    inner: Tensor  # [W, W + 1]
    write: Tensor  # [Z, W + 1]
    others: Tensor  # [M, Z]

    def __repr__(self) -> str:
        return f"small VAE of {self.read.shape[1] - 1} dimensions over z of size {len(self.mean)}"

    def draw(self, n: int, generator: Generator | None = None, width: float = 0.0) -> Tensor:
        """Draws n latent vectors, [n, Z].

        Args:
            n: number of vectors.
            generator: random numbers, on the prior's device.
            width: the dial: the share of their variance that comes from `others`, the rest from the small VAE.

        Raises:
            ValueError: n is below 1 or width is not from 0 to 1.
        """
        n, generator = checked_count("n", n), checked_generator(generator)
        width = checked_dial("the dial of a personal model, its prior_width,", width)
        own = self.decoded(normal((n, self.read.shape[1] - 1), generator, self.mean.device))
        others = self.others[integers(0, len(self.others), (n,), generator, self.mean.device)]
        return mixed(own, others, width)

    def decoded(self, u: Tensor) -> Tensor:
        """Latent vectors [n, Z] of the small VAE's, u [n, U]."""
        return self.mean + _mlp(u, self.read, self.inner, self.write)


@torch.enable_grad()
def fit_personal(mu: Tensor, sigma: Tensor, others: Tensor) -> PersonalPrior:
    """Trains a small VAE on draws from posteriors, made anew in each update. A second fit gives the same.

    Args:
        mu, sigma: [n, Z], means and standard deviations of the posteriors of the songs' windows.
        others: [M, Z], draws of the model's own prior.
    """
    source, z_size = seeded(mu.device, "personal prior"), mu.shape[1]
    mean, spread = mu.mean(0), sigma.square().mean(0).sqrt()
    encoder, decoder = (
        nn.ParameterList(_first_weights(*sizes, source)) for sizes in ((z_size, 2 * SMALL_Z), (SMALL_Z, z_size))
    )
    optimizer = Adam(nn.ModuleList([encoder, decoder]))
    for update in tqdm(range(UPDATES), "Training on the songs", leave=False, disable=None):
        rows = integers(0, len(mu), (BATCH,), source, mu.device)
        z = mu[rows] + sigma[rows] * normal((BATCH, z_size), source, mu.device)
        centre, log_sigma = _mlp(z - mean, *encoder).chunk(2, 1)
        u = centre + log_sigma.exp() * normal(centre.shape, source, mu.device)
        decoded = PersonalPrior(mean, *decoder, others).decoded(u)
        reconstruction = ((z - decoded) / spread).square().sum(1) / 2
        kl = (centre.square() + (2 * log_sigma).exp() - 1 - 2 * log_sigma).sum(1) / 2
        optimizer.zero_grad()
        (reconstruction + kl).mean().backward()
        optimizer.step(LEARNING_RATE * (1 + math.cos(math.pi * update / UPDATES)) / 2)
    return PersonalPrior(mean, *(weight.detach() for weight in decoder), others)


def _first_weights(inputs: int, outputs: int, source: Generator) -> list[Tensor]:
    """Initial read, inner and write of an MLP, with biases of 0."""
    sizes = (inputs, SMALL_WIDTH), (SMALL_WIDTH, SMALL_WIDTH), (SMALL_WIDTH, outputs)
    return [F.pad(normal((b, a), source, source.device) / math.sqrt(a), (0, 1)) for a, b in sizes]


def _mlp(x: Tensor, read: Tensor, inner: Tensor, write: Tensor) -> Tensor:
    """Two hidden layers: [n, inputs] to [n, outputs]."""
    for weight in (read, inner):
        x = F.silu(_linear(x, weight))
    return _linear(x, write)


def _linear(x: Tensor, weight: Tensor) -> Tensor:
    return F.linear(x, weight[:, :-1], weight[:, -1])


class NearTools(ClipTools):
    """What `generate.TrainedModel` does near a song."""

    def vary(
        self,
        clip: Midi | Windows | Clip,
        amount: float = VARIATION,
        n: int = 1,
        *,
        temperature: float = 0.0,
        seed: int | None = None,
        generator: Generator | int | None = None,
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
        mu, controls = self.encode(windows).mu, None
        if self.converter.control_depth:
            controls = self.converter.to_tensors(windows).controls
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
        """A model that makes pieces near a few songs, with all methods of this one; it trains for seconds.

        `sample`, `sample_clips`, `continue_clip` and `vary` of the new model draw z near the songs. It shares the
        network with this model, which stays as it is.

        Args:
            songs: one or several, as in `reconstruct_clip`; at least LEAST_WINDOWS different windows, one of which
                starts at every bar.
            dial: from 0 (these songs) to 1 (what this model draws); the `prior_width` of the new model, where it can be
                changed.

        Raises:
            ValueError: a dial that is not from 0 to 1, too few windows, or as in `clip`.
        """
        dial = checked_dial("dial", dial)
        songs = [songs] if isinstance(songs, Midi | Windows | Clip) else songs
        found = self.encode(self._different_windows([self.clip(song) for song in songs]))
        personal = copy(self)
        others = self.draw_z(OWN_DRAWS, seeded(self.device, "others of a personal prior"))
        personal.prior, personal.prior_width = fit_personal(found.mu, found.sigma, others), dial
        return personal

    def _different_windows(self, clips: Sequence[Clip]) -> Windows:
        """The windows with an onset that start at the bars of clips, without repetitions."""
        cut = [self._window_at(clip, start) for clip in clips for start in self._window_starts(clip)]
        found = {windows.labels.tobytes(): windows[:3] for windows in cut if windows is not None}
        if len(found) < LEAST_WINDOWS:
            bars = LEAST_WINDOWS - 1 + self.converter.bars
            raise ValueError(
                f"to personalize takes {LEAST_WINDOWS} different windows of {counted(self.converter.bars, 'bar')} with "
                f"notes, and there are {len(found)}: give {bars} bars or more that differ, or more songs"
            )
        columns = zip(*found.values(), strict=True)
        return Windows(*(None if parts[0] is None else np.concatenate(parts) for parts in columns))

    def _window_starts(self, clip: Clip) -> range:
        """The steps at which the windows of a clip start, one per bar; 0 for a clip that is shorter than a window."""
        return range(0, max(0, len(clip.labels) - self.converter.steps) + 1, self.converter.steps_per_bar)

    def _window_at(self, clip: Clip, start: int) -> Windows | None:
        """The window of a clip that starts at a step, or None if it has no onset."""
        cut = looped(clip, start + self.converter.steps, self.converter.held_parts)
        cutting, windows = self._cut(cut, start)
        return windows if cutting.sounds.all() else None
