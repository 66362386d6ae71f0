"""Measures models of grooves: the hits, velocities and timing that they give to held-out drums.

    python -m paper.grooves CHECKPOINT ... --data FOLDER --out results/groove_tap.json

A model is measured as its tool uses it (studio/clip_tools.py). One that humanizes keeps the hits of a window and writes
velocities and offsets; one of taps writes all three, free-running at temperature 0. Both start from the posterior mean
of what they are given. Beside it stands a baseline without a model: see `Baseline`.
"""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from checkpoint import model_name
from corpus import load_splits
from generate import TrainedModel
from midi_utils import SongDataset, Windows, evenly
from music.attributes import STEPS_PER_BAR, set_f1
from music.groove import GrooveConverter
from music.labels import DRUM_CLASSES
from paper.measured_songs import make_generator
from paper.reconstruction import Elbo, Interval, bootstrap, measure_elbo, reconstruction_nats
from paper.several import add_arguments, describe, facts_of, measure_checkpoints

VELOCITY, OFFSET = 127, 50  # units of the results: MIDI velocity, and percent of a step


class Baseline(NamedTuple):
    """What the training songs have on average."""

    hits: np.ndarray  # [16, 9] bool: at each step of the bar, the classes of at least half of the steps that are played
    feel: np.ndarray  # [2, 9] mean velocity and offset of the hits of each class


class Errors(NamedTuple):
    """How grooves differ from what the drummers played. Errors are of the hits that both have; None without one."""

    hits: Interval  # F1 of each window, hits that agree in step and class
    velocity: Interval | None  # root of the mean square, MIDI velocity
    offset: Interval | None  # root of the mean square, percent of a step


class Spread(NamedTuple):
    """Standard deviations over all hits of windows, and how many there are."""

    hits: float  # per step
    velocity: float  # MIDI velocity
    offset: float  # percent of a step


class GrooveEvaluation(NamedTuple):
    """All measurements of one model of grooves."""

    name: str
    preset: str
    parameters: int
    steps: int | None
    minutes: float | None
    seed: int | None
    split: str
    prior: str
    prior_width: float
    songs: int
    windows: int
    without_sources: list[str]  # of the corpus, in neither the training nor the test set
    model: Errors
    baseline: Errors
    spread: dict[str, Spread]  # of the model's grooves, of the baseline's, and of the drummers'
    elbo: Elbo


def grooves_of(trained: TrainedModel, windows: Windows) -> np.ndarray:
    """Labels [n, steps, 27] of what the model's tool plays to windows, of which it knows no velocity and no offset."""
    if trained.converter.humanize:
        known = np.repeat((1, 0, 0), DRUM_CLASSES).astype(np.float32)
        return trained.humanized(windows._replace(labels=windows.labels * known))
    return trained.drummed(windows)


def fit_baseline(labels: np.ndarray) -> Baseline:
    """The averages of training windows [n, steps, 27]; a step of the bar has at least its most frequent class."""
    parts = labels.reshape(len(labels), -1, STEPS_PER_BAR, 3, DRUM_CLASSES)
    hits = parts[..., 0, :].sum((0, 1))
    common = (hits >= parts[..., 0, :].any(-1).sum((0, 1))[:, None] / 2) | (hits == hits.max(-1, keepdims=True))
    return Baseline(common, parts[..., 1:, :].sum((0, 1, 2)) / np.maximum(hits.sum(0), 1))


def baseline_grooves(baseline: Baseline, windows: Windows, humanize: bool) -> np.ndarray:
    """Labels [n, steps, 27] of the averages: played where the windows are, with their hits if they are given."""
    hits = windows.labels[..., :DRUM_CLASSES] > 0
    if not humanize:
        hits = hits.any(-1, keepdims=True) & np.tile(baseline.hits, (hits.shape[1] // STEPS_PER_BAR, 1))
    return np.concatenate([hits, *(hits * feel for feel in baseline.feel)], -1)


def measure_errors(found: np.ndarray, wanted: np.ndarray, song: np.ndarray) -> Errors:
    """Compares grooves [n, steps, 27]; windows without a common hit count for the F1 alone."""
    hits = [labels[..., :DRUM_CLASSES] > 0 for labels in (found, wanted)]
    both = hits[0] & hits[1]
    count, any_hit = both.sum((1, 2)), both.any((1, 2))
    if not both.any():
        return Errors(bootstrap(set_f1(*hits), song), None, None)
    errors = []
    for unit, difference in zip((VELOCITY, OFFSET), np.split(found - wanted, 3, -1)[1:], strict=True):
        square = ((unit * difference) ** 2 * both).sum((1, 2))[any_hit] / count[any_hit]
        errors.append(Interval(*np.sqrt(bootstrap(square, song[any_hit])).tolist()))
    return Errors(bootstrap(set_f1(*hits), song), *errors)


def measure_spread(labels: np.ndarray) -> Spread:
    """How much the hits of grooves [n, steps, 27] differ from one another."""
    hits, velocities, offsets = np.split(labels, 3, -1)
    of_hits = (unit * part[hits > 0] for unit, part in ((VELOCITY, velocities), (OFFSET, offsets)))
    return Spread(float(hits.sum(-1).mean()), *(float(part.std()) if part.size else 0.0 for part in of_hits))


def evaluate_groove(
    name: str,
    trained: TrainedModel,
    train_set: SongDataset,
    test_set: SongDataset,
    *,
    split: str = "test",
    without_sources: Sequence[str] = (),
    run: dict | None = None,
    limit: int | None = None,
) -> GrooveEvaluation:
    """Takes every measurement of a model that humanizes drums or plays drums to taps.

    Args:
        name: of the model, in the result.
        train_set: the songs that it was trained on, for the baseline, read with the drum map of its preset.
        test_set: songs that it was not trained on, read in the same way.
        split: name of the test set in the result.
        without_sources: names of sources in neither set, for the result.
        run: what a checkpoint records about its training.
        limit: maximum of windows, evenly spaced; all when None.

    Raises:
        ValueError: a model of other music.
    """
    check_is_groove(trained)
    chosen = evenly(len(test_set), limit or len(test_set))
    windows, song = test_set.windows(chosen), test_set.song[chosen]
    grooves = {
        "model": grooves_of(trained, windows),
        "baseline": baseline_grooves(fit_baseline(train_set.labels[:]), windows, trained.converter.humanize),
    }
    encoding = trained.encode(windows, make_generator(trained, 0))
    nats = reconstruction_nats(trained, windows, encoding.z)
    return GrooveEvaluation(
        name=name,
        split=split,
        songs=len(np.unique(song)),
        windows=len(chosen),
        without_sources=sorted(without_sources),
        **{of: measure_errors(labels, windows.labels, song) for of, labels in grooves.items()},
        spread={of: measure_spread(labels) for of, labels in (grooves | {"drummers": windows.labels}).items()},
        elbo=measure_elbo(encoding, nats, song, trained.converter.steps),
        **describe(trained, run or {}),
    )


def check_is_groove(trained: TrainedModel):
    """Raises ValueError for a model whose tool is neither `groove` nor `drumify`."""
    kind = trained.converter
    if not isinstance(kind, GrooveConverter) or not (kind.humanize or kind.tap):
        raise ValueError(f"{trained.config.name} neither humanizes drums nor plays to taps")


def measure_checkpoint(path: Path, options: argparse.Namespace) -> GrooveEvaluation:
    """Measures one checkpoint as the command's options say."""
    trained = TrainedModel.load(path)
    check_is_groove(trained)
    songs = load_splits(options, trained.config.converter, ("train", options.split), options.without_sources)
    facts = facts_of(path, options) | {"without_sources": options.without_sources}
    return evaluate_groove(model_name(path), trained, *songs, **facts)


def summary(found: GrooveEvaluation) -> str:
    """The main numbers in a few lines."""
    lines = [f"{found.name}: {found.preset}, {found.windows} windows of {found.songs} songs ({found.split})"]
    for of, errors in (("model", found.model), ("averages", found.baseline)):
        hits, velocity, offset = (interval.mean if interval else math.nan for interval in errors)
        lines.append(f"  {of}: hits F1 {hits:.3f}, velocity {velocity:.1f}, offset {offset:.1f} % of a step")
    for of, spread in found.spread.items():
        numbers = f"{spread.hits:.2f} hits per step, velocity {spread.velocity:.1f}, offset {spread.offset:.1f} %"
        lines.append(f"  spread, {of}: {numbers}")
    costs = f"-ELBO {found.elbo.nats.mean:.1f} nats per window, KL {found.elbo.kl_bits.mean:.1f} bits"
    return "\n".join([*lines, f"  {costs}"])


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command's options."""
    parser = argparse.ArgumentParser(description="Measure models of grooves.")
    add_arguments(parser)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None):
    """The command: measures checkpoints one after the other, and writes a list of all."""
    measure_checkpoints(parse_arguments(arguments), measure_checkpoint, summary)


if __name__ == "__main__":
    main()
