"""Makes music with a trained model: sample, encode, decode, reconstruct, interpolate (paper, section 5).

The names are those of Magenta's TrainedModel (trained_model.py), with PrettyMIDI in place of NoteSequence. The tools
for clips of any length, which are also a command, are those of Magenta Studio (Roberts et al. 2019, "Magenta Studio:
Augmenting Creativity with Deep Learning in Ableton Live").

Axes: n windows or pieces, Z size of z.
"""

import argparse
import math
import os
import random
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from html import escape
from numbers import Integral
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from pretty_midi import PrettyMIDI
from torch import Generator, Tensor
from torch.distributions import Normal
from tqdm import tqdm

from checkpoint import read_checkpoint, rebuild, save_checkpoint, stored_prior, stored_width
from configs import Config
from console import encodable, errors_in_a_line, say
from engine.checks import (
    check_whole,
    checked_count,
    checked_generator,
    checked_number,
    checked_path,
    checked_seed,
    checked_type,
    described,
    finite_floats,
    plain,
)
from engine.rng import normal
from magenta_checkpoint import is_magenta_checkpoint, load_magenta_model
from magenta_formats.folding import fold_gaussian
from midi_utils import Converter, GrooveConverter, MultitrackConverter, SongDataset, Windows, as_midi, load_midi
from model import MusicVAE, autocast
from music.chords import chords_to_controls, progression
from music.clips import FILLS, Clip, Cutting, checked_bars, cut_clip, fitted, joined, looped, read_clip, track_list
from music.converter import as_array
from music.grid import counted
from music.groove import with_feel
from music.midi_output import (
    SWING_UNITS,
    drum_pitch,
    program_number,
    with_drum_map,
    with_names,
    with_swing,
    with_velocity,
    without_feel,
    write_midi,
)
from music.performance import PADDING
from prior import FITS, DiffusionPrior, Prior
from training.processes import check_device
from training.run_folder import check_folder

GPU_BATCH = 256  # windows that a GPU encodes at a time
CPU_ENCODE_BATCH = 64  # windows that a CPU encodes at a time; its caches hold the states of these between two steps
PRIOR_SCALE = 0.8  # width that z are drawn at from a fitted prior, where none is given: see `evaluation.measure_priors`
PRIOR_WINDOWS = 24_576  # largest number of windows that a prior is fitted to: 384 Gaussians
VARIATION = 0.3  # of a clip that goes on: place between one of its windows (0) and a draw of the prior (1)
GROOVE_PASSES = 2  # of a groove, each fed with the velocities and offsets of the one before
GROOVE_PRESET, DRUMIFY_PRESET = "groovae_2bar_humanize", "groovae_2bar_tap_fixed_velocity"
MIN_SINE = 1e-6  # of the angle between two vectors; below it they count as parallel or opposite

Midi = PrettyMIDI | str | os.PathLike  # a piece of music, or the path of its MIDI file
Music = Midi | Iterable[Midi] | Windows  # see `TrainedModel.encode`
MUSIC = "a PrettyMIDI, the path of a MIDI file, a list of these, or windows of converter.to_arrays"
Controls = Tensor | np.ndarray | Sequence[str]  # see `TrainedModel.sample`
Programs = int | tuple[int, ...] | None  # General MIDI, from 0; see `TrainedModel.sample`


class Corners(NamedTuple):
    """Clips between which points are taken."""

    mu: Tensor  # [clips, n, Z], posterior means of the windows of each
    sounds: np.ndarray  # [n] bool: whether any of them has an onset in the window
    first: Clip  # gives length, tempo, program and chords


class Encoding(NamedTuple):
    """Latent vectors of n windows, [n, Z] each."""

    z: Tensor  # drawn from the posterior
    mu: Tensor
    sigma: Tensor  # standard deviation


def slerp(start: Tensor, end: Tensor, t: float) -> Tensor:
    """Spherical interpolation: the point at t on the arc between two vectors (paper, section 5; Shoemake 1985).

    Parallel vectors, and a vector and zero, are joined by a straight line. Opposite vectors are joined by a half turn
    through a direction that is orthogonal to both, along which the norm changes linearly.

    Args:
        start: [Z].
        end: [Z].
        t: position, from 0 (start) to 1 (end).

    Returns:
        [Z].

    Raises:
        ValueError: start and end are not two vectors of one size, or t is no number.
    """
    for name, vector in (("start", start), ("end", end)):
        if checked_type(name, vector, Tensor, "a tensor [Z]").ndim != 1 or len(vector) != len(start):
            raise ValueError(f"{name} must be a vector of the size of start, got {described(vector)}")
    t = checked_number("t", t)
    a, b = start.double(), end.double()
    norms = a.norm(), b.norm()
    if 0 in norms:
        return torch.lerp(start, end, t)
    u, v = a / norms[0], b / norms[1]
    angle = 2 * torch.atan2((u - v).norm(), (u + v).norm())  # accurate at all angles, unlike arccos
    if angle.sin() > MIN_SINE:
        return ((((1 - t) * angle).sin() * a + (t * angle).sin() * b) / angle.sin()).to(start.dtype)
    if u @ v > 0 or len(u) == 1:
        return torch.lerp(start, end, t)
    aside = torch.zeros_like(u).index_fill(0, u.abs().argmin(), 1)
    aside = aside - (aside @ u) * u
    turned = (t * angle).cos() * u + (t * angle).sin() * aside / aside.norm()
    return (turned * torch.lerp(*norms, t)).to(start.dtype)


def _slerp_windows(start: Tensor, end: Tensor, t: float) -> Tensor:
    """`slerp` of each pair of windows: [n, Z]."""
    return torch.stack([slerp(a, b, t) for a, b in zip(start, end, strict=True)])


class TrainedModel:
    """A trained model with its preset: music in, music out.

    Args:
        model: put into evaluation mode.
        config: the preset; its converter reads and writes the music.
        precision: of the matrix products: 'float32', 'bfloat16' or 'auto', see `model.autocast`.
        prior: distribution that `sample` draws z from, moved to the model's device; N(0, I) when None.
        prior_width: factor on the prior's standard deviation, see `Prior.draw` and `DiffusionPrior.draw`.

    Raises:
        ValueError: the model's length or depths are not those of the config's converter, the device does not run the
            precision, the prior is of another size of z, or the width is below 0.
    """

    def __init__(
        self,
        model: MusicVAE,
        config: Config,
        precision: str = "float32",
        prior: Prior | DiffusionPrior | None = None,
        prior_width: float = PRIOR_SCALE,
    ):
        checked_type("model", model, MusicVAE, "a MusicVAE; TrainedModel.load reads one from a path")
        checked_type("config", config, Config, "a Config, such as CONFIGS[name]")
        depths = [(c.steps, c.input_depth, c.output_depth, c.control_depth) for c in (model.config, config.converter)]
        if depths[0] != depths[1]:
            raise ValueError(
                f"the model reads windows of (steps, input, output and control depth) {depths[0]}, the converter of "
                f"{config.name} makes {depths[1]}: give a config whose converter fits (dataclasses.replace)"
            )
        self.model = model.eval()
        self.config = config
        autocast(self.device, precision)  # raises ValueError too
        self.precision = precision
        self.prior = None if prior is None else self._checked_prior(prior)
        self.prior_width = checked_number("prior_width", prior_width, "a number of at least 0", low=0)
        # a groove model is trained on Roland's drum map, but songs use General MIDI's
        is_groove = isinstance(config.converter, GrooveConverter)
        self.converter = replace(config.converter, kit="general_midi") if is_groove else config.converter

    @classmethod
    def load(
        cls,
        path: str | os.PathLike,
        device: torch.device | str = "cpu",
        precision: str = "float32",
        config_name: str | None = None,
    ) -> "TrainedModel":
        """Loads a model of this project or one of Magenta's.

        Args:
            path: a checkpoint, the folder of a run, or a path that `load_magenta_checkpoint` takes: a TensorFlow
                checkpoint's prefix or files, a folder with one, a published `.tar`, or a magenta.js folder.
            device: where the model is put.
            precision: see the class.
            config_name: the preset of one of Magenta's models, needed where its file fits several; the error that
                asks for it lists them.

        Raises:
            ValueError: the file is missing, truncated, damaged or of another format, holds NaN or infinity, or fits
                several presets; or this machine has no such device.
            KeyError: no preset has the name `config_name`, which a file of Magenta's needs.
        """
        path, device = checked_path("path", path), check_device(device)
        if is_magenta_checkpoint(path):
            model, config = load_magenta_model(path, config_name)
            return cls(model.to(device), config, precision)
        content = read_checkpoint(path)
        model, config = rebuild(content, path)
        if config_name not in (None, config.name):
            raise ValueError(f"{path} is a model of {config.name}, not of {config_name}: omit config_name")
        width = stored_width(content)
        return cls(model.to(device), config, precision, stored_prior(content), PRIOR_SCALE if width is None else width)

    def save(self, path: str | os.PathLike) -> None:
        """Writes a checkpoint that `load` reads: weights in the precision that they have, the preset and the prior."""
        save_checkpoint(path, self.model, self.config, prior=self.prior, prior_width=self.prior_width)

    @property
    def device(self) -> torch.device:
        """The device of the model."""
        return next(self.model.parameters()).device

    def __repr__(self) -> str:
        return f"TrainedModel({', '.join(f'{name}={value}' for name, value in self._summary().items())})"

    def _repr_html_(self) -> str:
        rows = (f"<tr><th>{name}</th><td>{escape(value)}</td></tr>" for name, value in self._summary().items())
        return f"<table><caption>TrainedModel</caption>{''.join(rows)}</table>"

    def _summary(self) -> dict[str, str]:
        """What distinguishes this model, by name."""
        trainable = (p for name, p in self.model.named_parameters() if "bias_hh" not in name)  # those stay zero
        return {
            "preset": self.config.name,
            "parameters": f"{sum(p.numel() for p in trainable):,}",
            "z_size": str(self.model.config.z_size),
            "prior": str(self.prior or "N(0, I)"),
            "device": str(self.device),
            "precision": self.precision,
        }

    def sample(
        self,
        n: int,
        *,
        temperature: float = 1.0,
        length: int | None = None,
        controls: Controls | None = None,
        seed: int | None = None,
        generator: Generator | int | None = None,
        qpm: float = 120.0,
        program: Programs = None,
    ) -> list[PrettyMIDI]:
        """Makes n new pieces from latent vectors of `draw_z`.

        Args:
            n: number of pieces.
            temperature: of the draw at each step; 0 takes the most likely class.
            length: in steps (sixteenth notes; events of a multitrack preset); the preset's length when None.
            controls: for a model with conditioning, one of
                - a list of chord symbols, each of which takes an equal share of the length;
                - chord classes, [length] or [n, length];
                - values, [length, control_depth] or [n, length, control_depth].
            seed: integer that makes the result repeatable; None draws from PyTorch's global generator.
            generator: in place of a seed, a generator on the model's device.
            qpm: tempo in quarter notes per minute.
            program: General MIDI program, from 0, of all tracks or one per track; the converter's own when None.

        Raises:
            ValueError: the temperature is below 0, a size is not a positive whole number, the tempo or a program is
                out of range, the controls do not fit the model or the length or are not finite, or both seed and
                generator are given.
        """
        source = self._random_source(seed, generator)
        z = self.draw_z(n, source)
        return self.decode(
            z, temperature=temperature, length=length, controls=controls, generator=source, qpm=qpm, program=program
        )

    def draw_z(self, n: int, generator: Generator | int | None = None, *, seed: int | None = None) -> Tensor:
        """Draws n latent vectors [n, Z] from the prior, its standard deviation scaled by `prior_width`.

        Without a prior they come from N(0, I), unscaled. `seed` and `generator` are as in `sample`.
        """
        n, source = checked_count("n", n), self._random_source(seed, generator)
        if self.prior:
            return self.prior.draw(n, source, self.prior_width)
        return normal((n, self.model.config.z_size), source, self.device)

    def fit_prior(self, songs: SongDataset, kind: str = "mixture", width: float = PRIOR_SCALE) -> None:
        """Fits a prior to the posteriors of songs; `sample` draws z from it afterwards.

        With many free bits or a small beta, songs occupy only a part of N(0, I), and z from the rest decodes to noise.
        Encoding, decoding and the ELBO do not change. See prior.py.

        Args:
            songs: the training set; at most PRIOR_WINDOWS windows of it are used, evenly spaced.
            kind: 'mixture', of Gaussians; 'gaussian', a single one; or 'diffusion', which trains for minutes.
            width: the `prior_width` from now on.

        Raises:
            ValueError: no windows, windows of another converter, a model that encodes them to NaN or infinity, another
                kind, or a width below 0.
        """
        self.check_songs("songs", songs)
        width = checked_number("width", width, "a number of at least 0", low=0)
        if kind not in tuple(FITS):  # which compares, so that it need not be hashable
            raise ValueError(f"kind must be one of {', '.join(FITS)}, got {described(kind)}")
        _, mu, sigma = self.encode(songs.windows(evenly(len(songs), PRIOR_WINDOWS)))
        self.prior, self.prior_width = FITS[kind](mu, sigma), width

    def folded(self, songs: SongDataset, width: float = PRIOR_SCALE) -> "TrainedModel":
        """A model that makes from N(0, I) what this one makes from a single Gaussian fitted to songs.

        Clients that draw z from N(0, I) alone, as magenta.js does, then play music: give it to `export_magenta_js`. Its
        z are others than this model's. Decoding and posterior means are exact, posterior standard deviations are not:
        see magenta_formats/folding.py.

        Args:
            songs: the training set, as in `fit_prior`.
            width: factor on the standard deviation of the Gaussian, above 0.
        """
        self.check_songs("songs", songs)
        _, mu, sigma = self.encode(songs.windows(evenly(len(songs), PRIOR_WINDOWS)))
        return TrainedModel(fold_gaussian(self.model, mu, sigma, width), self.config, self.precision)

    def check_songs(self, name: str, songs: SongDataset):
        """Raises ValueError unless a set holds windows of this model's converter; `name` is the argument's."""
        checked_type(name, songs, SongDataset, "a SongDataset, as load_songs makes it")
        ours = (self.converter, self.config.converter)
        if songs.converter not in ours:
            raise ValueError(f"{name} must be windows of {ours[0]}, got windows of {songs.converter}")
        if not len(songs):
            raise ValueError(f"{name} must have at least one window, got none")

    def encode(self, music: Music, generator: Generator | int | None = None, *, seed: int | None = None) -> Encoding:
        """Encodes music to latent vectors: one per song, or one per window.

        Args:
            music: one song or a list of songs, each a `PrettyMIDI` or the path of a MIDI file and each exactly one
                window of the preset's length; or windows that `converter.to_arrays` cut from a song.
            generator: source of the draws of z, as is `seed`; see `sample`.

        Raises:
            ValueError: a song holds no window, or several, a file cannot be read, or windows are not the converter's.
        """
        windows = self._as_windows(music)
        if not len(windows.labels):
            raise ValueError("there is no window to encode")
        size = CPU_ENCODE_BATCH if self.device.type == "cpu" else GPU_BATCH
        starts = range(0, len(windows.labels), size)
        posteriors = [self._posterior(take(windows, slice(start, start + size))) for start in starts]
        mu, sigma = (torch.cat([getattr(posterior, name) for posterior in posteriors]) for name in ("loc", "scale"))
        noise = torch.randn(mu.shape, generator=self._random_source(seed, generator), device=self.device)
        return Encoding(mu + sigma * noise, mu, sigma)

    def decode(
        self,
        z: Tensor | np.ndarray,
        *,
        temperature: float = 1.0,
        length: int | None = None,
        controls: Controls | None = None,
        seed: int | None = None,
        generator: Generator | int | None = None,
        qpm: float = 120.0,
        program: Programs = None,
    ) -> list[PrettyMIDI]:
        """Makes a piece of each latent vector z [n, Z], a tensor or an array. All other arguments: see `sample`."""
        source, z = self._random_source(seed, generator), self.model.as_z(z)
        length = None if length is None else checked_count("length", length)
        controls = self._as_controls(controls, len(z), length)
        outputs = self._outputs(z, controls, temperature, source, length)
        return self._write(outputs, controls, qpm, program)

    def reconstruct(
        self,
        music: Music,
        *,
        temperature: float = 0.0,
        length: int | None = None,
        controls: Controls | None = None,
        seed: int | None = None,
        generator: Generator | int | None = None,
        qpm: float = 120.0,
        program: Programs = None,
    ) -> list[PrettyMIDI]:
        """Decodes the posterior mean of each window, free-running, without the original's steps.

        Unlike `decode`, it takes the most likely label of each step unless a temperature is given.

        Args:
            music: as in `encode`.
            controls: as in `sample`; the windows' own when None. The other arguments are as in `sample`, too.
        """
        source, windows = self._random_source(seed, generator), self._as_windows(music)
        if controls is None and self.converter.control_depth:
            controls = self.converter.to_tensors(windows).controls
        z = self.encode(windows).mu
        return self.decode(
            z, temperature=temperature, length=length, controls=controls, generator=source, qpm=qpm, program=program
        )

    def interpolate(
        self,
        start: Midi | Windows,
        end: Midi | Windows,
        num_steps: int,
        *,
        temperature: float = 1.0,
        length: int | None = None,
        controls: Controls | None = None,
        seed: int | None = None,
        generator: Generator | int | None = None,
        qpm: float = 120.0,
        program: Programs = None,
    ) -> list[PrettyMIDI]:
        """Decodes points on the arc between the posterior means of two windows, see `slerp`.

        Args:
            start: one window, as in `encode`.
            end: one window.
            num_steps: number of pieces, with those at both ends. The other arguments are as in `sample`.

        Raises:
            ValueError: num_steps is below 1, or start or end is not exactly one window.
        """
        source, num_steps = self._random_source(seed, generator), checked_count("num_steps", num_steps)
        ends = [self._end(name, music) for name, music in (("start", start), ("end", end))]
        z = torch.stack([slerp(*ends, t) for t in torch.linspace(0, 1, num_steps).tolist()])
        return self.decode(
            z, temperature=temperature, length=length, controls=controls, generator=source, qpm=qpm, program=program
        )

    def _end(self, name: str, music: Midi | Windows) -> Tensor:
        """The posterior mean of one end of an interpolation, [Z] on the CPU: not every device has slerp's float64."""
        try:
            mu = self.encode(music).mu.cpu()
        except ValueError as error:
            raise ValueError(f"{name} of the interpolation: {error}") from error
        if len(mu) != 1:
            raise ValueError(
                f"{name} of the interpolation must be one window, got {len(mu)}: take one of several with "
                "generate.take(windows, slice(k, k + 1))"
            )
        return mu[0]

    # ---- Clips of any length ----

    def clip(
        self,
        music: Midi | Windows | Clip,
        *,
        track: int | None = None,
        start_bar: int = 0,
        bars: int | None = None,
        fill: str = "rest",
        chords: str | None = None,
        rhythm: bool = False,
    ) -> Clip:
        """Cuts a clip of any number of bars from a song, with its rests, for the methods below.

        Args:
            music: a song; or windows, which are joined end to end and take no other argument; or a clip, returned as
                it is.
            track: index of a track, taken whatever its program is; the first that the preset takes when None.
            start_bar: first bar, from 0.
            bars: number of bars; up to the bar in which the last note ends when None.
            fill: what follows where the song or the last window is not full: 'rest', or 'loop', the clip again.
            chords: for a preset that follows chords, text such as "Am7 Dm7 | G7 Cmaj7", repeated as needed.
            rhythm: for `drumify`, take the onsets of a track of any kind.

        Raises:
            ValueError: an argument out of range, no note that the preset takes, or another time signature.
        """
        if isinstance(music, Clip):
            return music
        if isinstance(music, Windows):
            labels = as_array(self._as_windows(music).labels)
            chords = music.controls if self._has_chords else None
            return Clip(labels.reshape(-1, *labels.shape[2:]), None if chords is None else as_array(chords).ravel())
        line = self._groove_converter("drumify", "tap", DRUMIFY_PRESET).rhythm if rhythm else None
        options = {"track": track, "start_bar": start_bar, "bars": bars, "fill": fill}
        cut = read_clip(as_midi(music), self.converter, line, **options)
        return cut._replace(chords=self._chord_line(chords, len(cut.labels)))

    def sample_clips(
        self,
        n: int,
        bars: int,
        *,
        variation: float = VARIATION,
        chords: str | None = None,
        temperature: float = 1.0,
        seed: int | None = None,
        generator: Generator | int | None = None,
        qpm: float = 120.0,
        program: Programs = None,
    ) -> list[PrettyMIDI]:
        """Makes n new pieces of any number of bars; windows after a piece's first one vary it, see `continue_clip`.

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
        pieces = []
        for first in self.draw_z(n, source)[:, None]:  # (1, Z)
            more = max(0, -(-steps // self.converter.steps) - 1)
            z = torch.cat([first, self._next_z(first, more, variation, source)])
            pieces.append(Clip(self._new_line(z, steps, chords, temperature, source), chords, qpm, program))
        return [self._written(piece) for piece in pieces]

    def reconstruct_clip(
        self,
        clip: Midi | Windows | Clip,
        *,
        temperature: float = 0.0,
        seed: int | None = None,
        generator: Generator | int | None = None,
        qpm: float | None = None,
        program: Programs = None,
    ) -> PrettyMIDI:
        """Decodes the posterior mean of each window of a clip and joins them to a piece of the clip's length.

        A window without an onset stays as it is: silent, or with the note that goes on in it.

        Args:
            clip: a song, windows, or what `clip` returns.
            qpm: tempo in quarter notes per minute; the clip's own when None.
            program: as in `sample`; the clip's own when None. The other arguments are as in `sample`, too.
        """
        source, clip = self._random_source(seed, generator), self.clip(clip)
        cutting, windows = self._cut(clip)
        controls = self.converter.to_tensors(windows).controls if self.converter.control_depth else None
        drawn = self._drawn(self.encode(windows).mu, controls, temperature, source)
        return self._written(self._rejoined(clip, cutting, drawn), qpm, program)

    def continue_clip(
        self,
        clip: Midi | Windows | Clip,
        bars: int,
        n: int = 1,
        *,
        variation: float = VARIATION,
        chords: str | None = None,
        temperature: float = 1.0,
        seed: int | None = None,
        generator: Generator | int | None = None,
        qpm: float | None = None,
        program: Programs = None,
    ) -> list[PrettyMIDI]:
        """Makes n pieces that start with a clip and go on in its style.

        New windows vary the clip's windows in turn: each lies on the arc from one of them to a draw of `draw_z`.

        Args:
            clip: as in `reconstruct_clip`; its own bars are kept.
            bars: number of bars after it.
            n: number of pieces.
            variation: the place on the arc, from 0 (the clip's window) to 1 (the draw).
            chords: of the new bars, as in `clip`; those of the clip again when None. The other arguments are as in
                `reconstruct_clip` and `sample`.
        """
        source, clip = self._random_source(seed, generator), self.clip(clip)
        steps, z = self._steps_of(bars), self._last_z(clip)
        if chords is None and clip.chords is not None:
            chords = fitted(clip.chords, steps, "loop", 0)
        else:
            chords = self._chord_line(chords, steps)
        pieces = []
        for _ in range(checked_count("n", n)):
            moved = self._next_z(z, -(-steps // self.converter.steps), variation, source)
            line = self._new_line(moved, steps, chords, temperature, source)
            labels = joined([clip.labels, line], self.converter.held_parts)
            both = None if chords is None else np.concatenate([clip.chords, chords])
            pieces.append(clip._replace(labels=labels, chords=both))
        return [self._written(piece, qpm, program) for piece in pieces]

    def interpolate_clips(
        self,
        clips: Sequence[Midi | Windows | Clip],
        num_steps: int,
        *,
        temperature: float = 1.0,
        seed: int | None = None,
        generator: Generator | int | None = None,
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
        points = [_slerp_windows(*corners.mu[k : k + 2], place - k) for k, place in zip(starts, places, strict=True)]
        return self._between(corners, points, temperature, self._random_source(seed, generator), qpm, program)

    def interpolate_grid(
        self,
        corners: Sequence[Midi | Windows | Clip],
        size: int,
        *,
        temperature: float = 1.0,
        seed: int | None = None,
        generator: Generator | int | None = None,
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
        sides = [(_slerp_windows(a, c, y), _slerp_windows(b, d, y)) for y in shares]
        points = [_slerp_windows(left, right, x) for left, right in sides for x in shares]
        return self._between(found, points, temperature, self._random_source(seed, generator), qpm, program)

    def groove(
        self,
        clip: Midi | Windows | Clip,
        strength: float = 1.0,
        *,
        qpm: float | None = None,
        program: Programs = None,
    ) -> PrettyMIDI:
        """Gives the hits of a drum clip the timing and the dynamics of a drummer.

        Args:
            clip: as in `reconstruct_clip`, of drums.
            strength: 0 keeps the clip's own timing and velocities, 1 takes the model's; between, a mixture.
            qpm, program: as in `reconstruct_clip`.

        Raises:
            ValueError: the preset does not add timing and velocities, or the strength is not from 0 to 1.
        """
        self._groove_converter("groove", "humanize", GROOVE_PRESET)
        strength = checked_number("strength", strength, "a number from 0 to 1", low=0, high=1)
        clip = self.clip(clip)
        cutting, windows = self._cut(clip)
        z, played = self.encode(windows).mu, cutting.labels
        for _ in range(GROOVE_PASSES):
            played = with_feel(cutting.labels, self._logits(z, played))
        mixed = cutting.labels + strength * (played - cutting.labels)
        return self._written(self._rejoined(clip, cutting, mixed), qpm, program)

    def drumify(
        self,
        rhythm: Midi | Windows | Clip,
        *,
        temperature: float = 0.0,
        seed: int | None = None,
        generator: Generator | int | None = None,
        qpm: float | None = None,
        program: Programs = None,
    ) -> PrettyMIDI:
        """Plays drums to a rhythm: the onsets of the first track of a song that has notes.

        Args:
            rhythm: a song, or what `clip` with rhythm=True cuts from one.
            qpm: the song's own when None.
            program: the drum kit; the standard kit (0) when None. The other arguments are as in `sample`.

        Raises:
            ValueError: the preset does not make drums of a tapped rhythm.
        """
        self._groove_converter("drumify", "tap", DRUMIFY_PRESET)
        source = self._random_source(seed, generator)
        clip = self.clip(rhythm, rhythm=True)._replace(program=0)
        cutting, windows = self._cut(clip)
        drawn = self._drawn(self.encode(windows).mu, None, temperature, source)
        return self._written(self._rejoined(clip, cutting, drawn), qpm, program)

    def _steps_of(self, bars: int) -> int:
        """Steps of a number of bars; raises ValueError for a preset whose windows cannot be joined."""
        if self.converter.held_parts is None:
            own = counted(self.converter.bars, "bar")
            raise ValueError(f"windows of {self.config.name} cannot be joined: make pieces of {own}, without chords")
        return checked_bars(checked_count("bars", bars)) * self.converter.steps_per_bar

    def _chord_line(self, text: str | None, steps: int) -> np.ndarray | None:
        """Chord classes [steps] of a progression, which is repeated; None for a preset without chords."""
        if (text is not None) != self._has_chords:
            remedy = "give them as text, such as chords='Am7 | G7'" if self._has_chords else "omit them"
            raise ValueError(
                f"{self.config.name} {'follows' if self._has_chords else 'does not follow'} chords: {remedy}"
            )
        return None if text is None else fitted(progression(text, self.converter.steps_per_bar), steps, "loop", 0)

    def _groove_converter(self, tool: str, field: str, preset: str) -> GrooveConverter:
        """The converter of a model for a tool; raises ValueError for a model of another kind."""
        if not getattr(self.converter, field, False):
            raise ValueError(f"{tool} needs a model of a preset such as {preset}; this one is of {self.config.name}")
        return self.converter

    def _cut(self, clip: Clip) -> tuple[Cutting, Windows]:
        """The windows of a clip, as they were and as the model reads them."""
        steps = self.converter.steps
        cutting = cut_clip(clip.labels, steps, clip.fill, self.converter.held_parts)
        labels, lengths = self.converter.as_cut(cutting.labels), np.full(len(cutting.labels), steps, np.int32)
        return cutting, Windows(labels, lengths, self._chords_by_window(clip.chords, len(labels)))

    def _last_z(self, clip: Clip) -> Tensor:
        """The posterior means [n, Z] of a clip's windows with an onset; the last one ends with the clip."""
        steps = self.converter.steps
        start = len(clip.labels) % steps if len(clip.labels) > steps else 0
        chords = None if clip.chords is None else clip.chords[start:]
        cutting, windows = self._cut(clip._replace(labels=clip.labels[start:], chords=chords, fill="loop"))
        if start and not cutting.sounds.any():  # its last note starts before all of these
            cutting, windows = self._cut(clip._replace(fill="loop"))
        return self.encode(take(windows, np.flatnonzero(cutting.sounds))).mu

    def _next_z(self, z: Tensor, count: int, variation: float, source: Generator | None) -> Tensor:
        """Latent vectors [count, Z] that follow those of a piece, z [n, Z]: see `continue_clip`."""
        variation = checked_number("variation", variation, "a number from 0 to 1", low=0, high=1)
        if not count:
            return z[:0]
        draws, own = self.draw_z(count, source).cpu(), z.cpu()
        return torch.stack([slerp(own[k % len(own)], draws[k], variation) for k in range(count)]).to(z)

    def _new_line(
        self, z: Tensor, steps: int, chords: np.ndarray | None, temperature: float, source: Generator | None
    ) -> np.ndarray:
        """Labels [steps, ...] of windows decoded from z [n, Z]."""
        windows = self._drawn(z, self._chords_by_window(chords, len(z)), temperature, source)
        return joined(windows, self.converter.held_parts)[:steps]

    def _chords_by_window(self, chords: np.ndarray | None, n: int) -> np.ndarray | None:
        """Chord classes [n, steps] of n windows; what lacks at the end is repeated from the start."""
        steps = self.converter.steps
        return None if chords is None else fitted(chords, n * steps, "loop", 0).reshape(n, steps)

    def _drawn(self, z: Tensor, controls: Controls | None, temperature: float, source: Generator | None) -> np.ndarray:
        """Labels [n, steps, ...] of windows decoded from z [n, Z]."""
        z = self.model.as_z(z)
        outputs = self._outputs(z, self._as_controls(controls, len(z), None), temperature, source)
        return as_array(self.converter.from_tensors(outputs))

    def _rejoined(self, clip: Clip, cutting: Cutting, windows: np.ndarray) -> Clip:
        """A clip with other windows, but for those without an onset."""
        kept = np.where(cutting.sounds.reshape(-1, *[1] * (windows.ndim - 1)), windows, cutting.labels)
        labels = joined(kept, self.converter.held_parts, cutting.tied)
        return clip._replace(labels=labels[: len(clip.labels)])

    def _corners(self, clips: Sequence[Midi | Windows | Clip]) -> Corners:
        """The clips of an interpolation, encoded at the length of the longest."""
        if isinstance(clips, Midi | Windows | Clip) or not isinstance(clips, Sequence) or len(clips) < 2:
            raise ValueError(f"clips must be a list of two or more, got {described(clips)}")
        cut = []
        for k, music in enumerate(clips, 1):
            try:
                cut.append(self.clip(music))
            except ValueError as error:
                raise ValueError(f"clip {k} of {len(clips)}: {error}") from error
        steps = max(len(clip.labels) for clip in cut)
        cut = [looped(clip, steps, self.converter.held_parts) for clip in cut]
        cuttings, windows = zip(*map(self._cut, cut), strict=True)
        mu = torch.stack([self.encode(one).mu.cpu() for one in windows])
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
            labels = joined(windows, self.converter.held_parts)[: len(first.labels)]
            pieces.append(self._written(first._replace(labels=labels), qpm, program))
        return pieces

    def _written(self, clip: Clip, qpm: float | None = None, program: Programs = None) -> PrettyMIDI:
        """A clip as a song."""
        qpm, program = clip.qpm if qpm is None else qpm, clip.program if program is None else program
        return self.converter.from_arrays(clip.labels, qpm, program, clip.chords)

    @torch.no_grad()
    def _posterior(self, windows: Windows) -> Normal:
        tensors = self.converter.to_tensors(windows)
        inputs, _, lengths, controls = (None if tensor is None else tensor.to(self.device) for tensor in tensors)
        with autocast(self.device, self.precision):
            return self.model.encode(inputs, lengths, controls)

    def _random_source(self, seed: int | None, generator: Generator | int | None) -> Generator | None:
        """The generator of a call; None for PyTorch's global one."""
        if seed is not None and generator is not None:
            raise ValueError(f"give a seed or a generator, not both: got seed={seed} and generator={generator}")
        given = generator if seed is None else seed
        if seed is None and not isinstance(plain(given), Integral):
            return checked_generator(given)
        return Generator(self.device).manual_seed(checked_seed(given))

    def _checked_prior(self, prior: Prior | DiffusionPrior) -> Prior | DiffusionPrior:
        """A prior on the model's device."""
        if not (isinstance(prior, tuple) and hasattr(prior, "draw")):
            raise ValueError(f"prior must be a NamedTuple of tensors with a method draw, got {described(prior)}")
        z_size = self.model.config.z_size
        if isinstance(prior, Prior | DiffusionPrior) and prior.z_size != z_size:
            raise ValueError(f"prior must be of z_size {z_size}, as the model, got {prior}")
        return prior._make(tensor.to(self.device, torch.float32) for tensor in prior)

    def _outputs(
        self,
        z: Tensor,
        controls: Tensor | None,
        temperature: float,
        source: Generator | None,
        length: int | None = None,
    ) -> Tensor:
        """What the model makes of z [n, Z]: [n, length, output_depth]."""
        with autocast(self.device, self.precision):
            return self.model.sample(
                len(z), z=z, controls=controls, temperature=temperature, steps=length, generator=source
            )

    @torch.no_grad()
    def _logits(self, z: Tensor, labels: np.ndarray) -> np.ndarray:
        """Teacher-forced logits [n, steps, output_depth] of labels that are their own targets, such as grooves."""
        with autocast(self.device, self.precision):
            return as_array(self.model.decode(z, torch.as_tensor(labels, dtype=z.dtype, device=z.device)).float())

    # ---- Music to windows, and back ----

    def _as_windows(self, music: Music) -> Windows:
        windows = music if isinstance(music, Windows) else self._one_window_each(music)
        model = self.model.config
        one_hot = model.output_kind.one_hot
        check_windows(windows, self.converter, model.output_depths if one_hot else (2**model.output_depth,))
        return windows

    def _one_window_each(self, music: Midi | Iterable[Midi]) -> Windows:
        if not isinstance(music, Midi | Iterable) or isinstance(music, Tensor | np.ndarray | bytes | SongDataset):
            raise ValueError(f"music must be {MUSIC}, got {described(music)}")
        songs = [music] if isinstance(music, Midi) else list(music)
        if not songs:
            raise ValueError("there is no music to encode")
        found = [self.converter.to_arrays(as_midi(song)) for song in songs]
        for k, (song, windows) in enumerate(zip(songs, found, strict=True), 1):
            if len(windows.labels) != 1:
                name = f" ({song})" if isinstance(song, str | os.PathLike) else ""
                raise ValueError(
                    f"file {k} of {len(found)}{name} holds {len(windows.labels)} windows of {self.converter.steps} "
                    f"steps, and one is needed{_reasons(windows)}: cut it with windows = "
                    "trained.converter.to_arrays(load_midi(path)), and encode those or one, "
                    "generate.take(windows, slice(k, k + 1))"
                )
        return _concatenate(found)

    def _write(self, outputs: Tensor, controls: Tensor | None, qpm: float, program: Programs) -> list[PrettyMIDI]:
        labels = self.converter.from_tensors(outputs)
        chords = [None] * len(labels)
        if self._has_chords and controls is not None:
            chords = torch.where(controls.any(-1), controls.argmax(-1), -1).cpu()
        return [self.converter.from_arrays(one, qpm, program, own) for one, own in zip(labels, chords, strict=True)]

    # ---- Controls ----

    def _as_controls(self, controls: Controls | None, n: int, length: int | None) -> Tensor | None:
        """Controls as the model reads them, [n, length, control_depth], on its device."""
        if controls is None:
            return None
        if not isinstance(controls, Tensor | np.ndarray):
            controls = self._chord_classes(controls, length or self.converter.steps)
        is_classes = self._has_chords and not _is_floats(controls)
        wanted = "chord symbols or numbers"
        controls = finite_floats("controls", controls, wanted, self.model.encoder.mu.weight)
        controls = self._one_hot_chords(controls) if is_classes else controls
        return controls.expand(n, -1, -1) if controls.ndim == 2 else controls

    def _chord_classes(self, symbols: Sequence[str], length: int) -> np.ndarray:
        """Classes [length] of a list of chord symbols."""
        if not self._has_chords:
            raise ValueError(f"{self.config.name} does not follow chords; its controls have to be numbers")
        is_list = isinstance(symbols, Sequence) and not isinstance(symbols, str)
        if not is_list or not all(isinstance(symbol, str) for symbol in symbols):
            raise ValueError(f'controls must be a list of chord symbols, as ["C", "Am"], or numbers, got {symbols!r}')
        if length == self.converter.steps:
            return self.converter.chord_controls(symbols)
        if isinstance(self.converter, MultitrackConverter):
            raise ValueError(f"chords of several tracks need the preset's own length, {self.converter.steps}")
        return chords_to_controls(symbols, length)

    def _one_hot_chords(self, classes: Tensor) -> Tensor:
        """Chord classes [length] or [n, length] as [..., control_depth]; class -1 is all zero."""
        depth = self.config.model.control_depth
        if classes.ndim not in (1, 2) or not classes.numel() or classes.min() < -1 or classes.max() >= depth:
            raise ValueError(f"chord classes must be from -1 to {depth - 1}, in [length] or [n, length]")
        return (F.one_hot(classes.long().clamp(min=0), depth) * (classes >= 0)[..., None]).to(classes.dtype)

    @property
    def _has_chords(self) -> bool:
        return getattr(self.converter, "chords", False)


def _is_floats(values: Tensor | np.ndarray) -> bool:
    return values.is_floating_point() if isinstance(values, Tensor) else values.dtype.kind == "f"


def _reasons(windows: Windows) -> str:
    """Why a song has no window, in parentheses."""
    return "".join(f" ({skipped.reason})" for skipped in windows.skipped if skipped.what == "song")


def check_windows(windows: Windows, converter: Converter, classes: Sequence[int]):
    """Raises ValueError for windows that a converter does not make.

    Args:
        windows: labels with their lengths and controls.
        converter: the converter.
        classes: number of classes of each part of a label; not used for grooves, whose labels are floats.
    """
    like, labels = converter.no_windows(), as_array(windows.labels)
    if labels.ndim > 1 and labels.shape[1] != converter.steps:
        raise ValueError(f"windows must have {converter.steps} steps, got {labels.shape[1]}")
    shape, segments = (len(labels), *like.labels.shape[1:]), like.lengths.shape[1:]
    if like.labels.dtype.kind != "f":
        least = PADDING if isinstance(converter, MultitrackConverter) else 0
        check_whole("labels of windows", labels, shape, least, [depth - 1 for depth in classes])
    elif labels.shape != shape or labels.dtype.kind not in "iuf" or not np.isfinite(labels).all():
        raise ValueError(f"labels of windows must be {list(shape)} finite numbers, got {described(labels)}")
    check_whole("lengths of windows", windows.lengths, (len(labels), *segments), 0, [shape[1] // math.prod(segments)])
    if like.controls.shape[1] and windows.controls is not None:
        check_whole("controls of windows", windows.controls, shape, PADDING, [converter.control_depth - 1])


def evenly(total: int, count: int) -> np.ndarray:
    """Indices of `count` evenly spaced items out of `total`; all indices if `total` is not larger."""
    total, count = checked_count("total", total, least=0), checked_count("count", count)
    return np.linspace(0, total - 1, min(total, count)).round().astype(int)


def take(windows: Windows, part: slice) -> Windows:
    """A slice of the windows of a song, without their positions in the song."""
    checked_type("windows", windows, Windows, "windows, as converter.to_arrays makes them")
    checked_type("part", part, slice | np.ndarray, "a slice, such as slice(k, k + 1)")
    return Windows(*(None if array is None else array[part] for array in windows[:3]))


def _concatenate(parts: list[Windows]) -> Windows:
    """The windows of several songs in one, without their positions in the songs."""
    arrays = (
        None if arrays[0] is None else np.concatenate(arrays)
        for arrays in zip(*(part[:3] for part in parts), strict=True)
    )
    return Windows(*arrays)


# ---- The command ----

PRETRAINED = Path(__file__).parent / "pretrained"
DEFAULT_MODEL = "mel_2bar_low"
GROOVE_MODELS = {"groove": ("groove_humanize", GROOVE_PRESET), "drumify": ("groove_tap", DRUMIFY_PRESET)}
TEMPERATURE = 0.5  # of the command's new music
SEED_RANGE = 2**16  # seeds that the command draws where none is given


class Piece(NamedTuple):
    """A piece that a tool made."""

    name: str  # of its file, without the ending
    midi: PrettyMIDI
    bars: int


Pieces = Iterator[Piece]


def find_model(name: str) -> Path:
    """The path of a model: a file of pretrained/ by its name, or any path that `TrainedModel.load` takes.

    Raises:
        ValueError: there is none; the message lists the names, or says how a groove model is trained.
    """
    path = PRETRAINED / f"{name}.pt"
    if path.is_file() or Path(name).exists() or is_magenta_checkpoint(Path(name)):
        return path if path.is_file() else Path(name)
    presets = dict(GROOVE_MODELS.values())
    if name in presets:
        raise ValueError(
            f"there is no {path.name} in {PRETRAINED}: train one on drummers' MIDI files with python train.py --config "
            f"{presets[name]} --data FOLDER --out runs/{name}, and give --model runs/{name}"
        )
    names = ", ".join(sorted(one.stem for one in PRETRAINED.glob("*.pt")))
    raise ValueError(f"there is no model {name!r}: give a path, or one of {names}")


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options of the command."""
    parser = argparse.ArgumentParser(
        description="Make music with a trained model. Every tool has its own --help.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="examples:\n" + "\n".join(f"  {example_of(tool)}" for tool in TOOLS),
    )
    tools = parser.add_subparsers(dest="tool", required=True, metavar="TOOL")
    for name, tool in TOOLS.items():
        words = {"help": tool.purpose, "description": tool.purpose, "epilog": f"example: {example_of(name)}"}
        add_arguments(tools.add_parser(name, **words), name)
    return parser.parse_args(arguments)


def example_of(tool: str) -> str:
    """A command line of a tool."""
    return f"python generate.py {tool} {TOOLS[tool].example}"


def add_arguments(parser: argparse.ArgumentParser, tool: str):
    """Adds the options of a tool."""
    if tool != "generate":
        parser.add_argument("clips", nargs="+" if tool == "interpolate" else 1, metavar="CLIP", help="MIDI file")
    default = GROOVE_MODELS.get(tool, (DEFAULT_MODEL,))[0]
    parser.add_argument("--model", default=default, help=f"name in pretrained/, or a path (default: {default})")
    parser.add_argument("--config", help="preset of one of Magenta's models, where its file fits several")
    parser.add_argument("--out", default="generated", help="folder of the files (default: generated)")
    add_tool_arguments(parser, tool)
    if tool != "generate":
        add_clip_arguments(parser)
    parser.add_argument("--chords", help='for a model that follows chords: "Am7 Dm7 | G7 Cmaj7"')
    add_output_arguments(parser)


def add_tool_arguments(parser: argparse.ArgumentParser, tool: str):
    """Adds the options that only some tools have."""
    if tool in ("generate", "continue"):
        parser.add_argument("--count", type=int, default=1, help="number of pieces (default: 1)")
        parser.add_argument("--bars", type=int, help="length of the new music; default: the model's own")
        parser.add_argument("--variation", type=float, default=VARIATION, help=f"0 to 1 (default: {VARIATION})")
    if tool == "interpolate":
        many = parser.add_mutually_exclusive_group(required=True)
        many.add_argument("--steps", type=int, help="number of pieces on the line through the clips")
        many.add_argument("--grid", type=int, help="rows and columns of the grid between four clips")
    if tool == "groove":
        parser.add_argument("--strength", type=float, default=1.0, help="0 (as it was) to 1 (default)")
    else:
        temperature = TEMPERATURE if tool in ("generate", "continue") else 0.0
        what = f"0 takes the most likely label (default: {temperature:g})"
        parser.add_argument("--temperature", type=float, default=temperature, help=what)
        parser.add_argument("--seed", type=int, help="repeats a result; drawn and shown when omitted")


def add_clip_arguments(parser: argparse.ArgumentParser):
    """Adds the options that say which part of a song is the clip."""
    group = parser.add_argument_group("the clip")
    group.add_argument("--track", type=int, help="track, from 0, whatever its program; default: the first that fits")
    group.add_argument("--from-bar", type=int, default=1, help="first bar, from 1 (default)")
    group.add_argument("--clip-bars", type=int, help="number of bars; default: to the last note")
    group.add_argument("--fill", choices=FILLS, default="rest", help="what follows where the clip is too short")


def add_output_arguments(parser: argparse.ArgumentParser):
    """Adds the options of the written files."""
    group = parser.add_argument_group("the files")
    group.add_argument("--tempo", type=float, help="quarters per minute; default: the clip's, or 120")
    names = "General MIDI number, from 0, or name, such as 'electric piano 1'; three for a trio"
    group.add_argument("--program", nargs="+", help=names)
    group.add_argument("--velocity", type=int, help="mean velocity, 1 to 127")
    group.add_argument("--swing", type=float, help="per cent of a pair for its first note, 50 (straight) to 75")
    group.add_argument("--swing-unit", choices=tuple(SWING_UNITS), default="8th", help="what swings (default: 8th)")
    group.add_argument("--on-grid", action="store_true", help="no timing and dynamics of a drummer")
    pairs = "drums of one's own, such as 36=60 'hand clap=62'"
    group.add_argument("--drum-map", nargs="+", default=[], metavar="DRUM=PITCH", help=pairs)


def generate_pieces(trained: TrainedModel, options: argparse.Namespace, clips: list[Clip], playing: dict) -> Pieces:
    """New pieces, one by one."""
    playing = playing | {"qpm": 120.0} if options.tempo is None else playing
    bars = trained.converter.bars if options.bars is None else options.bars
    made = {"variation": options.variation, "chords": options.chords}
    for k in range(1, options.count + 1):
        (midi,) = trained.sample_clips(1, bars, **made, **playing)
        yield Piece(f"{Path(options.model).stem}_{bars}bars_seed{options.seed}_{k}", midi, bars)


def continue_pieces(trained: TrainedModel, options: argparse.Namespace, clips: list[Clip], playing: dict) -> Pieces:
    """A clip with different continuations, one by one."""
    bars = trained.converter.bars if options.bars is None else options.bars
    name = f"{Path(options.clips[0]).stem}_continued_{bars}bars_seed{options.seed}"
    for k in range(1, options.count + 1):
        (midi,) = trained.continue_clip(clips[0], bars, variation=options.variation, **playing)
        yield Piece(f"{name}_{k}", midi, bars_of(trained, clips[0]) + bars)


def interpolate_pieces(trained: TrainedModel, options: argparse.Namespace, clips: list[Clip], playing: dict) -> Pieces:
    """The points of a line or a grid."""
    bars = max(bars_of(trained, clip) for clip in clips)
    name = f"{Path(options.clips[0]).stem}_to_{Path(options.clips[-1]).stem}"
    if options.grid is None:
        for k, midi in enumerate(trained.interpolate_clips(clips, options.steps, **playing), 1):
            yield Piece(f"{name}_{k}of{options.steps}", midi, bars)
    else:
        for k, midi in enumerate(trained.interpolate_grid(clips, options.grid, **playing)):
            yield Piece(f"{name}_row{k // options.grid + 1}_column{k % options.grid + 1}", midi, bars)


def groove_pieces(trained: TrainedModel, options: argparse.Namespace, clips: list[Clip], playing: dict) -> Pieces:
    """A drum clip with timing and dynamics."""
    tempo = {name: playing[name] for name in ("qpm", "program")}
    midi = trained.groove(clips[0], options.strength, **tempo)
    yield Piece(f"{Path(options.clips[0]).stem}_groove", midi, bars_of(trained, clips[0]))


def drumify_pieces(trained: TrainedModel, options: argparse.Namespace, clips: list[Clip], playing: dict) -> Pieces:
    """Drums to a rhythm."""
    midi = trained.drumify(clips[0], **playing)
    yield Piece(f"{Path(options.clips[0]).stem}_drums", midi, bars_of(trained, clips[0]))


def reconstruct_pieces(trained: TrainedModel, options: argparse.Namespace, clips: list[Clip], playing: dict) -> Pieces:
    """A clip, encoded and decoded."""
    midi = trained.reconstruct_clip(clips[0], **playing)
    yield Piece(f"{Path(options.clips[0]).stem}_reconstructed", midi, bars_of(trained, clips[0]))


def clips_of(trained: TrainedModel, options: argparse.Namespace) -> list[Clip]:
    """The clips that the options name; says on standard error which bars and tracks they are."""
    checked_count("from-bar", options.from_bar)
    cutting = {"track": options.track, "start_bar": options.from_bar - 1, "bars": options.clip_bars}
    cutting |= {"fill": options.fill, "chords": options.chords, "rhythm": options.tool == "drumify"}
    clips = []
    for path in options.clips:
        midi = load_midi(path)
        try:
            clip = trained.clip(midi, **cutting)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        last, tracks = options.from_bar + bars_of(trained, clip) - 1, ", ".join(map(str, clip.tracks))
        where = f"bars {options.from_bar} to {last}, track {tracks}, {clip.qpm:.4g} quarters per minute"
        tell(f"{path}: {where}; it has {track_list(midi)}")
        clips.append(clip)
    return clips


def bars_of(trained: TrainedModel, clip: Clip) -> int:
    """The number of bars of a clip."""
    return len(clip.labels) // trained.converter.steps_per_bar


def tell(text: str):
    """Prints a line on standard error."""
    print(encodable(text, sys.stderr), file=sys.stderr, flush=True)


def finished(midi: PrettyMIDI, options: argparse.Namespace) -> PrettyMIDI:
    """A piece as the options of `add_output_arguments` want it."""
    midi = without_feel(with_names(midi)) if options.on_grid else with_names(midi)
    midi = midi if options.velocity is None else with_velocity(midi, options.velocity)
    midi = midi if options.swing is None else with_swing(midi, options.swing, options.swing_unit)
    return with_drum_map(midi, options.drum_map)


def read_drum_map(pairs: list[str]) -> dict[int, int]:
    """Pitches of a drum map given as DRUM=PITCH."""
    for pair in pairs:
        if pair.count("=") != 1:
            raise ValueError(f"--drum-map takes pairs such as 36=60, got {pair!r}")
    return {drum_pitch(old.strip()): drum_pitch(new.strip()) for old, new in (pair.split("=") for pair in pairs)}


def check_options(options: argparse.Namespace):
    """Checks and completes what a model is not needed for, so that an error comes at once."""
    options.path = find_model(options.model)
    check_folder(checked_path("--out", options.out))
    options.drum_map = read_drum_map(options.drum_map)
    programs = tuple(program_number(one) for one in options.program or ())
    options.program = programs if len(programs) > 1 else next(iter(programs), None)
    if options.tool in ("generate", "continue"):
        checked_count("count", options.count)
    if getattr(options, "seed", 0) is None:
        options.seed = random.randrange(SEED_RANGE)
        if options.temperature:
            tell(f"seed {options.seed}")
    finished(PrettyMIDI(), options)  # raises ValueError for options out of range


def count_of(options: argparse.Namespace) -> int:
    """The number of pieces that a tool makes."""
    if options.tool == "interpolate":
        return options.steps if options.grid is None else options.grid**2
    return getattr(options, "count", 1)


def main(arguments: list[str] | None = None):
    """Runs the command: makes pieces with a tool and writes each as soon as it is made."""
    options, written = parse_arguments(arguments), 0
    try:
        with errors_in_a_line(ValueError, KeyError):
            check_options(options)
            trained = TrainedModel.load(options.path, config_name=options.config)
            playing = {"qpm": options.tempo, "program": options.program}
            if options.tool != "groove":
                source = Generator(trained.device).manual_seed(checked_seed(options.seed))
                playing |= {"temperature": options.temperature, "generator": source}
            Path(options.out).mkdir(parents=True, exist_ok=True)
            clips = clips_of(trained, options) if "clips" in options else []
            pieces = TOOLS[options.tool].make(trained, options, clips, playing)
            for piece in tqdm(pieces, total=count_of(options), unit="piece", disable=count_of(options) == 1):
                path = Path(options.out) / f"{piece.name}.mid"
                write_midi(finished(piece.midi, options), path, piece.bars)
                written += 1
                with tqdm.external_write_mode():
                    say(path)
    except KeyboardInterrupt:
        raise SystemExit(f"stopped; {counted(written, 'file')} written to {options.out}") from None


class Tool(NamedTuple):
    """A tool of the command."""

    make: Callable[[TrainedModel, argparse.Namespace, list[Clip], dict], Pieces]
    purpose: str
    example: str  # its arguments


TOOLS = {
    "generate": Tool(generate_pieces, "make new pieces", "--count 4 --bars 8 --temperature 0.5 --seed 1"),
    "continue": Tool(continue_pieces, "let a clip go on in its style", "song.mid --bars 8 --model mel_2bar_low"),
    "interpolate": Tool(
        interpolate_pieces,
        "go from clip to clip, on a line or in a grid of four corners",
        "a.mid b.mid c.mid --steps 9",
    ),
    "groove": Tool(groove_pieces, "give stiff drums timing and dynamics", "beat.mid --strength 0.8"),
    "drumify": Tool(drumify_pieces, "play drums to the rhythm of any track", "bass.mid --track 0"),
    "reconstruct": Tool(
        reconstruct_pieces, "encode a clip of any length and decode it", "song.mid --from-bar 5 --clip-bars 8"
    ),
}


if __name__ == "__main__":
    main()
