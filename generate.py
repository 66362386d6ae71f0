"""Makes music with a trained model: sample, encode, decode, reconstruct, interpolate (paper, section 5).

The names are those of Magenta's TrainedModel (trained_model.py), with PrettyMIDI in place of NoteSequence. The command
is in studio/command.py.

Axes: n windows or pieces, Z size of z.
"""

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from html import escape
from typing import NamedTuple

import numpy as np
import torch
from pretty_midi import PrettyMIDI
from torch import Generator, Tensor
from torch.distributions import Normal

from checkpoint import Prior, read_checkpoint, rebuild, save_checkpoint
from configs import Config, with_converter, with_model
from engine.checks import (
    check_whole,
    checked_count,
    checked_generator,
    checked_non_negative,
    checked_path,
    checked_seed,
    checked_type,
    described,
    finite_floats,
)
from engine.classes import one_hot_frames
from engine.precision import autocast, chosen_precision
from engine.rng import normal
from engine.slerp import slerp
from loss import kl_divergence
from magenta_checkpoint import is_magenta_checkpoint, load_magenta_model
from magenta_formats.folding import fold_gaussian
from midi_utils import (
    Converter,
    GrooveConverter,
    Midi,
    SongDataset,
    Windows,
    as_midi,
    evenly,
)
from model import MusicVAE, parameter_count
from music.chords import chords_to_controls
from music.clips import Clip
from music.converter import Programs, as_array, joined_windows, take
from music.performance import PADDING
from prior import FITS, SequencePrior
from studio import command
from studio.directions import DirectionTools
from studio.near import NearTools
from training.processes import check_device

GPU_BATCH = 256  # windows that a GPU encodes at a time
CPU_ENCODE_BATCH = 64  # windows that a CPU encodes at a time; its caches hold the states of these between two steps
QPM = 120.0  # of new music where no tempo is given, in quarter notes per minute
PRIOR_WIDTH = 0.8  # factor on the standard deviation of a fitted prior, where none is given: see paper/prior_choice.py
PRIOR_WINDOWS = 24_576  # largest number of windows that a prior is fitted to: 384 Gaussians

Music = Midi | Iterable[Midi] | Windows  # see `TrainedModel.encode`
MUSIC = "a PrettyMIDI, the path of a MIDI file, a list of these, or windows of converter.to_arrays"
CLIP_METHODS = "clip_posterior, reconstruct_clip or interpolate_clips"
Controls = Tensor | np.ndarray | Sequence[str]  # see `TrainedModel.sample`


class Encoding(NamedTuple):
    """Latent vectors of n windows, [n, Z] each."""

    z: Tensor  # drawn from the posterior
    mu: Tensor
    sigma: Tensor  # standard deviation

    @property
    def kl(self) -> Tensor:
        """What the z of each window costs, the KL of its posterior from N(0, I): nats, [n]."""
        return kl_divergence(Normal(self.mu, self.sigma))


class TrainedModel(NearTools, DirectionTools):
    """A trained model with its preset: music in, music out.

    Its other methods are in studio/, where each file extends the one before: clip_tools.py (`clip`, `reconstruct_clip`,
    `interpolate_clips`, `groove` and others), compose.py (new music: `sample_clips`, `continue_clip`, `compose`), and
    near.py (`vary`, `personalize`). Those for attributes are in directions.py.

    Args:
        model: put into evaluation mode.
        config: the preset, in which the model's sizes replace its own; its converter reads and writes the music.
        precision: of the matrix products: 'float32', 'bfloat16' or 'auto', see `engine.precision.autocast`.
        prior: distribution that `sample` draws z from, moved to the model's device; N(0, I) when None.
        prior_width: the `width` of the prior's method `draw`, for most kinds a factor on its standard deviation; the
            prior's own `default_width`, or PRIOR_WIDTH, when None.
        sequence_prior: what `compose` draws from, moved to the model's device.

    Raises:
        ValueError: the model's length or depths are not those of the config's converter, the device does not run the
            precision, the prior is of another size of z or holds NaN or infinity, or the width is below 0.
    """

    def __init__(
        self,
        model: MusicVAE,
        config: Config,
        precision: str = "float32",
        prior: Prior | None = None,
        prior_width: float | None = None,
        sequence_prior: SequencePrior | None = None,
    ):
        checked_type("model", model, MusicVAE, "a MusicVAE; TrainedModel.load reads one from a path")
        checked_type("config", config, Config, "a Config, such as CONFIGS[name]")
        self.config = with_model(config, model.config)
        self.model = model.eval()
        chosen_precision(self.device, precision)  # raises ValueError for one that does not run here
        self.precision = precision
        self.prior = None if prior is None else self._checked_prior(prior)
        width = getattr(prior, "default_width", PRIOR_WIDTH) if prior_width is None else prior_width
        self.prior_width = checked_non_negative("prior_width", width)
        checked_type("sequence_prior", sequence_prior, SequencePrior | None, "a prior.SequencePrior or None")
        self.sequence_prior = None if sequence_prior is None else self._checked_prior(sequence_prior)
        # reads and writes songs, while config.converter cuts windows to train on; the two differ for grooves alone:
        # these are trained on Roland's drum map, but songs use General MIDI's
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
        model, config, priors = rebuild(read_checkpoint(path), path)
        if config_name not in (None, config.name):
            raise ValueError(f"{path} is a model of {config.name}, not of {config_name}: omit config_name (--config)")
        return cls(model.to(device), config, precision, **priors)

    def save(self, path: str | os.PathLike, run: dict | None = None) -> None:
        """Writes a checkpoint that `load` reads: weights in the precision that they have, the preset and the priors.

        Args:
            path: the file.
            run: what the file records about the training, as `read_checkpoint(path)["run"]` returns it.
        """
        priors = {"prior": self.prior, "prior_width": self.prior_width, "sequence_prior": self.sequence_prior}
        save_checkpoint(path, self.model, self.config, run, **priors)

    def with_converter(self, **changes) -> "TrainedModel":
        """The same model and priors, with a converter whose fields are changed: programs=(0, 1) reads other tracks.

        Raises:
            ValueError: the converter has no such field, a value is wrong, or the model reads windows of other sizes.
        """
        config = with_converter(self.config, **changes)
        return TrainedModel(
            self.model, config, self.precision, self.prior, self.prior_width, sequence_prior=self.sequence_prior
        )

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
        return {
            "preset": self.config.name,
            "parameters": f"{parameter_count(self.model):,}",
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
        generator: Generator | None = None,
        qpm: float | None = None,
        program: Programs = None,
    ) -> list[PrettyMIDI]:
        """Makes n new pieces from latent vectors of `draw_z`.

        Args:
            n: number of pieces.
            temperature: of the draw at each step; 0 takes the most likely class.
            length: in steps (sixteenth notes; events of a multitrack preset); the preset's length when None. With dense
                upper layers at most that.
            controls: for a model with conditioning, one of
                - a list of chord symbols, each of which takes an equal share of the length;
                - chord classes, [length] or [n, length];
                - values, [length, control_depth] or [n, length, control_depth].
            seed: integer that makes the result repeatable; None draws from PyTorch's global generator.
            generator: in place of a seed, a generator on the model's device.
            qpm: tempo in quarter notes per minute; QPM when None.
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

    def draw_z(self, n: int, generator: Generator | None = None, *, seed: int | None = None) -> Tensor:
        """Draws n latent vectors [n, Z] from the prior, its standard deviation scaled by `prior_width`.

        Without a prior they come from N(0, I), unscaled. `seed` and `generator` are as in `sample`.
        """
        n, source = checked_count("n", n), self._random_source(seed, generator)
        if self.prior:
            return self.prior.draw(n, source, self.prior_width)
        return normal((n, self.model.config.z_size), source, self.device)

    def fit_prior(self, songs: SongDataset, kind: str = "mixture", width: float = PRIOR_WIDTH) -> None:
        """Fits a prior to the posteriors of songs; `sample` draws z from it afterwards.

        With many free bits or a small beta, songs occupy only a part of N(0, I), and z from the rest decodes to noise.
        Encoding, decoding and the ELBO do not change. See `prior`.

        Args:
            songs: the training set; at most PRIOR_WINDOWS windows of it are used, evenly spaced.
            kind: 'mixture', of Gaussians; 'gaussian', a single one; or 'diffusion', which trains for minutes.
            width: the `prior_width` from now on.

        Raises:
            ValueError: no windows, windows of another converter, a model that encodes them to NaN or infinity, an
                unknown kind, or a width below 0.
        """
        self.check_songs("songs", songs)
        width = checked_non_negative("width", width)
        if kind not in tuple(FITS):  # a tuple compares by ==, so that a kind that cannot be hashed is refused alike
            raise ValueError(f"kind must be one of {', '.join(FITS)}, got {described(kind)}")
        posterior = self.posterior(songs.windows(evenly(len(songs), PRIOR_WINDOWS)))
        self.prior, self.prior_width = FITS[kind](posterior.loc, posterior.scale), width

    def folded(self, songs: SongDataset, width: float = PRIOR_WIDTH) -> "TrainedModel":
        """A model whose samples from N(0, I) are those of this one from a Gaussian fitted to songs.

        Clients that draw z from N(0, I) alone, as magenta.js does, then play music: give it to `export_magenta_js`. The
        latent vectors of the two models are not interchangeable. Decoding and posterior means are exact, posterior
        standard deviations are not: see magenta_formats/folding.py.

        Args:
            songs: the training set, as in `fit_prior`.
            width: factor on the standard deviation of the Gaussian, above 0.
        """
        self.check_songs("songs", songs)
        posterior = self.posterior(songs.windows(evenly(len(songs), PRIOR_WINDOWS)))
        model = fold_gaussian(self.model, posterior.loc, posterior.scale, width)
        return TrainedModel(model, self.config, self.precision)

    def check_songs(self, name: str, songs: SongDataset):
        """Raises ValueError unless a set holds windows of this model's converter; `name` is the argument's."""
        checked_type(name, songs, SongDataset, "a SongDataset, as load_songs makes it")
        ours = (self.converter, self.config.converter)
        if songs.converter not in ours:
            raise ValueError(f"{name} must be windows of {ours[0]}, got windows of {songs.converter}")
        if not len(songs):
            raise ValueError(f"{name} must have at least one window, got none")

    def encode(self, music: Music, generator: Generator | None = None, *, seed: int | None = None) -> Encoding:
        """Encodes music to latent vectors: one per song, or one per window.

        Args:
            music: one song or a list of songs, each a `PrettyMIDI` or the path of a MIDI file and each exactly one
                window of the preset's length; or windows that `converter.to_arrays` cut from a song.
            generator: source of the draws of z, as is `seed`; see `sample`.

        Raises:
            ValueError: a song holds no window, or several, a file cannot be read, or windows are not the converter's.
        """
        posterior = self.posterior(music)
        noise = torch.randn(posterior.loc.shape, generator=self._random_source(seed, generator), device=self.device)
        return Encoding(posterior.loc + posterior.scale * noise, posterior.loc, posterior.scale)

    def posterior(self, music: Music) -> Normal:
        """The posterior q(z|x) of each song or window, [n, Z], as in `encode`, which also draws z from it."""
        windows = self._as_windows(music)
        if not len(windows.labels):
            raise ValueError("there is no window to encode")
        size = CPU_ENCODE_BATCH if self.device.type == "cpu" else GPU_BATCH
        starts = range(0, len(windows.labels), size)
        batches = [self._posterior_of_batch(take(windows, slice(start, start + size))) for start in starts]
        return Normal(*(torch.cat([getattr(batch, name) for batch in batches]) for name in ("loc", "scale")))

    def decode(
        self,
        z: Tensor | np.ndarray,
        *,
        temperature: float = 1.0,
        length: int | None = None,
        controls: Controls | None = None,
        seed: int | None = None,
        generator: Generator | None = None,
        qpm: float | None = None,
        program: Programs = None,
    ) -> list[PrettyMIDI]:
        """Makes a piece of each latent vector z [n, Z], a tensor or an array. All other arguments: see `sample`."""
        source, z = self._random_source(seed, generator), self.model.as_z(z)
        length = None if length is None else checked_count("length", length)
        controls = self._as_controls(controls, len(z), length)
        labels = self.decode_labels(z, temperature=temperature, length=length, controls=controls, generator=source)
        return self._write(labels, controls, qpm, program)

    def decode_labels(
        self,
        z: Tensor | np.ndarray,
        *,
        temperature: float = 1.0,
        length: int | None = None,
        controls: Controls | None = None,
        seed: int | None = None,
        generator: Generator | None = None,
    ) -> np.ndarray:
        """Decodes latent vectors z [n, Z] to labels, as `converter.to_arrays` has them.

        All other arguments are as in `sample`.

        Returns:
            [n, length], or [n, length, parts] for labels of several parts.
        """
        source, z = self._random_source(seed, generator), self.model.as_z(z)
        length = None if length is None else checked_count("length", length)
        drawing = {"temperature": temperature, "steps": length, "generator": source}
        with autocast(self.device, self.precision):
            outputs = self.model.sample(len(z), z=z, controls=self._as_controls(controls, len(z), length), **drawing)
        return as_array(self.converter.from_tensors(outputs))

    def reconstruct(
        self,
        music: Music,
        *,
        temperature: float = 0.0,
        length: int | None = None,
        controls: Controls | None = None,
        seed: int | None = None,
        generator: Generator | None = None,
        qpm: float | None = None,
        program: Programs = None,
    ) -> list[PrettyMIDI]:
        """Decodes the posterior mean of each window, free-running, without the original's steps.

        Unlike `decode`, it takes the most likely label of each step unless a temperature is given.

        Args:
            music: as in `encode`.
            controls: as in `sample`; the windows' own, as many as the length needs, when None. The other arguments are
                as in `sample`, too.
        """
        source, windows = self._random_source(seed, generator), self._as_windows(music)
        length = None if length is None else checked_count("length", length)
        if controls is None and (own := self._own_controls(windows)) is not None:
            controls = own[:, :length]
            if length and length > controls.shape[1]:
                raise ValueError(f"the windows have controls for {controls.shape[1]} steps: give those of {length}")
        z = self.posterior(windows).loc
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
        generator: Generator | None = None,
        qpm: float | None = None,
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
            mu = self.posterior(music).loc.cpu()
        except ValueError as error:
            raise ValueError(f"{name} of the interpolation: {error}") from error
        if len(mu) != 1:
            raise ValueError(
                f"{name} of the interpolation must be one window, got {len(mu)}: take one of several with "
                "generate.take(windows, slice(k, k + 1)), or use interpolate_clips"
            )
        return mu[0]

    # ---- The model ----

    @torch.no_grad()
    def _posterior_of_batch(self, windows: Windows) -> Normal:
        tensors = self.converter.to_tensors(windows)
        inputs, _, lengths, controls = (None if tensor is None else tensor.to(self.device) for tensor in tensors)
        with autocast(self.device, self.precision):
            return self.model.encode(inputs, lengths, controls)

    def _random_source(self, seed: int | None, generator: Generator | None) -> Generator | None:
        """The generator of a call; None for PyTorch's global one."""
        generator = checked_generator(generator)
        if seed is None:
            return generator
        if generator is not None:
            raise ValueError(f"give a seed or a generator, not both: got seed={seed} and a generator")
        return Generator(self.device).manual_seed(checked_seed(seed))

    def _checked_prior(self, prior: Prior | SequencePrior) -> Prior | SequencePrior:
        """A prior on the model's device."""
        if not (isinstance(prior, tuple) and hasattr(prior, "draw")):
            raise ValueError(f"prior must be a NamedTuple of tensors with a method draw, got {described(prior)}")
        z_size = self.model.config.z_size
        if isinstance(prior, Prior | SequencePrior) and prior.z_size != z_size:
            raise ValueError(f"prior must be of z_size {z_size}, as the model, got {prior}")
        for name, tensor in zip(prior._fields, prior, strict=True):
            if not tensor.isfinite().all():
                raise ValueError(f"prior.{name} must be finite, but holds NaN or infinity")
        return prior._make(tensor.to(self.device, torch.float32) for tensor in prior)

    # ---- Music to windows, and back ----

    def _as_windows(self, music: Music) -> Windows:
        windows = music if isinstance(music, Windows) else self._one_window_each(music)
        check_windows(windows, self.converter)
        return windows

    def _one_window_each(self, music: Midi | Iterable[Midi]) -> Windows:
        if isinstance(music, SongDataset):
            raise ValueError(f"music must be {MUSIC}, got {music}: give its windows, such as dataset.windows([0, 1])")
        if not isinstance(music, Midi | Iterable) or isinstance(music, Tensor | np.ndarray | bytes):
            raise ValueError(f"music must be {MUSIC}, got {described(music)}")
        songs = [music] if isinstance(music, Midi | Clip) else list(music)
        if not songs:
            raise ValueError("there is no music to encode")
        if any(isinstance(song, Clip) for song in songs):
            raise ValueError(f"music must be {MUSIC}, got a Clip: use {CLIP_METHODS}")
        found = [self.converter.to_arrays(as_midi(song)) for song in songs]
        for k, (song, windows) in enumerate(zip(songs, found, strict=True), 1):
            name = f" ({song})" if isinstance(song, str | os.PathLike) else ""
            where, count = f"song {k} of {len(found)}{name} has", len(windows.labels)
            if count == 0:
                raise ValueError(f"{where} no window of {self.converter.steps} steps{_reasons(windows)}")
            if count > 1:
                raise ValueError(
                    f"{where} {count} windows of {self.converter.steps} steps, and encode takes one per song: cut it "
                    "first, windows = trained.converter.to_arrays(load_midi(path)), and encode all of them, or one, "
                    f"generate.take(windows, slice(k, k + 1)); for all of it use {CLIP_METHODS}"
                )
        return joined_windows(found)

    def _write(
        self, labels: np.ndarray, controls: Tensor | None, qpm: float | None, program: Programs
    ) -> list[PrettyMIDI]:
        """A piece of each window's labels [n, ...]."""
        qpm = QPM if qpm is None else qpm
        chords = [None] * len(labels)
        if self.converter.chords and controls is not None:
            chords = torch.where(controls.any(-1), controls.argmax(-1), -1).cpu()
        return [self.converter.from_arrays(one, qpm, program, own) for one, own in zip(labels, chords, strict=True)]

    # ---- Controls ----

    def _own_controls(self, windows: Windows) -> Tensor | None:
        """The controls of windows, [n, steps, control_depth]; None, without making frames, where a preset has none."""
        return self.converter.to_tensors(windows).controls if self.converter.control_depth else None

    def _as_controls(self, controls: Controls | None, n: int, length: int | None) -> Tensor | None:
        """Controls as the model reads them, [n, length, control_depth], on its device."""
        if controls is None and self.converter.chords:
            raise ValueError(f"{self.config.name} follows chords: give them, such as controls=['C', 'Am']")
        if controls is None:
            return None
        if not self.config.model.control_depth:
            raise ValueError(f"{self.config.name} takes no controls: omit them")
        if not isinstance(controls, Tensor | np.ndarray):
            controls = self._chord_classes(controls, length or self.converter.steps)
        is_classes = self.converter.chords and not _is_floats(controls)
        wanted = "chord symbols or numbers"
        controls = finite_floats("controls", controls, wanted, self.model.encoder.mu.weight)
        controls = self._one_hot_chords(controls) if is_classes else controls
        return controls.expand(n, -1, -1) if controls.ndim == 2 else controls

    def _chord_classes(self, symbols: Sequence[str], length: int) -> np.ndarray:
        """Classes [length] of a list of chord symbols."""
        if not self.converter.chords:
            raise ValueError(f"{self.config.name} does not follow chords; its controls have to be numbers")
        is_list = isinstance(symbols, Sequence) and not isinstance(symbols, str)
        if not is_list or not all(isinstance(symbol, str) for symbol in symbols):
            wanted = 'a list of chord symbols, as ["C", "Am"], or a tensor or array of numbers'
            raise ValueError(f"controls must be {wanted}, got {described(symbols)}")
        if length == self.converter.steps:
            return self.converter.chord_controls(symbols)
        if self.converter.segments:
            raise ValueError(f"chords of several tracks need the preset's own length, {self.converter.steps}")
        return chords_to_controls(symbols, length)

    def _one_hot_chords(self, classes: Tensor) -> Tensor:
        """Chord classes [length] or [n, length] as [..., control_depth]; class -1 is all zero."""
        depth = self.config.model.control_depth
        if classes.ndim not in (1, 2) or not classes.numel() or classes.min() < -1 or classes.max() >= depth:
            raise ValueError(f"chord classes must be from -1 to {depth - 1}, in [length] or [n, length]")
        return one_hot_frames(torch.where(classes < 0, depth, classes.long())[..., None], depth, classes.dtype)


def _is_floats(values: Tensor | np.ndarray) -> bool:
    return values.is_floating_point() if isinstance(values, Tensor) else values.dtype.kind == "f"


def _reasons(windows: Windows) -> str:
    """Why a song has no window, in parentheses."""
    return "".join(f" ({skipped.reason})" for skipped in windows.skipped if skipped.what == "song")


def check_windows(windows: Windows, converter: Converter):
    """Raises ValueError for windows that a converter does not make."""
    like, labels = converter.no_windows(), as_array(windows.labels)
    if labels.ndim > 1 and labels.shape[1] != converter.steps:
        raise ValueError(f"windows must have {converter.steps} steps, got {labels.shape[1]}")
    shape, segments = (len(labels), *like.labels.shape[1:]), like.lengths.shape[1:]
    if like.labels.dtype.kind != "f":
        least = PADDING if segments else 0  # a segment is padded from its own length on
        check_whole("labels of windows", labels, shape, least, [depth - 1 for depth in converter.label_depths])
    elif labels.shape != shape or labels.dtype.kind not in "iuf" or not np.isfinite(labels).all():
        raise ValueError(f"labels of windows must be {list(shape)} finite numbers, got {described(labels)}")
    check_whole("lengths of windows", windows.lengths, (len(labels), *segments), 0, [shape[1] // math.prod(segments)])
    if like.controls.shape[1] and windows.controls is not None:
        check_whole("controls of windows", windows.controls, shape, PADDING, [converter.control_depth - 1])


def main(arguments: list[str] | None = None):
    """The command: see studio/command.py."""
    command.main(TrainedModel.load, arguments)


if __name__ == "__main__":
    main()
