"""Directions in latent space that change an attribute of the music (Roberts et al. 2018, section 5, "Attribute Vector
Arithmetic").

A direction is the mean posterior mean of the quarter of the windows that have most of an attribute, minus that of the
quarter that has least. The paper takes five attributes and 370,000 windows; here an attribute is any function of
labels, and 8,192 windows are enough: `python -m paper.directions` measures how directions of fewer agree with those of
as many others. With 512, the fewest that are taken, their cosines are 0.89 and more (results/directions.json).

Axes: n windows, Z size of z.
"""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from pretty_midi import PrettyMIDI
from torch import Tensor

from checkpoint import check_file, model_name
from engine.checks import checked_number, checked_path, described, finite_floats
from midi_utils import MelodyConverter, Midi, SongDataset, TrioConverter, Windows, evenly
from model import MusicVAE
from music.attributes import ATTRIBUTES
from music.clips import Clip
from music.converter import as_array

MAX_WINDOWS = 8192  # that are encoded for directions, evenly spaced
MIN_GROUP = 128  # windows with most, and with least, of an attribute: a quarter of 512
FORMAT = 1  # version of a file of directions
FIELDS = ("format", "preset", "weights", "vectors")  # of such a file

Measure = Callable[[np.ndarray], np.ndarray]  # labels [n, steps] or [n, steps, parts] to [n] numbers, nan: undefined


def outer_quarters(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Masks [n] of the quarter of values [n] with most and of that with least; nan is in neither.

    Equal values are in one group: if the quartiles' bounds are equal, the top group is what lies above them.
    """
    low, high = np.nanquantile(values, (0.25, 0.75))
    return values >= high if high > low else values > low, values <= low


def directions_path(model: Path) -> Path:
    """Where the directions of a model's file lie; raises ValueError if it has none."""
    path = model.with_name(f"{model_name(model)}_directions.json")
    if not path.is_file():
        raise ValueError(f"{model} has no directions: take --model mel_2bar_low, or write {path} with directions.save")
    return path


class Directions(NamedTuple):
    """Vectors in the latent space of a model, by the name of the attribute that each raises."""

    trained: "DirectionTools"
    vectors: dict[str, Tensor]  # [Z] each, on the model's device

    def __repr__(self) -> str:
        return f"Directions({', '.join(self.vectors)})"

    def apply(self, music: Tensor | np.ndarray | Midi | Windows | Clip, /, **strengths: float) -> Tensor | PrettyMIDI:
        """Moves latent vectors, or a clip's, along directions.

        Args:
            music: z [n, Z]; or a clip, as in `reconstruct_clip`.
            strengths: how far along each direction, by its name: 1 is the whole vector, -1 is as far away from it.

        Returns:
            z [n, Z]; of a clip the piece that temperature 0 decodes. For other options, decode the z, or call
            `reconstruct_clip` with change=lambda z: directions.apply(z, ...).

        Raises:
            ValueError: no direction has such a name, or a strength is not a finite number.
        """
        shift = sum(checked_number(name, s, "a finite number") * self._vector(name) for name, s in strengths.items())
        if isinstance(music, Tensor | np.ndarray):
            return self.trained.model.as_z(music) + shift
        return self.trained.reconstruct_clip(music, change=lambda z: z + shift)

    def save(self, path: str | os.PathLike) -> None:
        """Writes a JSON file, which `TrainedModel.load_directions` reads."""
        path = checked_path("path", path)
        check_file(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        vectors = {name: vector.tolist() for name, vector in self.vectors.items()}
        content = FORMAT, self.trained.config.name, weights_digest(self.trained.model), vectors
        path.write_text(json.dumps(dict(zip(FIELDS, content, strict=True))) + "\n", encoding="utf-8")

    def _vector(self, name: str) -> Tensor:
        if name in self.vectors:
            return self.vectors[name]
        near = get_close_matches(name, self.vectors, n=1, cutoff=0.4)
        guess = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"there is no direction {name!r}: {guess}There are {', '.join(self.vectors)}")


class DirectionTools:
    """The part of `generate.TrainedModel` for directions: a mixin, whose other attributes are defined there."""

    def directions(self, songs: SongDataset, measures: Mapping[str, Measure] | None = None) -> Directions:
        """Finds the directions that raise attributes of music.

        Args:
            songs: such as the training set; at most MAX_WINDOWS windows of it are used, evenly spaced.
            measures: functions by name, which take the windows' labels [n, steps] or [n, steps, parts] and return one
                number per window, [n], as those of music/attributes.py do; nan where undefined. `of_midi` makes one
                of a function of a song. The paper's five, of melodies and of a trio's melody, when None.

        Raises:
            ValueError: songs of another converter; a function that does not return [n] finite numbers or nan; or fewer
                than MIN_GROUP windows that have most, or least, of an attribute.
        """
        self.check_songs("songs", songs)
        measures = self._melodic_measures() if measures is None else checked_measures(measures)
        windows = songs.windows(evenly(len(songs), MAX_WINDOWS))
        quarters = {name: _quarters(name, measure, as_array(windows.labels)) for name, measure in measures.items()}
        mu = self.posterior(windows).loc
        means = {name: [mu[torch.from_numpy(mask)].mean(0) for mask in masks] for name, masks in quarters.items()}
        return Directions(self, {name: most - least for name, (most, least) in means.items()})

    def of_midi(self, function: Callable[[PrettyMIDI], float]) -> Measure:
        """A measure for `directions` that calls a function with each window as a song."""
        return lambda labels: np.array([function(self.converter.from_arrays(window)) for window in labels], float)

    def load_directions(self, path: str | os.PathLike) -> Directions:
        """Reads the directions that `Directions.save` wrote.

        Raises:
            ValueError: there is no such file; it has unknown fields, or vectors of another size or with NaN; or the
                directions are those of another model.
        """
        path = checked_path("path", path)
        content = _read_fields(path)
        if content["weights"] != weights_digest(self.model):
            theirs = f"{path} has directions of another model, of preset {described(content['preset'])}"
            raise ValueError(f"{theirs}: find those of this one, of {self.config.name}, with trained.directions(songs)")
        if not isinstance(content["vectors"], dict):
            raise ValueError(f"{path}: vectors must be lists of numbers by name, got {described(content['vectors'])}")
        return Directions(self, {name: self._read_vector(path, name, v) for name, v in content["vectors"].items()})

    def _melodic_measures(self) -> dict[str, Measure]:
        """The paper's attributes, of the melody."""
        if isinstance(self.converter, TrioConverter):
            return {name: lambda labels, of=measure: of(labels[..., 0]) for name, measure in ATTRIBUTES.items()}
        if isinstance(self.converter, MelodyConverter):
            return ATTRIBUTES
        raise ValueError(
            f"the paper's attributes are of melodies, which {self.config.name} has not: give measures of its labels, "
            "or trained.of_midi of a function of a PrettyMIDI"
        )

    def _read_vector(self, path, name: str, values) -> Tensor:
        weight = self.model.encoder.mu.weight
        vector = finite_floats(f"{path}: {name}", values, f"{len(weight)} numbers", weight.detach())
        if vector.shape != weight.shape[:1]:
            raise ValueError(f"{path}: {name} must be {len(weight)} numbers, got {list(vector.shape)}")
        return vector


def checked_measures(measures) -> Mapping[str, Measure]:
    """Functions by name; raises ValueError for anything else."""
    fine = isinstance(measures, Mapping) and measures and all(isinstance(name, str) for name in measures)
    if not (fine and all(map(callable, measures.values()))):
        raise ValueError(f"measures must be a dictionary of functions by name, got {described(measures)}")
    return measures


def _quarters(name: str, measure: Measure, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`outer_quarters` of what a function measures; raises ValueError where they are too few."""
    values = np.asarray(measure(labels))
    values = values.astype(float) if values.dtype.kind in "buif" else values
    if values.shape != (len(labels),) or values.dtype.kind != "f" or np.isinf(values).any():
        wanted = f"measure {name!r} must return one number per window, [{len(labels)}], or nan"
        raise ValueError(f"{wanted}, got {described(values)}; trained.of_midi takes a function of one PrettyMIDI")
    defined = int((~np.isnan(values)).sum())
    quarters = outer_quarters(values) if defined else (values > 0, values > 0)
    counts = [int(mask.sum()) for mask in quarters]
    if min(counts) < MIN_GROUP:
        found = f"got {counts[0]} with most and {counts[1]} with least of {name!r}, of {defined} where it is defined"
        raise ValueError(
            f"a direction needs {MIN_GROUP} windows with most and {MIN_GROUP} with least, so {4 * MIN_GROUP} "
            f"windows or more, {found}: give more songs, or songs that differ in it"
        )
    return quarters


def weights_digest(model: MusicVAE) -> str:
    """Tells the latent spaces of models apart; equal for weights in float32 and the same in half precision."""
    weights = model.encoder.mu.weight.detach().to("cpu", torch.float16)
    return hashlib.sha256(weights.numpy().tobytes()).hexdigest()[:16]


def _read_fields(path) -> dict:
    """The fields of a file of directions."""
    if not path.is_file():
        raise ValueError(f"no directions at {path}: write them with directions.save")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"{path} is no file of directions of this version, which writes format {FORMAT}")
    if set(content) != set(FIELDS):
        raise ValueError(f"{path} should have the fields {', '.join(FIELDS)}, not {', '.join(content)}")
    return content
