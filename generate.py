"""Music in, music out, with a trained model: sample, encode, decode, reconstruct, interpolate (paper, section 5).

The names are those of Magenta's TrainedModel (trained_model.py), with PrettyMIDI in place of NoteSequence.
"""

from collections.abc import Sequence
from dataclasses import replace
from numbers import Integral
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from pretty_midi import PrettyMIDI
from torch import Generator, Tensor
from torch.distributions import Normal

from checkpoint import read_checkpoint, rebuild, stored_prior
from configs import Config
from engine.rng import normal
from midi_utils import GrooveConverter, MultitrackConverter, SongDataset, Windows
from model import MusicVAE, autocast
from music.chords import chords_to_controls
from prior import Prior, fit_prior

BATCH = 256  # windows at a time, where they are encoded on a GPU or measured
CACHED = 64  # encoded at a time on a processor: its caches hold what these need between two steps
WIDTH = 0.8  # of a fitted prior's Gaussians in `sample`, see `evaluation.measure_priors`
PRIOR_WINDOWS = 24_576  # that a prior is fitted to, at most: 384 Gaussians
PARALLEL = 1e-6  # a sine of the angle below this: two vectors have no plane of their own


Controls = Tensor | np.ndarray | Sequence[str]  # see `TrainedModel.sample`


class Encoding(NamedTuple):
    """Latent vectors of n windows, [n, Z] each."""

    z: Tensor  # drawn from the posterior
    mu: Tensor
    sigma: Tensor  # standard deviation


def slerp(start: Tensor, end: Tensor, t: float) -> Tensor:
    """The point at t in 0..1 on the arc from one vector to another (paper, section 5; Shoemake 1985): [Z].

    Where the vectors are parallel (or one is zero) the arc is a straight line; where they are opposite, the half turn
    goes through a direction that is orthogonal to both, and the norm changes evenly.
    """
    a, b = start.double(), end.double()
    norms = a.norm(), b.norm()
    if 0 in norms:
        return torch.lerp(start, end, t)
    u, v = a / norms[0], b / norms[1]
    angle = 2 * torch.atan2((u - v).norm(), (u + v).norm())  # exact for small and for large angles, where arccos is not
    if angle.sin() > PARALLEL:
        return ((((1 - t) * angle).sin() * a + (t * angle).sin() * b) / angle.sin()).to(start.dtype)
    if u @ v > 0 or len(u) == 1:
        return torch.lerp(start, end, t)
    aside = torch.zeros_like(u).index_fill(0, u.abs().argmin(), 1)
    aside = aside - (aside @ u) * u
    turned = (t * angle).cos() * u + (t * angle).sin() * aside / aside.norm()
    return (turned * torch.lerp(*norms, t)).to(start.dtype)


class TrainedModel:
    """A model with the preset that says how its music is read and written."""

    def __init__(self, model: MusicVAE, config: Config, precision: str = "float32"):
        """Args: precision: of the matrix products, 'float32', 'bfloat16' or 'auto', see `model.autocast`."""
        depths = [(c.steps, c.input_depth, c.output_depth, c.control_depth) for c in (model.config, config.converter)]
        if depths[0] != depths[1]:
            raise ValueError(
                f"the model reads windows of (steps, input, output and control depth) {depths[0]}, the converter of "
                f"{config.name} makes {depths[1]}: give a config whose converter fits (dataclasses.replace)"
            )
        self.model = model.eval()
        self.prior: Prior | None = None  # of z in `sample`; the standard normal when None
        self.config = config
        self.precision = precision
        drums = isinstance(config.converter, GrooveConverter)  # trained on other drum kits than files have (data.py)
        self.converter = replace(config.converter, kit="general_midi") if drums else config.converter

    @classmethod
    def load(cls, path: str | Path, device: torch.device | str = "cpu", precision: str = "float32") -> "TrainedModel":
        """The model of a checkpoint, or of the run in a folder.

        Raises:
            ValueError: no such file, or one that is truncated or no checkpoint of ours; Magenta's are read by
                `magenta_checkpoint.load_magenta_checkpoint`.
        """
        content = read_checkpoint(path)
        model, config = rebuild(content, path)
        trained = cls(model.to(device), config, precision)
        if prior := stored_prior(content):
            trained.prior = Prior(*(tensor.to(device, torch.float32) for tensor in prior))
        return trained

    @property
    def device(self) -> torch.device:
        """Where the model lies."""
        return next(self.model.parameters()).device

    def sample(
        self,
        n: int,
        *,
        temperature: float = 1.0,
        length: int | None = None,
        controls: Controls | None = None,
        generator: Generator | int | None = None,
        qpm: float = 120.0,
        program: int | tuple[int, ...] | None = None,
    ) -> list[PrettyMIDI]:
        """n new pieces, from latent vectors that `draw_z` gives.

        Args:
            n: how many.
            temperature: of each step's draw; 0 takes what is most likely.
            length: steps (sixteenths); the preset's when None.
            controls: for a model that has any: chord symbols that take equal shares of the length, classes [length] or
                [n, length], or values [n, length, control_depth].
            generator: source of every draw, on the model's device, or a seed; the same one gives the same music.
            qpm: tempo, quarter notes a minute.
            program: General MIDI instrument, from 0, or one a track; the converter's own when None.

        Raises:
            ValueError: a temperature below 0, a size that is not positive, or controls of another model or length.
        """
        generator = self._generator(generator)
        return self._play(self.draw_z(n, generator), temperature, length, controls, generator, qpm, program)

    def draw_z(self, n: int, generator: Generator | int | None = None) -> Tensor:
        """n latent vectors [n, Z] of the standard normal or, at WIDTH of their deviation, of what `fit_prior` found."""
        if n < 1:
            raise ValueError(f"at least one piece has to be asked for, got n={n}")
        generator = self._generator(generator)
        if self.prior:
            return self.prior.draw(n, generator, WIDTH)
        return normal((n, self.model.config.z_size), generator, self.device)

    def fit_prior(self, songs: SongDataset) -> None:
        """Has `sample` draw z from where these songs' posteriors lie: a Gaussian for every 64 windows, see prior.py.

        With many free bits or a small beta a model's songs fill a part of the standard normal alone, and what lies
        between them decodes to noise. Encoding, decoding and the bound stay as they are.

        Args:
            songs: what the model was trained on; of more than PRIOR_WINDOWS windows so many are taken, evenly spaced.
        """
        _, mu, sigma = self.encode(songs.windows(evenly(len(songs), PRIOR_WINDOWS)))
        self.prior = fit_prior(mu, sigma)

    def encode(
        self, music: PrettyMIDI | list[PrettyMIDI] | Windows, generator: Generator | int | None = None
    ) -> Encoding:
        """Latent vectors of music: of each file's one window, or of every window given.

        Args:
            music: files that hold exactly one window of the preset's length each, or windows that `to_arrays` cut.
            generator: source of the draws of z, or a seed.

        Raises:
            ValueError: a file that holds no window, or several.
        """
        windows = self._as_windows(music)
        if not len(windows.labels):
            raise ValueError("there is no window to encode")
        size = CACHED if self.device.type == "cpu" else BATCH
        starts = range(0, len(windows.labels), size)
        posteriors = [self._posterior(take(windows, slice(start, start + size))) for start in starts]
        mu, sigma = (torch.cat([getattr(posterior, name) for posterior in posteriors]) for name in ("loc", "scale"))
        noise = torch.randn(mu.shape, generator=self._generator(generator), device=self.device)
        return Encoding(mu + sigma * noise, mu, sigma)

    def decode(
        self,
        z: Tensor,
        *,
        temperature: float = 1.0,
        length: int | None = None,
        controls: Controls | None = None,
        generator: Generator | int | None = None,
        qpm: float = 120.0,
        program: int | tuple[int, ...] | None = None,
    ) -> list[PrettyMIDI]:
        """A piece for each latent vector, z [n, Z]; the other arguments as in `sample`."""
        return self._play(z.to(self.device), temperature, length, controls, generator, qpm, program)

    def reconstruct(
        self, music: PrettyMIDI | list[PrettyMIDI] | Windows, *, temperature: float = 0.0, **how
    ) -> list[PrettyMIDI]:
        """Each window's posterior mean decoded, step by step without a look at the original; `how` as in `decode`.

        The windows' own controls are taken where none are given.
        """
        windows = self._as_windows(music)
        if self.converter.control_depth:
            how = {"controls": self.converter.to_tensors(windows).controls} | how
        return self.decode(self.encode(windows).mu, temperature=temperature, **how)

    def interpolate(
        self, start: PrettyMIDI | Windows, end: PrettyMIDI | Windows, num_steps: int, *, temperature: float = 1.0, **how
    ) -> list[PrettyMIDI]:
        """Pieces on the arc between the posterior means of two windows, both ends included; `how` as in `decode`.

        Raises:
            ValueError: fewer than one step, or music that does not hold exactly one window.
        """
        if num_steps < 1:
            raise ValueError(f"an interpolation needs at least one point, got num_steps={num_steps}")
        ends = [self.encode(music).mu.cpu() for music in (start, end)]  # slerp's float64 is not on every device
        if any(len(mu) != 1 for mu in ends):
            raise ValueError(f"an interpolation goes from one window to one, got {len(ends[0])} and {len(ends[1])}")
        z = torch.stack([slerp(ends[0][0], ends[1][0], t) for t in torch.linspace(0, 1, num_steps).tolist()])
        return self.decode(z, temperature=temperature, **how)

    @torch.no_grad()
    def _posterior(self, windows: Windows) -> Normal:
        tensors = self.converter.to_tensors(windows)
        inputs, _, lengths, controls = (None if tensor is None else tensor.to(self.device) for tensor in tensors)
        with autocast(self.device, self.precision):
            return self.model.encode(inputs, lengths, controls)

    def _as_windows(self, music: PrettyMIDI | list[PrettyMIDI] | Windows) -> Windows:
        windows = music if isinstance(music, Windows) else self._one_window_each(music)
        if windows.labels.shape[1] != self.converter.steps:
            raise ValueError(f"windows must have {self.converter.steps} steps, got {windows.labels.shape[1]}")
        return windows

    def _one_window_each(self, music: PrettyMIDI | list[PrettyMIDI]) -> Windows:
        files = music if isinstance(music, list | tuple) else [music]
        found = [self.converter.to_arrays(midi) for midi in files]
        if not found:
            raise ValueError("there is no music to encode")
        for k, windows in enumerate(found):
            if len(windows.labels) != 1:
                raise ValueError(
                    f"file {k + 1} of {len(found)} holds {len(windows.labels)} windows of "
                    f"{self.converter.steps} steps, and one is needed{_reasons(windows)}: cut it with "
                    "windows = trained.converter.to_arrays(midi) and encode those"
                )
        return _concatenate(found)

    def _generator(self, generator: Generator | int | None) -> Generator | None:
        return Generator(self.device).manual_seed(int(generator)) if isinstance(generator, Integral) else generator

    def _controls(self, controls: Controls | None, n: int, length: int | None) -> Tensor | None:
        """Controls as the model reads them, [n, length, control_depth], on its device."""
        if controls is None:
            return None
        if not isinstance(controls, Tensor | np.ndarray):
            controls = self._chord_classes(controls, length or self.converter.steps)
        if isinstance(controls, np.ndarray) and controls.dtype.kind not in "biuf":
            raise ValueError(f"controls must be chord symbols or numbers, got an array of {controls.dtype}")
        controls = torch.as_tensor(controls, device=self.device)
        depth = self.config.model.control_depth
        if self._has_chords and not controls.is_floating_point():
            if controls.ndim > 2 or controls.min() < -1 or controls.max() >= depth:
                raise ValueError(f"chord classes lie from -1 to {depth - 1}, in [length] or [n, length]")
            controls = F.one_hot(controls.long().clamp(min=0), depth) * (controls >= 0)[..., None]
        controls = controls.to(self.model.encoder.mu.weight.dtype)
        return controls.expand(n, -1, -1) if controls.ndim == 2 else controls

    def _chord_classes(self, symbols: Sequence[str], length: int) -> np.ndarray:
        """Chord symbols, a list of them, as classes [length]."""
        if not self._has_chords:
            raise ValueError(f"{self.config.name} does not follow chords; its controls have to be numbers")
        if isinstance(symbols, str) or not all(isinstance(symbol, str) for symbol in symbols):
            raise ValueError(f'controls must be a list of chord symbols, as ["C", "Am"], or numbers, got {symbols!r}')
        if length == self.converter.steps:
            return self.converter.chord_controls(symbols)
        if isinstance(self.converter, MultitrackConverter):
            raise ValueError(f"chords of several tracks need the preset's own length, {self.converter.steps}")
        return chords_to_controls(symbols, length)

    @property
    def _has_chords(self) -> bool:
        return getattr(self.converter, "chords", False)

    def _play(self, z, temperature, length, controls, generator, qpm, program) -> list[PrettyMIDI]:
        """A piece of each latent vector z [n, Z]; the other arguments of `sample`."""
        controls = self._controls(controls, len(z), length)
        how = {"temperature": temperature, "steps": length, "generator": self._generator(generator)}
        with autocast(self.device, self.precision):
            outputs = self.model.sample(len(z), z=z, controls=controls, **how)
        return self._write(outputs, controls, qpm, program)

    def _write(self, outputs: Tensor, controls: Tensor | None, qpm: float, program) -> list[PrettyMIDI]:
        labels = self.converter.from_tensors(outputs)
        chords = [None] * len(labels)
        if self._has_chords and controls is not None:
            chords = torch.where(controls.any(-1), controls.argmax(-1), -1).cpu()
        return [self.converter.from_arrays(one, qpm, program, own) for one, own in zip(labels, chords, strict=True)]


def _reasons(windows: Windows) -> str:
    """What a song without windows lacks."""
    return "".join(f" ({skipped.reason})" for skipped in windows.skipped if skipped.what == "song")


def evenly(total: int, count: int) -> np.ndarray:
    """Indices of so many of a number of windows, evenly spaced; of all where they are no more."""
    return np.linspace(0, total - 1, min(total, count)).round().astype(int)


def take(windows: Windows, part: slice) -> Windows:
    """Some windows of a song, without where they lie in it."""
    return Windows(*(None if array is None else array[part] for array in windows[:3]))


def _concatenate(parts: list[Windows]) -> Windows:
    """The windows of several songs as one."""
    arrays = (
        None if arrays[0] is None else np.concatenate(arrays)
        for arrays in zip(*(part[:3] for part in parts), strict=True)
    )
    return Windows(*arrays)
